"""Faults against a real web process: what is broken, hostile or gone costs an answer in words, and no fire."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.due.events import ping_channel
from scheduler.core.due.sending import Breaker
from scheduler.ledger import outbox, reach
from scheduler.ledger.store import Store
from scheduler.root.place import locate
from tests.faces import served
from tests.faces.conftest import Root
from tests.faces.served import Served
from tests.helpers import ROOT_FILE, Daemon, settle_environment, until
from tests.web.test_api_live import WEB, port_of

root, serve = served.root, served.serve  # the fixtures
RUNNERS = """\
  fail: {command: [sh, -c, "exit 3"]}
  sleep: {command: [sleep, "60"]}
"""
OTHERS = """\
id: fails
schedule: manual
task: x
runner: fail
ping: http://127.0.0.1:9/ping
---
id: quiet
schedule: manual
task_source_path: prompts/quiet.md
---
id: slow
schedule: manual
task: x
runner: sleep
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    took_s: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(eq=False, slots=True, kw_only=True)
class Web:
    """The web of a root, and how to ask it."""

    root: Root
    port: int
    token: str
    process: Daemon
    more: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, *, page: bool = False, **headers: str) -> Answer:
        began, connection = time.monotonic(), http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Authorization": f"Bearer {self.token}", "Accept": "text/html" if page else "application/json"}
        if isinstance(body, dict) and not page:
            body, sent["Content-Type"] = json.dumps(body), "application/json"
        elif page and body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        with contextlib.closing(connection):
            connection.request(method, path, body, sent | {name.replace("_", "-"): v for name, v in headers.items()})
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(status=answer.status, headers=told, body=answer.read(), took_s=time.monotonic() - began)

    def raw(self, data: bytes) -> bytes:
        """The beginning of what it answers to these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(data)
            found = b""
            with contextlib.suppress(ConnectionResetError):
                while b"\r\n\r\n" not in found and (part := connection.recv(65_536)):
                    found += part
            return found


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A daemon that fires every second, and its web: one for all tests here."""
    folder = tmp_path_factory.mktemp("faults")
    root = Root(path=folder / "root", clock=None)  # type: ignore[arg-type]
    files = {"scheduler.yaml": ROOT_FILE + RUNNERS, "jobs/tick.yaml": served.TICK, "jobs/others.yaml": OTHERS}
    files |= {"prompts/tick.md": "first\n", "prompts/quiet.md": "one\n", ".gitignore": ".scheduler/\n"}
    for path, text in files.items():
        root.write(path, text)
    with pytest.MonkeyPatch.context() as patch:
        settle_environment(patch, folder / "home")
        root.git("init", "-q", "--template=")
        root.commit()
        daemon = Served(root, "--listen", "127.0.0.1:0", **WEB)  # type: ignore[arg-type]
        port = port_of(daemon.says("web_serving"))
        token = root.process("token", "create", "ada", "--role", "admin").stdout.strip()
    yield Web(root=root, port=port, token=token, process=daemon)
    daemon.stop()
    assert "Traceback" not in daemon.stderr, daemon.stderr


@pytest.fixture(autouse=True)
def there(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "web" in request.fixturenames:
        monkeypatch.chdir(request.getfixturevalue("web").root.path)


@contextlib.contextmanager
def locked(root: Root) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(root.db, isolation_level=None, timeout=30)) as sql:
        sql.execute("BEGIN IMMEDIATE")
        yield
        sql.execute("ROLLBACK")


def lateness_s(root: Root) -> float:
    """Of the latest start."""
    runs = root.json("history", "tick", "-n", "30")["runs"]
    pairs = [(run["fire_time"], run["started_at"]) for run in runs if run["fire_time"] and run["started_at"]]
    return max((datetime.fromisoformat(b) - datetime.fromisoformat(a)).total_seconds() for a, b in pairs)


@pytest.mark.long
def test_while_the_database_is_locked_pages_answer_and_changes_say_when_to_try_again(web: Web) -> None:
    with locked(web.root), ThreadPoolExecutor(20) as pool:
        changes = [pool.submit(web.ask, "POST", "/api/jobs/quiet/pause") for _ in range(12)]
        time.sleep(0.5)
        paths = ("/", "/jobs", "/jobs/tick", "/sync", "/spend", "/activity", "/api/jobs", "/metrics", "/readyz")
        looks = [web.ask("GET", path, page=not path.startswith("/api")) for path in paths]
        assert [each.status for each in looks] == [200] * len(paths)
        assert max(each.took_s for each in looks) < 5
        answers = [each.result() for each in changes]
    assert {each.status for each in answers} == {503}
    assert all(int(each.headers["retry-after"]) > 0 and each.json["detail"] for each in answers)
    assert max(each.took_s for each in answers) < 20
    assert web.ask("POST", "/api/jobs/quiet/pause").status == 200
    assert web.root.job("quiet")["paused"] is not None
    until(lambda: web.root.runs("tick")[0]["status"] == "succeeded" or None, "it fires again")


