"""The page of a job and of a text, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.site import Site, opened, served, was_reloaded
from tests.browser.watched import Watched, overflow, violations


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With a text of Ann that succeeded, and one of Ben that fails."""
    with served(browser, tmp_path_factory.mktemp("site")) as found:
        found.root.write("scripts/report.sh", "echo lost >&2; exit 4\n")
        found.root.git("commit", "-qm", "Count more", "--author=Ben <ben@example.com>", "scripts/report.sh")
        found.cli("sync")
        found.cli("run", "report", "--wait", code=1)
        yield found


def click_chart(page: Page, share: float) -> None:
    """At a share of the width of the chart's plot, in the middle of its height."""
    box = page.locator("svg.lanes").bounding_box()
    assert box is not None
    left = box["width"] * 84 / 1200
    page.mouse.click(box["x"] + left + (box["width"] - left) * share, box["y"] + box["height"] * 0.4)


def test_a_click_in_the_chart_is_answered_under_it(inside: Watched) -> None:
    page = inside.page
    page.goto("/jobs/report")
    expect(page.locator("#answer")).to_have_text("")
    click_chart(page, 0.3)
    page.wait_for_url(re.compile(r"\?at=[^&]+Z#answer$"))
    expect(page.locator("#answer")).to_contain_text("it did not fire")
    expect(page.locator("svg.lanes .at")).to_have_count(1)
    click_chart(page, 0.6)
    expect(page.locator("#answer h2")).to_have_count(1)
    assert page.url.count("at=") == 1


def test_a_click_needs_no_script(browser: Browser, site: Site) -> None:
    context = browser.new_context(
        base_url=site.address,
        storage_state=site.login,
        java_script_enabled=False,
        viewport={"width": 1280, "height": 800},
    )
    page = context.new_page()
    page.goto("/jobs/report?window=1h")
    click_chart(page, 0.2)
    expect(page.locator("#answer h2")).to_have_count(1)
    assert "window=1h" in page.url
    context.close()


def test_the_chart_asks_no_keyboard_user_to_pass_its_columns(inside: Watched) -> None:
    page = inside.page
    page.goto("/jobs/report")
    page.get_by_role("group", name="Chart").focus()
    page.keyboard.press("Tab")
    expect(page.locator("#chart-table summary")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#chart-table table")).to_contain_text("failed: its program exited with an error")
    page.get_by_label("Why did it run, or not, at").fill("now")
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_contain_text("by hand")


def test_the_sentence_and_the_versions_name_the_commit_that_broke_it(inside: Watched, site: Site) -> None:
    page = inside.page
    page.goto("/jobs/report")
    expect(page.get_by_role("region", name="How it does")).to_contain_text(
        re.compile(r"Failing since today .*: 1 of 1 run with text \w{7} by Ben failed; .* 1 of 1 succeeded")
    )
    page.locator("#versions").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("report text")
    expect(page.locator("del")).to_contain_text(["fine"])
    expect(page.locator("body")).to_contain_text("Ben: Count more")
    expect(page.locator("#runs")).to_contain_text("report:2")


@pytest.mark.parametrize("path", ["/jobs/report?at=-1m", "/jobs/weekly", "/jobs/nightly?window=400d"])
def test_a_job_has_no_fault_in_light_in_dark_and_on_a_phone(inside: Watched, path: str) -> None:
    page = inside.page
    page.goto(path)
    page.locator("#chart-table summary").click()
    assert violations(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert overflow(page) == 0
    assert page.locator(".scroll").evaluate("each => each.scrollWidth - each.clientWidth") > 0  # its own
    assert page.locator(".scroll").evaluate("each => each.scrollLeft") == 0  # the newest is in sight


def test_a_version_has_no_fault_in_light_in_dark_and_on_a_phone(inside: Watched) -> None:
    page = inside.page
    page.goto("/jobs/report")
    page.locator("#versions").get_by_role("link").first.click()
    page.wait_for_url("**/versions/*")
    assert violations(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert overflow(page) == 0


def test_a_run_is_drawn_on_the_open_page_and_an_open_table_stays_open(inside: Watched, site: Site) -> None:
    page = opened(inside, "/jobs/hello")
    page.locator("#chart-table summary").click()
    page.get_by_role("heading", level=1).click()
    rows = page.locator("#chart-table tbody tr")
    expect(rows).to_have_count(1)
    site.cli("run", "hello", "--wait")
    expect(rows).to_have_count(2)
    expect(page.locator("#chart-table")).to_have_attribute("open", "")
    assert not was_reloaded(page)
