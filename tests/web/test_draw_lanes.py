"""The chart of a job as SVG."""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from scheduler.core.past.chart import Band, Mark, Stretch, Tick, Timeline
from scheduler.core.values.facts import Commit
from scheduler.core.values.runs import RunStatus
from scheduler.web.draw.lanes import COLUMNS, SHAPES, WIDTH, lanes, summary

GOLDEN = Path(__file__).parents[1] / "golden/web"
NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
START = NOW - 24 * HOUR
COMMIT = Commit(id="c" * 40, author="Ben <script>\u202e", email="b@example.com", date=NOW, subject="&")
ENDS = [*(each for each in RunStatus if each.finished), RunStatus.RUNNING]


def marks(count: int, step: timedelta, *, cost: bool = True) -> list[Mark]:
    found = []
    for n in range(count):
        status = ENDS[n % len(ENDS)] if n < 2 * len(ENDS) else RunStatus.SUCCEEDED
        ran = status not in (RunStatus.SKIPPED, RunStatus.RUNNING)
        reason = ("overlap", "source_missing")[n // len(ENDS) % 2] if status is RunStatus.SKIPPED else None
        took = 1500 + n * 37 % 700 if ran else None
        price = Decimal(n * 13 % 40) / 1000 if ran and cost else None
        found.append(
            Mark(
                n=n + 1, at=NOW - step * (count - n), status=status, reason=reason, started=NOW, duration_ms=took,
                cost=price, currency="USD" if price is not None else None, text="a" * 64,
            )
        )  # fmt: skip
    return found


def timeline(found: list[Mark], start: datetime = START) -> Timeline:
    changed = NOW - 5 * HOUR
    return Timeline(
        start=start,
        end=NOW + 3 * HOUR,
        now=NOW,
        marks=tuple(found),
        more=False,
        coming=(NOW + HOUR, NOW + 2 * HOUR),
        bands=(
            Band(text="a" * 64, start=start, end=changed, by="ann", n=9, duration_ms=1700, cost=Decimal("0.02")),
            Band(text="b" * 64, start=changed, end=NOW, commit=COMMIT, by="user:root", n=3, duration_ms=2100),
        ),
        ticks=(
            Tick(at=NOW - 8 * HOUR, kind="definition", words="timeout"),
            Tick(at=NOW - 6 * HOUR, kind="model", words="asks for two"),
            Tick(at=changed, kind="text", words="text bbbbbbb", commit=COMMIT),
        ),
        stretches=(
            Stretch(start=NOW - 15 * HOUR, end=NOW - 12 * HOUR, kind="paused", words="paused by ann: <b>\u202e"),
            Stretch(start=NOW - 11 * HOUR, end=NOW - 10 * HOUR, kind="no daemon", words="no daemon was running"),
        ),
        currency="USD",
    )


def drawn(found: Timeline, *, at: datetime | None = None, zone: str = "Europe/Berlin") -> str:
    return lanes(found, zone=zone, link=lambda at: f"?at={at}&tz=UTC#answer", at=at, money=lambda each: f"{each:.3f}")


FULL = timeline([*marks(24, HOUR), replace(marks(7, HOUR)[6], n=99, at=NOW - 23 * HOUR, last=NOW - 20 * HOUR, slots=4)])


@pytest.mark.parametrize(
    ("name", "found", "at"),
    [
        ("lanes", FULL, NOW - 4 * HOUR),
        ("lanes_without_cost", timeline(marks(5, HOUR, cost=False)), None),
        ("lanes_empty", replace(FULL, marks=(), bands=(), ticks=(), stretches=(), coming=(), currency=None), None),
    ],
)
def test_a_chart_is_drawn_as_in_the_golden_file(name: str, found: Timeline, at: datetime | None) -> None:
    text, golden = drawn(found, at=at), GOLDEN / f"{name}.svg"
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(text + "\n")
    assert text + "\n" == golden.read_text()


def test_a_thousand_runs_are_drawn_fast_and_small() -> None:
    found = timeline(marks(1000, HOUR), NOW - 1000 * HOUR)
    text = drawn(found)
    assert len(text) < 44_000
    began = time.process_time()
    for _ in range(3):
        drawn(found)
    assert (time.process_time() - began) / 3 < 0.15  # some 10 ms; other tests run beside it


def test_every_outcome_has_a_shape_of_its_own_and_one_path() -> None:
    assert len({shape for _, shape in SHAPES.values()}) == len(SHAPES)
    svg = drawn(FULL)
    outcomes = {mark.outcome for mark in FULL.marks}
    assert outcomes == set(SHAPES) - {"to_come"}
    for outcome in outcomes:
        name = SHAPES[outcome][0]
        of_class = re.findall(rf'<path class="{name}" d="M\d+ 62', svg)
        assert len(of_class) == sum(SHAPES[each][0] == name for each in outcomes), outcome


def test_names_are_escaped_and_nothing_is_inline() -> None:
    text = drawn(FULL)
    assert "<script" not in text
    assert "\u202e" not in text
    assert "<b>" not in text
    assert " style=" not in text
    assert " onclick" not in text


def test_a_chart_is_well_formed_and_says_the_same_in_words() -> None:
    root = ElementTree.fromstring(drawn(FULL))
    image = root.find("g[@role='img']")
    assert image is not None
    assert image.findtext("desc") == summary(FULL).replace("\u202e", "·")
    assert "paused by ann" in summary(FULL)
    assert "2 slots to come" in summary(FULL)


def test_columns_cover_the_plot_and_ask_for_the_slot_that_they_hold() -> None:
    root = ElementTree.fromstring(drawn(FULL))
    links = list(root.iter("a"))
    assert len(links) == COLUMNS
    rects = [each.find("rect") for each in links]
    edges = [(int(each.attrib["x"]), int(each.attrib["width"])) for each in rects if each is not None]
    for (x, width), (following, _) in pairwise(edges):
        assert x + width == following
    assert edges[-1][0] + edges[-1][1] <= WIDTH
    asked = {each.attrib["href"] for each in links}
    for mark in FULL.marks:
        assert f"?at={mark.at:%Y-%m-%dT%H:%M:%SZ}&tz=UTC#answer" in asked


def test_a_failure_is_what_a_column_of_many_slots_asks_for() -> None:
    step = timedelta(minutes=1)
    found = [
        Mark(n=n, at=NOW - step * n, status=RunStatus.FAILED if n == 3 else RunStatus.SUCCEEDED) for n in range(10)
    ]
    assert f"?at={NOW - 3 * step:%Y-%m-%dT%H:%M:%SZ}&" in drawn(timeline(found)).replace("&amp;", "&")


def test_labels_are_in_the_zone_of_the_page() -> None:
    assert ">2 Mar 15:00<" in drawn(FULL, zone="UTC")
    assert ">2 Mar 18:00<" in drawn(FULL, zone="Asia/Kolkata")


@pytest.mark.parametrize("days", [1 / 1440, 1 / 24, 1, 3, 30, 400, 3660])
def test_an_axis_has_a_few_labels_whatever_its_length(days: float) -> None:
    found = replace(FULL, start=NOW - timedelta(days=days), end=NOW)
    labels = re.findall(r'text-anchor="middle">([^<]+)<', drawn(found))
    assert 1 <= len(labels) <= 10
    assert all(one != other for one, other in pairwise(labels))
