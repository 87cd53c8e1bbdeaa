"""The suite's own parts work: statistics, ratios, the page, the plots. No timing is asserted."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient

from scheduler.service.kept import Kept
from scheduler.web.app import build_app
from tests.bench import report, svg, web
from tests.bench.machine import Stamps
from tests.bench.results import Measured, Results
from tests.bench.roots import Root, utc
from tests.helpers import REPOSITORY
from tests.web.bare import ADMIN, OpenGuard, service_root

GOLDEN = REPOSITORY / "tests/golden/bench"
ABOUT = {
    "measured": "2026-03-01",
    "machine": {"processor": "a fast one, 2 cores", "synced write of 4 KiB": "0.40 ms"},
    "versions": {"scheduler": "1.2.3", "C loop": "limit.c"},
    "missing": {"supercronic": "no package of PyPI,\nDebian or npm"},
}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Three rounds of some rows: the product meets a part of its targets."""
    found = Results(tmp_path / "results.jsonl")
    for number, slow in enumerate((1.0, 2.0, 1.1)):
        for system, ms in {report.US: 400, report.MEMORY: 380, report.SQLITE: 1300, report.LIMIT: 150}.items():
            for size in (1, 1000):
                known = {"first_ms": ms * slow / 200, "last_ms": ms * slow * size / 1000, "lost": 0, "twice": 0}
                found.add("at once", system, size, number, **known, cpu_ms=0.25 * slow, rss_mb=24.0)
        for rate in (1000, 1400, 1500):
            found.add("sustained", report.US, rate, number, held=rate < 1500, worst_ms=300.0 * slow, busy=0.4)
            found.add("sustained", report.LIMIT, 2 * rate, number, held=True, worst_ms=200.0, busy=0.1)
        found.add(
            "running",
            report.US,
            1000,
            number,
            idle_mb=50.0,
            rss_mb=71.0 * slow,
            cpu_ms=0.3,
            last_ms=900.0,
            started=1000,
        )
        for chore, last in {"nothing else": 400.0, "a busy process": 1300.0}.items():
            found.add("chores", chore, 1000, number, last_ms=last * slow, lost=0)
        for size in (1000, 10_000):
            found.add("files", report.US, size, number, restart_s=0.3 * slow, edit_ms=2.0, list_s=0.1, noop_s=0.4)
            found.add("passes", report.US, size, number, pass_ms=size / 300, walk_ms=size / 400)
            found.add("commands", report.US, size, number, **{"list": 0.3, "next of one job": 0.1})
            found.add("history", report.US, size, number, list_s=0.1, noop_s=0.4, edit_ms=2.0, fire_ms=1.9)
        found.add("workers", report.BARE, 200, number, rate=26.0 / slow)
        found.add("workers", report.US, 200, number, rate=23.0 / slow, there_ms=50.0 * slow, back_ms=30.0)
    for number, took in enumerate((90.0, 110.0, 100.0)):
        found.add("pages", report.US, 10_000, number, **{"Now": took, "/metrics": 3.1 * took})
    flood: dict[str, Any] = {
        "calm_ms": 4.0,
        "busy_ms": 8.0,
        "times": 2.0,
        "samples_mb": [120.0, 125.0, 126.0],
        "growth": 1.05,
    }
    found.add("flood", report.US, 100_000, 0, **flood)
    found.add("burst", report.US, 10_000, 0, passes=2, from_last_ms=80.0)
    found.add("memory", report.US, 50, 0, samples_mb=[24.0] * 9, growth=1.0, seconds=600, lost=0)
    return found


def check(name: str, found: str) -> None:
    golden = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found)
    assert found == golden.read_text()


def test_the_page_of_known_results_reads_as_in_its_golden_file(results: Results) -> None:
    check("page.txt", report.page(results, ABOUT))


def test_a_page_of_few_results_has_only_their_parts(tmp_path: Path) -> None:
    found = Results(tmp_path / "results.jsonl")
    found.add("history", report.US, 1000, 0, list_s=0.1)
    headings = re.findall("^## (.+)$", report.page(found, ABOUT), re.MULTILINE)
    assert headings == ["History", "How it is measured", "Machine and versions", "Repeat it"]


