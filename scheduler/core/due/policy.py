"""What a job's policies say about one run, as functions of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from scheduler.core.values.runs import RunStatus, Trigger
from scheduler.core.values.spec import CatchUpPolicy, Concurrency, JobSpec, Retry
from scheduler.core.values.usage import EndClass

MOST_CAUGHT_UP = 100  # slots of one job
_OF_SLOTS = (Trigger.SCHEDULE, Trigger.CATCH_UP)  # otherwise a person requested the run


def retry_delay(retry: Retry, *, attempts: int) -> timedelta:
    """How long to wait after attempt number `attempts` (1 is the first): exponential, up to `max_delay`."""
    try:
        return min(retry.delay * retry.backoff ** (attempts - 1), retry.max_delay)
    except OverflowError:  # too large for a timedelta or a float, and so beyond any cap
        return retry.max_delay


def retry_at(
    retry: Retry, *, attempts: int, status: RunStatus, end_class: EndClass | None = None, now: datetime
) -> datetime | None:
    """When to retry a run after so many attempts, of which the last one has ended this way. None if it is not retried.

    A quota and a credential are waited out instead. The program's own cap is no failure: it counts only by its name.
    """
    if end_class in (EndClass.QUOTA, EndClass.CREDENTIAL) or attempts >= retry.attempts:
        return None
    if end_class not in retry.on and (status not in retry.on or end_class is EndClass.BUDGET):
        return None
    return now + retry_delay(retry, attempts=attempts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """A run of a job that has not ended yet."""

    n: int
    trigger: Trigger
    waits: bool  # it has not begun: not even its first attempt
    delayed: bool = False  # its account was parked, so that it is late


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What happens to a run that wants to start, and to the runs of its job that are there already."""

    answer: Literal["start", "wait", "overlap"]
    gives_way: tuple[int, ...] = ()  # waiting runs that are skipped now
    replaced: tuple[int, ...] = ()  # running ones that are to be ended


def admit(spec: JobSpec, active: Sequence[Active], *, trigger: Trigger) -> Admission:
    """How `concurrency` treats a run while others of its job are running or waiting (design section 3).

    A job that catches up with all its slots loses none of them to each other: slots that come due in the meantime join
    the queue.
    """
    if not active or spec.concurrency is Concurrency.ALLOW:
        return Admission(answer="start")
    waiting = [run for run in active if run.waits]
    begun = tuple(run.n for run in active if not run.waits)
    manual = trigger not in _OF_SLOTS
    all_slots = spec.catch_up.policy is CatchUpPolicy.ALL
    backlog = all_slots and any(run.trigger is Trigger.CATCH_UP for run in waiting)
    caught_up_with = all_slots and any(run.trigger is Trigger.CATCH_UP for run in active)
    delayed = bool(begun) and all(run.delayed for run in active if not run.waits)
    late_alike = trigger is Trigger.CATCH_UP and delayed
    match spec.concurrency:
        case Concurrency.REPLACE if not caught_up_with:
            gives_way = tuple(run.n for run in waiting if run.trigger in _OF_SLOTS)
            return Admission(answer="wait", gives_way=gives_way, replaced=begun)
        case Concurrency.REPLACE:  # an older slot starts next: ending the current run would gain nothing, each time
            return Admission(answer="wait" if manual or len(waiting) < MOST_CAUGHT_UP else "overlap")
        case _ if backlog and not manual:
            return Admission(answer="wait" if len(waiting) < MOST_CAUGHT_UP else "overlap")
        case Concurrency.QUEUE if not (manual and waiting):
            gives_way = tuple(run.n for run in waiting if run.trigger in _OF_SLOTS)
            return Admission(answer="wait", gives_way=gives_way)
        case Concurrency.FORBID if late_alike:
            # What was due while the account was parked does not overlap with the run that the limit has cut short.
            gives_way = tuple(run.n for run in waiting if run.trigger in _OF_SLOTS)
            return Admission(answer="wait", gives_way=gives_way)
        case Concurrency.FORBID if not manual and all(run.trigger is Trigger.CATCH_UP for run in waiting) and not begun:
            # Only the latest slot is caught up, and this one is later.
            return Admission(answer="start", gives_way=tuple(run.n for run in waiting))
    return Admission(answer="overlap")
