"""Instants as screens print them and people write them: the same text, in both directions.

`wall_time` prints and `read_moment` reads: what the one prints in any zone, the other reads back. A time without a zone
is one of the zone it is read in; if the clock of that zone shows it twice, or skips it, whoever wrote it is told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

from scheduler.core.times.fires import SECOND, offset_change, zone_of
from scheduler.core.values.instants import on_the_clock, parse_instant
from scheduler.core.values.texts import InputError, short

EXAMPLES = '2027-03-29T01:00:00Z, "2027-03-29 03:00 Europe/Berlin", 03:00, "yesterday 09:00", +1h30m or -1d'
LONGEST = 100  # characters of an instant; the longest name of a zone has 32

_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
_DISTANCE = r"(?=[0-9])(?:(?P<d>[0-9]{1,9})d)?(?:(?P<h>[0-9]{1,9})h)?(?:(?P<m>[0-9]{1,9})m)?(?:(?P<s>[0-9]{1,9})s)?"
_AHEAD = re.compile(rf"(?:\+|in ){_DISTANCE}")
_AGO = re.compile(rf"-{_DISTANCE}|{_DISTANCE.replace('?P<', '?P<_')} ago")
_CLOCK = (
    r"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9])"
    r"(?::(?P<second>[0-5][0-9])(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
)
_OFFSET = r"(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-5][0-9])?(?::(?P<seconds>[0-5][0-9]))?"
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = rf"(?:(?P<weekday>{'|'.join(_WEEKDAYS)}) +)?(?P<day>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|{'|'.join(_DAYS)})"
_WRITTEN = re.compile(
    rf"(?:{_DAY}(?:(?:[Tt]| +){_CLOCK})?|{_CLOCK.replace('?P<', '?P<_')})"
    rf"(?: *(?P<utc>[Zz])| *{_OFFSET})?"
    r"(?: +(?P<zone>[A-Za-z][A-Za-z0-9_+/-]*))?"
    r"(?: +\((?P<which>first|second) of two\))?"
)
_IN_TEXT = re.compile(
    r"(?<![\w'\"`=:+.-])[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?Z(?![\w'\"`])"
)


def wall_time(at: datetime, zone: str) -> str:
    """An instant on the clock of a zone, to the second, with its name; with the offset if that time comes twice."""
    local, zone = on_the_clock(at, zone)
    offset = _signed(local.utcoffset() or timedelta()) if _comes_twice(local) else ""
    return f"{local.replace(tzinfo=None).isoformat(' ', 'seconds')}{offset} {zone}"


def offset_time(at: datetime, zone: str) -> str:
    """The same in less room: with the offset in place of the zone's name."""
    local, zone = on_the_clock(at, zone)
    return wall_time(at, zone) if zone == "UTC" else local.isoformat(" ", "seconds")


def with_wall_times(text: str, zone: str) -> str:
    """A message whose instants, RFC 3339 in UTC as `instant` writes them, are shown in a zone.

    What is quoted stays: somebody wrote it, or is to write it.
    """
    return _IN_TEXT.sub(lambda found: wall_time(parse_instant(found[0]), zone), text)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenMoment:
    """An instant as somebody wrote it. Which one it is can depend on the time now, and on a zone."""

    text: str
    at: datetime | None = None  # an instant whatever the zone
    distance: timedelta | None = None  # from now
    day: date | int = 0  # a number: counted from today
    wall: time = time()
    zone: str | None = None  # that it names
    which: int | None = None  # 0 or 1: the first or the second of two

    @property
    def needs_zone(self) -> bool:
        return self.at is None and self.distance is None and self.zone is None

    def meant(self, now: datetime, zone: str) -> Meant:
        """The instant. zone: of a time that names none. Raises: InputError."""
        try:
            if self.at is not None:
                return Meant(self.at)
            if self.distance is not None:
                return Meant(now + self.distance)
            name = zone if self.zone is None else self.zone
            day = self.day
            if isinstance(day, int):
                day = (now.astimezone(zone_of(name)) + timedelta(days=day)).date()
            return _on_wall(datetime.combine(day, self.wall), name, self.which)
        except OverflowError:
            raise InputError(f"{short(self.text)} is outside the years 1 to 9999") from None


@dataclass(frozen=True, slots=True)
class Meant:
    at: datetime  # UTC
    note: str = ""  # what whoever wrote it has to know; empty: there was one reading


