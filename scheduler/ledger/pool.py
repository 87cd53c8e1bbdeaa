"""Open connections to one database, lent to whoever needs one."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scheduler.core.values.problems import UnavailableError
from scheduler.ledger.database import DamagedError
from scheduler.ledger.store import Store

_IDLE = 16
_CHECK_AGAIN_S = 60.0  # a damaged file that has not changed: reading all of it may take long
Lend = Callable[[], contextlib.AbstractContextManager[Store]]


class Stores:
    """Connections to one database, lent to one thread at a time: opening one takes as long as all writes of a run.

    Once a connection meets damage, none is lent until the whole file is found to be sound: writing to a damaged file
    may make it worse.
    """

    def __init__(self, path: Path, *, usable: Callable[[], str]) -> None:
        """usable: why no connection may be lent now, such as a database that is gone; empty if all is well."""
        self._path = path
        self._usable = usable
        self._idle: list[Store] = []
        self._checking = threading.Lock()
        self._damage = ""
        self._checked: tuple[object, float] = (None, 0.0)  # the file as last checked, and when

    @contextlib.contextmanager
    def lend(self) -> Iterator[Store]:
        """Raises: UnavailableError, as `Store.open`, and if the database is not usable."""
        if trouble := self.trouble():
            raise UnavailableError(
                trouble, hint="`scheduler restore BACKUP` restores a backup, and the daemon continues with it"
            )
        try:
            store = self._idle.pop()
        except IndexError:
            store = self._open()
        try:
            yield store
        except BaseException as error:
            store.close()  # its state is unknown
            self._notice(error)
            raise
        if len(self._idle) < _IDLE:
            self._idle.append(store)
        else:
            store.close()

    def trouble(self) -> str:
        """Why no connection is lent now; empty if they are. Checks a damaged database again once it has changed."""
        if trouble := self._usable():
            self.close()
            return trouble
        if self._damage and self._checking.acquire(blocking=False):
            try:
                self._look_again()
            finally:
                self._checking.release()
        return self._damage

    def _look_again(self) -> None:
        seen, at = self._checked
        now = _file_state(self._path)
        if now == seen and time.monotonic() < at + _CHECK_AGAIN_S:
            return
        self._checked = now, time.monotonic()
        with contextlib.suppress(UnavailableError), Store.open(self._path, create=False) as store:
            if not store.damage():
                self._damage = ""

    def _open(self) -> Store:
        try:
            return Store.open(self._path, create=False)
        except UnavailableError as error:
            self._notice(error)
            raise

    def _notice(self, error: BaseException | None) -> None:
        while error is not None and not isinstance(error, DamagedError):
            error = error.__cause__
        if error is not None:
            self._damage = str(error)
            self.close()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()


def _file_state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
