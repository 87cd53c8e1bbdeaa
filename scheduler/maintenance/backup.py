"""Copies of the database: made while it is in use, verified, and kept for a week outside the root.

A copy gets its name only once it is complete and sound. Only the database is copied: it has the texts of all runs, but
not their output.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scheduler.core.values.instants import instant
from scheduler.core.values.problems import RefusedError, SchedulerError, UnavailableError, UsageError
from scheduler.ledger import put_back
from scheduler.ledger.copies import Contents, check_database, copy_database
from scheduler.ledger.database import make_durable
from scheduler.ledger.pool import Lend
from scheduler.machine.clock import Clock
from scheduler.machine.disks import free_bytes
from scheduler.machine.log import Log
from scheduler.machine.loop import Loop
from scheduler.root.place import Place, make_private

KEEP = 7
NIGHT = 3  # o'clock, local time
LOOK_S = 60.0
RETRY = timedelta(minutes=10)  # after a failed copy
PAUSE_S = 0.005  # after every megabyte
ROOM = 64 * 1024 * 1024  # bytes that a copy leaves free: the database itself may need them
_STAMP = "%Y%m%dT%H%M%SZ"

_log = Log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A nightly copy: a file whose name says when it was made."""

    path: Path
    at: datetime
    bytes: int
    earlier: bool = False  # of a history that `--new-state` put aside


def copies(place: Place) -> list[Copy]:
    """The nightly copies of this database, newest first; those of earlier histories last."""
    if place.backups is None:
        return []
    found = _in(place.backups)
    with contextlib.suppress(OSError):
        for folder in sorted(place.backups.glob("before-*"), reverse=True):
            found += _in(folder, earlier=True)
    return found


def newest(place: Place) -> Copy | None:
    found = copies(place)
    return found[0] if found and not found[0].earlier else None


def _in(folder: Path, *, earlier: bool = False) -> list[Copy]:
    found = []
    with contextlib.suppress(OSError):  # no copy yet, or an unreadable folder
        for path in folder.iterdir():
            with contextlib.suppress(ValueError, OSError):  # another file, or one that was just rotated away
                at = datetime.strptime(path.name, f"{_STAMP}.db").replace(tzinfo=UTC)
                found.append(Copy(path=path, at=at, bytes=path.stat().st_size, earlier=earlier))
    return sorted(found, key=lambda each: each.at, reverse=True)


def back_up(place: Place, target: Path, *, now: datetime, actor: str) -> Contents:
    """Make a verified copy of the database in a new file, with or without a daemon.

    Raises: UsageError, RefusedError if `target` already exists, UnavailableError.
    """
    if target.is_dir():
        raise UsageError(f"{target} is a folder", hint=f"give a file, such as {target / f'{now:{_STAMP}}.db'}")
    if target.exists() or target.is_symlink():
        raise RefusedError(f"{target} already exists; a backup never overwrites a file", hint="choose another file")
    if not target.parent.is_dir():
        raise UsageError(
            f"the folder {target.parent} does not exist",
            hint=f"create it first: mkdir -p {shlex.quote(str(target.parent))}",
        )
    if not place.db.exists():
        raise UnavailableError(f"there is no database {place.db} to copy", hint="`scheduler sync` creates one")
    return _make(place, target, now=now, actor=actor)


