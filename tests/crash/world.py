"""A root, the real daemon on it, and what its jobs' scripts write down themselves."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.helpers import LONG_S, REPOSITORY, Daemon, Result, call, ended

SERVING = " serving root="
STOPPING = " stopping signal="

ROOT_FILE = """\
version: 1
defaults: {{runner: sh}}
runners:
  sh: {{command: [sh, -eu, "{{task_file}}"], tasks: ["scripts/**", "jobs/**"]}}
limits: {{max_running: {max_running}}}
"""
JOB = "id: {job_id}\nschedule: {{{schedule}}}\ntask_source_path: scripts/{job_id}.sh\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a script has written at its start."""

    job_id: str
    run_id: str
    fire_time: datetime | None  # None: a manual run
    pid: int


class World:
    """One root with its database, its daemons and its marks; `close` leaves no process behind."""

    def __init__(self, folder: Path, *, max_running: int = 16) -> None:
        self.root = folder / "root"
        self.marks_file = folder / "marks"  # outside the root: nobody watches it
        self.daemons: list[Daemon] = []
        self.inside = True
        self._commands: list[subprocess.Popen[str]] = []
        self._closed = False
        self.limit(max_running)

    @property
    def db(self) -> Path:
        return self.root / ".scheduler/state.db"

    # -- files -----------------------------------------------------------------------------------

    def write(self, path: str, text: str) -> None:
        """Saves as editors do: a new file takes the old one's name."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.new")
        beside.write_text(text)
        beside.replace(target)

    def script(self, *lines: str) -> str:
        """A task that writes its mark first, by one small write to a file opened for appending."""
        mark = '"$SCHEDULER_JOB_ID $SCHEDULER_RUN_ID ${SCHEDULER_FIRE_TIME:--} $$"'
        return "\n".join([f"echo {mark} >> '{self.marks_file}'", *lines, ""])

    def job(self, job_id: str, *lines: str, schedule: str = "every: 1s", keys: str = "") -> None:
        """A job of its own file and its own script. keys: further lines of that file."""
        self.write(f"scripts/{job_id}.sh", self.script(*lines))
        self.write(f"jobs/{job_id}.yaml", JOB.format(job_id=job_id, schedule=schedule) + keys)

    def limit(self, max_running: int) -> None:
        self.write("scheduler.yaml", ROOT_FILE.format(max_running=max_running))

    # -- processes -------------------------------------------------------------------------------

    def serve(self, *args: str, before: Sequence[str] = (), **env: str) -> Daemon:
        """before: a command that becomes the daemon or starts it."""
        daemon = Daemon([*before, *self._command, "serve", *args], {**self._environment, **env})
        self.daemons.append(daemon)
        return daemon

    def start(self, *args: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """A command that goes on until it has ended, or this world does."""
        process = subprocess.Popen(
            [*self._command, *args],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._commands.append(process)
        if self._closed:
            process.kill()
        return process

    def cli(self, *args: str) -> Result:
        """In this process, if that is allowed: `inside`, and by its main thread."""
        if self.inside and threading.current_thread() is threading.main_thread():
            return call(*self._options, *args)
        return ended(self.start(*args))

    @property
    def _command(self) -> list[str]:
        return [sys.executable, "-X", "faulthandler", "-m", "scheduler", *self._options]

    @property
    def _options(self) -> list[str]:
        return ["--root", str(self.root)]

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    def leftovers(self) -> dict[int, str]:
        """Processes that runs of this root have started and that live: their pids and the runs."""
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):  # gone meanwhile, or somebody else's
                    told = (folder / "environ").read_bytes().split(b"\0")  # nothing of a zombie
                    if os.fsencode(f"SCHEDULER_ROOT={self.root}") in told:
                        runs = [each for each in told if each.startswith(b"SCHEDULER_RUN_ID=")]
                        found[int(folder.name)] = b" ".join(runs).decode()
        return found

    def close(self) -> None:
        self._closed = True
        for daemon in self.daemons:
            if daemon.alive:
                daemon.kill()
        for command in self._commands:
            if command.poll() is None:
                command.kill()
        for pid in self.leftovers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # -- what is written -------------------------------------------------------------------------

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The database, opened for reading only."""
        connection = sqlite3.connect(f"file:{self.db}?mode=ro", uri=True, timeout=LONG_S, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")  # one view
            yield connection
        finally:
            connection.close()

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """What a query finds; nothing before the first daemon has made the database."""
        if not self.db.exists():
            return []
        with self.reading() as sql:
            return sql.execute(query, values).fetchall()

    def runs(self, job_id: str, *, status: str | None = None) -> list[sqlite3.Row]:
        """A job's rows in the ledger, oldest first."""
        found = self.rows("SELECT * FROM runs WHERE job_id = ? ORDER BY n", job_id)
        return [row for row in found if status in (None, row["status"])]

    def cursor(self, job_id: str) -> datetime:
        (row,) = self.rows("SELECT next_run_at FROM jobs WHERE id = ?", job_id)
        return datetime.fromisoformat(row["next_run_at"])

    def generation(self, job_id: str) -> int:
        (row,) = self.rows("SELECT generation FROM jobs WHERE id = ?", job_id)
        return int(row["generation"])

    def marks(self, job_id: str | None = None) -> list[Mark]:
        """In the order in which they were written."""
        if not self.marks_file.exists():
            return []
        found = []
        for line in self.marks_file.read_text().splitlines():
            job, run, fire_time, pid = line.split(" ")
            moment = None if fire_time == "-" else datetime.fromisoformat(fire_time)
            found.append(Mark(job_id=job, run_id=run, fire_time=moment, pid=int(pid)))
        return [each for each in found if job_id in (None, each.job_id)]
