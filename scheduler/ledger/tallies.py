"""Counters that only grow, for monitors. Triggers on `runs` fill them (sql/0025_tallies.sql); a sync counts itself."""

from __future__ import annotations

from datetime import datetime
from sqlite3 import Connection
from typing import Literal, NamedTuple

from scheduler.ledger.files import applied_commit
from scheduler.ledger.rows import moment

SyncResult = Literal["changed", "unchanged", "failed"]


class Gauge(NamedTuple):
    """What is known of a job at this moment."""

    job_id: str
    next_run_at: datetime | None
    consecutive_errors: int


class RunTally(NamedTuple):
    """Ended runs of a job that are alike."""

    job_id: str
    status: str
    trigger: str
    runs: int
    started: int  # those with a duration
    duration_ms: int
    punctual: int  # those whose delay counts: by schedule, not caught up
    delay_ms: int


class Tally(NamedTuple):
    """label: the reason of skips, the model of a cost, the kind of tokens; the result of syncs, which have no job."""

    job_id: str
    label: str
    count: int  # type: ignore[assignment]  # tuples have a method of that name


def run_tallies(sql: Connection) -> list[RunTally]:
    return [
        RunTally._make(row)
        for row in sql.execute(
            'SELECT job_id, status, "trigger", runs, started, duration_ms, punctual, delay_ms FROM run_tallies'
            ' ORDER BY job_id, status, "trigger"'
        )
    ]


def skip_tallies(sql: Connection) -> list[Tally]:
    """Skipped slots, by reason."""
    return [Tally._make(row) for row in sql.execute("SELECT job_id, reason, slots FROM skip_tallies ORDER BY 1, 2")]


def cost_tallies(sql: Connection) -> list[Tally]:
    """Billionths of a US dollar, by model. The model is empty if it is unknown."""
    return [Tally._make(row) for row in sql.execute("SELECT job_id, model, nano FROM cost_tallies ORDER BY 1, 2")]


def token_tallies(sql: Connection) -> list[Tally]:
    """Tokens, by kind. The kinds do not overlap."""
    return [Tally._make(row) for row in sql.execute("SELECT job_id, kind, tokens FROM token_tallies ORDER BY 1, 2")]


def sync_tallies(sql: Connection) -> list[Tally]:
    """Passes, by result."""
    return [Tally("", *row) for row in sql.execute("SELECT result, passes FROM sync_tallies ORDER BY 1")]


def count_sync(sql: Connection, result: SyncResult) -> None:
    """Count a pass, in its own transaction."""
    sql.execute(
        "INSERT INTO sync_tallies (result, passes) VALUES (?, 1)"
        " ON CONFLICT (result) DO UPDATE SET passes = passes + 1",
        (result,),
    )


def gauges(sql: Connection) -> list[Gauge]:
    """Of the jobs that are not archived, by id."""
    rows = sql.execute("SELECT id, next_run_at, consecutive_errors FROM jobs WHERE archived_at IS NULL ORDER BY id")
    return [Gauge(job_id, moment(at), errors) for job_id, at, errors in rows]


def last_successes(sql: Connection) -> dict[str, datetime]:
    """By job that is not archived: when a run last succeeded."""
    rows = sql.execute(
        "SELECT id, (SELECT max(finished_at) FROM runs WHERE job_id = jobs.id AND status = 'succeeded') AS at"
        " FROM jobs WHERE archived_at IS NULL"
    )
    return {job_id: at for job_id, text in rows if (at := moment(text)) is not None}


def applied_revision(sql: Connection) -> tuple[str | None, bool]:
    """The commit of the last pass, None if there is none; and whether a file that it applied differs from it."""
    changed = "IN ('modified', 'untracked')"
    (dirty,) = sql.execute(
        f"SELECT EXISTS (SELECT 1 FROM jobs WHERE archived_at IS NULL AND (dirty {changed} OR task_dirty {changed}))"
    ).fetchone()
    return applied_commit(sql), bool(dirty)
