"""Runs with `workdir: fresh`: real git, real processes, a real database; a clock that stands still."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.core.due.due import due
from scheduler.core.values.facts import Job
from scheduler.core.values.runs import FreshTree, Run, RunStatus
from scheduler.ledger import claims, queries, runs
from scheduler.ledger.store import Store
from scheduler.machine.crash import CRASH_AT
from scheduler.root.place import Place
from scheduler.run.local.attempts import Attempts
from scheduler.run.local.cancel import Cancel
from scheduler.run.local.recovery import LocalRecovery
from scheduler.service.backup import collect_garbage
from scheduler.service.history import history, show_run
from scheduler.service.root import Root
from scheduler.service.run import dry_run_job, run_job
from scheduler.service.sync import sync, validate
from tests.fakes import FakeClock
from tests.helpers import git

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ROOT_FILE = """\
version: 1
defaults: {runner: sh}
runners:
  sh: {command: [sh, -eu, "{task_file}"], tasks: ["jobs/**", "scripts/**"], workdirs: [fresh, work]}
"""
IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.com")
COMMITS = f"git {' '.join(IDENTITY)} commit -qm"


@dataclass
class World:
    """A repository whose folder `top` is the root, with one job."""

    root: Path
    seen: Root
    clock: FakeClock
    store: Store

    @property
    def repository(self) -> Path:
        return self.root.parent

    @property
    def place(self) -> Place:
        return self.seen.place

    def job(self, task: str, *keys: str) -> None:
        """Write the job. Uncommitted, as a person may have it."""
        lines = [
            "id: job",
            "schedule: {every: 1h}",
            "workdir: fresh",
            *keys,
            "task: |",
            *(f"  {line}" for line in task.splitlines()),
        ]
        (self.root / "jobs/job.yaml").write_text("\n".join(lines) + "\n")
        sync(self.seen)

    def attempts(self) -> Attempts:
        return Attempts(
            place=self.place, store=self.store, clock=self.clock, environ=dict(os.environ), passes=self.seen.passes(),
            owner="1-test",
        )  # fmt: skip

    def claim(self) -> Run:
        job = self.store.read(queries.job, "job")
        assert isinstance(job, Job)
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
        return self.attempts().carry_out(run, scratch=self.repository.parent / "scratch", cancel=Cancel())

    def fire(self) -> Run:
        return self.carry_out(self.claim())

    def folder(self, n: int = 1) -> Path:
        return self.place.worktrees / "job" / str(n)

    @property
    def branches(self) -> list[str]:
        return git(self.repository, "for-each-ref", "--format=%(refname:short)", "refs/heads/run").split()

    @property
    def worktrees(self) -> int:
        return git(self.repository, "worktree", "list", "--porcelain").count("worktree ")

    @property
    def head(self) -> str:
        return git(self.repository, "rev-parse", "HEAD")

    @property
    def nothing_is_left(self) -> bool:
        left = sorted(self.place.worktrees.rglob("*")) if self.place.worktrees.exists() else []
        return (self.branches, self.worktrees, [each for each in left if each.name != "job"]) == ([], 1, [])


@pytest.fixture
def world(tmp_path: Path) -> World:
    root = tmp_path / "repository/top"
    for path, text in {
        "scheduler.yaml": ROOT_FILE,
        "jobs/job.yaml": "id: job\nschedule: {every: 1h}\nworkdir: fresh\ntask: pwd\n",
        "site/page.txt": "one\ntwo\nthree\n",
        "work/keep": "",
        "../.gitignore": "*.log\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    git(root.parent, "init", "-q", "--template=", "-b", "main")
    git(root.parent, "add", "-A")
    git(root.parent, *IDENTITY, "commit", "-qm", "first")
    place = Place(root=root, state=tmp_path / "state", db=tmp_path / "state/state.db")
    clock = FakeClock(NOON)
    seen = Root(place=place, actor="user:test", environ=dict(os.environ), clock=clock, absent_grace=timedelta(0))
    sync(seen)
    return World(root=root, seen=seen, clock=clock, store=Store.open(place.db))


def tree_of(run: Run) -> FreshTree:
    assert run.worktree is not None
    return run.worktree


def test_a_run_gets_a_worktree_of_its_commit_on_a_branch_of_its_own(world: World) -> None:
    world.job('pwd; git rev-parse HEAD; git symbolic-ref HEAD; cat site/page.txt; echo "$SCHEDULER_ROOT"')
    (world.root / "site/page.txt").write_text("not committed\n")
    run = world.fire()
    assert run.status is RunStatus.SUCCEEDED, run.error
    at = world.folder() / "top"
    assert run.result == f"{at}\n{world.head}\nrefs/heads/run/job/1\none\ntwo\nthree\n{world.root}\n"
    assert tree_of(run) == FreshTree(
        branch="run/job/1", commit=world.head, folder=None, commits=0, files=0, insertions=0, deletions=0
    )
    assert world.nothing_is_left
    assert world.head == git(world.repository, "rev-parse", "main")


def test_what_a_failed_run_changed_is_counted_and_kept(world: World) -> None:
    world.job(
        "printf 'one\\n2\\n' > site/page.txt\nprintf 'a\\nb' > new.txt\nprintf '\\0' > binary\ntouch x.log\nexit 3"
    )
    run = world.fire()
    assert run.status is RunStatus.FAILED
    found = tree_of(run)
    assert found.folder == str(world.folder())
    assert (found.commits, found.files, found.insertions, found.deletions) == (0, 3, 3, 2)
    assert (world.folder() / "top/new.txt").read_text() == "a\nb"
    assert world.branches == ["run/job/1"]


def test_changes_that_nobody_committed_are_kept_after_a_success_too(world: World) -> None:
    world.job("echo more >> site/page.txt")
    run = world.fire()
    assert (run.status, tree_of(run).folder) == (RunStatus.SUCCEEDED, str(world.folder()))
    assert (tree_of(run).files, tree_of(run).insertions) == (1, 1)


def test_commits_stay_on_the_branch_while_the_folder_goes(world: World) -> None:
    world.job(
        f"echo a > new.txt; git add new.txt; {COMMITS} one; touch ignored.log; echo b >> new.txt; {COMMITS} two -a"
    )
    run = world.fire()
    assert run.status is RunStatus.SUCCEEDED, run.error
    assert tree_of(run) == FreshTree(
        branch="run/job/1", commit=world.head, folder=None, commits=2, files=1, insertions=2, deletions=0
    )
    assert (world.branches, world.worktrees, world.folder().exists()) == (["run/job/1"], 1, False)
    assert git(world.repository, "show", "run/job/1:top/new.txt") == "a\nb"


def test_a_commit_that_no_branch_holds_keeps_the_folder(world: World) -> None:
    world.job(f"git checkout -q --detach; echo a > new.txt; git add new.txt; {COMMITS} lost")
    run = world.fire()
    assert (run.status, tree_of(run).folder, tree_of(run).commits) == (RunStatus.SUCCEEDED, str(world.folder()), 0)


def test_a_branch_that_the_run_made_itself_holds_its_commits(world: World) -> None:
    world.job(f"git switch -qc mine; echo a > new.txt; git add new.txt; {COMMITS} mine")
    run = world.fire()
    assert (run.status, tree_of(run).folder) == (RunStatus.SUCCEEDED, None)
    assert (world.branches, git(world.repository, "show", "mine:top/new.txt")) == ([], "a")


def test_a_retry_goes_on_in_the_worktree_of_the_first_attempt(world: World) -> None:
    task = "echo $SCHEDULER_ATTEMPT >> new.txt; test $SCHEDULER_ATTEMPT = 2"
    world.job(task, "retry: {attempts: 2, delay: 1s}")
    first = world.fire()
    assert (first.status, tree_of(first).files, tree_of(first).insertions) == (RunStatus.QUEUED, 1, 1)
    (world.repository / "later").write_text("")
    git(world.repository, "add", "later")
    git(world.repository, *IDENTITY, "commit", "-qm", "later")
    second = world.carry_out(first)
    assert (second.status, len(second.attempts)) == (RunStatus.SUCCEEDED, 2)
    assert (world.folder() / "top/new.txt").read_text() == "1\n2\n"
    assert tree_of(second).commit == tree_of(first).commit != world.head


def test_a_retry_whose_worktree_somebody_removed_goes_on_from_its_branch(world: World) -> None:
    task = (
        f"test $SCHEDULER_ATTEMPT = 1 && {{ echo a > new.txt; git add new.txt; {COMMITS} one; exit 1; }}; cat new.txt"
    )
    world.job(task, "retry: {attempts: 2, delay: 1s}")
    first = world.fire()
    assert first.status is RunStatus.QUEUED
    shutil.rmtree(world.folder())
    second = world.carry_out(first)
    assert (second.status, second.result) == (RunStatus.SUCCEEDED, "a\n"), second.error
    assert (world.branches, world.folder().exists()) == (["run/job/1"], False)


def test_a_retry_does_not_touch_files_that_are_no_worktree_any_more(world: World) -> None:
    world.job("echo a > new.txt; exit 1", "retry: {attempts: 2, delay: 1s}")
    first = world.fire()
    (world.folder() / ".git").unlink()
    second = world.carry_out(first)
    assert (second.status, second.reason) == (RunStatus.FAILED, "runner_worktree_failed")
    assert "move it away" in (second.error or "")
    assert (world.folder() / "top/new.txt").read_text() == "a\n"
    assert tree_of(second).files == 1, "as the last attempt that ran left it"


def test_a_branch_that_exists_is_a_fault_that_names_it_and_the_fix(world: World) -> None:
    git(world.repository, "branch", "run/job/1")
    run = world.fire()
    assert (run.status, run.reason, run.worktree) == (RunStatus.SKIPPED, "runner_branch_exists", None)
    assert "branch 'run/job/1'" in (run.error or "")
    assert "git branch -m run/job/1" in (run.error or "")
    assert (world.branches, world.worktrees, world.folder().exists()) == (["run/job/1"], 1, False)
    assert not list(world.folder().parent.glob("1*"))
    again = world.fire()
    assert (again.id, again.status) == ("job:2", RunStatus.SUCCEEDED)


def test_a_branch_in_the_way_of_the_name_is_a_fault_that_leaves_nothing(world: World) -> None:
    git(world.repository, "branch", "run/job")
    run = world.fire()
    assert (run.status, run.reason) == (RunStatus.SKIPPED, "runner_worktree_failed")
    assert "'run/job/1'" in (run.error or "")
    git(world.repository, "branch", "-D", "run/job")
    assert world.nothing_is_left


def test_a_full_disk_is_a_fault_that_names_the_branch_and_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A git that fails midway through the checkout, as on a full disk."""
    real = shutil.which("git")
    stand_in = tmp_path / "bin/git"
    stand_in.parent.mkdir()
    stand_in.write_text(
        f'#!/bin/sh\nfor word; do case $word in reset) echo half > "$3/half" 2>/dev/null\n'
        f'echo "error: unable to write file top/site/page.txt: No space left on device" >&2; exit 128;; esac; done\n'
        f'exec {real} "$@"\n'
    )
    stand_in.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
        run = world.fire()
    assert (run.status, run.reason) == (RunStatus.SKIPPED, "runner_worktree_failed")
    assert "'run/job/1'" in (run.error or "")
    assert (run.error or "").endswith("No space left on device; free some space")
    assert world.nothing_is_left
    assert world.fire().status is RunStatus.SUCCEEDED


