"""Tables: aligned in a pipe, fitted to a terminal, and nothing in a cell steers it."""

from __future__ import annotations

import shutil
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.cli import render
from scheduler.cli.render import cell_width, clean, cut, fitted, styled

NAMES = ("JOB", "STATUS", "SCHEDULE", "RUNS")
widths = st.tuples(*(st.integers(1, 80) for _ in NAMES)).map(lambda found: dict(zip(NAMES, found, strict=True)))


@given(widths, st.integers(20, 200))
def test_the_flexible_column_gives_way_then_the_optional_ones_go_and_no_other_is_cut(
    before: dict[str, int], room: int
) -> None:
    found = fitted(before, room, flexible="SCHEDULE", optional=("RUNS",))
    assert {name: found[name] for name in ("JOB", "STATUS")} == {name: before[name] for name in ("JOB", "STATUS")}
    assert found["SCHEDULE"] <= before["SCHEDULE"]
    total = sum(found.values()) + 2 * (len(found) - 1)
    assert total <= room or ("RUNS" not in found and found["SCHEDULE"] <= 8), "only where nothing is left to give"
    if "RUNS" not in found:
        assert sum(before.values()) + 6 - max(0, before["SCHEDULE"] - 8) > room, "nothing goes that fits"


@given(st.text(st.characters(codec="utf-8"), max_size=40), st.integers(1, 30))
def test_a_cut_cell_is_never_wider_than_its_column(text: str, width: int) -> None:
    assert cell_width(cut(clean(text), width)) <= max(width, 1)


@given(st.text(max_size=60))
def test_no_control_character_reaches_the_terminal(text: str) -> None:
    assert clean(text).isprintable()


def test_wide_characters_take_two_columns() -> None:
    assert (cell_width("abc"), cell_width("日本"), cell_width("e\u0301")) == (3, 4, 1)


@pytest.mark.parametrize(
    ("status", "colour"),
    [
        ("active", 32),
        ("active/invalid", 31),
        ("active/failing 3", 31),
        ("active/held", 33),
        ("active/held/failing 3", 31),
        ("skipped/source_missing", 33),
    ],
)
def test_a_status_has_the_colour_of_the_worst_it_says(
    status: str, colour: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert styled(status, 30).startswith(f"\x1b[{colour}m")


def test_two_long_texts_that_differ_late_are_cut_where_they_differ() -> None:
    before, after = "x" * 200 + " old end", "x" * 200 + " new end"
    sides = render.two_sides(before, after, 40)
    assert [each.endswith(end) for each, end in zip(sides, ("old end", "new end"), strict=True)] == [True, True]
    assert all(len(each) <= 40 for each in sides)
    assert render.two_sides("a", "b", 40) == ("a", "b")
    assert render.two_sides(before, before, 40)[0] == render.two_sides(before, before, 40)[1]
    assert render.two_sides("one\ntwo", "one\nthree", 40) != ("one", "one")


def test_durations_inside_a_value_are_shown_as_job_files_write_them() -> None:
    assert render.field_text("schedule", {"every_ms": 72_000_000, "timezone": "UTC"}) == "every 20h, timezone UTC"
    assert render.value_text({"attempts": 3, "delay_ms": 30_000}) == "attempts 3, delay 30s"


def test_an_empty_column_goes_before_anything_is_cut() -> None:
    widths = {"AT": 23, "CHANGE": 40, "AUTHOR": 6, "SUBJECT": 7}
    shown = fitted(widths, 72, flexible="CHANGE", optional=("SUBJECT", "AUTHOR"), empty=["SUBJECT"])
    assert shown == {"AT": 23, "CHANGE": 39, "AUTHOR": 6}
    assert fitted(widths, 82, flexible="CHANGE", optional=("SUBJECT", "AUTHOR"), empty=["SUBJECT"]) == widths


def test_a_column_that_matters_is_cut_to_its_least_before_others_go_and_below_it_after() -> None:
    widths = {"AT": 23, "CHANGE": 60, "SUBJECT": 20}
    assert fitted(widths, 80, flexible="CHANGE", optional=("SUBJECT",), least=30) == {**widths, "CHANGE": 33}
    assert fitted(widths, 70, flexible="CHANGE", optional=("SUBJECT",), least=30) == {"AT": 23, "CHANGE": 45}
    assert fitted(widths, 40, flexible="CHANGE", optional=("SUBJECT",), least=30) == {"AT": 23, "CHANGE": 15}


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=200), st.integers(1, 20))
def test_a_wrapped_text_loses_nothing_and_is_no_wider_than_the_terminal(text: str, indent: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.stdout, "isatty", lambda: True)
        patch.setattr(shutil, "get_terminal_size", lambda: SimpleNamespace(columns=60))
        found = render.wrapped("p" * indent, clean(text), indent=indent)
    first, *rest = found.split("\n")
    assert all(cell_width(line) <= 60 for line in (first, *rest))
    assert all(line.startswith(" " * indent) for line in rest)
    assert "".join(found.split()) == "".join(("p" * indent + clean(text)).split())
