"""Strips of slots, and the ribbon of hours around now."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.values.runs import RunStatus
from scheduler.web.draw import ribbon, strip

GOLDEN = Path(__file__).parents[1] / "golden/web"
Slots = list[tuple[str, str | None, int]]
SLOTS: Slots = [
    ("succeeded", None, 1), ("skipped", "paused", 4), ("succeeded", None, 1), ("timed_out", None, 1),
    ("skipped", "source_missing", 1), ("cancelled", None, 1), ("running", None, 1),
]  # fmt: skip
slots = st.lists(st.tuples(st.sampled_from(list(map(str, RunStatus))), st.none(), st.integers(1, 10**9)), max_size=40)


def is_golden(name: str, text: str) -> None:
    if os.environ.get("GOLDEN") == "write":
        (GOLDEN / name).write_text(text + "\n")
    assert text + "\n" == (GOLDEN / name).read_text()


def test_a_strip_is_drawn_as_in_the_golden_file() -> None:
    is_golden("strip.svg", strip.strip(SLOTS, strip.words(SLOTS)))


def test_the_words_of_a_strip_name_the_reason_of_each_skip() -> None:
    assert strip.words(SLOTS) == (
        "4 skipped (it was paused), 2 succeeded, 1 running, 1 cancelled,"
        " 1 skipped (the file of the task, or of the job, is gone), 1 timed out"
    )
    assert strip.words([]) == "no slots yet"


def test_a_strip_is_one_path_for_each_outcome_and_a_slot_that_could_not_start_has_failed() -> None:
    paths = {each.get("class"): each.get("d", "").count("M") for each in _paths(strip.strip(SLOTS, ""))}
    assert paths == {"cancelled": 1, "failed": 2, "going": 1, "skipped": 4, "succeeded": 2}


@given(slots)
def test_every_strip_has_at_most_thirty_slots_in_its_box(found: Slots) -> None:
    drawn = [each for path in _paths(strip.strip(found, "")) for each in path.get("d", "").split("M") if each]
    assert len(drawn) == min(strip.MOST, sum(count for _, _, count in found))
    assert all(0 <= int(each.split()[0]) < strip.MOST * strip.STEP for each in drawn)
    assert strip.words(found)


def test_a_ribbon_is_drawn_as_in_the_golden_file() -> None:
    parts = [ribbon.Part()] * (2 * ribbon.PARTS)
    parts[60] = ribbon.Part(failed=1, succeeded=4)
    parts[70] = ribbon.Part(succeeded=1, other=1, skipped=3)
    parts[80] = ribbon.Part(coming=2)
    bars = [ribbon.Bar(since=30, usual=90), ribbon.Bar(since=1000, usual=5), ribbon.Bar(since=1, usual=None)]
    is_golden("ribbon.svg", ribbon.ribbon(parts, bars, "what is to be seen"))


counts = st.integers(0, 10**6)
parts = st.builds(ribbon.Part, failed=counts, succeeded=counts, other=counts, skipped=counts, coming=counts)
minutes = st.floats(0, 10**6)
bars = st.lists(st.builds(ribbon.Bar, since=minutes, usual=st.none() | minutes), max_size=9)


@given(st.lists(parts, min_size=2 * ribbon.PARTS, max_size=2 * ribbon.PARTS), bars)
def test_every_ribbon_is_well_formed_and_has_a_path_for_each_kind(
    found: list[ribbon.Part], running: list[ribbon.Bar]
) -> None:
    kinds = [each.get("class") for each in _paths(ribbon.ribbon(found, running, "hours"))]
    assert len(kinds) == len(set(kinds)) <= 9


@pytest.mark.parametrize("drawn", [strip.strip([], '"><script>'), ribbon.ribbon([], [], '"><script>')])
def test_labels_are_escaped_and_nothing_is_inline(drawn: str) -> None:
    assert "<script" not in drawn
    assert " style=" not in drawn


def _paths(svg: str) -> list[ElementTree.Element]:
    return [each for each in ElementTree.fromstring(svg) if each.tag == "path"]
