"""The pages of the whole root in the real application: HTML, JSON, and errors in words."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from fastapi.encoders import jsonable_encoder
from fastapi.testclient import TestClient

from scheduler.core.values.access import Caller
from scheduler.service.root import Root as ServiceRoot
from scheduler.web.app import build_app
from scheduler.web.calls import AccessError
from scheduler.web.pages import activity, explain, review, spend, sync
from tests.faces.conftest import Root
from tests.remote.conftest import world
from tests.remote.world import World
from tests.web.bare import ADMIN, OpenGuard, service_root

__all__ = ["world"]

EVIL = "<script>alert(1)</script>"
PAGES = ("/sync", "/activity", "/spend", "/health", "/explain?job=heartbeat", "/explain?job=flaky&from=-1h")


def served(lived_in: Root) -> ServiceRoot:
    return replace(service_root(lived_in.path), clock=lived_in.clock)


def asking(root: ServiceRoot, caller: Caller = ADMIN, error: AccessError | None = None) -> TestClient:
    guard = OpenGuard(caller)
    guard.error = error
    app = build_app(root, guard)
    found = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False, follow_redirects=False)
    found.headers["accept"] = "text/html,application/xhtml+xml"
    return found


def proposed(root: Root) -> None:
    """A commit on top of what is applied, with markup in all that a page shows of it."""
    root.write("jobs/new.yaml", f'id: new\nname: "{EVIL}"\nschedule: "@daily"\ntask: "{EVIL}"\n')
    root.edit("jobs/heartbeat.md", "calm", "loud")
    root.commit()


@pytest.mark.parametrize("path", [*PAGES, "/review/HEAD~1...HEAD", "/review?base=HEAD~1&head=HEAD"])
def test_a_page_is_html_with_its_navigation(lived_in: Root, path: str) -> None:
    proposed(lived_in)
    answer = asking(served(lived_in)).get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert all(f'href="{each}"' in answer.text for each in ("/sync", "/activity", "/spend", "/health"))
    assert EVIL not in answer.text
    assert "<h1>" in answer.text


def test_names_reasons_and_parameters_are_escaped(lived_in: Root) -> None:
    lived_in.ok("pause", "heartbeat", "--reason", EVIL)
    proposed(lived_in)
    client = asking(served(lived_in))
    for path in ("/sync", "/activity", "/review/HEAD~1...HEAD"):
        text = client.get(path).text
        assert EVIL not in text
        assert "&lt;script&gt;" in text, path
    for path in ("/activity", "/explain", "/review", "/sync"):
        answer = client.get(path, params=dict.fromkeys(("job", "actor", "at", "head", "base", "before"), EVIL))
        assert EVIL not in answer.text, path


def test_the_json_twin_has_the_fields_of_the_view(lived_in: Root) -> None:
    proposed(lived_in)
    root = served(lived_in)
    client = asking(root)

    def same(path: str, view: Any, *, without: str = "") -> None:
        want = {each.name: jsonable_encoder(getattr(view, each.name)) for each in fields(view)}
        for found in (client.get(path), client.get(path.replace(".json", ""), headers={"accept": "application/json"})):
            told = found.json()
            for value in (told, want):
                value.get(without, {}).pop("duration_ms", None)
            assert told == want, path

    same("/spend.json", spend.page(root, {}))
    same("/activity.json?job=heartbeat", activity.page(root, {"job": "heartbeat"}))
    same("/explain.json?job=heartbeat", explain.page(root, {"job": "heartbeat"}))
    same("/sync.json", sync.page(root, {}), without="plan")
    same("/review/HEAD~1...HEAD.json", review.page(root, {"revisions": "HEAD~1...HEAD"}), without="review")
    assert {each["name"] for each in client.get("/health.json").json()["doctor"]["checks"]} >= {"files", "database"}


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/explain?job=nobody", 404, "there is no job"),
        ("/explain", 400, "explain needs a job"),
        ("/explain?job=heartbeat&at=soon", 400, "soon"),
        ("/activity?before=x", 400, "before is not a cursor"),
        ("/review", 400, "a review needs a revision"),
        ("/review/nobody", 400, "is not a commit in this repository"),
        ("/review/HEAD...--output=x", 400, "is not a revision"),
        ("/sync?tz=Nowhere", 400, "not a known time zone"),
    ],
)
def test_a_wrong_question_is_answered_in_words(lived_in: Root, path: str, status: int, words: str) -> None:
    client = asking(served(lived_in))
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert words in answer.text
    if "tz=" not in path:
        told = client.get(path, headers={"accept": "application/json"})
        assert (told.status_code, told.headers["content-type"]) == (status, "application/problem+json")


def test_who_is_not_logged_in_reads_how_to_in_a_browser_and_gets_a_problem_from_the_api(lived_in: Root) -> None:
    client = asking(served(lived_in), error=AccessError(401, "nobody is logged in", hint="`scheduler login`"))
    page, told = client.get("/sync"), client.get("/api/jobs")
    assert (page.status_code, told.status_code) == (401, 401)
    assert "<code>scheduler login</code>" in page.text
    assert page.headers["content-type"].startswith("text/html")
    assert told.headers["content-type"] == "application/problem+json"


def test_a_slot_that_is_still_to_come_is_not_said_to_have_been_missed(lived_in: Root) -> None:
    client = asking(served(lived_in))
    assert "still ahead" in client.get("/explain?job=heartbeat&at=%2B1h").text
    assert "did not fire" in client.get("/explain?job=heartbeat&at=-1m").text


def test_a_revision_may_contain_a_slash(lived_in: Root) -> None:
    proposed(lived_in)
    lived_in.git("branch", "feature/more")
    answer = asking(served(lived_in)).get("/review/HEAD~1...feature/more")
    assert answer.status_code == 200
    assert "feature/more" in answer.text


def test_the_choice_of_the_zone_keeps_the_rest_of_the_address(lived_in: Root) -> None:
    text = asking(served(lived_in)).get("/explain?job=heartbeat").text
    assert 'href="?job=heartbeat&amp;tz=UTC"' in text
    assert "Europe/Berlin" in text or "CET" in text


@pytest.mark.parametrize("path", ["/explain?job=heartbeat", "/review/HEAD", "/sync"])
def test_a_page_about_a_moment_opens_no_stream(lived_in: Root, path: str) -> None:
    assert ("data-still" in asking(served(lived_in)).get(path).text) == (path != "/sync")


def test_a_root_that_follows_a_branch_reviews_its_commits(world: World) -> None:
    world.begin()
    world.clone()
    first = world.look().commit or ""
    newest = world.push({"prompts/hello.md": "hello again\n"})
    assert world.look().commit == newest
    client = asking(service_root(world.root))
    answer = client.get(f"/review/{first}...{newest}")
    assert answer.status_code == 200
    assert f"Review of {newest[:7]} against {first[:7]}" in answer.text
    assert "hello <del>0</del><ins>again</ins>" in answer.text
    assert "in force" in client.get("/sync").text
