"""Phantom's database, read and never written."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from scheduler.core.phantom import NEEDED
from scheduler.core.problems import UnavailableError, UsageError

Rows = list[dict[str, Any]]


def read_phantom(path: Path) -> tuple[Rows, Rows]:
    """The rows of `scheduled_jobs`, each with its number as `_row`, and those of `scheduler_audit_log`, oldest first.

    A database in use is read as it stands; nothing is made beside it.
    Raises: UnavailableError for a file that cannot be read, is damaged or no SQLite database; UsageError where it
    holds no jobs of Phantom.
    """
    try:
        size = path.stat().st_size if path.is_file() else None
        path.open("rb").close()
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror}") from error
    if size is None:
        raise UsageError(f"{path} is no file", hint="name Phantom's database, such as data/phantom.db")
    if not size:
        raise UnavailableError(f"{path} is empty: there is nothing in it", hint="name Phantom's database")
    try:
        with contextlib.closing(_reader(path)) as sql:
            sql.execute("BEGIN")
            columns = {each["name"] for each in sql.execute("PRAGMA table_info(scheduled_jobs)")}
            if not columns:
                raise UsageError(f"{path} has no table scheduled_jobs", hint="name Phantom's database")
            missing = [name for name in NEEDED if name not in columns]
            if missing:
                raise UsageError(f"the table scheduled_jobs in {path} has no column {', '.join(missing)}")
            found = [row[0] for row in sql.execute("PRAGMA quick_check(3)")]
            if found != ["ok"]:
                raise UnavailableError(f"{path} is damaged: {'; '.join(found)}", hint="import a sound copy of it")
            jobs = _rows(sql, "SELECT rowid AS _row, * FROM scheduled_jobs ORDER BY rowid")
            audit: Rows = []
            if sql.execute("SELECT 1 FROM sqlite_master WHERE name = 'scheduler_audit_log'").fetchone():
                audit = _rows(sql, "SELECT rowid AS _row, * FROM scheduler_audit_log ORDER BY rowid")
    except sqlite3.Error as error:
        raise UnavailableError(
            f"{path} is damaged, locked or no SQLite database ({error})", hint="import a sound copy of it"
        ) from error
    return jobs, audit


def _rows(sql: sqlite3.Connection, query: str) -> Rows:
    return [dict(row) for row in sql.execute(query)]


def _reader(path: Path) -> sqlite3.Connection:
    # A journal holds what was written last; without one, a copy on a read-only disk can be read too.
    lively = any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-journal"))
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro{'' if lively else '&immutable=1'}", uri=True, isolation_level=None
    )
    connection.row_factory = sqlite3.Row
    # What is no UTF-8 is shown, not lost: whoever reads the report finds the row by it.
    connection.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
    return connection
