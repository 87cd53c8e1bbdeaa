"""What a person does with the pages of a real daemon, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from scheduler.web.show import PAGES
from tests.browser.site import SPARE, Site, log_in, logged_in, opened, served, was_reloaded
from tests.browser.watched import Watched, overflow, turn, violations
from tests.helpers import until

QUERY = {"/explain": "?job=hello", "/review": "/main...proposal"}  # what a page cannot do without
PATHS = [*(path + QUERY.get(path, "") for path in PAGES), "/jobs/hello?at=now", "/runs/hello:1"]
STILL = ("/explain", "/review")  # to be sent to somebody: they stay as they are


def test_a_link_logs_in_once_and_leads_to_now(watched: Watched, site: Site) -> None:
    link = site.cli("login").strip()
    watched.page.goto(link)
    assert violations(watched.page) == []
    log_in(watched.page, link)
    assert watched.page.url == f"{site.address}/"
    watched.check()
    assert watched.page.request.post(f"{site.address}/login", form={"t": link.partition("t=")[2]}).status == 401


def test_who_has_not_logged_in_is_told_how(looked_at: Watched, site: Site) -> None:
    looked_at.page.goto(f"{site.address}/jobs")
    expect(looked_at.page.locator("body")).to_contain_text("scheduler login")
    assert looked_at.wrong[0] == f"401: GET {site.address}/jobs"
    looked_at.page.goto(f"{site.address}/login?t=wrong")
    looked_at.page.get_by_role("button", name="Log in").click()
    expect(looked_at.page.locator("body")).to_contain_text("was used before")
    assert violations(looked_at.page) == []


def test_the_frame_leads_to_every_page_and_says_where_one_is(inside: Watched) -> None:
    page = inside.page
    page.goto("/")
    navigation = page.get_by_role("navigation", name="Pages")
    for name in navigation.get_by_role("link").all_text_contents():
        navigation.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        expect(navigation.locator("[aria-current=page]")).to_have_text(name)


def test_an_edit_on_disk_changes_the_open_page(inside: Watched, site: Site) -> None:
    page = opened(inside, "/jobs")
    row = page.locator("tr", has=page.get_by_role("link", name="nightly"))
    expect(row).to_contain_text("every 7 days")
    site.root.edit("jobs/nightly.yaml", "7d", "9d")
    expect(row).to_contain_text("every 9 days")
    assert not was_reloaded(page)


def test_an_edit_of_a_prompt_is_a_new_version_once_it_has_run(inside: Watched, site: Site) -> None:
    page = opened(inside, "/jobs/hello")
    versions = page.get_by_role("table").first.locator("tbody tr")
    expect(versions).to_have_count(1)
    site.root.edit("prompts/hello.md", "hello", "good morning")
    site.cli("run", "hello", "--wait")
    expect(versions).to_have_count(2)
    assert not was_reloaded(page)
    page.get_by_role("link", name="hello:2").click()
    expect(page.locator("pre").last).to_have_text("Say good morning.")


def test_a_pause_from_the_command_line_changes_the_open_page(inside: Watched, site: Site) -> None:
    page = opened(inside, "/jobs/weekly")
    state = page.get_by_role("region", name="How it does")
    site.cli("pause", "weekly", "--reason", "not this month")
    expect(state).to_contain_text("not this month")
    site.cli("resume", "weekly")
    expect(state).not_to_contain_text("not this month")
    assert not was_reloaded(page)


def test_a_job_that_fails_comes_up_under_needs_you_with_the_commit_that_broke_it(inside: Watched, site: Site) -> None:
    page = opened(inside, "/")
    site.root.write("scripts/report.sh", "echo lost >&2; exit 4\n")
    site.root.git("commit", "-qm", "Count more", "--author=Ben <ben@example.com>", "scripts/report.sh")
    site.cli("run", "report", "--wait", code=1)
    needs = page.get_by_role("region", name="Needs you")
    failing = needs.get_by_role("listitem").filter(has_text="failing")
    expect(failing).to_have_count(1)
    expect(failing).to_contain_text(re.compile("report .*Ben changed its text: .*Count more", re.DOTALL))
    expect(failing).to_contain_text(site.root.git("rev-parse", "HEAD")[:7])
    assert not was_reloaded(page)
    site.root.write("scripts/report.sh", "echo fine\n")
    site.cli("run", "report", "--wait")
    expect(page.locator("#needs")).not_to_contain_text("failing")


@pytest.mark.parametrize("path", PATHS)
def test_a_page_has_no_fault_in_light_in_dark_and_on_a_phone(inside: Watched, path: str) -> None:
    page = inside.page
    page.goto(path)
    assert violations(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert overflow(page) == 0


def test_a_page_has_one_stream_and_closes_it_when_it_is_left_or_hidden(inside: Watched) -> None:
    for path in PATHS:
        if path.startswith(STILL):
            continue
        page = opened(inside, path)
        assert [each.frame.url for each in inside.streams] == [page.url]
        with page.expect_event("requestfailed"):
            turn(page, "hidden")
        assert inside.streams == []
        with page.expect_response("**/api/events*"):
            turn(page, "visible")
        assert len(inside.streams) == 1


def test_a_page_that_is_sent_to_somebody_opens_no_stream(inside: Watched) -> None:
    for path in STILL:
        inside.page.goto(path + QUERY[path])
        assert inside.page.evaluate("import(document.scripts[0].src).then(() => true)")  # it has run
        assert inside.streams == []


def test_every_page_can_be_read_without_a_script(browser: Browser, site: Site) -> None:
    context = browser.new_context(base_url=site.address, storage_state=site.login, java_script_enabled=False)
    watched = Watched(context.new_page())
    for path in PATHS:
        watched.page.goto(path)
        assert watched.page.locator("h1").count() == 1
        assert watched.streams == []
    watched.page.goto("/jobs")
    watched.page.get_by_label("status").fill("archived")
    watched.page.get_by_role("button", name="Filter").click()
    expect(watched.page.locator("tbody")).to_contain_text("No job matches status “archived”")
    assert "status=archived" in watched.page.url
    context.close()
    watched.check()


def test_every_page_has_its_json_at_the_same_address(inside: Watched) -> None:
    for path in PATHS:
        answer = inside.page.request.get(path, headers={"accept": "application/json"})
        assert answer.status == 200, path
        assert answer.json(), path


def test_health_is_told_to_everybody_and_metrics_to_who_has_logged_in(
    watched: Watched, inside: Watched, site: Site
) -> None:
    outside = watched.page.request
    assert outside.get(f"{site.address}/livez").json() == {"status": "ok"}
    until(lambda: outside.get(f"{site.address}/readyz").ok, "the daemon is ready")
    assert outside.get(f"{site.address}/metrics").status == 401
    assert 'scheduler_consecutive_errors{job="hello"} 0' in inside.page.request.get("/metrics").text()


def test_how_long_ago_something_was_goes_on_while_nothing_happens(inside: Watched) -> None:
    inside.page.clock.install()
    page = opened(inside, "/jobs")
    synced = page.locator("#standing time")
    expect(synced).to_have_text(re.compile(r"\d+s ago"))
    page.clock.fast_forward(120_000)
    expect(synced).to_have_text(re.compile(r"[23]m ago"))


def test_a_run_is_followed_from_its_start_to_its_end(inside: Watched, site: Site) -> None:
    page = opened(inside, "/")
    site.cli("run", "slow")
    page.get_by_role("region", name="Running").get_by_role("link", name="slow").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("slow run 1")
    run = page.get_by_role("region", name="How it went")
    expect(run).to_contain_text("running")
    expect(run.locator("pre")).to_have_text("begun")
    site.cli("cancel", "slow:1")
    expect(run).to_contain_text("cancelled")


def test_every_link_leads_somewhere(inside: Watched) -> None:
    found = set[str]()
    for path in PATHS:
        inside.page.goto(path)
        found |= {*inside.page.locator("a[href]:not(svg a)").evaluate_all("all => all.map(each => each.href)")}
    assert len(found) > len(PATHS)
    assert [link for link in sorted(found) if not inside.page.request.get(link).ok] == []


def test_a_guard_is_confirmed_by_its_count(inside: Watched, site: Site) -> None:
    page = opened(inside, "/sync")
    site.root.delete(*(f"jobs/{each}.yaml" for each in SPARE))
    button = page.get_by_role("button", name="Archive 4 jobs")
    expect(button).to_be_visible()
    button.click()
    expect(page.get_by_role("heading", name="Held by the guard")).to_have_count(0)
    assert page.url == f"{site.address}/sync"
    assert all(each in site.cli("list", "--status", "archived") for each in SPARE)


def test_a_page_whose_session_has_ended_says_how_to_log_in(inside: Watched, site: Site) -> None:
    page = opened(inside, "/jobs/weekly")
    page.context.clear_cookies()
    site.cli("pause", "weekly")
    expect(page.locator("body")).to_contain_text("scheduler login")
    site.cli("resume", "weekly")
    assert all("401" in each for each in inside.wrong)
    inside.wrong.clear()


def test_a_page_says_that_the_server_is_away(browser: Browser, tmp_path: Path) -> None:
    with served(browser, tmp_path) as site, logged_in(browser, site) as inside:
        page = opened(inside, "/")
        away = page.get_by_role("status")
        expect(away).to_have_count(0)
        site.daemon.kill()
        expect(away).to_have_text("! The server does not answer. This page may be old.")
        assert not was_reloaded(page)
