"""A place that goes and comes back: real files, real git, a real database; a clock that tests move."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.due.due import due
from scheduler.core.due.place import PLACE, Cause, PlaceFault
from scheduler.core.values.facts import Job
from scheduler.core.values.runs import Run, RunStatus, Trigger
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.daemon.agenda import Agenda
from scheduler.daemon.clockwork import Clockwork
from scheduler.daemon.places import STEADY_S, TOLD_AFTER_S, Places
from scheduler.ledger import claims, places, queries
from scheduler.ledger.audit import read_audit
from scheduler.ledger.store import Store
from scheduler.root.place import Place
from scheduler.run.fire import from_disk
from scheduler.run.local.attempts import Attempts
from scheduler.run.local.cancel import Cancel
from scheduler.service.doctor.examine import examine
from scheduler.service.history import explain_job
from scheduler.service.jobs import list_jobs, show_job
from scheduler.service.root import Root
from scheduler.service.run import run_job
from scheduler.service.sync import sync
from tests.fakes import FakeClock, FakeDuties, NotedEngine
from tests.helpers import git

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
Change = Callable[[Path], object]
ROOT_FILE = """\
version: 1
defaults: {runner: agent}
worktree: {branch: main}
runners:
  agent: {command: [./bin/agent.sh], cwd: work}