def test_more_changes_at_once_than_there_is_room_for_are_told_to_come_back(web: Web) -> None:
    with ThreadPoolExecutor(20) as pool:
        with locked(web.root):
            changes = [pool.submit(web.ask, "POST", "/api/jobs/quiet/pause") for _ in range(12)]
            refused = until(lambda: [each for each in changes if each.done()], "some are refused at once")
            assert {each.result().status for each in refused} == {503}
            assert "changes are being made" in refused[0].result().json["detail"]
            assert web.ask("GET", "/jobs", page=True).took_s < 5
        assert 200 in {each.result().status for each in changes}, "those that waited got their turn"


def test_readiness_is_about_the_daemon_and_never_about_a_job_or_a_channel(web: Web) -> None:
    assert web.root.process("run", "fails", "--wait").code == 1
    with Store.open(web.root.db) as store, store.writing() as sql:
        ((_, channel),) = reach._in_force(sql, {ping_channel("fails")})
        ago = datetime(2026, 1, 1, tzinfo=UTC)
        dead = Breaker(name=channel.name, digest=channel.digest, failures=9, open_since=ago, last_error="HTTP 500")
        outbox.keep_breaker(sql, dead)
    status = web.ask("GET", "/api/status").json
    assert [each["job_id"] for each in status["channels"]["dead"]] == ["fails"]
    assert [each["id"] for each in status["failing"]] == ["fails"]
    assert web.ask("GET", "/readyz").json == {"status": "ok"}


def test_a_daemon_that_is_gone_is_named_on_the_page_and_by_readiness(root: Root, serve: Callable[..., Served]) -> None:
    daemon = serve()
    until(lambda: root.runs("tick") or None, "a run")
    command = [*daemon.process.args[:3], "web", "--listen", "127.0.0.1:0"]  # type: ignore[index]
    process = Served(root, command=command)
    token = root.process("token", "create", "ada", "--role", "admin").stdout.strip()
    web = Web(root=root, port=port_of(process.says("web_serving")), token=token, process=process)
    try:
        page = web.ask("GET", "/", page=True)
        assert "daemon serving" in page.text
        with socket.create_connection(("127.0.0.1", web.port), timeout=60) as stream:
            stream.sendall(
                f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            )
            assert b" 200 " in stream.recv(65_536)
            daemon.kill()
            page = until(
                lambda: found if "daemon gone" in (found := web.ask("GET", "/", page=True)).text else None, "it says so"
            )
        assert page.status == 200
        ready = web.ask("GET", "/readyz")
        assert (ready.status, ready.json["reason"]) == (503, "no daemon answers")
        refused = web.ask("POST", "/jobs/tick/run", "key=0123456789", page=True)
        assert (refused.status, refused.headers["retry-after"]) == (503, "10")
        assert "daemon" in refused.text
        assert web.ask("POST", "/api/jobs/tick/pause").status == 200, "the database is there"
    finally:
        process.stop()
    assert "Traceback" not in process.stderr, process.stderr


def test_bytes_that_are_no_utf_8_are_answered_wherever_they_come(web: Web) -> None:
    end = f"Host: 127.0.0.1\r\nAuthorization: Bearer {web.token}\r\nConnection: close\r\n".encode()
    bad = b"\xff\xfe\xc3\x28"
    asked = {
        b"GET /jobs/%FF%FE HTTP/1.1\r\n": b"",
        b"GET /jobs/\xc3\x28 HTTP/1.1\r\n": b"",
        b"GET /jobs?q=%FF%C3%28&tag=%00 HTTP/1.1\r\n": b"",
        b"GET /jobs/a%00b HTTP/1.1\r\n": b"",
        b"GET /jump?q=%ED%A0%80 HTTP/1.1\r\n": b"",
        b"GET /activity?job=%FF&actor=%00 HTTP/1.1\r\n": b"",
        b"GET /explain?job=tick&at=%FF HTTP/1.1\r\n": b"",
        b"GET /review/%FF...%00 HTTP/1.1\r\n": b"",
        b"GET /api/jobs/tick/runs?cursor=%FF HTTP/1.1\r\n": b"",
        b"GET /api/events HTTP/1.1\r\nLast-Event-ID: " + bad * 100 + b"\r\n": b"",
        b"GET / HTTP/1.1\r\nAccept: " + bad + b"\r\nCookie: a=" + bad + b"\r\n": b"",
        b"GET / HTTP/1.1\r\nAccept-Language: " + bad + b"\r\n": b"",
        b"POST /api/jobs/quiet/pause HTTP/1.1\r\nContent-Type: application/json\r\n": b'{"reason": "' + bad + b'"}',
        b"POST /jobs/quiet/pause HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n": b"reason=%FF" + bad,
        b"POST /api/jobs/quiet/run HTTP/1.1\r\nIdempotency-Key: " + bad + b"\r\n": b"",
        b"POST /mcp HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json\r\n": bad,
    }
    for head, body in asked.items():
        length = f"Content-Length: {len(body)}\r\n\r\n".encode()
        answer = web.raw(head + end + length + body)
        assert re.match(rb"HTTP/1\.1 [234]\d\d ", answer), (head, answer[:200])
        assert b"\x00" not in answer
    assert web.ask("GET", "/livez").status == 200


