"""What services answer, and what then becomes of messages: a real outbox and helpers, by a clock that tests move."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.due.events import Asked, News, news_of_failure
from scheduler.core.values.channels import DeliverOn
from scheduler.core.values.events import Event, EventKind
from scheduler.delivery.couriers import Courier
from scheduler.delivery.sender import HELPERS, Sender
from scheduler.ledger import lives, outbox, told
from scheduler.ledger.pool import Stores
from scheduler.ledger.store import Store
from scheduler.root.place import Place
from scheduler.service.channels import channels, deliveries
from scheduler.service.root import Root
from scheduler.service.sync import sync
from tests.delivery.sinks import HttpSink, http_sink, nobody
from tests.fakes import FakeClock
from tests.helpers import until

SECRET = "canary-7d3e"
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@dataclass
class World:
    """A root with channels, whose sender looks when it is told to."""

    seen: Root
    clock: FakeClock
    environ: dict[str, str]
    store: Store
    told: int = 0
    sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        self.lend = Stores(self.seen.place.db, usable=lambda: "").lend
        self.restart()

    def restart(self) -> None:
        if hasattr(self, "sender"):
            self.sender.close()
        self.sender = Sender(
            place=self.seen.place, clock=self.clock, lend=self.lend, environ=self.environ, spread=lambda: 0.0
        )

    def channels(self, *lines: str, alerts: str = "{}") -> Any:
        """Returns what the pass says that takes them up."""
        text = "version: 1\nrunners: {cat: {command: [cat]}}\nchannels:\n" + "".join(f"  {line}\n" for line in lines)
        text = (text if lines else text.replace("channels:\n", "")) + f"alerts: {alerts}\n"
        (self.seen.place.root / "scheduler.yaml").write_text(text)
        found = sync(self.seen)
        assert not [each for each in found.problems if each.is_error]
        return found.json

    def fails(self, *names: str, job_id: str = "", kind: EventKind = EventKind.FAILURE, **facts: object) -> None:
        """Something is news for channels."""
        self.told += 1
        job, now = job_id or f"job-{self.told}", self.clock.now()
        event = Event(key=f"run/{job}/{self.told}/{kind}", at=now, kind=kind, job_id=job, run_n=self.told, facts=facts)
        self.store.write(told.tell, [News(event=event, channels=names)], now=now)

    def look(self, done: Callable[[], object], what: str) -> None:
        """Let the sender look until something is true."""

        def found() -> bool:
            self.sender.look()
            return bool(done())

        until(found, what)

    def settles(self) -> None:
        """Let the sender look until nothing is on its way."""
        self.sender.look()
        self.look(lambda: not self.store.read(_sending), "the outcomes")

    def rows(self, **given: Any) -> list[tuple[str, str, int]]:
        """Channel, status and tries of all deliveries, oldest first."""
        found = self.deliveries(**given)
        return [(row["channel"], row["status"], row["tries"]) for row in found]

    def deliveries(self, **given: Any) -> list[Any]:
        shown: Any = deliveries(self.seen, None, **{"channel": None, "failed": False, "count": 99, **given})
        return [*reversed(shown["deliveries"])]

    def channel(self, name: str) -> Any:
        return next(each for each in channels(self.seen)["channels"] if each["name"] == name)


def _sending(sql: Any) -> bool:
    return bool(sql.execute("SELECT 1 FROM deliveries WHERE status = 'sending'").fetchone())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    root = tmp_path / "root"
    root.mkdir()
    place = Place(root=root, state=root / ".scheduler", db=root / ".scheduler/state.db", home=tmp_path)
    clock, environ = FakeClock(), {**os.environ, "HOOK": SECRET}
    (root / "scheduler.yaml").write_text("version: 1\nrunners: {cat: {command: [cat]}}\n")
    seen = Root(place=place, actor="user:test", environ=environ, clock=clock, absent_grace=timedelta(0))
    sync(seen)
    with Store.open(place.db, create=False) as store:
        found = World(seen=seen, clock=clock, environ=environ, store=store)
        yield found
        found.sender.close()


def webhook(sink: HttpSink, name: str = "ci", path: str = "/hook") -> str:
    return f'{name}: {{webhook: "{sink.url}{path}", secret: "${{env:HOOK}}"}}'


def tokens(sink: HttpSink) -> list[str]:
    return [each.headers["webhook-id"] for each in sink.received]


@pytest.mark.parametrize(
    ("mode", "headers", "wait", "words"),
    [
        (500, {}, 5 * SECOND, "HTTP 500"),
        (302, {"Location": "/elsewhere"}, 5 * SECOND, "Redirects are not followed"),
        (429, {"Retry-After": "120"}, 2 * MINUTE, "HTTP 429"),
        (429, {}, MINUTE, "HTTP 429"),
        ("close", {}, 5 * SECOND, ""),
    ],
)
def test_what_may_pass_is_tried_again_when_it_is_time_with_the_same_token(
    world: World, mode: int | str, headers: dict[str, str], wait: timedelta, words: str
) -> None:
    with http_sink(mode, headers=headers) as sink:
        world.channels(webhook(sink))
        world.fails("ci")
        world.settles()
        (row,) = world.deliveries()
        assert (row["status"], row["tries"], words in row["error"]) == ("pending", 1, True), row
        assert world.channel("ci")["dead_since"] is None
        world.clock.advance(wait - SECOND)
        world.settles()
        assert len(sink.received) == 1, "not before its time"
        sink.mode = 200
        world.clock.advance(SECOND)
        world.settles()
        assert world.rows() == [("ci", "delivered", 2)]
        assert [each.path for each in sink.received] == ["/hook"] * 2, "a redirect is not followed"
        assert len(set(tokens(sink))) == 1


def test_a_service_that_never_answers_holds_up_its_own_channel_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Courier.send.__kwdefaults__ is not None
    monkeypatch.setitem(Courier.send.__kwdefaults__, "limit_s", 2.0)
    with http_sink("hang") as mute, http_sink("drip") as slow, http_sink() as well:
        world.channels(webhook(mute, "mute"), webhook(slow, "slow"), webhook(well, "well"))
        for name in ("mute", "slow", "well"):
            world.fails(name)
        world.look(lambda: well.received, "the message on the channel that works")
        world.settles()
        found = {row["channel"]: row for row in world.deliveries()}
        for name in ("mute", "slow"):
            assert found[name]["status"] == "pending"
            assert "timeout after 2s; unknown whether it arrived" in found[name]["error"]
        assert found["well"]["status"] == "delivered"
        mute.mode = slow.mode = 200
        world.clock.advance(5 * SECOND)
        world.settles()
        assert world.rows() == [("mute", "delivered", 2), ("slow", "delivered", 2), ("well", "delivered", 1)]
        assert len(set(tokens(mute))) == 1


def test_services_that_hang_delay_no_ping_and_no_heartbeat(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Courier.send.__kwdefaults__ is not None
    monkeypatch.setitem(Courier.send.__kwdefaults__, "limit_s", 1000.0)
    with http_sink("drip") as mute, http_sink() as pings:
        names = [f"mute-{n}" for n in range(HELPERS + 1)]
        (world.seen.place.root / "jobs").mkdir()
        text = f'id: tick\nschedule: "@daily"\ntask: hi\nrunner: cat\nping: "{pings.url}/tick"\n'
        (world.seen.place.root / "jobs/tick.yaml").write_text(text)
        world.channels(*(webhook(mute, name) for name in names), alerts=f'{{heartbeat: {{url: "{pings.url}/beat"}}}}')
        world.fails(*names)
        world.look(lambda: len(mute.received) == HELPERS, "all helpers to hang")
        world.store.write(told.skipped, "tick", 1, "missed", now=world.clock.now())
        world.store.write(lives.beat, "1-test", now=world.clock.now(), silent="")
        world.look(lambda: len(pings.received) == 2, "the ping and the heartbeat")
        assert {each.path for each in pings.received} == {"/tick/fail", "/beat"}


def test_a_name_that_does_not_resolve_and_a_port_where_nobody_listens_are_tried_again(world: World) -> None:
    world.channels(
        'dns: {webhook: "http://nobody.invalid/hook", secret: "${env:HOOK}"}',
        f'port: {{webhook: "http://127.0.0.1:{nobody()}/hook", secret: "${{env:HOOK}}"}}',
        'chat: {url: "json://nobody.invalid/"}',
    )
    world.fails("dns", "port", "chat")
    world.settles()
    assert world.rows() == [("dns", "pending", 1), ("port", "pending", 1), ("chat", "pending", 1)]
    errors = {row["channel"]: row["error"] for row in world.deliveries()}
    assert errors["port"] == "connection refused"
    assert "name" in errors["dns"].lower() or "resolution" in errors["dns"], errors
    world.clock.advance(5 * SECOND)
    world.settles()
    assert {tries for _, _, tries in world.rows()} == {2}


def test_what_was_refused_for_its_secret_waits_and_comes_once_the_secret_is_right(world: World, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong-canary")
    with http_sink(401) as sink:
        world.channels(f'ci: {{webhook: "{sink.url}/hook?key=${{file:{secret}}}", secret: "${{env:HOOK}}"}}')
        world.fails("ci")
        world.fails("ci")
        world.settles()
        channel = world.channel("ci")
        assert (channel["dead_since"] is not None, channel["waiting"], "HTTP 401" in channel["error"]) == (
            True,
            2,
            True,
        )
        assert len(sink.received) == 1, "the others wait untried"
        secret.write_text("right-canary")
        sink.mode = 200
        world.clock.advance(MINUTE)
        world.look(lambda: not world.channel("ci")["waiting"], "what has waited")
        assert world.rows() == [("ci", "delivered", 2), ("ci", "delivered", 1)]
        assert [each.query["key"] for each in sink.received] == [["wrong-canary"], ["right-canary"], ["right-canary"]]
        assert world.channel("ci")["dead_since"] is None
    assert "canary" not in json.dumps([world.deliveries(), channels(world.seen)])


def test_an_unset_variable_is_named_and_what_waited_for_it_comes(world: World) -> None:
    with http_sink() as sink:
        world.channels('ci: {webhook: "${env:HOOK_URL}", secret: "${env:HOOK}"}', webhook(sink, "other"))
        world.fails("ci", "other")
        world.settles()
        assert world.rows() == [("ci", "pending", 1), ("other", "delivered", 1)]
        channel = world.channel("ci")
        assert channel["dead_since"] is not None
        assert "${env:HOOK_URL}: the variable is not set" in channel["error"]
        world.environ["HOOK_URL"] = f"{sink.url}/late"
        world.clock.advance(MINUTE)
        world.settles()
        assert sink.received[-1].path == "/late"


def test_an_edit_of_a_dead_channel_lets_what_waits_come_at_once(world: World) -> None:
    with http_sink(404) as sink:
        world.channels(webhook(sink, path="/gone"))
        world.fails("ci")
        world.settles()
        sink.mode = 200
        world.channels(webhook(sink, path="/new"))
        world.settles()
        assert [each.path for each in sink.received] == ["/gone", "/new"]
        assert world.rows() == [("ci", "delivered", 2)]


def test_two_channels_with_one_url_are_both_told(world: World) -> None:
    with http_sink() as sink:
        world.channels(webhook(sink, "one"), webhook(sink, "two"))
        world.fails("one", "two")
        world.settles()
        assert len(set(tokens(sink))) == 2
        assert world.rows() == [("one", "delivered", 1), ("two", "delivered", 1)]


def test_a_thousand_failures_within_a_minute_are_two_messages(world: World) -> None:
    with http_sink() as sink:
        world.channels(f'chat: {{url: "json://127.0.0.1:{sink.port}/"}}')
        world.fails("chat", job_id="first")
        world.settles()
        with world.store.writing() as sql:
            now = world.clock.now()
            for n in range(999):
                key, facts = f"run/job-{n}/1/failure", {"status": "failed", "exit_code": 1, "error": "exit code 1"}
                event = Event(key=key, at=now, kind=EventKind.FAILURE, job_id=f"job-{n}", run_n=1, facts=facts)
                told.tell(sql, [News(event=event, channels=("chat",))], now=now)
        world.clock.advance(timedelta(seconds=59))
        world.settles()
        assert len(sink.received) == 1
        for _ in range(3):
            world.clock.advance(MINUTE)
            world.settles()
        first, digest = (json.loads(each.body) for each in sink.received)
        assert "first failed" in first["title"]
        assert "999 failures" in digest["title"]
        assert {status for _, status, _ in world.rows(count=1000)} == {"delivered"}


@pytest.mark.parametrize("back", [timedelta(minutes=10), timedelta(hours=5), timedelta(days=400)])
def test_a_clock_that_goes_back_delays_no_message_for_longer_than_an_hour(world: World, back: timedelta) -> None:
    with http_sink(500) as sink:
        world.channels(webhook(sink), f'chat: {{url: "json://127.0.0.1:{sink.port}/"}}')
        world.fails("ci", "chat")
        world.settles()
        sink.mode = 200
        world.clock.step(-back)
        world.fails("ci", "chat")
        world.clock.advance(timedelta(hours=1))
        world.look(lambda: {status for _, status, _ in world.rows()} == {"delivered"}, "all messages")


def test_what_waits_for_a_removed_channel_is_dropped_and_the_pass_says_how_much(world: World) -> None:
    with http_sink(500) as sink:
        world.channels(webhook(sink), webhook(sink, "other"))
        world.fails("ci", "other")
        world.fails("ci")
        world.settles()
        found = world.channels(webhook(sink, "other"))
        assert found["dropped_deliveries"] == 2
        assert [row[:2] for row in world.rows()] == [
            ("ci", "dropped:channel_removed"),
            ("other", "pending"),
            ("ci", "dropped:channel_removed"),
        ]
        assert world.channels(webhook(sink, "other")).get("dropped_deliveries") is None


def test_a_ping_calls_a_missed_slot_a_failure_and_says_nothing_of_benign_skips(world: World) -> None:
    with http_sink() as sink:
        (world.seen.place.root / "jobs").mkdir()
        text = f'id: tick\nschedule: "@daily"\ntask: hi\nrunner: cat\nping: "{sink.url}/tick"\n'
        (world.seen.place.root / "jobs/tick.yaml").write_text(text)
        world.channels()
        for n, reason in enumerate(("overlap", "capacity", "missed", "superseded", "paused"), start=1):
            world.store.write(told.skipped, "tick", n, reason, now=world.clock.now())
        world.settles()
        assert [each.path for each in sink.received] == ["/tick/fail"]


def test_a_secret_that_is_no_url_is_in_no_word_about_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Python's own error about such a host quotes it."""
    (world.seen.place.root / "jobs").mkdir()
    text = 'id: tick\nschedule: "@daily"\ntask: hi\nrunner: cat\nping: "${env:HC}"\n'
    (world.seen.place.root / "jobs/tick.yaml").write_text(text)
    world.environ |= {"HC": f"http://bob:{SECRET}@a\u2100b.example/x", "CI": f"http://[{SECRET}"}
    world.channels('ci: {webhook: "${env:CI}", secret: "${env:HOOK}"}', 'chat: {url: "${env:CI}"}')
    world.store.write(told.skipped, "tick", 1, "missed", now=world.clock.now())
    world.fails("ci", "chat")
    world.settles()
    found = {row["channel"]: row for row in world.deliveries()}
    assert {row["status"] for row in found.values()} == {"pending"}
    assert "not a URL that can be called" in found["ping:tick"]["error"]
    assert "not a URL that can be called" in found["ci"]["error"]
    assert "Apprise knows no service" in found["chat"]["error"]
    assert SECRET not in caplog.text + json.dumps([*found.values(), channels(world.seen)])


