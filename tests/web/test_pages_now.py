"""The frame and the first page, in an application of their own."""

from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from scheduler.core.values.access import Caller, Role
from scheduler.web import show
from scheduler.web.render import ago, clean, duration, money, render
from tests.faces.conftest import Root
from tests.web.bare import ADMIN, bare_app, service_root

WEB = Path(show.__file__).parent


def asked(folder: Path, path: str, accept: str = "text/html", *, caller: Caller = ADMIN) -> Any:
    app = bare_app(service_root(folder), show.router, caller=caller)
    return TestClient(app, base_url="http://127.0.0.1").get(path, headers={"accept": accept})


def test_now_says_what_needs_a_person(root: Root) -> None:
    answer = asked(root.path, "/")
    assert answer.status_code == 200
    assert "Needs you" in answer.text
    assert "never synced" in answer.text


def test_every_page_has_its_values_as_json(root: Root) -> None:
    told = asked(root.path, "/", "application/json").json()
    assert told["status"]["attention"] == asked(root.path, "/now.json").json()["status"]["attention"]


def test_an_error_is_a_page_with_its_hint(root: Root) -> None:
    answer = asked(root.path, "/?tz=Mars/Base")
    assert answer.status_code == 400
    assert "'Mars/Base' is not a known time zone" in unescape(answer.text)


def test_a_caller_for_some_jobs_sees_no_page_of_all(root: Root) -> None:
    assert asked(root.path, "/", caller=Caller(actor="token:a", role=Role.ADMIN, jobs=("a",))).status_code == 403


def test_static_files_have_a_name_that_never_changes_its_meaning(root: Root) -> None:
    page = asked(root.path, "/").text
    url = page.split('stylesheet" href="')[1].split('"')[0]
    answer = asked(root.path, url)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
    assert asked(root.path, "/static/0123456789ab/style.css").status_code == 404
    assert asked(root.path, "/static/style.css").headers["cache-control"] == "no-cache"


def test_hostile_text_is_escaped_and_made_visible() -> None:
    assert clean("a\x1b[31mred\x1b[0m \u202egnp.exe\x07\tb\n") == "ared <U+202E>gnp.exe<U+0007>\tb\n"
    shown = render("error", {"message": "<script>\u202e", "hint": ""})
    assert "&lt;script&gt;&lt;U+202E&gt;" in shown


@pytest.mark.parametrize(
    ("ms", "words"),
    [(None, ""), (400, "400ms"), (12, "12ms"), (65_000, "1m5s"), (90_000_000, "1d1h"), (3_600_000, "1h")],
)
def test_durations_in_words(ms: int | None, words: str) -> None:
    assert duration(ms) == words


def test_money_shows_what_is_small() -> None:
    assert (money("0.0042", "USD"), money(1234.5, "USD"), money(0, "USD")) == ("0.0042 USD", "1,234.50 USD", "0.00 USD")


def test_ago_also_tells_of_what_is_to_come() -> None:
    from scheduler.core.values.instants import parse_instant

    now = parse_instant("2026-03-01T10:00:00Z")
    assert (ago("2026-03-01T08:00:00Z", now), ago("2026-03-01T10:00:30Z", now)) == ("2h ago", "in 30s")


def test_pages_stay_small_and_have_nothing_inline() -> None:
    for page in (WEB / "pages").glob("*.py"):
        assert len(page.read_text().splitlines()) <= 80, page
    for template in (WEB / "templates").glob("*.html"):
        text = template.read_text()
        assert len(text.splitlines()) <= 120, template
        assert not any(each in text for each in (" style=", "<style", " onclick")), template
    assert (WEB / "static/style.css").stat().st_size <= 15 * 1024
    assert len((WEB / "static/page.js").read_text().splitlines()) <= 200


def test_jobs_has_a_row_for_each_job_and_no_page_beyond_the_last(root: Root) -> None:
    told = asked(root.path, "/jobs.json").json()
    assert told["total"] == len(told["jobs"]) > 0
    answer = asked(root.path, "/jobs")
    assert answer.status_code == 200
    assert all(each["id"] in answer.text for each in told["jobs"])
    assert asked(root.path, "/jobs?page=2").status_code == 400
    assert asked(root.path, "/jobs?status=nonsense").status_code == 400