def test_without_a_repository_it_is_a_problem_of_the_file_and_a_fault_of_the_fire(world: World) -> None:
    (world.repository / ".git").rename(world.repository.parent / "git")
    (problem,) = validate(world.seen)
    assert (problem.code, problem.path, problem.line, problem.column) == (
        "workdir.no-repository",
        "jobs/job.yaml",
        3,
        10,
    )
    run = world.fire()
    assert (run.status, run.reason) == (RunStatus.SKIPPED, "runner_no_repository")
    git(world.repository, "init", "-q", "--template=")
    (problem,) = validate(world.seen)
    assert "no commit" in problem.message
    assert world.fire().reason == "runner_no_repository"


def test_a_root_that_the_commit_does_not_have_is_a_fault_that_leaves_nothing(world: World) -> None:
    git(world.repository, "mv", "top", "elsewhere")
    git(world.repository, *IDENTITY, "commit", "-qm", "moved")
    (world.repository / "elsewhere").rename(world.root)
    sync(world.seen)
    run = world.fire()
    assert (run.status, run.reason) == (RunStatus.SKIPPED, "runner_worktree_failed")
    assert "has no folder 'top'" in (run.error or "")
    assert world.nothing_is_left


def test_no_hook_and_no_filter_of_the_repository_runs(world: World, tmp_path: Path) -> None:
    hook = world.repository / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    for name in ("smudge", "clean", "process"):
        git(world.repository, "config", f"filter.a.b.{name}", f"touch {tmp_path}/{name}; cat")
    git(world.repository, "config", "filter.a.b.required", "true")
    (world.repository / ".git/info").mkdir(exist_ok=True)
    (world.repository / ".git/info/attributes").write_text("*.txt filter=a.b\n")
    world.job("cat site/page.txt; echo four >> site/page.txt; exit 1")
    run = world.fire()
    assert (run.result, tree_of(run).insertions) == ("one\ntwo\nthree\n", 1)
    assert [each.name for each in tmp_path.iterdir() if each.name in ("hooked", "smudge", "clean", "process")] == []


