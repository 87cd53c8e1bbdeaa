"""Which slots of a job are due, and what happens to each: a run, a catch-up, or a skip with a reason (F4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from scheduler.core.due.policy import MOST_CAUGHT_UP
from scheduler.core.times.clocks import around, due_before, first_free_slot
from scheduler.core.times.fires import TICK, newest_fires, next_fire, span, start_delay
from scheduler.core.values.facts import Job, Pause, Watched
from scheduler.core.values.runs import Skip
from scheduler.core.values.spec import CatchUpPolicy, JobSpec, Schedule

LATE = timedelta(minutes=1)  # a slot that the clockwork reaches later than this was missed: it slept, or was stopped
LONGEST_WINDOW = timedelta(hours=2)
PACED_AFTER = timedelta(minutes=5)  # after a longer outage, caught-up runs start a second apart
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is due for one job at one moment. `job` is as it was seen: a claim needs the same cursor."""

    job: Job
    slot: datetime | None  # to run, on time
    catch_up: tuple[datetime, ...] = ()  # missed slots before it that run after all, oldest first
    skips: tuple[Skip, ...]  # the slots that do not run, oldest first
    next_run_at: datetime | None  # the cursor afterwards

    @property
    def last(self) -> datetime:
        """The newest slot that gets its row."""
        slots = [*self.catch_up[-1:], *(skip.last for skip in self.skips[-1:])]
        return self.slot if self.slot is not None else max(slots)

    def after_outage(self, now: datetime) -> bool:
        """True if it includes a slot missed so long ago that the outage was more than a hiccup."""
        missed = [*self.catch_up[:1], *(skip.first for skip in self.skips if skip.reason == "missed")]
        return any(now - slot > PACED_AFTER for slot in missed)


def start_of(job: Watched) -> datetime | None:
    """When the job must be looked at next: its cursor plus its jitter. None if nothing of it is due."""
    cursor = job.next_run_at
    if cursor is None or job.archived or not job.enabled:
        return None
    if job.stopped_at is not None and cursor > job.stopped_at:
        return None  # slots up to then have come due and get their row
    return cursor + min(start_delay(job.due_by, job.id), _LAST - cursor)  # jitter may lead beyond the calendar


def due(
    job: Job,
    *,
    now: datetime,
    since: datetime | None,
    until: datetime | None = None,
    elsewhere_until: datetime | None = None,
    back_at: datetime | None = None,
) -> Due | None:
    """What happens to the slots from the job's cursor on. None if none is due.

    The newest slot runs if it is on time. Slots that should have started more than a minute ago, or before a daemon was
    running, were missed; `catch_up` says which of them run after all (design section 3).
    A slot that already has a row, as after the clock went back, ends the range. Slots after the first such one are due
    at the next look; if an outage covered it, nothing before it is caught up.
    since: when the daemon started running. None if unknown; then a minute late is on time (`serve --once`).
    until: the last slot that counts, if the schedule is about to be replaced. Otherwise every slot whose start has
    come.
    elsewhere_until: slots before it belonged to another host, and are not caught up.
    back_at: when the job's place was back, if it was gone. The default of `catch_up.within` counts from then.
    """
    if not job.taken or job.next_run_at is None:
        return _due(job, now, since, until, elsewhere_until, back_at)
    schedule = job.file.spec.due_by
    taken = [slot for slot in job.taken if slot >= job.next_run_at]
    last = now - start_delay(schedule, job.id) if until is None else until
    if (bound := due_before(taken, last)) < last:
        until = bound
    found = _due(job, now, since, until, elsewhere_until, back_at)
    if found is None:
        return None
    return replace(found, next_run_at=first_free_slot(schedule, after=found.last, taken=taken))


