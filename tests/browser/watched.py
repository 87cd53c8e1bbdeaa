"""A page that fails the test if a script, a request or the policy of the page goes wrong."""

from __future__ import annotations

from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page, Request, Response

_RULES: dict[str, dict[str, Any]] = {"light": {}, "dark": {"runOnly": ["cat.color"]}}  # the rest is the same in dark


class Watched:
    """What has gone wrong on a page since it was opened: console errors, exceptions, failed requests."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.wrong: list[str] = []
        self.streams: list[Request] = []  # the EventSource connections that are open
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(f"exception: {error}"))
        page.on("requestfailed", self._failed)
        page.on("requestfinished", self._closed)
        page.on("response", self._answered)
        page.on("request", self._asked)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.wrong.append(f"console: {message.text}")

    def _closed(self, request: Request) -> None:
        if request in self.streams:
            self.streams.remove(request)

    def _failed(self, request: Request) -> None:
        self._closed(request)
        # A page that is left or hidden aborts its stream and its fetches: no fault.
        if "ERR_ABORTED" not in (request.failure or ""):
            self.wrong.append(f"failed: {request.method} {request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.wrong.append(f"{response.status}: {response.request.method} {response.url}")

    def _asked(self, request: Request) -> None:
        if request.resource_type == "eventsource":
            self.streams.append(request)

    def check(self) -> None:
        """Raises: AssertionError if anything has gone wrong so far."""
        assert not self.wrong, "\n".join(self.wrong)


def turn(page: Page, state: Literal["hidden", "visible"]) -> None:
    """Let the page believe that its tab was left or entered: headless tabs are always visible."""
    page.evaluate(
        """state => {
            Object.defineProperty(document, 'visibilityState', {value: state, configurable: true});
            Object.defineProperty(document, 'hidden', {value: state === 'hidden', configurable: true});
            document.dispatchEvent(new Event('visibilitychange'));
        }""",
        state,
    )


def violations(page: Page) -> list[str]:
    """What axe finds on this page in light and in dark: `SCHEME RULE: the elements`."""
    found = []
    for scheme, rules in _RULES.items():
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        results: dict[str, Any] = Axe().run(page, options={"resultTypes": ["violations"], **rules}).response
        for each in results["violations"]:
            places = ", ".join(str(node["target"]) for node in each["nodes"][:5])
            found.append(f"{scheme} {each['id']}: {places}")
    return found


def overflow(page: Page) -> int:
    """How many CSS pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
