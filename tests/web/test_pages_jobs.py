"""The page Jobs: filters, groups, strips, last changes and costs."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from scheduler.core import views
from scheduler.ledger import places, queries
from scheduler.service.jobs import list_jobs
from scheduler.web import show
from tests.faces.conftest import Root
from tests.web.bare import bare_app, service_root


def listed(root: Root, **query: str) -> dict[str, Any]:
    client = TestClient(bare_app(service_root(root.path), show.router), base_url="http://127.0.0.1")
    answer = client.get("/jobs.json", params=query)
    assert answer.status_code == 200, answer.text
    assert client.get("/jobs", params=query, headers={"accept": "text/html"}).status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def ids(root: Root, **query: str) -> list[str]:
    return [each["id"] for each in listed(root, **query)["jobs"]]


@pytest.fixture
def jobs(root: Root) -> Root:
    for name, more in {"a-one": "owner: ann, tags: [x, y]", "b-two": "owner: ben, tags: [x], enabled: false"}.items():
        root.write(
            f"jobs/deep/{name}.yaml",
            f"{{id: {name}, schedule: {{every: 1h}}, runner: shell, task_source_path: scripts/fine.sh, {more}}}\n",
        )
    root.write("scripts/fine.sh", "exit 0\n")
    root.write(
        "jobs/deeper/c.yaml",
        "{id: c-three, name: The Third, schedule: manual, runner: shell, task_source_path: scripts/flaky.sh}\n",
    )
    root.commit()
    root.sync()
    return root


def test_each_filter_of_the_address_narrows_the_list(jobs: Root) -> None:
    assert ids(jobs, folder="jobs/deep") == ["a-one", "b-two"]
    assert ids(jobs, owner="ben") == ["b-two"]
    assert ids(jobs, tag="x", status="disabled") == ["b-two"]
    assert ids(jobs, q="THIRD") == ["c-three"] == ids(jobs, q="Three")
    assert ids(jobs, q="nothing like it") == []


def test_an_empty_result_says_so(jobs: Root) -> None:
    client = TestClient(bare_app(service_root(jobs.path), show.router), base_url="http://127.0.0.1")
    assert "No job matches tag “zzz”" in client.get("/jobs?tag=zzz", headers={"accept": "text/html"}).text


@pytest.mark.parametrize("query", [{"status": "nonsense"}, {"group": "moon"}, {"page": "0"}, {"page": "two"}])
def test_an_address_that_asks_for_what_there_is_not_is_an_error(jobs: Root, query: dict[str, str]) -> None:
    client = TestClient(bare_app(service_root(jobs.path), show.router), base_url="http://127.0.0.1")
    assert client.get("/jobs", params=query).status_code == 400


def test_a_job_is_in_the_group_of_each_of_its_tags_and_those_without_one_come_last(jobs: Root) -> None:
    rows = [(each["group"], each["id"]) for each in listed(jobs, folder="jobs", group="tag")["jobs"]]
    assert [row for row in rows if row[0] in ("x", "y")] == [("x", "a-one"), ("x", "b-two"), ("y", "a-one")]
    assert rows[-1][0] == ""
    assert [each["group"] for each in listed(jobs, q="-t", group="owner")["jobs"]] == ["ben", ""]
    assert {each["group"] for each in listed(jobs, q="-", group="folder")["jobs"]} >= {"jobs/deep", "jobs/deeper"}


def test_a_paused_job_is_not_among_those_that_went_well(jobs: Root) -> None:
    jobs.ok("run", "a-one", "--wait")
    assert ids(jobs, status="succeeded") == ["a-one"]
    jobs.ok("pause", "a-one")
    assert ids(jobs, status="succeeded") == []
    assert [each["state"] for each in listed(jobs, q="a-one")["jobs"]] == ["paused"]


def test_a_failing_job_is_found_by_its_state_and_comes_first_by_status(jobs: Root) -> None:
    assert jobs.cli("run", "c-three", "--wait").code == 1
    assert "c-three" in ids(jobs, status="failing")
    assert listed(jobs, q="-", group="status")["jobs"][0]["state"] == "failing"


def test_a_strip_has_the_slots_of_a_job_and_the_reason_of_each_skip(jobs: Root) -> None:
    jobs.ok("pause", "a-one", "--reason", "why not")
    jobs.clock.advance(timedelta(hours=3))
    jobs.ok("resume", "a-one")
    jobs.ok("serve", "--once")
    (row,) = listed(jobs, q="a-one")["jobs"]
    assert [each["reason"] for each in row["strip"] if each["status"] == "skipped"] == ["paused"]
    assert sum(each["slots"] for each in row["strip"]) >= 3
    assert (
        "skipped (it was paused)"
        in TestClient(bare_app(service_root(jobs.path), show.router)).get("/jobs?q=a-one").text
    )


def test_the_last_change_has_its_author_also_of_a_job_that_was_only_created(jobs: Root) -> None:
    jobs.write("prompts/new.md", "Do it.\n")
    jobs.write("jobs/new.yaml", "{id: brand-new, schedule: {every: 1h}, task_source_path: prompts/new.md}\n")
    jobs.commit()
    jobs.sync()
    (row,) = listed(jobs, q="brand-new")["jobs"]
    assert row["change"]["commit"]["author"] == row["change"]["who"]


def test_rows_for_pages_are_those_of_the_whole_list(lived_in: Root) -> None:
    root = service_root(lived_in.path)
    whole = list_jobs(root, full=False)
    found: list[object] = []
    after = None
    while page := list_jobs(root, full=False, after=after, limit=2)["jobs"]:
        found += page
        after = page[-1]["id"]
    assert found == whole["jobs"]
    assert list_jobs(root, full=False, limit=1)["summary"] == whole["summary"]


def test_the_summary_is_the_one_that_the_rows_give(lived_in: Root) -> None:
    root = service_root(lived_in.path)
    store = root.store()
    assert store is not None
    with store:
        jobs, lost = store.read(queries.summaries), store.read(places.open_faults)
    whole = list_jobs(root, full=False)
    by_rows = views.list_json(whole["jobs"], [], held=whole["summary"]["held"])["summary"]
    assert views.summary_json(jobs, root.clock.now(), lost=lost, held=by_rows["held"]) == by_rows
