"""Runs of one instant share their transactions. What goes wrong with one, or with the database, harms no other."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.due.due import due
from scheduler.core.values.runs import Run
from scheduler.daemon import clockwork as clockwork_module
from scheduler.daemon.agenda import Agenda
from scheduler.daemon.clockwork import Clockwork
from scheduler.git.run import run_git
from scheduler.git.tree import Commits
from scheduler.ledger import batches, claims, queries, runs, syncs
from scheduler.ledger.owners import Owner
from scheduler.ledger.pool import Stores
from scheduler.ledger.store import Store
from scheduler.machine import mounts
from scheduler.machine.reactor import Reactor
from scheduler.root import tasks
from scheduler.root.parsed import Parsed
from scheduler.root.place import Place
from scheduler.run import fire
from scheduler.run.local import chunks
from scheduler.run.local.attempts import Attempts
from scheduler.run.local.engine import LocalEngine
from scheduler.service.root import Root
from scheduler.service.sync import sync
from scheduler.sync.passes import Passes
from tests.fakes import START, FakeClock, FakeDuties
from tests.helpers import git

LONG = 30.0
HOUR = timedelta(hours=1)
ROOT_FILE = """\
version: 1
defaults: {runner: sh}
runners: {sh: {command: [sh, -eu, "{task_file}"], input: file}}
limits: {max_running: 500, output_bytes: 20000}
"""


@dataclass
class House:
    """The parts of a daemon that fire, moved on by the test."""

    root: Path
    clock: FakeClock
    service: Root
    store: Store
    clockwork: Clockwork
    engine: LocalEngine

    def job(self, job_id: str, task: str, keys: str = "") -> None:
        lines = [f"id: {job_id}", "schedule: {every: 1h}", keys, f"task_source_path: tasks/{job_id}.sh"]
        (self.root / f"tasks/{job_id}.sh").write_text(task)
        (self.root / f"jobs/{job_id}.yaml").write_text("\n".join(filter(None, lines)) + "\n")

    def sync(self) -> None:
        sync(self.service)
        self.clockwork.reload(self.store)

    def fire(self) -> list[Run]:
        """What the next full hour brings is claimed and started."""
        self.next_hour()
        return self.clockwork.dispatch(self.store)

    def next_hour(self) -> None:
        self.clock.moment = (self.clock.moment + HOUR).replace(minute=0)

    def until(self, come: Callable[[], object]) -> None:
        give_up = time.monotonic() + LONG
        while not come():
            assert time.monotonic() < give_up
            self.engine.reactor.turn(0.02)

    def rows(self, job_id: str) -> list[tuple[str, str | None]]:
        return [(run.status.value, run.reason) for run in reversed(self.store.read(queries.runs, job_id))]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    for folder in ("root/jobs", "root/tasks"):
        (tmp_path / folder).mkdir(parents=True)
    root = tmp_path / "root"
    (root / "scheduler.yaml").write_text(ROOT_FILE)
    place = Place(root=root, state=root / ".scheduler", db=root / ".scheduler/state.db")
    clock, environ = FakeClock(), {"PATH": os.environ["PATH"], "HERE": str(tmp_path)}
    service = Root(place=place, actor="user:test", environ=environ, clock=clock)
    sync(service)
    reactor = Reactor()
    passes = Passes(place=place, clock=clock, absent_grace=timedelta(0), parsed=Parsed(), commits=Commits())
    passes.tree()
    with Owner(place.owners) as owner, Store.open(place.db) as store:
        agenda = Agenda(reactor, lambda ids: store.read(syncs.observed_of, ids, (), total=0)[0].jobs)
        stores = Stores(place.db, usable=lambda: "")

        def attempts(lent: Store) -> Attempts:
            return Attempts(place=place, store=lent, clock=clock, environ=environ, passes=passes, owner=owner.id)

        engine = LocalEngine(
            attempts=attempts,
            lend=stores.lend,
            clock=clock,
            place=place,
            owner=owner.id,
            scratch=owner.scratch,
            reactor=reactor,
            alone=agenda.runs_alone,
            known=agenda.get,
        )
        engine.resize(500)
        clockwork = Clockwork(
            clock=clock, owner=owner.id, since=START, agenda=agenda, lend=stores.lend, duties=FakeDuties(clock, engine)
        )
        yield House(root, clock, service, store, clockwork, engine)
        engine.interrupt()
        engine.stop(timedelta(0))
        stores.close()
    reactor.close()


class CountedCommits:
    """Counts the transactions of this process, by whether they are forced to disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.durable, self.others, real = 0, 0, Store.writing

        @contextlib.contextmanager
        def writing(store: Store, *, durable: bool = True, wait: timedelta | None = None) -> Iterator[Any]:
            with real(store, durable=durable, wait=wait) as sql:
                yield sql
            self.durable, self.others = self.durable + durable, self.others + (not durable)

        monkeypatch.setattr(Store, "writing", writing)


