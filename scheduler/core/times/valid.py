"""Validate a schedule: what is wrong with it, and how to write it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from scheduler.core.times import fires
from scheduler.core.times.cron import ScheduleError, never_fires, parse_cron
from scheduler.core.values.instants import instant
from scheduler.core.values.spec import Schedule
from scheduler.core.values.units import format_duration

MOST_ENTRIES = 32  # of a list of schedules


def check_cron(expression: str) -> None:
    """Accept exactly crontab(5): five fields of `*`, numbers, names, ranges, lists and steps, or a macro.

    Six fields begin with the second. `N/S` counts as `N-max/S`. A backward range and croniter's own extensions are
    rejected.

    Raises:
        ScheduleError: `schedule.cron`, `schedule.never`.
    """
    if not _names_a_day(expression):
        raise never_fires(parse_cron(expression))


@functools.lru_cache(maxsize=4096)
def _names_a_day(expression: str) -> bool:
    return fires.Days(parse_cron(expression)).since(date(2000, 1, 1)) is not None


def schedule_errors(schedule: Schedule) -> Iterator[ScheduleError]:
    """Everything wrong with one schedule, entry by entry. Parts that depend on an invalid part are not judged.

    Does not depend on the clock: an `at` in the past is valid here. The codes are those of `fires.zone_of` and
    `check_cron`, and `schedule.kind`, `schedule.every`, `schedule.phase`, `schedule.at`, `schedule.starts`,
    `schedule.ends`, `schedule.jitter`.
    """
    if _is_sound(schedule):
        return
    for number, entry in enumerate(schedule.entries):
        for error in _entry_errors(replace(entry, jitter=schedule.jitter)):
            error.entry = number
            yield error


@functools.lru_cache(maxsize=4096)
def _is_sound(schedule: Schedule) -> bool:
    """Cached: many jobs have the same schedule."""
    entries = (replace(entry, jitter=schedule.jitter) for entry in schedule.entries)
    return schedule.manual or not any(map(_entry_errors, entries))


def unite(entries: Sequence[Schedule]) -> Schedule:
    """The schedule of a list of entries, each already checked. A list of one entry is that entry.

    All entries have the same jitter. It delays every slot of a job alike, so starts come in the order of their slots.

    Raises:
        ScheduleError: `schedule.entries`, `schedule.jitter`, `schedule.duplicate`.
    """
    if not 1 <= len(entries) <= MOST_ENTRIES:
        message = f"schedule has {len(entries)} entries; allowed: 1-{MOST_ENTRIES}"
        hint = "spread them over several jobs" if entries else 'write for example [{cron: "0 9 * * *"}]'
        raise ScheduleError("schedule.entries", message, hint=hint)
    jitter = entries[0].jitter
    seen: dict[tuple[object, ...], int] = {}
    for number, entry in enumerate(entries):
        if entry.jitter != jitter:
            own, others = (format_duration(each) if each else "none" for each in (entry.jitter, jitter))
            message = f"entry {number + 1} has jitter {own} and entry 1 has {others}; a job has one jitter"
            hint = f"write jitter: {format_duration(max(jitter, entry.jitter))} in every entry, or in none"
            raise ScheduleError("schedule.jitter", message, hint=hint, key="jitter", entry=number)
        first = seen.setdefault(_meaning(entry), number)
        if first != number:
            message = f"entry {number + 1} has the same times as entry {first + 1}"
            raise ScheduleError("schedule.duplicate", message, hint="delete one of them", entry=number)
    if len(entries) == 1:
        return entries[0]
    return Schedule(timezone=entries[0].timezone, jitter=jitter, union=tuple(entry.timing for entry in entries))


def with_jitter(schedule: Schedule, jitter: timedelta) -> Schedule:
    """A valid schedule with as much of a jitter as it may have, in whole seconds."""
    gap = fires.smallest_gap(schedule)
    if gap is not None:
        jitter = min(jitter, (gap - fires.TICK) // 2 // fires.SECOND * fires.SECOND)
    shaken = replace(schedule, jitter=jitter)
    return schedule if any(schedule_errors(shaken)) else shaken


def _meaning(entry: Schedule) -> tuple[object, ...]:
    """Equal for two entries that say the same in other words."""
    cron = None if entry.cron is None else (parse_cron(entry.cron), entry.timezone)
    return cron, entry.every, entry.phase, entry.at, entry.starts, entry.ends


def _entry_errors(schedule: Schedule) -> list[ScheduleError]:
    found = _caught(_check_times, schedule)
    if found and found[0].code == "schedule.kind":
        return found
    sound = not found
    if sound:
        found += _caught(_check_phase, schedule)
    found += _caught(_check_bounds, schedule)
    if not found:
        found += _caught(_check_window, schedule)
    if sound and schedule.jitter:
        found += _caught(_check_jitter, schedule)
    return found


def _caught(check: Callable[[Schedule], None], schedule: Schedule) -> list[ScheduleError]:
    try:
        check(schedule)
    except ScheduleError as error:
        return [error]
    return []


def _check_times(schedule: Schedule) -> None:
    """Check what an entry's slots come from: the zone, and one of cron, every and at."""
    named = [key for key in ("cron", "every", "at") if getattr(schedule, key) is not None]
    if len(named) != 1:
        found = " and ".join(named) or "none of them"
        hint = "keep one of them" if named else 'write for example `cron: "0 9 * * *"`'
        message = f"a schedule needs exactly one of cron, every, at; found {found}"
        raise ScheduleError("schedule.kind", message, hint=hint)
    fires.zone_of(schedule.timezone)
    if schedule.cron is not None:
        check_cron(schedule.cron)
        _check_wall_clock(schedule.cron, schedule.timezone)
    if schedule.every is not None:
        fires.check_every(schedule.every)
    if schedule.at is not None and schedule.at.tzinfo is None:
        hint = f"write {schedule.at.isoformat()}Z, or the offset of your zone instead of Z"
        if schedule.timezone != "UTC":
            there = schedule.at.replace(tzinfo=ZoneInfo(schedule.timezone)).isoformat()
            hint = f"write {there}, which is that time in {schedule.timezone}"
        raise ScheduleError("schedule.at", f"at {schedule.at.isoformat()} has no UTC offset", hint=hint)


