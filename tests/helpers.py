"""What tests of every folder use: waiting for what has to come, git, commands, a daemon, a known environment."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from scheduler.cli import main

GIT = shutil.which("git") or "git"  # also where a test puts another one before it
REPOSITORY = Path(__file__).parents[1]
LONG_S = 60.0  # until something that has to come counts as never coming, however busy the machine is
MOST_OFTEN_S, LEAST_OFTEN_S = 0.002, 0.05

ROOT_FILE = """\
version: 1
defaults: {runner: cat}
runners:
  cat: {command: [cat]}
  sh: {command: [sh, -eu, "{task_file}"], tasks: ["scripts/**", "jobs/**"]}
"""

T = TypeVar("T")


def until(found: Callable[[], T | None], what: str, *, within: float = LONG_S) -> T:
    """What `found` returns once it is true; asked again and again, ever more seldom, and half of the time at most."""
    asked = time.monotonic()
    give_up, pause = asked + within, MOST_OFTEN_S
    while not (value := found()):
        now = time.monotonic()
        assert now < give_up, f"never came: {what}"
        time.sleep(max(pause, now - asked))
        asked, pause = time.monotonic(), min(2 * pause, LEAST_OFTEN_S)
    return value


def git(folder: Path, *args: str, stdin: bytes | None = None) -> str:
    """Git as people run it: every setting of the repository in force."""
    done = subprocess.run([GIT, "-C", folder, *args], check=True, capture_output=True, input=stdin)
    return done.stdout.decode().strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def problems(self) -> list[tuple[str, int, int, str]]:
        """Path, line, column and code of each problem that a `--json` answer names."""
        return [(each["path"], each["line"], each["column"], each["code"]) for each in self.json["problems"]]


def call(*args: str) -> Result:
    """What `scheduler ARGS...` in a pipe answers: `main` itself, in this process."""
    out, err = io.BytesIO(), io.BytesIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    loggers = [(log, log.handlers, log.level, log.propagate) for log in map(logging.getLogger, ("scheduler", None))]
    hooks = threading.excepthook, sys.unraisablehook
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["scheduler.cli.main"], "_leave", sys.exit)  # this process goes on
        patch.setattr(sys, "argv", ["scheduler", *args])
        patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="utf-8", write_through=True))
        patch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding="utf-8", write_through=True))
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for log, handlers_before, level, propagate in loggers:  # `serve` has logged to a stream that is ours
                log.handlers, log.propagate = handlers_before, propagate
                log.setLevel(level)
            logging.captureWarnings(False)
            threading.excepthook, sys.unraisablehook = hooks
            stdout, stderr = out.getvalue().decode(), err.getvalue().decode()
    assert isinstance(code, int)
    return Result(code=code, stdout=stdout, stderr=stderr)


def ended(process: subprocess.Popen[str]) -> Result:
    with process:
        stdout, stderr = process.communicate(timeout=LONG_S)
    return Result(code=process.returncode, stdout=stdout or "", stderr=stderr)


class Daemon:
    """One process of `scheduler serve`, and what it has said on stderr."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        cwd: Path | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        """before: what the process does before it becomes the daemon."""
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=before,
        )
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._hung_up = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                with self._said:
                    self.lines.append(line)
                    self._said.notify_all()
        with self._said:
            self._hung_up = True
            self._said.notify_all()

    def says(self, text: str) -> str:
        """The first line with this text, once it is there."""

        def found() -> str:
            return next((line for line in self.lines if text in line), "")

        with self._said:
            self._said.wait_for(lambda: found() or self._hung_up, LONG_S)
            assert found(), f"never said {text!r}: {self.stderr}"
            return found()

    @property
    def stderr(self) -> str:
        return "".join(self.lines)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit code once it has ended, or the negative number of the signal that ended it."""
        try:
            code = self.process.wait(LONG_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler says where it hangs
            code = None
        self._reader.join(LONG_S)
        assert code is not None, f"it never ended: {self.stderr}"
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.tell(number)
        return self.ended()

    def kill(self) -> int:
        return self.stop(signal.SIGKILL)


def settle_environment(patch: pytest.MonkeyPatch, home: Path) -> None:
    """A user with a name, a home and nothing else, who commits at one moment: no setting of the machine counts."""
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = A\n\temail = a@example.com\n[init]\n\tdefaultBranch = main\n")
    for name in list(os.environ):
        if name.startswith(("GIT_", "SCHEDULER_", "LC_", "XDG_")) or name in ("USER", "SHELL", "LANG", "TZ", "TMPDIR"):
            patch.delenv(name)
    patch.setenv("HOME", str(home))
    patch.setenv("LOGNAME", "tester")
    patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    patch.setenv("SCHEDULER_NO_API", "1")  # daemons of tests do not compete for one port
    for who in ("AUTHOR", "COMMITTER"):
        patch.setenv(f"GIT_{who}_DATE", "2026-03-01T12:00:00Z")