"""


@dataclass
class World:
    """A root with one job, its database outside, and what a daemon knows of its place."""

    root: Path
    clock: FakeClock
    store: Store
    seen: Root
    met: list[PlaceFault] = field(default_factory=list)
    now: float = 1000.0  # monotonic seconds

    def __post_init__(self) -> None:
        self.places = Places(
            passes=self.seen.passes(), clock=self.clock, lend=lambda: Store.open(self.seen.place.db), environ=os.environ
        )

    @property
    def job(self) -> Job:
        found = self.store.read(queries.job, "job")
        assert found is not None
        return found

    def attempts(self) -> Attempts:
        def lost(fault: PlaceFault) -> None:
            self.met.append(fault)
            self.places.lost(fault)

        return Attempts(
            place=self.seen.place, store=self.store, clock=self.clock, environ=dict(os.environ),
            passes=self.seen.passes(), owner="1-test", lost=lost,
        )  # fmt: skip

    def claim(self) -> Run:
        """The next slot, claimed in time."""
        job = self.job
        assert job.next_run_at is not None
        self.clock.moment = job.next_run_at
        found = due(job, now=self.clock.now(), since=job.next_run_at - HOUR)
        assert found is not None
        with self.store.writing() as sql:
            (run,) = claims.claim_due(
                sql, [found], seen=10**6, owner="1-test", max_running=4, now=self.clock.now()
            ).runs
        return run

    def carry_out(self, run: Run) -> Run:
        return self.attempts().carry_out(run, scratch=self.root.parent / "scratch", cancel=Cancel())

    def fire(self) -> Run:
        return self.carry_out(self.claim())

    def look(self, *, after: float = 0.0) -> None:
        self.now += after
        self.places.look(self.store)

    def told(self) -> list[str]:
        return [
            f"{row.action} {row.field}"
            for row in self.store.read(read_audit, ROOT_JOB_ID)
            if row.action.startswith("place")
        ]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    root = tmp_path / "root"
    for path, text in {
        "scheduler.yaml": ROOT_FILE,
        "jobs/job.yaml": "id: job\nschedule: {every: 1h}\ntask_source_path: prompts/team/job.md\nfailure_limit: 2\n",
        "jobs/other.yaml": "id: other\nschedule: {every: 1d}\ntask_source_path: prompts/other.md\n",
        "prompts/team/job.md": "go\n",
        "prompts/team/else.md": "else\n",
        "prompts/other.md": "other\n",
        "bin/agent.sh": "#!/bin/sh\nexec cat\n",
        "work/keep": "",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "bin/agent.sh").chmod(0o755)
    git(root, "init", "-q", "--template=", "-b", "main")
    git(root, "add", "-A")
    git(root, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "first")
    place = Place(root=root, state=tmp_path / "state", db=tmp_path / "state/state.db")
    clock = FakeClock(NOON)
    seen = Root(place=place, actor="user:test", environ=dict(os.environ), clock=clock, absent_grace=timedelta(0))
    sync(seen)
    found = World(root=root, clock=clock, store=Store.open(place.db), seen=seen)
    monkeypatch.setattr("scheduler.daemon.places.time.monotonic", lambda: found.now)
    return found


def commit(root: Path, message: str = "more") -> None:
    git(root, "add", "-A")
    git(root, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", message)


def _away(name: str) -> tuple[Change, Change]:
    return (
        lambda root: (root / name).rename(root.parent / "away"),
        lambda root: (root.parent / "away").rename(root / name),
    )


def _emptied(name: str) -> tuple[Change, Change]:
    """As a mount that is lost leaves its folder."""

    def lose(root: Path) -> None:
        (root / name).rename(root.parent / "away")
        (root / name).mkdir()

    def bring_back(root: Path) -> None:
        (root / name).rmdir()
        (root.parent / "away").rename(root / name)

    return lose, bring_back


def _lose_root(root: Path) -> None:
    root.rename(root.parent / "gone")
    root.mkdir()


def _bring_back_root(root: Path) -> None:
    root.rmdir()
    (root.parent / "gone").rename(root)


def _written(name: str, text: str) -> tuple[Change, Change]:
    def lose(root: Path) -> None:
        shutil.copy2(root / name, root.parent / "away")
        (root / name).write_text(text)

    return lose, lambda root: (root.parent / "away").replace(root / name)


def _merge(root: Path) -> None:
    git(root, "switch", "-qc", "side")
    (root / "prompts/team/job.md").write_text("theirs\n")
    commit(root)
    git(root, "switch", "-q", "main")
    (root / "prompts/team/job.md").write_text("ours\n")
    commit(root)
    merged = subprocess.run(["git", "-C", root, "merge", "side"], capture_output=True, check=False)
    assert merged.returncode == 1


def _other_branch(root: Path) -> None:
    git(root, "switch", "-qc", "other")
    (root / "prompts/team/job.md").write_text("of another branch\n")
    commit(root)


BREAKS: dict[str, tuple[Change, Change, str]] = {
    "root moved away": (
        lambda root: root.rename(root.parent / "gone"),
        lambda root: (root.parent / "gone").rename(root),
        "root_missing",
    ),
    "root back as another folder, as on another device": (
        lambda root: root.rename(root.parent / "gone"),
        lambda root: shutil.copytree(root.parent / "gone", root),
        "root_missing",
    ),
    "mount of the root lost": (_lose_root, _bring_back_root, "root_missing"),
    "folder of tasks moved away": (*_away("prompts"), "folder_missing:prompts"),
    "folder within it moved away": (*_away("prompts/team"), "folder_missing:prompts/team"),
    "mount of the tasks lost": (*_emptied("prompts"), "folder_missing:prompts"),
    "folder of the jobs moved away": (*_away("jobs"), "folder_missing:jobs"),
    "program gone": (*_away("bin/agent.sh"), "runner_missing:agent"),
    "program not executable": (
        lambda root: (root / "bin/agent.sh").chmod(0o644),
        lambda root: (root / "bin/agent.sh").chmod(0o755),
        "runner_missing:agent",
    ),
    "interpreter gone": (*_written("bin/agent.sh", "#!/opt/none/python\n"), "runner_missing:agent"),
    "working folder of the runner gone": (*_away("work"), "runner_missing:agent"),
    "another branch": (_other_branch, lambda root: git(root, "switch", "-q", "main"), "other_branch"),
    "no branch": (
        lambda root: git(root, "switch", "-q", "--detach"),
        lambda root: git(root, "switch", "-q", "main"),
        "other_branch",
    ),
    "merge half way": (_merge, lambda root: git(root, "merge", "--abort"), "sync_held:job"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_slot_waits_for_its_place_without_an_error_and_runs_once_it_is_back(world: World, what: str) -> None:
    lose, bring_back, key = BREAKS[what]
    assert world.fire().status is RunStatus.SUCCEEDED
    lose(world.root)
    run = world.fire()
    assert (run.status, run.reason, run.trigger, run.error) == (RunStatus.QUEUED, PLACE, Trigger.CATCH_UP, None)
    assert [fault.key for fault in world.met] == [key]
    assert world.places.holds(world.job)
    world.look(after=TOLD_AFTER_S)
    world.look(after=60)
    assert world.told() == [f"place_lost {key}"]
    assert world.job.runtime.consecutive_errors == 0
    bring_back(world.root)
    world.look()
    assert world.places.holds(world.job), "it has to stay for a moment"
    world.look(after=STEADY_S)
    assert not world.places.holds(world.job)
    assert world.told() == [f"place_lost {key}", f"place_back {key}"]
    assert world.places.back_at(world.job) == world.clock.now()
    again = world.carry_out(run)
    assert (again.status, again.id) == (RunStatus.SUCCEEDED, run.id)
    runtime = world.job.runtime
    assert (runtime.run_count, runtime.consecutive_errors, runtime.stopped_at) == (2, 0, None)


def _delete_only(root: Path) -> None:
    git(root, "rm", "-q", "prompts/team/else.md")
    commit(root)
    (root / "prompts/team/job.md").unlink()


JOBS_OWN: dict[str, tuple[Change, str]] = {
    "its prompt alone is gone": (lambda root: (root / "prompts/team/job.md").unlink(), "source_missing"),
    "it was the only prompt of its folder": (_delete_only, "source_missing"),
    "its job file alone is gone": (lambda root: (root / "jobs/job.yaml").unlink(), "source_missing"),
    "not text": (lambda root: (root / "prompts/team/job.md").write_bytes(b"\xff"), "source_not_utf8"),
    "markers, and no merge": (
        lambda root: (root / "prompts/team/job.md").write_text("<<<<<<< a\n=======\n>>>>>>> b\n"),
        "source_conflict_markers",
    ),
    "a folder that never was": (
        lambda root: (root / "jobs/job.yaml").write_text(
            "id: job\nschedule: {every: 1h}\ntask_source_path: promtps/job.md\nfailure_limit: 2\n"
        ),
        "source_missing",
    ),
    "a runner that takes no such job": (
        lambda root: (root / "scheduler.yaml").write_text(ROOT_FILE.replace("cwd: work", "jobs: [other]")),
        "runner_not_allowed",
    ),
}


@pytest.mark.parametrize("what", JOBS_OWN)
def test_what_is_the_jobs_own_fault_counts_and_stops_it(world: World, what: str) -> None:
    spoil, reason = JOBS_OWN[what]
    assert world.fire().status is RunStatus.SUCCEEDED
    spoil(world.root)
    run = world.fire()
    assert (run.status, run.reason, world.met) == (RunStatus.SKIPPED, reason, [])
    assert world.job.runtime.consecutive_errors == 1
    assert (world.fire().status, world.job.runtime.consecutive_errors) == (RunStatus.SKIPPED, 2)
    assert world.job.runtime.stopped_at is not None


def test_a_job_that_has_never_run_waits_for_its_place_too(world: World) -> None:
    (world.root / "scheduler.yaml").write_text(ROOT_FILE.replace("worktree: {branch: main}\n", ""))
    sync(world.seen)
    (world.root / ".git").rename(world.root.parent / "git")
    (world.root / "prompts").rename(world.root.parent / "away")
    sync(world.seen)
    assert world.fire().status is RunStatus.QUEUED
    assert [fault.key for fault in world.met] == ["folder_missing:prompts"]


def test_only_the_jobs_with_a_working_directory_that_is_gone_wait_for_it(world: World) -> None:
    data = world.root.parent / "data"
    (data / "site").mkdir(parents=True)
    (world.root / "scheduler.yaml").write_text(ROOT_FILE.replace("cwd: work", "workdirs: [../data]"))
    (world.root / "jobs/job.yaml").write_text(
        "id: job\nschedule: {every: 1h}\ntask_source_path: prompts/team/job.md\nworkdir: ../data/site\n"
    )
    (world.root / "bin/agent.sh").write_text("#!/bin/sh\npwd; echo $SCHEDULER_ROOT\n")
    commit(world.root)
    assert world.fire().result == f"{data}/site\n{world.root}\n"
    data.rename(world.root.parent / "away")
    run = world.fire()
    assert (run.status, run.reason, world.job.runtime.consecutive_errors) == (RunStatus.QUEUED, PLACE, 0)
    assert [fault.key for fault in world.met] == ["workdir_missing:../data/site"]
    other = world.store.read(queries.job, "other")
    assert other is not None
    assert (world.places.holds(world.job), world.places.holds(other)) == (True, False)
    world.look(after=TOLD_AFTER_S)
    (row,) = [each for each in list_jobs(world.seen)["jobs"] if each["id"] == "job"]
    assert row["waiting"] is not None
    assert (row["status"], row["waiting"]["reason"]) == ("waiting", "workdir_missing")
    (world.root.parent / "away").rename(data)
    world.look()
    world.look(after=STEADY_S)
    assert not world.places.holds(world.job)
    assert world.carry_out(run).status is RunStatus.SUCCEEDED
    assert world.job.runtime.consecutive_errors == 0


def test_who_runs_it_by_hand_is_told_at_once_and_no_error_is_counted(world: World) -> None:
    (world.root / "bin/agent.sh").unlink()
    found = run_job(world.seen, "job", cancel=Cancel())
    assert (found.status, found.reason) == (RunStatus.SKIPPED, "runner_not_found")
    assert world.job.runtime.consecutive_errors == 0


def test_a_retry_waits_for_its_place_too(world: World) -> None:
    (world.root / "jobs/job.yaml").write_text(
        "id: job\nschedule: {every: 1h}\ntask_source_path: prompts/team/job.md\nretry: {attempts: 2, delay: 1s}\n"
    )
    (world.root / "bin/agent.sh").write_text("#!/bin/sh\nexit 1\n")
    first = world.fire()
    assert (first.status, len(first.attempts)) == (RunStatus.QUEUED, 1)
    shutil.move(world.root / "bin", world.root.parent / "away")
    waits = world.carry_out(first)
    assert (waits.status, len(waits.attempts), waits.retry_at) == (RunStatus.QUEUED, 1, first.retry_at)
    assert [fault.cause for fault in world.met] == [Cause.RUNNER]


def test_one_that_comes_and_goes_every_second_is_told_once(world: World) -> None:
    assert world.fire().status is RunStatus.SUCCEEDED
    lose, bring_back, _ = BREAKS["mount of the tasks lost"]
    lose(world.root)
    assert world.fire().status is RunStatus.QUEUED
    for _ in range(30):
        world.look(after=1)
        bring_back(world.root)
        world.look(after=1)
        assert world.places.holds(world.job)
        lose(world.root)
    bring_back(world.root)
    for _ in range(5):
        world.look(after=1)
    assert world.told() == ["place_lost folder_missing:prompts", "place_back folder_missing:prompts"]


def test_what_is_gone_for_less_than_a_second_is_not_told(world: World) -> None:
    world.places.lost(PlaceFault(cause=Cause.FOLDER, name="prompts", message="it was gone"))
    for _ in range(10):
        world.look(after=0.5)
    assert (world.told(), world.places.holds(world.job)) == ([], False)


def test_a_daemon_that_starts_takes_over_what_was_told(world: World) -> None:
    lose, bring_back, key = BREAKS["folder of tasks moved away"]
    lose(world.root)
    assert world.fire().status is RunStatus.QUEUED
    world.look(after=TOLD_AFTER_S)
    world.__post_init__()  # another daemon
    assert not world.places.holds(world.job)
    world.places.begin(world.store)
    assert world.places.holds(world.job)
    world.__post_init__()
    bring_back(world.root)
    world.places.begin(world.store)
    assert not world.places.holds(world.job)
    assert world.told() == [f"place_lost {key}", f"place_back {key}"]


def test_the_clockwork_leaves_slots_behind_the_cursor_and_catches_up_afterwards(world: World) -> None:
    engine = NotedEngine()
    duties = FakeDuties(world.clock, engine)
    duties.places = world.places
    clockwork = Clockwork(
        clock=world.clock, owner="1-test", since=world.clock.now(), agenda=Agenda(),
        lend=lambda: Store.open(world.seen.place.db), duties=duties,
    )  # fmt: skip
    clockwork.reload(world.store)
    cursor = world.job.next_run_at
    assert cursor is not None
    world.places.lost(PlaceFault(cause=Cause.ROOT, message="it is gone"))
    for hours in range(5):
        world.clock.moment = cursor + hours * HOUR
        assert clockwork.dispatch(world.store) == []
    assert clockwork.next_start is not None
    assert clockwork.next_start > world.clock.now(), "nobody asks again and again meanwhile"
    assert world.job.next_run_at == cursor
    assert world.store.read(queries.runs, "job") == []
    world.clock.moment = cursor + 4.8 * HOUR  # over half the gap late
    for _ in range(3):
        world.look(after=STEADY_S)
    (run,) = clockwork.dispatch(world.store)
    assert (run.fire_time, run.trigger) == (cursor + 4 * HOUR, Trigger.CATCH_UP)
    (missed,) = [row for row in world.store.read(queries.runs, "job") if row.status is RunStatus.SKIPPED]
    assert (missed.reason, missed.slots, missed.fire_time) == ("missed", 4, cursor)
    assert world.job.runtime.consecutive_errors == 0


def test_a_database_that_was_gone_with_its_root_counts_as_a_place_that_was(world: World) -> None:
    assert world.places.back_at(world.job) is None
    for trouble in ("", "it is gone", "it is gone"):
        world.places.saw_database(trouble)
    assert world.places.back_at(world.job) is None
    world.clock.advance(HOUR)
    world.places.saw_database("")
    back = world.clock.now()
    world.clock.advance(HOUR)
    world.places.saw_database("")
    assert world.places.back_at(world.job) == back


def test_list_show_doctor_and_explain_say_what_a_job_waits_for(world: World) -> None:
    lose, bring_back, _ = BREAKS["folder within it moved away"]
    lose(world.root)
    run = world.fire()
    world.look(after=TOLD_AFTER_S)
    assert run.fire_time is not None
    world.clock.moment = run.fire_time + 1.5 * HOUR  # a slot came due meanwhile
    shown = {job["id"]: job for job in list_jobs(world.seen)["jobs"]}
    assert (shown["job"]["status"], shown["other"]["status"]) == ("waiting", "active")
    waiting = shown["job"]["waiting"]
    assert waiting is not None
    assert (waiting["reason"], waiting["message"]) == ("folder_missing", "the folder 'prompts/team' is gone")
    listed = list_jobs(world.seen, status="waiting")
    assert [job["id"] for job in listed["jobs"]] == ["job"]
    assert listed["summary"]["waiting"] == 1
    assert any("'prompts/team' is gone" in trouble for trouble in listed["troubles"])
    assert not any("has neither run" in trouble for trouble in listed["troubles"]), "it is as it should be"
    assert show_job(world.seen, "job")["job"]["status"] == "waiting"
    checks = [each for each in examine(world.seen)["checks"] if each["name"] == "place"]
    assert [each["status"] for each in checks] == ["error"]
    for moment in (run.fire_time, run.fire_time + HOUR):
        told = explain_job(world.seen, "job", at=moment)
        assert told["why"] == "waiting"
        assert any("'prompts/team' is gone" in each["text"] for each in told["evidence"])
    bring_back(world.root)
    world.look()
    world.look(after=STEADY_S)
    assert show_job(world.seen, "job")["job"]["waiting"] is None
    job = world.job
    assert job.next_run_at is not None
    found = due(replace(job), now=world.clock.now() + HOUR, since=NOON)
    assert found is not None
    with world.store.writing() as sql:
        claims.claim_due(sql, [found], seen=10**6, owner="1-test", max_running=4, now=world.clock.now())
    told = explain_job(world.seen, "job", at=run.fire_time + HOUR)
    assert told["why"] == "missed"
    assert told["text"] == "its place was unavailable when it was due"


def test_a_rebase_counts_as_the_branch_that_it_moves(world: World) -> None:
    git(world.root, "switch", "-qc", "side", "main")
    (world.root / "work/keep").write_text("side\n")
    commit(world.root)
    git(world.root, "switch", "-q", "main")
    (world.root / "work/keep").write_text("main\n")
    commit(world.root)
    rebased = subprocess.run(
        ["git", "-C", world.root, "-c", "user.name=t", "-c", "user.email=t@example.com", "rebase", "side"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert rebased.returncode == 1
    assert world.fire().status is RunStatus.SUCCEEDED, "its text can be read, and is of the branch"


def test_a_branch_that_is_switched_while_the_text_is_read_does_not_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    switched: list[Path] = []

    def read_late(*given: Any, check: bool) -> Any:
        if not switched:  # what changes while it is read is read again
            _other_branch(world.root)
            switched.append(world.root)
        return from_disk(*given, check=check)

    monkeypatch.setattr("scheduler.run.fire.from_disk", read_late)
    run = world.fire()
    assert (run.status, run.reason, run.task_sha256) == (RunStatus.QUEUED, PLACE, None)
    assert [fault.cause for fault in world.met] == [Cause.BRANCH]


def test_faults_are_kept_in_the_order_in_which_they_came(world: World) -> None:
    faults = [PlaceFault(cause=Cause.RUNNER, name=name, message=name) for name in ("b", "a")]
    world.store.write(places.tell, faults, begins=True, now=NOON)
    assert [each.name for each in world.store.read(places.open_faults)] == ["b", "a"]
    world.store.write(places.tell, faults[:1], begins=False, now=NOON)
    assert [each.name for each in world.store.read(places.open_faults)] == ["a"]