def _make(
    place: Place, target: Path, *, now: datetime, actor: str, pace: Callable[[], None] = lambda: None
) -> Contents:
    """Copy, verify, and only then give the copy its name. Never replaces another file."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        need, free = place.db.stat().st_size, free_bytes(os.statvfs(target.parent))
        if need + ROOM > free:
            raise UnavailableError(
                f"{target.parent} has {free} bytes left; a backup needs {need} and some spare room",
                hint="free some space, or choose another place",
            )
        unfinished.unlink(missing_ok=True)
        copy_database(place.db, unfinished, live=True, at=now, actor=actor, pace=pace)
        found = check_database(unfinished)
        try:
            os.link(unfinished, target)  # unlike a rename, it never replaces a file
        except FileExistsError:
            raise RefusedError(f"{target} already exists; a backup never overwrites a file") from None
        except OSError:  # a file system without hard links
            unfinished.rename(target)
        make_durable(target.parent)
    except OSError as error:
        raise UnavailableError(
            f"cannot write a backup to {target}: {error.strerror}", hint="choose another place, or make it writable"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return found


def due_after(last: datetime, *, minute: int = 0) -> datetime:
    """The first night after an instant: three o'clock and some minutes, local time."""
    local = last.astimezone()
    night = local.replace(hour=NIGHT, minute=minute, second=0, microsecond=0)
    if night <= local:
        night += timedelta(days=1)
    return night.astimezone(UTC)


@dataclass(eq=False, kw_only=True)
class Nightly:
    """Makes the nightly copy, in its own thread. Nothing waits for it, and its failures stop nothing."""

    place: Place
    clock: Clock
    lend: Lend
    also: Callable[[], None] = lambda: None  # other work for this thread, every minute

    def __post_init__(self) -> None:
        self._retry_at: datetime | None = None
        digest = hashlib.sha256(str(self.place.backups).encode()).digest()
        self._minute = digest[0] % 60  # the daemons of one machine do not all copy at once
        self.trouble = ""  # why there is no new copy
        self.loop = Loop("nightly", self._turns, _log, retry_s=LOOK_S)

    def _turns(self) -> Iterator[float]:
        if sys.platform == "linux":  # there a thread has its own priority; this one starts no children
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while True:
            self.look()
            self.also()
            yield LOOK_S

    def look(self) -> None:
        """Make a copy if one is due: a night has passed since the newest one, or since the database began."""
        now = self.clock.now()
        if self._retry_at is not None and self._retry_at - RETRY <= now < self._retry_at:
            return
        try:
            last = self._last(now)
            if last is not None and now >= due_after(last, minute=self._minute):
                self._copy(now)
            self._say("")
            self._retry_at = None
        except _StoppedError:
            pass
        except Exception as error:
            self._retry_at = now + RETRY
            known = error.args[0] if isinstance(error, SchedulerError) else f"{type(error).__name__}: {error}"
            self._say(str(known))

    def _last(self, now: datetime) -> datetime | None:
        """The time that the next copy must follow. None if there is nothing to copy."""
        try:
            with self.lend() as store:
                born = store.read(put_back.born_at)
        except UnavailableError:  # the daemon reports that itself
            return None
        if self.place.backups is None:
            raise UnavailableError("this user has no home folder, so there is no place for backups outside the root")
        made = [copy.at for copy in _in(self.place.backups) if copy.at <= now]  # the clock may have gone back
        return made[0] if made else born

    def _copy(self, now: datetime) -> None:
        folder = self.place.backups
        assert folder is not None
        try:
            make_private(folder)
            for left in folder.glob(".*.new"):  # left by a killed daemon; we hold the database
                left.unlink()
        except OSError as error:
            raise UnavailableError(f"the folder {folder} cannot be used: {error.strerror}") from error
        begun = time.monotonic()
        path = folder / f"{now:{_STAMP}}.db"
        found = _make(self.place, path, now=now, actor="scheduler", pace=self._pace)
        took = time.monotonic() - begun
        _log.info("backup_made", path=path, bytes=found.bytes, runs=found.runs, took_s=took)
        for old in [copy for copy in _in(folder) if copy.at <= now][KEEP:]:
            old.path.unlink(missing_ok=True)

    def _pace(self) -> None:
        if self.loop.stopping.wait(PAUSE_S):
            raise _StoppedError

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            last = newest(self.place)
            if trouble:
                since = "there is no backup yet" if last is None else f"the newest backup is from {instant(last.at)}"
                _log.warning("backup_failed", f"{since}; jobs still fire", reason=trouble)
            else:
                _log.info("backup_works_again")
            self.trouble = trouble


class _StoppedError(Exception):
    """The daemon stops."""