def test_a_rerun_of_an_earlier_text_works_on_the_files_of_now(world: World) -> None:
    world.job("cat site/page.txt")
    assert world.fire().status is RunStatus.SUCCEEDED
    (world.root / "site/page.txt").write_text("new\n")
    git(world.repository, *IDENTITY, "commit", "-qam", "second")
    found = run_job(world.seen, "job", cancel=Cancel(), task_of="job:1")
    assert (found.result, tree_of(found).commit) == ("new\n", world.head)


def test_the_worktree_is_in_history_and_show_and_a_dry_run_makes_none(world: World) -> None:
    assert dry_run_job(world.seen, "job")["cwd"] == str(world.place.worktrees / "job/N/top")
    assert not world.place.worktrees.exists()
    world.job("echo a > new.txt; exit 1")
    run = world.fire()
    (row,) = history(world.seen, "job")["runs"]
    assert row["worktree"] == json.loads(json.dumps(tree_of(run).to_json()))
    assert show_run(world.seen, "job:1")["run"]["worktree"] == row["worktree"]


def test_the_worktree_of_a_run_that_another_life_of_the_database_had_is_left_alone(world: World) -> None:
    world.job("echo work > new.txt; exit 1")
    assert world.fire().status is RunStatus.FAILED
    world.store.close()
    for each in world.place.state.glob("state.db*"):
        each.unlink()
    sync(world.seen, new_state=True)
    world.store = Store.open(world.place.db)
    run = world.fire()
    assert (run.id, run.status, run.reason) == ("job:1", RunStatus.SKIPPED, "runner_worktree_failed")
    assert "move it away" in (run.error or "")
    assert (world.folder() / "top/new.txt").read_text() == "work\n"


