"""One connection to the database, and its transactions. The statements are in the modules beside it.

Hot paths are plain SQL under `BEGIN IMMEDIATE`: a deferred transaction that reads and then writes fails at once with
"database is locked", whatever the timeout. Commits are durable (`synchronous=FULL`), because a claim undone by a
power loss would run its slot twice.
A Store belongs to one thread at a time.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from scheduler.core.values.instants import milliseconds
from scheduler.core.values.problems import UnavailableError
from scheduler.ledger import database
from scheduler.ledger.database import DamagedError, UnwritableError, in_words
from scheduler.ledger.schema import bring_up_to_date, create_database, migrations, schema_version
from scheduler.machine.crash import crash_point

P = ParamSpec("P")
T = TypeVar("T")
BUSY_TIMEOUT = timedelta(seconds=10)


class Store(contextlib.AbstractContextManager["Store"]):
    """One connection to one database. Opening it migrates an older database and refuses a newer or foreign one."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        busy_timeout: timedelta = BUSY_TIMEOUT,
        read_only: str = "",
        cleanup: contextlib.ExitStack | None = None,
    ) -> None:
        """read_only: why nothing can be written; empty if it can. cleanup: what is closed after the connection."""
        self._connection = connection
        self._cleanup = cleanup
        self._busy_timeout = self._patience = busy_timeout
        self._journal = path.with_name(path.name + "-wal")
        self.path = path
        self.read_only = read_only

    @classmethod
    def open(cls, path: Path, *, busy_timeout: timedelta = BUSY_TIMEOUT, create: bool = True) -> Store:
        """Open the database, or create it if `create` allows that.

        Raises: UnavailableError if it is gone, locked, damaged, not ours or from a newer version.
        """
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                if not create:
                    raise UnavailableError(
                        f"the database {path} is gone", hint="`scheduler restore` lists the backups and restores one"
                    )
                with in_words(path):
                    create_database(path)
            database.refuse_what_is_no_file(path)
            database.part_from_journal(path)
            with in_words(path):
                connection = sqlite3.connect(
                    path, timeout=busy_timeout.total_seconds(), isolation_level=None, check_same_thread=False
                )
        except OSError as error:
            raise _unopened(path, error) from error
        try:
            with in_words(path):
                _prepare(connection)
                bring_up_to_date(connection, path)
        except OSError as error:
            connection.close()
            raise _unopened(path, error) from error
        except BaseException:
            connection.close()
            raise
        return cls(connection, path, busy_timeout=busy_timeout)

    @classmethod
    def open_to_read(cls, path: Path) -> Store:
        """Like `open`, for readers: works even if the disk is full or read-only. Creates no database.

        `read_only` says why it could not be opened as usual. Raises: UnavailableError, as `open`.
        """
        try:
            store = cls.open(path, create=False)
            if not os.access(path, os.W_OK):
                store.read_only = f"the database {path} is read-only: this shows its last saved state"
            return store
        except UnwritableError as error:
            connection, cleanup = database.connect_to_read(path, error)
            try:
                with in_words(path):
                    _prepare(connection)
                    found = schema_version(connection, path, latest := len(migrations()))
                    if found < latest:
                        raise UnavailableError(
                            f"{path} was written by an older version and cannot be upgraded: {error}", hint=error.hint
                        ) from error
            except BaseException:
                connection.close()
                cleanup.close()
                raise
            return cls(connection, path, read_only=str(error), cleanup=cleanup)

    def close(self) -> None:
        self._connection.close()
        if self._cleanup is not None:
            self._cleanup.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view for several SELECTs."""
        with in_words(self.path):
            self._roll_back()
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            except (ValueError, KeyError) as error:  # in our own rows: SQLite has no checksums, and missed it
                raise DamagedError(
                    f"{self.path} is damaged: it contains invalid values ({type(error).__name__}: {error})",
                    hint="`scheduler restore BACKUP` restores a backup and keeps the damaged file beside it",
                ) from error
            finally:
                self._roll_back()

    @contextlib.contextmanager
    def writing(self, *, durable: bool = True, wait: timedelta | None = None) -> Iterator[sqlite3.Connection]:
        """One transaction. If it is not durable, a power loss can undo it, but nothing else can.

        wait: for other processes, at most. None: as long as a command waits.
        """
        if self.read_only:  # the open file may be a copy
            raise UnwritableError(self.read_only, hint="nothing was written")
        # Threads of one process queue here: SQLite would let them retry at random, and some would never get in.
        wait = self._patience if wait is None else wait
        with in_words(self.path), _turn(self.path).taken(wait) as left:
            self._roll_back()
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._begin(left)
            try:
                yield self._connection
                crash_point("before_commit")
                self._connection.execute("COMMIT")
            except BaseException:
                # Also after a failed COMMIT: a deferred constraint leaves the transaction open.
                self._roll_back()
                raise

    def _begin(self, wait: timedelta) -> None:
        self._connection.execute(f"PRAGMA busy_timeout = {milliseconds(wait)}")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                _turn(self.path).locked_at = time.monotonic()
            raise
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {milliseconds(self._busy_timeout)}")

    @contextlib.contextmanager
    def hurried(self, wait: timedelta) -> Iterator[None]:
        """Within the block, each transaction waits for other writers for no longer than that."""
        before, self._patience = self._patience, wait
        try:
            yield
        finally:
            self._patience = before

    def _roll_back(self) -> None:
        """End the transaction, if any. An error may have ended it already, or left it open."""
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # tried again before the next one
                self._connection.execute("ROLLBACK")

    def read(self, look: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **named: P.kwargs) -> T:
        """The result of one statement of the ledger: `store.read(queries.job, "heartbeat")`."""
        with self.reading() as sql:
            return look(sql, *args, **named)

    def write(self, change: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **named: P.kwargs) -> T:
        """Run one statement of the ledger in its own durable transaction. What it raises undoes the transaction."""
        with self.writing() as sql:
            return change(sql, *args, **named)

    @contextlib.contextmanager
    def unchecked(self) -> Iterator[None]:
        """Within the block, foreign keys are not checked: for a deletion that makes sure of them itself."""
        self._connection.execute("PRAGMA foreign_keys = OFF")
        try:
            yield
        finally:
            self._connection.execute("PRAGMA foreign_keys = ON")

    def damage(self) -> str:
        """What SQLite finds wrong with the file; empty if nothing. Reads all of it."""
        try:
            with self.reading() as sql:
                found = [" ".join(row[0].split()) for row in sql.execute("PRAGMA quick_check(3)")]
        except DamagedError as error:
            return str(error)
        return "" if found == ["ok"] else "; ".join(found)

    def tend_journal(self) -> None:
        """Move the write-ahead log into the database, so that no commit has to, and keep its file long.

        A commit that makes a file longer takes twice as long. Zeros behind the last frame end the log for SQLite: a
        frame of page 0 is none (sqlite.org/fileformat2.html, section 4.1).
        Raises: UnavailableError.
        """
        with in_words(self.path):
            self._roll_back()
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        if 0 < self.journal_bytes() < _KEPT_BYTES:
            # Nobody else writes meanwhile: zeros would overwrite their frames.
            with self.writing(durable=False, wait=timedelta(0)), self._journal.open("r+b") as journal:
                size = journal.seek(0, os.SEEK_END)
                journal.write(bytes(max(0, _KEPT_BYTES - size)))
                journal.flush()
                os.fdatasync(journal.fileno())

    def journal_bytes(self) -> int:
        """The size of the write-ahead log, which shrinks again once nobody reads from it."""
        try:
            return self._journal.stat().st_size
        except OSError:
            return 0


_CACHE_KIB = 512  # pages per connection: a daemon has over a dozen, and the system caches the file as well
_JOURNAL_PAGES = 4_000  # of 4 KiB; after as many, a commit itself moves the write-ahead log into the database
_KEPT_BYTES = 4 * 1024 * 1024  # a daemon keeps it at least this long,
_JOURNAL_BYTES = 16 * 1024 * 1024  # and one that a long reader let grow shrinks back to this


class _Turn:
    """The one lock that this process takes before it writes to a database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.locked_at = 0.0  # when a thread here last gave up waiting for another process

    @contextlib.contextmanager
    def taken(self, wait: timedelta) -> Iterator[timedelta]:
        """Yield what is left of a timeout: threads queued behind a waiting one have waited with it.

        Otherwise a lock of another process would delay the last of many threads by many timeouts.
        Raises: sqlite3.OperationalError if another thread keeps it for as long as that.
        """
        came = time.monotonic()
        if not self._lock.acquire(timeout=wait.total_seconds()):
            error = sqlite3.OperationalError("database is locked by another thread")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        try:
            waited = timedelta(seconds=time.monotonic() - came if self.locked_at > came else 0)
            yield max(wait - waited, min(wait, _LAST_TRY))
        finally:
            self._lock.release()


_LAST_TRY = timedelta(milliseconds=100)
_turns: dict[Path, _Turn] = {}


def _turn(path: Path) -> _Turn:
    return _turns.setdefault(path, _Turn())


def _unopened(path: Path, error: OSError) -> UnwritableError:
    return UnwritableError(
        f"cannot open the database {path}: {error.strerror}", hint="make it writable, or choose another one with --db"
    )


def _prepare(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")  # a full TMPDIR must not stop firing
    connection.execute(f"PRAGMA wal_autocheckpoint = {_JOURNAL_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")
