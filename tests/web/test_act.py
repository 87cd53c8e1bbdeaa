"""The buttons of a job, a run and a text."""

from __future__ import annotations

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from scheduler.core.values.access import AccessSettings, Role
from scheduler.service.access import login_secret
from scheduler.web.act import router
from scheduler.web.app import build_app
from scheduler.web.guard import AccessGuard
from tests.faces.conftest import Root
from tests.web.test_act_sync import by
from tests.web.test_pages2_routes import asking, served

ACTS = sorted(route.path for route in router.routes if isinstance(route, APIRoute))
KEY = {"key": "0123456789", "version": "1"}


def address(path: str) -> str:
    return path.format(job_id="heartbeat", run_id="heartbeat:1", sha256="0" * 64)


def changed(root: Root) -> tuple[str, str]:
    """Change the text of a job that has run. Returns the sha256 before and after."""
    root.run("heartbeat")
    before = root.job("heartbeat")["task_sha256"]
    root.edit("jobs/heartbeat.md", "once an hour", "every hour")
    root.commit()
    root.ok("sync")
    return before, root.job("heartbeat")["task_sha256"]


def test_a_job_is_paused_and_resumed(lived_in: Root) -> None:
    client = asking(served(lived_in), by(Role.OPERATOR))
    assert ">Pause</button>" in client.get("/jobs/heartbeat").text
    answer = client.post("/jobs/heartbeat/pause", data={"reason": "  <b>quiet</b> ", "until": "+2h"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs/heartbeat")
    paused = lived_in.job("heartbeat")["paused"]
    assert (paused["by"], paused["reason"]) == ("person:operator", "<b>quiet</b>")
    assert paused["until"] is not None
    page = client.get("/jobs/heartbeat").text
    assert "<b>quiet</b>" not in page
    assert ">Resume</button>" in page
    assert client.post("/jobs/heartbeat/resume?tz=UTC").headers["location"] == "/jobs/heartbeat?tz=UTC"
    assert lived_in.job("heartbeat")["paused"] is None


def test_an_instant_that_is_none_pauses_nothing(lived_in: Root) -> None:
    answer = asking(served(lived_in)).post("/jobs/heartbeat/pause", data={"until": "<soon>"})
    assert answer.status_code == 400
    assert "until: " in answer.text
    assert "<soon>" not in answer.text
    assert lived_in.job("heartbeat")["paused"] is None


def test_without_a_daemon_no_run_starts_and_the_page_says_why(lived_in: Root) -> None:
    runs = len(lived_in.json("history", "heartbeat")["runs"])
    answer = asking(served(lived_in)).post("/jobs/heartbeat/run", data=KEY)
    assert answer.status_code == 503
    assert "scheduler serve" in answer.text
    assert len(lived_in.json("history", "heartbeat")["runs"]) == runs


def test_a_run_that_has_ended_is_not_cancelled(lived_in: Root) -> None:
    client = asking(served(lived_in))
    assert "Cancel this run" not in client.get("/runs/heartbeat:1").text
    answer = client.post("/runs/heartbeat:1/cancel")
    assert (answer.status_code, "text/html" in answer.headers["content-type"]) == (409, True)


def test_a_text_comes_back_by_a_commit_after_its_difference_was_shown(lived_in: Root) -> None:
    lived_in.git("config", "user.name", "Ann")
    lived_in.git("config", "user.email", "ann@example.com")
    before, after = changed(lived_in)
    client = asking(served(lived_in), by(Role.APPROVER))
    back = f"/jobs/heartbeat/versions/{before}/back"
    assert f'href="{back}"' in client.get(f"/jobs/heartbeat/versions/{before[:12]}").text
    assert "Roll back to this text" not in client.get(f"/jobs/heartbeat/versions/{after}").text
    page = client.get(back).text
    assert "writes a commit that changes <code>jobs/heartbeat.md</code>" in page
    assert "<del>every</del>" in page
    assert "<ins>once an</ins>" in page
    version = page.split('name="version" value="')[1].split('"')[0]
    answer = client.post(back, data={"version": version})
    assert answer.status_code == 303, answer.text
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs/heartbeat")
    assert lived_in.job("heartbeat")["task_sha256"] == before
    assert lived_in.git("status", "--porcelain", "jobs") == ""
    assert "Roll heartbeat back to text:" in lived_in.git("log", "-1", "--format=%s")
    who = by(Role.APPROVER).actor
    assert lived_in.git("log", "-1", "--format=%(trailers:key=Requested-by,valueonly)").strip() == who
    assert client.get(back).status_code == 409


def test_a_text_comes_back_on_a_branch_and_the_review_of_it_follows(lived_in: Root) -> None:
    lived_in.git("config", "user.name", "Ann")
    lived_in.git("config", "user.email", "ann@example.com")
    before, after = changed(lived_in)
    client = asking(served(lived_in), by(Role.APPROVER))
    back = f"/jobs/heartbeat/versions/{before}/back"
    version = client.get(back).text.split('name="version" value="')[1].split('"')[0]
    answer = client.post(back, data={"version": version, "branch": "calmer"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/review/HEAD...calmer"), answer.text
    assert lived_in.job("heartbeat")["task_sha256"] == after
    assert "1 job with another text" in client.get("/review/HEAD...calmer").text
    again = client.post(back, data={"version": version, "branch": "-x"})
    assert (again.status_code, "branch" in again.text) == (409, True)


def test_a_page_that_is_out_of_date_rolls_nothing_back(lived_in: Root) -> None:
    before, _ = changed(lived_in)
    client = asking(served(lived_in))
    back = f"/jobs/heartbeat/versions/{before}/back"
    version = client.get(back).text.split('name="version" value="')[1].split('"')[0]
    lived_in.edit("jobs/heartbeat.md", "every hour", "every other hour")
    lived_in.commit()
    lived_in.ok("sync")
    answer = client.post(back, data={"version": version})
    assert answer.status_code == 412
    assert "has another version now" in answer.text
    assert "nothing was written" in answer.text
    assert "every other hour" in (lived_in.path / "jobs/heartbeat.md").read_text()


@pytest.mark.parametrize("path", ACTS)
def test_a_viewer_sees_no_button_and_may_press_none(lived_in: Root, path: str) -> None:
    client = asking(served(lived_in), by(Role.VIEWER))
    assert "<button>Run now</button>" not in client.get("/jobs/heartbeat").text
    answer = client.post(address(path), data=KEY)
    assert answer.status_code == 403
    assert "person:viewer has the role viewer" in answer.text


@pytest.mark.parametrize("path", ACTS)
def test_another_site_presses_no_button(lived_in: Root, path: str) -> None:
    root = served(lived_in)
    guarded = build_app(root, AccessGuard(root, AccessSettings()))
    client = TestClient(guarded, base_url="http://127.0.0.1:8484", client=("127.0.0.1", 50_000), follow_redirects=False)
    assert client.post("/login", data={"t": login_secret(root)}).status_code == 303
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {"origin": "null"}):
        assert client.post(address(path), data=KEY, headers=headers).status_code == 403


@pytest.mark.parametrize("path", ACTS)
def test_a_button_of_what_is_not_there_is_404_in_words(lived_in: Root, path: str) -> None:
    missing = path.format(job_id="nothing", run_id="nothing:1", sha256="0" * 64)
    answer = asking(served(lived_in)).post(missing, data=KEY)
    assert answer.status_code == 404
    assert "nothing" in answer.text


def test_a_time_is_read_in_the_zone_in_which_the_page_shows_times(lived_in: Root) -> None:
    client = asking(served(lived_in), by(Role.OPERATOR))
    client.post("/jobs/heartbeat/pause?tz=Asia/Tokyo", data={"until": "2027-01-01 09:00"})
    paused = lived_in.job("heartbeat")["paused"]
    assert paused["until"] == "2027-01-01T00:00:00Z"
    for path in ("/explain?job=heartbeat&", "/jobs/heartbeat?"):
        assert "2026-03-01 09:30:00 Asia/Tokyo" in client.get(f"{path}tz=Asia/Tokyo&at=2026-03-01 09:30").text


def test_a_value_that_a_form_does_not_take_is_answered_with_a_page(lived_in: Root) -> None:
    answer = asking(served(lived_in)).post(
        "/jobs/heartbeat/pause", data={"reason": "x" * 2_000}, headers={"accept": "text/html"}
    )
    assert (answer.status_code, answer.headers["content-type"][:9]) == (422, "text/html")
    assert "at most 1000 characters" in answer.text
