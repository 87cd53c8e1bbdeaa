"""The schema: its version in a database, creating a new database, and migrating an older one."""

from __future__ import annotations

import functools
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from scheduler.core.values.problems import UnavailableError
from scheduler.ledger.database import make_durable
from scheduler.machine.locks import Lock

APPLICATION_ID = 0x53434844  # "SCHD" in the file's header identifies our databases
_AGAIN_S = 0.01


@functools.cache
def migrations() -> Sequence[tuple[str, str]]:
    """Name and SQL of every migration, in order."""
    return [(file.stem, file.read_text()) for file in sorted(Path(__file__).with_name("sql").glob("*.sql"))]


def _alone(path: Path) -> Lock:
    """Allow one process at a time to create or migrate a database: another would find it half finished."""
    return Lock(path.with_name(path.name + ".lock"))


def create_database(path: Path) -> None:
    """Create a database under its name, complete from the start: an empty file there can only mean a loss."""
    with _alone(path):
        if path.exists():
            return
        new = path.with_name(path.name + ".new")
        new.unlink(missing_ok=True)
        # Private before SQLite opens it: the journal files inherit the mode.
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(new, isolation_level=None)
        try:
            _migrate(connection, migrations())
        finally:
            connection.close()
        # A journal left behind by a lost database would be replayed into this one.
        for suffix in ("-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        new.replace(path)
        make_durable(path.parent)  # otherwise a power loss could take the name and every claim with it


def bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Give an open database the newest schema and a write-ahead log. Raises: UnavailableError, as `schema_version`."""
    steps = migrations()
    latest = len(steps)
    if schema_version(connection, path, latest) < latest:
        with _alone(path):
            if schema_version(connection, path, latest) < latest:
                _migrate(connection, steps)
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        _journal_ahead(connection)


def _journal_ahead(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log. While another process does so, SQLite fails at once, whatever the timeout."""
    (wait_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
    give_up = time.monotonic() + wait_ms / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up:
                raise
        time.sleep(_AGAIN_S)


def schema_version(connection: sqlite3.Connection, path: Path, latest: int) -> int:
    """The number of migrations that a database has had; 0 if it is empty.

    latest: the number of migrations that exist.
    Raises: UnavailableError if it belongs to another program or has had more than that.
    """
    connection.execute("BEGIN")  # one view: a migration elsewhere must not commit between the two reads
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        names = "SELECT count(*) FROM sqlite_master WHERE name <> '_sqlite_migrations' AND name NOT LIKE 'sqlite_%'"
        (tables,) = connection.execute(names).fetchone()
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
    if application == 0 and found == 0 and tables == 0:
        return 0
    if application != APPLICATION_ID:
        raise UnavailableError(f"{path} is another program's database", hint="choose another file with --db")
    if found > latest:
        raise UnavailableError(
            f"{path} was written by a newer version (schema {found}; this version supports {latest})",
            hint="upgrade the scheduler; nothing was changed",
        )
    return int(found)


def _migrate(connection: sqlite3.Connection, migrations: Sequence[tuple[str, str]]) -> None:
    """Apply the missing migrations, each in its own transaction. A failed one leaves no trace."""
    # sqlite-utils takes a tenth of a second to import, so only here, where a schema changes.
    from sqlite_utils import Database, Migrations

    steps = Migrations("scheduler")
    for number, (name, text) in enumerate(migrations, start=1):

        def step(db: Database, number: int = number, text: str = text) -> None:
            for statement in _statements(text):
                db.conn.execute(statement)
            db.conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.conn.execute(f"PRAGMA user_version = {number}")

        steps(name=name)(step)
    try:
        steps.apply(Database(connection, strict=True))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_ERROR:  # a full disk, a lock: not our SQL
            raise
        raise UnavailableError(f"the database could not be upgraded: {error}; it was not changed") from error


def _statements(text: str) -> Iterator[str]:
    """The single statements of a script: `executescript` would commit the migration's transaction."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        raise ValueError(f"a migration ends inside a statement: {statement.strip()[:60]!r}")
