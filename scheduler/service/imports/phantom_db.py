"""Phantom's database: read, never written."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from scheduler.core.imports.phantom import NEEDED
from scheduler.core.values.problems import UnavailableError, UsageError
from scheduler.ledger.database import UnwritableError, connect_in_mode, connect_to_read, journals_by

Rows = list[dict[str, Any]]
PATIENCE = timedelta(seconds=5)  # for a lock of its owner


def read_phantom(path: Path) -> tuple[Rows, Rows]:
    """The rows of `scheduled_jobs`, each with its number as `_row`, and those of `scheduler_audit_log`, oldest first.

    A database in use is read as it is, and nothing is created beside it. Text that is not UTF-8 contains lone
    surrogates. Raises: UnavailableError for a file that cannot be read, is damaged or is not an SQLite database;
    UsageError if it contains no jobs of Phantom.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe would block forever
            raise UsageError(f"{path} is not a file", hint="give Phantom's database, such as data/phantom.db")
        size = path.stat().st_size
        path.open("rb").close()
    except OSError as error:
        raise UnavailableError(f"cannot read {path}: {error.strerror}") from error
    if not size:
        raise UnavailableError(f"{path} is empty", hint="give Phantom's database, such as data/phantom.db")
    try:
        with _reader(path) as sql:
            return _read(sql, path)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise UnavailableError(
                f"{path} is locked by another process ({error})", hint="stop Phantom, or try again in a moment"
            ) from error
        raise UnavailableError(
            f"{path} is damaged or not a SQLite database ({error})", hint="import an undamaged copy of it"
        ) from error
    except OSError as error:
        raise UnavailableError(f"cannot read {path}: {error.strerror}", hint="try again in a moment") from error


def _read(sql: sqlite3.Connection, path: Path) -> tuple[Rows, Rows]:
    sql.execute("BEGIN")
    columns = {each["name"] for each in sql.execute("PRAGMA table_info(scheduled_jobs)")}
    if not columns:
        raise UsageError(f"{path} has no table scheduled_jobs", hint="give Phantom's database, such as data/phantom.db")
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise UsageError(
            f"the table scheduled_jobs in {path} has no column {', '.join(missing)}",
            hint=f"the columns needed are {', '.join(NEEDED)}",
        )
    found = [row[0] for row in sql.execute("PRAGMA quick_check(3)")]
    if found != ["ok"]:
        raise UnavailableError(f"{path} is damaged: {'; '.join(found)}", hint="import an undamaged copy of it")
    audit: Rows = []
    if sql.execute("SELECT 1 FROM sqlite_master WHERE name = 'scheduler_audit_log'").fetchone():
        audit = _rows(sql, "scheduler_audit_log")
    return _rows(sql, "scheduled_jobs"), audit


def _rows(sql: sqlite3.Connection, table: str) -> Rows:
    """The rows ordered by number: `SELECT * FROM scheduled_jobs WHERE rowid = N` finds the row in a report."""
    try:
        found = [dict(row) for row in sql.execute(f"SELECT rowid AS _row, * FROM {table} ORDER BY rowid")]
    except sqlite3.OperationalError:  # created WITHOUT ROWID
        found = [dict(row) for row in sql.execute(f"SELECT * FROM {table}")]
    for number, row in enumerate(found, 1):
        if row.get("_row") is None:
            row["_row"] = number
    return found


@contextlib.contextmanager
def _reader(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that creates nothing beside the file and reads its journal."""
    with contextlib.ExitStack() as cleanup:
        if journals_by(path) == "rollback":
            try:
                connection = connect_in_mode(path, "mode=ro", timeout=PATIENCE)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode not in _HOT:
                    raise
                # The writer of the journal is gone and left half a transaction, which is rolled back in a copy.
                folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="scheduler-import-")))
                for file in (path, path.with_name(path.name + "-journal")):
                    shutil.copyfile(file, folder / file.name)
                connection = connect_in_mode(folder / path.name, "mode=rw", timeout=PATIENCE)
        else:
            why = f"{path} cannot be read"
            connection, others = connect_to_read(path, UnwritableError(why, hint="make it and its folder readable"))
            cleanup.enter_context(others)
        cleanup.callback(connection.close)
        connection.row_factory = sqlite3.Row
        connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        yield connection


# Errors of a connection that cannot write if a transaction must be rolled back first.
_HOT = (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY, sqlite3.SQLITE_CANTOPEN)
