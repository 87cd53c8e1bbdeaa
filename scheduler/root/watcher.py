"""File events as "look again": nothing is told of what happened, and nothing depends on having seen it (design S8).

watchdog 7.1 gives every `Observer.schedule()` a thread, though one inotify instance serves them all. On Linux the
folders therefore go straight to its `InotifyFD`: one instance and one thread for any number of them, no queue to grow,
opening and reading not even asked for, and an overflow is a call instead of a log line. Elsewhere: plain `Observer`.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from watchdog.events import (
    EVENT_TYPE_CLOSED_NO_WRITE,
    EVENT_TYPE_MODIFIED,
    EVENT_TYPE_OPENED,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import EventEmitter
from watchdog.utils import BaseThread

from scheduler.machine.log import Log

_log = Log(__name__)

_STOP_S = 5.0  # a callback that hangs must not keep the daemon from ending
_LIMITS = {
    errno.ENOSPC: "no inotify watch is left; raise the sysctl fs.inotify.max_user_watches",
    errno.EMFILE: "no inotify instance is left; raise the sysctl fs.inotify.max_user_instances, or ulimit -n",
}


Names = Collection[str] | None  # in one folder: those that matter; None: all


class Watcher:
    """Calls `changed` for whatever happens in the covered folders; a burst of events is a burst of calls.

    changed: called from another thread, so it must be cheap, and must not call `cover` or `stop`. What it raises is
    logged and forgotten.
    ignores: whether a name in a folder never matters; called for every event, so it must be cheaper still.
    """

    def __init__(
        self, changed: Callable[[], None], *, ignores: Callable[[Path, str], bool] = lambda folder, name: False
    ) -> None:
        self._changed = changed
        self._ignores = ignores
        self._names: Mapping[Path, Names] = {}  # replaced as a whole by each cover
        self._lock = threading.Lock()  # cover and stop may come from different threads
        self._system: _System | None = None
        self._watches: dict[Path, Any] = {}  # what the system gave for each folder
        self._stopped = False
        self._refused = ""  # by the last cover
        self._lost = ""  # since the last cover
        self.overflowed = False  # events were lost since the last cover: what they told of has to be looked for

    def cover(self, folders: Collection[Path] | Mapping[Path, Names]) -> bool:
        """From now on watch exactly `folders`; True where something was added, so the caller looks once more.

        folders: absolute, without symlinks; each is watched without what lies below it. A mapping limits what is told
        of a folder to the names that matter there, and to what happens to itself; where watches are few, its first
        ones get them. A folder that does not exist is passed over: cover its parent, and call again after every
        event. That is also how a folder removed and made again is noticed; where nothing changed it costs about ten
        microseconds a folder. OSErrors end up in `trouble`.
        """
        with self._lock:
            if self._stopped:
                return False
            self._lost, self.overflowed = "", False
            try:
                system = self._running()
            except OSError as error:
                self._refused = f"no changes are seen: {_why(error)}"
                return False
            for folder in self._watches.keys() - set(folders):
                system.drop(self._watches.pop(folder))
            names = dict(folders) if isinstance(folders, Mapping) else dict.fromkeys(folders)
            added = any(folder in self._watches and not _within(names[folder], self._names[folder]) for folder in names)
            self._names = names
            refused: dict[Path, OSError] = {}
            for folder in names if isinstance(folders, Mapping) else sorted(names):
                before = self._watches.pop(folder, None)
                try:
                    watch = self._watches[folder] = system.watch(folder, before)
                    added |= watch is not before
                except (FileNotFoundError, NotADirectoryError):
                    watch = None
                except OSError as error:
                    watch, refused[folder] = None, error
                if before is not None and watch is not before:
                    system.drop(before)
            self._refused = _refusal(refused)
            return added

    def stop(self) -> None:
        """Ends the watching and its threads; `changed` is not called afterwards. May be repeated."""
        with self._lock:
            self._stopped = True
            self._discard()
            self._refused = self._lost = ""

    @property
    def trouble(self) -> str:
        """Why events are not, or were not all, seen: one sentence for people, or "".

        A `cover` clears what it puts right, so look here before it as well.
        """
        return self.blind or self._lost

    @property
    def blind(self) -> str:
        """The part of `trouble` that one more look does not mend: what is not watched."""
        system = self._system
        if system is not None and not system.thread.is_alive():
            return "no changes are seen: the thread that reads file events has died"
        return self._refused

    def _running(self) -> _System:
        if self._system is not None and not self._system.thread.is_alive():
            self._discard()
        if self._system is None:
            self._system = _SYSTEM(self._told, self._ring)
        return self._system

    def _discard(self) -> None:
        system, self._system = self._system, None
        if system is not None:
            for watch in self._watches.values():  # first, else the end of each would ring
                system.drop(watch)
            system.thread.stop()
            system.thread.join(_STOP_S)
        self._watches.clear()

    def _told(self, folder: Path, name: str) -> None:
        """Of an event: of a name in a covered folder, or, where that is empty, of the folder itself."""
        wanted = self._names.get(folder)
        if name and ((wanted is not None and name not in wanted) or self._ignores(folder, name)):
            return
        self._ring()

    def _ring(self, lost: str = "", overflowed: bool = False) -> None:
        if lost:
            self._lost = lost
            self.overflowed |= overflowed
        try:
            self._changed()
        except Exception:  # would end watchdog's thread, and with it every later event
            _log.exception("watcher_callback_failed")


def _within(new: Names, old: Names) -> bool:
    return old is None or (new is not None and set(new) <= set(old))


def _why(error: OSError) -> str:
    return _LIMITS.get(error.errno or 0) or error.strerror or str(error)


def _refusal(refused: Mapping[Path, OSError]) -> str:
    if not refused:
        return ""
    folder, error = next(iter(refused.items()))
    others = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
    return f"changes in {folder}{others} are not seen: {_why(error)}"


_Told = Callable[[Path, str], None]  # of a folder and a name in it


class _Ring(Protocol):
    def __call__(self, lost: str = "", overflowed: bool = False) -> None: ...


class _System(Protocol):
    """Where watches come from. `watch` returns `before` if that still watches what is at `folder`; raises OSError."""

    @property
    def thread(self) -> BaseThread: ...
    def watch(self, folder: Path, before: Any) -> Any: ...
    def drop(self, watch: Any) -> None: ...


class _Plain(FileSystemEventHandler):
    """Any system, by watchdog's documented API: a thread for each folder."""

    def __init__(self, told: _Told, ring: _Ring) -> None:
        self._told = told
        self._folders: set[Path] = set()
        self.thread = Observer()
        self.thread.start()

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in (EVENT_TYPE_OPENED, EVENT_TYPE_CLOSED_NO_WRITE):  # our own reads: a loop
            return
        for path in {os.fsdecode(each) for each in (event.src_path, event.dest_path) if each}:
            found = Path(path)
            if found.parent in self._folders:
                self._told(found.parent, found.name)
            # That a folder's list has changed is told beside what has changed in it, and of no name.
            if found in self._folders and event.event_type != EVENT_TYPE_MODIFIED:
                self._told(found, "")

    def watch(self, folder: Path, before: tuple[object, EventEmitter] | None) -> tuple[object, EventEmitter]:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        identity = found.st_dev, found.st_ino
        if before is not None:
            if before[0] == identity and before[1].is_alive():
                return before
            self.drop(before)  # a path cannot be scheduled twice
        self._folders.add(folder)
        watch = self.thread.schedule(self, str(folder))
        return identity, next(emitter for emitter in self.thread.emitters if emitter.watch == watch)

    def drop(self, watch: tuple[object, EventEmitter]) -> None:
        if watch[1] in self.thread.emitters:
            self.thread.unschedule(watch[1].watch)