def _check_phase(schedule: Schedule) -> None:
    every, phase = schedule.every, schedule.phase
    if every is None and phase:
        message = f"phase {format_duration(phase)} is not allowed with {'cron' if schedule.cron else 'at'}"
        raise ScheduleError("schedule.phase", f"{message}; only every takes one", hint="delete the key", key="phase")
    if every is not None and not fires.ZERO <= phase < every:
        message = (
            f"phase {format_duration(phase)} must be 0s or longer, and shorter than every ({format_duration(every)})"
        )
        hint = f"write {format_duration(phase % every)}, which gives the same times"
        raise ScheduleError("schedule.phase", message, hint=hint, key="phase")
    if phase % fires.MILLISECOND:
        message = f"phase {phase / fires.SECOND}s is not a whole number of milliseconds"
        raise ScheduleError("schedule.phase", message, hint="write one like 30s or 5m", key="phase")


def _check_bounds(schedule: Schedule) -> None:
    """Check that `starts` and `ends` are instants, in order."""
    starts, ends = schedule.starts, schedule.ends
    if starts is not None and starts.tzinfo is None:
        message = f"starts {starts.isoformat()} has no UTC offset"
        raise ScheduleError("schedule.starts", message, hint=f"write {starts.isoformat()}Z for UTC", key="starts")
    if ends is not None and ends.tzinfo is None:
        message = f"ends {ends.isoformat()} has no UTC offset"
        raise ScheduleError("schedule.ends", message, hint=f"write {ends.isoformat()}Z for UTC", key="ends")
    if starts is not None and ends is not None and ends < starts:
        message = f"ends {instant(ends)} is before starts {instant(starts)}"
        raise ScheduleError("schedule.ends", message, hint="write a later instant, or swap the two", key="ends")


def _check_window(schedule: Schedule) -> None:
    """Check that there is a slot between `starts` and `ends`."""
    starts, ends = schedule.starts, schedule.ends
    if starts is None and ends is None:
        return
    first = fires.first_slot(replace(schedule, ends=None))
    if first is None or (ends is not None and first > ends):
        bounds = (("from", starts), ("up to", ends))
        window = " ".join(f"{word} {instant(bound)}" for word, bound in bounds if bound is not None)
        raise ScheduleError(
            "schedule.never",
            f"the schedule never fires: it has no time {window}",
            hint="set starts earlier" if first is None else f"set ends to its first time, {instant(first)}, or later",
            key="at" if schedule.at is not None else "starts" if ends is None else "ends",
        )


def _check_jitter(schedule: Schedule) -> None:
    try:
        _check_jitter_of(schedule)
    except ScheduleError as error:
        error.key = "jitter"
        raise


def _check_jitter_of(schedule: Schedule) -> None:
    jitter = schedule.jitter
    if jitter < fires.ZERO:
        message = f"jitter {format_duration(jitter)} is negative; a run never starts before its slot"
        raise ScheduleError("schedule.jitter", message, hint="write one like 30s or 5m")
    if jitter % fires.MILLISECOND:
        raise ScheduleError("schedule.jitter", f"jitter {jitter / fires.SECOND}s is not a whole number of milliseconds")
    first = schedule.at
    if first is None and schedule.starts is not None and schedule.starts.tzinfo is not None:
        first = fires.next_fire(replace(schedule, ends=None), after=fires.FIRST)
    if first is not None and jitter > datetime.max.replace(tzinfo=UTC) - first:
        message = f"jitter {format_duration(jitter)} after {instant(first)} leads beyond the year 9999"
        raise ScheduleError("schedule.jitter", message, hint="delete the key")
    gap = fires.smallest_gap(schedule)
    if gap is None or 2 * jitter < gap:
        return
    most = (gap - fires.TICK) // 2 // fires.SECOND * fires.SECOND
    raise ScheduleError(
        "schedule.jitter",
        f"jitter {format_duration(jitter)} is too long; it must stay under {format_duration(gap / 2)}, "
        "half the shortest time between two fires",
        hint=f"write at most {format_duration(most)}"
        if most
        else "delete the key: fires this close together leave no room for it",
    )


@functools.lru_cache(maxsize=4096)
def _check_wall_clock(expression: str, timezone: str) -> None:
    """Reject a cron that follows the clock and names only times that its zone always skips."""
    cron = parse_cron(expression)
    if cron.fixed:
        return
    # From here, never from now: the verdict must not change by the hour.
    start = datetime.combine(date(2026, 1, 1), fires.MIDNIGHT)
    if next(fires.cron_slots(cron, fires.zone_of(timezone), start=start, stop=fires.LATEST), None) is None:
        message = f"cron {expression!r} never fires in {timezone}: its clock always skips these times"
        raise ScheduleError("schedule.never", message, hint="choose a time outside the hour that is skipped in spring")