KILLED = """
import sys, os
from datetime import timedelta
from pathlib import Path
from scheduler.root.place import Place
from scheduler.ledger.store import Store
from scheduler.ledger import runs
from scheduler.machine.clock import SystemClock
from scheduler.run.local.attempts import Attempts
from scheduler.run.local.cancel import Cancel
from scheduler.service.root import Root
root, state = map(Path, sys.argv[1:])
place = Place(root=root, state=state, db=state / "state.db")
seen = Root(place=place, actor="user:test", environ=dict(os.environ), clock=SystemClock(), absent_grace=timedelta(0))
with Store.open(place.db) as store:
    (active,) = store.read(runs.active)
    Attempts(place=place, store=store, clock=SystemClock(), environ=dict(os.environ), passes=seen.passes(),
             owner="1-test").carry_out(active.run, scratch=root.parent / "scratch", cancel=Cancel())
"""


@pytest.mark.parametrize(
    "point", ["worktree_note", "worktree_folder", "worktree_branch", "worktree_made", "after_read", "before_spawn"]
)
def test_what_a_kill_leaves_before_the_start_is_made_anew(world: World, point: str) -> None:
    world.job("git status --porcelain; cat site/page.txt")
    run = world.claim()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, world.root, world.place.state],
        env={**os.environ, CRASH_AT: point},
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -9, killed.stderr.decode()
    recovery = LocalRecovery(place=world.place, clock=world.clock, owner="2-test")
    (back,) = recovery.recover(world.store, world.store.read(runs.active))
    assert (back.status, back.worktree) == (RunStatus.QUEUED, None)
    again = world.carry_out(back)
    assert (again.id, again.status, again.result) == (run.id, RunStatus.SUCCEEDED, "one\ntwo\nthree\n"), again.error
    assert world.nothing_is_left


