"""The API in this process, over a real root."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from scheduler.core.values.access import Caller, Role
from scheduler.ledger import gc, requested
from scheduler.ledger.store import Store
from scheduler.run.local.cancel import Cancel
from scheduler.service.jobs import list_jobs
from scheduler.service.kept import Kept
from scheduler.service.root import Root
from scheduler.service.run import run_job
from scheduler.service.sync import sync
from scheduler.web.app import build_app
from tests.helpers import REPOSITORY, git
from tests.web.bare import ADMIN, OpenGuard, service_root

GOLDEN = "tests/golden/openapi.json"
FILES = {
    "scheduler.yaml": "version: 1\nrunners: {agent: {command: [cat], input: stdin}}\ndefaults: {runner: agent}\n",
    "jobs/heartbeat.yaml": 'id: heartbeat\ntags: [calm]\nschedule: "0 * * * *"\ntask: Look.\n',
    "jobs/other.yaml": 'id: other\nschedule: "0 * * * *"\ntask: Look.\n',
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    sync(service_root(folder))
    return folder


def client(folder: Path, caller: Caller = ADMIN) -> TestClient:
    return TestClient(build_app(service_root(folder), OpenGuard(caller)), raise_server_exceptions=False)


@pytest.mark.parametrize(
    "path",
    [
        *("/api/jobs", "/api/jobs/heartbeat", "/api/next", "/api/history", "/api/status", "/api/audit", "/api/doctor"),
        *("/api/plan", "/api/plan?base=HEAD", "/api/channels", "/api/deliveries", "/api/schema/job"),
        *(f"/api/jobs/heartbeat/{part}" for part in ("runs", "log", "versions", "explain", "next", "task", "audit")),
        *("/openapi.json", "/livez"),
    ],
)
def test_every_reading_route_answers_with_json(folder: Path, path: str) -> None:
    answer = client(folder).get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text


def test_a_list_has_pages(folder: Path) -> None:
    first = client(folder).get("/api/jobs?limit=1").json()
    assert [job["id"] for job in first["jobs"]] == ["heartbeat"]
    second = client(folder).get("/api/jobs", params={"limit": 1, "cursor": first["next"]}).json()
    assert ([job["id"] for job in second["jobs"]], second["next"]) == (["other"], None)


def test_an_unchanged_job_is_not_sent_again(folder: Path) -> None:
    tag = client(folder).get("/api/jobs/heartbeat").headers["etag"]
    assert client(folder).get("/api/jobs/heartbeat", headers={"If-None-Match": tag}).status_code == 304


def test_an_edit_needs_the_version_that_it_was_made_for(folder: Path) -> None:
    body, http = {"set": {"name": "Heart"}}, client(folder)
    tag = http.get("/api/jobs/heartbeat").headers["etag"]
    assert http.patch("/api/jobs/heartbeat", json=body).status_code == 428
    assert http.patch("/api/jobs/heartbeat", json=body, headers={"If-Match": '"1-0"'}).status_code == 412
    assert "name:" not in (folder / "jobs/heartbeat.yaml").read_text()
    assert http.patch("/api/jobs/heartbeat", json=body, headers={"If-Match": tag}).status_code == 200
    assert "name: Heart" in (folder / "jobs/heartbeat.yaml").read_text()


def test_jobs_are_created_moved_and_deleted_through_their_files(folder: Path) -> None:
    http = client(folder)
    new = {"id": "new", "set": {"schedule": "@daily"}, "task": "Do it."}
    assert http.post("/api/jobs", json=new).status_code == 201
    sync(service_root(folder))
    moved = http.post("/api/jobs/new/move", json={"path": "jobs/sub/new.md"})
    assert (moved.status_code, (folder / "jobs/sub/new.md").exists()) == (200, True), moved.text
    assert http.request("DELETE", "/api/jobs/new").status_code == 200
    assert not (folder / "jobs/sub/new.md").exists()


def test_a_pause_names_its_caller(folder: Path) -> None:
    http = client(folder, Caller(actor="token:ci", role=Role.OPERATOR))
    paused = http.post("/api/jobs/heartbeat/pause", json={"reason": "holiday"}).json()["job"]["paused"]
    assert (paused["reason"], paused["by"]) == ("holiday", "token:ci")
    assert http.post("/api/jobs/heartbeat/resume").json()["job"]["paused"] is None


def test_without_a_daemon_nothing_is_run_and_the_key_is_free_again(folder: Path) -> None:
    for _ in range(2):
        answer = client(folder).post("/api/jobs/heartbeat/run", headers={"Idempotency-Key": "k"})
        assert (answer.status_code, answer.headers.get("retry-after")) == (503, "10"), answer.text
        assert "no daemon" in answer.json()["detail"]


def test_a_key_is_taken_once(folder: Path) -> None:
    root = service_root(folder)
    with Store.open(root.place.db) as store:
        now = root.clock.now()
        assert store.write(requested.take_key, "k", "heartbeat", now=now)
        assert not store.write(requested.take_key, "k", "heartbeat", now=now)
        store.write(requested.keep_run, "k", 7)
        store.write(requested.free_key, "k")
        assert store.read(requested.run_of_key, "k") == 7


@pytest.mark.parametrize(
    ("role", "method", "path"),
    [
        (Role.VIEWER, "POST", "/api/jobs/heartbeat/pause"),
        (Role.VIEWER, "POST", "/api/sync"),
        (Role.OPERATOR, "DELETE", "/api/jobs/heartbeat"),
    ],
)
def test_a_route_needs_its_role(folder: Path, role: Role, method: str, path: str) -> None:
    answer = client(folder, Caller(actor="token:t", role=role)).request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")


def test_to_confirm_the_guard_needs_an_approver(folder: Path) -> None:
    operator = client(folder, Caller(actor="token:t", role=Role.OPERATOR))
    assert operator.post("/api/sync", json={"confirm": "x"}).status_code == 403
    assert operator.post("/api/sync").status_code == 200


def test_a_caller_with_patterns_sees_and_touches_only_those_jobs(folder: Path) -> None:
    http = client(folder, Caller(actor="token:t", role=Role.ADMIN, jobs=("tag:calm",)))
    assert [job["id"] for job in http.get("/api/jobs").json()["jobs"]] == ["heartbeat"]
    assert {each["job_id"] for each in http.get("/api/next").json()["fires"]} == {"heartbeat"}
    assert http.get("/api/jobs/heartbeat").status_code == 200
    for method, path in (("GET", ""), ("POST", "/pause"), ("DELETE", ""), ("GET", "/log"), ("POST", "/run")):
        hidden, unknown = (http.request(method, f"/api/jobs/{name}{path}") for name in ("other", "wrong"))
        assert hidden.status_code == unknown.status_code == 404
        assert hidden.json()["detail"].replace("other", "wrong") == unknown.json()["detail"]
    assert http.get("/api/plan").status_code == 403
    assert http.post("/api/jobs", json={"id": "new", "task": "x"}).status_code == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/nothing", 404),
        ("/api/jobs/nothing", 404),
        ("/api/runs/heartbeat:1", 404),
        ("/api/runs/heartbeat", 404),
        ("/api/jobs?limit=0", 422),
        ("/api/jobs?status=blue", 400),
        ("/api/history?cursor=x", 400),
        ("/api/history?since=soon", 400),
    ],
)
def test_every_error_is_a_problem(folder: Path, path: str, status: int) -> None:
    answer = client(folder).get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert answer.json()["status"] == status


def test_an_unknown_key_of_a_body_is_refused(folder: Path) -> None:
    assert client(folder).post("/api/jobs/heartbeat/pause", json={"reson": "typo"}).status_code == 422


def test_a_body_beyond_the_limit_is_refused(folder: Path) -> None:
    assert client(folder).post("/api/jobs", content=b" " * 2_000_000).status_code == 413


def test_a_healthy_process_is_live_and_ready_only_with_a_daemon(folder: Path) -> None:
    http = client(folder)
    assert http.get("/livez").status_code == 200
    assert http.get("/readyz").status_code == 503


def test_metrics_count_what_is_there(folder: Path) -> None:
    text = client(folder).get("/metrics").text
    assert 'scheduler_next_fire_timestamp_seconds{job="heartbeat"}' in text
    assert 'job="' not in client(folder).get("/metrics?jobs=0").text


def run_once(root: Root, job_id: str) -> None:
    run_job(root, job_id, cancel=Cancel())


def metric(text: str, name: str) -> dict[str, float]:
    """By labels."""
    found = (line.rpartition(" ") for line in text.splitlines() if re.match(rf"{name}[ {{]", line))
    return {labels.removeprefix(name): float(value) for labels, _, value in found}


def test_metrics_count_what_has_ended_and_no_deletion_lowers_them(folder: Path) -> None:
    root = service_root(folder)
    for job_id in ("heartbeat", "heartbeat", "other"):
        run_once(root, job_id)
    text = client(folder).get("/metrics").text
    assert metric(text, "scheduler_runs_total") == {
        '{job="heartbeat",status="succeeded",trigger="manual"}': 2,
        '{job="other",status="succeeded",trigger="manual"}': 1,
    }
    assert metric(text, "scheduler_run_duration_seconds_count") == {'{job="heartbeat"}': 2, '{job="other"}': 1}
    assert metric(text, "scheduler_run_duration_seconds_sum")['{job="other"}'] > 0
    assert metric(text, "scheduler_last_success_timestamp_seconds")['{job="other"}'] > 1.7e9
    assert metric(text, "scheduler_sync_total") == {'{result="changed"}': 1}
    head = git(folder, "rev-parse", "HEAD").strip()
    assert metric(text, "scheduler_revision_info") == {f'{{revision="{head}",dirty="false"}}': 1}
    with Store.open(root.place.db) as store:
        store.write(gc.delete_runs, "heartbeat", [1])
    fewer = client(folder).get("/metrics?jobs=0").text
    assert metric(fewer, "scheduler_runs_total") == {'{status="succeeded",trigger="manual"}': 3}
    mine = client(folder, Caller(actor="token:t", role=Role.VIEWER, jobs=("other",))).get("/metrics").text
    assert list(metric(mine, "scheduler_runs_total")) == ['{job="other",status="succeeded",trigger="manual"}']


def test_labels_are_escaped_and_sums_without_a_job_are_of_all_jobs(folder: Path) -> None:
    root = service_root(folder)
    sync(root)
    with Store.open(root.place.db) as store, store.writing() as sql:
        for job_id, model, nano in (("heartbeat", 'a"b\\c\nd', 1_500_000_000), ("other", "m", 1), ("other", "", 2)):
            sql.execute("INSERT INTO cost_tallies VALUES (?, ?, ?)", (job_id, model, nano))
        for job_id, reason, slots in (("heartbeat", "overlap", 2), ("other", "overlap", 3), ("gone", "overlap", 9)):
            sql.execute("INSERT INTO skip_tallies VALUES (?, ?, ?)", (job_id, reason, slots))
    text = client(folder).get("/metrics").text
    assert metric(text, "scheduler_cost_usd_total") == {
        r'{job="heartbeat",model="a\"b\\c\nd"}': 1.5,
        '{job="other",model=""}': 2e-09,
        '{job="other",model="m"}': 1e-09,
    }
    fewer = client(folder).get("/metrics?jobs=0").text
    assert metric(fewer, "scheduler_skips_total") == {'{reason="overlap"}': 5}


def test_an_edit_that_is_not_committed_makes_the_revision_dirty(folder: Path) -> None:
    (folder / "jobs/other.yaml").write_text(FILES["jobs/other.yaml"].replace("Look", "See"))
    sync(service_root(folder))
    (labels,) = metric(client(folder).get("/metrics").text, "scheduler_revision_info")
    assert 'dirty="true"' in labels


NAMES = {
    f"scheduler_{name}"
    for name in (
        *("runs_total", "skips_total", "cost_usd_total", "tokens_total", "sync_total"),
        *("start_delay_seconds", "run_duration_seconds", "heartbeat_timestamp_seconds"),
        *("next_fire_timestamp_seconds", "last_success_timestamp_seconds"),
        *("waiting", "problems", "held", "revision_info"),
    )
}
SAMPLE = re.compile(r'([a-z_]+?)(?:_sum|_count)?(?:\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})? -?[0-9.e+-]+')


def test_every_metric_is_named_and_typed_as_prometheus_reads_it(folder: Path) -> None:
    run_once(service_root(folder), "other")
    typed: set[str] = set()
    for line in client(folder).get("/metrics").text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert (kind == "counter") == name.endswith("_total")
            assert name not in typed
            typed.add(name)
        elif not line.startswith("# HELP "):
            sample = SAMPLE.fullmatch(line)
            assert sample is not None, line
            assert sample[1] in typed
    assert typed >= NAMES, NAMES - typed


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/jobs/heartbeat", "DELETE, GET, HEAD, PATCH"),
        ("/api/jobs", "GET, HEAD, POST"),
        ("/api/sync", "POST"),
        ("/login", "GET, HEAD, POST"),
    ],
)
def test_a_method_that_is_not_allowed_is_told_which_ones_are(folder: Path, path: str, methods: str) -> None:
    answer = client(folder).put(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, methods)


def test_a_revision_with_a_nul_byte_is_refused_as_it_is(folder: Path) -> None:
    assert client(folder).get("/api/plan", params={"base": "HEAD\0"}).status_code == 422


def test_a_body_is_taken_as_it_is_written(folder: Path) -> None:
    assert client(folder).post("/api/jobs/heartbeat/pause", json={"next": "yes"}).status_code == 422


def test_a_parameter_that_would_be_ignored_is_refused(folder: Path) -> None:
    http = client(folder)
    misspelt = http.get("/api/jobs?stauts=active")
    assert (misspelt.status_code, misspelt.json()["hint"]) == (400, "did you mean 'status'?")
    assert http.get("/api/deliveries?channel=a&channel=b").status_code == 400
    assert http.get("/api/doctor?x=1").status_code == 400


def test_the_openapi_document_changes_only_on_purpose(folder: Path) -> None:
    found = client(folder).get("/openapi.json").json()
    found["info"]["version"] = "0"  # a release changes it
    text, golden = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n", REPOSITORY / GOLDEN
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()


def test_a_list_of_a_process_that_lives_long_is_that_of_any_other(folder: Path) -> None:
    """It reads no more than the rows of the page, and what is kept of overdue jobs."""
    root = service_root(folder)
    with Store.open(root.place.db) as store, store.writing() as sql:
        sql.execute("UPDATE jobs SET activated_at = '2020-01-01T00:00:00.000000Z' WHERE id = 'other'")
        sql.execute(
            'INSERT INTO runs (job_id, n, "trigger", status, reason, fire_time, requested_at, finished_at, generation)'
            " VALUES ('other', 1, 'schedule', 'skipped', 'capacity', '2020-01-01T01:00:00.000000Z',"
            " '2020-01-01T01:00:00.000000Z', '2020-01-01T01:00:00.000000Z', 1)"
        )
    kept = replace(root, kept=Kept())
    found = list_jobs(kept, full=False)
    assert any("other" in each for each in found["troubles"])
    for how in ({}, {"status": "active"}, {"after": "heartbeat"}, {"tag": "calm"}, {"problems": True}, {"limit": 1}):
        found, other = (list_jobs(each, full=False, **how) for each in (kept, root))
        assert found == other, how


def test_output_comes_as_json_if_that_is_asked_for(folder: Path) -> None:
    run_job(service_root(folder), "heartbeat", cancel=Cancel())
    asked = client(folder).get("/api/runs/heartbeat:1/output?start=1&most=3", headers={"accept": "application/json"})
    assert asked.json() == {
        "run_id": "heartbeat:1", "stream": "stdout", "text": "ook", "start": 1, "next": 4, "bytes": 5,
        "finished": True, "truncated": False,
    }  # fmt: skip


def test_an_unexpected_error_is_told_in_the_form_that_was_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.web.pages.spend.spend", lambda root: 1 / 0)
    page = client(folder).get("/spend", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert "the log has its traceback" in page.text
    told = client(folder).get("/spend.json")
    assert (told.status_code, told.headers["content-type"]) == (500, "application/problem+json")
