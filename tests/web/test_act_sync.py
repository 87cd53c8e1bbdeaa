"""The buttons of the Sync page."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from scheduler.core.values.access import AccessSettings, Caller, Role
from scheduler.service.access import login_secret
from scheduler.web.app import build_app
from scheduler.web.guard import AccessGuard
from tests.faces.conftest import JOBS, Root
from tests.web.test_pages2_routes import asking, served

MANY = ("jobs/heartbeat.md", "jobs/triage.yaml", "jobs/flaky.yaml", "jobs/clock.yaml")


def by(role: Role) -> Caller:
    return Caller(actor=f"person:{role.value}", role=role)


def archived(root: Root) -> list[str]:
    return [job["id"] for job in root.json("list", "--status", "archived")["jobs"]]


def token_on(client: TestClient) -> str:
    """What the confirm button of the page sends."""
    return client.get("/sync").text.split('name="token" value="')[1].split('"')[0]


def test_sync_now_applies_the_files_and_leads_back_to_the_page(lived_in: Root) -> None:
    lived_in.write("jobs/new.yaml", 'id: new\nschedule: "@daily"\ntask: hi\n')
    client = asking(served(lived_in), by(Role.OPERATOR))
    assert "created" in client.get("/sync").text
    answer = client.post("/sync/now")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sync")
    assert lived_in.job("new")["created_by"] == "person:operator"
    assert "changes nothing" in client.get("/sync").text


def test_sync_now_archives_nothing_that_the_guard_holds(lived_in: Root) -> None:
    lived_in.delete(*MANY)
    assert asking(served(lived_in), by(Role.OPERATOR)).post("/sync/now").status_code == 303
    assert archived(lived_in) == []


def test_the_button_names_the_count_and_archives_these_jobs(lived_in: Root) -> None:
    lived_in.delete(*MANY)
    client = asking(served(lived_in), by(Role.APPROVER))
    assert f"<button>Archive {len(JOBS)} jobs</button>" in client.get("/sync").text
    answer = client.post("/sync/confirm", data={"token": token_on(client)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sync")
    assert sorted(archived(lived_in)) == sorted(JOBS)


@pytest.mark.parametrize("token", ["", "0" * 12, "\u202e<b>"])
def test_a_wrong_token_archives_nothing(lived_in: Root, token: str) -> None:
    lived_in.delete(*MANY)
    answer = asking(served(lived_in)).post("/sync/confirm", data={"token": token})
    assert answer.status_code == 409
    assert "nothing was archived" in answer.text
    assert 'href="/sync"' in answer.text
    assert archived(lived_in) == []


def test_a_token_of_other_jobs_archives_nothing_also_if_the_guard_is_gone(lived_in: Root) -> None:
    lived_in.delete(*MANY)
    client = asking(served(lived_in))
    stale = token_on(client)
    lived_in.git("checkout", "--", "jobs/heartbeat.md")
    assert client.post("/sync/confirm", data={"token": stale}).status_code == 409
    lived_in.git("checkout", "--", *(each for each in MANY if "flaky" not in each))
    answer = client.post("/sync/confirm", data={"token": stale})
    assert answer.status_code == 409
    assert "the guard holds no jobs now" in answer.text
    assert archived(lived_in) == []


def test_of_two_tabs_one_archives_and_the_other_is_told(lived_in: Root) -> None:
    lived_in.delete(*MANY)
    client = asking(served(lived_in))
    token, found = token_on(client), list[int]()

    def press() -> None:
        tab = TestClient(client.app, base_url="http://127.0.0.1", follow_redirects=False)
        found.append(tab.post("/sync/confirm", data={"token": token}).status_code)

    tabs = [threading.Thread(target=press) for _ in range(2)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    assert 303 in found
    assert set(found) <= {303, 409}
    assert sorted(archived(lived_in)) == sorted(JOBS)
    assert client.post("/sync/confirm", data={"token": token}).status_code == 409


@pytest.mark.parametrize(
    ("path", "role"), [("/sync/now", Role.VIEWER), ("/sync/confirm", Role.VIEWER), ("/sync/confirm", Role.OPERATOR)]
)
def test_who_may_not_reads_why(lived_in: Root, path: str, role: Role) -> None:
    lived_in.delete(*MANY)
    token = token_on(asking(served(lived_in)))
    answer = asking(served(lived_in), by(role)).post(path, data={"token": token})
    assert answer.status_code == 403
    assert f"person:{role.value} has the role {role.value}; this needs" in answer.text
    assert archived(lived_in) == []


def test_a_token_for_some_jobs_syncs_nothing(lived_in: Root) -> None:
    lived_in.delete(*MANY)
    client = asking(served(lived_in), replace(by(Role.ADMIN), jobs=("heartbeat",)))
    assert [client.post(path).status_code for path in ("/sync/now", "/sync/confirm")] == [403, 403]


def test_another_site_cannot_press_a_button(lived_in: Root) -> None:
    lived_in.delete(*MANY)
    root = served(lived_in)
    address = "http://127.0.0.1:8484"
    client = TestClient(
        build_app(root, AccessGuard(root, AccessSettings())),
        base_url=address,
        client=("127.0.0.1", 50_000),
        follow_redirects=False,
    )
    assert client.post("/login", data={"t": login_secret(root)}).status_code == 303
    client.headers["accept"] = "text/html"
    data: dict[str, Any] = {"token": token_on(client)}
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        assert client.post("/sync/confirm", data=data, headers=headers).status_code == 403
    assert client.get("/sync/confirm").status_code == 405
    assert archived(lived_in) == []
    assert client.post("/sync/confirm", data=data, headers={"sec-fetch-site": "same-origin"}).status_code == 303


def test_a_page_that_is_not_there_is_a_page_in_a_browser(lived_in: Root) -> None:
    answer = asking(served(lived_in)).get("/nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_only_the_buttons_that_a_role_may_press_are_shown(lived_in: Root) -> None:
    for path in MANY:
        (lived_in.path / path).unlink()
    shown = {role: asking(served(lived_in), by(role)).get("/sync").text for role in Role}
    assert [">Sync now</button>" in shown[role] for role in Role] == [False, True, True, True]
    assert [">Archive " in shown[role] for role in Role] == [False, False, True, True]
    assert all("--confirm-prune" in each for each in shown.values())
