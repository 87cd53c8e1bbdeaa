"""Copies of a database: made while it is in use, and checked before they are put back."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.runs import AuditRow
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.ledger.audit import append_audit
from scheduler.ledger.database import UnwritableError, connect_to_read, in_words
from scheduler.ledger.put_back import copied_at
from scheduler.ledger.schema import migrations, schema_version
from scheduler.ledger.store import BUSY_TIMEOUT

_STEP_PAGES = 256  # a megabyte


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The content of a database, in numbers."""

    jobs: int  # including archived ones
    runs: int  # including skips
    bytes: int
    schema: int
    copied_at: datetime | None  # when this copy was made, if it is one of ours


def copy_database(
    source: Path, target: Path, *, live: bool, at: datetime, actor: str, pace: Callable[[], None] = lambda: None
) -> None:
    """Copy a database as it is at one moment into a new, private file. The file is durable on return.

    live: others may read and write the database meanwhile. pace: called after every megabyte, to let them proceed.
    The copy's last audit row says when it was made, unless its source is itself a copy. Whoever opens the copy for
    work recognises it by that.
    Raises: UnavailableError, with no file left; FileExistsError.
    """
    file = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with in_words(source), _original(source, live=live) as original:
            _known_schema(original, source)
            with in_words(target), contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy:
                copy.row_factory = sqlite3.Row
                copy.execute("PRAGMA synchronous = OFF")  # made durable below, in pieces
                copy.execute("PRAGMA journal_mode = OFF")

                def copied(*_: int) -> None:
                    os.fsync(file)  # a backlog of unwritten pages would delay the next claim's own
                    pace()

                # One view over all steps: otherwise each write elsewhere would restart the copying.
                original.execute("BEGIN")
                original.execute("SELECT 1 FROM root").fetchone()
                original.backup(copy, pages=_STEP_PAGES, progress=copied)
                original.execute("COMMIT")
                copy.execute("PRAGMA journal_mode = DELETE")  # no -wal and no -shm beside it, whoever opens it
                if copied_at(copy) is None:
                    row = AuditRow(job_id=ROOT_JOB_ID, action="backup", at=at, actor=actor, cause="backup")
                    append_audit(copy, [row])
        os.fsync(file)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


@contextlib.contextmanager
def _original(path: Path, *, live: bool) -> Iterator[sqlite3.Connection]:
    """A connection to copy from, even if the disk is full or read-only: that is when a copy is needed most."""
    with contextlib.ExitStack() as cleanup:
        try:
            with in_words(path):
                connection = cleanup.enter_context(contextlib.closing(_reader(path, live=live)))
                connection.execute("SELECT count(*) FROM sqlite_master")
        except UnwritableError as error:
            connection, others = connect_to_read(path, error)
            cleanup.enter_context(others)
            cleanup.enter_context(contextlib.closing(connection))
            connection.row_factory = sqlite3.Row
        yield connection


def check_database(path: Path) -> Contents:
    """The content of a database that is ours, sound and not from a newer version. Reads all of it.

    Raises: UnavailableError.
    """
    with in_words(path), contextlib.closing(_reader(path)) as sql:
        schema = _known_schema(sql, path)
        found = [row[0] for row in sql.execute("PRAGMA integrity_check(3)")]
        if found != ["ok"]:
            raise UnavailableError(f"{path} is damaged: {'; '.join(found)}", hint="use another copy")
        (jobs,) = sql.execute("SELECT count(*) FROM jobs").fetchone()
        (runs,) = sql.execute("SELECT count(*) FROM runs").fetchone()
        made_at = copied_at(sql)
    return Contents(jobs=jobs, runs=runs, bytes=path.stat().st_size, schema=schema, copied_at=made_at)


def _reader(path: Path, *, live: bool = False) -> sqlite3.Connection:
    """A read-only connection. Leaves nothing beside a file that nobody else has open."""
    journals = [path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")]
    how = "mode=rw" if live else "mode=ro" if any(each.exists() for each in journals) else "mode=ro&immutable=1"
    uri = f"{path.absolute().as_uri()}?{how}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT.total_seconds())
    connection.row_factory = sqlite3.Row
    return connection


def _known_schema(sql: sqlite3.Connection, path: Path) -> int:
    schema = schema_version(sql, path, len(migrations()))
    if not schema:
        raise UnavailableError(f"{path} is an empty database")
    return schema
