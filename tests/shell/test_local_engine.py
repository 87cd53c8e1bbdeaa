"""Who gets a place, who waits, and how all of it ends; the engine only waits to be told."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from scheduler.core.due.due import due
from scheduler.core.values.facts import Fault, Job, Provenance, Task
from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.runs import Attempt, Ending, Run, RunStatus, Trigger
from scheduler.ledger import claims, queries, runs, syncs
from scheduler.ledger.claims import Claimed
from scheduler.ledger.store import Store
from scheduler.root.place import Place
from scheduler.run.ends import EndNotWrittenError
from scheduler.run.local.attempts import Opening
from scheduler.run.local.cancel import Cancel
from scheduler.run.local.chunks import Seat
from scheduler.run.local.engine import LocalEngine
from scheduler.service.root import Root
from scheduler.service.sync import sync
from scheduler.sync.passes import Passes
from tests.fakes import FakeClock

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LONG = 30.0


@dataclass
class Process:
    """Runs until it is told to end, or is cancelled."""

    engine: Engine
    seat: Seat

    def notice(self) -> None:
        if self.seat.cancel.why is not None and self.seat.run.id in self.engine.living:
            self.engine.cancelled[self.seat.run.id] = self.seat.cancel.why
            self.engine.end(self.seat.run.id)


@dataclass
class Engine:
    """What opens and starts attempts: notes what it is given, and ends a run when told to or when it is cancelled."""

    passes: Passes
    workers: LocalEngine = field(init=False)
    environ: dict[str, str] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    living: dict[str, Seat] = field(default_factory=dict)
    cancelled: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)  # told to, perhaps before it started
    error: Exception | None = None

    def make_room(self) -> None:
        pass

    def look_or_abandon(self, run: Run, cancel: Cancel, checked: None) -> Opening | Run:
        if self.error is not None:
            self.started.append(run.id)
            raise self.error
        return Opening(run=run, job=cast(Job, None), ready=OPEN, invocation=OPEN)

    def open(self, seats: list[Seat]) -> None:
        for seat in seats:
            self.started.append(seat.run.id)
            self.living[seat.run.id] = seat
            seat.execution = cast(Any, Process(self, seat))
            seat.notice()
            if seat.run.id in self.ended:
                self.end(seat.run.id)

    def end_unstarted(self, run: Run, why: str) -> Run:
        self.cancelled[run.id] = f"{why} unstarted"
        return run

    def await_started(self, *ids: str) -> None:
        self.turns_until(lambda: set(ids) <= set(self.started))

    def turns_until(self, come: Callable[[], object]) -> None:
        give_up = time.monotonic() + LONG
        while not come():
            assert time.monotonic() < give_up, self.started
            self.workers.reactor.turn(0.01)

    def end(self, run_id: str) -> None:
        self.ended.add(run_id)
        if (seat := self.living.pop(run_id, None)) is not None:
            self.workers.reactor.call(lambda: self.workers._over(seat, replace(seat.run, status=RunStatus.SUCCEEDED)))


OPEN = Fault(reason="none", message="nobody looks at it")


@dataclass
class House:
    workers: LocalEngine
    engine: Engine
    clock: FakeClock
    store: Store


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "scheduler.yaml").write_text("version: 1\nrunners: {cat: {command: [cat]}}\n")
    for i in range(5):
        (tmp_path / f"jobs/j{i}.yaml").write_text(f"id: j{i}\nschedule: {{every: 1h}}\ntask: hi\nrunner: cat\n")
    place = Place(root=tmp_path, state=tmp_path / ".scheduler", db=tmp_path / ".scheduler/state.db")
    clock = FakeClock(NOON)
    sync(Root(place=place, actor="user:test", environ=dict(os.environ), clock=clock))
    engine = Engine(Passes(place=place, clock=clock))
    with Store.open(place.db) as store:
        workers = LocalEngine(
            attempts=lambda _: cast(Any, engine),
            lend=lambda: Store.open(place.db),
            clock=clock,
            place=place,
            owner="1-a",
            scratch=tmp_path / "scratch",
        )
        engine.workers, workers._chunks = workers, cast(Any, engine)
        workers.max_running = 2
        yield House(workers, engine, clock, store)
        workers.interrupt()
        workers.stop(timedelta(0))


def run(job: int, status: RunStatus = RunStatus.CLAIMED, *, at: datetime = NOON) -> Run:
    return Run(
        job_id=f"j{job}", n=1, trigger=Trigger.SCHEDULE, status=status, fire_time=at, requested_at=NOON, generation=1
    )


QUEUED = RunStatus.QUEUED


def claimed_run(claim: Claimed | None) -> Run:
    assert claim is not None
    (found,) = claim.runs
    return found


def test_who_waits_longest_gets_the_next_place(house: House) -> None:
    house.workers.start([run(0), run(1)])
    house.engine.await_started("j0:1", "j1:1")
    house.workers.start([run(2, QUEUED, at=NOON + timedelta(seconds=2)), run(3, QUEUED, at=NOON)])
    assert house.engine.started == ["j0:1", "j1:1"] or house.engine.started == ["j1:1", "j0:1"]
    house.engine.end("j0:1")
    house.engine.await_started("j3:1")
    assert "j2:1" not in house.engine.started
    house.engine.end("j1:1")
    house.engine.await_started("j2:1")
    for job in (2, 3):
        house.engine.end(f"j{job}:1")
    house.workers.wait()


def test_who_has_waited_beyond_its_window_is_a_skip_for_lack_of_capacity(house: House) -> None:
    house.clock.moment = NOON + timedelta(hours=1)
    found = house.store.read(syncs.observed).jobs["j0"]
    owed = due(found, now=NOON + timedelta(hours=1), since=NOON)
    assert owed is not None
    queued = claimed_run(house.store.write(claims.claim_due, [owed], seen=99, owner="1-a", max_running=0, now=NOON))
    assert queued.status is QUEUED
    house.clock.moment = (queued.fire_time or NOON) + timedelta(minutes=30, seconds=1)
    ended: list[Run | None] = []
    house.workers.start([queued], ended=ended.append)
    house.workers.wait()
    assert house.engine.started == []
    (skipped,) = house.store.read(queries.runs, "j0")
    assert (skipped.status.value, skipped.reason) == ("skipped", "capacity")
    assert [each and each.reason for each in ended] == ["capacity"]
    assert house.store.read(queries.job, "j0").runtime.consecutive_errors == 0  # type: ignore[union-attr]


def waits(house: House, job: int, *, hours: int = 1) -> Run:
    """A row that waits, of the slot that is due so many hours after noon."""
    at = NOON + timedelta(hours=hours)
    owed = due(house.store.read(syncs.observed).jobs[f"j{job}"], now=at, since=at)
    assert owed is not None
    return claimed_run(house.store.write(claims.claim_due, [owed], seen=99, owner="1-a", max_running=0, now=at))


def test_who_has_waited_beyond_its_window_is_a_skip_though_no_place_becomes_free(house: House) -> None:
    house.clock.moment = NOON + timedelta(hours=1)
    house.workers.start([run(3), run(4)])
    house.engine.await_started("j3:1", "j4:1")
    queued, ended = waits(house, 0), list[Run | None]()
    house.workers.start([queued], ended=ended.append)
    house.clock.moment = NOON + timedelta(hours=1, minutes=29)
    house.workers.skip_overdue(house.store)
    assert [each.status for each in house.store.read(queries.runs, "j0")] == [QUEUED]
    house.clock.moment = NOON + timedelta(hours=1, minutes=31)
    house.workers.skip_overdue(house.store)
    (row,) = house.store.read(queries.runs, "j0")
    assert (row.status.value, row.reason) == ("skipped", "capacity")
    assert ([each and each.reason for each in ended], house.workers.counts) == (["capacity"], (2, 0))


def test_what_waits_for_another_run_of_its_job_is_not_swept_out(house: House) -> None:
    house.clock.moment = NOON + timedelta(hours=1)
    house.workers.start([run(0), run(4)])
    house.engine.await_started("j0:1", "j4:1")
    house.workers.start([waits(house, 0)])
    house.clock.moment = NOON + timedelta(hours=9)
    house.workers.skip_overdue(house.store)
    assert [each.status for each in house.store.read(queries.runs, "j0")] == [QUEUED]


def edit(house: House, tmp_path: Path, keys: str) -> Job:
    with (tmp_path / "jobs/j0.yaml").open("a") as file:
        file.write(keys)
    place = Place(root=tmp_path, state=tmp_path / ".scheduler", db=tmp_path / ".scheduler/state.db")
    sync(Root(place=place, actor="user:test", environ=dict(os.environ), clock=house.clock))
    return house.store.read(syncs.observed).jobs["j0"]


def test_what_is_behind_one_that_has_waited_too_long_has_waited_for_no_run_of_its_job(
    house: House, tmp_path: Path
) -> None:
    found = edit(house, tmp_path, "catch_up: {policy: all, within: 5h}\n")
    at = NOON + timedelta(hours=3)
    owed = due(found, now=at, since=at)
    assert owed is not None
    line = house.store.write(claims.claim_due, [owed], seen=99, owner="1-a", max_running=0, now=at)
    assert line is not None
    house.clock.moment = at + timedelta(hours=6)
    house.workers.start(line.runs)
    house.workers.wait()
    assert house.engine.started == []
    assert [each.reason for each in house.store.read(queries.runs, "j0")] == ["capacity"] * 3


def test_what_has_waited_for_a_run_of_an_earlier_daemon_has_not_lacked_a_place(house: House, tmp_path: Path) -> None:
    found, at = edit(house, tmp_path, "concurrency: queue\n"), NOON + timedelta(hours=1)
    owed = due(found, now=at, since=at)
    assert owed is not None
    first = claimed_run(house.store.write(claims.claim_due, [owed], seen=99, owner="1-a", max_running=9, now=at))
    queued = waits(house, 0, hours=2)
    task = Task(text=b"hi", source_path="jobs/j0.yaml", source=b"hi")
    running = house.store.write(
        runs.start_attempt, first, n=1, owner="1-a", generation=1, task=task, provenance=Provenance(), now=at
    )
    house.store.write(runs.finish, running, Ending(status=RunStatus.INTERRUPTED), now=NOON + timedelta(hours=3))
    house.clock.moment = NOON + timedelta(hours=3, minutes=1)
    house.workers.start([queued])
    house.engine.await_started(queued.id)
    house.engine.end(queued.id)
    house.workers.wait()


def test_neither_jitter_nor_the_outage_before_a_catch_up_is_a_wait_for_a_place(house: House) -> None:
    house.clock.moment = NOON + timedelta(hours=1, minutes=59)
    found = house.store.read(syncs.observed).jobs["j0"]
    owed = due(found, now=NOON + timedelta(hours=1, minutes=30), since=house.clock.moment)
    assert owed is not None
    late = claimed_run(
        house.store.write(claims.claim_due, [owed], seen=99, owner="1-a", max_running=9, now=house.clock.moment)
    )
    assert late.trigger is Trigger.CATCH_UP
    house.workers.start([late])
    house.engine.await_started(late.id)
    house.engine.end(late.id)
    house.workers.wait()


def test_what_waits_when_its_job_is_archived_is_nobodys_fault(house: House, tmp_path: Path) -> None:
    house.clock.moment = NOON + timedelta(hours=1)
    owed = due(house.store.read(syncs.observed).jobs["j0"], now=house.clock.moment, since=NOON)
    assert owed is not None
    queued = claimed_run(
        house.store.write(claims.claim_due, [owed], seen=99, owner="1-a", max_running=0, now=house.clock.moment)
    )
    (tmp_path / "jobs/j0.yaml").unlink()
    place = Place(root=tmp_path, state=tmp_path / ".scheduler", db=house.store.path)
    sync(Root(place=place, actor="user:test", environ=dict(os.environ), clock=house.clock))
    assert house.store.read(syncs.observed).jobs["j0"].archived
    house.engine.end(queued.id)
    house.workers.start([queued])
    house.workers.wait()
    assert house.engine.started == []
    (row,) = house.store.read(queries.runs, "j0")
    assert (row.status.value, row.reason) == ("skipped", "superseded")
    assert house.store.read(syncs.observed).jobs["j0"].runtime.consecutive_errors == 0


def test_cancel_reaches_a_run_and_only_one_that_runs(house: House) -> None:
    house.workers.start([run(0), run(1, QUEUED), run(2)])
    house.engine.await_started("j0:1", "j2:1")
    for job_id in ("j0", "j1"):
        assert house.workers.cancel(f"{job_id}:1")
    assert not house.workers.cancel("j1:1"), "it waits no longer"
    assert not house.workers.cancel("j4:1")
    house.engine.end("j2:1")
    house.workers.wait()
    assert house.engine.cancelled == {"j0:1": "cancelled", "j1:1": "cancelled unstarted"}
    assert "j1:1" not in house.engine.started


def test_more_places_are_given_to_those_that_wait(house: House) -> None:
    house.workers.start([run(0), run(1), run(2, QUEUED), run(3, QUEUED)])
    house.workers.resize(4)
    house.engine.await_started("j0:1", "j1:1", "j2:1", "j3:1")
    for job in range(4):
        house.engine.end(f"j{job}:1")
    house.workers.wait()


def test_an_end_that_could_not_be_written_is_written_later(house: House, caplog: pytest.LogCaptureFixture) -> None:
    written: list[str] = []
    refusals = iter(range(1))

    def write_end(store: Store) -> Run:
        if next(refusals, None) is not None:
            raise UnavailableError("still full")
        written.append("j0:1")
        return replace(run(0), status=RunStatus.FAILED)

    house.engine.error = EndNotWrittenError("the disk is full", hint="", write_end=write_end)
    ended: list[Run | None] = []
    house.workers.start([run(0)], ended=ended.append)
    house.workers.wait()
    assert (house.workers.unwritten, ended) == (("j0:1",), [])
    with pytest.raises(UnavailableError, match="still full"):
        house.workers.write_ends(house.store)
    house.workers.write_ends(house.store)
    assert (house.workers.unwritten, written) == ((), ["j0:1"])
    assert [each and each.status.value for each in ended] == ["failed"]
    assert "end_not_written run_id=j0:1" in caplog.text


def test_a_stop_lets_run_what_runs_and_starts_nothing_more(house: House) -> None:
    house.workers.start([run(0), run(1), run(2, QUEUED)])
    house.engine.await_started("j0:1", "j1:1")
    house.engine.end("j0:1")
    house.engine.end("j1:1")
    house.workers.stop(timedelta(seconds=LONG))
    assert house.engine.cancelled == {}
    assert "j2:1" not in house.engine.started, "it goes on waiting, for the next daemon"


def test_what_outlives_its_grace_is_interrupted(house: House) -> None:
    house.workers.start([run(0)])
    house.engine.await_started("j0:1")
    house.workers.stop(timedelta(0))
    assert house.engine.cancelled == {"j0:1": "interrupted"}


def test_an_engine_that_fails_gives_its_place_back(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.engine.error = UnavailableError("the disk is full")
    ended: list[Run | None] = []
    house.workers.start([run(0), run(1), run(2, QUEUED)], ended=ended.append)
    house.workers.wait()
    assert sorted(house.engine.started) == ["j0:1", "j1:1", "j2:1"]
    assert ended == [None] * 3
    assert "run_abandoned run_id=j0:1 error='the disk is full'" in caplog.text


def test_a_run_that_finds_no_thread_waits_for_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    refusals = iter(range(1))

    def no_thread(self: threading.Thread) -> None:
        if self.name == "files" and next(refusals, None) is not None:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    house.workers.start([run(0)])
    house.engine.turns_until(lambda: house.workers.next_at)
    house.workers.start([run(1)])
    house.engine.await_started("j1:1")
    house.clock.advance(timedelta(seconds=1))
    house.workers.release(house.clock.now())
    house.engine.await_started("j0:1")
    house.engine.end("j0:1")
    house.engine.end("j1:1")
    house.workers.wait()
    assert sorted(house.engine.started) == ["j0:1", "j1:1"]


def test_a_seat_that_was_given_up_frees_no_place_of_the_runs_next_one(house: House) -> None:
    house.workers.start([run(0)])
    house.engine.await_started("j0:1")
    house.workers._over(Seat(run=run(0), tried=run(0), cancel=Cancel()), None)
    assert house.workers.counts == (1, 0)
    house.engine.end("j0:1")
    house.workers.wait()
    assert house.workers.counts == (0, 0)


def test_looks_that_hang_keep_no_end_waiting(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Careful looks are on a mount that hangs: other threads look at processes, and write output."""
    monkeypatch.setattr("scheduler.run.local.engine.HANDS", 1)
    workers = LocalEngine(
        attempts=lambda _: cast(Any, house.engine),
        lend=lambda: Store.open(house.workers.place.db),
        clock=house.clock,
        place=house.workers.place,
        owner="1-b",
        scratch=house.workers.scratch,
    )
    hangs, found = threading.Event(), list[str]()
    census = workers._chunks._census
    workers._hands.give(lambda: hangs.wait(LONG))
    try:
        census.ask({"SCHEDULER_RUN_ID": "a:1"}, lambda _: found.append("processes"), everywhere=True)
        census.write(lambda: None, lambda _: found.append("output"))
        house.engine.workers = workers
        house.engine.turns_until(lambda: len(found) == 2)
    finally:
        hangs.set()
        workers.reactor.close()


