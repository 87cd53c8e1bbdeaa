"""A real root in a real repository, and the command line called as a shell would call it."""

from __future__ import annotations

import functools
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest

from scheduler.cli.group import Globals
from scheduler.ledger.store import Store
from scheduler.machine.clock import SystemClock
from tests.fakes import FakeClock
from tests.helpers import REPOSITORY, Result, call, ended, git, settle_environment

ROOT_FILE = """\
version: 1
timezone: Europe/Berlin
defaults: {runner: agent, timeout: 5m}
runners:
  agent:
    command: [cat]
    input: stdin
    job_env: [MODE]
  shell:
    command: [sh, -eu, "{task_file}"]
    tasks: ["scripts/**"]
"""

HEARTBEAT = """\
---
id: heartbeat
name: Hourly heartbeat
description: Looks at the inbox
owner: ops@example.com
tags: [agent, hourly]
schedule: "0 * * * *"
env: {MODE: calm}
---
You are woken once an hour.
"""

TRIAGE = """\
id: triage
schedule: {cron: "0 9 * * MON-FRI", timezone: America/Los_Angeles}
tags: [agent]
task_source_path: prompts/triage.md
"""

CLOCK = """\
id: tick
schedule: {every: 10s}
task: Tick.
---
id: new-year
schedule: {at: "2030-01-01T00:00:00+01:00"}
task: Happy new year.
---
id: retired
enabled: false
schedule: {every: 1h30m}
task: Nothing.
"""

FLAKY = """\
id: flaky
schedule: "@daily"
task_source_path: scripts/flaky.sh
runner: shell
"""

FILES = {
    "scheduler.yaml": ROOT_FILE,
    "jobs/heartbeat.md": HEARTBEAT,
    "jobs/triage.yaml": TRIAGE,
    "jobs/clock.yaml": CLOCK,
    "jobs/flaky.yaml": FLAKY,
    "prompts/triage.md": "Sort the inbox.\n",
    "scripts/flaky.sh": "echo out of luck\necho to the other stream >&2\nexit 3\n",
}
JOBS = ("flaky", "heartbeat", "new-year", "retired", "tick", "triage")

