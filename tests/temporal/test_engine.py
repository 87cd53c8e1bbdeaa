"""What the ledger says of runs that workers have: the server and the workers are a fake, and so is the clock."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.due.due import due
from scheduler.core.due.place import Cause, PlaceFault
from scheduler.core.values.facts import Job
from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.runs import Run, RunStatus, Trigger
from scheduler.ledger import claims, handed, queries, runs, syncs
from scheduler.ledger.database import LockedError, UnwritableError
from scheduler.ledger.store import Store
from scheduler.machine.reactor import Reactor
from scheduler.root.place import Place
from scheduler.run.engine import recover
from scheduler.run.local.attempts import Attempts
from scheduler.run.local.engine import LocalEngine
from scheduler.run.local.recovery import LocalRecovery
from scheduler.run.temporal import engine
from scheduler.run.temporal.engine import SLACK, TemporalEngine, told_of_server
from scheduler.run.temporal.spec import Outcome, Stream
from scheduler.run.temporal.states import Says, Step, next_step
from scheduler.service.root import Root
from scheduler.service.sync import sync
from scheduler.sync.passes import Passes
from tests.fakes import FakeClock

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
HOST = "worker-1"

ROOT = """
version: 1
runners:
  there: {command: [cat], cwd: scratch, task_queue: gpu}
  here: {command: [cat]}
