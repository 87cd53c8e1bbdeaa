"""Skips: the rows of slots that no run served (F4)."""

from __future__ import annotations

from datetime import datetime
from sqlite3 import Connection

from scheduler.core.values.facts import FileFacts
from scheduler.core.values.runs import RunStatus, Skip, Trigger
from scheduler.ledger.cursor import next_number
from scheduler.ledger.rows import SLOTS, insert, stamp


def add_skip(sql: Connection, job_id: str, facts: FileFacts, skip: Skip, now: datetime) -> None:
    """Cover slots that no run served. Consecutive ones with the same reason share a row (F4)."""
    extended = sql.execute(
        "UPDATE runs SET fire_time_last = ?, slots = slots + ?, finished_at = ?"
        " WHERE status = 'skipped' AND reason = ? AND error IS NULL AND generation = ?"
        " AND coalesce(fire_time_last, fire_time) > ? AND (job_id, n) = (SELECT job_id, n FROM runs WHERE job_id = ?"
        f" AND {SLOTS} ORDER BY fire_time DESC LIMIT 1)"
        " AND NOT EXISTS (SELECT 1 FROM audit WHERE audit.job_id = runs.job_id AND action IN ('arm', 'resume')"
        " AND field = 'status' AND at > coalesce(fire_time_last, fire_time))",
        (
            stamp(skip.last),
            skip.slots,
            stamp(now),
            skip.reason,
            facts.generation,
            stamp(facts.activated_at),  # slots in between, while it was away or stopped, were not due
            job_id,
        ),
    )
    if not extended.rowcount:
        insert_skip(sql, job_id, facts, skip, now)


def insert_skip(
    sql: Connection, job_id: str, facts: FileFacts, skip: Skip, now: datetime, *, error: str | None = None
) -> None:
    insert(
        sql,
        "runs",
        job_id=job_id,
        n=next_number(sql, job_id),
        trigger=Trigger.SCHEDULE,
        status=RunStatus.SKIPPED,
        reason=skip.reason,
        fire_time=skip.first,
        fire_time_last=skip.last,
        slots=skip.slots,
        requested_at=now,
        finished_at=now,
        generation=facts.generation,
        error=error,
    )
