"""What a clock has done, and what happens to jobs after it went back: pure rules, beside those of `due` (F6, ADR 22).

Two clocks tell a jump from a sleep: the wall clock, and one that counts from boot, asleep or not. Their difference is
the wall time of the boot. It stays the same unless somebody sets the wall clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from scheduler.core.times.fires import TICK, next_fire, span
from scheduler.core.values.facts import Job
from scheduler.core.values.instants import instant
from scheduler.core.values.runs import Life
from scheduler.core.values.spec import JobSpec, Schedule

NOT_BEFORE = datetime(2026, 1, 1, tzinfo=UTC)  # the program is not older: a clock that says so was never set
JUMP = timedelta(hours=1)  # a gain larger than this makes the clock untrusted
BACK = timedelta(milliseconds=500)  # a step back smaller than this is a correction and does not matter
PATIENCE = timedelta(minutes=2)  # after this, a clock that nothing confirms is trusted


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """Both clocks at one moment."""

    wall: datetime  # aware UTC
    elapsed: timedelta  # since the boot, sleep included
    boot_id: str | None  # None if unknown; then only readings of one process can be compared

    @property
    def booted_at(self) -> datetime:
        """When the machine booted, according to the present wall clock."""
        return self.wall - self.elapsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """When a boot was, by a trusted wall clock."""

    boot_id: str | None
    booted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whether a clock is trusted. `doubt` is why nothing may fire by it; empty if it is trusted."""

    boot: Boot  # when it was last trusted
    doubt: str = ""
    doubted: Boot | None = None  # what the clock says in the meantime
    since: timedelta = timedelta(0)  # when the doubt began, as `Reading.elapsed`
    went_back: bool = False  # at this reading: rows may be in the future
    gained: bool = False  # at this reading: it was untrusted, and is trusted now


def first_trust(
    reading: ClockReading, *, stored: Boot | None, newest: datetime | None, good: Callable[[], bool]
) -> Trust:
    """The first reading of a process.

    stored: as an earlier process left it. newest: when something was last written.
    good: whether something confirms the clock; called only if it matters.
    """
    now = Boot(boot_id=reading.boot_id, booted_at=reading.booted_at)
    known = stored if stored is not None and stored.boot_id is not None and stored.boot_id == now.boot_id else None
    trust = Trust(boot=known or now)
    if known is not None:
        return judged(trust, reading, good=good)
    why = _impossible(reading)
    if not why and newest is not None and newest - reading.wall > JUMP and not good():
        why = f"it shows {instant(_second(reading.wall))}, but the state was last written at {instant(_second(newest))}"
    return replace(trust, doubt=why, doubted=now, since=reading.elapsed) if why else trust


def judged(trust: Trust, reading: ClockReading, *, good: Callable[[], bool]) -> Trust:
    """The next reading of the same boot."""
    now = Boot(boot_id=reading.boot_id, booted_at=reading.booted_at)
    believed = Trust(boot=now, gained=bool(trust.doubt))
    gain = now.booted_at - trust.boot.booted_at
    if impossible := _impossible(reading):
        return Trust(boot=trust.boot, doubt=impossible, doubted=now, since=reading.elapsed)
    same = trust.doubted is not None and abs(now.booted_at - trust.doubted.booted_at) <= JUMP
    if trust.doubt and same:
        if good() or reading.elapsed - trust.since >= PATIENCE:
            return replace(believed, went_back=gain < -BACK)
        return replace(trust, went_back=False, gained=False)
    if gain > JUMP:
        if good():
            return replace(believed, gained=True)
        gained = timedelta(seconds=round(gain.total_seconds()))
        why = f"it jumped ahead by {gained}, to {instant(_second(reading.wall))}"
        return Trust(boot=trust.boot, doubt=why, doubted=now, since=reading.elapsed)
    if -BACK <= gain < timedelta(0):  # many small steps back add up
        return replace(believed, boot=trust.boot)
    return replace(believed, went_back=gain < -BACK)


def _impossible(reading: ClockReading) -> str:
    if reading.wall >= NOT_BEFORE:
        return ""
    return f"it shows {instant(_second(reading.wall))}, which is impossible: set it"


def _second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """A skip that reaches into the future."""

    job_id: str
    n: int
    first: datetime
    last: datetime
    slots: int
    reason: str
    schedule: Schedule  # of the definition that was skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How much of such a skip stays. `kept` is 0 if all of it is in the future."""

    ahead: Ahead
    kept: int
    kept_last: datetime | None
    first: datetime  # of the void slots

    @property
    def void(self) -> int:
        return self.ahead.slots - self.kept


