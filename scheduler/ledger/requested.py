"""Runs that were requested with a key, so that a repeated request starts nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from sqlite3 import Connection

from scheduler.core.values.instants import instant

KEPT = timedelta(days=7)


def take_key(sql: Connection, key: str, job_id: str, *, now: datetime) -> bool:
    """Take the key before the run is asked for. False if an earlier request has it."""
    sql.execute("DELETE FROM requests WHERE at < ?", (instant(now - KEPT),))
    taken = "INSERT INTO requests (key, at, job_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    return sql.execute(taken, (key, instant(now), job_id)).rowcount == 1


def keep_run(sql: Connection, key: str, n: int) -> None:
    sql.execute("UPDATE requests SET run_n = ? WHERE key = ?", (n, key))


def free_key(sql: Connection, key: str) -> None:
    """Give a key back: its request was refused, and no run exists."""
    sql.execute("DELETE FROM requests WHERE key = ? AND run_n IS NULL", (key,))


def run_of_key(sql: Connection, key: str) -> int | None:
    row = sql.execute("SELECT run_n FROM requests WHERE key = ?", (key,)).fetchone()
    return None if row is None else row["run_n"]
