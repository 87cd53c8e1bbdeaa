"""The browser tests notice what goes wrong on a page."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.browser.watched import Watched, overflow, turn, violations

PAGES = {
    "/good": "<h1>All is well</h1><p>Nothing to do.</p>",
    "/throws": "<h1>Bad</h1><script>throw new Error('oh')</script>",
    "/logs": "<h1>Bad</h1><script>console.error('oh')</script>",
    "/lost": "<h1>Bad</h1><img src='/none.png' alt='none'>",
    "/unlabelled": "<h1>Bad</h1><input name='q'>",
    "/pale": "<h1>Bad</h1><style>@media (prefers-color-scheme: dark) { p { color: #eee } }</style><p>Pale in dark</p>",
    "/wide": "<h1>Wide</h1><div id='wide'>x</div><script>wide.style.width = '900px'</script>",
    "/live": """<h1>Live</h1><script>
        let stream;
        const look = () => {
            if (document.hidden) stream.close(); else stream = new EventSource('/events');
        };
        document.addEventListener('visibilitychange', look);
        look();
    </script>""",
}
HEAD = "<!doctype html><html lang='en'><head><title>Page</title><link rel='icon' href='data:,'></head><body><main>"


class Server(ThreadingHTTPServer):
    stopping: threading.Event


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/events":
            return self.stream()
        self.send_response(200 if self.path in PAGES else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write((HEAD + PAGES.get(self.path, "")).encode())

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            while not self.server.stopping.wait(0.05):
                self.wfile.write(b": still here\n\n")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.stopping = threading.Event()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.stopping.set()
        server.shutdown()
        thread.join()


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
    assert [each.split(":")[0] for each in violations(looked_at.page)] == ["light label"]
    looked_at.page.goto(f"{address}/pale")
    assert [each.split(":")[0] for each in violations(looked_at.page)] == ["dark color-contrast"]


def test_a_page_that_is_wider_than_a_phone_is_noticed(looked_at: Watched, address: str) -> None:
    looked_at.page.set_viewport_size({"width": 390, "height": 800})
    looked_at.page.goto(f"{address}/wide")
    assert overflow(looked_at.page) > 0


def test_an_open_stream_is_counted_until_the_page_is_hidden(watched: Watched, address: str) -> None:
    page = watched.page
    with page.expect_request("**/events"):
        page.goto(f"{address}/live")
    assert [each.url for each in watched.streams] == [f"{address}/events"]
    with page.expect_event("requestfailed"):
        turn(page, "hidden")
    assert watched.streams == []
    with page.expect_request("**/events"):
        turn(page, "visible")
    assert len(watched.streams) == 1
