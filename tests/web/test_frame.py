"""What is around every page: the zone that its links carry, what it says of the root, and the jump box."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from scheduler.service.frame import standing
from scheduler.service.kept import Kept
from scheduler.service.root import Root as ServiceRoot
from scheduler.service.status import status
from scheduler.web.links import Links
from scheduler.web.render import render
from scheduler.web.show import PAGES
from tests.faces.conftest import Root
from tests.web.bare import ADMIN
from tests.web.test_pages2_routes import asking, served
from tests.web.test_pages_all import ONE, QUERY

ZONE = "Asia/Tokyo"


class Read(HTMLParser):
    """The links of a page, and its forms with the names of their fields."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[tuple[str, str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "form":
            self.forms.append((found.get("method", "get"), found.get("action", ""), {}))
        if tag == "input" and self.forms:
            self.forms[-1][2][found.get("name", "")] = found.get("value", "")


def pages(client: TestClient, **query: str) -> Iterator[tuple[str, Read]]:
    for path in (*PAGES, *ONE):
        answer = client.get(path, params={**QUERY.get(path, {}), **query})
        assert answer.status_code == 200, path
        yield path, Read(answer.text)


def is_page(link: str) -> bool:
    """Leads to another page of ours: not within this one, to the API, or to a forge."""
    found = urlsplit(link)
    path = found.path
    return not (found.scheme or link.startswith("#") or path.startswith("/api/") or path.endswith(".json"))


def test_every_link_and_form_of_every_page_keeps_the_zone(lived_in: Root) -> None:
    chosen = {"job zone": "", "UTC": "UTC"}  # these links choose another
    for path, read in pages(asking(served(lived_in)), tz=ZONE):
        zones = [parse_qs(urlsplit(link).query).get("tz", [""])[0] for link in read.links if is_page(link)]
        assert [each for each in zones if each != ZONE] == [*chosen.values()], (path, read.links)
        for method, action, fields in read.forms:
            if method == "dialog":
                continue
            kept = fields.get("tz") if method == "get" else parse_qs(urlsplit(action).query).get("tz", [None])[0]
            assert kept == ZONE, (path, method, action)


def test_without_a_zone_no_link_has_one(lived_in: Root) -> None:
    for path, read in pages(asking(served(lived_in))):
        assert [parse_qs(urlsplit(link).query)["tz"] for link in read.links if "tz=" in link] == [["UTC"]], path


def test_all_instants_of_a_page_follow_its_zone(lived_in: Root) -> None:
    text = asking(served(lived_in)).get("/explain", params={"job": "heartbeat", "tz": ZONE}).text
    assert "Asia/Tokyo</time>" in text
    assert not {" CET", " UTC"} & {text[at : at + 4] for at in range(len(text))}


@pytest.mark.parametrize("zone", ["Mars/Base", "localtime", "posix/UTC", "../etc/passwd", "x" * 300, "\0"])
def test_an_unknown_zone_is_an_error_that_names_it_and_says_what_to_write(lived_in: Root, zone: str) -> None:
    for path in ("/", "/jump"):
        answer = asking(served(lived_in)).get(path, params={"tz": zone})
        assert answer.status_code == 400
        assert "is not a known time zone" in answer.text
        assert "?tz=UTC" in answer.text


def test_the_buttons_of_sync_lead_back_in_the_zone_of_the_page(lived_in: Root) -> None:
    answer = asking(served(lived_in)).post("/sync/now?tz=UTC")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sync?tz=UTC")


def test_links_quote_what_is_in_them_and_leave_out_what_is_empty() -> None:
    links = Links("Europe/Berlin")
    assert links.job("a/b?") == "/jobs/a%2Fb%3F?tz=Europe%2FBerlin"
    assert links.jobs(tag="x&y", page="") == "/jobs?tag=x%26y&tz=Europe%2FBerlin"
    assert (Links.sync, Links().sync, links.sync) == ("/sync", "/sync", "/sync?tz=Europe%2FBerlin")
    assert links.field == '<input type="hidden" name="tz" value="Europe/Berlin">'
    assert Links().field == ""


@pytest.mark.parametrize(
    ("typed", "leads"),
    [
        ("heartbeat", "/jobs/heartbeat?tz=UTC"),
        (" flaky:1 ", "/runs/flaky:1?tz=UTC"),
        ("flaky:99", "/jobs?q=flaky%3A99&tz=UTC"),
        ("beat", "/jobs?q=beat&tz=UTC"),
        ("", "/jobs?tz=UTC"),
        ("<script>", "/jobs?q=%3Cscript%3E&tz=UTC"),
    ],
)
def test_the_jump_box_leads_to_a_job_to_a_run_or_to_what_may_be_meant(lived_in: Root, typed: str, leads: str) -> None:
    answer = asking(served(lived_in)).get("/jump", params={"q": typed, "tz": "UTC"})
    assert (answer.status_code, answer.headers["location"]) == (303, leads)


def test_suggestions_begin_with_what_begins_so_and_are_at_most_twenty(root: Root) -> None:
    for n in range(30):
        root.write(f"jobs/x{n:02}.yaml", f"id: back-up-{n:02}\nschedule: manual\ntask: Nothing.\n")
    root.write("jobs/up.yaml", "id: up-to-date\nschedule: manual\ntask: Nothing.\n")
    root.sync()
    found = asking(served(root)).get("/jump.json", params={"q": "UP-"}).json()
    assert (found["jobs"][:2], len(found["jobs"]), found["more"]) == (["up-to-date", "back-up-00"], 20, True)


