"""Strips of a clock."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from scheduler.web.draw.clock import HEIGHT, strip

GOLDEN = Path(__file__).parents[1] / "golden/web/clock.svg"
WEEK = 84


def test_a_strip_is_drawn_as_in_the_golden_file() -> None:
    office = [0] * 4 + [2, 2, 2, 2, 1] + [0] * 3
    text = strip((office * 5 + [0] * 24) * 4, most=2, label='every hour from 09:00 to 17:00, "MON-FRI"', grid=WEEK)
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_text(text + "\n")
    assert text + "\n" == GOLDEN.read_text()


def test_a_label_is_escaped_and_nothing_is_inline() -> None:
    text = strip([1], most=1, label='"><script>alert(1)</script>', grid=WEEK)
    assert "<script" not in text
    assert " style=" not in text


def test_equal_neighbours_are_one_bar() -> None:
    assert len(strip([12] * 360, most=12, label="", grid=WEEK)) < 400


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=400))
def test_every_strip_is_well_formed_and_as_high_as_its_box_at_most(counts: list[int]) -> None:
    root = ElementTree.fromstring(strip(counts, most=max(*counts, 1), label="runs", grid=WEEK))
    bars = root[1].attrib["d"]
    heights = [int(each.split("v-")[1].split("h")[0]) for each in bars.split("z") if each]
    assert all(0 < each <= HEIGHT for each in heights)
    assert bool(heights) == any(counts)
