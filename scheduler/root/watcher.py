"""File events as "look again", with the names of files that were just written. Nothing depends on them (design S8).

watchdog 7.1 gives every `Observer.schedule()` a thread, though one inotify instance serves them all. On Linux the
folders therefore go straight to its `InotifyFD`: one instance and one thread for any number of folders, no queue to
grow, no events for opening and reading, and an overflow is a call, not a log line. Elsewhere: plain `Observer`.
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

_MOST_NAMES = 10_000  # after more than this, everything is looked at
_STOP_S = 5.0  # a callback that hangs must not keep the daemon from stopping
_LIMITS = {
    errno.ENOSPC: "no inotify watches are left; raise the sysctl fs.inotify.max_user_watches",
    errno.EMFILE: "no inotify instances are left; raise the sysctl fs.inotify.max_user_instances, or ulimit -n",
}


Names = Collection[str] | None  # in one folder: the names that matter; None: all


class Watcher:
    """Calls `changed` for anything that happens in the covered folders; a burst of events is a burst of calls.

    changed: called from another thread, so it must be fast, and must not call `cover` or `stop`. Exceptions in it are
    logged and ignored.
    ignores: True if a name in a folder never matters. Called for every event, so it must be even faster.
    """

    def __init__(
        self, changed: Callable[[], None], *, ignores: Callable[[Path, str], bool] = lambda folder, name: False
    ) -> None:
        self._changed = changed
        self._ignores = ignores
        self._names: Mapping[Path, Names] = {}  # replaced as a whole by each cover
        self._lock = threading.Lock()  # cover and stop may be called from different threads
        self._system: _System | None = None
        self._watches: dict[Path, Any] = {}  # the system's watch for each folder
        self._stopped = False
        self._heard: dict[tuple[Path, str], bool] = {}  # since the last `take`: whether it is whole now
        self._unsure = False  # something besides was heard since, or may have been missed
        self._noting = threading.Lock()
        self._refused = ""  # by the last cover
        self._lost = ""  # since the last cover
        self.overflowed = False  # events were lost since the last cover: look for what they reported

    def cover(self, folders: Collection[Path] | Mapping[Path, Names]) -> bool:
        """Watch exactly `folders` from now on. True if something was added: the caller must look once more.

        folders: absolute, without symlinks; each is watched without its subfolders. A mapping limits the events of a
        folder to the names that matter there, and to events of the folder itself; if watches are scarce, the first
        entries get them. A folder that does not exist is skipped: cover its parent, and call again after every event.
        That is also how a folder that is removed and created again is noticed. Without changes, a call costs about ten
        microseconds per folder. OSErrors are reported by `trouble`.
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

    def heard(self) -> Mapping[str, bool] | None:
        """What has happened since the last `take`, by absolute path: True if a file is whole now.

        That is so after it was closed by a writer, or renamed to that name. None if something is not known, or happened
        to a folder, so that only a look at everything shows what has changed.
        """
        with self._noting:
            return (
                None if self._unsure else {f"{folder}/{name}": whole for (folder, name), whole in self._heard.items()}
            )

    def take(self) -> Mapping[str, bool] | None:
        """The same, and begin again."""
        with self._noting:
            (heard, self._heard), (unsure, self._unsure) = (self._heard, {}), (self._unsure, False)
        return None if unsure else {f"{folder}/{name}": whole for (folder, name), whole in heard.items()}

    def stop(self) -> None:
        """Stop watching and end its threads. `changed` is not called afterwards. May be repeated."""
        with self._lock:
            self._stopped = True
            self._discard()
            self._refused = self._lost = ""

    @property
    def trouble(self) -> str:
        """Why some or all events are not seen: one sentence for people, or "".

        A `cover` clears what it repairs, so check this before it as well.
        """
        return self.blind or self._lost

    @property
    def blind(self) -> str:
        """The part of `trouble` that another look does not repair: what is not watched."""
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
            for watch in self._watches.values():  # first, otherwise the end of each would ring
                system.drop(watch)
            system.thread.stop()
            system.thread.join(_STOP_S)
        self._watches.clear()

    def _told(self, folder: Path, name: str, written: bool | None = False) -> None:
        """Handle an event for a name in a covered folder, or for the folder itself if the name is empty.

        written: whether it was a file, and is whole now. None: the event says nothing about that.
        """
        wanted = self._names.get(folder)
        if name and ((wanted is not None and name not in wanted) or self._ignores(folder, name)):
            return
        with self._noting:
            if not name or len(self._heard) >= _MOST_NAMES:
                self._unsure = True
            else:
                self._heard[folder, name] = self._heard.get((folder, name), False) if written is None else written
        self._ring()

    def _ring(self, lost: str = "", overflowed: bool = False) -> None:
        if lost:
            self._unsure = True
            self._lost = lost
            self.overflowed |= overflowed
        try:
            self._changed()
        except Exception:  # it would end watchdog's thread, and with it all later events
            _log.exception("watcher_callback_failed")