def test_the_heartbeat_is_called_as_long_as_a_daemon_works_and_fires(world: World) -> None:
    def calls(*, silent: str = "", over: bool = False, seen: bool = True) -> int:
        """Those of a minute of a new sender."""
        before = len(sink.received)
        for _ in range(6):
            world.clock.advance(10 * SECOND)
            if seen:
                world.store.write(lives.beat, "1-test", now=world.clock.now(), silent=silent, over=over)
            world.sender.look()
        world.sender._pings.shutdown()  # waits for what is on its way
        world.restart()
        return len(sink.received) - before

    with http_sink() as sink:
        world.channels(alerts=f'{{heartbeat: {{url: "{sink.url}/beat"}}}}')
        assert calls(seen=False) == 0, "no daemon has ever been there"
        assert calls() == 1
        assert calls() == 1
        assert calls(silent="elsewhere") == 0, "it fires nothing"
        assert calls() == 1
        world.clock.advance(MINUTE)
        assert calls(seen=False) == 0, "it hangs, or is dead"
        assert calls() == 1
        assert calls(over=True) == 0, "it was stopped"


def test_a_message_that_was_refused_does_not_claim_that_it_came_before(world: World) -> None:
    with http_sink(500) as sink:
        world.channels(f'chat: {{url: "json://127.0.0.1:{sink.port}/"}}')
        world.fails("chat")
        world.settles()
        sink.mode = 200
        world.clock.advance(MINUTE)
        world.settles()
        assert world.rows() == [("chat", "delivered", 2)]
        assert "sent again" not in json.loads(sink.received[-1].body)["title"]


