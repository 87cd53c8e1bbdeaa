"""Webhooks that were received: each counts once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from sqlite3 import Connection

from scheduler.ledger.rows import stamp


def remember_hook(sql: Connection, keys: Sequence[str], *, now: datetime, kept_for: timedelta, most: int) -> bool:
    """Remember a webhook. False if one with any of its keys is known; then nothing is changed.

    most: the oldest ones beyond this number of keys are forgotten, and all that are older than `kept_for`.
    """
    marks = ", ".join("?" * len(keys))
    if sql.execute(f"SELECT 1 FROM hooks WHERE key IN ({marks}) LIMIT 1", tuple(keys)).fetchone() is not None:
        return False
    sql.executemany("INSERT INTO hooks (key, at) VALUES (?, ?)", [(key, stamp(now)) for key in dict.fromkeys(keys)])
    sql.execute("DELETE FROM hooks WHERE at < ?", (stamp(now - kept_for),))
    sql.execute("DELETE FROM hooks WHERE key IN (SELECT key FROM hooks ORDER BY at DESC LIMIT -1 OFFSET ?)", (most,))
    return True
