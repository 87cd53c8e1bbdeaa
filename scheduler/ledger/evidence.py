"""What the rows show of each job, for the rule of `core.expected`: the SQL, within one view of the store."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from scheduler.core.values.instants import parse_instant

_SLOTS = "\"trigger\" IN ('schedule', 'catch_up') AND reason IS NOT 'void'"


def succeeded_at(sql: sqlite3.Connection, job_id: str, stamp: str) -> datetime | None:
    """When a run succeeded last, up to an instant: what a wrong clock has written beyond it is no success."""
    return _one(
        sql.execute(
            "SELECT max(finished_at) AS at FROM runs WHERE job_id = ? AND status = 'succeeded' AND finished_at <= ?",
            (job_id, stamp),
        )
    )


def resumed_at(sql: sqlite3.Connection, job_id: str, stamp: str) -> datetime | None:
    """When a pause was lifted or a stopped job started anew last."""
    return _one(
        sql.execute(
            "SELECT max(at) AS at FROM audit WHERE job_id = ? AND action IN ('arm', 'resume') AND at <= ?",
            (job_id, stamp),
        )
    )


def covered_until(sql: sqlite3.Connection, job_id: str, stamp: str) -> datetime | None:
    """The last slot of the row that begins latest at or before an instant."""
    return _one(
        sql.execute(
            f"SELECT coalesce(fire_time_last, fire_time) AS at FROM runs WHERE job_id = ? AND {_SLOTS}"
            " AND fire_time <= ? ORDER BY fire_time DESC LIMIT 1",
            (job_id, stamp),
        )
    )


def told(sql: sqlite3.Connection) -> set[tuple[str, str]]:
    """(job, kind) of the alarms that the audit rows tell of, and of no end of them."""
    rows = sql.execute(
        "SELECT job_id, field, action FROM audit WHERE seq IN"
        " (SELECT max(seq) FROM audit WHERE action IN ('alarm', 'all_clear') GROUP BY job_id, field)"
    )
    return {(row["job_id"], row["field"]) for row in rows if row["action"] == "alarm"}


def _one(found: sqlite3.Cursor) -> datetime | None:
    row = found.fetchone()
    return None if row is None or row["at"] is None else parse_instant(row["at"])
