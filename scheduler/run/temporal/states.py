"""What to do about a try that was handed over, by what its id says. Pure: the promise of workers stands here."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

NO_LESS = timedelta(hours=24)  # the retention that is assumed while the server has not told its own


class Says(StrEnum):
    """What the server says of an id."""

    UNKNOWN = "unknown"
    RUNNING = "running"
    CLOSED = "closed"
    UNREACHABLE = "unreachable"


class Step(StrEnum):
    WAIT = "wait"
    FOLLOW = "follow"
    END = "end"  # write its end, however old it is
    START = "start"  # hand it over, again under the same id
    CAPACITY = "capacity"  # nobody has begun it, and it is too late now
    LOST = "lost"  # nobody knows how it ended, and it is never started again by itself


def next_step(
    says: Says, *, handed_at: datetime, not_after: datetime, now: datetime, retention: timedelta | None
) -> Step:
    """
    handed_at: when its row was written, before anything was sent. not_after: the latest start.
    retention: how long the server knows a closed id. After that, the id is free again: a second start would be
    accepted, so at half of it an unknown id no longer proves that nothing has run.
    """
    if says is Says.UNREACHABLE:
        return Step.WAIT
    if says is Says.RUNNING:
        return Step.FOLLOW
    if says is Says.CLOSED:
        return Step.END
    if now - handed_at >= (retention or NO_LESS) / 2:
        return Step.LOST
    return Step.START if now < not_after else Step.CAPACITY
