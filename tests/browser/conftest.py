"""One browser for each module, and a fresh context for each test.

Not one for each worker: while it is there, an event loop runs in the thread of all other tests.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.chromium import HOW_TO_GET_IT, find_chromium, options
from tests.browser.site import Site, logged_in, served
from tests.browser.watched import Watched


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        pytest.skip(f"no chromium: {HOW_TO_GET_IT}")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=options())
        yield found
        found.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A page of its own context, 1280 by 800. What goes wrong on it fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    found = Watched(context.new_page())
    yield found
    context.close()
    found.check()


@pytest.fixture
def looked_at(browser: Browser) -> Iterator[Watched]:
    """A page that may go wrong."""
    context = browser.new_context()
    yield Watched(context.new_page())
    context.close()


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(browser, tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest.fixture
def inside(browser: Browser, site: Site) -> Iterator[Watched]:
    """A page of somebody who has logged in. What goes wrong on it fails the test."""
    with logged_in(browser, site) as found:
        yield found
    found.check()