"""


@dataclass
class Workflow:
    queue: str
    spec: Mapping[str, Any]
    task: bytes
    database: str
    starts: int = 1
    host: str | None = None
    end: Mapping[str, Any] | None = None
    cancelled: bool = False


@dataclass
class FakeTemporal:
    """The client and the server: knows workflows by their ids, and says of each what the real client would."""

    world: World
    database: str
    down: bool = False
    known: dict[str, Workflow] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def say(self, said: Mapping[str, Any]) -> None:
        what, handle = said["do"], said["id"]
        self.asked.append((what, handle))
        if self.down:
            self.tell(None, **{"is": "unreachable", "text": "no answer"})
            return
        found = self.known.get(handle)
        if what == "start":
            if found is None:
                task = base64.b64decode(said["task"])
                assert said["spec"]["task_sha256"] == hashlib.sha256(task).hexdigest()
                found = self.known[handle] = Workflow(said["queue"], said["spec"], task, self.database)
            self.tell(handle, **{"is": "accepted"})
        if what == "forget":
            return
        if found is None:
            self.tell(handle, **{"is": "unknown"})
            return
        if found.database != self.database:
            self.tell(handle, **{"is": "elsewhere", "database": found.database})
        if what == "cancel":
            found.cancelled = True
            if found.host is None:
                self.ends(handle, Outcome(status="cancelled", reason="cancelled"))
        if what == "end" and found.host is None and found.end is None:
            found.end = {"is": "closed", "word": "terminated", "text": "TerminatedError", "ours": True}
        if found.end is not None:
            self.tell(handle, **found.end)
        elif found.host is not None:
            self.tell(handle, **{"is": "running", "host": found.host})

    def tell(self, handle: str | None, **said: Any) -> None:
        engine = self.world.remote
        self.world.reactor.call(lambda: engine.heard(said if handle is None else {**said, "id": handle}))

    def takes(self, handle: str, host: str = HOST) -> None:
        self.known[handle].host = host
        self.tell(handle, **{"is": "running", "host": host})

    def ends(self, handle: str, outcome: Outcome) -> None:
        found = self.known[handle]
        found.end = {"is": "ended", "outcome": outcome.to_json()}
        if not self.down:
            self.tell(handle, **found.end)

    def succeeds(self, handle: str, at: datetime, *, took: timedelta = MINUTE, **more: Any) -> None:
        self.ends(handle, outcome(at, took=took, **more))


def outcome(at: datetime, *, took: timedelta = MINUTE, status: Any = "succeeded", **more: Any) -> Outcome:
    default: dict[str, Any] = {"host": HOST, "spawned_at": at - took, "finished_at": at, "output_bytes": 3}
    if status == "succeeded":
        default |= {"exit_code": 0, "result": "hi\n", "stdout": Stream(total=3, head=b"hi\n")}
    return Outcome(status=status, **{**default, **more})


class World:
    """One control plane: a root, its ledger, both engines, and a fake of everything beyond."""

    def __init__(self, tmp_path: Path, job: str = "") -> None:
        root = tmp_path / "root"
        (root / "jobs").mkdir(parents=True)
        (root / "scheduler.yaml").write_text(ROOT)
        (root / "jobs/j.yaml").write_text(f"id: j\nschedule: {{every: 1h}}\nrunner: there\ntask: hi\n{job}\n")
        self.place = Place(root=root, state=root / ".scheduler", db=root / ".scheduler/state.db")
        self.clock = FakeClock(NOON)
        sync(Root(place=self.place, actor="user:test", environ=dict(os.environ), clock=self.clock))
        self.store = Store.open(self.place.db)
        self.lost: list[PlaceFault] = []
        self.database = self.store.read(handed.database_id)
        self.server = FakeTemporal(self, self.database)
        self.begin()

    def begin(self) -> None:
        """A daemon starts, or starts again."""
        self.reactor = Reactor()
        passes = Passes(place=self.place, clock=self.clock)
        self.no_engine = ""
        self.local = LocalEngine(
            attempts=lambda store: Attempts(
                place=self.place,
                store=store,
                clock=self.clock,
                environ=dict(os.environ),
                passes=passes,
                owner="1-a",
                lost=self.lost.append,
                no_engine=lambda _: self.no_engine,
            ),
            lend=lambda: Store.open(self.place.db),
            clock=self.clock,
            place=self.place,
            owner="1-a",
            scratch=self.place.state / "scratch",
            reactor=self.reactor,
            leaves=lambda _: True,
        )
        self.remote = TemporalEngine(
            place=self.place,
            lend=lambda: Store.open(self.place.db),
            clock=self.clock,
            reactor=self.reactor,
            root_id="r",
            home=self.local.came_home,
            say=self.server.say,
        )
        self.local.away.workers = self.remote
        self.local.follow(self.remote.begin(self.store))

    def turn(self, until: Callable[[], object] | None = None) -> None:
        """Let everything come to rest; or go on until something is so."""
        for _ in range(400):
            self.reactor.turn(0.01 if until is not None else 0.0)
            if until is not None and until():
                break
        else:
            assert until is None, self.run()
        for _ in range(5):
            self.reactor.turn(0.0)

    def fire(self) -> str:
        """Claim the next slot, and hand it over. Returns its handle."""
        job = self.job()
        assert job.next_run_at is not None
        self.clock.moment = job.next_run_at
        found = due(job, now=self.clock.now(), since=NOON)
        assert found is not None
        with self.store.writing() as sql:
            ticket = sql.execute("SELECT max(changed) FROM jobs").fetchone()[0]
            claimed = claims.claim_due(
                sql, [found], seen=ticket, owner="1-a", max_running=1, now=self.clock.now(), max_out=self.local.max_out
            )
        self.local.start(claimed.runs)
        known = set(self.server.known)
        before = len(self.server.asked)
        waits = (RunStatus.QUEUED, RunStatus.SKIPPED)
        self.turn(lambda: len(self.server.asked) > before or self.run().status in waits)
        new = [each for each in self.server.known if each not in known]
        return new[0] if new else ""

    def ask(self) -> None:
        with self.store.writing() as sql:
            found = claims.claim_manual(
                sql, "j", trigger=Trigger.MANUAL, requested_by="u", owner="1-a", max_running=1, now=self.clock.now()
            )
        before = len(self.server.asked)
        self.local.start(found.runs)
        self.turn(lambda: len(self.server.asked) > before)

    def job(self) -> Job:
        return self.store.read(syncs.observed, job_id="j").jobs["j"]

    def run(self, n: int | None = None) -> Run:
        found = self.store.read(queries.runs, "j")
        return next(each for each in found if n is None or each.n == n)

    def close(self) -> None:
        self.store.close()
        self.reactor.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def made(job: str = "") -> World:
        worlds.append(World(tmp_path, job))
        return worlds[-1]

    yield made
    for each in worlds:
        each.close()


@pytest.fixture
def world(make: Callable[..., World]) -> World:
    return make()


def test_a_slot_is_claimed_while_nobody_has_it_and_runs_once_a_worker_does(world: World) -> None:
    handle = world.fire()
    assert handle == "run/r/j/2026-03-02T13:00:00Z"
    run = world.run()
    assert (run.status, run.engine, run.task_queue, run.handle) == (RunStatus.CLAIMED, "temporal", "gpu", handle)
    assert (run.attempts, world.job().runtime.run_count) == ((), 0)
    assert world.server.known[handle].task == b"hi"
    world.server.takes(handle)
    world.turn()
    run = world.run()
    assert (run.status, run.host, world.job().runtime.run_count) == (RunStatus.RUNNING, HOST, 1)


def test_the_end_comes_home_with_its_output_its_times_and_its_counters(world: World) -> None:
    handle = world.fire()
    world.clock.moment += 10 * MINUTE
    world.server.succeeds(handle, world.clock.now(), took=9 * MINUTE)
    world.turn()
    run, job = world.run(), world.job()
    assert (run.status, run.result, run.exit_code, run.host) == (RunStatus.SUCCEEDED, "hi\n", 0, HOST)
    assert run.duration_ms == 9 * 60_000
    assert (job.runtime.run_count, job.runtime.last_run_status) == (1, "succeeded")
    assert world.place.output("j", run.n, 1, "stdout").read_bytes() == b"hi\n"
    assert not world.place.output("j", run.n, 1, "stderr").exists()
    assert world.remote.out == ()
    assert world.local.counts == (0, 0)


def test_a_try_lasted_from_its_own_start_and_not_from_when_it_was_heard_of(world: World) -> None:
    handle = world.fire()
    world.clock.moment += 2 * MINUTE
    world.server.takes(handle)
    world.turn()
    assert world.run().started_at == world.clock.now()
    world.clock.moment += MINUTE
    world.server.succeeds(handle, world.clock.now(), took=2 * MINUTE)
    world.turn()
    run = world.run()
    assert (run.started_at, run.attempts[0].started_at) == (NOON + HOUR + MINUTE, NOON + HOUR + MINUTE)
    assert run.duration_ms == 2 * 60_000


def test_what_is_said_twice_is_written_once(world: World) -> None:
    handle = world.fire()
    world.clock.moment += MINUTE
    for _ in range(3):
        world.server.succeeds(handle, world.clock.now(), took=SECOND)
    world.turn()
    assert (world.run().status, world.job().runtime.run_count) == (RunStatus.SUCCEEDED, 1)


def test_a_clock_that_is_two_minutes_off_on_the_host_moves_no_time_here(world: World) -> None:
    handle = world.fire()
    world.clock.moment += 5 * MINUTE
    world.server.succeeds(handle, world.clock.now() + 2 * MINUTE, took=3 * MINUTE)
    world.turn()
    run = world.run()
    assert run.started_at == NOON + HOUR + 2 * MINUTE
    assert (run.finished_at, run.duration_ms) == (world.clock.now(), 3 * 60_000)


def test_of_longer_output_the_ends_come_home_and_the_file_says_where_the_rest_is(world: World) -> None:
    handle = world.fire()
    world.clock.moment += MINUTE
    out = Stream(total=1000, head=b"first", tail=b"last")
    world.server.succeeds(handle, world.clock.now(), took=SECOND, stdout=out, truncated=True, output_bytes=1000)
    world.turn()
    kept = world.place.output("j", world.run().n, 1, "stdout").read_bytes()
    assert kept == b"first\n[... 991 bytes are on worker-1: scheduler output j:1 --full ...]\nlast"


def test_what_nobody_takes_in_time_is_skipped_for_capacity(world: World) -> None:
    world.fire()
    world.clock.moment += 30 * MINUTE + SLACK + SECOND
    world.remote.look()
    world.turn()
    run = world.run()
    assert (run.status, run.reason, run.attempts) == (RunStatus.SKIPPED, "capacity", ())
    assert "no worker of queue 'gpu' took it in time" in (run.error or "")
    assert (world.job().runtime.run_count, world.job().runtime.consecutive_errors) == (0, 0)


def test_a_worker_that_comes_too_late_starts_nothing(world: World) -> None:
    handle = world.fire()
    world.server.ends(handle, Outcome(status="unstarted", reason="capacity", error="it came late"))
    world.turn()
    assert (world.run().status, world.run().reason) == (RunStatus.SKIPPED, "capacity")


def test_a_host_that_refuses_a_runner_is_a_fault_that_counts(world: World) -> None:
    handle = world.fire()
    words = "this host has no runner 'there'"
    world.server.ends(handle, Outcome(status="unstarted", reason="runner_refused_by_host", error=words))
    world.turn()
    run = world.run()
    assert (run.status, run.reason, run.error) == (RunStatus.SKIPPED, "runner_refused_by_host", words)
    assert world.job().runtime.consecutive_errors == 1


def test_after_a_restart_each_row_is_followed_by_its_id_and_its_end_is_written(world: World) -> None:
    handle = world.fire()
    world.server.takes(handle)
    world.turn()
    world.server.down = True
    world.clock.moment += 10 * HOUR
    world.server.succeeds(handle, world.clock.now(), took=MINUTE)
    world.server.down = False
    assert recover(world.store, [LocalRecovery(place=world.place, clock=world.clock)]) == []
    world.begin()
    world.turn()
    run = world.run()
    assert (run.status, run.started_at is not None, len(run.attempts)) == (RunStatus.SUCCEEDED, True, 1)
    assert world.server.asked[-2:] == [("watch", handle), ("forget", handle)]


def test_a_kill_between_the_row_and_the_start_hands_over_again_under_the_same_id(world: World) -> None:
    world.server.down = True
    world.fire()
    world.server.down = False
    world.begin()
    world.turn(lambda: world.server.known)
    (handle,) = world.server.known
    assert handle == world.run().handle
    assert [what for what, _ in world.server.asked] == ["start", "watch", "start"]


def test_what_was_never_handed_over_is_skipped_once_it_is_too_late(world: World) -> None:
    world.server.down = True
    world.fire()
    world.server.down = False
    world.clock.moment += 2 * HOUR
    world.begin()
    world.turn()
    assert (world.run().status, world.run().reason, world.server.known) == (RunStatus.SKIPPED, "capacity", {})


def test_an_id_that_is_unknown_after_half_the_retention_is_never_started_again(make: Callable[..., World]) -> None:
    world = make("retry: {attempts: 3, on: [interrupted]}")
    handle = world.fire()
    world.server.takes(handle)
    world.turn()
    world.remote.heard({"is": "reached", "retention_s": 72 * 3600})
    del world.server.known[handle]
    world.clock.moment += 36 * HOUR
    world.remote.client_began()
    world.turn()
    run = world.run()
    assert (run.status, run.reason, run.retry_at) == (RunStatus.INTERRUPTED, "outcome_unknown", None)
    assert world.server.known == {}


def test_a_run_that_a_worker_had_is_not_started_again_because_somebody_deleted_it(world: World) -> None:
    handle = world.fire()
    world.server.takes(handle)
    world.turn()
    del world.server.known[handle]
    world.remote.client_began()
    world.turn()
    assert (world.run().status, world.run().reason) == (RunStatus.INTERRUPTED, "outcome_unknown")
    assert world.server.known == {}


def test_while_the_server_is_away_the_row_stays_and_people_are_told_since_when(world: World) -> None:
    handle = world.fire()
    world.server.takes(handle)
    world.turn()
    world.server.down = True
    world.remote.client_began()
    world.turn()
    assert world.run().status is RunStatus.RUNNING
    assert told_of_server(world.remote) == "Temporal not reached since 2026-03-02T13:00:00Z: no answer"
    world.clock.moment += 10 * HOUR
    world.remote.look()
    world.turn()
    assert world.run().status is RunStatus.RUNNING
    world.server.down = False
    world.remote.heard({"is": "reached", "retention_s": 604800})
    assert told_of_server(world.remote) == ""
    world.server.succeeds(handle, world.clock.now())
    world.turn()
    assert world.run().status is RunStatus.SUCCEEDED


def test_a_cancel_before_anybody_has_it_ends_it_without_an_attempt(world: World) -> None:
    world.fire()
    assert world.local.cancel(world.run().id)
    world.turn()
    run = world.run()
    assert (run.status, run.reason, run.attempts) == (RunStatus.CANCELLED, "cancelled", ())
    assert world.job().runtime.run_count == 0


def test_a_cancel_of_a_running_one_waits_for_the_worker_and_is_not_tried_again(make: Callable[..., World]) -> None:
    world = make("retry: {attempts: 3}")
    handle = world.fire()
    world.server.takes(handle)
    world.turn()
    assert world.local.cancel(world.run().id, why="replaced")
    world.turn()
    assert world.server.known[handle].cancelled
    assert world.run().status is RunStatus.RUNNING
    world.clock.moment += MINUTE
    world.server.ends(handle, outcome(world.clock.now(), status="cancelled", reason="cancelled", took=SECOND))
    world.turn()
    assert (world.run().status, world.run().reason, len(world.run().attempts)) == (RunStatus.CANCELLED, "replaced", 1)


def test_a_retry_is_another_try_with_an_id_of_its_own(make: Callable[..., World]) -> None:
    world = make("retry: {attempts: 2, delay: 1m, on: [interrupted]}")
    handle = world.fire()
    world.server.takes(handle)
    world.clock.moment += MINUTE
    words = "no worker has it any more"
    world.server.ends(handle, outcome(world.clock.now(), status="interrupted", reason="worker_lost", error=words))
    world.turn()
    run = world.run()
    assert (run.status, run.retry_at) == (RunStatus.QUEUED, world.clock.now() + MINUTE)
    world.clock.moment += MINUTE
    world.local.release(world.clock.now())
    world.turn(lambda: f"{handle}/2" in world.server.known)
    world.server.takes(f"{handle}/2", "worker-2")
    world.clock.moment += MINUTE
    world.server.succeeds(f"{handle}/2", world.clock.now(), took=SECOND, host="worker-2")
    world.turn()
    run = world.run()
    assert [(each.n, each.status, each.host) for each in run.attempts] == [
        (1, RunStatus.INTERRUPTED, HOST),
        (2, RunStatus.SUCCEEDED, "worker-2"),
    ]
    assert (run.status, run.handle, world.job().runtime.run_count) == (RunStatus.SUCCEEDED, f"{handle}/2", 1)


def test_a_retry_that_nobody_takes_ends_as_the_try_before_it(make: Callable[..., World]) -> None:
    world = make("retry: {attempts: 2, delay: 1m}")
    handle = world.fire()
    world.clock.moment += MINUTE
    failed = outcome(world.clock.now(), status="failed", reason="exit_code", exit_code=3, error="exit code 3")
    world.server.ends(handle, failed)
    world.turn()
    world.clock.moment += MINUTE
    world.local.release(world.clock.now())
    world.turn(lambda: f"{handle}/2" in world.server.known)
    world.server.ends(f"{handle}/2", Outcome(status="unstarted", reason="capacity"))
    world.turn()
    run = world.run()
    assert (run.status, run.reason, run.exit_code, len(run.attempts)) == (RunStatus.FAILED, "exit_code", 3, 1)
    assert "no worker of queue 'gpu' took it in time" in (run.error or "")


def test_a_slot_of_another_control_plane_counts_as_active_until_its_end_is_known(world: World) -> None:
    other = "run/r/j/2026-03-02T13:00:00Z"
    world.server.known[other] = Workflow("gpu", {}, b"hi", "other-database", host="far-1")
    world.fire()
    run = world.run()
    assert run.elsewhere is not None
    assert (run.elsewhere.database, run.status, run.attempts) == ("other-database", RunStatus.CLAIMED, ())
    world.fire()
    assert (world.run(2).status, world.run(2).reason) == (RunStatus.SKIPPED, "overlap")
    world.server.ends(other, outcome(world.clock.now(), host="far-1"))
    world.turn()
    run = world.run(1)
    assert (run.status, run.reason) == (RunStatus.SKIPPED, "elsewhere")
    assert run.elsewhere is not None
    assert (run.elsewhere.status, run.elsewhere.host) == ("succeeded", "far-1")
    runtime = world.job().runtime
    assert (runtime.run_count, runtime.consecutive_errors, runtime.last_run_at) == (0, 0, None)


@pytest.mark.parametrize("error", [LockedError, UnwritableError])
def test_whose_a_slot_is_is_written_before_its_end_also_while_the_database_cannot_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch, error: type[UnavailableError]
) -> None:
    other = "run/r/j/2026-03-02T13:00:00Z"
    world.server.known[other] = Workflow("gpu", {}, b"hi", "other-database", host="far-1")
    monkeypatch.setattr(engine, "LOOK_S", 0.01)
    left = [error("not now")] * 2
    note = handed.note_elsewhere

    def noted(*args: Any) -> None:
        if left:
            raise left.pop()
        note(*args)

    monkeypatch.setattr(handed, "note_elsewhere", noted)
    world.fire()
    world.server.ends(other, outcome(world.clock.now(), host="far-1"))
    world.turn(lambda: world.run().finished_at is not None)
    assert (world.run().reason, left) == ("elsewhere", [])
    assert world.job().runtime.run_count == 0


def test_without_an_engine_a_slot_waits_and_nothing_runs_here(world: World) -> None:
    world.no_engine = "write engine.yaml"
    world.fire()
    run = world.run()
    assert (run.status, run.reason, run.attempts) == (RunStatus.QUEUED, "place", ())
    assert [(each.cause, each.name) for each in world.lost] == [(Cause.ENGINE, "j")]
    assert world.job().runtime.consecutive_errors == 0


def test_runs_of_people_have_an_id_that_no_copy_of_the_database_gives_out_again(world: World) -> None:
    world.ask()
    (handle,) = world.server.known
    assert handle.startswith("run/r/j/manual/")
    assert len(handle.rpartition("/")[2]) == 36
    world.clock.moment += MINUTE
    world.server.succeeds(handle, world.clock.now(), took=SECOND)
    world.turn()
    assert world.run().status is RunStatus.SUCCEEDED


def test_an_outcome_that_cannot_be_read_is_no_success(world: World) -> None:
    handle = world.fire()
    world.server.tell(handle, **{"is": "ended", "outcome": {"version": 9, "status": "succeeded"}})
    world.turn()
    run = world.run()
    assert (run.status, run.reason) == (RunStatus.INTERRUPTED, "engine_error")
    assert "version 9 of an outcome is not known here" in (run.error or "")


def test_a_workflow_that_somebody_terminates_is_interrupted_with_its_word(world: World) -> None:
    handle = world.fire()
    world.server.takes(handle)
    world.turn()
    world.server.tell(handle, **{"is": "closed", "word": "terminated", "text": "TerminatedError: by hand"})
    world.turn()
    run = world.run()
    assert (run.status, run.reason) == (RunStatus.INTERRUPTED, "engine_error")
    assert "TerminatedError: by hand" in (run.error or "")


def test_more_than_may_be_out_at_once_wait_here(make: Callable[..., World]) -> None:
    world = make("concurrency: allow")
    world.remote.max_out = 1
    first = world.fire()
    world.fire()
    assert [each.status for each in world.store.read(queries.runs, "j")] == [RunStatus.QUEUED, RunStatus.CLAIMED]
    world.server.succeeds(first, world.clock.now())
    world.turn(lambda: len(world.server.known) == 2)
    assert world.run(2).status is RunStatus.CLAIMED


def test_a_full_machine_does_not_keep_workers_waiting(world: World) -> None:
    world.local.max_running = 0
    assert world.fire()


@pytest.mark.parametrize(
    ("says", "age", "left", "step"),
    [
        (Says.UNREACHABLE, 100 * HOUR, -HOUR, Step.WAIT),
        (Says.RUNNING, 100 * HOUR, -HOUR, Step.FOLLOW),
        (Says.CLOSED, 1000 * HOUR, -HOUR, Step.END),
        (Says.UNKNOWN, SECOND, HOUR, Step.START),
        (Says.UNKNOWN, 2 * HOUR, -SECOND, Step.CAPACITY),
        (Says.UNKNOWN, 36 * HOUR, HOUR, Step.LOST),
        (Says.UNKNOWN, 36 * HOUR - SECOND, HOUR, Step.START),
    ],
)
def test_the_table_of_states(says: Says, age: timedelta, left: timedelta, step: Step) -> None:
    found = next_step(says, handed_at=NOON - age, not_after=NOON + left, now=NOON, retention=72 * HOUR)
    assert found is step


def test_while_the_retention_is_unknown_the_shortest_one_is_assumed() -> None:
    found = next_step(Says.UNKNOWN, handed_at=NOON - 12 * HOUR, not_after=NOON + HOUR, now=NOON, retention=None)
    assert found is Step.LOST


def test_what_was_handed_over_is_followed_after_a_copy_is_put_back(world: World) -> None:
    """A copy has the same id: the end comes home into it."""
    handle = world.fire()
    copy = world.place.db.with_name("copy.db")
    with world.store.writing() as sql:
        sql.execute("SELECT 1")
    world.store._connection.execute("VACUUM INTO ?", (str(copy),))
    with Store.open(copy) as other:
        assert other.read(handed.database_id) == world.database
        assert [each.handle for each in other.read(handed.out)] == [handle]
        assert other.read(runs.find_run, "j", 1) is not None
