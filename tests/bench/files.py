"""What files cost: a cold load, a pass, an edit, a restart, doing nothing, commands; and how each grows."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.machine import Stamps, sleep_until, usage, wait_for
from tests.bench.results import Results
from tests.bench.roots import Root
from tests.bench.systems import Bench

COMMANDS = {
    "list": ("list",), "list --json": ("list", "--json"), "sync": ("sync",), "next": ("next",),
    "next of one job": ("next", "j000001"), "show": ("show", "j000001"), "--help": ("--help",),
}  # fmt: skip
EDITS, TICKS = 9, 8
BURST = 1000
MOST_JOBS = 100_000
US = "scheduler"


FIRST_LOOKS_S = 20  # so long after a start, a daemon has looked at everything once


def _spread(jobs: int) -> dict[int, str]:
    """One fire a day for each job, none within the next hours."""
    hour = time.gmtime().tm_hour + 12
    return {job: f'"{job % 60} {(hour + job // 60 % 8) % 24} * * *"' for job in range(jobs)}


def _made(bench: Bench, name: str, jobs: int) -> tuple[Root, dict[int, str], Stamps]:
    root, stamps = Root(bench.folder(name) / "root"), Stamps(bench.runs / "stamps")
    stamps.path.unlink(missing_ok=True)
    root.write_settings([str(bench.stamp), str(stamps.path)])
    schedules = _spread(jobs)
    root.write_jobs(schedules)
    root.commit()
    return root, schedules, stamps


def walk_ms(folder: Path) -> float:
    """Milliseconds to list a folder and all below it, and to stat each file."""
    start = time.perf_counter()
    folders = [str(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    os.stat(entry.path, follow_symlinks=False)  # noqa: PTH116 - DirEntry.stat is what is compared with
    return (time.perf_counter() - start) * 1000


def measure_files(bench: Bench, results: Results, size: int, rounds: int, idle_s: int) -> None:
    """All that depends on the number of job files, in one root."""
    root, schedules, stamps = _made(bench, "files", min(size, MOST_JOBS - 1))  # one more is due every second
    results.add("files", US, size, 0, cold_s=root.command("sync"))
    for number in range(rounds):
        commands = {name: root.command(*words) for name, words in COMMANDS.items()}
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        commands["bare interpreter"] = time.perf_counter() - start
        results.add("commands", US, size, number, **commands)
        with root.serving() as (_, taken):
            time.sleep(0.5)
        results.add("files", US, size, number, restart_s=taken, noop_s=commands["sync"], list_s=commands["list"])
    with root.serving("-v") as (pid, _):
        time.sleep(3)
        _measure_idle(bench, results, size, pid, idle_s)
        _measure_passes(results, root, size, rounds)
        _measure_edits(results, root, "files", size, schedules[1])
        _measure_burst(results, root, size, schedules)
        _measure_ticks(results, root, "files", size, stamps)


def _measure_idle(bench: Bench, results: Results, size: int, pid: int, seconds: int) -> None:
    """Processor and memory with nothing to do; a whole minute has one pass of each kind."""
    if not seconds:
        return
    time.sleep(FIRST_LOOKS_S)
    before = usage(pid, bench.stamp.name)
    time.sleep(seconds)
    after = usage(pid, bench.stamp.name)
    share = (after.cpu_s - before.cpu_s) / seconds * 100
    results.add("idle", US, size, 0, percent=share, rss_mb=after.rss_mb, seconds=seconds)


def _measure_passes(results: Results, root: Root, size: int, rounds: int) -> None:
    """A pass of the daemon that finds nothing to do, as its log has it, beside a walk of the same files."""
    for number in range(rounds):
        had = len(root.logged(" synced ", "cause=sync"))
        taken = root.command("sync")
        walk = min(walk_ms(root.path / "jobs") for _ in range(3))
        lines = root.logged(" synced ", "cause=sync")
        said = (
            next((word for word in lines[-1].split() if word.startswith("duration_ms=")), "")
            if len(lines) > had
            else ""
        )
        known = {"pass_ms": float(said.partition("=")[2])} if said else {}
        results.add("passes", US, size, number, **known, walk_ms=walk, command_s=taken)


@contextlib.contextmanager
def _looking(root: Root) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"file:{root.database}?mode=ro", uri=True)) as database:
        yield database


def _measure_edits(results: Results, root: Root, row: str, size: int, schedule: str) -> None:
    """From the rename of one edited file to its definition in the database, seen by another process."""
    with _looking(root) as database:

        def generation() -> int:
            (found,) = database.execute("SELECT generation FROM jobs WHERE id = 'j000001'").fetchone()
            return int(found)

        for number in range(EDITS):
            had = generation()
            start = time.perf_counter()
            root.replace(1, schedule, f"edit {number}")
            found = wait_for(lambda had=had: generation() > had, 30, every=0.0002)  # type: ignore[misc]
            taken = time.perf_counter() - start
            results.add(row, US, size, number, edit_ms=taken * 1000 if found else None)
            time.sleep(0.7)  # until the burst of this one is over


def _measure_burst(results: Results, root: Root, size: int, schedules: dict[int, str]) -> None:
    """From the first rename to the last definition in the database, and the passes that it took."""
    if len(schedules) < BURST:
        return
    jobs = [job for job in list(schedules)[-BURST:] if job != 1]  # that one has been edited already
    changed = f"SELECT count(*) FROM jobs WHERE generation > 1 AND id >= 'j{jobs[0]:06}' AND id <> 'j000001'"
    with _looking(root) as database:
        had = len(root.logged(" synced ", "changed="))
        start = time.perf_counter()
        for job in jobs:
            root.replace(job, schedules[job], "many at once")
        written = time.perf_counter()
        wait_for(lambda: database.execute(changed).fetchone()[0] == len(jobs), 120, every=0.005)
        taken = time.perf_counter()
    time.sleep(1)
    passes = len(root.logged(" synced ", "changed=")) - had
    known = {"from_first_ms": (taken - start) * 1000, "from_last_ms": (taken - written) * 1000, "passes": passes}
    results.add("burst", US, size, 0, **known)


def _measure_ticks(results: Results, root: Root, row: str, size: int, stamps: Stamps) -> None:
    """How late one job starts that is due every second, beside all the others."""
    (root.path / "jobs/tick.yaml").write_text('id: tick-999999\nschedule: "* * * * * *"\ntask: x\n')
    had = stamps.read()
    stamps.wait(had + 2, 60)
    sleep_until(int(time.time()) + TICKS + 0.5)
    stamps.read()
    for number, start in enumerate(stamps.seen[999999][2:]):
        results.add(row, US, size, number, fire_ms=start % 1 * 1000)


def measure_history(bench: Bench, results: Results, rows: int, jobs: int, rounds: int) -> None:
    """What a long history costs: the same few jobs, ever more runs on record."""
    root, schedules, stamps = _made(bench, "history", jobs)
    root.command("sync")
    root.add_history(rows, jobs)
    for number in range(rounds):
        known = {"list_s": root.command("list"), "noop_s": root.command("sync"), "history_s": root.command("history")}
        results.add("history", US, rows, number, **known)
    with root.serving("-v") as (_, taken):
        results.add("history", US, rows, 0, restart_s=taken)
        time.sleep(2)
        _measure_edits(results, root, "history", rows, schedules[1])
        _measure_ticks(results, root, "history", rows, stamps)
