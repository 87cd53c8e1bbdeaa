"""Phantom's database, read and never written."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scheduler.core.phantom import NEEDED
from scheduler.core.problems import UnavailableError, UsageError
from scheduler.database import UnwritableError, connect_to_read

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
        with _reader(path) as sql:
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


@contextlib.contextmanager
def _reader(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that makes nothing beside the file, and sees what stands in its journal."""
    with contextlib.ExitStack() as cleanup:
        journal = path.with_name(path.name + "-journal")
        if journal.exists():  # of a process that may be gone: rolled back in a copy
            folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="scheduler-import-")))
            for file in (path, journal):
                shutil.copyfile(file, folder / file.name)
            connection = sqlite3.connect(folder / path.name, isolation_level=None)
        else:
            why = f"{path} cannot be read"
            connection, others = connect_to_read(path, UnwritableError(why, hint="make it and its folder readable"))
            cleanup.enter_context(others)
        cleanup.callback(connection.close)
        connection.row_factory = sqlite3.Row
        # What is no UTF-8 is shown, not lost: whoever reads the report finds the row by it.
        connection.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
        yield connection
