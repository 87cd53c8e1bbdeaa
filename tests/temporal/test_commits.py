"""The folder of a commit on a worker's host, and what a host insists on because of it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.values.engines import EngineSettings, WorkerSettings
from scheduler.core.values.facts import Fault
from scheduler.core.values.remote import Remote
from scheduler.core.values.settings import RunnerSpec, TaskInput
from scheduler.machine.clock import SystemClock
from scheduler.root.followed import Pin
from scheduler.run.local.cancel import Cancel
from scheduler.run.temporal.commits import Commits
from scheduler.run.temporal.hosting import Host
from scheduler.run.temporal.spec import Outcome, Spec
from tests.helpers import git
from tests.temporal.hosts import spec_of

ROOT = 'version: 1\nrunners: {shell: {command: [sh, -eu, "{task_file}"]}, gone: {command: [sh]}}\n'
SENT = RunnerSpec(name="shell", command=("sh", "-c", "echo sent"), input=TaskInput.STDIN)


@dataclass
class World:
    origin: Path
    state: Path
    commits: Commits

    def commit(self, **files: str) -> str:
        for name, text in files.items():
            path = self.origin / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        git(self.origin, "add", "-A")
        git(self.origin, "commit", "-qm", "c")
        return git(self.origin, "rev-parse", "HEAD")

    def host(self, **more: Any) -> Host:
        known: dict[str, Any] = {"server": EngineSettings(address="x:1"), "queues": ("q",), "runners": None}
        settings = WorkerSettings(**{**known, **more})
        (self.state / "runs").mkdir(exist_ok=True)
        return Host(name="w1", settings=settings, state=self.state, environ=dict(os.environ), commits=self.commits)

    def run(self, host: Host, spec: Spec, text: bytes) -> Outcome:
        return host.carry_out(spec, text, "run/r/train/x", "q", Cancel(), lambda pid: None)


@pytest.fixture
def world(tmp_path: Path) -> World:
    origin = tmp_path / "origin"
    subprocess.run(["git", "init", "-q", "-b", "main", origin], check=True)
    for name, value in (("user.name", "n"), ("user.email", "e@x")):
        git(origin, "config", name, value)
    state = tmp_path / "state"
    state.mkdir()
    remote = Remote(url=str(origin), branch="main")
    commits = Commits.open(state / "root", remote, None, clock=SystemClock(), environ=dict(os.environ))
    return World(origin, state, replace(commits, patience_s=0.1))


def of(text: bytes, commit: str | None, **more: Any) -> Spec:
    known = {"cwd": "root", "runner": SENT, "revision": commit, "source_path": "tasks/a.sh"}
    return spec_of(text, **{**known, **more})


def test_a_run_has_the_folder_of_its_own_commit_whatever_came_later(world: World) -> None:
    first = world.commit(scheduler_yaml=ROOT, data_txt="one\n")
    second = world.commit(data_txt="two\n")
    runner = RunnerSpec(name="shell", command=("cat", "data.txt"), input=TaskInput.STDIN)
    host = world.host()
    for commit, data in ((second, b"two\n"), (first, b"one\n"), (second, b"two\n")):
        found = world.run(host, of(b"x", commit, runner=runner), b"x")
        assert (found.status, found.stdout.head) == ("succeeded", data)


def test_a_commit_that_is_pushed_later_is_fetched(world: World) -> None:
    world.commit(scheduler_yaml=ROOT)
    assert world.commits.look() == ""
    late = world.commit(data_txt="late\n")
    found = world.commits.pin(late, lambda _: True)
    assert isinstance(found, Pin)
    assert (found.root / "data.txt").read_text() == "late\n"


@pytest.mark.parametrize("commit", [None, "0" * 40])
def test_a_run_whose_commit_this_host_does_not_have_is_refused(world: World, commit: str | None) -> None:
    world.commit(scheduler_yaml=ROOT)
    found = world.run(world.host(), of(b"x", commit), b"x")
    assert (found.status, found.reason) == ("unstarted", "runner_commit_missing")


def test_a_commit_of_another_branch_is_refused(world: World) -> None:
    world.commit(scheduler_yaml=ROOT)
    git(world.origin, "checkout", "-qb", "other")
    other = world.commit(data_txt="other\n")
    git(world.origin, "checkout", "-q", "main")
    found = world.run(world.host(), of(b"x", other), b"x")
    assert found.reason == "runner_commit_missing"
    assert "does not contain it" in (found.error or "")


def test_an_unreachable_repository_is_named(world: World, tmp_path: Path) -> None:
    world.commit(scheduler_yaml=ROOT)
    world.origin.rename(tmp_path / "away")
    found = world.commits.pin("1" * 40, lambda _: False)
    assert isinstance(found, Fault)
    assert str(world.origin) in found.message


def test_with_from_commit_the_definition_of_the_commit_is_in_force(world: World) -> None:
    commit = world.commit(scheduler_yaml=ROOT)
    host = world.host(runners={"shell": None, "missing": None})
    text = b"echo from the text"
    found = world.run(host, of(text, commit), text)
    assert (found.status, found.stdout.head) == ("succeeded", b"from the text\n")
    missing = replace(SENT, name="missing")
    assert world.run(host, of(text, commit, runner=missing), text).reason == "runner_refused_by_host"


def test_with_from_commit_a_scratch_folder_stays_one(world: World) -> None:
    root = ROOT.replace('"{task_file}"]', '"{task_file}"], cwd: scratch')
    commit = world.commit(scheduler_yaml=root)
    found = world.run(world.host(runners={"shell": None}), of(b"pwd; ls", commit, cwd="scratch"), b"pwd; ls")
    assert found.stdout.head.decode().startswith(str(world.state / "scratch"))
    assert found.stdout.head.count(b"\n") == 1


def test_only_committed_texts_run_where_a_host_insists_on_it(world: World) -> None:
    commit = world.commit(scheduler_yaml=ROOT, tasks__a_sh="echo committed")
    host, runner = world.host(texts="committed"), RunnerSpec(name="sh", command=("sh",), input=TaskInput.STDIN)
    good = b"echo committed"
    found = world.run(host, of(good, commit, runner=runner), good)
    assert (found.status, found.stdout.head) == ("succeeded", b"committed\n")
    for path, text in (("tasks/a.sh", b"echo evil"), ("../../x", good), (str(world.origin / "tasks/a.sh"), good)):
        found = world.run(host, of(text, commit, runner=runner, source_path=path), text)
        assert (found.status, found.reason) == ("unstarted", "runner_refused_by_host"), path


def test_a_host_without_a_root_runs_nothing_in_the_folder_of_a_commit(world: World) -> None:
    commit = world.commit(scheduler_yaml=ROOT)
    found = world.run(replace(world.host(), commits=None), of(b"x", commit), b"x")
    assert found.reason == "runner_refused_by_host"
    assert "no root" in (found.error or "")


def test_a_run_that_comes_too_late_or_is_cancelled_first_is_not_started(world: World) -> None:
    commit = world.commit(scheduler_yaml=ROOT)
    late = of(b"x", commit, not_after=datetime.now(UTC) - timedelta(minutes=2))
    assert world.run(world.host(), late, b"x").reason == "capacity"
    cancel = Cancel()
    cancel.request("cancelled")
    found = world.host().carry_out(of(b"x", commit), b"x", "run/r/train/x", "q", cancel, lambda pid: None)
    assert (found.status, found.spawned_at) == ("cancelled", None)


def test_the_text_must_be_the_one_that_was_sent(world: World) -> None:
    spec = of(b"x", world.commit(scheduler_yaml=ROOT))
    assert spec.task_sha256 == hashlib.sha256(b"x").hexdigest()
    assert world.run(world.host(), spec, b"y").reason == "runner_task_damaged"
