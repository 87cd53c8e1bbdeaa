"""Live hints over real connections: what is told, to whom, and what happens to those who do not read."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from scheduler.core.values.access import Caller, Role
from scheduler.core.values.hints import RELOAD, Hint, Position, read_position
from scheduler.service.frame import standing
from scheduler.service.hints import Hints
from scheduler.service.listening import Address, listen
from scheduler.web import events
from scheduler.web.calls import AccessError
from tests.faces.conftest import Root
from tests.helpers import until
from tests.web.bare import ADMIN, bare_app, running, service_root


class Listener:
    """A stream as a browser reads it."""

    def __init__(self, address: str, last: str = "", *, after: str = "") -> None:
        self.connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
        path = "/api/events" + (f"?after={after}" if after else "")
        self.connection.request("GET", path, headers={"Last-Event-ID": last} if last else {})
        self.answer = self.connection.getresponse()
        self.status, self.id = self.answer.status, last
        _open.append(self)

    def block(self) -> dict[str, str]:
        """The next event, comment or setting; {} at the end."""
        found: dict[str, str] = {}
        while line := self.answer.readline().decode().rstrip("\n"):
            name, _, value = line.partition(":")
            found[name] = value.strip()
        self.id = found.get("id", self.id)
        return found

    def begin(self) -> Listener:
        assert self.block() == {"retry": "2000"}
        assert list(self.block()) == ["id"]
        return self

    def hints(self, last: str) -> list[str]:
        """Hints up to this one."""
        found: list[str] = []
        while not found or found[-1] != last:
            block = self.block()
            assert block, f"the stream has ended after {found}"
            if "data" in block:
                found.append(block["data"])
        return found

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


_open: list[Listener] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


@pytest.fixture
def address(lived_in: Root) -> Iterator[str]:
    with running(bare_app(service_root(lived_in.path), events.router)) as found:
        yield found


def test_a_run_a_pause_and_a_sync_are_told_within_a_second(lived_in: Root, address: str) -> None:
    listener = Listener(address).begin()
    assert listener.answer.getheader("content-type", "").startswith("text/event-stream")
    lived_in.run("heartbeat")
    assert "run:heartbeat:2" in listener.hints("run:heartbeat:2")
    lived_in.ok("pause", "triage")
    assert "job:triage" in listener.hints("job:triage")
    lived_in.edit("jobs/clock.yaml", "10s", "20s")
    lived_in.sync()
    assert "sync" in listener.hints("job:tick")


def test_a_stream_goes_on_where_it_was_interrupted(lived_in: Root, address: str) -> None:
    listener = Listener(address).begin()
    listener.close()
    lived_in.run("heartbeat")
    lived_in.ok("pause", "flaky")
    again = Listener(address, listener.id)
    found = set(again.hints("run:heartbeat:2"))
    assert "job:flaky" in found
    assert not {each for each in found if "triage" in each}


def test_a_stream_goes_on_where_its_page_was_made_until_it_is_interrupted(lived_in: Root, address: str) -> None:
    after = standing(service_root(lived_in.path)).position
    lived_in.run("heartbeat")
    listener = Listener(address, after=after)
    assert "run:heartbeat:2" in listener.hints("run:heartbeat:2")
    listener.close()
    lived_in.run("heartbeat")
    assert "run:heartbeat:2" not in Listener(address, listener.id, after=after).hints("run:heartbeat:3")


def test_a_position_of_another_database_or_of_no_database_reloads(address: str) -> None:
    for last in ("999-999-999", "x", "1-2", "1" * 500):
        assert Listener(address, last).hints("reload") == ["reload"]


def test_a_caller_of_some_jobs_hears_nothing_of_the_others(lived_in: Root) -> None:
    for patterns in (("triage",), ("tag:agent",)):
        caller = Caller(actor="token:ci", role=Role.VIEWER, jobs=patterns)
        with running(bare_app(service_root(lived_in.path), events.router, caller=caller)) as address:
            listener = Listener(address).begin()
            lived_in.cli("run", "flaky", "--wait")
            lived_in.ok("pause", "triage")
            found = listener.hints("job:triage")
            lived_in.ok("resume", "triage")
            assert not {each for each in found if "flaky" in each}


def test_the_database_is_watched_only_while_somebody_listens(lived_in: Root) -> None:
    app = bare_app(service_root(lived_in.path), events.router)
    with running(app) as address:
        listener = Listener(address).begin()
        assert app.state.streams.watching
        listener.close()
        until(lambda: not app.state.streams.watching or None, "nobody watches")
        assert len(app.state.streams) == 0
        Listener(address).begin()


def test_streams_beyond_the_limit_are_told_to_come_back(lived_in: Root) -> None:
    with running(bare_app(service_root(lived_in.path), events.router)) as address:
        kept = [Listener(address).begin() for _ in range(events.MOST_EACH)]
        refused = Listener(address)
        assert (refused.status, refused.answer.getheader("retry-after")) == (503, "10")
        kept.pop().close()
        until(lambda: Listener(address).status == 200 or None, "there is room again")


def test_hundreds_of_streams_that_never_read_delay_nobody(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_EACH", events.MOST_STREAMS)
    app = bare_app(service_root(lived_in.path), events.router)
    with running(app) as address, contextlib.ExitStack() as opened:
        host, port = urlsplit(address).hostname, urlsplit(address).port
        for _ in range(300):
            each = opened.enter_context(socket.create_connection((host, port), timeout=10))
            each.sendall(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: len(getattr(app.state, "streams", ())) == events.MOST_STREAMS or None, "the limit is reached")
        began = time.monotonic()
        connection = http.client.HTTPConnection(host or "", port, timeout=10)
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200
        assert time.monotonic() - began < 2
        connection.close()
        lived_in.run("heartbeat")


def test_a_slow_reader_is_told_to_reload_and_holds_a_bounded_set() -> None:
    stream = events.Stream(caller=ADMIN, position="1-1-1")
    for n in range(10_000):
        stream.tell([Hint("tick", n)])
        assert len(stream.pending) <= events.MOST_PENDING
    assert stream.take() == b"id: 1-1-1\ndata: reload\n\n"
    assert stream.take() == b""


def test_a_hint_that_waits_already_waits_once() -> None:
    stream = events.Stream(caller=ADMIN, position="1-1-1")
    stream.tell([Hint("tick", 1), Hint("tick", 1)])
    stream.tell([Hint("tick", 1)])
    assert stream.take() == b"id: 1-1-1\ndata: run:tick:1\n\n"


def test_a_revoked_caller_is_cut_off_at_the_next_check(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(events, "RECHECK_S", 0.0)
    app = bare_app(service_root(lived_in.path), events.router)
    with running(app) as address:
        listener = Listener(address).begin()
        assert listener.block() == {"": ""}, "a heartbeat"
        app.state.guard.error = AccessError(401, "revoked")
        while listener.block():
            pass
        until(lambda: len(app.state.streams) == 0 or None, "the stream has ended")


def test_streams_end_when_the_server_stops(lived_in: Root) -> None:
    with running(bare_app(service_root(lived_in.path), events.router)) as address:
        listener = Listener(address).begin()
        began = time.monotonic()
    while listener.block():
        pass
    assert time.monotonic() - began < 4


def test_a_restored_database_reloads_everything(lived_in: Root, address: str) -> None:
    listener = Listener(address).begin()
    beside = lived_in.db.with_name("copy.db")
    lived_in.sql(f"VACUUM INTO '{beside}'")
    for suffix in ("-wal", "-shm"):
        lived_in.db.with_name(f"state.db{suffix}").unlink(missing_ok=True)
    beside.replace(lived_in.db)
    assert listener.hints("reload")[-1] == "reload"


def test_positions_read_back_what_they_wrote() -> None:
    found = Position(ticket=3, audit=9, run=12, active={11: ("tick", 2, "running"), 12: ("tick", 3, "queued")})
    again = read_position(found.written())
    assert again is not None
    assert (again.ticket, again.audit, again.run, sorted(again.active)) == (3, 9, 12, [11, 12])
    many = Position(ticket=3, audit=9, run=99, active={row: ("tick", row, "queued") for row in range(90)})
    assert many.written() == "0-0-0"


def test_a_run_that_was_active_and_has_ended_is_found_by_its_position(lived_in: Root) -> None:
    lived_in.sql("UPDATE runs SET status = 'running', finished_at = NULL WHERE job_id = 'heartbeat'")
    with Hints(service_root(lived_in.path)) as hints:
        hints.look()
        position = hints.position
        assert position is not None
        assert position.active
        last = read_position(position.written())
        assert last is not None
        lived_in.sql("UPDATE runs SET status = 'failed' WHERE job_id = 'heartbeat'")
        assert Hint("heartbeat", 1) in hints.look()
        assert Hint("heartbeat", 1) in hints.since(last)
        assert hints.look() == ()


def test_a_root_that_was_never_synced_has_no_hints_until_it_is(root: Root) -> None:
    with Hints(service_root(root.path)) as hints:
        assert hints.look() == ()
        root.sync()
        hints.look()
        root.run("heartbeat")
        assert Hint("heartbeat", 1) in hints.look()


def test_too_many_changes_become_one_reload(lived_in: Root) -> None:
    with Hints(service_root(lived_in.path)) as hints:
        hints.look()
        lived_in.sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)"
            " INSERT INTO audit (at, job_id, action, actor, cause) SELECT '2026', 'j' || i, 'x', 'y', 'z'"
            " FROM n"
        )
        assert hints.look() == (RELOAD,)


def test_answers_on_a_kept_connection_do_not_wait_for_acknowledgements() -> None:
    """asyncio turns Nagle's algorithm off only for sockets that name their protocol."""
    with listen(Address(host="127.0.0.1", port=0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP
