"""Requests to run a job that are kept so that a repeat does not run it twice."""

from __future__ import annotations

from datetime import datetime, timedelta
from sqlite3 import Connection

from scheduler.ledger.rows import stamp

KEPT_FOR = timedelta(days=7)


def reserve(sql: Connection, actor: str, key: str, asked: str, now: datetime) -> tuple[str, str | None] | None:
    """Keep a request, and return None; or return what an earlier one with this key has asked, and its run."""
    sql.execute("DELETE FROM requests WHERE at < ?", (stamp(now - KEPT_FOR),))
    row = sql.execute("SELECT asked, run_id FROM requests WHERE actor = ? AND key = ?", (actor, key)).fetchone()
    if row is not None:
        return row["asked"], row["run_id"]
    values = (actor, key, asked, stamp(now))
    sql.execute("INSERT INTO requests (actor, key, asked, at) VALUES (?, ?, ?, ?)", values)
    return None


def settle(sql: Connection, actor: str, key: str, run_id: str | None) -> None:
    """Keep the run of a request; without one, forget the request."""
    if run_id is None:
        sql.execute("DELETE FROM requests WHERE actor = ? AND key = ? AND run_id IS NULL", (actor, key))
    else:
        sql.execute("UPDATE requests SET run_id = ? WHERE actor = ? AND key = ?", (run_id, actor, key))