def test_no_more_run_at_once_than_files_can_be_open(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 4096))
    no_store: Callable[[], contextlib.AbstractContextManager[Store]] = contextlib.nullcontext  # type: ignore[assignment]
    few = LocalEngine(
        attempts=lambda _: cast(Any, house.engine),
        lend=no_store,
        clock=house.clock,
        place=house.workers.place,
        owner="1-a",
        scratch=Path(),
    )
    few.max_running = 1000
    assert few.places == 19


def test_a_claim_whose_thread_gets_no_connection_is_given_up_and_has_its_end_once_there_is_one(house: House) -> None:
    """Such as one that may open no more files: nothing of the run has begun."""
    found = house.store.read(syncs.observed).jobs["j0"]
    owed = due(found, now=NOW_DUE, since=NOON)
    assert owed is not None
    claimed = claimed_run(house.store.write(claims.claim_due, [owed], seen=99, owner="1-a", max_running=9, now=NOON))

    def no_connection() -> contextlib.AbstractContextManager[Store]:
        raise UnavailableError("cannot open the database: unable to open database file")

    house.workers.lend = no_connection
    ended: list[Run | None] = []
    house.workers.start([claimed], ended=ended.append)
    house.workers.wait()
    assert (house.engine.started, house.workers.unwritten, ended) == ([], (claimed.id,), [])
    house.workers.write_ends(house.store)
    (row,) = house.store.read(queries.runs, "j0")
    assert (row.status.value, row.reason) == ("interrupted", "scheduler_error")
    assert "unable to open database file" in (row.error or "")
    assert ended == [row]


