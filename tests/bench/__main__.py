"""Measure the product beside its peers, and write docs/benchmarks.md.

    python -m tests.bench              a short run: about twenty minutes
    python -m tests.bench --full       all sizes, more rounds: two hours
    python -m tests.bench --report     write the page again from the last run

Nothing is asserted here. With --add, a run can be made in parts.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from tests.bench import files, fires, web, workers
from tests.bench.machine import compile_programs, described, raise_limits
from tests.bench.report import write_page
from tests.bench.results import Results
from tests.bench.systems import NOT_PACKAGED, SYSTEMS, Bench, MissingError, System

TOP = Path(__file__).parents[2]
ROWS = ("once", "many", "running", "sustained", "memory", "chores", "files", "history", "pages", "flood", "workers")
RATES = (
    50, 75, 100, 150, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1100, 1200, 1300, 1400, 1500, 1600, 1800, 2000,
    2250, 2500, 2750, 3000, 3500, 4000,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured."""

    rounds: int
    minute_rounds: int  # of systems that have to wait for a full minute
    once: tuple[int, ...] = (1, 1, 1, 1, 1, 100, 1000)
    minute_once: tuple[int, ...] = (1000,)
    many: int = 10_000
    many_rounds: int = 1
    many_systems: tuple[str, ...] = ("scheduler", "APScheduler, memory", "C loop")
    running: int = 1000
    running_rounds: int = 1
    rates: tuple[int, ...] = RATES[::2]
    sustained_rounds: int = 1
    sustained_s: int = 2
    memory_s: int = 60
    memory_rate: int = 50
    chores: tuple[int, ...] = (1000,)
    chore_rounds: int = 1
    files: tuple[int, ...] = (10, 100, 1000, 10_000)
    idle_s: int = 60
    history: tuple[int, ...] = (1000, 10_000, 100_000)
    pages: tuple[int, int] = (1_000, 100_000)  # jobs and runs
    requests: int = 10_000
    workers: int = 200