def _due(
    job: Job,
    now: datetime,
    since: datetime | None,
    until: datetime | None,
    elsewhere_until: datetime | None,
    back_at: datetime | None,
) -> Due | None:
    """The same, as if none of the slots had a row."""
    spec, cursor = job.file.spec, job.next_run_at
    if start_of(job) is None or cursor is None:
        return None
    schedule = spec.due_by
    delay = start_delay(schedule, job.id)
    last = now - delay if until is None else until
    stopped = job.runtime.stopped_at
    if stopped is not None:  # too many errors: slots due until then get their row, and do not run
        last = min(last, stopped)
    if cursor > last:
        return None
    newest = cursor
    following = next_fire(schedule, after=cursor)
    if following is not None and following <= last:
        found = span(schedule, start=cursor, until=last)
        assert found is not None  # the cursor is a slot
        newest = found.last
        following = next_fire(schedule, after=newest)
    paused = _from_start(job.pause, delay)
    in_time = now - LATE if since is None else max(since, now - LATE)
    runs = stopped is None and newest + delay >= in_time and not _covers(paused, newest)
    end = newest - TICK if runs else newest
    catch_up: tuple[datetime, ...] = ()
    if stopped is None and until is None:
        begin = max(filter(None, (cursor, elsewhere_until)))
        catch_up = _to_catch_up(job, begin, end, now - delay, back_at, newest_runs=runs)
    return Due(
        job=job,
        slot=newest if runs else None,
        catch_up=catch_up,
        skips=_skips(schedule, paused, cursor, catch_up[0] - TICK if catch_up else end),
        next_run_at=following,
    )


def _to_catch_up(
    job: Job, begin: datetime, end: datetime, latest: datetime, back_at: datetime | None, *, newest_runs: bool
) -> tuple[datetime, ...]:
    """The slots of [begin, end] that run after all: the newest ones, without a gap.

    latest: the newest slot that may start now. A pause counts as an activation: nothing from before its end.
    """
    catch_up, schedule = job.file.spec.catch_up, job.file.spec.due_by
    if job.pause is not None:
        if job.pause.until is None or job.pause.until > latest:
            return ()
        begin = max(begin, job.pause.until)
    if begin > end or catch_up.policy is CatchUpPolicy.NONE:
        return ()
    if catch_up.policy is CatchUpPolicy.ALL:
        if catch_up.within is not None:
            begin = max(begin, latest - min(catch_up.within, latest - _FIRST))  # a duration may be longer than time
        return newest_fires(schedule, start=begin, until=end, most=MOST_CAUGHT_UP) if begin <= end else ()
    found = None if newest_runs else span(schedule, start=begin, until=end)
    if found is None:
        return ()
    following = next_fire(schedule, after=found.last)
    owed_since = found.last
    if back_at is not None and catch_up.within is None:
        owed_since = max(found.last, min(back_at, latest))
    return (found.last,) if latest - owed_since <= patience(job.file.spec, found.last, following) else ()


def may_still_start(job: Job, slot: datetime, now: datetime) -> bool:
    """True if a claimed slot that has not started may start now, by the rule that `catch_up` has for late slots."""
    schedule, catch_up = job.file.spec.due_by, job.file.spec.catch_up
    late = now - slot - start_delay(schedule, job.id)
    if late <= LATE or catch_up.policy is CatchUpPolicy.NONE:
        return late <= LATE
    return late <= patience(job.file.spec, slot, next_fire(schedule, after=slot))


def patience(spec: JobSpec, slot: datetime, following: datetime | None) -> timedelta:
    """How late a slot may start: `catch_up.within`, or else the lesser of two hours and half the gap to the next slot.

    If all slots are to run, there is no limit.
    """
    if spec.catch_up.within is not None:
        return spec.catch_up.within
    if spec.catch_up.policy is CatchUpPolicy.ALL:
        return timedelta.max
    return LONGEST_WINDOW if following is None else min(LONGEST_WINDOW, (following - slot) / 2)


def unserved(job: Job, now: datetime) -> tuple[Skip, ...]:
    """The slots from the cursor up to now, as skips: `missed`, or `paused` for those that a pause covered (S6).

    At most three: before, during and after the pause. Slots after a job was stopped were not due.
    """
    if job.runtime.stopped_at is not None:
        now = min(now, job.runtime.stopped_at)
    if job.next_run_at is None or job.next_run_at > now:
        return ()
    schedule = job.file.spec.due_by
    paused = _from_start(job.pause, start_delay(schedule, job.id))
    ranges = around(job.taken, job.next_run_at, now)
    return tuple(skip for begin, end in ranges for skip in _skips(schedule, paused, begin, end))


