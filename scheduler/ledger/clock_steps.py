"""Rows in the future after the clock went back (F6): the SQL, within the store's transactions."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Connection

from scheduler.core.times.clocks import Ahead, Boot, Cut, Righted
from scheduler.core.values.instants import instant, parse_instant
from scheduler.core.values.runs import AuditRow, Run
from scheduler.core.values.spec import JobSpec
from scheduler.ledger.audit import append_audit
from scheduler.ledger.cursor import move_cursor, need_ticket, next_number, next_ticket
from scheduler.ledger.rows import SLOTS, WAITS_FOR_RETRY, from_row, moment, set_job, set_run, stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Slots after an instant, of the jobs whose newest slot is after it."""

    skips: tuple[Ahead, ...]
    taken: dict[str, tuple[datetime, ...]]  # by job: slots whose rows stay


def later(sql: Connection, job_ids: Iterable[str], now: datetime) -> Later:
    """The rows of slots after `now`. There are none unless the clock went back."""
    skips: list[Ahead] = []
    stays: dict[str, tuple[datetime, ...]] = {}
    slots = "fire_time, fire_time AS first, coalesce(fire_time_last, fire_time) AS last, slots"
    columns = f"job_id, n, status, reason, {slots}, generation"
    for job_id in job_ids:
        rows = sql.execute(
            f"SELECT {columns} FROM (SELECT * FROM runs WHERE job_id = ?1 AND {SLOTS} AND fire_time > ?2"
            f" UNION ALL SELECT * FROM (SELECT * FROM runs WHERE job_id = ?1 AND {SLOTS} AND fire_time <= ?2"
            " ORDER BY fire_time DESC LIMIT 1)) WHERE last > ?2 ORDER BY fire_time",
            (job_id, stamp(now)),
        ).fetchall()
        specs: dict[int, JobSpec] = {}
        for row in rows:
            if row["status"] != "skipped":
                stays[job_id] = (*stays.get(job_id, ()), parse_instant(row["fire_time"]))
                continue
            if (generation := row["generation"]) not in specs:
                (text,) = sql.execute(
                    "SELECT spec FROM definitions WHERE job_id = ? AND generation = ?", (job_id, generation)
                ).fetchone()
                specs[generation] = JobSpec.from_json(json.loads(text))
            skips.append(from_row(Ahead, row, schedule=specs[generation].schedule))
    return Later(skips=tuple(skips), taken=stays)


def armed_at(sql: Connection, job_id: str) -> datetime | None:
    """When a stopped job was last started again: slots before that are no longer due."""
    (at,) = sql.execute(
        "SELECT max(at) FROM audit WHERE job_id = ? AND action IN ('arm', 'resume') AND field = 'status'", (job_id,)
    ).fetchone()
    return moment(at)


def _void(sql: Connection, found: Cut, now: datetime) -> None:
    """Remove the future slots from a skip. The original stays readable, outside the unique index."""
    ahead = found.ahead
    was = f"the clock went back to {instant(now.replace(microsecond=0))}; before that: {ahead.reason}"
    if not found.kept:
        set_run(sql, ahead.job_id, ahead.n, "status = 'skipped'", reason="void", error=was)
        return
    assert found.kept_last is not None
    sql.execute(
        'INSERT INTO runs (job_id, n, "trigger", status, reason, fire_time, fire_time_last, slots, requested_at,'
        " finished_at, generation, error) SELECT job_id, ?, \"trigger\", status, 'void', ?, ?, ?, ?, ?, generation, ?"
        " FROM runs WHERE job_id = ? AND n = ?",
        (
            next_number(sql, ahead.job_id),
            stamp(found.first),
            stamp(ahead.last),
            found.void,
            stamp(now),
            stamp(now),
            was,
            ahead.job_id,
            ahead.n,
        ),
    )
    set_run(sql, ahead.job_id, ahead.n, fire_time_last=found.kept_last, slots=found.kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocked:
    """The clock as it was: the time of the boot, the last write, and a digest of the zones' rules."""

    boot: Boot | None
    newest: datetime | None  # by the clock of that time; not the latest instant ever written
    zone_rules: str | None
    zones: frozenset[str] | None = None  # those zones; None: not known


def last_clock(sql: Connection) -> Clocked:
    """What earlier processes recorded of their clock."""
    row = sql.execute(
        "SELECT boot_id, booted_at, zone_rules, zones, nullif(max(coalesce((SELECT at FROM audit ORDER BY seq DESC"
        " LIMIT 1), ''), coalesce(synced_at, '')), '') AS newest FROM root"
    ).fetchone()
    booted_at = moment(row["booted_at"])
    boot = None if booted_at is None else Boot(boot_id=row["boot_id"], booted_at=booted_at)
    zones = None if row["zones"] is None else frozenset(json.loads(row["zones"]))
    return Clocked(boot=boot, newest=moment(row["newest"]), zone_rules=row["zone_rules"], zones=zones)


def keep_zones(sql: Connection, zones: Iterable[str], zone_rules: str | None) -> None:
    """Record the zones in use, and a digest of their rules as of all cursors; None leaves the digest as it is."""
    sql.execute(
        "UPDATE root SET zones = ?, zone_rules = coalesce(?, zone_rules)", (json.dumps(sorted(zones)), zone_rules)
    )


def ahead(sql: Connection, now: datetime, *, not_before: datetime) -> set[str]:
    """The jobs with something in the future, or that became active before the clock can ever have been right."""
    rows = sql.execute(
        "SELECT id FROM jobs WHERE activated_at > ?1 OR activated_at < ?2 OR paused_at > ?1 OR stopped_at > ?1"
        " OR (SELECT coalesce(fire_time_last, fire_time) FROM runs"
        f" WHERE job_id = jobs.id AND {SLOTS} ORDER BY fire_time DESC LIMIT 1) > ?1",
        (stamp(now), stamp(not_before) if not_before <= now else ""),
    )
    return {row["id"] for row in rows}


def keep_boot(sql: Connection, boot: Boot) -> None:
    """Record the trusted clock for later processes."""
    sql.execute("UPDATE root SET boot_id = ?, booted_at = ?", (boot.boot_id, stamp(boot.booted_at)))


def repair_clock(
    sql: Connection,
    jobs: Sequence[Righted],
    *,
    cuts: Sequence[Cut],
    retries: Sequence[Run],
    zones: Collection[str] | None,
    zone_rules: str | None,
    ticket: int,
    audit: Sequence[AuditRow],
    now: datetime,
) -> None:
    """Repair the rows after the clock went back or the rules of a zone changed (F6). Leaves the rows of runs alone.

    zones, zone_rules: all zones in use and a digest of their rules, if all cursors were checked. Otherwise None.
    Raises: StaleError if `ticket` is stale or a cursor has moved.
    """
    need_ticket(sql, ticket)
    changed = next_ticket(sql)
    for found in cuts:
        _void(sql, found, now)
    for each in jobs:
        move_cursor(sql, each.job.id, seen=each.job.next_run_at, to=each.next_run_at)
        set_job(
            sql,
            each.job.id,
            activated_at=each.activated_at,
            paused_at=each.paused_at,
            stopped_at=each.stopped_at,
            changed=changed,
        )
    for run in retries:  # sooner, if the clock that set the time was ahead
        set_run(sql, run.job_id, run.n, WAITS_FOR_RETRY, retry_at=run.retry_at)
    if zones is not None:
        keep_zones(sql, zones, zone_rules)
    sql.execute("UPDATE root SET synced_at = min(synced_at, ?)", (stamp(now),))
    append_audit(sql, audit)
