"""A hundred thousand fires in one daemon: what it holds at their end is what it held when it was warm."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from tests.crash.world import World
from tests.helpers import REPOSITORY, until

JOBS = 16  # all of them due at every instant
GUESTS = 40
RUNNERS = """\
version: 1
runners:
  file: {command: [sh, -eu, "{task_file}"], input: file, tasks: ["jobs/**"]}
  stdin: {command: [cat], input: stdin}
limits: {max_running: 16}
"""
MORE_RSS = 8 * 1024 * 1024  # bytes over the warm daemon's: what an allocator keeps varies by this
MOST_WAL = 16 * 1024 * 1024  # bytes; SQLite begins anew at 4 MB, if nobody reads at that moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a daemon holds while nothing runs."""

    fires: int
    rss: int  # bytes
    threads: int
    files: int  # open
    wal: int  # bytes on disk
    owners: tuple[str, ...]  # files of locks and tasks

    def __str__(self) -> str:
        return (
            f"{self.fires:,} fires: rss {self.rss / 2**20:.1f} MiB, {self.threads} threads, {self.files} files,"
            f" WAL {self.wal / 2**20:.1f} MiB"
        )


@contextlib.contextmanager
def hurried(world: World) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.crash.hurried", str(world.root)]
    log = world.root.parent / "log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=REPOSITORY
        ) as daemon,
    ):
        yield daemon
        if daemon.poll() is None:
            daemon.kill()
    errors = [line for line in log.read_text().splitlines() if not line.startswith("WARNING ")]
    assert errors == [], errors[:50]


def save(world: World, job_id: str, runner: str, edit: int = 0) -> None:
    world.write(
        f"jobs/{job_id}.yaml",
        f"id: {job_id}\nname: edit {edit}\nschedule: {{every: 1s}}\nrunner: {runner}\ntask: 'true {edit}'\n",
    )


@contextlib.contextmanager
def changes(world: World) -> Iterator[None]:
    """Jobs that come and go, and are edited meanwhile. A new id each time would be remembered for ever, as a job is."""
    over = threading.Event()

    def live() -> None:
        for n in range(1, 1_000_000):
            if over.wait(1.5):
                return
            save(world, f"guest-{n % GUESTS}", "stdin")
            (world.root / f"jobs/guest-{(n - 3) % GUESTS}.yaml").unlink(missing_ok=True)
            save(world, "steady-0", "stdin", edit=n)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def measure(world: World, daemon: subprocess.Popen[str], fires: int) -> Held:
    proc, owners = Path(f"/proc/{daemon.pid}"), world.db.parent / "owners"
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    wal = world.db.with_name(world.db.name + "-wal")
    return Held(
        fires=fires,
        rss=int(status["VmRSS"].split()[0]) * 1024,
        threads=int(status["Threads"]),
        files=sum(1 for _ in (proc / "fd").iterdir()),
        wal=wal.stat().st_size,
        owners=tuple(sorted(each.name for each in owners.rglob("*") if each.is_file())),
    )


def carry_out(daemon: subprocess.Popen[str], goal: int) -> int:
    """Returns how many fires there have been, at least `goal`."""
    stdin, stdout = pipes(daemon)
    stdin.write(f"{goal}\n")
    stdin.flush()
    line = stdout.readline()
    assert line, "it has ended"
    return int(line)


def pipes(daemon: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert daemon.stdin is not None
    assert daemon.stdout is not None
    return daemon.stdin, daemon.stdout


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    ("warm_up", "fires"),
    [pytest.param(200, 400, id="400 fires"), pytest.param(5_000, 100_000, id="100000 fires", marks=pytest.mark.long)],
)
def test_memory_descriptors_and_threads_are_flat_over_many_fires(world: World, warm_up: int, fires: int) -> None:
    world.write("scheduler.yaml", RUNNERS)
    for n in range(JOBS):
        save(world, f"steady-{n}", "file" if n % 2 else "stdin")
    measured: list[Held] = []
    began = time.monotonic()
    with hurried(world) as daemon:
        with changes(world):
            for goal in (warm_up, *range(fires // 10, fires + 1, fires // 10)):
                if not measured or goal > measured[-1].fires:
                    found = carry_out(daemon, goal)
                    measured.append(measure(world, daemon, found))
                    print(measured[-1], f"after {time.monotonic() - began:.0f} s", flush=True)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
    warm, last = measured[0], measured[-1]
    assert last.fires >= fires
    # A connection more has three files; a thread may be just about to leave.
    assert max(each.files for each in measured) <= min(each.files for each in measured) + 3, measured
    assert max(each.threads for each in measured) <= min(each.threads for each in measured) + 1, measured
    assert last.rss < warm.rss + MORE_RSS, measured
    assert max(each.wal for each in measured) < MOST_WAL, measured
    assert {len(each.owners) for each in measured} == {1}, "the daemon's own lock, and no task of a run"
    assert not list((world.db.parent / "owners").iterdir())
    outcomes = world.rows("SELECT status, reason, count(*) AS runs FROM runs GROUP BY 1, 2")
    ended = {(row["status"], row["reason"]): row["runs"] for row in outcomes}
    assert {status for status, _ in ended} <= {"succeeded", "skipped"}, ended
    assert ended["succeeded", None] == last.fires, ended
    until(lambda: not world.leftovers(), "the end of every process")
