"""The cursor of a job, its run numbers, and the ticket that says what a plan was computed from."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import datetime
from sqlite3 import Connection
from typing import TypeVar

from scheduler.core.times.fires import next_fire
from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.spec import JobSpec
from scheduler.ledger.rows import SLOTS, stamp, stamp_or_none

T = TypeVar("T")
_REPLAN_S = 30.0  # so long, writes by others are no fault


class StaleError(Exception):
    """The data that a transaction was computed from has changed. The transaction is rolled back."""


def until_fresh(turn: Callable[[], T], failed: str) -> T:
    """Repeat a turn of reading, computing and writing as long as others change the data it was computed from.

    Raises: UnavailableError, which says what has `failed`, after half a minute.
    """
    give_up = time.monotonic() + _REPLAN_S
    while True:
        try:
            return turn()
        except StaleError as error:
            if time.monotonic() >= give_up:
                said = f"other processes kept changing the database; {failed}"
                raise UnavailableError(said, hint="try again") from error
            time.sleep(random.uniform(0, 0.05))  # spread out, or the same processes collide again


def current_ticket(sql: Connection) -> int:
    (ticket,) = sql.execute("SELECT plan_inputs FROM root").fetchone()
    return int(ticket)


def need_ticket(sql: Connection, seen: int) -> None:
    """Raises: StaleError if a pass or a pause came after `seen`."""
    if current_ticket(sql) != seen:
        raise StaleError


def next_ticket(sql: Connection) -> int:
    """Make every plan computed meanwhile stale, because its input has just changed. Returns the new ticket."""
    sql.execute("UPDATE root SET plan_inputs = plan_inputs + 1")
    return current_ticket(sql)


def move_cursor(sql: Connection, job_id: str, *, seen: datetime | None, to: datetime | None) -> None:
    """Raises: StaleError if `to` was computed from another cursor: the slots before it already have rows."""
    moved = sql.execute(
        "UPDATE jobs SET next_run_at = ? WHERE id = ? AND next_run_at IS ?",
        (stamp_or_none(to), job_id, stamp_or_none(seen)),
    )
    if not moved.rowcount:
        raise StaleError


def free_slot(sql: Connection, job_id: str, spec: JobSpec, slot: datetime | None) -> datetime | None:
    """The cursor, or the first slot after it without a row. After the clock went back, future slots may have one."""
    row = f"SELECT 1 FROM runs WHERE job_id = ? AND fire_time = ? AND {SLOTS}"
    while slot is not None and sql.execute(row, (job_id, stamp(slot))).fetchone() is not None:
        slot = next_fire(spec.due_by, after=slot)
    return slot


def next_number(sql: Connection, job_id: str) -> int:
    (n,) = sql.execute("UPDATE jobs SET last_n = last_n + 1 WHERE id = ? RETURNING last_n", (job_id,)).fetchone()
    return int(n)
