"""What the slots of many jobs came to, and what ended around now. Each question reads a bounded number of rows."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from sqlite3 import Connection
from statistics import median_low

from scheduler.core.values.instants import parse_instant
from scheduler.core.values.runs import AuditRow
from scheduler.ledger.agents import amount_of
from scheduler.ledger.chart import CHANGE
from scheduler.ledger.rows import AUDIT_ROWS, SLOTS, stamp, to_audit_row

USUAL = 9  # newest successes by which the usual duration of a run is told


@dataclass(frozen=True, slots=True)
class Stretch:
    """Slots that one row covers."""

    at: datetime  # the first
    status: str
    reason: str | None
    slots: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A run or skip that has ended."""

    at: datetime
    status: str
    failed: bool


def strips(sql: Connection, job_ids: Collection[str], most: int) -> dict[str, list[Stretch]]:
    """The rows of each job's newest slots, at most `most` of each, oldest first."""
    rows = sql.execute(
        "SELECT job_id, fire_time, status, reason, slots FROM json_each(?) AS ids JOIN runs ON runs.rowid IN"
        f" (SELECT rowid FROM runs WHERE job_id = ids.value AND {SLOTS} ORDER BY fire_time DESC LIMIT ?)",
        (json.dumps(list(job_ids)), most),
    )
    found: dict[str, list[Stretch]] = {}
    for job_id, at, status, reason, slots in rows.fetchall():
        found.setdefault(job_id, []).append(Stretch(parse_instant(at), status, reason, slots))
    return {job_id: sorted(each, key=lambda stretch: stretch.at) for job_id, each in found.items()}


def ended_since(sql: Connection, since: datetime, until: datetime, most: int) -> list[Ended]:
    """Runs and skips of all jobs, those that ended last first."""
    from scheduler.ledger.queries import FAILED

    rows = sql.execute(
        f"SELECT finished_at, status, {FAILED} FROM runs WHERE coalesce(finished_at, '9') BETWEEN ? AND ?"
        " ORDER BY coalesce(finished_at, '9') DESC LIMIT ?",
        (stamp(since), stamp(until), most),
    )
    return [Ended(parse_instant(at), status, bool(failed)) for at, status, failed in rows.fetchall()]


def usual_ms(sql: Connection, job_ids: Collection[str]) -> dict[str, int]:
    """The median duration of each job's newest successes, in milliseconds."""
    newest = (
        "SELECT duration_ms FROM runs WHERE job_id = ? AND status = 'succeeded' AND duration_ms NOTNULL"
        " ORDER BY finished_at DESC LIMIT ?"
    )
    rows = {job_id: [took for (took,) in sql.execute(newest, (job_id, USUAL)).fetchall()] for job_id in job_ids}
    return {job_id: median_low(each) for job_id, each in rows.items() if each}


def newest_changes(sql: Connection, job_ids: Collection[str]) -> dict[str, AuditRow]:
    """The newest change of each job's definition or text."""
    newest = (
        f"SELECT seq FROM audit INDEXED BY audit_changes WHERE job_id = ids.value AND {CHANGE}"
        " AND action IN ('create', 'update', 'task', 'commit', 'revive')"
        " ORDER BY seq DESC LIMIT 2"  # AUDIT_ROWS may leave out the newest
    )
    some = f"SELECT its.seq FROM json_each(?) AS ids JOIN audit AS its ON its.seq IN ({newest})"
    rows = sql.execute(f"{AUDIT_ROWS} AND audit.seq IN ({some}) ORDER BY audit.seq", (json.dumps(list(job_ids)),))
    return {row["job_id"]: to_audit_row(row) for row in rows.fetchall()}


def costs_since(sql: Connection, job_ids: Collection[str], since: datetime) -> dict[str, list[tuple[str, Decimal]]]:
    """What runs of these jobs have spent since then, by currency. A run of unknown cost counts with its per_run."""
    rows = sql.execute(
        "SELECT job_id, currency, sum(nano) FROM json_each(?) AS ids JOIN spending ON job_id = ids.value"
        " AND since >= ? GROUP BY job_id, currency ORDER BY job_id, currency",
        (json.dumps(list(job_ids)), stamp(since)[:16]),
    )
    found: dict[str, list[tuple[str, Decimal]]] = {}
    for job_id, currency, nano in rows.fetchall():
        found.setdefault(job_id, []).append((currency, amount_of(nano)))
    return found


def names(sql: Connection, job_ids: Sequence[str] | None = None) -> dict[str, tuple[str | None, str | None]]:
    """The owner and the name that the definition of each of these jobs gives, or of all."""
    some = "" if job_ids is None else " AND id IN (SELECT value FROM json_each(?))"
    rows = sql.execute(
        "SELECT id, json_extract(spec, '$.owner'), json_extract(spec, '$.name') FROM jobs JOIN definitions"
        " ON definitions.job_id = jobs.id AND definitions.generation = jobs.generation"
        f"{some}",
        () if job_ids is None else (json.dumps(job_ids),),
    )
    return {job_id: (owner, name) for job_id, owner, name in rows.fetchall()}
