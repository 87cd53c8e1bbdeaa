"""The browser tests notice what goes wrong on a page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser

from tests.browser.watched import Watched, overflow, violations

PAGES = {
    "/good": "<h1>All is well</h1><p>Nothing to do.</p>",
    "/throws": "<h1>Bad</h1><script>throw new Error('oh')</script>",
    "/logs": "<h1>Bad</h1><script>console.error('oh')</script>",
    "/lost": "<h1>Bad</h1><img src='/none.png' alt='none'>",
    "/unlabelled": "<h1>Bad</h1><input name='q'>",
    "/pale": "<h1>Bad</h1><style>@media (prefers-color-scheme: dark) { p { color: #eee } }</style><p>Pale in dark</p>",
    "/wide": "<h1>Wide</h1><div id='wide'>x</div><script>wide.style.width = '900px'</script>",
    "/stream": "<h1>Live</h1><script>new EventSource('/events')</script>",
}
HEAD = "<!doctype html><html lang='en'><head><title>Page</title><link rel='icon' href='data:,'></head><body><main>"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        stream = self.path == "/events"
        body = b"data: hint\n\n" if stream else (HEAD + PAGES.get(self.path, "")).encode()
        self.send_response(200 if stream or self.path in PAGES else 404)
        self.send_header("Content-Type", "text/event-stream" if stream else "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def looked_at(browser: Browser) -> Iterator[Watched]:
    """A page that may go wrong."""
    context = browser.new_context()
    yield Watched(context.new_page())
    context.close()


def test_a_page_without_fault_passes_in_light_and_in_dark(watched: Watched, address: str) -> None:
    watched.page.goto(f"{address}/good")
    assert violations(watched.page) == []
    assert overflow(watched.page) == 0


@pytest.mark.parametrize(
    ("page", "told"), [("/throws", "exception: oh"), ("/logs", "console: oh"), ("/lost", "404: GET")]
)
def test_an_exception_a_console_error_and_a_missing_file_are_noticed(
    looked_at: Watched, address: str, page: str, told: str
) -> None:
    looked_at.page.goto(address + page)
    assert any(told in each for each in looked_at.wrong), looked_at.wrong
    with pytest.raises(AssertionError):
        looked_at.check()


def test_axe_notices_a_field_without_a_label_and_text_that_is_pale_in_one_scheme(
    looked_at: Watched, address: str
) -> None:
    looked_at.page.goto(f"{address}/unlabelled")
    assert [each.split(":")[0] for each in violations(looked_at.page)] == ["light label", "dark label"]
    looked_at.page.goto(f"{address}/pale")
    assert [each.split(":")[0] for each in violations(looked_at.page)] == ["dark color-contrast"]


def test_a_page_that_is_wider_than_a_phone_is_noticed(looked_at: Watched, address: str) -> None:
    looked_at.page.set_viewport_size({"width": 390, "height": 800})
    looked_at.page.goto(f"{address}/wide")
    assert overflow(looked_at.page) > 0


def test_the_streams_of_a_page_are_counted(looked_at: Watched, address: str) -> None:
    with looked_at.page.expect_request("**/events"):
        looked_at.page.goto(f"{address}/stream")
    assert looked_at.streams[:1] == [f"{address}/events"]
