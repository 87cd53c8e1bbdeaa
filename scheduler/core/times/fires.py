"""Fire times: which instants a schedule names, and what is wrong with a schedule that names none.

Wall-clock cron follows Debian's cron(8) across clock changes (docs/adr/0002-wall-clock-cron.md).
croniter only ever sees calendar days without a zone. The step from the wall clock to instants is made here, by cutting
the time line into stretches of one UTC offset.
"""

from __future__ import annotations

import collections
import copy
import functools
import hashlib
import heapq
import itertools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from scheduler.core.times.cron import Cron, ScheduleError, TimesOfDay, parse_cron
from scheduler.core.values.instants import on_the_clock
from scheduler.core.values.problems import did_you_mean
from scheduler.core.values.spec import Schedule
from scheduler.core.values.texts import short
from scheduler.core.values.units import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The slots of one closed interval: the earliest, the latest, and how many (at least one)."""

    first: datetime
    last: datetime
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OnTheWall:
    """How a slot relates to the wall clock, in the zone of the entry that names it."""

    timezone: str
    dst: Literal["gap", "fold"] | None  # gap: the time it names was skipped; fold: its time of day occurs twice
    occurrence: int | None  # in a fold: 1 or 2


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = datetime.min.replace(tzinfo=UTC)
MIDNIGHT = time()
ZERO = timedelta()
TICK = timedelta.resolution
MILLISECOND = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)

# Naive UTC. The margins leave room for the largest offset at either end of the calendar.
_EARLIEST = datetime.combine(date(1, 1, 8), MIDNIGHT)
LATEST = datetime.combine(date(MAXYEAR, 12, 30), MIDNIGHT)

# No zone has changed its offset by more than a day, and no two changes are within one day (tzdata 2026).
_REACH = 2 * _DAY

# The 29th of February on a given weekday recurs within forty years.
_GIVE_UP = timedelta(days=36525)


def check_every(every: timedelta) -> None:
    if every < SECOND:
        message = f"every {format_duration(every)} is shorter than 1s"
        raise ScheduleError("schedule.every", message, hint="write 1s or longer")
    if every % MILLISECOND:
        raise ScheduleError("schedule.every", f"every {every / SECOND}s is not a whole number of milliseconds")


_NOT_ZONES = frozenset({"localtime", "posixrules", "Factory"})
_ZONE_NAME = re.compile(r"[A-Za-z0-9_+-]{1,64}(?:/[A-Za-z0-9_+-]{1,64}){0,3}")


def zone_of(name: str) -> ZoneInfo:
    """The zone of this name, cached by the standard library.

    Raises: ScheduleError `schedule.timezone` for anything but an IANA name such as Europe/Berlin.
    """
    # The machine's own zone and the posix/ and right/ trees load as well, but not on every machine.
    if _ZONE_NAME.fullmatch(name) and name not in _NOT_ZONES and not name.startswith(("posix/", "right/")):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass  # OSError: a folder of zones, such as Europe
    raise ScheduleError("schedule.timezone", f"timezone {short(name)} is not an IANA zone name", hint=_zone_hint(name))


@functools.cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones()) - _NOT_ZONES


def _zone_hint(name: str) -> str:
    example = "write a name such as Europe/Berlin or UTC"
    wanted = name.strip().replace(" ", "_").casefold()
    if not wanted or len(wanted) > 64:
        return example
    # Etc/GMT+2 is in the west, so it is no correction of GMT+2.
    offset = re.search(r"[0-9+]", wanted) is not None
    for known in sorted(_zone_names(), key=lambda each: (each.startswith("Etc/"), "/" not in each, each)):
        if wanted == known.casefold() or (wanted == known.casefold().rpartition("/")[2] and not offset):
            return f"did you mean {known!r}?"
    if offset:
        return f"an offset is not a zone; {example}"
    # PST resembles EST only in its letters.
    return (did_you_mean(name, _zone_names()) if len(wanted) > 4 else "") or example


def fires(schedule: Schedule, *, after: datetime) -> Iterator[datetime]:
    """Slots strictly after `after`: strictly ascending, aware UTC, endless except for `at` and the end of the calendar.

    after: aware, any zone.

    Raises:
        ScheduleError: at the call, for a schedule that cannot be read. A cron that names no day has no slots.
    """
    after = _utc(after)
    found = [_entry_fires(entry, after) for entry in schedule.entries]
    if len(found) == 1:
        return found[0]
    return (fire for fire, _ in itertools.groupby(heapq.merge(*found)))


def _entry_fires(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    after = _since(schedule, after)
    found: Iterator[datetime]
    if schedule.cron is not None:
        cron, zone = parse_cron(schedule.cron), zone_of(schedule.timezone)
        found = _cron_fires(cron, zone, after)
    elif schedule.every is not None:
        check_every(schedule.every)
        found = _every_fires(schedule.every, schedule.phase, after)
    elif schedule.at is not None:
        at = _utc(schedule.at)
        found = iter([at] if at > after else [])
    else:
        assert schedule.manual
        found = iter(())
    if schedule.ends is None:
        return found
    ends = _utc(schedule.ends)
    return itertools.takewhile(lambda fire: fire <= ends, found)


def _since(schedule: Schedule, after: datetime) -> datetime:
    """The later of `after` and just before `starts`."""
    if schedule.starts is None or schedule.starts <= after:
        return after
    return _utc(schedule.starts) - TICK


def next_fire(schedule: Schedule, *, after: datetime) -> datetime | None:
    """The first slot strictly after `after` (aware), or None if none is left. Raises like `fires`.

    Answers for cron are cached: a thousand jobs with one expression cost little more than one.
    """
    after = _utc(after)
    found = [fire for entry in schedule.entries if (fire := _next_fire(entry, after)) is not None]
    return min(found, default=None)


def _next_fire(schedule: Schedule, after: datetime) -> datetime | None:
    if schedule.cron is None:
        return next(_entry_fires(schedule, after), None)
    found = _next_cron_fire(schedule.cron, schedule.timezone, _since(schedule, after))
    return None if found is None or (schedule.ends is not None and found > schedule.ends) else found


@functools.lru_cache(maxsize=16_384)
def _next_cron_fire(expression: str, timezone: str, after: datetime) -> datetime | None:
    """after: in UTC, because two times that a zone distinguishes only by `fold` are one key."""
    return next(_cron_fires(parse_cron(expression), zone_of(timezone), after), None)


def first_slot(schedule: Schedule) -> datetime | None:
    """The first slot of all. None if the schedule names none."""
    return next_fire(schedule, after=FIRST)


def coming(
    schedule: Schedule, *, after: datetime, until: datetime | None = None, count: int | None = None
) -> list[datetime]:
    """The slots in (after, until], at most `count` of them. One of the two is required. Raises like `fires`."""
    assert until is not None or count is not None
    found = itertools.islice(fires(schedule, after=after), count)
    return list(found if until is None else itertools.takewhile(lambda fire: fire <= until, found))


def span(schedule: Schedule, *, start: datetime, until: datetime) -> Span | None:
    """The slots of [start, until], both ends included; None if there are none. Raises like `fires`.

    Counts without computing each slot: the cost is constant for `every` and `at`, and some microseconds per calendar
    day for cron. Of several entries, the densest is counted this way. Each slot of the others costs some microseconds,
    because a slot that two of them name counts once.
    """
    start, until = _utc(start), _utc(until)
    parts = ((_entry_span(entry, start=start, until=until), entry) for entry in schedule.entries)
    found = [(part, entry) for part, entry in parts if part is not None]
    if not found:
        return None
    if len(found) == 1:
        return found[0][0]
    found.sort(key=lambda each: each[0].count)
    densest, most = found.pop()
    first, last, count = densest.first, densest.last, densest.count
    also_in_densest = _membership(most, densest)
    for slot, _ in itertools.groupby(heapq.merge(*(_within(entry, part) for part, entry in found))):
        first, last = min(first, slot), max(last, slot)
        count += not also_in_densest(slot)
    return Span(first=first, last=last, count=count)


def newest_fires(schedule: Schedule, *, start: datetime, until: datetime, most: int) -> tuple[datetime, ...]:
    """The newest slots of [start, until], both ends included, at most `most`; ascending. Raises like `fires`."""
    found = span(schedule, start=start, until=until)
    if found is None:
        return ()
    last = found.last
    low, high = found.first, last  # from `low` on there are enough, from `high` on too few, or just enough
    while found.count > 2 * most and high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        half = span(schedule, start=middle, until=last)
        if half is None or half.count < most:
            high = middle
        else:
            low, found = middle, half
    first = found.first
    inside = itertools.chain((first,), itertools.takewhile(lambda slot: slot <= last, fires(schedule, after=first)))
    return tuple(collections.deque(inside, maxlen=most))


def _within(schedule: Schedule, part: Span) -> Iterator[datetime]:
    """The slots of one entry that `part` counts."""
    yield part.first
    yield from _entry_fires(replace(schedule, ends=part.last), part.first)


def _membership(schedule: Schedule, part: Span) -> Callable[[datetime], bool]:
    """Return a test for instants, called in ascending order: is one among the slots that `part` counts?"""
    if schedule.every is not None:
        origin, every = _EPOCH + schedule.phase, schedule.every
        return lambda slot: part.first <= slot <= part.last and not (slot - origin) % every
    if schedule.cron is None:
        return lambda slot: slot == part.first
    start, stop = part.first.replace(tzinfo=None), part.last.replace(tzinfo=None)
    chunks = cron_slots(parse_cron(schedule.cron), zone_of(schedule.timezone), start=start, stop=stop)
    base, times = next(chunks)
    end = times[-1]

    def found(slot: datetime) -> bool:
        nonlocal base, times, end
        if not part.first <= slot <= part.last:
            return False
        while slot - base > end:  # ends at the one that contains `part.last`
            base, times = next(chunks)
            end = times[-1]
        time = slot - base
        return time in times if isinstance(times, TimesOfDay) else times[bisect_left(times, time)] == time

    return found


def _entry_span(schedule: Schedule, *, start: datetime, until: datetime) -> Span | None:
    start = start if schedule.starts is None else max(start, _utc(schedule.starts))
    until = until if schedule.ends is None else min(until, _utc(schedule.ends))
    if start > until:
        return None
    if schedule.cron is not None:
        return _cron_span(schedule.cron, schedule.timezone, start, until)
    if schedule.every is not None:
        every = schedule.every
        check_every(every)
        origin = _EPOCH + schedule.phase
        low, high = -((origin - start) // every), (until - origin) // every
        if low > high:
            return None
        return Span(first=origin + low * every, last=origin + high * every, count=high - low + 1)
    if schedule.manual:
        return None
    assert schedule.at is not None
    at = _utc(schedule.at)
    return Span(first=at, last=at, count=1) if start <= at <= until else None


def on_the_wall(schedule: Schedule, slot: datetime) -> OnTheWall:
    """What a change of the clock did to a slot.

    If several entries name it, the first counts. But an entry that names it at its own time precedes one whose time was
    moved.
    """
    slot = _utc(slot)
    entries = schedule.entries
    naming = [each for each in entries if _entry_span(each, start=slot, until=slot)] if schedule.union else entries
    found = [_on_the_wall(each, slot) for each in naming or entries[:1]]
    return next((each for each in found if each.dst != "gap"), found[0])


def _on_the_wall(entry: Schedule, slot: datetime) -> OnTheWall:
    local, timezone = on_the_clock(slot, entry.timezone)
    zone = zone_of(timezone)
    if local.replace(fold=1 - local.fold).utcoffset() != local.utcoffset():
        return OnTheWall(timezone=timezone, dst="fold", occurrence=local.fold + 1)
    moved = False
    if entry.cron is not None and slot > FIRST and _utcoffset(zone, slot - TICK) < _utcoffset(zone, slot):
        cron, wall = parse_cron(entry.cron), local.replace(tzinfo=None)
        moved = not _any(_matches(cron, Days(cron), wall, wall + TICK))
    return OnTheWall(timezone=timezone, dst="gap" if moved else None, occurrence=None)


def start_delay(schedule: Schedule, job_id: str) -> timedelta:
    """How long after each of its slots this job starts: in [0, jitter), whole milliseconds.

    It depends only on the jitter and the id, so it is the same on every machine, after every restart and for every
    slot. Many ids spread evenly.
    """
    if not schedule.jitter:
        return ZERO
    drawn = int.from_bytes(hashlib.sha256(job_id.encode()).digest())  # of [0, 2**256)
    return timedelta(milliseconds=drawn * (schedule.jitter // MILLISECOND) >> 256)


def smallest_gap(schedule: Schedule) -> timedelta | None:
    """The shortest time between two consecutive slots, except on nights of a clock change. None for a single slot.

    Of several entries, that of each by itself: slots of two entries may be as close as they like.
    Raises like `fires`.
    """
    if schedule.union:
        gaps = [gap for entry in schedule.union if (gap := smallest_gap(entry)) is not None]
        return min(gaps, default=None)
    if schedule.cron is not None:
        return _smallest_cron_gap(schedule.cron)
    return schedule.every


@functools.lru_cache(maxsize=4096)
def _smallest_cron_gap(expression: str) -> timedelta | None:
    cron = parse_cron(expression)
    days = _smallest_step(cron)
    if days is None:
        return None
    seconds = [timedelta(seconds=second) for second in cron.seconds]
    minutes = [timedelta(hours=hour, minutes=minute) for hour in cron.hours for minute in cron.minutes]
    gaps = [later - earlier for earlier, later in itertools.pairwise(minutes)]
    # From the last second of one minute to the first of the next, and from the day's last time to the next day's first.
    gaps = [gap - seconds[-1] + seconds[0] for gap in (*gaps, days - minutes[-1] + minutes[0])]
    return min([*gaps, *(later - earlier for earlier, later in itertools.pairwise(seconds))])


def _smallest_step(cron: Cron) -> timedelta | None:
    """The shortest distance from one matching day to the next. None if no day matches."""
    if cron.every_day:
        return _DAY
    _, _, of_month, _, weekday = cron.days.split()
    # After 28 years every date has its weekday again, from 1901 to 2099; each field alone recurs sooner.
    cycle = 10_227 * _DAY
    if weekday == "*":
        cycle = 1_461 * _DAY
    elif of_month == "*" and len(cron.months) == 12:
        cycle = 7 * _DAY
    days = Days(cron)
    first = days.since(date(2000, 1, 1))
    if first is None:
        return None
    smallest, day = cycle, first
    while smallest > _DAY and day < first + cycle:
        following = days.since(day + _DAY)
        assert following is not None, "every day that matches comes back"
        smallest, day = min(smallest, following - day), following
    return smallest


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no zone")  # astimezone would assume the machine's zone
    return at.astimezone(UTC)


def _every_fires(every: timedelta, phase: timedelta, after: datetime) -> Iterator[datetime]:
    origin = _EPOCH + phase
    try:
        slot = origin + ((after - origin) // every + 1) * every
        while True:
            yield slot
            slot += every
    except OverflowError:
        return


def _cron_fires(cron: Cron, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    after = after.replace(tzinfo=None)
    if after >= LATEST:
        return
    for base, times in cron_slots(cron, zone, start=after + TICK, stop=LATEST):
        for each in times:
            yield base + each


@functools.lru_cache(maxsize=4096)
def _cron_span(expression: str, timezone: str, start: datetime, until: datetime) -> Span | None:
    """start, until: in UTC. Cached: what a thousand jobs missed in a year is counted once per expression."""
    cron, zone = parse_cron(expression), zone_of(timezone)
    first = last = None
    count = 0
    for base, times in cron_slots(cron, zone, start=start.replace(tzinfo=None), stop=until.replace(tzinfo=None)):
        within = bisect_right(times, until - base)
        if not within:
            break
        first = first or base + times[0]
        last = base + times[within - 1]
        count += within
    return None if first is None or last is None else Span(first=first, last=last, count=count)


def cron_slots(
    cron: Cron, zone: ZoneInfo, *, start: datetime, stop: datetime
) -> Iterator[tuple[datetime, Sequence[timedelta]]]:
    """Slots from `start` (naive UTC) on, at most a day of them at once: each is base (aware UTC) + time.

    Ascending, without repeats, never empty; the last ones may be beyond `stop`. Ends when a century contains none.
    """
    days = Days(cron)
    begin = latest = max(start, _EARLIEST)
    stop = min(stop, LATEST)
    while True:
        for stretch in _stretches(zone, begin, stop):
            offset = stretch.offset
            low, high = stretch.begin + offset, stretch.end + offset
            if cron.fixed:
                # A fixed time fires when the clock first reaches or passes it. The rest of Debian's rule follows from
                # that.
                skipped = stretch.reached < low and _any(_matches(cron, days, stretch.reached, low))
                if skipped and stretch.begin >= begin and not _any(_matches(cron, days, low, low + TICK)):
                    latest = stretch.begin
                    yield stretch.begin.replace(tzinfo=UTC), (ZERO,)
                low = max(low, stretch.reached)
            low = max(low, begin + offset)
            for midnight, times in _matches(cron, days, low, high):
                latest = stretch.begin
                yield (midnight - offset).replace(tzinfo=UTC), times
            following = days.since(high.date())
            if following is None or following - high.date() > 2 * _REACH:
                # The clock may still be set back by a day: look again from before that.
                following = days.since(high.date() - _REACH)
                if following is None:
                    return
                jump = datetime.combine(following, MIDNIGHT) - offset - _REACH
                if jump - latest > _GIVE_UP:
                    return
                if jump > stretch.end:
                    begin = jump
                    break
        else:
            return


def _any(found: Iterator[object]) -> bool:
    return next(found, None) is not None


def _matches(cron: Cron, days: Days, low: datetime, high: datetime) -> Iterator[tuple[datetime, Sequence[timedelta]]]:
    """Wall times in [low, high) that the expression names, by day: midnight, and the times since then."""
    day = days.since(low.date()) if low < high else None
    while day is not None:
        midnight = datetime.combine(day, MIDNIGHT)
        if midnight >= high:
            return
        times = cron.times[bisect_left(cron.times, low - midnight) : bisect_left(cron.times, high - midnight)]
        if times:
            yield midnight, times
        day = days.since(day + _DAY)


class Days:
    """The calendar days that one expression names, looked up forwards. Keeps a position: one per walk, not shared."""

    def __init__(self, cron: Cron) -> None:
        self._days = None if cron.every_day else cron.days
        self._asked = date.max
        self._found: date | None = None

    def since(self, day: date) -> date | None:
        """The first matching day at or after `day`. None if there is none in the calendar or for fifty years."""
        if self._days is None:
            return day
        if not (self._asked <= day and (self._found is None or day <= self._found)):
            self._asked, self._found = day, _day_since(self._days, day)
        return self._found


@functools.lru_cache(maxsize=16_384)  # jobs that come up on the same days request the same steps, again and again
def _day_since(days: str, day: date) -> date | None:
    from croniter import CroniterBadDateError

    before = datetime.combine(day, MIDNIGHT) - timedelta(minutes=1)
    try:
        found: datetime = copy.copy(_croniter(days)).get_next(datetime, start_time=before)
    except (CroniterBadDateError, ValueError, OverflowError):  # the last two: beyond the year 9999
        return None
    return found.date()


@functools.lru_cache(maxsize=4096)
def _croniter(days: str) -> Any:
    from croniter import croniter  # importing it costs more than the rest of a listing

    return croniter(
        days, datetime.combine(date(2000, 1, 1), MIDNIGHT), implement_cron_bug=True, second_at_beginning=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """[begin, end) of naive UTC with one offset, within one day of the wall clock."""

    begin: datetime
    end: datetime
    offset: timedelta
    reached: datetime  # the latest wall time the clock had shown before `begin`


def _stretches(zone: ZoneInfo, start: datetime, stop: datetime) -> Iterator[_Stretch]:
    """The stretches from the one that contains `start` to the one that contains `stop`, without gaps."""
    # Begins early: after the clock was set back, `reached` is in the past. On a whole second, as changes are.
    begin = max(start.replace(microsecond=0) - _REACH, _EARLIEST)
    offset = _offset(zone, begin)
    reached = begin + offset
    while begin <= stop:
        midnight = datetime.combine((begin + offset).date() + _DAY, MIDNIGHT)
        end = midnight - offset
        following = _offset(zone, end)
        if following != offset:
            end = offset_change(zone, begin, end, offset)
            following = _offset(zone, end)
        if end > start:
            yield _Stretch(begin=begin, end=end, offset=offset, reached=reached)
        reached = max(reached, end + offset)
        begin, offset = end, following


def offset_change(zone: ZoneInfo, low: datetime, high: datetime, offset: timedelta) -> datetime:
    """The second in (low, high], both of them whole, at which the offset stops being `offset`."""
    while high - low > SECOND:
        middle = low + (high - low) // 2 // SECOND * SECOND
        if _offset(zone, middle) == offset:
            low = middle
        else:
            high = middle
    return high


def _utcoffset(zone: ZoneInfo, at: datetime) -> timedelta:
    """at: aware UTC."""
    return _offset(zone, at.replace(tzinfo=None))


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return zone.fromutc(at.replace(tzinfo=zone)).replace(tzinfo=None) - at
