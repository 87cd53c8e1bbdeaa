"""What should have happened and has not, judged by schedules and rows alone (ADR 23).

A dead-man's switch must not trust what may be dead. Nothing here reads a cursor, a claim, or what a daemon reports
about itself. It uses only what a job's file asks for, what an operator has said, and which rows exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from scheduler.core.times.fires import TICK, next_fire, span, start_delay
from scheduler.core.values.facts import Watched
from scheduler.core.values.instants import instant
from scheduler.core.values.texts import names
from scheduler.core.values.units import format_duration

LATE = timedelta(minutes=1)  # a slot must have a row this long after its start
SOON = timedelta(hours=1)  # how far back to look for the newest slot at first
FURTHER = 8
NO_CAPACITY = "capacity"  # the reason of a skip
_LAST = datetime.max.replace(tzinfo=UTC)
NEAR = timedelta(days=3)  # looked at in one piece


class Kind(StrEnum):
    """What is overdue."""

    SUCCESS = "no_success"  # `expect_every`
    ROW = "no_row"  # a slot that has no row


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmEvidence:
    """What the ledger shows of one job. What is a call is looked up only when needed. Instants are aware UTC."""

    succeeded_at: Callable[[], datetime | None]  # when a run last succeeded
    resumed_at: datetime | None  # when an operator or an edit last let the job continue
    covered_until: Callable[[datetime], datetime | None]  # the end of the row that begins latest up to an instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One overdue thing."""

    job_id: str
    kind: Kind
    since: datetime  # no success since then, or the slot without a row
    deadline: datetime  # when it should have been there

    def text(self, job: Watched) -> str:
        if self.kind is Kind.SUCCESS:
            assert job.expect_every is not None
            every = format_duration(job.expect_every)
            return f"no success since {_second(self.since)}; expect_every is {every}"
        return f"the slot of {_second(self.since)} has neither run nor been skipped"


def _second(at: datetime) -> str:
    return instant(at.replace(microsecond=0))


def alarms_of(job: Watched, evidence: AlarmEvidence, now: datetime) -> Iterator[Alarm]:
    """What is overdue for one job. An archived, disabled or paused job has no alarms."""
    pause = job.pause
    if job.archived or not job.enabled or (pause is not None and pause.covers(now)):
        return
    slot = _newest(job, now)
    if slot is None and job.expect_every is None:
        return
    base = _base(job, evidence, now)
    if job.expect_every is not None:
        since = max(base, evidence.succeeded_at() or base)
        if now > since + job.expect_every and _is_owed(job, since):
            yield Alarm(job_id=job.id, kind=Kind.SUCCESS, since=since, deadline=since + job.expect_every)
    if slot is not None and slot > base and ((end := evidence.covered_until(slot)) is None or end < slot):
        started = slot + start_delay(job.due_by, job.id)
        yield Alarm(job_id=job.id, kind=Kind.ROW, since=slot, deadline=started + LATE)


def looks_again_at(job: Watched, evidence: AlarmEvidence, now: datetime) -> datetime | None:
    """When a job without alarms has one at the earliest. None: not before its file or an operator changes it.

    New rows only put it off.
    """
    if job.archived or not job.enabled:
        return None
    if job.pause is not None and job.pause.covers(now):
        return job.pause.until
    found = []
    delay = start_delay(job.due_by, job.id)
    slot = None if job.stopped_at is not None else next_fire(job.due_by, after=now - LATE - delay)
    if slot is not None:
        found.append(slot + min(delay + LATE, _LAST - slot))
    if job.expect_every is not None:
        base = _base(job, evidence, now)
        since = max(base, evidence.succeeded_at() or base)
        if _is_owed(job, since):
            found.append(since + min(job.expect_every, _LAST - since))
    return min(found, default=None)


def _base(job: Watched, evidence: AlarmEvidence, now: datetime) -> datetime:
    """Since when the job has been expected to run."""
    return max(at for at in (job.activated_at, evidence.resumed_at, _pause_end(job, now)) if at is not None)


def _pause_end(job: Watched, now: datetime) -> datetime | None:
    """When a pause expired. If a person lifted it, the evidence has that."""
    until = None if job.pause is None else job.pause.until
    return until if until is not None and until <= now else None


def _is_owed(job: Watched, since: datetime) -> bool:
    """True if a run is or will be due after `since`. A job whose last slot has succeeded has nothing outstanding."""
    return next_fire(job.due_by, after=since) is not None


def _newest(job: Watched, now: datetime) -> datetime | None:
    """The newest slot that must already have a row, or None."""
    schedule, stopped = job.due_by, job.stopped_at
    until = now - LATE - start_delay(schedule, job.id)
    if stopped is not None:
        until = min(until, stopped)
    start, back = job.activated_at + TICK, SOON
    if job.last_slot is not None and start <= job.last_slot <= until < job.last_slot + NEAR:
        # Nearly always the newest slot with a row is the newest of all. That it was a slot is not trusted.
        found = span(schedule, start=job.last_slot, until=until)
        if found is not None:
            return found.last
    while start <= until:  # ever further back: most slots are near, and a long look costs time for every day
        begin = max(start, until - back)
        found = span(schedule, start=begin, until=until)
        if found is not None:
            return found.last
        if begin == start:
            return None
        until, back = begin, back * FURTHER
    return None


def finds_no_place(job: Watched) -> bool:
    """True if the newest slots of a job were all skipped because no capacity became free in time."""
    if job.archived or job.last_skip_at is None or job.last_skip_reason != NO_CAPACITY:
        return False
    return job.last_run_at is None or job.last_run_at < job.last_skip_at


def starved_texts(jobs: Iterable[Watched]) -> Sequence[str]:
    ids = [job.id for job in jobs if finds_no_place(job)]
    limit = "the limit of concurrent runs was reached for too long (limits.max_running)"
    return [f"skipped, because {limit}: {names(ids)}"] if ids else []


def alarm_texts(overdue: Iterable[tuple[Watched, Alarm]]) -> Sequence[str]:
    """One line for each kind of overdue thing, with the jobs' names."""
    ids: dict[Kind, list[str]] = {}
    for job, alarm in overdue:
        ids.setdefault(alarm.kind, []).append(job.id)
    return [f"{_OVERDUE[kind]}: {names(ids[kind])}" for kind in Kind if kind in ids]


_OVERDUE = {
    Kind.SUCCESS: "no success for longer than expect_every",
    Kind.ROW: "a slot was due over a minute ago and has neither run nor been skipped",
}