def test_an_end_that_can_never_be_written_is_told_once_and_keeps_no_other_from_it(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    def never(store: Store) -> Run:
        raise sqlite3.IntegrityError("FOREIGN KEY constraint failed")

    def can(store: Store) -> Run:
        return replace(run(1), status=RunStatus.FAILED)

    ended: list[Run | None] = []
    for n, write_end in enumerate((never, can)):
        house.engine.error = EndNotWrittenError("the disk is full", hint="", write_end=write_end)
        house.workers.start([run(n)], ended=ended.append)
        house.workers.wait()
    house.workers.write_ends(house.store)
    house.workers.write_ends(house.store)
    assert house.workers.unwritten == ()
    assert [each and each.id for each in ended] == [None, "j1:1"]
    assert caplog.text.count("end_lost run_id=j0:1") == 1


def test_an_attempt_whose_end_is_written_late_is_followed_by_the_next(house: House) -> None:
    again = NOON + timedelta(hours=1)
    ended: list[Run | None] = []
    house.engine.error = EndNotWrittenError(
        "the disk is full", hint="", write_end=lambda _: replace(run(0, QUEUED), retry_at=again)
    )
    house.workers.start([run(0)], ended=ended.append)
    house.workers.wait()
    house.workers.write_ends(house.store)
    assert (house.workers.unwritten, house.workers.next_at, ended) == ((), again, [])
    house.workers.let_go()
    assert ended == [None]


def test_a_cancel_that_comes_just_after_the_end_of_an_attempt_is_heard(house: House) -> None:
    again = NOON + timedelta(hours=1)

    def look(each: Run, cancel: Cancel, checked: None) -> Run:
        assert house.workers.cancel(each.id)
        last = Attempt(n=1, status=RunStatus.FAILED, started_at=NOON, finished_at=NOON)
        return replace(each, status=QUEUED, retry_at=again, attempts=(last,))

    house.engine.look_or_abandon = look  # type: ignore[method-assign, assignment]
    ended: list[Run | None] = []
    house.workers.start([run(0)], ended=ended.append)
    house.engine.turns_until(lambda: ended)
    assert (house.engine.cancelled, house.workers.next_at) == ({"j0:1": "cancelled unstarted"}, None)
    assert [each and each.id for each in ended] == ["j0:1"], "who waits for it is told"


NOW_DUE = NOON + timedelta(hours=1)
