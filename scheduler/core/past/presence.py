"""The state of a database's daemon, and what a missing daemon means for the jobs.

A monitor must not wait until a slot is late: with a nightly job, that takes a day. The ledger's record of daemons and
a free lock show it immediately.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from scheduler.core.values.codec import Stored
from scheduler.core.values.facts import Status, Watched, status_of
from scheduler.core.values.instants import instant
from scheduler.core.values.runs import Life

START = "run `scheduler serve`, or start its service"


class DaemonState(StrEnum):
    SERVING = "serving"
    OBSERVING = "observing"  # running, but fires nothing: `--observe`, or `hosts` names other machines
    SILENT = "silent"  # running, but does not answer
    STOPPED = "stopped"  # shut down properly
    DEAD = "dead"  # ended without shutting down
    ONCE = "once"  # `serve --once` was the last one: not meant to keep running
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence(Stored):
    """The daemon of a database, as seen from another process."""

    state: DaemonState
    severity: Literal["ok", "warning", "error"]
    message: str
    hint: str = ""
    pid: int | None = None
    host: str | None = None
    since: datetime | None = None  # when it started to serve
    seen_at: datetime | None = None  # the last sign of life, if it is gone


def expecting(jobs: Iterable[Watched], now: datetime) -> int:
    """The number of jobs that need a daemon: those with a slot to come, unless paused without an end."""
    return sum(
        (status := status_of(job, now)) in (Status.ACTIVE, Status.WAITING)
        or (status is Status.PAUSED and job.pause is not None and job.pause.until is not None)
        for job in jobs
    )


def absence(last: Life | None, jobs: int, now: datetime) -> Presence:
    """Describe a missing daemon. last: the last daemon that ran; jobs: the number of jobs that need one."""
    seen = None if last is None else min(last.seen, now)
    when = "" if seen is None else instant(seen.replace(microsecond=0))
    if last is None:
        state, said = DaemonState.NEVER, "not serving yet: no daemon has run here"
    elif last.once:
        state, said = DaemonState.ONCE, f"no daemon is running; `serve --once` ran last, at {when}"
    elif last.over:
        state, said = DaemonState.STOPPED, f"the daemon was stopped at {when}"
    else:
        state, said = DaemonState.DEAD, f"the daemon is dead, last seen at {when}"
    needed = jobs > 0 and state in (DaemonState.STOPPED, DaemonState.DEAD)
    if jobs and state is not DaemonState.ONCE:
        said += ", so no job fires" if state is DaemonState.NEVER else ": no job fires"
    return Presence(
        state=state,
        severity="error" if needed else "warning",
        message=said,
        hint="" if state is DaemonState.ONCE else START,
        seen_at=seen,
    )
