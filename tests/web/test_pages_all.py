"""Every page that has an address: it answers over a real root, as HTML and as JSON."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from scheduler.core.values.access import Caller
from scheduler.web.app import build_app
from scheduler.web.show import PAGES
from tests.faces.conftest import Root
from tests.web.bare import ADMIN, OpenGuard, service_root

QUERY = {"/explain": {"job": "heartbeat"}, "/jobs/heartbeat": {"at": "-1h"}, "/review": {"head": "HEAD"}}
ONE = ("/jobs/heartbeat", "/jobs/flaky", "/jobs/tick", "/runs/heartbeat:1", "/runs/flaky:1")


@pytest.fixture
def client(lived_in: Root) -> TestClient:
    return asking(lived_in, ADMIN)


def asking(lived_in: Root, caller: Caller) -> TestClient:
    root = replace(service_root(lived_in.path), clock=lived_in.clock)
    return TestClient(build_app(root, OpenGuard(caller)), raise_server_exceptions=False)


@pytest.mark.parametrize("path", [*sorted(PAGES), *ONE])
def test_a_page_answers_as_html_and_as_json(client: TestClient, path: str) -> None:
    page = client.get(path, params=QUERY.get(path), headers={"accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8"), page.text
    assert page.text.count("<h1") == 1
    assert "style=" not in page.text
    twin = client.get(path, params=QUERY.get(path), headers={"accept": "application/json"})
    assert (twin.status_code, twin.headers["content-type"]) == (200, "application/json")
    assert twin.json()


def test_a_page_of_an_unknown_job_says_what_was_meant(client: TestClient) -> None:
    page = client.get("/explain", params={"job": "heartbeet"}, headers={"accept": "text/html"})
    assert page.status_code == 404
    assert "heartbeat" in page.text


def test_a_failing_job_stands_beside_the_change_just_before(lived_in: Root, client: TestClient) -> None:
    commit = lived_in.break_flaky()
    lived_in.sync()
    page = client.get("/", headers={"accept": "text/html"}).text
    assert "just after" in page
    assert commit[:7] in page
    (failing,) = lived_in.json("status", "--json")["failing"]
    assert failing["change"]["what"] == "text"
    assert commit[:7] in lived_in.cli("status").stdout


def test_the_commit_of_a_change_that_was_saved_first_stands_beside_the_failure_too(lived_in: Root) -> None:
    lived_in.write("scripts/flaky.sh", "echo fine\n")
    lived_in.commit()
    lived_in.sync()
    lived_in.ok("run", "flaky", "--wait")
    lived_in.clock.advance(timedelta(minutes=1))
    lived_in.write("scripts/flaky.sh", "exit 4\n")
    lived_in.sync()
    lived_in.write("prompts/other.md", "Nothing to do with it.\n")
    lived_in.commit()
    lived_in.clock.advance(timedelta(seconds=1))
    lived_in.sync()
    assert lived_in.cli("run", "flaky", "--wait").code == 1
    (failing,) = lived_in.json("status")["failing"]
    assert failing["change"]["commit"]["id"] == lived_in.git("rev-parse", "HEAD")


def test_the_page_of_a_run_shows_exactly_what_ran_and_nothing_acts(lived_in: Root, client: TestClient) -> None:
    lived_in.write("scripts/flaky.sh", "printf '<img src=x>\\033[31mred \\342\\200\\256x'; exit 4 # <script>\n")
    lived_in.sync()
    assert lived_in.cli("run", "flaky", "--wait").code == 1
    newest = lived_in.json("history", "flaky", "-n", "1", "--json")["runs"][0]["id"]
    page = client.get(f"/runs/{newest}", headers={"accept": "text/html"}).text
    assert "exit 4 # &lt;script&gt;" in page
    assert "&lt;img src=x&gt;red &lt;U+202E&gt;x" in page
    assert "<img" not in page
    assert "\x1b" not in page


def test_a_caller_of_some_jobs_sees_the_pages_of_those_only(lived_in: Root) -> None:
    some = asking(lived_in, replace(ADMIN, jobs=("heart*",)))
    headers = {"accept": "text/html"}
    found = [some.get(path, headers=headers).status_code for path in ("/jobs/heartbeat", "/runs/heartbeat:1")]
    assert found == [200, 200]
    found = [some.get(path, headers=headers).status_code for path in ("/jobs/flaky", "/runs/flaky:1", "/jobs/nothing")]
    assert found == [404, 404, 404]
    assert some.get("/", headers=headers).status_code == 403
