"""When jobs run in the 30 days ahead, before and after a plan: counts that a page draws. A pure function of values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.core.plan.plan import Plan
from scheduler.core.plan.review import MONTH, sides
from scheduler.core.times.fires import TICK, span
from scheduler.core.values.facts import FileFacts
from scheduler.core.values.spec import Schedule

PART = timedelta(hours=2)
PARTS = MONTH // PART


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The slots of one job, counted in `PARTS` parts of the 30 days. None where there is no such job."""

    job_id: str
    before: tuple[int, ...] | None
    after: tuple[int, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Those of the jobs that are added, gone, or run at other times, by id."""

    shown: tuple[Clock, ...] = ()
    more: int = 0  # jobs that were not counted


def clocks(plan: Plan, *, now: datetime, most: int) -> Clocks:
    """most: jobs to count, which takes up to some tens of milliseconds each."""
    changed = []
    for action in plan.actions:
        _, before, after = sides(plan, action)
        if _timing(before) != _timing(after):
            changed.append((action.job_id, before, after))
    shown = tuple(
        Clock(job_id=job_id, before=_counts(before, now), after=_counts(after, now))
        for job_id, before, after in changed[:most]
    )
    return Clocks(shown=shown, more=len(changed) - len(shown))


def _counts(facts: FileFacts | None, now: datetime) -> tuple[int, ...] | None:
    return None if facts is None else density(_timing(facts), now)


def _timing(facts: FileFacts | None) -> Schedule | None:
    """When the job is due; None for never."""
    return facts.spec.due_by.timing if facts is not None and facts.spec.enabled else None


def density(timing: Schedule | None, now: datetime) -> tuple[int, ...]:
    """The slots of each part from now on; a slot that several entries name counts for each. timing: None for never."""
    entries = () if timing is None else timing.entries
    starts = [now + number * PART for number in range(PARTS)]
    spans = [[span(entry, start=start + TICK, until=start + PART) for entry in entries] for start in starts]
    return tuple(sum(each.count for each in part if each is not None) for part in spans)
