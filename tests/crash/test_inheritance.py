"""What jobs inherit from a daemon started in odd ways; and a daemon that is the first process of a container."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.invariants import judge
from tests.crash.world import SERVING, STOPPING, World
from tests.helpers import Daemon, until

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")

# Starts a command as a careless supervisor would: signals ignored and blocked, files left open, on a terminal.
CARELESS = """\
import os, signal, sys
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGPIPE):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2, signal.SIGCHLD])
os.umask(0o027)
for _ in range(40):
    os.set_inheritable(os.open("/dev/null", os.O_RDONLY), True)
os.execvp(sys.argv[1], sys.argv[1:])
"""
LOOK = """\
import json, os, resource, sys
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
def is_open(number):
    try:
        return bool(os.fstat(number))
    except OSError:
        return False
def has_terminal():
    try:
        return bool(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
umask = os.umask(0)
print(json.dumps({
    "files": [n for n in map(int, os.listdir("/proc/self/fd")) if is_open(n)],
    "blocked": int(status["SigBlk"], 16),
    "ignored": [n for n in range(1, 65) if int(status["SigIgn"], 16) >> n - 1 & 1],
    "umask": umask,
    "terminal": has_terminal(),
    "leads": os.getpid() == os.getpgid(0) == os.getsid(0),
    "files_limit": resource.getrlimit(resource.RLIMIT_NOFILE),
    "nice": os.nice(0),
}))
"""


@pytest.fixture
def careless(world: World) -> Daemon:
    """A daemon started carelessly, which has carried out three kinds of jobs."""
    world.write(
        "scheduler.yaml",
        f"version: 1\nrunners:\n  look: {{command: [{sys.executable}, -c, {json.dumps(LOOK)}], input: stdin}}\n"
        '  sh: {command: [sh, -eu, "{task_file}"], tasks: ["jobs/**", "scripts/**"]}\ndefaults: {runner: sh}\n',
    )
    world.write("jobs/look.yaml", "id: look\nschedule: {every: 1s}\nrunner: look\ntask: none\n")
    world.job("shell", "grep SigIgn: /proc/self/status", "trap 'exit 0' INT HUP", "kill -INT $$; kill -HUP $$; exit 7")
    world.job("broken", "exit 3")
    daemon = world.serve(before=[sys.executable, "-c", CARELESS])
    daemon.says(SERVING)
    return daemon


def first_end(world: World, job_id: str) -> sqlite3.Row:
    return until(lambda: [row for row in world.runs(job_id) if row["started_at"] and row["finished_at"]], "an end")[0]


def test_a_job_inherits_nothing_of_a_carelessly_started_daemon(world: World, careless: Daemon) -> None:
    look = first_end(world, "look")
    found: dict[str, Any] = json.loads(look["result"])
    assert found["files"] == [0, 1, 2]
    assert found["blocked"] == 0
    assert (found["umask"], found["terminal"], found["leads"]) == (0o027, False, True)
    assert (found["files_limit"], found["nice"]) == ([*resource.getrlimit(resource.RLIMIT_NOFILE)], os.nice(0))
    # Python ignores two signals itself: a shell tells what it was given.
    shell = first_end(world, "shell")
    assert shell["status"] == "succeeded"
    ignored = int(shell["result"].split()[1], 16)
    # The C library keeps two to itself, which GNU make hands on ignored, and lets nobody restore them: signal(7).
    assert [number for number in signal.valid_signals() if ignored >> number - 1 & 1] == []
    # SIGCHLD was ignored: the kernel would have thrown the exit codes away.
    broken = first_end(world, "broken")
    assert (broken["status"], broken["exit_code"]) == ("failed", 3)
    # It lives through a hang-up, as nohup wants, and ends by TERM although that was blocked.
    careless.tell(signal.SIGHUP)
    known = len(world.marks("broken"))
    until(lambda: len(world.marks("broken")) > known + 1, "further fires")
    assert STOPPING not in careless.stderr
    assert careless.stop() == 0, careless.stderr


# -- the first process of a container --------------------------------------------------------

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def container() -> list[str]:
    """What makes a command the first process of a PID namespace; skips the test where nobody may."""
    for command in (UNSHARE, [*UNSHARE, "--user", "--map-root-user"]):
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    pytest.skip("needs the right to make a PID namespace")


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def zombies(pid: int) -> list[int]:
    return [each for each in children(pid) if "\nState:\tZ" in Path(f"/proc/{each}/status").read_text()]


def inside(first: int) -> int:
    """The daemon in the container of that first process."""
    (found,) = [each for each in children(first) if b"serve" in Path(f"/proc/{each}/cmdline").read_bytes()]
    return found


@pytest.fixture
def contained(world: World) -> Iterator[tuple[Daemon, int]]:
    """A daemon in a container, and its first process as it is known outside."""
    orphan = "(setsid sh -c 'sleep 0.05' > /dev/null 2>&1 &)"  # left by its parent, and by the group
    world.job("orphans", orphan, orphan, "exit 3")
    daemon = world.serve(before=container())
    daemon.says(SERVING)
    (first,) = children(daemon.process.pid)
    yield daemon, first
    if daemon.alive:
        os.kill(first, signal.SIGKILL)


def test_the_first_process_of_a_container_reaps_orphans_and_takes_no_exit_code(
    world: World, contained: tuple[Daemon, int]
) -> None:
    daemon, first = contained
    until(lambda: len(world.runs("orphans", status="failed")) >= 3, "some fires")
    assert zombies(inside(first)) == []
    until(lambda: zombies(first) == [], "an end of the zombies", within=5)
    os.kill(first, signal.SIGTERM)
    daemon.says(STOPPING)
    assert daemon.ended() == 0, daemon.stderr
    ended = {(row["status"], row["exit_code"]) for row in world.runs("orphans") if row["status"] != "skipped"}
    assert ended == {("failed", 3)}
    judge(world)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_signals_reach_a_daemon_that_is_not_alone_in_its_container(
    contained: tuple[Daemon, int], number: signal.Signals
) -> None:
    daemon, first = contained
    os.kill(first, number)
    daemon.says(STOPPING)
    assert daemon.ended() == 0, daemon.stderr


@pytest.mark.long
def test_a_container_ends_with_its_daemon(world: World, contained: tuple[Daemon, int]) -> None:
    daemon, first = contained
    until(lambda: world.marks(), "a fire")
    os.kill(inside(first), signal.SIGKILL)
    assert daemon.ended() == 128 + signal.SIGKILL
    daemon = world.serve()  # the next one takes over, in another PID namespace
    known = len(world.runs("orphans", status="failed"))
    until(lambda: len(world.runs("orphans", status="failed")) > known, "a fire")
    assert daemon.stop() == 0, daemon.stderr
    judge(world)