# What no mistake in a file and no trouble with the database may change.
_KEPT = (
    "id",
    "generation",
    "status",
    "schedule",
    "run_count",
    "consecutive_errors",
    "last_run_at",
    "last_run_status",
    "last_skip_at",
    "last_skip_reason",
    "next_run_at",
    "activated_at",
    "created_at",
    "created_by",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A folder with scheduler.yaml, job files, prompts and scripts, all committed."""

    path: Path
    clock: FakeClock

    # -- files and commits -----------------------------------------------------------------------

    def write(self, path: str, content: str | bytes) -> None:
        """Saves as editors do: a new file takes the old one's name."""
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.new")
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        beside.replace(target)

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.path / path).read_text()
        assert old in text
        self.write(path, text.replace(old, new))

    def move(self, path: str, to: str) -> None:
        (self.path / to).parent.mkdir(parents=True, exist_ok=True)
        (self.path / path).rename(self.path / to)

    def delete(self, *paths: str) -> None:
        for path in paths:
            (self.path / path).unlink()

    def git(self, *args: str) -> str:
        return git(self.path, *args)

    def commit(self) -> str:
        """The commit of everything as it stands."""
        self.git("add", "-A")
        self.git("commit", "-qm", "x")
        return self.git("rev-parse", "HEAD")

    # -- the command line ------------------------------------------------------------------------

    def cli(self, *args: str) -> Result:
        return call(*args)

    def ok(self, *args: str) -> Result:
        found = call(*args)
        assert found.code == 0, found
        return found

    def json(self, *args: str) -> Any:
        return self.ok(*args, "--json").json

    def break_flaky(self, *, after: int = 1) -> str:
        """Commit a text of `flaky` that fails, after one that succeeded so many times. The id of its commit."""
        self.write("scripts/flaky.sh", "echo fine\n")
        self.commit()
        self.sync()
        for _ in range(after):
            self.ok("run", "flaky", "--wait")
            self.clock.advance(timedelta(minutes=1))
        self.write("scripts/flaky.sh", "exit 4\n")
        commit = self.commit()
        self.sync()
        assert self.cli("run", "flaky", "--wait").code == 1
        return commit

    def sync(self) -> Any:
        return self.json("sync")

    def job(self, job_id: str) -> Any:
        return self.json("show", job_id)["job"]

    def runs(self, job_id: str) -> list[Any]:
        """Newest first."""
        found: list[Any] = self.json("history", job_id)["runs"]
        return found

    def run(self, job_id: str) -> Any:
        return self.json("run", job_id, "--wait")["run"]

    def start(self, *args: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """The same as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "scheduler", *args],
            cwd=self.path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    def process(self, *args: str, stdout: int = subprocess.PIPE) -> Result:
        return ended(self.start(*args, stdout=stdout))

    # -- what must last --------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """Of every job: definition, counters and history."""
        return {
            job["id"]: ({name: job[name] for name in _KEPT}, self.runs(job["id"])) for job in self.json("list")["jobs"]
        }

    @property
    def db(self) -> Path:
        return self.path / ".scheduler/state.db"

    def sql(self, statement: str) -> None:
        connection = sqlite3.connect(self.db, isolation_level=None)
        try:
            connection.execute(statement)
        finally:
            connection.close()


# -- fixtures: a root is made and used once, and every test gets a copy --------------------------


def stop_time(patch: pytest.MonkeyPatch) -> FakeClock:
    """The time of every command called in this process."""
    fake = FakeClock()

    class Frozen(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(fake.now().timestamp(), tz or UTC)

    patch.setattr(SystemClock, "now", lambda self: fake.now())
    # By its name in sys.modules: `scheduler.cli.main` is the function.
    patch.setattr(sys.modules["scheduler.cli.main"], "datetime", Frozen, raising=False)
    return fake


def copy_of(template: Path, folder: Path, clock: FakeClock, patch: pytest.MonkeyPatch) -> Root:
    """A root of one's own, as the working directory."""
    shutil.copytree(template, folder / "root")
    patch.chdir(folder / "root")
    return Root(path=folder / "root", clock=clock)


@pytest.fixture(scope="session")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files, committed and never synced."""
    folder = tmp_path_factory.mktemp("committed")
    root = Root(path=folder / "root", clock=FakeClock())
    with pytest.MonkeyPatch.context() as patch:
        settle_environment(patch, folder / "home")
        for name, text in {**FILES, ".gitignore": ".scheduler/\n"}.items():
            root.write(name, text)
        root.git("init", "-q", "--template=")  # without the sample hooks: a dozen files to copy and delete
        root.commit()
        root.git("gc", "-q")
    return root.path


@pytest.fixture(scope="session")
def used(committed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synced, with one run that succeeded and one that failed."""
    folder = tmp_path_factory.mktemp("used")
    with pytest.MonkeyPatch.context() as patch:
        settle_environment(patch, folder / "home")
        root = copy_of(committed, folder, stop_time(patch), patch)
        root.sync()
        root.clock.advance(timedelta(minutes=1))
        root.run("heartbeat")
        root.clock.advance(timedelta(minutes=1))
        assert root.cli("run", "flaky", "--wait").code == 1
    return root.path


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A known environment, and no wait for a file that is absent; that wait has tests of its own."""
    settle_environment(monkeypatch, tmp_path / "home")
    find_root = Globals.find_root
    monkeypatch.setattr(
        Globals, "find_root", lambda given, **how: replace(find_root(given, **how), absent_grace=timedelta(0))
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    return stop_time(monkeypatch)


@pytest.fixture
def root(committed: Path, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Root:
    """Committed, never synced, and the working directory."""
    return copy_of(committed, tmp_path, clock, monkeypatch)


@pytest.fixture
def lived_in(used: Path, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Root:
    """Synced, with one run that succeeded and one that failed; a minute later."""
    clock.advance(timedelta(minutes=3))
    return copy_of(used, tmp_path, clock, monkeypatch)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked database is given up at once."""
    quick = functools.partial(Store.open, busy_timeout=timedelta(milliseconds=10))
    monkeypatch.setattr(Store, "open", staticmethod(quick))


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[Path]:
    """jobs.example as a newcomer gets it, for reading only: it must be the same afterwards."""
    folder = tmp_path / "jobs.example"
    shutil.copytree(REPOSITORY / "jobs.example", folder, ignore=shutil.ignore_patterns(".scheduler"))
    before = contents(folder)
    yield folder
    assert contents(folder) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
