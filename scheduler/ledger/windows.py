"""Totals of a job's rows in a time window: a year of minutely slots takes about a second.

A window is [start, end) of fire times. A row of several slots belongs to the window that contains its first slot. Use
`reaching` for a row that reaches into the window.
"""

from __future__ import annotations

from datetime import datetime
from sqlite3 import Connection

from scheduler.core.past.windows import Covered, ServedSlots
from scheduler.core.values.runs import Run, RunStatus
from scheduler.ledger.rows import SLOTS, find_runs, from_row, stamp

_IN = f"job_id = :job AND {SLOTS} AND fire_time >= :start AND fire_time < :end"
_LAST = "coalesce(fire_time_last, fire_time)"
_SUMS = f"sum(slots) AS slots, min(fire_time) AS first, max({_LAST}) AS last"

# Consecutive slots for which nothing ran: rows that never started, with no other row between them.
_IDLE = f"""
WITH idle AS (SELECT fire_time AS first, {_LAST} AS last, slots, lag({_LAST}) OVER (ORDER BY fire_time) AS before
        FROM runs WHERE {_IN} AND started_at IS NULL),
    marked AS (SELECT first, last, slots, sum(before IS NULL OR EXISTS (SELECT 1 FROM runs
        WHERE job_id = :job AND {SLOTS} AND fire_time > before AND fire_time < first)
        ) OVER (ORDER BY first) AS stretch FROM idle),
    stretches AS (SELECT min(first) AS first, max(last) AS last, sum(slots) AS slots FROM marked GROUP BY stretch)
SELECT * FROM stretches ORDER BY unixepoch(last) - unixepoch(first) DESC, slots DESC, first LIMIT 1"""


def served(sql: Connection, job_id: str, start: datetime, end: datetime) -> list[ServedSlots]:
    """The rows of a window by status and reason. Successes, nearly all of the rows, are summed without sorting."""
    given = _given(job_id, start, end)
    found = sql.execute(
        f"SELECT 'succeeded' AS status, NULL AS reason, {_SUMS} FROM runs WHERE {_IN} AND status = 'succeeded'"
        f" HAVING count(*) > 0 UNION ALL SELECT * FROM (SELECT status, reason, {_SUMS} FROM runs"
        f" WHERE {_IN} AND status <> 'succeeded' GROUP BY status, reason ORDER BY sum(slots) DESC, status, reason)",
        given,
    )
    return [from_row(ServedSlots, row) for row in found]


def covered(sql: Connection, job_id: str, start: datetime, end: datetime) -> Covered | None:
    """The slots of a window that have a row, or None if none has one."""
    (row,) = sql.execute(f"SELECT {_SUMS} FROM runs WHERE {_IN}", _given(job_id, start, end))
    return None if row["slots"] is None else from_row(Covered, row)


def reaching(sql: Connection, job_id: str, at: datetime) -> Run | None:
    """The row of several slots, some before an instant and others at or after it."""
    where = f"job_id = ? AND {SLOTS} AND fire_time < ? ORDER BY fire_time DESC LIMIT 1"
    return next((run for run in find_runs(sql, where, job_id, stamp(at)) if (run.fire_time_last or at) >= at), None)


def exceptions(sql: Connection, job_id: str, start: datetime, end: datetime, *, most: int) -> list[Run]:
    """The rows of a window that are not successes, oldest first."""
    return find_runs(
        sql,
        f"job_id = ? AND {SLOTS} AND fire_time >= ? AND fire_time < ? AND status <> ? ORDER BY fire_time LIMIT ?",
        job_id, stamp(start), stamp(end), RunStatus.SUCCEEDED.value, most,
    )  # fmt: skip


def exception_count(sql: Connection, job_id: str, start: datetime, end: datetime) -> int:
    """The number of rows of a window that are not successes."""
    query = f"SELECT count(*) FROM runs WHERE {_IN} AND status <> 'succeeded'"
    return int(sql.execute(query, _given(job_id, start, end)).fetchone()[0])


def longest_idle(sql: Connection, job_id: str, start: datetime, end: datetime) -> Covered | None:
    """The longest stretch of consecutive slots for which nothing was started."""
    row = sql.execute(_IDLE, _given(job_id, start, end)).fetchone()
    return None if row is None else from_row(Covered, row)


def by_hand(sql: Connection, job_id: str, start: datetime, end: datetime) -> int:
    """The number of runs requested by hand in a window."""
    (found,) = sql.execute(
        "SELECT count(*) FROM runs WHERE job_id = :job AND \"trigger\" IN ('manual', 'rerun')"
        " AND requested_at >= :start AND requested_at < :end",
        _given(job_id, start, end),
    ).fetchone()
    return int(found)


def _given(job_id: str, start: datetime, end: datetime) -> dict[str, str]:
    return {"job": job_id, "start": stamp(start), "end": stamp(end)}