def test_a_message_whose_sender_died_says_that_it_may_have_come_before(world: World) -> None:
    with http_sink() as sink:
        world.channels(f'chat: {{url: "json://127.0.0.1:{sink.port}/"}}')
        world.fails("chat")
        (row,) = world.store.read(outbox.waiting)
        world.store.write(outbox.take, [row], now=world.clock.now())
        world.settles()
        assert json.loads(sink.received[-1].body)["title"].endswith("(sent again)")


def test_the_outbox_is_read_only_after_the_database_has_changed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Any] = []
    read = outbox.waiting

    def counted(sql: Any) -> Any:
        reads.append(sql)
        return read(sql)

    monkeypatch.setattr(outbox, "waiting", counted)
    with http_sink() as sink:
        world.channels(webhook(sink))
        world.sender.look()
        known = len(reads)
        for _ in range(5):
            world.clock.advance(SECOND)
            world.sender.look()
        assert len(reads) == known
        world.fails("ci")
        world.settles()
        assert world.rows() == [("ci", "delivered", 1)]
        world.sender.look()
        known = len(reads)
        world.clock.step(-MINUTE)
        world.sender.look()
        assert len(reads) == known + 1, "a clock that goes back"


def test_of_a_channel_with_too_many_messages_no_more_is_read_than_it_takes_to_see_that(world: World) -> None:
    with http_sink(500) as sink:
        world.channels(webhook(sink), f'chat: {{url: "json://127.0.0.1:{sink.port}/"}}')
        with world.store.writing() as sql:
            for n in range(outbox.MOST_READ + 10):
                event = Event(key=f"k{n}", at=world.clock.now(), kind=EventKind.FAILURE, job_id="a", run_n=n)
                told.tell(sql, [News(event=event, channels=("ci",))], now=world.clock.now())
        world.fails("chat", "ci", kind=EventKind.TEST)
        rows = world.store.read(outbox.waiting)
        assert [row.channel for row in rows].count("ci") == outbox.MOST_READ
        assert [row.event.kind for row in rows if row.channel == "chat"] == [EventKind.TEST]
        assert [row.id for row in rows if row.channel == "ci"][-1] == outbox.MOST_READ + 12, "the test is among them"