def test_after_a_kill_during_the_run_its_worktree_is_kept_and_the_retry_goes_on_in_it(world: World) -> None:
    world.job("echo a >> new.txt", "retry: {attempts: 2, delay: 1s, on: [interrupted]}")
    world.claim()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, world.root, world.place.state],
        env={**os.environ, CRASH_AT: "before_end"},
        check=False,
    )
    assert killed.returncode == -9
    recovery = LocalRecovery(place=world.place, clock=world.clock, owner="2-test")
    (back,) = recovery.recover(world.store, world.store.read(runs.active))
    assert (back.status, tree_of(back).folder, tree_of(back).files) == (RunStatus.QUEUED, str(world.folder()), None)
    again = world.carry_out(replace(back))
    assert (again.status, tree_of(again).insertions) == (RunStatus.SUCCEEDED, 2)


# -- retention -----------------------------------------------------------------------------------------


def keep(world: World, retention: str) -> None:
    (world.root / "scheduler.yaml").write_text(f"{ROOT_FILE}retention: {retention}\n")
    sync(world.seen)


def kept(world: World) -> list[str]:
    return sorted(each.name for each in (world.place.worktrees / "job").glob("*") if each.is_dir())


def test_worktrees_go_by_age_and_their_commits_stay(world: World) -> None:
    keep(world, "{worktree_days: 2}")
    world.job(f"echo a > new.txt; git add new.txt; {COMMITS} one; echo b > other.txt; exit 1")
    assert world.fire().status is RunStatus.FAILED
    world.job("exit 1")
    assert world.fire().status is RunStatus.FAILED
    world.clock.advance(timedelta(days=2))
    assert (collect_garbage(world.seen).worktrees, kept(world)) == (1, ["2"])
    first, second = (world.store.read(runs.find_run, "job", n) for n in (1, 2))
    assert first is not None
    assert second is not None
    assert (tree_of(first).folder, tree_of(first).commits, tree_of(second).folder) == (None, 1, str(world.folder(2)))
    world.clock.advance(timedelta(hours=1))
    assert (collect_garbage(world.seen, dry_run=True).worktrees, kept(world)) == (1, ["2"])
    assert (collect_garbage(world.seen).worktrees, kept(world)) == (1, [])
    assert (world.branches, world.worktrees) == (["run/job/1"], 1)
    assert collect_garbage(world.seen).nothing


def test_worktrees_go_beyond_a_number_oldest_first_and_forever_means_forever(world: World) -> None:
    keep(world, "{worktree_days: 0, worktrees: 2}")
    world.job("exit 1")
    for _ in range(4):
        world.fire()
    world.clock.advance(timedelta(days=10_000))
    assert (collect_garbage(world.seen).worktrees, kept(world)) == (2, ["3", "4"])
    assert world.branches == ["run/job/3", "run/job/4"]
    keep(world, "{worktree_days: 0, worktrees: 0}")
    assert collect_garbage(world.seen).worktrees == 0


def test_the_worktree_of_a_run_that_waits_for_its_retry_stays(world: World) -> None:
    keep(world, "{worktree_days: 1, worktrees: 1}")
    world.job("exit 1", "retry: {attempts: 2, delay: 1s}")
    run = world.fire()
    assert run.status is RunStatus.QUEUED
    world.clock.advance(timedelta(days=30))
    assert (collect_garbage(world.seen).worktrees, kept(world)) == (0, ["1"])


def test_what_a_kill_left_of_a_run_that_never_started_goes_at_once(world: World) -> None:
    world.claim()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, world.root, world.place.state],
        env={**os.environ, CRASH_AT: "worktree_made"},
        check=False,
    )
    assert killed.returncode == -9
    assert kept(world) == ["1"]
    assert collect_garbage(world.seen).worktrees == 0, "its run may still start"
    world.clock.advance(timedelta(days=1))
    recovery = LocalRecovery(place=world.place, clock=world.clock, owner="2-test")
    (back,) = recovery.recover(world.store, world.store.read(runs.active))
    assert (back.status, back.reason) == (RunStatus.SKIPPED, "missed")
    assert collect_garbage(world.seen).worktrees == 1
    assert world.nothing_is_left


def test_what_is_left_of_a_removal_that_was_killed_goes_too(world: World) -> None:
    world.job("exit 1")
    world.fire()
    shutil.rmtree(world.folder())
    assert world.worktrees == 2
    assert collect_garbage(world.seen).worktrees == 0
    assert world.nothing_is_left


def test_a_worktree_without_a_repository_is_removed_by_age_too(world: World) -> None:
    world.job("exit 1")
    world.fire()
    shutil.rmtree(world.repository / ".git")
    world.clock.advance(timedelta(days=15))
    assert (collect_garbage(world.seen).worktrees, kept(world)) == (1, [])
