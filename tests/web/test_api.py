"""The API over a real root, with a guard that lets in whom the test says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from scheduler.core.values.access import Caller, Role
from scheduler.web.app import build_app
from tests.faces.conftest import Root
from tests.web.bare import ADMIN, OpenGuard, service_root


@pytest.fixture
def guard() -> OpenGuard:
    return OpenGuard(ADMIN)


@pytest.fixture
def client(lived_in: Root, guard: OpenGuard) -> TestClient:
    root = replace(service_root(lived_in.path), clock=lived_in.clock)
    return TestClient(build_app(root, guard), raise_server_exceptions=False)


def test_a_page_of_jobs_continues_at_its_cursor(client: TestClient) -> None:
    first = client.get("/api/jobs", params={"limit": 2}).json()
    assert len(first["jobs"]) == 2
    rest = client.get("/api/jobs", params={"cursor": first["next_cursor"]}).json()
    ids = [job["id"] for job in first["jobs"] + rest["jobs"]]
    assert ids == sorted(ids)
    assert len(ids) == first["summary"]["total"]
    assert rest["next_cursor"] is None


def test_an_unknown_job_is_404_with_what_was_meant(client: TestClient) -> None:
    found = client.get("/api/jobs/heartbeet")
    assert found.status_code == 404
    assert found.headers["content-type"] == "application/problem+json"
    assert "heartbeat" in found.json()["hint"]


def test_a_job_that_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    found = client.get("/api/jobs/heartbeat")
    etag = found.headers["etag"]
    assert found.json()["job"]["version"] == etag.strip('"')
    again = client.get("/api/jobs/heartbeat", headers={"If-None-Match": f'"other", W/{etag}'})
    assert (again.status_code, again.content) == (304, b"")


def test_runs_continue_at_their_cursor(client: TestClient, lived_in: Root) -> None:
    every = client.get("/api/jobs/heartbeat/runs").json()["runs"]
    assert every
    one_by_one, cursor = [], None
    while True:
        params = {"limit": 1} if cursor is None else {"limit": 1, "cursor": cursor}
        page = client.get("/api/jobs/heartbeat/runs", params=params).json()
        one_by_one += page["runs"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [run["id"] for run in one_by_one] == [run["id"] for run in every]


@pytest.mark.parametrize("path", ["", "/log", "/versions", "/explain", "/next", "/task", "/audit", "/diff", "/runs"])
def test_every_question_about_a_job_is_answered(client: TestClient, path: str) -> None:
    found = client.get(f"/api/jobs/heartbeat{path}")
    assert found.status_code == 200, found.text


def test_the_output_of_a_run_comes_whole_or_as_its_tail(client: TestClient) -> None:
    run = client.get("/api/jobs/heartbeat/runs", params={"status": "succeeded"}).json()["runs"][0]["id"]
    whole = client.get(f"/api/runs/{run}/output")
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert whole.content
    assert client.get(f"/api/runs/{run}/output", params={"tail": 3}).content == whole.content[-3:]


@pytest.mark.parametrize("path", ["", "/task", "/explain", "/diff"])
def test_every_question_about_a_run_is_answered(client: TestClient, path: str) -> None:
    run = client.get("/api/jobs/heartbeat/runs", params={"status": "succeeded"}).json()["runs"][0]["id"]
    found = client.get(f"/api/runs/{run}{path}")
    assert found.status_code == 200, found.text


def test_an_operator_pauses_and_resumes_and_a_viewer_does_not(client: TestClient, guard: OpenGuard) -> None:
    guard.caller_now = Caller(actor="token:eve", role=Role.VIEWER)
    refused = client.post("/api/jobs/heartbeat/pause")
    assert refused.status_code == 403
    guard.caller_now = Caller(actor="token:bob", role=Role.OPERATOR)
    paused = client.post("/api/jobs/heartbeat/pause", json={"reason": "too loud"}).json()["job"]["paused"]
    assert (paused["reason"], paused["by"]) == ("too loud", "token:bob")
    assert client.post("/api/jobs/heartbeat/resume").json()["job"]["paused"] is None


def test_a_caller_with_some_jobs_sees_no_trace_of_others(client: TestClient, guard: OpenGuard) -> None:
    guard.caller_now = replace(ADMIN, jobs=("tri*", "tag:nothing"))
    assert [job["id"] for job in client.get("/api/jobs").json()["jobs"]] == ["triage"]
    hidden, missing = client.get("/api/jobs/heartbeat"), client.get("/api/jobs/triage2")
    assert (hidden.status_code, missing.status_code) == (404, 404)
    assert client.post("/api/jobs/heartbeat/run").status_code == 404
    assert client.get("/api/runs/heartbeat:1/output").status_code == 404
    assert client.get("/api/history").status_code == 403
    assert client.get("/api/jobs/triage").status_code == 200


def test_nothing_runs_without_a_daemon(client: TestClient) -> None:
    found = client.post("/api/jobs/heartbeat/run", headers={"Idempotency-Key": "a"})
    assert found.status_code == 503
    assert "scheduler serve" in found.json()["hint"]


def test_a_wrong_body_names_the_place(client: TestClient) -> None:
    found = client.post("/api/jobs/heartbeat/pause", json={"reson": "x"})
    assert found.status_code == 422
    assert "reson" in found.json()["detail"]


def test_an_instant_that_cannot_be_read_says_how_to_write_one(client: TestClient) -> None:
    found = client.get("/api/jobs/heartbeat/explain", params={"at": "soonish"})
    assert found.status_code == 400
    assert found.json()["hint"]
