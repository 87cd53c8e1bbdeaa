from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.values.units import (
    MAX_DURATION,
    MAX_SIZE,
    UnitError,
    format_duration,
    format_seconds,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("20m", 1200), ("2h", 7200), ("1d", 86400), ("1h30m", 5400), ("1d2h3m4s", 93784), ("007s", 7)],
)
def test_a_duration_is_read_as_written(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "1.5h", "-5m", "5 m", "m", "30m1h", "5M", "1w", "5ms", "٣m", "5m\n", " 5m", "1h1h", "+5m", "1e3s"]
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_duration(text)
    assert caught.value.hint
    assert caught.value.code == "invalid"


@pytest.mark.parametrize("text", ["0s", "0h0m", "3651d", "9" * 17 + "s", "9" * 5000 + "d", "3650d1s"])
def test_a_duration_outside_one_second_to_ten_years_is_refused(text: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_duration(text)
    assert caught.value.code == "range"


def test_a_bare_number_gets_the_units_as_a_hint() -> None:
    with pytest.raises(UnitError, match="no unit") as caught:
        parse_duration("30")
    assert caught.value.hint == "write 30s, 30m or 30h"


@given(st.integers(1, MAX_DURATION // timedelta(seconds=1)).map(lambda n: timedelta(seconds=n)))
def test_a_duration_printed_and_read_is_the_same(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(milliseconds=250), "0.25s"),
        (timedelta(seconds=61, microseconds=1), "1m1.000001s"),
        (timedelta(seconds=-90), "-1m30s"),
    ],
)
def test_a_duration_prints_in_its_shortest_form(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5s"), (30, "30s"), (30.0, "30s"), (90, "1m30s"), (0.05, "0.05s")]
)
def test_a_limit_in_seconds_prints_as_a_duration(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@given(st.text(max_size=20))
def test_reading_any_text_as_a_duration_or_size_ends_in_a_value_or_a_unit_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        try:
            outcome = str(parse(text))
        except UnitError as error:
            outcome = error.message
        assert outcome


@pytest.mark.parametrize(
    ("text", "size"), [("256KiB", 262144), ("10MiB", 10485760), ("1GiB", 2**30), ("512B", 512), (4096, 4096)]
)
def test_a_size_is_read_as_written(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("256KB", "KB is 1,000 bytes: write 250KiB"),
        ("1MB", "MB is 1,000,000 bytes: write 1000000B"),
        ("10M", "M alone is 1,000,000 or 1,048,576 bytes: write 10000000B or 10MiB"),
        ("1000 k", "k alone is 1,000 or 1,024 bytes: write 1000000B or 1000KiB"),
        ("1 gB", "GB is 1,000,000,000 bytes: write 1000000000B"),
        ("256kb", "KB is 1,000 bytes: b can mean bits; for bytes, write 250KiB"),
        ("8Kib", "b can mean bits; for bytes, write 8KiB"),
        ("512b", "b can mean bits; for bytes, write 512B"),
        ("512 bytes", "write 512B"),
        ("1kiB", "write 1KiB"),
        ("1TiB", "write 1024GiB"),
        ("1TB", "TB is 1,000,000,000,000 bytes: write 976562500KiB"),
        ("10mbit", "write one like 256KiB or 10MiB"),
        ("lots", "write one like 256KiB or 10MiB"),
    ],
)
def test_a_size_in_another_unit_gets_exactly_that_size_as_a_hint(text: str, hint: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_size(text)
    assert caught.value.hint == hint


@pytest.mark.parametrize("value", [0, -1, MAX_SIZE + 1, "0B", "9999999999GiB"])
def test_a_size_out_of_range_is_refused(value: str | int) -> None:
    with pytest.raises(UnitError) as caught:
        parse_size(value)
    assert caught.value.code == "range"


@given(st.integers(1, MAX_SIZE))
def test_a_size_printed_and_read_is_the_same(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("90 s", "write 1m30s"),
        ("1h 30m", "write 1h30m"),
        ("30m1h", "write 1h30m"),
        ("1.5h", "write 1h30m"),
        ("0.5m", "write 30s"),
        ("20min", "write 20m"),
        ("20 Minutes", "write 20m"),
        ("2 hours, 5 secs", "write 2h5s"),
        ("5S", "write 5s"),
        ("1 day", "write 1d"),
        ("5ms", "write one like 90s, 20m, 2h, 1d or 1h30m"),
        ("90 sec", "write 1m30s"),
        ("1 w", "write 7d"),
        ("2 weeks", "write 14d"),
        ("1h30", "write 1h30m"),
        ("1m5", "write 1m5s"),
        ("1h90", "write one like 90s, 20m, 2h, 1d or 1h30m"),
        ("1:30", "write one like 90s, 20m, 2h, 1d or 1h30m"),
        ("0.5s", "write one like 90s, 20m, 2h, 1d or 1h30m"),
        ("0 min", "write one like 90s, 20m, 2h, 1d or 1h30m"),
        ("9999 days", "write one like 90s, 20m, 2h, 1d or 1h30m"),
        ("0", "write one like 90s, 20m, 2h, 1d or 1h30m"),
        ("99999999999", "write one like 90s, 20m, 2h, 1d or 1h30m"),
    ],
)
def test_what_was_probably_meant_by_a_duration_is_the_hint(text: str, hint: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_duration(text)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("1.5MiB", "invalid", "write 1536KiB"),
        ("1.5MB", "invalid", "MB is 1,000,000 bytes: write 1500000B"),
        ("0.1k", "invalid", "k alone is 1,000 or 1,024 bytes: write 100B"),
        ("0.0001KB", "invalid", "write one like 256KiB or 10MiB"),
        ("0KB", "invalid", "write one like 256KiB or 10MiB"),
        ("99999999999999999999KB", "invalid", "write one like 256KiB or 10MiB"),
        ("99999999999999999999GiB", "range", ""),
        ("9" * 5000 + "B", "range", ""),
        ("-1", "invalid", "write one like 256KiB or 10MiB"),
    ],
)
def test_what_was_probably_meant_by_a_size_is_the_hint(text: str, code: str, hint: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_size(text)
    assert (caught.value.code, caught.value.hint) == (code, hint)


numbers = st.integers(0, 10**22).map(str) | st.sampled_from(["0", "00", "1.5", "0.0001", "1e3", "-5", "3650", ".5"])
units = st.sampled_from(
    ["", "s", " s", "min", "M", "hours", "d", " w", "mo", "y", "B", "b", "kb", "KB", "KiB", "MiB", " g", "GIB", "TB"]
)


@given(st.lists(st.tuples(numbers, units), min_size=1, max_size=3).map(lambda found: "".join(map("".join, found))))
def test_what_a_hint_says_to_write_is_never_refused(text: str) -> None:
    for parse in (parse_duration, parse_size):
        try:
            parse(text)
        except UnitError as error:
            if "is not a duration; for every" in error.hint:
                continue
            words = error.hint.rpartition("write ")[2].removeprefix("one like ")
            for word in re.split(", | or ", words) if words else ():
                parse(word)