def test_the_page_and_its_plots_are_written_side_by_side(results: Results, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    report.write_page(results, ABOUT, page)
    linked = re.findall(r"\]\(benchmarks/(.+?)\)", page.read_text())
    assert sorted(linked) == sorted(path.name for path in (tmp_path / "page").iterdir())


def test_a_plot_is_xml_with_a_line_and_a_label_for_each_name() -> None:
    drawn = svg.plot("a < b", "jobs", "ms", {"one": [(10, 2), (1000, 30)], "two & three": [(10, 5)]})
    tree = ElementTree.fromstring(drawn)
    space = "{http://www.w3.org/2000/svg}"
    assert len(tree.findall(f"{space}polyline")) == 2
    labels = [found.text for found in tree.findall(f"{space}text")]
    assert {"a < b", "one", "two & three", "100", "1,000"} <= set(labels)


def test_points_lie_on_the_lines_of_their_decades() -> None:
    drawn = svg.plot("x", "jobs", "ms", {"one": [(10, 1), (100, 10), (1000, 100)]})
    (points,) = re.findall('polyline class="line c0" points="(.+?)"', drawn)
    xs, ys = zip(*(map(float, point.split(",")) for point in points.split()), strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)


def test_a_ratio_compares_the_medians_of_rounds_that_both_have(tmp_path: Path) -> None:
    found = Results(tmp_path / "results.jsonl")
    for number, ms in enumerate((10.0, 20.0, 90.0)):
        found.add("at once", "a", 1, number, first_ms=ms)
    for number, ms in enumerate((5.0, 40.0)):
        found.add("at once", "b", 1, number, first_ms=ms)
    found.add("at once", "b", 1, 1, first_ms=60.0)
    assert found.ratio("at once", ("a", "b"), 1, "first_ms") == Measured(1.2, 0.4, 2.0, 2)
    assert found.ratio("at once", ("a", "c"), 1, "first_ms") is None


def test_results_are_read_again_and_a_new_run_has_rounds_of_its_own(results: Results, tmp_path: Path) -> None:
    again = Results(tmp_path / "results.jsonl")
    assert again.records == results.records
    again.add("running", report.US, 1000, 0, rss_mb=60.0)
    assert again.records[-1]["round"] == 1 + max(record["round"] for record in results.records)


def test_a_rate_is_held_up_to_the_first_that_was_late(results: Results) -> None:
    assert report.held_rate(results, report.US) == Measured(1400, 1400, 1400, 3)


def test_stamps_are_read_as_they_are_appended_and_half_a_record_is_left_for_later(tmp_path: Path) -> None:
    stamps = Stamps(tmp_path / "stamps")
    record = struct.pack("<qq", 7, 1_500_000_000_250_000_000)
    stamps.path.write_bytes(record + record[:9])
    assert stamps.read() == 1
    with stamps.path.open("ab") as file:
        file.write(record[9:])
    assert stamps.read() == 2
    assert stamps.seen == {7: [pytest.approx(1_500_000_000.25, abs=1e-6)] * 2}


def test_a_root_of_the_benchmarks_is_valid_and_takes_a_long_history(tmp_path: Path) -> None:
    root = Root(tmp_path / "root")
    root.write_settings(["true"])
    root.write_jobs({0: '"0 3 * * *"', 1: f'{{cron: "* * * * * *", starts: "{utc(4_000_000_000)}"}}'})
    root.commit()
    root.command("validate")
    root.command("sync")
    root.add_history(500, 2)
    root.command("list")
    root.command("history", "-n", "600")


def test_every_page_of_the_benchmark_answers_in_a_small_root(tmp_path: Path) -> None:
    """The file system of the tests may be in memory: nothing is timed."""
    root = web.make(tmp_path / "root", 12, 1_200)
    app = build_app(replace(service_root(root.path), kept=Kept()), OpenGuard(ADMIN))
    client = TestClient(app, raise_server_exceptions=False)
    for name, path in web.PAGES.items():
        answer = client.get(path, headers={"accept": "application/json" if ".json" in path else "text/html"})
        assert answer.status_code == 200 or path == "/readyz", (name, answer.text)
