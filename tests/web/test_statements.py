"""Pages and lists ask the database as many questions with many jobs as with few."""

from __future__ import annotations

import sqlite3

import pytest
from fastapi.testclient import TestClient

from scheduler.ledger import store
from scheduler.web.show import PAGES
from tests.faces.conftest import Root
from tests.web.test_pages_all import ONE, QUERY, client

__all__ = ["client"]
FEW, MANY = 40, 400  # more than a page shows of what needs somebody, and two pages of jobs
MORE = 5  # statements at most: a page has more rows to say something of
LISTS = (
    *(
        "/api/jobs",
        "/api/next",
        "/api/status",
        "/api/history",
        "/api/audit",
        "/api/plan",
        "/metrics",
        "/metrics?jobs=0",
    ),
    *("/api/jobs/heartbeat/runs", "/api/jobs/heartbeat/versions", "/api/jobs/heartbeat", "/api/runs/heartbeat:1"),
    *("/jobs?group=tag", "/jobs?status=failing", "/jobs?q=more", "/activity?job=heartbeat", "/readyz"),
)
FAILED = """\
INSERT INTO runs (job_id, n, "trigger", status, reason, fire_time, requested_at, started_at, finished_at, duration_ms,
                  generation)
SELECT id, 1, 'schedule', 'failed', 'exit_code', :at, :at, :at, :at, 5, 1 FROM jobs
WHERE id GLOB 'more*' AND run_count = 0
"""
COUNTED = """\
UPDATE jobs SET run_count = 1, last_n = 1, last_run_at = :at, last_run_status = 'failed', consecutive_errors = 1
WHERE id GLOB 'more*'
"""


def add_jobs(root: Root, count: int) -> None:
    """So many jobs in all that have failed once, in files of their own."""
    for n in range(count):
        root.write(f"jobs/more/{n}.yaml", f'id: more{n}\ntags: [t{n}]\nschedule: "@daily"\ntask: hi\n')
    root.commit()
    root.sync()
    at = {"at": "2026-03-01T09:00:00.000000Z"}
    with sqlite3.connect(root.db) as sql:
        sql.execute(FAILED, at)
        sql.execute(COUNTED, at)


@pytest.fixture
def counted(lived_in: Root, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """The statements of an answer with few jobs and with many, by path."""
    asked: list[str] = []
    prepare = store._prepare

    def watched(connection: sqlite3.Connection) -> None:
        prepare(connection)
        connection.set_trace_callback(asked.append)

    def statements(path: str) -> int:
        page = path.partition("?")[0] in PAGES or path in ONE
        headers = {"accept": "text/html" if page else "application/json"}
        for _ in range(2):
            asked.clear()
            answer = client.get(path, params=QUERY.get(path), headers=headers)
            assert answer.status_code == (503 if path == "/readyz" else 200), answer.text
        return len(asked)

    monkeypatch.setattr(store, "_prepare", watched)
    paths = [*sorted(PAGES), *ONE, *LISTS]
    add_jobs(lived_in, FEW)
    few = {path: statements(path) for path in paths}
    add_jobs(lived_in, MANY)
    return {path: (few[path], statements(path)) for path in paths}


def test_ten_times_the_jobs_take_no_more_statements(counted: dict[str, tuple[int, int]]) -> None:
    assert {path: each for path, each in counted.items() if each[1] > each[0] + MORE} == {}
    assert all(few > 0 for few, _ in counted.values())
