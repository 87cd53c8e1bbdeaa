"""Each page and its JSON twin tell the same: ids, counts, states and times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest

from scheduler.core.past.codes import reason_words, state_words
from scheduler.web.show import PAGES
from tests.faces.conftest import Root
from tests.web.bare import ADMIN
from tests.web.test_pages_all import ONE, QUERY, asking


def both(root: Root, path: str, **query: str) -> tuple[str, Any]:
    client, given = asking(root, ADMIN), {**QUERY.get(path, {}), **query}
    shown = client.get(path, params=given, headers={"accept": "text/html"})
    twin = client.get(path, params=given, headers={"accept": "application/json"})
    assert (shown.status_code, twin.status_code) == (200, 200), shown.text
    return unescape(shown.text), twin.json()


@pytest.fixture
def root(lived_in: Root) -> Root:
    lived_in.break_flaky()
    lived_in.sync()
    lived_in.ok("pause", "tick", "--reason", "for now")
    lived_in.clock.advance(timedelta(hours=1))
    lived_in.ok("serve", "--once")
    return lived_in


def instants(found: Any) -> Iterator[str]:
    """All instants in a value."""
    match found:
        case dict():
            for each in found.values():
                yield from instants(each)
        case list():
            for each in found:
                yield from instants(each)
        case str() if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", found):
            yield found


@pytest.mark.parametrize("path", [*sorted(PAGES), *ONE])
def test_every_time_that_a_page_shows_is_in_its_twin(root: Root, path: str) -> None:
    shown, twin = both(root, path)
    main = shown.partition("<main")[2].partition("</main>")[0]
    told = set(re.findall(r'datetime="([^"]+)"', main))
    exact = set(instants(twin))
    if path not in ("/health",):  # which is examined again for each answer
        assert sorted(told - exact) == []


def test_now_counts_the_same(root: Root) -> None:
    shown, twin = both(root, "/")
    for state, count in twin["counts"].items():
        assert f" {count} {state}</a>" in shown
    ids = [each["job_id"] for each in twin["status"]["needs"] if each["job_id"]]
    assert ids
    assert all(f"<strong>{each}</strong></a>" in shown for each in ids)
    assert re.findall(r'<li><a href="/jobs/([^"]+)">\1</a> <time', shown) == [
        each["job_id"] for each in twin["status"]["next"]
    ]


def test_jobs_lists_the_same_rows_in_the_same_order_with_the_same_states(root: Root) -> None:
    shown, twin = both(root, "/jobs")
    rows = re.findall(r'<td><b class="\w+">\S+ ([^<]+)</b>.*?<a href="/jobs/([^"]+)">', shown, re.DOTALL)
    assert rows == [(each["state"], each["id"]) for each in twin["jobs"]]
    assert f"{twin['total']} row" in shown
    assert f"page {twin['number']} of {twin['pages']}" in shown


@pytest.mark.parametrize("job_id", ["heartbeat", "flaky", "tick"])
def test_a_job_has_the_same_verdict_runs_and_versions(root: Root, job_id: str) -> None:
    shown, twin = both(root, f"/jobs/{job_id}")
    assert f"{twin['verdict']['sign']} {twin['verdict']['word']}</b>" in shown
    table = shown.partition('<section id="runs"')[2].partition("</section>")[0]
    assert re.findall(r'<tr><td><a href="/runs/([^"]+)">', table) == [each["id"] for each in twin["runs"]]
    for run in twin["runs"]:
        assert state_words(run["status"]) in table
        assert run["reason"] is None or reason_words(run["reason"]) in table
    versions = shown.partition('<section id="versions"')[2].partition("</section>")[0]
    assert re.findall(r"<td><a [^>]+><code>(\w+)</code></a>", versions) == [
        each["task_sha256"][:7] for each in twin["versions"]
    ]
    assert f"version {twin['about']['job']['version']}" in shown


@pytest.mark.parametrize("run_id", ["heartbeat:1", "flaky:1"])
def test_a_run_has_the_same_end_and_text(root: Root, run_id: str) -> None:
    shown, twin = both(root, f"/runs/{run_id}")
    assert state_words(twin["run"]["status"]) in shown
    assert twin["run"]["task_sha256"] in shown
    assert twin["fault"] in shown


def test_activity_and_sync_tell_the_same(root: Root) -> None:
    shown, twin = both(root, "/activity")
    body = shown.partition("<tbody>")[2].partition("</tbody>")[0]
    assert body.count("<tr>") == len(twin["activity"]["rows"])
    shown, twin = both(root, "/sync")
    for each in twin["revisions"]:
        assert each["commit"] is None or each["commit"][:7] in shown
    assert all(f">{each['id']}</a>: {state_words(each['status'])}" in shown for each in twin["plan"]["drift"])


def test_explain_answers_the_same(root: Root) -> None:
    shown, twin = both(root, "/explain", job="flaky")
    assert ("✓ fired" in shown) == twin["one"]["fired"]
    shown, twin = both(root, "/explain", job="tick", **{"from": "-1d"})
    body = shown.partition("<tbody>")[2].partition("</tbody>")[0]
    assert body.count("<tr>") == len(twin["window"]["served"]) + len(twin["window"]["without_row"])
