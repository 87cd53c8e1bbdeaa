"""What every page shows of all jobs, in one walk over their rows that stops at none of them."""

from __future__ import annotations

from dataclasses import dataclass
from sqlite3 import Connection

from scheduler.core.values.facts import SyncState
from scheduler.ledger.files import applied_commit

_SUSPECT = "(consecutive_errors > 0 OR stopped_at NOTNULL OR sync_state <> :synced)"
_DIFFERS = "(dirty IN ('modified', 'untracked') OR task_dirty IN ('modified', 'untracked'))"
# All jobs that are not suspect are one row, with the id NULL, which comes first.
_WALK = f"""SELECT iif({_SUSPECT}, id, NULL) AS suspect, max(coalesce({_DIFFERS}, 0)) AS differs FROM jobs
    WHERE archived_at IS NULL AND ({_SUSPECT} OR {_DIFFERS}) GROUP BY suspect LIMIT :most"""
_PAUSED = "SELECT id FROM jobs WHERE (paused_at NOTNULL OR stopped_at NOTNULL) AND archived_at IS NULL LIMIT ?"
_EXPECTING = """SELECT EXISTS (SELECT 1 FROM jobs WHERE archived_at IS NULL AND next_run_at NOTNULL
    AND stopped_at IS NULL AND (paused_at IS NULL OR paused_until NOTNULL))"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """suspects: jobs that may be stopped, failing or not as their files say; all others are neither."""

    revision: str | None  # of the last pass
    dirty: bool  # a file that it applied differs from that
    suspects: list[str]


def glance(sql: Connection, *, most: int) -> Glance:
    values = {"synced": SyncState.SYNCED, "most": most + 1}
    rows = sql.execute(_WALK, values).fetchall()
    found = [row["suspect"] for row in rows if row["suspect"] is not None]
    return Glance(revision=applied_commit(sql), dirty=any(row["differs"] for row in rows), suspects=found[:most])


def paused(sql: Connection, *, most: int) -> list[str]:
    """The jobs that are paused, and those that have stopped."""
    return [row["id"] for row in sql.execute(_PAUSED, (most,))]


def expects_daemon(sql: Connection) -> bool:
    """True if there is a job with a slot to come, unless all of these are paused without an end."""
    (found,) = sql.execute(_EXPECTING).fetchone()
    return bool(found)
