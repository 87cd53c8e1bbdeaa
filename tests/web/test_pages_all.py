"""Every page that has an address: it answers over a real root, as HTML and as JSON."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from scheduler.web.app import build_app
from scheduler.web.show import PAGES
from tests.faces.conftest import Root
from tests.web.bare import ADMIN, OpenGuard, service_root

QUERY = {"/explain": {"job": "heartbeat"}}


@pytest.fixture
def client(lived_in: Root) -> TestClient:
    root = replace(service_root(lived_in.path), clock=lived_in.clock)
    return TestClient(build_app(root, OpenGuard(ADMIN)), raise_server_exceptions=False)


@pytest.mark.parametrize("path", sorted(PAGES))
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
    lived_in.write("scripts/flaky.sh", "echo fine\n")
    lived_in.commit()
    lived_in.sync()
    lived_in.ok("run", "flaky", "--wait")
    lived_in.clock.advance(timedelta(minutes=1))
    lived_in.write("scripts/flaky.sh", "exit 4\n")
    commit = lived_in.commit()
    lived_in.sync()
    assert lived_in.cli("run", "flaky", "--wait").code == 1
    lived_in.sync()
    page = client.get("/", headers={"accept": "text/html"}).text
    assert "just before:" in page
    assert commit[:7] in page
    (failing,) = lived_in.json("status", "--json")["failing"]
    assert failing["change"]["what"] == "text"
    assert commit[:7] in lived_in.cli("status").stdout
