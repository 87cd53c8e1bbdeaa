"""A real server, control planes and workers, as processes, and what the children write down."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.helpers import REPOSITORY, Daemon, Result, call, until

SERVER = shutil.which("temporal", path=os.path.dirname(sys.executable))  # noqa: PTH120
SERVING = " serving root="
ROOT = """
version: 1
runners:
  there: {command: [sh, -eu], cwd: scratch, task_queue: gpu}
  nowhere: {command: [sh, -eu], cwd: scratch, task_queue: nobody}
  here: {command: [sh, -eu]}
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """A server that keeps what it knows in a file, so that it survives its end."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder, self.port = folder, free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        assert SERVER is not None
        log = (self._folder / "log").open("ab")
        argv = [SERVER, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self.port)]
        argv += ["--db-filename", str(self._folder / "db"), "--log-level", "error", "--metrics-port", str(free_port())]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        until(self._answers, "an open port of the server")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Plane:
    """One control plane: a root, its state, and the daemon on it."""

    def __init__(self, folder: Path, address: str, *, root_id: str = "r") -> None:
        self.root, self.marks = folder / "root", folder.parent / "marks"
        self.state = self.root / ".scheduler"
        self.state.mkdir(parents=True, mode=0o700)
        self.engine(f"root_id: {root_id}\nheartbeat: 2s\nlost_after: 20s\ntemporal: {{address: '{address}'}}\n")
        (self.root / "scheduler.yaml").write_text(ROOT)
        (self.root / "jobs").mkdir()
        self.daemon: Daemon | None = None

    def engine(self, text: str) -> None:
        path = self.state / "engine.yaml"
        path.write_text(text)
        path.chmod(0o600)

    def job(self, name: str, *lines: str, keys: str = "schedule: {every: 1s}", runner: str = "there") -> None:
        mark = f"echo \"{name} ${{SCHEDULER_FIRE_TIME:--}} $SCHEDULER_ATTEMPT $SCHEDULER_RUN_ID\" >> '{self.marks}'"
        script = "\n".join(f"  {line}" for line in (mark, *lines))
        (self.root / f"jobs/{name}.yaml").write_text(f"id: {name}\n{keys}\nrunner: {runner}\ntask: |\n{script}\n")

    def serve(self, *args: str, waits: bool = True, **env: str) -> Daemon:
        command = [sys.executable, "-m", "scheduler", "serve", *args]
        self.daemon = Daemon(command, {**os.environ, "PYTHONPATH": str(REPOSITORY), **env}, cwd=self.root)
        if waits:
            self.daemon.says(SERVING)
        return self.daemon

    def kill(self) -> None:
        assert self.daemon is not None
        self.daemon.process.kill()
        self.daemon.ended()

    def rows(self, where: str = "TRUE") -> list[dict[str, Any]]:
        with contextlib.closing(sqlite3.connect(self.state / "state.db", timeout=10)) as sql:
            sql.row_factory = sqlite3.Row
            return [dict(row) for row in sql.execute(f"SELECT * FROM runs WHERE {where} ORDER BY job_id, n")]

    def marked(self) -> Counter[str]:
        """How often each slot and try has begun, whoever fired it."""
        with contextlib.suppress(FileNotFoundError):
            return Counter(" ".join(line.split()[:3]) for line in self.marks.read_text().splitlines())
        return Counter()

    def command(self, *args: str) -> Any:
        return json.loads(self.screen(*args, "--json"))

    def ask(self, job_id: str) -> None:
        """Ask the daemon for a run of a job that may just have been written."""
        self.call("sync")
        done = self.call("run", job_id)
        assert done.code == 0, done.stderr

    def screen(self, *args: str) -> str:
        """What a command prints."""
        done = self.call(*args)
        assert done.stdout, done.stderr
        return done.stdout

    def call(self, *args: str) -> Result:
        """A command in this process: another one takes half a second to load everything."""
        return call("--root", str(self.root), *args)
