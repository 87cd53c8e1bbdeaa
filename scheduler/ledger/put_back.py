"""A copy of the database that was put back and is now the database (ADR 15)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from sqlite3 import Connection
from typing import TYPE_CHECKING

from scheduler.core.values.instants import parse_instant
from scheduler.core.values.runs import AuditRow, Run
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.ledger.audit import append_audit
from scheduler.ledger.cursor import free_slot, move_cursor, need_ticket, next_ticket
from scheduler.ledger.rows import ACTIVE, find_runs, stamp
from scheduler.ledger.skips import insert_skip

if TYPE_CHECKING:
    from scheduler.core.due.due import Due

OF_COPY = "copy"  # the reason of messages that waited when the copy was made, and of runs until they are ended
_SINCE_COPY = "this database is a copy that was put back: whether the slot was served after the copy is not known"


def copied_at(sql: Connection) -> datetime | None:
    """When this copy was made. None if this is no copy, or somebody has already gone on from it (ADR 15)."""
    row = sql.execute(
        "SELECT action, at FROM audit WHERE job_id = ? AND action IN ('backup', 'restore') ORDER BY seq DESC LIMIT 1",
        (ROOT_JOB_ID,),
    ).fetchone()
    return parse_instant(row["at"]) if row is not None and row["action"] == "backup" else None


def born_at(sql: Connection) -> datetime | None:
    """The time of the first record. None in an empty database."""
    row = sql.execute("SELECT at FROM audit ORDER BY seq LIMIT 1").fetchone()
    return None if row is None else parse_instant(row["at"])


def last_numbers(sql: Connection) -> dict[str, int]:
    """The highest run number of each job."""
    return {row["id"]: row["last_n"] for row in sql.execute("SELECT id, last_n FROM jobs")}


def write_settled(
    sql: Connection, dues: Iterable[Due], *, ticket: int, numbers: Mapping[str, int], now: datetime, audit: AuditRow
) -> list[Run]:
    """Make a copy fit for use: no slot up to now runs, because nobody knows which of them ran (F4).

    dues: those slots, as skips. Slots that waited for capacity become skips too, and are returned.
    numbers: run numbers used since the copy, as far as known. None is used again.
    Raises: StaleError if `ticket` is stale.
    """
    need_ticket(sql, ticket)
    # Before anything is told of what follows. Whether these messages were sent after the copy is not known either.
    sql.execute(
        "UPDATE deliveries SET status = 'dropped', reason = ?, done_at = ? WHERE status IN ('pending', 'sending')",
        (OF_COPY, stamp(now)),
    )
    for job_id, n in numbers.items():
        sql.execute("UPDATE jobs SET last_n = max(last_n, ?) WHERE id = ?", (n, job_id))
    for due in dues:
        to = free_slot(sql, due.job.id, due.job.file.spec, due.next_run_at)
        move_cursor(sql, due.job.id, seen=due.job.next_run_at, to=to)
        for skip in due.skips:
            insert_skip(sql, due.job.id, due.job.file, skip, now, error=_SINCE_COPY)
    # Runs that were under way or waited for a retry may have succeeded since: they are interrupted, for good. Of those
    # that were handed over, the engine knows how they ended.
    sql.execute(
        "UPDATE runs SET status = CASE status WHEN 'claimed' THEN status ELSE 'running' END, reason = ?,"
        f" retry_at = NULL WHERE {ACTIVE} AND handed IS NULL AND (status <> 'queued' OR retry_at NOTNULL)",
        (OF_COPY,),
    )
    waited = find_runs(sql, f"{ACTIVE} AND status = 'queued'")
    sql.execute(
        "UPDATE runs SET status = 'skipped', reason = 'missed', finished_at = ?, error = ?"
        f" WHERE {ACTIVE} AND status = 'queued'",
        (stamp(now), _SINCE_COPY),
    )
    sql.execute("UPDATE jobs SET changed = ?", (next_ticket(sql),))
    append_audit(sql, [audit])
    return waited