def lost_while_away(job: Job, spec: JobSpec, now: datetime) -> tuple[Skip, ...]:
    """The `at` slots of an archived job that passed while no file named it, now that a file names it again, as `spec`.

    Slots of other kinds were not due then, and more of them follow. An `at` slot has no successor, and without a row
    nobody would notice.
    """
    gone_at, known = job.file.archived_at, job.file.spec
    if gone_at is None or not (known.enabled and spec.enabled):
        return ()
    begin = gone_at if job.last_slot is None else max(gone_at, job.last_slot)
    ats = sorted({entry.at for entry in spec.due_by.entries if entry.at is not None and begin < entry.at <= now})
    return tuple(
        Skip(first=at, last=at, slots=1, reason="missed")
        for at in ats
        if is_slot(known.due_by, at) and is_slot(spec.due_by, at)
    )


def held_back(job: Job, now: datetime) -> Due | None:
    """What `resume` settles: the slots that a pause held back. Later they could not be told from missed ones.

    A stopped job starts afresh: nothing was due in the meantime.
    """
    if job.runtime.stopped_at is not None and not job.archived:
        cursor = first_fire(job.file.spec, after=now)
        return Due(job=job, slot=None, skips=unserved(job, now), next_run_at=cursor)
    return None if job.pause is None else passed(job, now)


def replaced(job: Job, now: datetime) -> Due | None:
    """What a new pause settles: the slots that the previous pause held back, if that pause has expired."""
    until = None if job.pause is None else job.pause.until
    return None if until is None or until > now else passed(job, until - TICK)


def passed(job: Job, now: datetime) -> Due | None:
    """All slots up to now as skips; none of them runs. None if none is due."""
    skips = unserved(job, now) if start_of(job) is not None else ()
    if not skips:
        return None
    following = next_fire(job.file.spec.due_by, after=skips[-1].last)
    return Due(job=job, slot=None, skips=skips, next_run_at=following)


def first_fire(spec: JobSpec, *, after: datetime) -> datetime | None:
    """The first slot of a job that is due after an instant; slots at or before it are never due.

    The slot may already have a row, if the clock has gone back. Code that writes the cursor passes over it.
    """
    return next_fire(spec.due_by, after=after) if spec.enabled else None


def is_slot(schedule: Schedule, moment: datetime) -> bool:
    return span(schedule, start=moment, until=moment) is not None


def next_slot(job: Job, now: datetime) -> datetime | None:
    """The first slot whose start is in the future. None if nothing more is due."""
    start = start_of(job)
    if start is None or job.runtime.stopped_at is not None:
        return None
    if start > now:
        return job.next_run_at
    schedule = job.file.spec.due_by
    return next_fire(schedule, after=now - start_delay(schedule, job.id))


def next_to_fire(job: Watched, now: datetime) -> datetime | None:
    """The next slot that will run as things are now: not one that a pause holds back."""
    if start_of(job) is None or job.stopped_at is not None:
        return None
    if job.pause is None or not job.pause.covers(now):
        return job.next_run_at
    if job.pause.until is None or job.next_run_at is None:
        return None
    return next_fire(job.due_by, after=max(job.next_run_at, job.pause.until) - TICK)


def _from_start(pause: Pause | None, delay: timedelta) -> tuple[datetime, datetime | None] | None:
    """[from, until) of the slots that a pause holds back, including those that had not started when the pause began."""
    return None if pause is None else (pause.at - delay, pause.until)


def _covers(paused: tuple[datetime, datetime | None] | None, slot: datetime) -> bool:
    return paused is not None and paused[0] <= slot and (paused[1] is None or slot < paused[1])


def _skips(
    schedule: Schedule, paused: tuple[datetime, datetime | None] | None, begin: datetime, end: datetime
) -> tuple[Skip, ...]:
    return tuple(
        Skip(first=found.first, last=found.last, slots=found.count, reason=reason)
        for start, until, reason in _pieces(paused, begin, end)
        if start <= until and (found := span(schedule, start=start, until=until)) is not None
    )


def _pieces(
    paused: tuple[datetime, datetime | None] | None, begin: datetime, end: datetime
) -> Iterable[tuple[datetime, datetime, str]]:
    if paused is None:
        return [(begin, end, "missed")]
    start, until = paused
    pause_end = end if until is None else min(end, until - TICK)
    return [
        (begin, min(end, start - TICK), "missed"),
        (max(begin, start), pause_end, "paused"),
        (max(begin, start, pause_end + TICK), end, "missed"),
    ]
