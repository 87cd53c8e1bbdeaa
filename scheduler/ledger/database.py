"""The database as a file: SQLite's errors in words that help, and reading it where nothing can be written."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Literal

from scheduler.core.values.problems import UnavailableError

_HEADER_BYTES = 100
_PRIMARY = 0xFF  # of SQLite's extended codes: the kind of error


class LockedError(UnavailableError):
    """Another process writes, or has the file to itself."""


class DamagedError(UnavailableError):
    """The file does not contain what was written to it."""


class UnwritableError(UnavailableError):
    """The file or its neighbours cannot be written: a full disk, a read-only file system, a failing disk."""


@contextlib.contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Turn SQLite's exceptions into errors that say what to do."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a violated rule of ours, never the machine's fault
    except sqlite3.DatabaseError as error:
        raise _in_words(path, error) from error


def _in_words(path: Path, error: sqlite3.DatabaseError) -> UnavailableError:
    text = str(error)
    # Errors that the module itself raises, such as for text that is not UTF-8, have no code.
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT if "decode" in text else -1) & _PRIMARY:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return LockedError(
                f"the database {path} is locked by another process", hint="try again once that process is done"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return DamagedError(
                f"{path} is damaged or not a SQLite database ({text})",
                hint="`scheduler restore BACKUP` restores a backup and keeps the damaged file beside it",
            )
        case sqlite3.SQLITE_FULL:
            return UnwritableError(
                f"cannot write the database {path}: its disk is full", hint="free some space; nothing was written"
            )
        case sqlite3.SQLITE_READONLY:
            return UnwritableError(
                f"cannot write the database {path}: it, its folder, or its file system is read-only ({text})",
                hint="make it writable, or choose another one with --db",
            )
        case sqlite3.SQLITE_CANTOPEN:
            return UnwritableError(
                f"cannot open the database {path}: {text}",
                hint="make its folder writable, or raise ulimit -n; or choose another one with --db",
            )
        case sqlite3.SQLITE_IOERR:
            return UnwritableError(
                f"the database {path} cannot be used: {text}",
                hint="its disk is full or failing: check `df` and the kernel's log",
            )
    return UnavailableError(f"the database {path} cannot be used: {text}")


def refuse_what_is_no_file(path: Path) -> None:
    """Raises: UnavailableError for a folder, a pipe or a device: opening a pipe would wait forever."""
    found = path.stat()
    for is_kind, name in ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket")):
        if is_kind(found.st_mode):
            raise UnavailableError(
                f"cannot open the database {path}: it is a {name}", hint="give the database file with --db"
            )
    if not stat.S_ISREG(found.st_mode):
        raise UnavailableError(
            f"cannot open the database {path}: it is not a regular file", hint="choose another one with --db"
        )
    if found.st_size == 0:
        raise UnavailableError(
            f"the database {path} is empty: its content is lost",
            hint="`scheduler restore` lists and restores backups; `sync --new-state` starts without history",
        )
    if found.st_size < _HEADER_BYTES:  # SQLite takes a file of one byte for a new database
        raise DamagedError(
            f"{path} is damaged or not a SQLite database: it has {found.st_size} bytes",
            hint="`scheduler restore BACKUP` restores a backup and keeps the damaged file beside it",
        )


def connect_to_read(path: Path, error: UnwritableError) -> tuple[sqlite3.Connection, contextlib.ExitStack]:
    """A connection to a database beside which no file can be created, and what to close after it.

    For a database in WAL mode, SQLite needs a shared index beside it, and creates one unless a process that has the
    database open has done so. Without a journal to read, the file alone is complete and can be opened as immutable. A
    journal left by a dead process is copied with the database: nobody is left to change them meanwhile.
    Raises: `error`, the reason why it cannot be opened as usual, if this fails too.
    """
    cleanup = contextlib.ExitStack()
    try:
        wal, index = path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")
        if index.exists():
            with contextlib.suppress(sqlite3.OperationalError):  # a full disk leaves an empty one
                return connect_in_mode(path, "mode=ro"), cleanup
        if not wal.exists() or wal.stat().st_size == 0:
            return connect_in_mode(path, "immutable=1"), cleanup
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="scheduler-read-")))
        for file in (path, wal):
            shutil.copyfile(file, folder / file.name)
        return connect_in_mode(folder / path.name, "mode=rw"), cleanup
    except (OSError, sqlite3.OperationalError):
        cleanup.close()
        raise error from None


def connect_in_mode(path: Path, mode: str, *, timeout: timedelta = timedelta(seconds=5)) -> sqlite3.Connection:
    """A connection that has read the schema. mode: a part of SQLite's URI. timeout: for a lock of another process.

    Raises: sqlite3.Error.
    """
    name = os.fspath(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = sqlite3.connect(
        f"file:{name}?{mode}", timeout=timeout.total_seconds(), uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


_opened: dict[tuple[int, int], int] = {}  # files by device and inode
_MOST_OPENED = 64  # a process uses one or two databases


def part_from_journal(path: Path) -> None:
    """Rename a journal that cannot be this database's: it belongs to the database that was here before.

    SQLite would replay it into a copy that was put there, and leave a mixture of both. A copy of ours has no such
    journal until it is opened for work, as its header shows.
    """
    journal = path.with_name(path.name + "-wal")
    if not journal.exists():
        return
    if journals_by(path) == "rollback":
        stale = journal.stat().st_mtime_ns
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(path.with_name(f"{path.name}.stale-{stale}{suffix}"))


def journals_by(path: Path) -> Literal["wal", "rollback", "nothing"]:
    """The journal mode in a database's header; "nothing" if the file is no database. Costs a stat and a read.

    `wal` once it was opened for work. A copy of ours has `rollback` until then.
    Raises: OSError.
    """
    found = path.stat()
    key = found.st_dev, found.st_ino
    if key not in _opened:  # kept open: closing it would drop the locks that SQLite has on it in this process
        _opened[key] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if len(_opened) > _MOST_OPENED:
            os.close(_opened.pop(next(iter(_opened))))
    header = os.pread(_opened[key], 19, 0)  # sqlite.org/fileformat2.html, section 1.3
    if not header.startswith(b"SQLite format 3\0"):
        return "nothing"
    return "wal" if header[18] == 2 else "rollback"


def make_durable(folder: Path) -> None:
    """Make the names in a folder survive a power loss. Raises: OSError."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