if sys.platform == "linux":
    from watchdog.observers.inotify_c import CallbackId, InotifyEvent, InotifyFD, Mask, WatchCallback, WatchDescriptor
    from watchdog.observers.inotify_c import InotifyConstants as In

    # Not DELETE_SELF: the end of a watch is told in any case. A symlink, or a file, is not the folder that was meant.
    _EVENTS = (
        In.IN_CREATE | In.IN_MODIFY | In.IN_CLOSE_WRITE | In.IN_ATTRIB | In.IN_DELETE | In.IN_MOVE | In.IN_MOVE_SELF
    )
    _MASK = Mask(_EVENTS | In.IN_ONLYDIR | In.IN_DONT_FOLLOW)

    class _Bell(WatchCallback):
        """What watchdog's thread calls for one folder."""

        def __init__(self, folder: Path, told: _Told, ring: _Ring) -> None:
            self.id = CallbackId(id(self))
            self._folder = folder
            self._told = told
            self._ring = ring

        def on_event(self, event: InotifyEvent) -> None:
            self._told(self._folder, os.fsdecode(event.name))

        def on_watch_deleted(self, wd: WatchDescriptor) -> None:
            self._ring(f"changes in {self._folder} are not seen: the folder was removed or unmounted")

        def on_queue_overflow(self) -> None:
            self._ring("some changes were not seen: the kernel's queue of file events overflowed", True)

    class _Inotify:
        """Linux: one inotify instance, one thread."""

        def __init__(self, told: _Told, ring: _Ring) -> None:
            self._told = told
            self._ring = ring
            self.thread = InotifyFD()
            self.thread.start()

        def watch(self, folder: Path, before: tuple[WatchDescriptor, _Bell] | None) -> tuple[WatchDescriptor, _Bell]:
            # Asked every time: the kernel repeats its descriptor unless the folder is another by now. A new folder
            # often has the st_ino of the one just removed; a descriptor is not used again.
            bell = _Bell(folder, self._told, self._ring)
            wd = self.thread.add_callback(os.fsencode(folder), _MASK, bell, bell.id)
            if before is not None and before[0] == wd:
                self.drop((wd, bell))
                return before
            if wd == -1:  # so watchdog reports EACCES
                self.drop((wd, bell))
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return wd, bell

        def drop(self, watch: tuple[WatchDescriptor, _Bell]) -> None:
            self.thread.remove_callbacks([(watch[0], watch[1].id)])

    _SYSTEM: Callable[[_Told, _Ring], _System] = _Inotify
else:
    _SYSTEM = _Plain