def test_a_caller_of_some_jobs_gets_no_suggestions_and_no_number(lived_in: Root) -> None:
    client = asking(served(lived_in), replace(ADMIN, jobs=("heart*",)))
    assert client.get("/jump.json", params={"q": "f"}, headers={"accept": "application/json"}).status_code == 403
    page = client.get("/jobs/heartbeat").text
    assert 'id="attention"' not in page
    assert 'id="jump"' not in page


def needing(root: ServiceRoot) -> tuple[int, int]:
    """The number around a page, and how many things on Now are for a person."""
    kept = standing(replace(root, kept=Kept())).attention
    assert kept == standing(root).attention
    return kept, sum(each["count"] for each in status(root)["needs"] if each["urgent"])


def test_the_number_is_that_of_the_lines_on_now(lived_in: Root) -> None:
    seen = set[int]()

    def same(words: str) -> None:
        number, lines = needing(served(lived_in))
        assert number == lines, (words, status(served(lived_in))["needs"])
        seen.add(number)

    same("as it is")
    lived_in.write("jobs/broken.yaml", "id: broken\nschedule: never\n")
    lived_in.cli("sync")
    same("an error in a file of no job")
    lived_in.edit("jobs/heartbeat.md", "schedule", "shedule")
    lived_in.cli("sync")
    same("a job on its last good definition")
    assert lived_in.cli("run", "flaky", "--wait").code == 1
    same("a failing job")
    lived_in.clock.advance(timedelta(days=2))
    same("overdue jobs")
    lived_in.ok("pause", "heartbeat")
    same("paused")
    for n in range(25):
        lived_in.write(f"jobs/more{n}.yaml", f"id: more-{n}\nschedule: manual\ntask: Nothing.\n")
    lived_in.cli("sync")
    lived_in.sql("UPDATE jobs SET consecutive_errors = 2, last_run_status = 'failed' WHERE id GLOB 'more-*'")
    same("more failing jobs than Now has lines for")
    assert max(seen) > 25
    assert len(seen) > 4


def test_a_root_that_was_never_synced_says_so(root: Root) -> None:
    found = standing(served(root))
    assert (found.synced_at, found.daemon, found.attention) == (None, "never", 1)
    assert "never synced" in asking(served(root)).get("/").text


def test_a_root_without_git_has_no_revision_and_its_runs_say_why(lived_in: Root) -> None:
    shutil.rmtree(lived_in.path / ".git")
    lived_in.sync()
    lived_in.run("heartbeat")
    assert standing(served(lived_in)).revision is None
    client = asking(served(lived_in))
    assert 'title="none"' not in client.get("/").text
    assert 'revision="none"' not in client.get("/metrics").text
    assert "is not in a git repository" in client.get(f"/runs/{lived_in.runs('heartbeat')[0]['id']}").text


def test_the_frame_names_branch_revision_and_what_differs_from_it(lived_in: Root) -> None:
    lived_in.git("remote", "add", "origin", "git@github.com:ada/jobs.git")
    commit = lived_in.git("rev-parse", "HEAD")
    text = asking(served(lived_in)).get("/sync").text
    assert (
        f'<a href="https://github.com/ada/jobs/commit/{commit}" title="{commit}"><code>{commit[:7]}</code></a>' in text
    )
    assert f" · {lived_in.git('symbolic-ref', '--short', 'HEAD')} · " in text
    assert not standing(served(lived_in)).dirty
    lived_in.edit("jobs/heartbeat.md", "calm", "loud")
    lived_in.sync()
    assert standing(served(lived_in)).dirty
    assert "*</abbr>" in asking(served(lived_in)).get("/sync").text


def test_error_pages_and_the_login_load_no_script(lived_in: Root) -> None:
    for text in (
        asking(served(lived_in)).get("/nothing").text,
        render("login", {"root": "/root", "secret": '"><script>'}),
    ):
        assert "<script" not in text
        assert text.count("<h1") == 1
        assert '<html lang="en">' in text


def test_an_error_page_keeps_the_zone_of_the_address(lived_in: Root) -> None:
    client = asking(served(lived_in))
    for path in ("/nothing", "/jobs/nobody", "/explain", "/activity?before=x"):
        text = client.get(path, params={"tz": ZONE, **({"before": "x"} if "before" in path else {})}).text
        assert [link for link in Read(text).links if "tz=Asia%2FTokyo" not in link] == [], path


def test_an_address_without_a_page_is_named_with_those_that_there_are(lived_in: Root) -> None:
    answer = asking(served(lived_in)).get("/job/heartbeat<b>")
    assert answer.status_code == 404
    assert "there is nothing at &#39;/job/heartbeat&lt;b&gt;&#39;" in answer.text
    assert "a job is at /jobs/ID" in answer.text
    told = asking(served(lived_in)).get("/api/nothing", headers={"accept": "application/json"}).json()
    assert told["detail"] == "there is nothing at '/api/nothing'"


def test_an_unknown_job_is_not_looked_for_in_the_files(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    lived_in.write("jobs/later.yaml", "id: later\nschedule: manual\ntask: Nothing.\n")
    monkeypatch.setattr("scheduler.root.desired.read_desired", lambda *_, **__: pytest.fail("reads all files"))
    client = asking(served(lived_in))
    for path in ("/jobs/later", "/api/jobs/later", "/explain?job=later", "/api/jobs/later/runs"):
        assert client.get(path).status_code == 404, path
    assert "did you mean &#39;flaky&#39;" in client.get("/jobs/flakey").text
