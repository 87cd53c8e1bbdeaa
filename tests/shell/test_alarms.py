"""A dead-man's switch on a real database: it rings once, and says once that it is over."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.core.times.fires import span
from scheduler.delivery import alarms as delivery
from scheduler.delivery.alarms import Alarms
from scheduler.ledger import evidence, overdue, queries
from scheduler.ledger.rows import insert
from scheduler.ledger.store import Store
from scheduler.root.place import Place
from scheduler.service.history import audit
from scheduler.service.jobs import list_jobs
from scheduler.service.pause import pause_job, resume_job
from scheduler.service.root import Root
from scheduler.service.sync import sync
from tests.fakes import FakeClock, claim_by_hand, succeed

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class World:
    def __init__(self, root: Path) -> None:
        (root / "jobs").mkdir()
        (root / "scheduler.yaml").write_text("version: 1\nrunners: {cat: {command: [cat]}}\n")
        (root / "jobs/j.yaml").write_text('id: j\nschedule: "0 3 * * *"\nrunner: cat\ntask: hi\nexpect_every: 26h\n')
        self.clock = FakeClock(NOON)
        self.place = Place(root=root, state=root / ".scheduler", db=root / ".scheduler/state.db")
        self.seen = Root(place=self.place, actor="user:test", environ=dict(os.environ), clock=self.clock)
        sync(self.seen)
        self.fires, self.doubt = True, ""

    @contextmanager
    def lend(self) -> Iterator[Store]:
        with Store.open(self.place.db) as store:
            yield store

    def alarms(self) -> Alarms:
        return Alarms(clock=self.clock, lend=self.lend, fires=lambda: self.fires, doubt=lambda: self.doubt)

    def look(self, alarms: Alarms) -> None:
        with self.lend() as store:
            alarms.look(store)

    def told(self) -> list[tuple[str, str | None]]:
        rows = audit(self.seen, "j")["audit"]
        return [(row["action"], row["field"]) for row in rows if row["action"] in ("alarm", "all_clear")]

    def cover(self, job_id: str) -> None:
        """Give the newest slot a row."""
        with self.lend() as store, store.writing() as sql:
            job = queries.job(sql, job_id)
            assert job is not None
            found = span(job.due_by, start=NOON, until=self.clock.now())
            taken = job.last_slot or NOON
            if found is not None and found.last > taken:
                (n,) = sql.execute(
                    "UPDATE jobs SET last_n = last_n + 1 WHERE id = ? RETURNING last_n", (job_id,)
                ).fetchone()
                insert(
                    sql,
                    "runs",
                    job_id=job_id,
                    n=n,
                    trigger="schedule",
                    status="skipped",
                    reason="overlap",
                    fire_time=found.last,
                    requested_at=self.clock.now(),
                    finished_at=self.clock.now(),
                    generation=job.file.generation,
                )

    def succeed(self, job_id: str = "j") -> None:
        with self.lend() as store:
            run = claim_by_hand(store, job_id, now=self.clock.now())
            store._connection.execute("UPDATE runs SET started_at = requested_at")
            succeed(store, run, now=self.clock.now())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_alarm_is_told_once_also_by_the_next_daemon_and_so_is_its_end(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    alarms = world.alarms()
    world.look(alarms)
    assert world.told() == []
    world.clock.advance(27 * HOUR)
    world.look(alarms)
    assert world.told() == [], "after a sleep the thread that fires may come a moment later"
    for _ in range(3):
        world.look(alarms)
    another = world.alarms()
    for _ in range(2):
        world.look(another)
    assert world.told() == [("alarm", "no_row"), ("alarm", "no_success")]
    assert caplog.text.count("overdue job_id=j kind=no_success") == 1
    (row,) = [row for row in audit(world.seen, "j")["audit"] if row["field"] == "no_success"]
    assert row["after"] == {
        "since": "2026-03-02T12:00:00Z", "deadline": "2026-03-03T14:00:00Z", "expect_every_ms": 26 * 3600 * 1000,
    }  # fmt: skip
    world.succeed()
    alarms = world.alarms()
    world.look(alarms)
    assert world.told()[2:] == [("all_clear", "no_success")], "the slot still has no row"
    pause_job(world.seen, "j")
    world.look(alarms)
    world.clock.advance(MINUTE)
    world.look(alarms)
    assert world.told()[3:] == [("all_clear", "no_row")]


def test_a_daemon_that_only_observes_or_does_not_believe_the_clock_tells_nothing(world: World) -> None:
    world.clock.advance(27 * HOUR)
    alarms = world.alarms()
    for world.fires, world.doubt in ((False, ""), (True, "it has jumped")):
        for _ in range(3):
            world.look(alarms)
    assert world.told() == []
    world.doubt = ""
    for _ in range(2):
        world.look(alarms)
    assert len(world.told()) == 2


def test_what_is_overdue_does_not_hang_on_the_cursor_that_the_clockwork_goes_by(world: World) -> None:
    with world.lend() as store:
        store._connection.execute("UPDATE jobs SET next_run_at = '2031-01-01T03:00:00.000000Z'")
        world.clock.advance(16 * HOUR)
        assert [
            alarm.kind.value for _, alarm in store.read(evidence.alarms, world.clock.now(), store.read(queries.jobs))
        ] == ["no_row"]
    found = list_jobs(world.seen)
    assert found["troubles"] == ["a slot was due over a minute ago and has neither run nor been skipped: j"]
    assert [alarm["kind"] for alarm in found["jobs"][0]["alarms"]] == ["no_row"]


@pytest.mark.parametrize("seed", range(4))
def test_a_look_at_what_can_have_changed_finds_what_a_look_at_all_finds(
    world: World, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(delivery, "REST_S", 0)
    monkeypatch.setattr(overdue, "SLICE", 2)
    drawn = random.Random(seed)
    files = {
        "often": "schedule: {every: 5m}\n",
        "late": "schedule: {every: 1h, jitter: 20m}\nexpect_every: 90m\n",
        "ends": "schedule: {every: 10m}\nexpires: 2026-03-03T00:00:00Z\nexpect_every: 2h\n",
        "hand": "schedule: manual\nexpect_every: 3h\n",
    }

    def write(name: str, more: str = "") -> None:
        path = world.place.root / f"jobs/{name}.yaml"
        path.write_text(f"id: {name}\n{files[name]}runner: cat\ntask: hi\n{more}")
        sync(world.seen)

    for name in files:
        write(name)
    alarms, rang = world.alarms(), set[tuple[str, str]]()
    for _ in range(60):
        name = drawn.choice(list(files))
        match drawn.choice(("run", "run", "skip", "pause", "until", "resume", "disable", "enable", "wait", "back")):
            case "run":
                world.succeed(name)
            case "skip":
                world.cover(name)
            case "pause":
                pause_job(world.seen, name)
            case "until":
                pause_job(world.seen, name, until=world.clock.now() + 40 * MINUTE)
            case "resume":
                resume_job(world.seen, name)
            case "disable":
                write(name, "enabled: false\n")
            case "enable":
                write(name)
            case "back":
                world.clock.advance(-drawn.randint(1, 90) * MINUTE)
            case _:
                pass
        world.clock.advance(timedelta(seconds=drawn.randint(1, 3000)))
        world.look(alarms)
        with world.lend() as store:
            whole = store.read(evidence.alarms, world.clock.now(), store.read(queries.summaries))
        assert alarms._overdue.ringing.keys() == {(job.id, alarm.kind.value) for job, alarm in whole}
        rang |= alarms._overdue.ringing.keys()
    assert len(rang) > 3