def cut_skip(ahead: Ahead, now: datetime) -> Cut:
    """Split a skip into the slots up to now, which stay as they are, and those after it, which are due again."""
    if ahead.first > now:
        return Cut(ahead=ahead, kept=0, kept_last=None, first=ahead.first)
    found = span(ahead.schedule, start=ahead.first, until=now)
    # The rules of its zone may have changed since it was counted: the written row stays within its bounds.
    kept = 1 if found is None else max(1, min(found.count, ahead.slots - 1))
    last = ahead.first if found is None else max(ahead.first, found.last)
    following = next_fire(ahead.schedule, after=max(now, last))
    return Cut(ahead=ahead, kept=kept, kept_last=last, first=min(following or ahead.last, ahead.last))


def first_free_slot(schedule: Schedule, *, after: datetime, taken: Collection[datetime]) -> datetime | None:
    """The first slot after an instant that has no row yet."""
    slot = next_fire(schedule, after=after)
    while slot is not None and slot in taken:
        slot = next_fire(schedule, after=slot)
    return slot


def around(taken: Iterable[datetime], begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """[begin, end] without the instants that already have a row, as closed ranges; taken: ascending."""
    for slot in taken:
        if begin <= slot <= end:
            if begin < slot:
                yield begin, slot - TICK
            begin = slot + TICK
    if begin <= end:
        yield begin, end


@dataclass(frozen=True, slots=True, kw_only=True)
class Righted:
    """What a job's instants should be; correct ones are unchanged."""

    job: Job
    next_run_at: datetime | None
    activated_at: datetime
    paused_at: datetime | None
    stopped_at: datetime | None

    @property
    def changes(self) -> dict[str, tuple[datetime | None, datetime | None]]:
        job = self.job
        found = {
            "next_run_at": (job.next_run_at, self.next_run_at),
            "activated_at": (job.file.activated_at, self.activated_at),
            "paused_at": (None if job.pause is None else job.pause.at, self.paused_at),
            "stopped_at": (job.runtime.stopped_at, self.stopped_at),
        }
        return {name: (before, after) for name, (before, after) in found.items() if before != after}


def righted(
    job: Job, *, now: datetime, taken: Collection[datetime], since: Callable[[], datetime | None] = lambda: None
) -> Righted:
    """A job, corrected so that the clock can continue from now: the cursor is its first slot without a row.

    taken: slots after now whose row stays. since: no slot up to here was due, besides those before its activation.
    Nothing recorded is in the future: a pause begins now at the latest. And nothing happened before the program
    existed: a job activated by a clock that was never set is activated now.
    """
    pause, stopped_at = job.pause, job.runtime.stopped_at
    unset = job.file.activated_at < NOT_BEFORE <= now
    activated_at = now if unset else min(job.file.activated_at, now)
    return Righted(
        job=job,
        next_run_at=_cursor(job, now, taken, since, activated_at if unset else None),
        activated_at=activated_at,
        paused_at=None if pause is None else min(pause.at, now),
        stopped_at=None if stopped_at is None else min(stopped_at, now),
    )


def _cursor(
    job: Job,
    now: datetime,
    taken: Collection[datetime],
    since: Callable[[], datetime | None],
    not_before: datetime | None,
) -> datetime | None:
    if job.archived or not job.file.spec.enabled:
        return job.next_run_at
    schedule, cursor = job.file.spec.due_by, job.next_run_at
    coming = first_free_slot(schedule, after=now, taken=taken)
    if not_before is not None or cursor is None:
        return coming
    if span(schedule, start=cursor, until=cursor) is None:  # its zone has other rules now
        cursor = _moved(job, schedule, cursor, now, taken, since())
    return coming if cursor is None or (coming is not None and coming < cursor) else cursor


def _moved(
    job: Job, schedule: Schedule, cursor: datetime, now: datetime, taken: Collection[datetime], since: datetime | None
) -> datetime | None:
    """The slot that replaces one that no longer exists: the nearest, or the later of two equally near."""
    covered = [job.file.activated_at, *(at for at in (since, job.last_slot) if at is not None and at <= now)]
    later = first_free_slot(schedule, after=cursor - TICK, taken=taken)
    earlier = span(schedule, start=max(covered) + TICK, until=cursor - TICK)
    if earlier is None or earlier.last in taken:
        return later
    if later is None or cursor - earlier.last < later - cursor:
        return earlier.last
    return later


def due_before(taken: Iterable[datetime], until: datetime) -> datetime:
    """Up to when slots may be claimed in one go: not beyond one that already has a row."""
    return min([until, *(slot - TICK for slot in taken)])


def definition_zones(specs: Iterable[JobSpec]) -> set[str]:
    return {entry.timezone for spec in specs for entry in spec.schedule.entries if entry.cron is not None}


def true_lives(lives: Sequence[Life], now: datetime) -> list[Life]:
    """Of lives, in the order in which they were recorded, those that no later life and not the present contradicts.

    A life in the future was recorded by a clock that has gone back since.
    """
    found: list[Life] = []
    before = now + TICK
    for life in reversed(lives):
        if life.began < before:
            found.append(replace(life, seen=min(life.seen, before)))
            before = life.began
    return found[::-1]
