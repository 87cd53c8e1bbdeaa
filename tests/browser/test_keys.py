"""The keys, the jump box, the zone, and how little an open page asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.browser.site import Site, opened, served, was_reloaded
from tests.browser.watched import Watched, turn, violations
from tests.helpers import until

TELL = "hints => { const own = new BroadcastChannel('scheduler'); hints.forEach(each => own.postMessage(each)); }"
WIDE = "seq -f %0200.0f"
CHATTY = f"{WIDE} 300; until test -e $SCHEDULER_ROOT/go; do sleep 0.1; done; {WIDE} 301 600; exec sleep 600\n"


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(browser, tmp_path_factory.mktemp("site")) as found:
        found.root.write("scripts/chatty.sh", CHATTY)
        found.root.write(
            "jobs/chatty.yaml", "id: chatty\nschedule: manual\nrunner: sh\ntask_source_path: scripts/chatty.sh\n"
        )
        found.cli("sync")
        yield found


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.textContent.trim() || document.activeElement.name"))


def fetches(page: Page) -> list[Request]:
    """The requests of a script for the page itself, as they come."""
    found: list[Request] = []
    here = page.url.partition("?")[0]
    page.on("request", lambda each: found.append(each) if each.resource_type == "fetch" and each.url == here else None)
    return found


def seen(page: Page, found: Callable[[], bool], what: str) -> None:
    """Wait for what only events of the browser tell: they come in while it is asked something."""
    until(lambda: page.evaluate("true") and found(), what)


def settled(page: Page, found: list[Request]) -> int:
    """How many there are once no more come: a fetch under way may lead to one more."""
    before = -1
    while before != len(found):
        before = len(found)
        for _ in range(3):
            page.clock.run_for(1500)
            for each in found:
                if answer := each.response():
                    answer.finished()
            page.evaluate("fetch('/livez').then(() => true)")
    return before


def test_rows_are_walked_through_and_opened_by_keys(inside: Watched) -> None:
    page = opened(inside, "/jobs")
    first = page.locator("tbody a").first.text_content()
    page.keyboard.press("j")
    assert focused(page) == first
    page.keyboard.press("j")
    second = focused(page)
    assert second != first
    page.keyboard.press("k")
    assert focused(page) == first
    page.keyboard.press("k")
    assert focused(page) == first
    row = page.locator("tr:focus-within")
    plain = page.locator("tbody tr").last
    assert row.evaluate("row => getComputedStyle(row).backgroundColor") != plain.evaluate(
        "row => getComputedStyle(row).backgroundColor"
    )
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/jobs/{second}")


def test_keys_lead_to_pages_and_are_listed(inside: Watched, site: Site) -> None:
    page = opened(inside, "/")
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    expect(keys).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.wait_for_url("**/jobs")
    page.keyboard.press("g")
    page.keyboard.press("x")
    page.keyboard.press("s")
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_url("**/sync")


def test_no_key_acts_while_somebody_types(inside: Watched) -> None:
    page = opened(inside, "/jobs")
    page.keyboard.press("/")
    assert focused(page) == "q"
    page.keyboard.type("jk?g/n")
    assert page.locator("#jump input[name=q]").input_value() == "jk?g/n"
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("Escape")
    assert focused(page) != "q"
    page.keyboard.press("Control+j")
    assert page.locator("tbody :focus").count() == 0


def test_the_jump_box_suggests_and_leads_there(inside: Watched) -> None:
    page = opened(inside, "/")
    page.keyboard.press("/")
    with page.expect_response("**/jump.json*"):
        page.keyboard.type("spare")
    expect(page.locator("#jump-found option")).to_have_count(4)
    assert page.locator("#jump-found option").first.get_attribute("value") == "spare-0"
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs?q=spare")
    expect(page.locator("tbody tr")).to_have_count(4)
    page.keyboard.press("/")
    page.keyboard.type("hello:1")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/hello:1")
    page.keyboard.press("/")
    page.keyboard.type("hello")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/hello")


def test_typing_asks_once_for_what_was_typed_last(inside: Watched) -> None:
    page = opened(inside, "/")
    asked: list[str] = []
    page.on("request", lambda each: asked.append(each.url) if "/jump.json" in each.url else None)
    page.keyboard.press("/")
    with page.expect_response("**/jump.json?q=spar"):
        page.keyboard.type("spar")
    assert len(asked) <= 3


def test_a_storm_of_hints_fetches_once_a_second_and_a_foreign_hint_nothing(inside: Watched) -> None:
    inside.page.clock.install()
    silent = {"content_type": "text/event-stream", "body": "retry: 3600000\n\n"}  # what others do leads to no hint
    inside.page.route("**/api/events*", lambda route: route.fulfill(**silent))
    page = opened(inside, "/jobs/hello")
    found = fetches(page)
    began = page.evaluate("Date.now()")
    for _ in range(50):
        page.evaluate(TELL, ["job:hello"] * 20)
        page.clock.run_for(100)
    assert 1 <= len(found) <= (page.evaluate("Date.now()") - began) / 1000 + 2, "the clock goes on by itself, too"
    quiet = settled(page, found)
    page.evaluate("document.getElementById('main').dataset.hints = 'job:hello run:hello:'")
    page.evaluate(TELL, ["job:other", "run:other:1", "job:hello-2"])
    assert settled(page, found) == quiet
    page.evaluate(TELL, ["run:hello:7"])
    page.clock.run_for(3000)
    seen(page, lambda: len(found) == quiet + 1, "the page is asked for again")


def test_a_hidden_page_asks_for_nothing(inside: Watched) -> None:
    inside.page.clock.install()
    page = opened(inside, "/jobs")
    found = fetches(page)
    with page.expect_event("requestfailed"):
        turn(page, "hidden")
    page.evaluate(TELL, ["reload"])
    page.clock.run_for(60_000)
    assert (found, inside.streams) == ([], [])


def test_what_is_open_focused_and_typed_stays_through_a_change(inside: Watched, site: Site) -> None:
    page = opened(inside, "/jobs/hello")
    page.locator("#chart-table summary").click()
    link = page.locator("#runs a", has_text="hello:1").first
    link.focus()
    page.mouse.wheel(0, 300)
    top = page.evaluate("scrollY")
    site.cli("run", "hello", "--wait")
    expect(page.locator("#runs")).to_contain_text("hello:2")
    assert focused(page) == "hello:1"
    assert page.locator("#chart-table").evaluate("details => details.open")
    assert page.evaluate("scrollY") == top
    assert not was_reloaded(page)


def test_a_running_output_stays_at_its_end_unless_somebody_scrolls_up(inside: Watched, site: Site) -> None:
    site.cli("run", "chatty")
    page = opened(inside, "/runs/chatty:1")
    tail = page.locator("pre[data-tail]")
    expect(tail).to_contain_text("300")
    gap = "pre => pre.scrollHeight - pre.scrollTop - pre.clientHeight"
    assert tail.evaluate(gap) < 8
    site.root.write("go", "")
    expect(tail).to_contain_text("600")
    assert tail.evaluate(gap) < 8
    tail.evaluate("pre => pre.scrollTo(0, 40)")
    with page.expect_response("**/runs/chatty:1"):
        page.evaluate(TELL, ["reload"])
    assert tail.evaluate("pre => pre.scrollTop") == 40
    site.cli("cancel", "chatty:1")
    expect(page.locator("#run")).to_contain_text("cancelled")
    expect(tail).to_have_count(0)


def test_six_windows_share_one_stream_and_all_hear(browser: Browser, site: Site) -> None:
    context = browser.new_context(base_url=site.address, storage_state=site.login)
    windows = [Watched(context.new_page()) for _ in range(6)]
    for each in windows:
        each.page.goto("/jobs/weekly")
        each.page.evaluate("window.kept = true")
    seen(windows[0].page, lambda: sum(len(each.streams) for each in windows) == 1, "one of them listens")
    site.cli("pause", "weekly", "--reason", "for all to see")
    for each in windows:
        expect(each.page.locator("#job")).to_contain_text("for all to see")
    (leader,) = (each for each in windows if each.streams)
    rest = [each for each in windows if each is not leader]
    leader.page.close()
    seen(rest[0].page, lambda: sum(len(each.streams) for each in rest) == 1, "another one listens")
    site.cli("resume", "weekly")
    for each in rest:
        expect(each.page.locator("#job")).not_to_contain_text("for all to see")
        assert not was_reloaded(each.page)
        each.check()
    context.close()


def test_a_page_without_stream_polls_ever_more_seldom(inside: Watched) -> None:
    page = inside.page
    page.clock.install()
    page.route("**/api/events*", lambda route: route.fulfill(status=503, headers={"retry-after": "10"}))
    with page.expect_response("**/api/events*"):
        page.goto("/jobs")
    found = fetches(page)
    for _ in range(120):
        page.clock.run_for(1000)
    seen(page, lambda: len(found) >= 3, "it polls")
    assert len(found) <= 8
    assert all("503" in each for each in inside.wrong)
    inside.wrong.clear()


def test_the_zone_of_the_browser_is_one_click_away_and_stays(browser: Browser, site: Site) -> None:
    context = browser.new_context(base_url=site.address, storage_state=site.login, timezone_id="Asia/Tokyo")
    watched = Watched(context.new_page())
    page = watched.page
    page.goto("/explain?job=nightly")
    page.get_by_role("link", name="mine").click()
    page.wait_for_url("**/explain?job=nightly&tz=Asia%2FTokyo")
    expect(page.locator("main")).to_contain_text("Asia/Tokyo")
    expect(page.get_by_role("link", name="mine")).to_have_attribute("aria-current", "true")
    page.keyboard.press("g")
    page.keyboard.press("n")
    page.wait_for_url("**/?tz=Asia%2FTokyo")
    expect(page.locator("#ribbon")).to_be_visible()
    context.close()
    watched.check()


def test_zone_jump_and_buttons_work_without_a_script(browser: Browser, site: Site) -> None:
    context = browser.new_context(base_url=site.address, storage_state=site.login, java_script_enabled=False)
    watched = Watched(context.new_page())
    page = watched.page
    page.goto("/explain?job=nightly")
    page.get_by_label("mine").fill("America/New_York")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("main")).to_contain_text("America/New_York")
    page.get_by_label("Go to a job or run").fill("spare")
    page.get_by_role("button", name="Go").click()
    assert page.url.endswith("/jobs?q=spare&tz=America%2FNew_York")
    page.get_by_role("link", name="Sync").click()
    page.get_by_role("button", name="Sync now").click()
    assert page.url.endswith("/sync?tz=America%2FNew_York")
    context.close()
    watched.check()