@contextlib.contextmanager
def locked(house: House) -> Iterator[None]:
    """Another process writes, and takes its time."""
    other = sqlite3.connect(house.service.place.db, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


def in_the_middle(house: House, monkeypatch: pytest.MonkeyPatch, what: Callable[[], object]) -> list[int]:
    """Have something happen within an instant, between the look at its second chunk and its claim. Counts the looks."""
    real, looks = house.engine.plan, list[int]()

    def plan(*args: Any) -> Any:
        found = real(*args)
        looks.append(len(found))
        if len(looks) == 2:
            what()
        return found

    monkeypatch.setattr(house.engine, "plan", plan)
    return looks


def test_a_hundred_runs_of_one_instant_share_their_commits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(100):
        house.job(f"j{n:02}", "echo $SCHEDULER_RUN_ID\n")
    house.sync()
    commits = CountedCommits(monkeypatch)
    claimed = house.fire()
    assert [run.status.value for run in claimed] == ["running"] * 100
    house.engine.wait()
    for n in range(100):
        (run,) = house.store.read(queries.runs, f"j{n:02}")
        assert (run.status.value, run.result) == ("succeeded", f"j{n:02}:1\n")
    assert commits.durable <= 3 + 20, "three chunks, and ends in groups"
    assert commits.others <= 100 / 16 + 3 + 20


def test_a_rehearsal_leaves_nothing_and_what_changes_after_it_counts(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.job("j", "echo old\n")
    house.sync()
    real, claimed = batches.begin_due, list[int]()

    def begin_due(*args: Any, **named: Any) -> Any:
        found = real(*args, **named)
        claimed.append(len(found))
        return found

    monkeypatch.setattr(batches, "begin_due", begin_due)
    tables = ("jobs", "runs", "attempts", "texts")

    def content() -> list[list[tuple[Any, ...]]]:
        with house.store.reading() as sql:
            return [[tuple(row) for row in sql.execute(f"SELECT * FROM {table}")] for table in tables]

    before, start = content(), house.clockwork.next_start
    assert start is not None
    house.clockwork._rehearse(house.store, start)
    assert claimed == [1], "it went all the way"
    assert (content(), house.clockwork.next_start, house.engine.under_way) == (before, start, ())
    with locked(house):
        house.clockwork._rehearse(house.store, start)  # waits for nobody
    (house.root / "tasks/j.sh").write_text("echo new\n")
    house.fire()
    house.engine.wait()
    (run,) = house.store.read(queries.runs, "j")
    assert (run.n, run.result) == (1, "new\n")


def test_a_job_that_changes_between_the_look_and_the_claim_runs_as_it_is_then(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(40):
        house.job(f"j{n:02}", "echo old\n")
    house.sync()

    def change() -> None:
        house.job("j30", "echo new\n", "name: Changed")
        house.job("j31", "echo new\n", "enabled: false")
        sync(house.service)

    looks = in_the_middle(house, monkeypatch, change)
    house.fire()
    house.engine.wait()
    assert looks[0] == 16
    results = {}
    for n in range(40):
        found = house.store.read(queries.runs, f"j{n:02}")
        assert len(found) == 1, "each slot once"
        results[n] = found[0]
    assert (results[30].generation, results[30].result) == (2, "new\n")
    assert {results[n].result for n in results if n not in (30, 31)} == {"old\n"}
    assert results[31].status.value != "running"
    assert results[31].result in (None, "old\n")


@pytest.mark.parametrize("hours", [-3, -1, 1, 3])
def test_a_clock_that_is_set_within_an_instant_gives_each_slot_once(
    house: House, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    for n in range(40):
        house.job(f"j{n:02}", "true\n")
    house.sync()
    looks = in_the_middle(house, monkeypatch, lambda: house.clock.step(hours * HOUR))
    house.fire()
    house.engine.wait()
    assert len(looks) >= 2
    house.clock.step(-hours * HOUR)
    house.clockwork.dispatch(house.store)
    house.engine.wait()
    assert {n: house.rows(f"j{n:02}") for n in range(40)} == {n: [("succeeded", None)] for n in range(40)}


def test_a_slot_that_somebody_else_claims_within_an_instant_is_theirs_and_costs_no_other_its_own(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(40):
        house.job(f"j{n:02}", "echo $SCHEDULER_RUN_ID\n")
    house.sync()
    job = house.store.read(queries.job, "j20")
    assert job is not None

    def claim() -> None:
        found = due(job, now=house.clock.now(), since=START)
        assert found is not None
        with Store.open(house.service.place.db) as other:
            other.write(claims.claim_due, [found], seen=99, owner="9-other", max_running=500, now=house.clock.now())

    looks = in_the_middle(house, monkeypatch, claim)
    house.fire()
    house.engine.wait()
    assert len(looks) >= 3, "the chunk of that slot was looked at again"
    (theirs,) = house.store.read(queries.runs, "j20")
    assert theirs.status.value == "claimed"
    for n in range(40):
        if n != 20:
            (run,) = house.store.read(queries.runs, f"j{n:02}")
            assert (run.status.value, run.result) == ("succeeded", f"j{n:02}:1\n")


def test_while_the_database_is_locked_runs_under_way_go_on_and_everything_is_written_afterwards(house: House) -> None:
    house.job("late", "sleep 1000\n", "timeout: 1s")
    house.job("loud", f"head -c 300000 /dev/zero; echo done > {house.root.parent}/loud\n")
    house.sync()
    house.fire()
    with locked(house):
        house.until(lambda: (house.root.parent / "loud").exists())
        seat = house.engine._seats["late:1"]
        house.until(lambda: seat.ending is not None)
        assert house.rows("late") == [("running", None)]
        assert house.engine.under_way, "nobody has been told of an end that is not on disk"
    house.engine.wait()
    assert (house.rows("late"), house.rows("loud")) == ([("timed_out", "timeout")], [("succeeded", None)])


def test_a_claim_waits_for_a_locked_database_and_keeps_nobody_waiting(house: House) -> None:
    house.job("first", "sleep 0.2\n", "timeout: 10s")
    house.sync()
    house.fire()
    house.job("second", "true\n")
    house.sync()
    freed = threading.Event()

    def hold() -> None:
        with locked(house):
            held.set()
            assert freed.wait(LONG)

    held = threading.Event()
    holding = threading.Thread(target=hold)
    holding.start()
    assert held.wait(LONG)
    seat = house.engine._seats["first:1"]

    def free() -> None:
        give_up = time.monotonic() + LONG
        while seat.ending is None and time.monotonic() < give_up:
            time.sleep(0.01)
        freed.set()

    freeing = threading.Thread(target=free)
    freeing.start()
    house.fire()  # returns once the claim is written: after the first run has been seen to end
    holding.join(LONG)
    freeing.join(LONG)
    assert seat.ending is not None
    house.engine.wait()
    assert house.rows("second")[0] == ("succeeded", None)


def test_nothing_starts_that_cannot_be_marked_and_its_row_says_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full between a chunk and its processes."""
    for n in range(3):
        house.job(f"j{n}", f"touch {house.root.parent}/ran\n")
    house.sync()
    real = batches.mark_all_spawning

    def full(*_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL  # as the module itself sets it
        raise error

    monkeypatch.setattr(batches, "mark_all_spawning", full)
    house.fire()
    house.engine.wait()
    assert not (house.root.parent / "ran").exists()
    assert [house.rows(f"j{n}") for n in range(3)] == [[("interrupted", "scheduler_error")]] * 3
    monkeypatch.setattr(batches, "mark_all_spawning", real)
    house.fire()
    house.engine.wait()
    assert house.rows("j0")[-1] == ("succeeded", None)


def test_an_end_that_the_disk_refuses_is_kept_and_written_later(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.job("j", "true\n")
    house.sync()
    real = batches.finish_all

    def full(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(batches, "finish_all", full)
    house.fire()
    house.engine.wait()
    assert (house.engine.unwritten, house.rows("j")) == (("j:1",), [("running", None)])
    monkeypatch.setattr(batches, "finish_all", real)
    house.engine.write_ends(house.store)
    assert (house.engine.unwritten, house.rows("j")) == ((), [("succeeded", None)])


def test_one_end_that_the_database_never_takes_keeps_no_other_from_its_row(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(5):
        house.job(f"j{n}", "true\n")
    house.sync()
    real = batches.finish_all

    def picky(sql: Any, batch: Any, **named: Any) -> Any:
        if any(run.job_id == "j2" for run, _, _ in batch):
            raise sqlite3.IntegrityError("FOREIGN KEY constraint failed")
        return real(sql, batch, **named)

    monkeypatch.setattr(batches, "finish_all", picky)
    house.fire()
    house.engine.wait()
    assert [house.rows(f"j{n}")[0][0] for n in range(5)] == ["succeeded"] * 2 + ["running"] + ["succeeded"] * 2
    assert caplog.text.count("end_lost run_id=j2:1") == 1


@pytest.mark.parametrize("quiet", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_one_that_writes_without_end_keeps_no_quiet_one_waiting(house: House, quiet: int) -> None:
    house.engine.resize(quiet + 1)
    house.job("endless", "exec yes\n", "timeout: 10m")
    names = [f"q{n:03}" for n in range(quiet)]
    for name in names:
        house.job(name, "echo quiet\n")
    house.sync()
    house.fire()
    house.until(lambda: len(house.engine.under_way) == 1)
    assert house.engine.under_way == ("endless:1",)
    assert {house.rows(name)[0] for name in names} == {("succeeded", None)}
    execution = house.engine._seats["endless:1"].execution
    assert execution is not None
    house.until(lambda: execution._captures[0].total > 2_000_000)
    assert house.engine.cancel("endless:1")
    house.engine.wait()
    (run,) = house.store.read(queries.runs, "endless")
    assert (run.status.value, run.truncated) == ("cancelled", True)


def test_a_mount_that_hangs_keeps_only_its_own_jobs_waiting(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    (house.root / "tasks/far").mkdir()
    house.job("near", "echo near\n")
    (house.root / "jobs/far.yaml").write_text("id: far\nschedule: {every: 1h}\ntask_source_path: tasks/far/a.sh\n")
    (house.root / "tasks/far/a.sh").write_text("echo far\n")
    house.sync()
    line = f"99 1 0:99 / {house.root}/tasks/far rw - nfs4 server:/x rw\n"
    monkeypatch.setattr(mounts, "_table", lambda: line)
    answers, real, threads = threading.Event(), tasks.read_task, set[int]()

    def read_task(files: Any, spec: Any, *args: Any, **named: Any) -> Any:
        if spec.id == "far":
            threads.add(threading.get_ident())
            assert answers.wait(LONG)
        return real(files, spec, *args, **named)

    monkeypatch.setattr(fire, "read_task", read_task)
    house.fire()
    house.until(lambda: house.rows("near") == [("succeeded", None)])
    house.until(lambda: threads)
    assert house.rows("far") == [("claimed", None)], "it has its row"
    house.next_hour()
    house.clockwork.dispatch(house.store)
    house.until(lambda: len(house.rows("near")) == 2 and house.rows("near")[1][0] == "succeeded")
    answers.set()
    house.engine.wait()
    assert threading.get_ident() not in threads
    assert house.rows("far") == [("succeeded", None), ("skipped", "overlap")]


def test_a_stop_does_not_wait_for_files_that_do_not_come_and_leaves_the_run_to_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.job("far", "echo far\n")
    house.job("near", "exec sleep 1000\n")
    house.sync()
    asked, answers, real = threading.Event(), threading.Event(), tasks.read_task

    def read_task(files: Any, spec: Any, *args: Any, **named: Any) -> Any:
        if spec.id == "far":
            asked.set()
            assert answers.wait(LONG)
        return real(files, spec, *args, **named)

    monkeypatch.setattr(fire, "read_task", read_task)
    (house.root / "tasks/far.sh").write_text("echo changed\n")  # so that it is read with care
    house.fire()
    house.until(asked.is_set)
    house.until(lambda: house.rows("near") == [("running", None)])
    stopped = threading.Thread(target=house.engine.stop, args=[timedelta(0)])
    stopped.start()
    house.engine.interrupt()  # a second signal
    stopped.join(LONG)
    try:
        assert not stopped.is_alive()
        assert house.rows("near") == [("interrupted", "shutdown")]
        assert house.rows("far") == [("claimed", None)]
    finally:
        answers.set()


def test_what_lives_for_a_moment_has_its_pid_on_disk(house: House) -> None:
    house.job("long", "exec sleep 1000\n")
    house.sync()
    house.fire()

    def recorded() -> bool:
        (active,) = house.store.read(runs.active)
        return active.process is not None and active.marked

    house.until(recorded)
    (active,) = house.store.read(runs.active)
    assert active.process is not None
    assert active.process.pid == house.engine._seats["long:1"].execution.pid  # type: ignore[union-attr]
    assert house.engine.cancel("long:1")
    house.engine.wait()
    assert house.rows("long") == [("cancelled", "cancelled")]


def test_runs_that_are_stopped_before_they_start_start_nothing(house: House) -> None:
    for n in range(20):
        house.job(f"j{n:02}", f"touch {house.root.parent}/ran\n")
    house.sync()
    house.engine.interrupt()
    house.engine._stopping = False  # the claim came just before
    real = house.engine.start_begun

    def start_begun(begun: Any, **named: Any) -> None:
        house.engine._stopping = True
        real(begun, **named)

    house.engine.start_begun = start_begun  # type: ignore[method-assign]
    house.fire()
    house.engine.wait()
    assert not (house.root.parent / "ran").exists()
    assert {house.rows(f"j{n:02}")[0] for n in range(20)} == {("queued", None)}, "as after a kill"
    waiting = house.store.read(claims.queued)
    assert [(len(run.attempts), run.task_sha256) for run in waiting] == [(0, None)] * 20
    assert {job.runtime.run_count for job in house.store.read(queries.jobs)} == {0}
    house.engine._stopping = False
    house.engine.let_go()
    house.engine.start(waiting)  # by the next daemon
    house.engine.wait()
    assert {tuple(house.rows(f"j{n:02}")) for n in range(20)} == {(("succeeded", None),)}


def test_a_run_that_has_ended_is_no_overlap_before_its_end_is_written(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_ENDS_S", 1_000.0)  # it waits for company
    house.job("j", "true\n", "concurrency: forbid")
    house.job("other", "true\n", "concurrency: forbid")
    house.sync()
    house.fire()
    house.until(lambda: all(seat.ending is not None for seat in house.engine._seats.values()))
    assert house.rows("j") == [("running", None)]
    house.fire()
    house.until(lambda: all(seat.ending is not None for seat in house.engine._seats.values()))
    assert house.rows("j") == [("succeeded", None), ("running", None)]
    house.engine.write_ends_of({"j", "other"})
    assert house.rows("other") == [("succeeded", None)] * 2


def test_a_run_ends_when_its_process_did_however_late_that_is_written(house: House) -> None:
    house.job("j", "sleep 0.1\n")
    house.sync()
    house.fire()
    ended = house.clock.moment
    seat = house.engine._seats["j:1"]
    with locked(house):
        house.until(lambda: seat.ending is not None)
        house.clock.moment += timedelta(seconds=30)
    house.engine.wait()
    (run,) = house.store.read(queries.runs, "j")
    assert (run.status.value, run.finished_at, run.duration_ms) == ("succeeded", ended, 0)


def test_a_claim_that_a_lock_delays_is_recorded_when_it_is_made(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.job("j", "true\n")
    house.sync()
    house.next_hour()
    slot = house.clock.moment
    other = contextlib.ExitStack()
    other.enter_context(locked(house))
    real = house.engine.reactor.turn

    def turn(timeout: float) -> None:
        if house.clock.moment == slot:
            house.clock.moment += timedelta(seconds=6)
            other.close()
        real(timeout)

    monkeypatch.setattr(house.engine.reactor, "turn", turn)
    house.clockwork.dispatch(house.store)
    house.engine.wait()
    (run,) = house.store.read(queries.runs, "j")
    assert (run.fire_time, run.started_at) == (slot, slot + timedelta(seconds=6))


def test_nobody_puts_a_newer_definition_into_the_agenda_between_a_claim_and_what_it_puts_there(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.job("j", "true\n")
    house.sync()
    free: list[bool] = []

    def look(name: str) -> None:
        if name == "after_claim_commit":
            asking = threading.Thread(target=lambda: free.append(house.clockwork._claiming.acquire(blocking=False)))
            asking.start()
            asking.join(LONG)

    monkeypatch.setattr(clockwork_module, "crash_point", look)
    house.fire()
    house.engine.wait()
    assert free == [False]


def test_a_claimed_run_whose_file_changes_at_that_moment_gets_what_is_on_disk(house: House) -> None:
    house.job("j", "echo old\n")
    house.sync()
    (house.root / "tasks/j.sh").write_text("echo new\n")
    house.fire()
    house.engine.wait()
    (run,) = house.store.read(queries.runs, "j")
    assert run.result == "new\n"


def test_more_than_there_is_room_for_wait_and_are_opened_together_as_places_come_free(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    (house.root / "scheduler.yaml").write_text(ROOT_FILE.replace("500", "8"))
    for n in range(40):
        house.job(f"j{n:02}", "true\n")
    house.sync()
    house.engine.resize(8)
    commits = CountedCommits(monkeypatch)
    claimed = house.fire()
    assert sorted(run.status.value for run in claimed) == ["claimed"] * 8 + ["queued"] * 32
    house.engine.wait()
    assert {house.rows(f"j{n:02}")[0] for n in range(40)} == {("succeeded", None)}
    assert commits.durable < 60, "less than two for each run"


def test_worktrees_are_made_looked_at_and_removed_beside_the_reactors_thread(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    (house.root / "scheduler.yaml").write_text(ROOT_FILE.replace("input: file", "input: file, workdirs: [fresh]"))
    house.job("fresh", "pwd; git symbolic-ref HEAD; cat tasks/fresh.sh\n", "workdir: fresh")
    house.job("fails", "echo a > new.txt; exit 1\n", "workdir: fresh\nretry: {attempts: 2, delay: 1s}")
    house.job("gone", "rm -rf .git\n", "workdir: fresh")
    house.job("plain", "echo fine\n")
    git(house.root, "init", "-q", "--template=", "-b", "main")
    git(house.root, "add", "-A")
    git(house.root, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "first")
    house.sync()
    house.clockwork.dispatch(house.store)
    threads, real = dict[str, set[bool]](), run_git

    def noted(root: Path, *args: str, **options: Any) -> bytes:
        threads.setdefault(args[0], set()).add(threading.current_thread() is threading.main_thread())
        return real(root, *args, **options)

    monkeypatch.setattr("scheduler.git.worktrees.run_git", noted)
    house.fire()
    house.until(lambda: house.engine.put_off == 1 and house.engine.counts[0] == 0)
    house.clock.advance(timedelta(seconds=1))
    house.engine.release(house.clock.now())
    house.engine.wait()
    folder = house.root / ".scheduler/worktrees"
    assert {job_id: house.rows(job_id) for job_id in ("fresh", "fails", "gone", "plain")} == {
        "fresh": [("succeeded", None)],
        "fails": [("failed", "exit_code")],
        "gone": [("succeeded", None)],
        "plain": [("succeeded", None)],
    }
    (fresh,), (fails,), (gone,) = (house.store.read(queries.runs, job_id) for job_id in ("fresh", "fails", "gone"))
    assert fresh.result == f"{folder}/fresh/1\nrefs/heads/run/fresh/1\n{(house.root / 'tasks/fresh.sh').read_text()}"
    assert fresh.worktree is not None
    assert (fresh.worktree.folder, fresh.worktree.files) == (None, 0)
    assert fails.worktree is not None
    assert (len(fails.attempts), fails.worktree.files, fails.worktree.insertions) == (2, 1, 1)
    assert gone.worktree is not None
    assert (gone.worktree.folder, gone.worktree.files) == (f"{folder}/gone/1", None), "what cannot be looked at is kept"
    assert sorted(each.name for each in folder.iterdir()) == ["fails", "gone"]
    assert {"worktree", "update-ref", "reset", "diff", "status"} <= threads.keys()
    assert {name: where for name, where in threads.items() if where != {False}} == {}
