"""Skips: the rows of slots that no run served (F4)."""

from __future__ import annotations

from datetime import datetime
from sqlite3 import Connection

from scheduler.core.values.facts import FileFacts
from scheduler.core.values.runs import Run, RunStatus, Skip, Trigger
from scheduler.ledger import told
from scheduler.ledger.cursor import next_number
from scheduler.ledger.rows import ACTIVE, JOBS, SLOTS, insert, set_run, stamp, the_run, to_job


def add_skip(
    sql: Connection, job_id: str, facts: FileFacts, skip: Skip, now: datetime, *, error: str | None = None
) -> None:
    """Cover slots that no run served. Consecutive ones with the same reason share a row (F4).

    error: a sentence about the newest of them, if skips for this reason always have one.
    """
    if _extended(sql, job_id, facts, skip, now, error=error) is None:
        insert_skip(sql, job_id, facts, skip, now, error=error)


def skip_alike(sql: Connection, run: Run, *, reason: str, now: datetime) -> Run:
    """Turn a claimed run into a skip whose reason says it all. Its slot joins the row of such a skip before it (F4).

    Returns the row that covers the slot, so possibly that of an older number; the run itself if it has ended already.
    """
    job = to_job(sql.execute(f"{JOBS} WHERE jobs.id = ?", (run.job_id,)).fetchone())
    found = sql.execute(f"SELECT 1 FROM runs WHERE job_id = ? AND n = ? AND {ACTIVE}", (run.job_id, run.n)).fetchone()
    if found is not None and run.fire_time is not None:
        skip = Skip(first=run.fire_time, last=run.fire_time, slots=1, reason=reason)
        joined = _extended(sql, run.job_id, job.file, skip, now, beside=run.n)
        if joined is not None:
            sql.execute("DELETE FROM runs WHERE job_id = ? AND n = ?", (run.job_id, run.n))
            return the_run(sql, run.job_id, joined)
    skipped = {"status": RunStatus.SKIPPED, "reason": reason, "finished_at": now, "owner": None}
    if set_run(sql, run.job_id, run.n, ACTIVE, **skipped):
        told.skipped(sql, run.job_id, run.n, reason, now=now)
    return the_run(sql, run.job_id, run.n)


def _extended(
    sql: Connection,
    job_id: str,
    facts: FileFacts,
    skip: Skip,
    now: datetime,
    *,
    error: str | None = None,
    beside: int | None = None,
) -> int | None:
    """The number of the row that a skip has joined. error: as in `add_skip`.

    beside: a row that does not stand between the two.
    """
    row = sql.execute(
        "UPDATE runs SET fire_time_last = ?, slots = slots + ?, finished_at = ?, error = ?"
        " WHERE status = 'skipped' AND reason = ? AND (error IS NULL) = (? IS NULL) AND generation = ?"
        " AND coalesce(fire_time_last, fire_time) > ? AND coalesce(fire_time_last, fire_time) < ?"
        " AND (job_id, n) = (SELECT job_id, n FROM runs WHERE job_id = ?"
        f" AND {SLOTS} AND n IS NOT ? ORDER BY fire_time DESC LIMIT 1)"
        " AND NOT EXISTS (SELECT 1 FROM audit WHERE audit.job_id = runs.job_id AND action IN ('arm', 'resume')"
        " AND field = 'status' AND at > coalesce(fire_time_last, fire_time)) RETURNING n",
        (
            stamp(skip.last),
            skip.slots,
            stamp(now),
            error,
            skip.reason,
            error,
            facts.generation,
            stamp(facts.activated_at),  # slots in between, while it was away or stopped, were not due
            stamp(skip.first),
            job_id,
            beside,
        ),
    ).fetchone()
    return None if row is None else int(row["n"])


def insert_skip(
    sql: Connection, job_id: str, facts: FileFacts, skip: Skip, now: datetime, *, error: str | None = None
) -> None:
    n = next_number(sql, job_id)
    insert(
        sql,
        "runs",
        job_id=job_id,
        n=n,
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
    told.skipped(sql, job_id, n, skip.reason, error=error, now=now)
