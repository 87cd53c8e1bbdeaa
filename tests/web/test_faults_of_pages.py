"""What people saw wrong on the pages: holds, archived jobs, hints, windows, roles, roots without a repository."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scheduler.core.values.access import Caller, Role
from scheduler.web.render import with_code
from scheduler.web.show import PAGES
from tests.faces.conftest import Root
from tests.web.bare import ADMIN
from tests.web.test_pages_all import ONE, QUERY, asking

HTML = {"accept": "text/html"}


def page(root: Root, path: str, status: int = 200, query: Any = None) -> str:
    answer = asking(root, ADMIN).get(path, params=query, headers=HTML)
    assert answer.status_code == status, answer.text
    return answer.text


def twin(root: Root, path: str, **query: str) -> Any:
    answer = asking(root, ADMIN).get(path, params=query, headers={"accept": "application/json"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_held_job_says_what_holds_it_since_when_and_what_ends_it(lived_in: Root) -> None:
    for each in sorted((lived_in.path / "jobs").iterdir()):
        each.unlink()
    lived_in.clock.advance(timedelta(minutes=1))
    lived_in.cli("sync")
    hold = twin(lived_in, "/jobs/heartbeat")["hold"]
    assert hold["state"] == "held"
    assert hold["since"] == lived_in.json("audit", "heartbeat")["audit"][-1]["at"]
    shown = page(lived_in, "/jobs/heartbeat")
    assert "the guard keeps it" in shown
    assert "<code>scheduler plan</code>" in shown
    assert 'href="/sync"' in shown


def test_a_job_whose_file_is_wrong_says_that_its_last_good_definition_is_in_force(lived_in: Root) -> None:
    assert twin(lived_in, "/jobs/flaky")["hold"] is None
    path = lived_in.job("flaky")["source_path"]
    lived_in.write(path, "id: flaky\nschedule: {cron: nonsense}\n")
    lived_in.cli("sync")
    assert "its last good definition is in force" in page(lived_in, "/jobs/flaky")


def test_archived_jobs_are_listed_only_when_their_status_is_asked_for(lived_in: Root) -> None:
    path = lived_in.job("flaky")["source_path"]
    lived_in.delete(path)
    lived_in.cli("sync")
    archived = [each["id"] for each in twin(lived_in, "/jobs", status="archived")["jobs"]]
    assert archived
    found = twin(lived_in, "/jobs")
    assert not set(archived) & {each["id"] for each in found["jobs"]}
    assert found["archived"] == len(archived)
    shown = page(lived_in, "/jobs")
    assert f"{len(archived)} archived</a>" in shown
    assert "?status=archived" in shown
    assert {each["id"] for each in asking(lived_in, ADMIN).get("/api/jobs").json()["jobs"]} >= set(archived)


HINTS = {  # what concerns a page besides `sync` and `reload`; None: the page stays as it is
    "/": {"job:", "run:"},
    "/jobs": {"job:", "run:"},
    "/sync": {"job:"},
    "/activity": {"job:"},
    "/spend": {"run:"},
    "/health": set[str](),
    "/explain": None,
    "/review": None,
    "/jobs/heartbeat": {"job:heartbeat", "run:heartbeat:"},
    "/jobs/flaky": {"job:flaky", "run:flaky:"},
    "/jobs/tick": {"job:tick", "run:tick:"},
    "/runs/heartbeat:1": {"job:heartbeat", "run:heartbeat:1"},
    "/runs/flaky:1": {"job:flaky", "run:flaky:1"},
}


@pytest.mark.parametrize("path", [*PAGES, *ONE])
def test_a_page_names_exactly_the_hints_that_concern_it(lived_in: Root, path: str) -> None:
    shown = page(lived_in, path, query=QUERY.get(path))
    named = re.search(r'<main id="main" data-hints="([^"]*)"', shown)
    wanted = HINTS[path]
    assert ("data-still" in shown) == (wanted is None)
    if wanted is not None:
        assert named is not None
        assert set(named[1].split()) == wanted


def test_a_version_hears_of_its_job_and_the_page_that_asks_before_a_roll_back_stays_as_it_is(lived_in: Root) -> None:
    version = f"/jobs/flaky/versions/{lived_in.runs('flaky')[0]['task_sha256']}"
    lived_in.write("scripts/flaky.sh", "echo another text\n")
    lived_in.commit()
    lived_in.sync()
    assert 'data-hints="job:flaky run:flaky:"' in page(lived_in, version)
    asks = page(lived_in, f"{version}/back")
    assert "data-hints" not in asks
    assert "data-still" in asks


def test_the_activity_of_a_job_hears_of_that_job_alone(lived_in: Root) -> None:
    assert 'data-hints="job:flaky"' in page(lived_in, "/activity", query={"job": "flaky"})


def test_the_star_of_the_header_and_the_page_sync_tell_the_same_of_prompts(lived_in: Root) -> None:
    note = "with files that are not committed"
    assert note not in page(lived_in, "/sync")
    lived_in.write("scripts/flaky.sh", "echo fine; exit 0\n")
    lived_in.sync()
    assert page(lived_in, "/sync").count(note) == 2
    assert twin(lived_in, "/sync")["revisions"][0]["note"] == note


def test_a_window_that_ends_before_it_begins_is_not_called_short(lived_in: Root) -> None:
    query = {"from": "2026-03-02T00:00:00Z", "to": "2026-03-01T00:00:00Z"}
    shown = page(lived_in, "/jobs/tick", 400, query)
    assert "too short" not in shown
    assert "swap" in shown


@pytest.mark.parametrize(
    ("caller", "hint"),
    [
        (Caller(actor="user:ann", role=Role.VIEWER, session="x"), "scheduler login"),
        (Caller(actor="user:ann", role=Role.VIEWER), "--proxy-role operator"),
        (Caller(actor="token:ci", role=Role.VIEWER), "scheduler token create NAME --role operator"),
    ],
)
def test_who_lacks_a_role_learns_how_this_login_can_get_it(lived_in: Root, caller: Caller, hint: str) -> None:
    answer = asking(lived_in, caller).post("/api/jobs/tick/run")
    assert answer.status_code == 403
    assert hint in answer.json()["hint"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run `scheduler sync`, or `x`", "run <code>scheduler sync</code>, or <code>x</code>"),
        ("`<b>` & <i>", "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"),
        ("a ` alone, and one\nover `two\nlines`", "a ` alone, and one\nover `two\nlines`"),
        ("``", "``"),
    ],
)
def test_what_stands_between_backticks_is_code_and_nothing_else_is_markup(text: str, shown: str) -> None:
    assert with_code(text) == shown


def test_a_review_outside_a_repository_says_so_and_what_to_do(lived_in: Root) -> None:
    shutil.rmtree(lived_in.path / ".git")
    shown = page(lived_in, "/review", 409, {"head": "HEAD"})
    assert "no git repository" in shown
    assert "<code>git init</code>" in shown
    answer = asking(lived_in, replace(ADMIN)).get("/api/plan", params={"base": "HEAD"})
    assert (answer.status_code, answer.json()["status"]) == (409, 409)
