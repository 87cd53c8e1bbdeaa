"""Roots that the benchmarks make: many job files, a repository, a daemon, a long history."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from tests.bench.machine import wait_for

A_FOLDER = 1000  # files
RUNS_AT_ONCE = 10_000
HISTORY_STARTS = 1_700_000_000  # seconds since 1970: long ago
INSERT_RUNS = """\
INSERT INTO runs (job_id, n, "trigger", status, fire_time, fire_time_last, slots, requested_at, started_at, finished_at,
                  duration_ms, exit_code, source_path, generation, result, output_bytes)
WITH RECURSIVE number(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM number WHERE i + 1 < :last)
SELECT 'j' || printf('%06d', i % :jobs), i / :jobs + 1, 'schedule', 'succeeded', at, at, 1, at, at, at, 5, 0,
       'jobs/000/x.yaml', 1, 'done', 5
FROM (SELECT i, strftime('%Y-%m-%dT%H:%M:%S.000000Z', :start + i / :jobs, 'unixepoch') AS at FROM number)
"""
INSERT_ATTEMPTS = """\
INSERT INTO attempts (job_id, run_n, n, status, started_at, finished_at, exit_code)
SELECT job_id, n, 1, status, started_at, finished_at, 0 FROM runs WHERE rowid > ?
"""
COUNT_RUNS = """\
UPDATE jobs SET (run_count, last_n, last_run_at, last_run_status, last_run_duration_ms) =
    (SELECT count(*), max(n), max(fire_time), 'succeeded', 5 FROM runs WHERE job_id = jobs.id)
"""


def utc(seconds: float, *, fraction: bool = False) -> str:
    """An instant as job files spell it; with a fraction, as the database does."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S" + (".%fZ" if fraction else "Z"))


def scheduler(*arguments: str | Path) -> list[str | Path]:
    """The command line of the product that is installed beside this Python."""
    return [sys.executable, "-m", "scheduler", *arguments]


@cache
def most_running() -> int:
    """The limit of concurrent runs to set: as many as this version of the product allows."""
    for limit in (RUNS_AT_ONCE, 1000):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "scheduler.yaml").write_text(f"version: 1\nlimits: {{max_running: {limit}}}\n")
            if not subprocess.run(scheduler("--root", folder, "validate"), capture_output=True).returncode:
                return limit
    return 16


class Root:
    """A folder with job files. What it makes lies beside it, so that no file but a job's appears in it."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.database = path / ".scheduler/state.db"
        self.log = path.parent / "log"

    def write_settings(self, command: Sequence[str]) -> None:
        words = ", ".join(f'"{word}"' for word in command)
        (self.path / "scheduler.yaml").write_text(
            f"version: 1\nrunners: {{stamp: {{command: [{words}]}}}}\n"
            "defaults: {runner: stamp, concurrency: allow, catch_up: all, failure_limit: 0}\n"
            f"limits: {{max_jobs: 100000, max_running: {most_running()}}}\n"
            "prune: {max_percent: 100, max_jobs: 100000}\n"
        )

    def file(self, job: int) -> Path:
        return self.path / f"jobs/{job // A_FOLDER:03}/j{job:06}.yaml"

    @staticmethod
    def text(job: int, schedule: str, description: str = "") -> str:
        said = f"description: {description}\n" if description else ""
        return f"id: j{job:06}\nschedule: {schedule}\n{said}task: Say what has changed since job {job} ran last.\n"

    def write_jobs(self, schedules: Mapping[int, str]) -> None:
        """One file for each job."""
        for job, schedule in schedules.items():
            file = self.file(job)
            if job % A_FOLDER == 0 or not file.parent.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.text(job, schedule))

    def replace(self, job: int, schedule: str, description: str) -> None:
        """Write a job's file anew and rename it to its place, as editors and git do."""
        new = self.path.parent / "new"
        new.write_text(self.text(job, schedule, description))
        new.replace(self.file(job))

    def commit(self) -> None:
        (self.path / ".gitignore").write_text(".scheduler/\n")
        git = ["git", "-C", str(self.path), "-c", "gc.auto=0", "-c", "user.name=a", "-c", "user.email=a@example.com"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "jobs"]):
            subprocess.run([*git, *command], check=True)

    def command(self, *arguments: str | Path) -> float:
        """Seconds that a whole process of the product takes, its output thrown away. Raises: CalledProcessError."""
        start = time.perf_counter()
        done = subprocess.run(
            scheduler("--root", self.path, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        taken = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"scheduler {' '.join(map(str, arguments))}: {done.stderr.decode()[-500:]}")
        return taken

    @contextlib.contextmanager
    def served(self, *options: str) -> Iterator[int]:
        """The id of a daemon that is serving."""
        with self.serving(*options) as (pid, _):
            yield pid

    @contextlib.contextmanager
    def serving(self, *options: str) -> Iterator[tuple[int, float]]:
        """The id of a daemon, and how many seconds it took to serve."""
        environ = {**os.environ, "TZ": "UTC"}
        with self.log.open("wb") as log, self.log.open("rb") as seen:
            start = time.perf_counter()
            daemon = subprocess.Popen(
                scheduler("--root", self.path, *options, "serve", "--grace", "1"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ, start_new_session=True,
            )  # fmt: skip
            text = b""

            def serves() -> bool:
                nonlocal text
                text += seen.read()
                return b" serving root=" in text or daemon.poll() is not None

            wait_for(serves, 600)
            taken = time.perf_counter() - start
            if daemon.poll() is not None:
                raise RuntimeError(f"the daemon ended: {self.log.read_text()[-500:]}")
            try:
                yield daemon.pid, taken
            finally:
                daemon.terminate()
                try:
                    daemon.wait(30)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()

    def logged(self, *words: str) -> list[str]:
        """The lines of the daemon's log that hold all of these words."""
        return [line for line in self.log.read_text().splitlines() if all(word in line for word in words)]

    def add_history(self, rows: int, jobs: int) -> None:
        """Give the first so many jobs a history of so many runs in all, each with its attempt."""
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            database.execute("PRAGMA synchronous = OFF")
            for start in range(0, rows, 100_000):
                with database:
                    (last,) = database.execute("SELECT coalesce(max(rowid), 0) FROM runs").fetchone()
                    known = {"first": start, "last": min(rows, start + 100_000), "jobs": jobs, "start": HISTORY_STARTS}
                    database.execute(INSERT_RUNS, known)
                    database.execute(INSERT_ATTEMPTS, (last,))
            with database:
                database.execute(COUNT_RUNS)
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