SHORT = Sizes(rounds=3, minute_rounds=1)
FULL = Sizes(
    rounds=5, minute_rounds=3, minute_once=(1, 100, 1000),
    many_rounds=3, many_systems=(*SHORT.many_systems, "APScheduler, SQLite", "node-cron"),
    running_rounds=3, rates=RATES, sustained_rounds=3, sustained_s=5, memory_s=600, memory_rate=200,
    chores=(100, 1000), chore_rounds=3,
    files=(10, 100, 1000, 10_000, 100_000), idle_s=120, history=(1000, 10_000, 100_000, 1_000_000, 10_000_000),
    pages=(10_000, 1_000_000), requests=100_000,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One measurement of one system."""

    what: str
    system: str
    measure: Callable[[], None]


def steps(
    bench: Bench, results: Results, systems: Sequence[System], sizes: Sizes, rows: Sequence[str]
) -> Iterator[Step]:
    """All measurements in order. Rounds are interleaved: each system in turn, then each again."""

    def step(what: str, system: str, measure: Callable[..., None], *arguments: object) -> Step:
        return Step(what=what, system=system, measure=lambda: measure(bench, results, *arguments))

    by_second = [system for system in systems if system.bursts]
    ours = [system for system in systems if system.name == "scheduler"]
    if "once" in rows:
        for number in range(sizes.rounds):
            for system in systems:
                if not system.minutes or number < sizes.minute_rounds:
                    chosen = sizes.minute_once if system.minutes else sizes.once
                    yield step("once", system.name, fires.measure_at_once, system, chosen, number)
    if "many" in rows:
        for number in range(sizes.many_rounds):
            for system in by_second:
                if system.name in sizes.many_systems:
                    yield step("many", system.name, fires.measure_at_once, system, [sizes.many], number)
    if "sustained" in rows:
        for number in range(sizes.sustained_rounds):
            for system in by_second:
                yield step(
                    "sustained", system.name, fires.measure_sustained, system, sizes.rates, sizes.sustained_s, number
                )
    if "running" in rows:
        for number in range(sizes.running_rounds):
            for system in by_second:
                if system.name != "C loop":
                    yield step("running", system.name, fires.measure_running, system, sizes.running, number)
    if "chores" in rows and ours:
        for number in range(sizes.chore_rounds):
            for size in sizes.chores:
                yield step("chores", "scheduler", fires.measure_chores, size, number)
    if "memory" in rows:
        for system in ours:
            yield step("memory", system.name, fires.measure_memory, system, sizes.memory_rate, sizes.memory_s, 0)
    if "files" in rows and ours:
        for size in sizes.files:
            yield step(
                "files", "scheduler", files.measure_files, size, sizes.rounds, sizes.idle_s if size >= 10_000 else 0
            )
    if "history" in rows and ours:
        for size in sizes.history:
            yield step("history", "scheduler", files.measure_history, size, 100, sizes.rounds)
    if "pages" in rows and ours:
        yield step("pages", "scheduler", web.measure_pages, *sizes.pages, sizes.rounds)
    if "flood" in rows and ours:
        yield step("flood", "scheduler", web.measure_flood, sizes.requests)
    if "workers" in rows and ours:
        for number in range(sizes.rounds):
            yield step("workers", "scheduler", workers.measure_workers, sizes.workers, number)


def installed(bench: Bench, systems: Sequence[System]) -> tuple[list[System], dict[str, str]]:
    """The systems that can be measured, and the version of each."""
    versions, found = {}, []
    for system in systems:
        try:
            versions[system.name] = system.version(bench)
            found.append(system)
        except MissingError as problem:
            bench.unavailable[system.name] = str(problem)
            print(f"{system.name}: {problem}", flush=True)
    return found, versions


def measure(folder: Path, work: Path, runs: Path, sizes: Sizes, rows: Sequence[str], names: Sequence[str]) -> None:
    """Measure, and add to the results in the folder."""
    raise_limits()
    compileall.compile_dir(TOP / "scheduler", quiet=1)  # as pip does; without, each command would compile what it loads
    os.environ |= {"TZ": "UTC", "XDG_STATE_HOME": str(runs / "state")}  # leaves nothing in the home
    for name in [name for name in os.environ if name.startswith("SCHEDULER_")]:
        del os.environ[name]
    stamp, limit = compile_programs(work / "programs")
    bench = Bench(work=work, runs=runs, stamp=stamp, limit=limit)
    chosen = [system for system in SYSTEMS if not names or system.name in names]
    about = folder / "about.json"
    known = json.loads(about.read_text()) if about.exists() else {"missing": dict(NOT_PACKAGED), "versions": {}}
    known |= {"machine": described(work), "measured": time.strftime("%Y-%m-%d", time.gmtime())}
    found, versions = installed(bench, chosen)
    known["versions"] |= versions
    known["missing"] = {name: why for name, why in known["missing"].items() if name not in versions} | bench.unavailable
    about.write_text(json.dumps(known, indent=1))
    results = Results(folder / "results.jsonl")
    for step in steps(bench, results, found, sizes, rows):
        name = f"{step.system} ({step.what})"
        known["missing"].pop(name, None)  # of an earlier run
        try:
            step.measure()
        except MissingError as problem:
            known["missing"][name] = str(problem)
        except Exception:  # the other rows are still worth having
            known["missing"][name] = f"failed: {sys.exc_info()[1]}"
            traceback.print_exc()
        about.write_text(json.dumps(known, indent=1))  # each time: a run may be stopped


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    options.add_argument("--full", action="store_true", help="all sizes and more rounds: two hours")
    options.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, help="measure only these")
    options.add_argument("--systems", nargs="+", metavar="NAME", default=[], help="only these; see SYSTEMS")
    options.add_argument("--rounds", type=int, help="rounds of each measurement")
    options.add_argument("--files", type=int, nargs="+", help="numbers of job files")
    options.add_argument("--history", type=int, nargs="+", help="numbers of runs on record")
    options.add_argument("--results", type=Path, default=TOP / "build/bench", help="folder of results")
    options.add_argument("--work", type=Path, help="folder to work in, on a real disk (default: in --results)")
    options.add_argument("--add", action="store_true", help="keep earlier results, and add to them")
    options.add_argument("--page", type=Path, default=TOP / "docs/benchmarks.md", help="the page to write")
    options.add_argument(
        "--report", action="store_true", help="write the page from earlier results, and measure nothing"
    )
    given = options.parse_args()
    folder: Path = given.results
    folder.mkdir(parents=True, exist_ok=True)
    if not given.report:
        if not given.add:
            for name in ("results.jsonl", "about.json"):
                (folder / name).unlink(missing_ok=True)
        chosen = FULL if given.full else SHORT
        change: dict[str, Any] = {
            name: tuple(value) for name in ("files", "history") if (value := getattr(given, name))
        }
        if given.rounds:
            change |= {field.name: given.rounds for field in fields(Sizes) if field.name.endswith("rounds")}
        sizes = replace(chosen, **change)
        work: Path = given.work or folder / "work"
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="run-", dir=work, ignore_cleanup_errors=True) as runs:
            measure(folder, work, Path(runs), sizes, given.rows, given.systems)
    write_page(Results(folder / "results.jsonl"), json.loads((folder / "about.json").read_text()), given.page)


if __name__ == "__main__":
    main()