def _within(new: Names, old: Names) -> bool:
    return new is old or old is None or (new is not None and set(new) <= set(old))


def _why(error: OSError) -> str:
    return _LIMITS.get(error.errno or 0) or error.strerror or str(error)


def _refusal(refused: Mapping[Path, OSError]) -> str:
    if not refused:
        return ""
    folder, error = next(iter(refused.items()))
    others = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
    return f"changes in {folder}{others} are not seen: {_why(error)}"


class _Told(Protocol):
    def __call__(self, folder: Path, name: str, written: bool | None = False) -> None: ...


class _Ring(Protocol):
    def __call__(self, lost: str = "", overflowed: bool = False) -> None: ...


class _System(Protocol):
    """A source of watches. `watch` returns `before` if that still watches what is at `folder`. Raises: OSError."""

    @property
    def thread(self) -> BaseThread: ...
    def watch(self, folder: Path, before: Any) -> Any: ...
    def drop(self, watch: Any) -> None: ...


class _Plain(FileSystemEventHandler):
    """Any system, by watchdog's documented API: one thread per folder."""

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
            # A folder's changed list is reported together with what changed in it, and without a name.
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

    # Not DELETE_SELF: the end of a watch is always reported. A symlink or a file is not the folder that was meant.
    _EVENTS = (
        In.IN_CREATE | In.IN_MODIFY | In.IN_CLOSE_WRITE | In.IN_ATTRIB | In.IN_DELETE | In.IN_MOVE | In.IN_MOVE_SELF
    )
    _WHOLE = In.IN_CLOSE_WRITE | In.IN_MOVED_TO
    _MASK = Mask(_EVENTS | In.IN_ONLYDIR | In.IN_DONT_FOLLOW)

    class _Bell(WatchCallback):
        """What watchdog's thread calls for one folder."""

        def __init__(self, folder: Path, told: _Told, ring: _Ring) -> None:
            self.id = CallbackId(id(self))
            self._folder = folder
            self._told = told
            self._ring = ring

        def on_event(self, event: InotifyEvent) -> None:
            if event.mask & In.IN_ISDIR:
                self._told(self._folder, os.fsdecode(event.name))
            else:
                whole = bool(event.mask & _WHOLE) if not event.mask & In.IN_ATTRIB else None
                self._told(self._folder, os.fsdecode(event.name), whole)

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
            # Asked every time: the kernel repeats its descriptor unless the folder is a different one now. A new folder
            # often has the st_ino of the one just removed, but a descriptor is never reused.
            bell = _Bell(folder, self._told, self._ring)
            wd = self.thread.add_callback(os.fsencode(folder), _MASK, bell, bell.id)
            if before is not None and before[0] == wd:
                self.drop((wd, bell))
                return before
            if wd == -1:  # watchdog reports EACCES like this
                self.drop((wd, bell))
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return wd, bell

        def drop(self, watch: tuple[WatchDescriptor, _Bell]) -> None:
            self.thread.remove_callbacks([(watch[0], watch[1].id)])

    _SYSTEM: Callable[[_Told, _Ring], _System] = _Inotify
else:
    _SYSTEM = _Plain
