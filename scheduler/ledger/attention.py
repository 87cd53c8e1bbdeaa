"""Which jobs may need a person, without looking at each: every page shows how many do."""

from __future__ import annotations

from datetime import datetime
from sqlite3 import Connection

from scheduler.core.due.expected import LATE
from scheduler.core.values.facts import SyncState
from scheduler.ledger.rows import stamp

_SUSPECT = """SELECT id FROM jobs WHERE archived_at IS NULL AND (consecutive_errors > 0 OR stopped_at NOTNULL
    OR sync_state <> ? OR next_run_at < ?) LIMIT ?"""
_ALARMED = "SELECT key FROM streaks WHERE key > 'alarm/' AND key < 'alarm0' AND open LIMIT ?"  # as the daemon told
_PAUSED = "SELECT id FROM jobs WHERE (paused_at NOTNULL OR stopped_at NOTNULL) AND archived_at IS NULL LIMIT ?"
_EXPECTING = """SELECT EXISTS (SELECT 1 FROM jobs WHERE archived_at IS NULL AND next_run_at NOTNULL
    AND stopped_at IS NULL AND (paused_at IS NULL OR paused_until NOTNULL))"""


def suspects(sql: Connection, now: datetime, *, most: int) -> list[str]:
    """The jobs that may be stopped, failing, overdue or not as their files say: all others are neither."""
    found = [row["id"] for row in sql.execute(_SUSPECT, (SyncState.SYNCED, stamp(now - LATE), most))]
    told = [row["key"].split("/", 1)[1].rpartition("/")[0] for row in sql.execute(_ALARMED, (most,))]
    return list(dict.fromkeys([*found, *told]))[:most]


def paused(sql: Connection, *, most: int) -> list[str]:
    """The jobs that are paused, and those that have stopped."""
    return [row["id"] for row in sql.execute(_PAUSED, (most,))]


def expects_daemon(sql: Connection) -> bool:
    """True if there is a job with a slot to come, unless all of these are paused without an end."""
    (found,) = sql.execute(_EXPECTING).fetchone()
    return bool(found)
