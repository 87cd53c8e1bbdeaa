"""What a screen prints as an instant is read back as that instant; and what else people write."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.times.moments import read_moment, wall_time, with_wall_times
from scheduler.core.values.instants import instant
from scheduler.core.values.texts import InputError

NOW = datetime(2026, 12, 1, 16, 44, 30, tzinfo=UTC)
BERLIN = "Europe/Berlin"
ZONES = (
    "UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "Africa/Monrovia",
    "America/St_Johns", "Europe/Dublin", "Africa/Casablanca", "Antarctica/Troll", "Asia/Tehran",
)  # fmt: skip
zones = st.sampled_from(ZONES)
_FROM = datetime(2, 1, 1, tzinfo=UTC)
instants = st.integers(0, 9995 * 365 * 86_400_000_000).map(lambda n: _FROM + timedelta(microseconds=n))


def at(text: str, zone: str = BERLIN, now: datetime = NOW) -> str:
    return instant(read_moment(text).meant(now, zone).at)


def note(text: str, zone: str = BERLIN) -> str:
    return read_moment(text).meant(NOW, zone).note


@given(instants, zones, zones)
def test_what_is_printed_in_any_zone_is_read_back_whoever_reads_it(moment: datetime, zone: str, reader: str) -> None:
    found = read_moment(wall_time(moment, zone)).meant(NOW, reader)
    assert (found.at, found.note) == (moment.replace(microsecond=0), "")
    assert read_moment(instant(moment)).meant(NOW, reader).at == moment


def changes(zone: str, year: int) -> list[datetime]:
    """The hours of a year at whose end the offset of a zone is another one."""
    hours = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(366 * 24)]
    there = ZoneInfo(zone)
    offsets = [hour.astimezone(there).utcoffset() for hour in hours]
    return [hour for hour, one, two in zip(hours, offsets, offsets[1:], strict=False) if one != two]


@pytest.mark.parametrize("zone", [zone for zone in ZONES if changes(zone, 2026)])
def test_around_each_clock_change_every_minute_is_read_back(zone: str) -> None:
    for change in changes(zone, 2026):
        texts = set()
        for minute in range(-180, 180):
            moment = change + timedelta(minutes=minute)
            text = wall_time(moment, zone)
            texts.add(text)
            assert read_moment(text).meant(NOW, "UTC").at == moment, text
        assert len(texts) == 360, "no two instants print as one text"


@given(instants, zones)
def test_a_bare_time_is_read_in_the_zone_and_says_so_only_where_it_had_a_choice(moment: datetime, zone: str) -> None:
    local = moment.replace(microsecond=0).astimezone(ZoneInfo(zone))
    found = read_moment(f"{local.replace(tzinfo=None)}").meant(NOW, zone)
    assert found.note or found.at == moment.replace(microsecond=0)
    assert found.at == moment.replace(microsecond=0) or local.fold == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-12-01T16:44:30Z"),
        ("17:44", "2026-12-01T16:44:00Z"),
        ("2026-12-01 17:44", "2026-12-01T16:44:00Z"),
        ("2026-12-01T17:44", "2026-12-01T16:44:00Z"),
        ("2026-12-01 16:44:00 UTC", "2026-12-01T16:44:00Z"),
        ("2026-12-01 17:44:00 Europe/Berlin", "2026-12-01T16:44:00Z"),
        ("2026-12-01T16:44:00Z", "2026-12-01T16:44:00Z"),
        ("2026-12-01T16:44:00.123456Z", "2026-12-01T16:44:00.123456Z"),
        ("2026-12-01T16:44:00.1234567+00:00", "2026-12-01T16:44:00.123456Z"),
        ("2026-12-01 17:44:00+01:00", "2026-12-01T16:44:00Z"),
        ("2026-12-01 17:44 +0100", "2026-12-01T16:44:00Z"),
        ("2026-12-01 17:44:00+01:00 Europe/Berlin", "2026-12-01T16:44:00Z"),
        ("  17:44:05 ", "2026-12-01T16:44:05Z"),
        ("11:44 America/New_York", "2026-12-01T16:44:00Z"),
        ("yesterday 09:00", "2026-11-30T08:00:00Z"),
        ("yesterday", "2026-11-29T23:00:00Z"),
        ("today", "2026-11-30T23:00:00Z"),
        ("tomorrow 09:00 UTC", "2026-12-02T09:00:00Z"),
        ("2026-12-01", "2026-11-30T23:00:00Z"),
        ("20261201T164400Z", "2026-12-01T16:44:00Z"),
        ("Tue 2026-12-01 17:44 Europe/Berlin", "2026-12-01T16:44:00Z"),
        ("+2h", "2026-12-01T18:44:30Z"),
        ("-1d2h3m4s", "2026-11-30T14:41:26Z"),
        ("+0s", "2026-12-01T16:44:30Z"),
        ("in 26s", "2026-12-01T16:44:56Z"),
        ("2m ago", "2026-12-01T16:42:30Z"),
        ("3d ago", "2026-11-28T16:44:30Z"),
    ],
)
def test_an_instant_is_read_as_people_write_it(text: str, expected: str) -> None:
    assert (at(text), note(text)) == (expected, "")


def test_the_day_is_that_of_the_zone_that_is_named() -> None:
    late = datetime(2026, 12, 1, 23, 30, tzinfo=UTC)  # the 2nd in Berlin
    assert at("01:00", now=late) == "2026-12-02T00:00:00Z"
    assert at("01:00 UTC", now=late) == "2026-12-01T01:00:00Z"
    assert at("yesterday 01:00", now=late) == "2026-12-01T00:00:00Z"


def test_a_time_that_comes_twice_is_the_first_and_says_how_to_write_the_second() -> None:
    for text in ("2026-10-25 02:30", "2026-10-25 02:30 Europe/Berlin"):
        assert at(text) == "2026-10-25T00:30:00Z"
        said = note(text)
        assert "occurs twice in Europe/Berlin; the first is used" in said
        (_, second, _) = said.split('"')
        assert (at(second, "UTC"), note(second, "UTC")) == ("2026-10-25T01:30:00Z", "")
    for text, hour in (("first", 0), ("second", 1)):  # as schedules in words have it
        written = f"2026-10-25 02:30 Europe/Berlin ({text} of two)"
        assert (at(written), note(written)) == (f"2026-10-25T0{hour}:30:00Z", "")


def test_a_time_that_is_skipped_is_the_end_of_the_gap_and_says_so() -> None:
    for wall in ("02:00", "02:30", "02:59:59.5"):
        assert at(f"2026-03-29 {wall}") == "2026-03-29T01:00:00Z"
    assert note("2026-03-29 02:30") == (
        "2026-03-29 02:30:00 does not exist in Europe/Berlin, where the clock goes forward;"
        " 2026-03-29 03:00:00 Europe/Berlin is used"
    )
    assert at("2011-12-30 12:00", "Pacific/Apia") == "2011-12-30T10:00:00Z", "a whole day was skipped"


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("", "not an instant", "write 2027-"),
        ("+", "not an instant", "write 2027-"),
        ("2h", "not an instant", "write 2027-"),
        ("+2", "not an instant", "write 2027-"),
        ("+30m1h", "not an instant", "write 2027-"),
        ("++1h", "not an instant", "write 2027-"),
        ("in", "not an instant", "write 2027-"),
        ("25:00", "not an instant", "write 2027-"),
        ("2026-02-30", "not an instant", "write 2027-"),
        ("2026-12-01-05", "not an instant", "write 2027-"),
        ("x" * 5000, "not an instant", "write 2027-"),
        ("17:44 Europe/Berln", "not an IANA zone name", "'Europe/Berlin'"),
        ("17:44 ../../etc/passwd", "not an instant", "write 2027-"),
        ("17:44 utc", "not an IANA zone name", "'UTC'"),
        ("Mon 2026-12-01 17:44", "that day is not a Mon", "leave out the weekday"),
        ("Mon today", "that day is not a Mon", "leave out the weekday"),
        ("17:44+01:00", "has an offset but no date", "add the date"),
        ("2026-12-01 17:44+02:00 Europe/Berlin", "the offset of Europe/Berlin is +01:00 then", "leave out"),
        ("-999999d", "outside the years 1 to 9999", ""),
        ("+999999999d", "outside the years 1 to 9999", ""),
        ("0001-01-01 00:00 Europe/Berlin", "outside the years 1 to 9999", ""),
        ("9999-12-31 23:00 America/New_York", "outside the years 1 to 9999", ""),
    ],
)
def test_what_is_no_instant_is_refused_with_what_to_write(text: str, said: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        at(text)
    assert said in caught.value.message
    assert hint in caught.value.hint
    assert len(caught.value.message) < 200


@given(st.text(max_size=40) | st.from_regex(r"[0-9TZ:+ -]{1,30}", fullmatch=True))
def test_any_text_is_an_instant_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert at(text).endswith("Z")


def test_a_message_shows_its_instants_in_one_zone_and_leaves_what_is_quoted() -> None:
    quoted = "write '2026-12-01T16:44:00Z' or x=2026-12-01T16:44:00Z"
    assert with_wall_times(f"due at 2026-12-01T16:44:00Z, since 2026-12-01T16:44:00.5Z; {quoted}", BERLIN) == (
        "due at 2026-12-01 17:44:00 Europe/Berlin, since 2026-12-01 17:44:00 Europe/Berlin; " + quoted
    )
