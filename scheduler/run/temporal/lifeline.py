"""A process beside a worker that ends the worker's runs when it dies, hangs, or is suspended for too long.

It knows the worker by a pipe: the end of the pipe is the end of the worker. Lines say what is about to start, which
groups run, and when the worker last reached its server. It has its own clock, which counts the time of a suspended
machine too.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from scheduler.machine import orphans
from scheduler.machine.proc import started_at
from scheduler.machine.processes import end_processes

KILL_S = 0.2  # after TERM
SLACK_S = 2.0  # after the worker's own fence, which knows more
_MOST_S = 5.0


def now() -> float:
    """Seconds, also of a suspended machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Lifeline:
    """The worker's end of it. Any thread may call."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "scheduler.run.temporal.lifeline"]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        ours, its = os.pipe()
        try:
            self._pipe = its
            self.process = orphans.start(
                command, stdin=ours, stdout=subprocess.DEVNULL, env=env, start_new_session=True
            )
        finally:
            os.close(ours)

    def expect(self, key: str, told: Mapping[str, str], lost_after_s: float) -> None:
        """A process is about to start, and `told` is in its environment. `arrived` ends that."""
        self._say(f"? {key} {json.dumps([dict(told), lost_after_s])}")

    def arrived(self, key: str) -> None:
        self._say(f"! {key}")

    def add(self, group: int, lost_after_s: float) -> None:
        self._say(f"+ {group} {lost_after_s}")

    def remove(self, group: int) -> None:
        self._say(f"- {group}")

    def contact(self) -> None:
        """The server was reached just now."""
        self._say("c")

    def close(self) -> None:
        """End it. Whatever it was told to watch ends too."""
        os.close(self._pipe)
        self.process.wait()

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # it was killed: the worker goes on without it
            os.write(self._pipe, line.encode() + b"\n")


class Watch:
    """What the process knows."""

    def __init__(self) -> None:
        self._groups: dict[int, tuple[int | None, float]] = {}  # when the leader started, and the fence
        self._expected: dict[str, tuple[dict[str, str], float]] = {}  # its environment, and the fence
        self._contact = now()

    def told(self, line: str) -> None:
        match line.split(maxsplit=2):
            case ["?", key, rest]:
                told, seconds = json.loads(rest)
                self._expected[key] = told, seconds + SLACK_S
            case ["!", key]:
                self._expected.pop(key, None)
            case ["+", group, seconds]:
                self._groups[int(group)] = started_at(int(group)), float(seconds) + SLACK_S
            case ["-", group]:
                self._groups.pop(int(group), None)
            case ["c"]:
                self._contact = now()

    def end_overdue(self) -> None:
        """End what has a worker that has been silent for too long."""
        silent = now() - self._contact
        self.end([group for group, (_, fence) in self._groups.items() if silent > fence])
        for key in [key for key, (_, fence) in self._expected.items() if silent > fence]:
            self._end_expected(key)

    def wait_s(self) -> float:
        fences = [fence for _, fence in (*self._groups.values(), *self._expected.values())]
        silent = now() - self._contact
        return max(0.05, min([_MOST_S, *(fence - silent for fence in fences)]))

    def end(self, groups: list[int]) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for group in groups:
                self._signal(group, number)
            if number == signal.SIGTERM and groups:
                time.sleep(KILL_S)
        for group in groups:
            self._groups.pop(group, None)

    def end_all(self) -> None:
        self.end(list(self._groups))
        for key in list(self._expected):
            self._end_expected(key)

    def _end_expected(self, key: str) -> None:
        """The worker was killed or stopped between a start and telling of it."""
        end_processes(None, self._expected.pop(key)[0])

    def _signal(self, group: int, number: int) -> None:
        started, _ = self._groups[group]
        found = started_at(group)
        if found is not None and found != started:  # the number is somebody else's by now
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
            os.killpg(group, signal.SIGCONT)


def main() -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)  # its end is the end of the pipe
    watch, rest = Watch(), b""
    os.chdir(Path("/"))
    while True:
        if select.select([0], [], [], watch.wait_s())[0]:
            data = os.read(0, 65536)
            if not data:
                watch.end_all()
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                watch.told(line.decode())
        watch.end_overdue()


if __name__ == "__main__":
    main()
