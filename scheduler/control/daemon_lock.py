"""How one daemon holds a database, and how commands find and reach it.

The daemon locks a file beside the database, which says who it is and where its socket is, and another file outside the
root, where nobody deletes it with the state folder. A request is one line of JSON, and so is each answer. Requests
carry no facts of their own: what a command writes is in the database, and "look again" is enough to make the daemon
see it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from scheduler.control.sockets import OWN_FOLDER, REQUEST_BYTES, Listener, listen
from scheduler.core.values.problems import UnavailableError
from scheduler.machine.locks import Lock
from scheduler.machine.log import Log
from scheduler.root.place import Place, make_private, unusable

_LOCK_TRIES_S = 1.0  # a process that only looks holds the lock for a moment
_START_S = 5.0  # between taking the lock and listening

_log = Log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The daemon that holds a database."""

    pid: int
    host: str
    root: str
    since: str
    socket: str | None  # None: it could not create one; it sees changes at its next rescan
    db: str = ""

    def __str__(self) -> str:
        since = re.sub(r"\.\d+Z$", "Z", self.since)
        return f"process {self.pid} on {self.host}, serving {self.root} since {since}"


def _lock_path(place: Place) -> Path:
    return place.db.with_name(place.db.name + ".daemon")


class DaemonLock(contextlib.AbstractContextManager["DaemonLock"]):
    """One database held by this process, until `release`.

    There are two locks: one beside the database, visible to everybody who shares it, and a mark outside the root, which
    survives if the state folder is deleted under the daemon. There is a socket beside each.
    """

    def __init__(self, place: Place, *, since: str, listening: bool = True) -> None:
        """
        listening: False for a process that only keeps daemons away meanwhile.
        Raises: UnavailableError if another daemon holds it, naming that one.
        """
        self._sockets: list[Listener] = []
        beside = _lock_path(place)
        try:
            make_private(beside.parent)
            self._locks = [_Named(beside, place)]
        except OSError as error:
            raise unusable(beside.parent, error) from error
        if place.mark is not None:
            try:
                make_private(place.mark.parent)
                self._locks.append(_Named(place.mark, place))
            except OSError as error:
                why = "if its state folder is deleted, no command can find this daemon"
                _log.warning("no_mark", why, path=place.mark, error=error.strerror)
            except UnavailableError:
                self._locks[0].end()
                raise
        self._mark = self._locks[1].path if len(self._locks) > 1 else None
        if listening:
            self._sockets = listen(beside.with_suffix(".sock"), self._mark and self._mark.with_suffix(".sock"))
        paths = [each.path for each in self._sockets]
        self.holder = Holder(
            pid=os.getpid(),
            host=socket.gethostname(),
            root=str(place.label),
            since=since,
            socket=str(paths[0]) if paths else None,
            db=str(place.db),
        )
        try:
            for lock, path in zip(self._locks, (paths[:1], paths[-1:]), strict=False):
                lock.write(replace(self.holder, socket=str(path[0]) if path else None))
        except OSError as error:
            self.release()
            raise unusable(beside.parent, error) from error

    @property
    def listeners(self) -> list[socket.socket]:
        return [each.socket for each in self._sockets]

    def release(self) -> None:
        for each in self._sockets:
            each.close()
        for lock in self._locks:
            # The one beside the database stays for those who cannot see the mark: if it were unlinked, a second daemon
            # could lock a new file while somebody still looks at this one.
            lock.end(unlink=lock.path == self._mark)

    def __exit__(self, *_: object) -> None:
        self.release()


class _Named(Lock):
    """A lock whose file says who holds it."""

    def __init__(self, path: Path, place: Place) -> None:
        """Raises: UnavailableError if a daemon holds it; OSError if no file can be created."""
        try:
            super().__init__(path, wait=_LOCK_TRIES_S)
        except BlockingIOError:
            raise UnavailableError(
                f"another daemon uses the database {place.db}: {_read(path) or 'one that is just starting'}",
                hint="only one daemon can use a database: stop that one, or choose another database with --db",
            ) from None
        dead = _parsed(os.pread(self.file, REQUEST_BYTES, 0))
        if dead is not None:
            _tidy(dead)

    def write(self, holder: Holder) -> None:
        os.ftruncate(self.file, 0)
        os.pwrite(self.file, json.dumps(asdict(holder)).encode(), 0)

    def end(self, *, unlink: bool = False) -> None:
        if unlink and self.is_named():
            self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a full disk
            os.ftruncate(self.file, 0)
        self.close()


def _tidy(dead: Holder) -> None:
    """Remove the socket's folder that a killed daemon left behind."""
    if dead.socket is not None and Path(dead.socket).parent.name.startswith(OWN_FOLDER):
        with contextlib.suppress(OSError):
            if Path(dead.socket).parent.stat().st_uid == os.geteuid():
                Path(dead.socket).unlink(missing_ok=True)
                Path(dead.socket).parent.rmdir()


def _read(path: Path) -> Holder | None:
    try:
        return _parsed(path.read_bytes())
    except OSError:
        return None


def _parsed(data: bytes) -> Holder | None:
    try:
        return Holder(**json.loads(data))
    except (ValueError, TypeError):
        return None


def find(place: Place) -> Holder | None:
    """The daemon that holds this database now. Waits for one that is just starting.

    Also finds one whose database is gone, or in the root's other default place, by its mark.
    """
    give_up = time.monotonic() + _START_S
    while True:
        held = False
        for path in (_lock_path(place), place.mark):
            found = None if path is None else _holder_at(path)
            if isinstance(found, Holder):
                return found
            held = held or found is not None
        if not held:
            return None
        if time.monotonic() > give_up:
            raise UnavailableError(
                f"a daemon uses {place.db}, but its lock file does not identify it", hint="try again"
            )
        time.sleep(0.05)


def _holder_at(path: Path) -> Holder | Literal["nameless"] | None:
    try:
        # Shared: another process that looks at the same moment is no daemon. Works on a read-only file system, too.
        with Lock(path, os.O_RDONLY, shared=True, wait=0):
            return None
    except BlockingIOError:
        return _read(path) or "nameless"
    except OSError:
        return None