def read_moment(text: str) -> WrittenMoment:
    """An instant as people write it, and as any screen prints it.

    RFC 3339; a date, a time or both, with an offset, the name of a zone, both, or neither; `now`, `today`, `yesterday`,
    `tomorrow`; and distances from now, `+1h30m`, `-1d`, `in 5m`, `2h ago`. Raises: InputError, with a hint.
    """
    text = text.strip() if len(text) <= LONGEST else text
    if text == "now":
        return WrittenMoment(text=text, distance=timedelta())
    if (found := _AHEAD.fullmatch(text)) is not None:
        return WrittenMoment(text=text, distance=_distance(found))
    if (found := _AGO.fullmatch(text)) is not None:
        return WrittenMoment(text=text, distance=-_distance(found))
    found = _WRITTEN.fullmatch(text) if len(text) <= LONGEST else None
    try:
        return _other_form(text) if found is None else _written(text, found)
    except InputError:
        raise
    except (ValueError, OverflowError) as error:
        raise InputError(f"{short(text)} is not an instant", hint=f"write {EXAMPLES}") from error


def _other_form(text: str) -> WrittenMoment:
    """Further forms of ISO 8601, such as 20270329T010000Z: only with an offset."""
    return WrittenMoment(text=text, at=parse_instant(text))


def _distance(found: re.Match[str]) -> timedelta:
    numbers = {name.strip("_"): int(number) for name, number in found.groupdict().items() if number}
    return timedelta(
        days=numbers.get("d", 0), hours=numbers.get("h", 0), minutes=numbers.get("m", 0), seconds=numbers.get("s", 0)
    )


def _written(text: str, found: re.Match[str]) -> WrittenMoment:
    """Raises: ValueError for a date that does not exist; InputError for a zone that is none, or not of that offset."""
    said: dict[str, Any] = {name.strip("_"): value for name, value in found.groupdict().items() if value}
    wall = time(
        int(said.get("hour", 0)),
        int(said.get("minute", 0)),
        int(said.get("second", 0)),
        int(said.get("fraction", "0").ljust(6, "0")[:6]),
    )
    named = said.get("day", "today")
    day = _DAYS[named] if named in _DAYS else date.fromisoformat(named)
    if "weekday" in said and (isinstance(day, int) or _WEEKDAYS[day.weekday()] != said["weekday"]):
        raise InputError(
            f"{short(text)} does not exist: that day is not a {said['weekday']}", hint="leave out the weekday"
        )
    which = None if "which" not in said else int(said["which"] == "second")
    spoken = WrittenMoment(text=text, day=day, wall=wall, zone=said.get("zone"), which=which)
    if spoken.zone is not None:
        zone_of(spoken.zone)
    offset = UTC if "utc" in said else _offset(said)
    if offset is None:
        return spoken
    if "hour" not in said:
        raise ValueError("an offset belongs to a time")
    if isinstance(day, int):
        raise InputError(
            f"{short(text)} has an offset but no date", hint="add the date, or name a zone such as Europe/Berlin"
        )
    at = datetime.combine(day, wall, offset).astimezone(UTC)
    if spoken.zone is not None and (there := _zone_offset(at, spoken.zone)) != offset.utcoffset(None):
        raise InputError(
            f"{short(text)} does not exist: the offset of {spoken.zone} is {_signed(there)} then",
            hint="leave out the offset or the zone",
        )
    return replace(spoken, at=at)


def _offset(said: dict[str, str]) -> timezone | None:
    if "sign" not in said:
        return None
    size = timedelta(hours=int(said["hours"]), minutes=int(said.get("minutes", 0)), seconds=int(said.get("seconds", 0)))
    return timezone(-size if said["sign"] == "-" else size)


def _zone_offset(at: datetime, zone: str) -> timedelta:
    found = at.astimezone(zone_of(zone)).utcoffset()
    assert found is not None
    return found


def _signed(offset: timedelta) -> str:
    """As RFC 3339 has it; with seconds where clocks once stood so."""
    sign, size = ("-", -offset) if offset < timedelta() else ("+", offset)
    return sign + str(size).rjust(8, "0").removesuffix(":00")


def _comes_twice(local: datetime) -> bool:
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def _on_wall(wall: datetime, zone: str, which: int | None) -> Meant:
    """What the clock of a zone shows, as an instant: the first of two, and the end of a gap for what it skips (F6)."""
    there = zone_of(zone)
    sides = [wall.replace(tzinfo=there, fold=fold) for fold in (0, 1)]
    before, after = (side.utcoffset() or timedelta() for side in sides)
    if before == after:
        return Meant(sides[0].astimezone(UTC))
    if before > after:
        at = sides[which or 0].astimezone(UTC)
        second = wall_time(sides[1].astimezone(UTC), zone)
        note = f'{wall} occurs twice in {zone}; the first is used. For the second, write "{second}"'
        return Meant(at, note if which is None else "")
    low = (wall - after).replace(microsecond=0)
    at = offset_change(there, low, low + (after - before) + SECOND, before).replace(tzinfo=UTC)
    note = f"{wall} does not exist in {zone}, where the clock goes forward; {wall_time(at, zone)} is used"
    return Meant(at, note)
