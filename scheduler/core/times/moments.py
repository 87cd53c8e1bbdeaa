"""Instants as screens print them and people write them, in the same format.

`read_moment` reads back what `wall_time` prints, in any zone. A time without a zone belongs to the zone it is read in.
If the clock of that zone shows the time twice or skips it, the user gets a note.
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
LONGEST = 100  # characters of an instant; the longest zone name has 32

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
    """An instant in local time to the second, with the zone's name, and with the offset if the time occurs twice."""
    local, zone = on_the_clock(at, zone)
    offset = _signed(local.utcoffset() or timedelta()) if _comes_twice(local) else ""
    return f"{local.replace(tzinfo=None).isoformat(' ', 'seconds')}{offset} {zone}"


def offset_time(at: datetime, zone: str) -> str:
    """A shorter form of `wall_time`, with the offset in place of the zone's name."""
    local, zone = on_the_clock(at, zone)
    return wall_time(at, zone) if zone == "UTC" else local.isoformat(" ", "seconds")


def with_wall_times(text: str, zone: str) -> str:
    """A message with its instants (RFC 3339 in UTC, as `instant` writes them) converted to a zone.

    Quoted text stays as it is: a user wrote it or has to type it.
    """
    return _IN_TEXT.sub(lambda found: wall_time(parse_instant(found[0]), zone), text)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenMoment:
    """An instant as a user wrote it. Its meaning can depend on the current time and on a zone."""

    text: str
    at: datetime | None = None  # an instant that no zone affects
    distance: timedelta | None = None  # from now
    day: date | int = 0  # an int counts days from today
    wall: time = time()
    zone: str | None = None  # the zone in the text, if any
    which: int | None = None  # 0 or 1: the first or the second, if the time occurs twice

    @property
    def needs_zone(self) -> bool:
        return self.at is None and self.distance is None and self.zone is None

    def meant(self, now: datetime, zone: str) -> Meant:
        """The instant. zone: used if the text names none. Raises: InputError."""
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
    note: str = ""  # for the user; empty if only one reading was possible


def read_moment(text: str) -> WrittenMoment:
    """Read an instant as people write it and as any screen prints it.

    Accepts RFC 3339; a date, a time or both, with an offset, the name of a zone, both, or neither; `now`, `today`,
    `yesterday`, `tomorrow`; and distances from now: `+1h30m`, `-1d`, `in 5m`, `2h ago`.
    Raises: InputError, with a hint.
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
    """Read other forms of ISO 8601, such as 20270329T010000Z, but only with an offset."""
    return WrittenMoment(text=text, at=parse_instant(text))


def _distance(found: re.Match[str]) -> timedelta:
    numbers = {name.strip("_"): int(number) for name, number in found.groupdict().items() if number}
    return timedelta(
        days=numbers.get("d", 0), hours=numbers.get("h", 0), minutes=numbers.get("m", 0), seconds=numbers.get("s", 0)
    )


def _written(text: str, found: re.Match[str]) -> WrittenMoment:
    """Raises: ValueError if the date does not exist; InputError if the zone is unknown or never has that offset."""
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
    """The offset as in RFC 3339, with seconds if a historical offset has them."""
    sign, size = ("-", -offset) if offset < timedelta() else ("+", offset)
    return sign + str(size).rjust(8, "0").removesuffix(":00")


def _comes_twice(local: datetime) -> bool:
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def _on_wall(wall: datetime, zone: str, which: int | None) -> Meant:
    """The instant of a local time: by default the first if it occurs twice, the end of the gap if skipped (F6)."""
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
