"""The buttons, pressed in a real browser beside a real daemon."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.site import Site, opened
from tests.browser.watched import Watched, violations


def test_a_run_is_started_followed_and_cancelled(inside: Watched, site: Site) -> None:
    page = inside.page
    page.goto("/jobs/slow")
    assert violations(page) == []
    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("slow run 1")
    expect(page.locator("pre.tail")).to_have_text("begun")
    page.get_by_role("button", name="Cancel this run").click()
    expect(page.get_by_role("region", name="How it went")).to_contain_text("cancelled")
    expect(page.get_by_role("button", name="Cancel this run")).to_have_count(0)
    assert page.url == f"{site.address}/runs/slow:1"


def test_a_second_press_starts_no_second_run(inside: Watched, site: Site) -> None:
    page = inside.page
    page.goto("/jobs/report")
    key = page.locator('input[name="key"]').input_value()
    for _ in range(2):
        answer = page.request.post(
            f"{site.address}/jobs/report/run", form={"key": key}, headers={"origin": site.address}
        )
        assert answer.url.endswith("/runs/report:2")


def test_a_job_is_paused_and_resumed_by_its_buttons(inside: Watched, site: Site) -> None:
    page = inside.page
    page.goto("/jobs/nightly")
    page.get_by_label("because").fill("not this week")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("region", name="How it does")).to_contain_text("Paused")
    assert "not this week" in site.cli("show", "nightly")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_a_text_is_rolled_back_after_the_difference_was_shown(inside: Watched, site: Site) -> None:
    site.root.edit("prompts/hello.md", "hello", "good morning")
    site.root.commit()
    page = opened(inside, "/jobs/hello")
    versions = page.get_by_role("table").filter(has_text="against the one before")
    versions.locator('a[href*="/versions/"]').last.click()
    page.get_by_role("link", name="Roll back to this text").click()
    expect(page.locator("del")).to_have_text(["good morning"])
    expect(page.locator("ins")).to_have_text(["hello"])
    assert violations(page) == []
    page.get_by_role("button", name="Roll back with a commit").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("hello")
    assert (site.root.path / "prompts/hello.md").read_text() == "Say hello.\n"
    assert "Roll hello back" in site.root.git("log", "-1", "--format=%s")
