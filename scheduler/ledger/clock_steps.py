"""Rows that lie ahead because the clock has gone back (F6): the SQL, within the store's transactions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler.core.times.clocks import Ahead, Boot, Cut, Righted
from scheduler.core.values.instants import instant, parse_instant
from scheduler.core.values.runs import Run
from scheduler.core.values.spec import JobSpec

_SLOTS = "\"trigger\" IN ('schedule', 'catch_up') AND reason IS NOT 'void'"
# Slots from the cursor on that have a row; none, but where the clock has gone back.
TAKEN = f"""(SELECT json_group_array(fire_time) FROM (SELECT fire_time FROM runs WHERE job_id = jobs.id AND {_SLOTS}
    AND fire_time >= jobs.next_run_at ORDER BY fire_time))"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """What lies after an instant, of the jobs whose newest slot does."""

    skips: tuple[Ahead, ...]
    taken: dict[str, tuple[datetime, ...]]  # by job: slots whose rows stay


def taken(text: str) -> tuple[datetime, ...]:
    return tuple(map(parse_instant, json.loads(text)))


def later(sql: sqlite3.Connection, job_ids: Iterable[str], stamp: str) -> Later:
    """stamp: the instant, as the database writes it."""
    skips: list[Ahead] = []
    stays: dict[str, tuple[datetime, ...]] = {}
    columns = "n, status, reason, fire_time, coalesce(fire_time_last, fire_time) AS last, slots, generation"
    for job_id in job_ids:
        rows = sql.execute(
            f"SELECT {columns} FROM (SELECT * FROM runs WHERE job_id = ?1 AND {_SLOTS} AND fire_time > ?2"
            f" UNION ALL SELECT * FROM (SELECT * FROM runs WHERE job_id = ?1 AND {_SLOTS} AND fire_time <= ?2"
            " ORDER BY fire_time DESC LIMIT 1)) WHERE last > ?2 ORDER BY fire_time",
            (job_id, stamp),
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
            skips.append(
                Ahead(
                    job_id=job_id,
                    n=row["n"],
                    first=parse_instant(row["fire_time"]),
                    last=parse_instant(row["last"]),
                    slots=row["slots"],
                    reason=row["reason"],
                    schedule=specs[generation].schedule,
                )
            )
    return Later(skips=tuple(skips), taken=stays)


def armed_at(sql: sqlite3.Connection, job_id: str) -> datetime | None:
    """When a stopped job was started anew last: of what passed before, nothing more is due."""
    (at,) = sql.execute(
        "SELECT max(at) FROM audit WHERE job_id = ? AND action IN ('arm', 'resume') AND field = 'status'", (job_id,)
    ).fetchone()
    return None if at is None else parse_instant(at)


def void(
    sql: sqlite3.Connection,
    found: Cut,
    *,
    stamp: Callable[[datetime], str],
    next_n: Callable[[str], int],
    now: datetime,
) -> None:
    """Takes the slots that lie ahead out of a skip. What it was stays to be read, outside of the unique index."""
    ahead = found.ahead
    was = f"the clock went back to {instant(now.replace(microsecond=0))}; it was {ahead.reason}"
    if not found.kept:
        sql.execute(
            "UPDATE runs SET reason = 'void', error = ? WHERE job_id = ? AND n = ? AND status = 'skipped'",
            (was, ahead.job_id, ahead.n),
        )
        return
    assert found.kept_last is not None
    sql.execute(
        'INSERT INTO runs (job_id, n, "trigger", status, reason, fire_time, fire_time_last, slots, requested_at,'
        " finished_at, generation, error) SELECT job_id, ?, \"trigger\", status, 'void', ?, ?, ?, ?, ?, generation, ?"
        " FROM runs WHERE job_id = ? AND n = ?",
        (
            next_n(ahead.job_id),
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
    sql.execute(
        "UPDATE runs SET fire_time_last = ?, slots = ? WHERE job_id = ? AND n = ?",
        (stamp(found.kept_last), found.kept, ahead.job_id, ahead.n),
    )


def set_right(sql: sqlite3.Connection, found: Righted, *, stamp: Callable[[datetime], str], ticket: int) -> bool:
    """False where somebody has moved the cursor meanwhile."""

    def text(at: datetime | None) -> str | None:
        return None if at is None else stamp(at)

    job = found.job
    moved = sql.execute(
        "UPDATE jobs SET next_run_at = ?, activated_at = ?, paused_at = ?, stopped_at = ?, changed = ?"
        " WHERE id = ? AND next_run_at IS ?",
        (
            text(found.next_run_at),
            stamp(found.activated_at),
            text(found.paused_at),
            text(found.stopped_at),
            ticket,
            job.id,
            text(job.next_run_at),
        ),
    )
    return moved.rowcount > 0


def hasten(sql: sqlite3.Connection, runs: Sequence[Run], *, stamp: Callable[[datetime], str]) -> None:
    """When runs are tried again, where the clock that said so was ahead."""
    for run in runs:
        assert run.retry_at is not None
        sql.execute(
            "UPDATE runs SET retry_at = ? WHERE job_id = ? AND n = ? AND status = 'queued' AND retry_at NOTNULL",
            (stamp(run.retry_at), run.job_id, run.n),
        )


def boot(sql: sqlite3.Connection) -> Boot | None:
    row = sql.execute("SELECT boot_id, booted_at FROM root").fetchone()
    if row["booted_at"] is None:
        return None
    return Boot(boot_id=row["boot_id"], booted_at=parse_instant(row["booted_at"]))


def newest(sql: sqlite3.Connection) -> datetime | None:
    """When the last thing was written, by the clock of then. Not the latest instant that was ever written."""
    row = sql.execute(
        "SELECT max(coalesce((SELECT at FROM audit ORDER BY seq DESC LIMIT 1), ''), coalesce(synced_at, '')) AS at"
        " FROM root"
    ).fetchone()
    return parse_instant(row["at"]) if row["at"] else None
