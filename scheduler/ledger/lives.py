"""When daemons were alive."""

from __future__ import annotations

from datetime import datetime, timedelta
from sqlite3 import Connection, Row

from scheduler.core.times.clocks import true_lives
from scheduler.core.values.runs import Life
from scheduler.ledger.rows import from_row, insert, stamp

_LONGEST_GAP = timedelta(minutes=5)  # between two signs of life
_MOST_LIVES = 5_000


def lives(sql: Connection, now: datetime) -> list[Life]:
    """When daemons were alive, by start time. Leaves out what a clock that has since gone back recorded wrongly."""
    rows = sql.execute("SELECT owner, began_at AS began, seen_at AS seen, silent, over, once FROM lives ORDER BY id")
    return true_lives([to_life(row) for row in rows], now)


def last_life(sql: Connection) -> Life | None:
    """The last daemon that was alive; None if there never was one."""
    row = sql.execute(
        "SELECT owner, began_at AS began, seen_at AS seen, silent, over, once FROM lives ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return None if row is None else to_life(row)


def to_life(row: Row) -> Life:
    return from_row(Life, row, over=bool(row["over"]), once=bool(row["once"]))


def beat(sql: Connection, owner: str, *, now: datetime, silent: str, over: bool = False, once: bool = False) -> None:
    """Record that a daemon is alive.

    A gap of minutes, or a clock that went back, starts a new row: the machine slept, or nothing could be written.
    """
    grown = sql.execute(
        "UPDATE lives SET seen_at = ?, over = ? WHERE id = (SELECT max(id) FROM lives) AND owner = ?"
        " AND silent = ? AND seen_at BETWEEN ? AND ?",
        (stamp(now), over, owner, silent, stamp(now - _LONGEST_GAP), stamp(now)),
    )
    if not grown.rowcount:
        sql.execute(  # another reason not to fire, or none: it was alive until now all the same
            "UPDATE lives SET seen_at = ? WHERE id = (SELECT max(id) FROM lives) AND owner = ?"
            " AND seen_at BETWEEN ? AND ?",
            (stamp(now), owner, stamp(now - _LONGEST_GAP), stamp(now)),
        )
        insert(sql, "lives", owner=owner, began_at=now, seen_at=now, silent=silent, over=over, once=once)
        sql.execute("DELETE FROM lives WHERE id <= (SELECT max(id) FROM lives) - ?", (_MOST_LIVES,))
