"""Hints: by meaning before spelling, never the opposite or another size, and odd characters by their names."""

from __future__ import annotations

from datetime import datetime

import pytest

from scheduler.core.times.valid import schedule_errors
from scheduler.core.values.lookalikes import doubtful_hint, plain_hint, same_looking
from scheduler.core.values.problems import did_you_mean, meant, nearest
from scheduler.core.values.spec import Schedule
from scheduler.core.values.units import UnitError, parse_duration
from scheduler.tool.arguments import CALLS

STATUSES = ("archived", "disabled", "stopped", "paused", "manual", "completed", "waiting", "active")


@pytest.mark.parametrize(
    ("word", "verb"),
    [
        ("rm", "delete"), ("remove", "delete"), ("unpause", "resume"), ("enable", "resume"), ("edit", "update"),
        ("modify", "update"), ("set", "update"), ("execute", "run"), ("trigger", "run"), ("start", "run"),
        ("status", "status"), ("Remove", "delete"), ("disable", "pause"), ("stop", "cancel"), ("logs", "output"),
        ("rename", "mv"), ("add", "create"), ("updat", "update"), ("histroy", "history"),
    ],
)  # fmt: skip
def test_the_verb_of_another_tool_is_met_by_its_meaning(word: str, verb: str) -> None:
    assert meant(word, CALLS) == f"did you mean {verb!r}?"


@pytest.mark.parametrize(
    ("word", "status"), [("enabled", "active"), ("inactive", "disabled"), ("deleted", "archived"), ("pausd", "paused")]
)
def test_so_is_a_status(word: str, status: str) -> None:
    assert meant(word, STATUSES) == f"did you mean {status!r}?"


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("enabled", "disabled"),
        ("unpause", "pause"),
        ("inactive", "active"),
        ("uninstall", "install"),
        ("unset", "set"),
        ("min_delay", "max_delay"),
        ("oldest", "latest"),
        ("not_failed", "failed"),
        ("report-am", "report-pm"),
    ],
)
def test_a_hint_never_names_the_opposite(word: str, known: str) -> None:
    assert nearest(word, [known]) is None
    assert nearest(known, [word]) is None


@pytest.mark.parametrize("text", ["1M", "2 M", "1h 2M"])
def test_a_capital_m_may_be_a_month_and_is_not_taken_for_minutes(text: str) -> None:
    with pytest.raises(UnitError) as told:
        parse_duration(text)
    assert told.value.hint.startswith("m means minutes; a month is not a duration")


@pytest.mark.parametrize(
    ("text", "each"), [("1mo", "month"), ("3 MONTHS", "month"), ("2Mo", "month"), ("1y", "year"), ("2 Years", "year")]
)
def test_a_month_or_a_year_is_of_no_one_length(text: str, each: str) -> None:
    with pytest.raises(UnitError) as told:
        parse_duration(text)
    assert told.value.hint.startswith(f"a {each} is not a duration; for every {each}, write cron")


@pytest.mark.parametrize("macro", ["@bihourly", "@biweekly", "@fortnightly", "@bimonthly", "@half-hourly"])
def test_a_macro_of_another_length_is_no_misspelt_one(macro: str) -> None:
    (error,) = schedule_errors(Schedule(cron=macro, timezone="UTC"))
    assert error.hint == "write five fields, or one of the macros"


@pytest.mark.parametrize(("text", "hint"), [("1H", "write 1h"), ("5 Min", "write 5m"), ("2D", "write 2d")])
def test_other_capitals_mean_one_thing(text: str, hint: str) -> None:
    with pytest.raises(UnitError) as told:
        parse_duration(text)
    assert told.value.hint == hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("\u201c0 9 * * *\u201d", "it contains LEFT DOUBLE QUOTATION MARK (U+201C); write 0 9 * * *"),
        ("0 9\u00a0* * *", "it contains NO-BREAK SPACE (U+00A0); write 0 9 * * *"),
        ("1h\u200b", "it contains ZERO WIDTH SPACE (U+200B); write 1h"),
        ("0 9 * * mon\u2013fri", "it contains EN DASH (U+2013); write 0 9 * * mon-fri"),
        ("\uff11h", "it contains FULLWIDTH DIGIT ONE (U+FF11); write 1h"),
        ("\u2018\u2019", "it contains LEFT SINGLE QUOTATION MARK (U+2018); delete it"),
        ("h\u0435artbeat", "it contains CYRILLIC SMALL LETTER IE (U+0435); write heartbeat"),
        ("\u043e\u0442\u0447\u0435\u0442", ""),
        ("Z\u00fcrich", ""),
        ("0 9 * * *", ""),
    ],
)
def test_characters_that_look_plain_and_are_not_have_names(text: str, hint: str) -> None:
    assert plain_hint(text) == hint


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("\u201cprompts/**\u201d", "LEFT DOUBLE QUOTATION MARK"), ("\u2013print", "EN DASH"),
        ("a\u00a0b", "NO-BREAK SPACE"),
        ("\u2013p \u201cgo\u201d", "EN DASH"), ("scr\u0456pts/*", "CYRILLIC SMALL LETTER BYELORUSSIAN"),
        ("say what is new \u2013 and why", ""), ("don\u2019t ask twice", ""), ("\u9031\u5831", ""), ("a\u200bb", ""),
        ("\u00ab\u00a0d\u00e9j\u00e0\u00a0\u00bb", ""), ("nightly", ""),
    ],
)  # fmt: skip
def test_a_word_that_may_hold_anything_is_doubted_where_it_only_looks_plain(text: str, named: str) -> None:
    hint = doubtful_hint(text)
    assert (named in hint) if named else (hint == "")


def test_a_name_that_looks_the_same_is_told_apart() -> None:
    composed, decomposed = "caf\u00e9.md", "cafe\u0301.md"
    told = did_you_mean(composed, [decomposed])
    assert "It looks the same, but has LATIN SMALL LETTER E (U+0065)" in told
    assert "LATIN SMALL LETTER E WITH ACUTE (U+00E9)" in told
    assert same_looking("a", "b") == same_looking("a", "a") == ""
    assert "NO-BREAK SPACE (U+00A0)" in same_looking("a\u00a0b", "a b")


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("Europe/Berlin", "write 2027-07-31T09:00:00+02:00, which is that time in Europe/Berlin"),
        ("UTC", "write 2027-07-31T09:00:00Z, or the offset of your zone instead of Z"),
    ],
)
def test_an_instant_without_an_offset_is_one_of_the_zone_beside_it(zone: str, hint: str) -> None:
    (error,) = schedule_errors(Schedule(at=datetime(2027, 7, 31, 9), timezone=zone))  # noqa: DTZ001
    assert error.hint == hint