def test_a_long_address_is_answered_and_a_longer_one_is_refused(web: Web) -> None:
    for length in (1_000, 20_000):
        for path in ("/jobs/" + "a" * length, "/jobs?q=" + "a" * length, "/jump?q=" + "b" * length):
            assert web.ask("GET", path, page=True).status < 500
    assert b"HTTP/1.1 4" in web.raw(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")


def test_head_is_get_without_a_body_and_options_names_the_methods(web: Web) -> None:
    for path in ("/livez", "/readyz", "/", "/jobs/tick", "/api/jobs", "/metrics", "/nothing"):
        head, get = web.ask("HEAD", path, page=True), web.ask("GET", path, page=True)
        assert (head.status, head.body, head.headers["content-type"]) == (get.status, b"", get.headers["content-type"])
    assert web.ask("HEAD", "/api/events").status == 405
    asked = web.ask("OPTIONS", "/api/jobs/tick")
    assert (asked.status, asked.headers["allow"]) == (405, "DELETE, GET, HEAD, PATCH")
    preflight = web.ask(
        "OPTIONS", "/api/jobs/tick/run", Origin="https://evil.example", Access_Control_Request_Method="POST"
    )
    assert not [name for name in preflight.headers if name.startswith("access-control")]


def at_once(count: int, do: Callable[[int], Answer]) -> list[Answer]:
    """The answers to requests that are sent at the same moment."""
    ready = threading.Barrier(count)

    def one(number: int) -> Answer:
        ready.wait(60)
        return do(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_two_tabs_that_act_at_once_start_one_run_and_neither_is_lost(web: Web) -> None:
    same = at_once(4, lambda _: web.ask("POST", "/jobs/slow/run", "key=the-same-page", page=True))
    started = {each.headers["location"] for each in same if each.status == 303}
    assert started == {"/runs/slow:1"}
    assert {each.status for each in same} <= {303, 409}
    other = at_once(2, lambda n: web.ask("POST", "/jobs/slow/run", f"key=another-page-{n}", page=True))
    assert {each.status for each in other} == {409}, "one runs already"
    cancelled = at_once(2, lambda _: web.ask("POST", "/runs/slow:1/cancel", page=True))
    assert {each.status for each in cancelled} <= {303, 409}
    assert 303 in {each.status for each in cancelled}
    until(lambda: web.root.runs("slow")[0]["status"] == "cancelled" or None, "it has ended")
    mixed = at_once(4, lambda n: web.ask("POST", f"/jobs/quiet/{('pause', 'resume')[n % 2]}", page=True))
    assert {each.status for each in mixed} <= {303, 409}


def test_of_edits_of_the_same_version_one_is_written(web: Web) -> None:
    etag = web.ask("GET", "/api/jobs/quiet").headers["etag"]
    answers = at_once(4, lambda n: web.ask("PATCH", "/api/jobs/quiet", {"set": {"name": f"Name {n}"}}, If_Match=etag))
    assert sorted(each.status for each in answers)[0] == 200
    assert {each.status for each in answers[1:]} <= {200, 409, 412, 503}
    assert sum(each.status == 200 for each in answers) == 1
    stale = web.ask("PATCH", "/api/jobs/quiet", {"set": {"name": "Stale"}}, If_Match=etag)
    assert stale.status == 412
    written = Path(web.root.path, "jobs/others.yaml").read_text()
    assert written.count("name: Name ") == 1


def test_a_hundred_megabytes_of_hostile_output_cost_a_page_nothing(web: Web) -> None:
    run = web.root.process("run", "quiet", "--wait", "--json").json["run"]["id"]
    place = locate(str(web.root.path), None, None, environ={}, cwd=web.root.path)
    path = place.output("quiet", int(run.rpartition(":")[2]), 1, "stdout")
    hostile = b"\x1b[31m<script>alert(1)</script>\xe2\x80\xae\xff\xfe\x00\x1b]0;title\x07\r\n" * 20_000
    with path.open("wb") as file:
        for _ in range(100_000_000 // len(hostile) + 1):
            file.write(hostile)
    page = web.ask("GET", f"/runs/{run}", page=True)
    assert (page.status, len(page.body) < 4_000_000) == (200, True)
    assert b"\x1b" not in page.body
    assert b"<script>alert" not in page.body
    assert "\u202e" not in page.text
    part = web.ask("GET", f"/api/runs/{run}/output")
    assert part.json["bytes"] == path.stat().st_size
    assert len(part.json["text"]) <= 1024 * 1024
    middle = web.ask("GET", f"/api/runs/{run}/output?start={path.stat().st_size // 2}&most=100", page=True)
    assert middle.headers["content-type"] == "text/plain; charset=utf-8"
    assert len(middle.text) <= 100
    assert web.ask("GET", f"/api/runs/{run}/output?most=2000000").status == 422
