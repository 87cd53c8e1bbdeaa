"""What has changed since an earlier look, by the counters that every writer moves anyway: no write pays for it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from sqlite3 import Connection

from scheduler.core.values.hints import RELOAD, SYNC, Hint, Position
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.ledger.rows import ACTIVE, batched

MOST = 500  # hints of one look; of more, a page had better read everything again


def data_version(sql: Connection) -> int:
    """A number that differs from the last one on this connection if another connection has written."""
    (found,) = sql.execute("PRAGMA data_version").fetchone()
    return int(found)


def position(sql: Connection) -> Position:
    """How far the database is now. Costs a row for each active run."""
    (ticket, audit, run) = sql.execute(
        "SELECT plan_inputs, (SELECT coalesce(max(seq), 0) FROM audit), (SELECT coalesce(max(rowid), 0) FROM runs)"
        " FROM root"
    ).fetchone()
    rows = sql.execute(
        "SELECT rowid, job_id, n, status || coalesce(retry_at, '') || coalesce(started_at, '')"
        f" FROM runs WHERE {ACTIVE}"
    )
    return Position(ticket=ticket, audit=audit, run=run, active={row: (job, n, state) for row, job, n, state in rows})


def hints_between(sql: Connection, before: Position, now: Position) -> tuple[Hint, ...]:
    """What changed between two positions, each thing once; RELOAD alone if that is much, or cannot be told.

    now: the position of the same transaction.
    """
    if now.ticket < before.ticket or now.audit < before.audit or now.run < before.run:
        return (RELOAD,)  # another database, such as a restored one
    found = dict.fromkeys(_changes(sql, before, now))
    return (RELOAD,) if len(found) > MOST else tuple(found)


def _changes(sql: Connection, before: Position, now: Position) -> Iterator[Hint]:
    """At most a few more than MOST of each kind."""
    if now.ticket != before.ticket:
        yield SYNC
        rows = sql.execute("SELECT id FROM jobs WHERE changed > ? LIMIT ?", (before.ticket, MOST + 1))
        yield from (Hint(job_id) for (job_id,) in rows)
    rows = sql.execute("SELECT DISTINCT job_id FROM audit WHERE seq > ? LIMIT ?", (before.audit, MOST + 1))
    yield from (SYNC if job_id == ROOT_JOB_ID else Hint(job_id) for (job_id,) in rows)
    rows = sql.execute("SELECT job_id, n FROM runs WHERE rowid > ? LIMIT ?", (before.run, MOST + 1))
    yield from (Hint(job_id, n) for job_id, n in rows)
    # What was active then has ended since, or its state differs. A run that began later has a newer row.
    differing = [row for row, run in before.active.items() if now.active.get(row) != run]
    for some in batched(differing):
        marks = ", ".join("?" * len(some))
        rows = sql.execute(f"SELECT job_id, n FROM runs WHERE rowid IN ({marks})", some)
        yield from (Hint(job_id, n) for job_id, n in rows)
    # An old run can become active again: a queued retry, or a repair after the clock went back.
    yield from (Hint(job, n) for row, (job, n, _) in now.active.items() if row not in before.active and row <= now.run)


def tags(sql: Connection, job_ids: Collection[str]) -> Mapping[str, tuple[str, ...]]:
    """The tags of each of these jobs."""
    found: dict[str, tuple[str, ...]] = {}
    for some in batched(job_ids):
        marks = ", ".join("?" * len(some))
        rows = sql.execute(
            "SELECT id, json_extract(spec, '$.tags') FROM jobs JOIN definitions"
            f" ON job_id = id AND definitions.generation = jobs.generation WHERE id IN ({marks})",
            some,
        )
        found |= {job_id: tuple(json.loads(each or "[]")) for job_id, each in rows}
    return found