def test_a_failure_that_nobody_heard_of_before_its_channel_was_renamed_is_told_on_the_new_one(world: World) -> None:
    def fails(n: int, channel: str) -> list[str]:
        """Who is told of the failure of a run."""
        event = Event(key=f"run/a/{n}/failure", at=world.clock.now(), kind=EventKind.FAILURE, job_id="a", run_n=n)
        asked = Asked(deliver=(channel,), on=(DeliverOn.FAILURE,))
        with world.store.writing() as sql:
            after, news = news_of_failure(asked, told.streak(sql, "failure/a"), event, stopped=False, watched=False)
            told.keep(sql, after)
            told.tell(sql, news, now=world.clock.now())
        return [name for each in news for name in each.channels]

    with http_sink(500) as sink:
        world.channels(webhook(sink, "old"))
        assert fails(1, "old") == ["old"]
        assert fails(2, "old") == []
        world.settles()
        world.clock.advance(MINUTE)
        world.channels(webhook(sink, "new"))
        assert fails(3, "new") == ["new"], "nobody has heard of it"
        assert fails(4, "new") == []
        sink.mode = 200
        world.look(lambda: world.rows()[-1][1] == "delivered", "the message")
        world.channels(webhook(sink, "other"))
        assert fails(5, "other") == [], "somebody has"
