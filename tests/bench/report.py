"""docs/benchmarks.md, written from the results of a run, with its plots in docs/benchmarks/."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from tests.bench.results import Measured, Results
from tests.bench.svg import plot

US, MEMORY, SQLITE, LIMIT = "scheduler", "APScheduler, memory", "APScheduler, SQLite", "C loop"
BARE = "Temporal alone"
MB_AT_1000, CPU_MS = 70, 0.3
TIMES = "\N{MULTIPLICATION SIGN}"

HEAD = """\
# Benchmarks

<!-- Written by `make bench`; do not edit. -->

How fast jobs start, how much one machine can run, and what files, edits and restarts cost: measured beside other
schedulers and beside what the machine allows, all in the same run. Read the ratios. Absolute times change with the
machine, and vary by a factor of two on a shared one.

Every figure is the median of all rounds, followed by the lowest and the highest in brackets. The last run was on
{measured}.
"""
METHOD = """\
## How it is measured

- **The job** is the same static C program for every system. Its first action is to read the clock, and it appends that
  instant to a file in a single write. A *start* is this instant minus the instant at which the job was due.
- **Every system gets the same plan**: the same number of jobs with the same schedules, due at the same kind of instant.
  Rounds are interleaved: each system runs once, then each runs again, so that a slow minute hits all of them. Each
  round starts with a fresh process.
- **scheduler** runs as installed: one YAML file per job in a git repository, the task on stdin, output kept, every
  start and end recorded in SQLite with a synced write. Only `max_jobs` and `max_running` are raised.
- **APScheduler** and **node-cron** start the program as their users do: with `subprocess.run` on a pool of threads, and
  with `execFile`. Both keep the output in memory only, and neither records runs. Late jobs are not dropped.
- **Debian cron** and **yacron** fire at full minutes only. They run the same jobs in consecutive minutes.
- **C loop** is the limit of the machine: one process that sleeps until the instant, creates two pipes per child, calls
  `vfork` and `exec`, reaps, and records nothing.
- *Own CPU* and *memory* are those of the daemon and its helper processes, without the jobs. Memory is resident memory.
- *One edit* is the time from renaming a changed file into place until another process can read the new definition from
  the database. *Restart* is the time from starting the process until it serves. Commands are whole processes, including
  the start of the interpreter.
- *Lost* counts jobs that were due and never started; *twice* counts those that started more than once.
"""
REPEAT = """\
## Repeat it

On Linux, with a C compiler:

```
make bench                                                          # a short run: about twenty minutes
.venv/bin/python -m tests.bench --full                              # all sizes, more rounds: two hours
.venv/bin/python -m tests.bench --add --rows once files --rounds 5  # more of some rows
.venv/bin/python -m tests.bench --report                            # write this page again
```

The other schedulers are installed in `build/bench`, and the results are kept there. A run replaces earlier results
unless `--add` is given. Debian cron is measured only if you are root. Close other programs first.
"""


def number(value: float) -> str:
    """Three digits at most, with commas: 0.04, 1.85, 41.2, 397, 8,410."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(found: Measured | None, scale: float = 1, unit: str = "") -> str:
    """Median with its unit, and spread; a dash if it was not measured."""
    if found is None:
        return "–"
    text = number(found.median * scale) + unit
    if found.rounds > 1:
        text += f" ({number(found.least * scale)}–{number(found.greatest * scale)})"
    return text


def said(text: str) -> str:
    """A paragraph, wrapped like the other pages."""
    return fill(text, 120) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


@dataclass(frozen=True, slots=True)
class Target:
    """A line of the table of targets: what is compared, the most that is allowed, and what was reached."""

    what: str
    target: str
    reached: str
    met: bool

    def row(self) -> list[str]:
        return [self.what, self.target, self.reached, "met" if self.met else "**not met**"]


def _at_most(what: str, found: Measured | None, most: float, unit: str, scale: float = 1) -> Iterator[Target]:
    if found is not None:
        spaced = unit if unit in (TIMES, "%") else f" {unit}"
        yield Target(what, f"at most {most:g}{spaced}", cell(found, scale, spaced), found.median * scale <= most)


def targets(results: Results) -> list[Target]:
    """The targets whose rows were measured."""
    found: list[Target] = []

    def compared(size: int, value: str, most: Mapping[str, float], what: str) -> None:
        for other, times in most.items():
            ratio = results.ratio("at once", (US, other), size, value)
            found.extend(_at_most(f"{what}, against {other}", ratio, times, TIMES))

    compared(1, "first_ms", {MEMORY: 1.3, SQLITE: 0.7}, "one job due: start")
    compared(100, "last_ms", {MEMORY: 1.5, SQLITE: 0.5, LIMIT: 2}, "100 at once: last start")
    compared(1000, "last_ms", {MEMORY: 1.4, SQLITE: 0.5, LIMIT: 2}, "1,000 at once: last start")
    lost = results.get("at once", US, 10_000, "lost")
    if lost is not None:
        found.append(Target("10,000 at once: lost", "none", f"{lost.greatest:.0f}", lost.greatest == 0))
    compared(10_000, "last_ms", {LIMIT: 1.5}, "10,000 at once: last start")
    rate = held_rate(results, US)
    if rate is not None:
        found.append(
            Target("sustained rate", "at least 1,400 a second", f"{number(rate.median)} a second", rate.median >= 1400)
        )
    for size in results.sizes("workers"):
        of_bare = results.ratio("workers", (US, BARE), size, "rate")
        if of_bare is not None:
            reached, met = cell(of_bare, 1, TIMES), of_bare.median >= 0.85
            found.append(Target("runs on workers: rate, against Temporal alone", f"at least 0.85{TIMES}", reached, met))
    for size in results.sizes("memory"):
        growth = results.get("memory", US, size, "growth")
        found += _at_most("memory at a steady rate, end against beginning", growth, 1.05, TIMES)
    found += _at_most("own CPU per run, 1,000 at once", results.get("at once", US, 1000, "cpu_ms"), CPU_MS, "ms")
    found += _at_most("memory with 1,000 running", results.get("running", US, 1000, "rss_mb"), MB_AT_1000, "MB")
    for size in results.sizes("files"):
        found += _at_most(f"one edit in force, {size:,} files", results.get("files", US, size, "edit_ms"), 5, "ms")
    for size in results.sizes("burst"):
        passes = results.get("burst", US, size, "passes")
        if passes is not None and size >= 10_000:
            met = passes.greatest == 1
            found.append(
                Target(f"1,000 edits at once, {size:,} files", "one pass", f"{number(passes.median)} passes", met)
            )
    for size in (10_000, 100_000):
        ratio = _within(results, size)
        found += _at_most(f"pass with nothing to do, {size:,} files, against scandir and stat", ratio, 1.5, TIMES)
    for size, most in ((10_000, 0.5), (100_000, 1.2)):
        found += _at_most(f"restart, {size:,} files", results.get("files", US, size, "restart_s"), most, "s")
    found += _at_most("cold load, 10,000 files", results.get("files", US, 10_000, "cold_s"), 2, "s")
    found += _at_most("idle, 10,000 jobs: CPU", results.get("idle", US, 10_000, "percent"), 0.1, "%")
    found += _at_most("idle, 10,000 jobs: memory", results.get("idle", US, 10_000, "rss_mb"), 80, "MB")
    for name, most in {"list": 0.4, "sync": 0.5, "next of one job": 0.2, "show": 0.2, "--help": 0.2}.items():
        found += _at_most(f"`{name}`, 10,000 jobs", results.get("commands", US, 10_000, name), most, "s")
    for size in results.sizes("pages"):
        slowest = max(_pages_of(results, size), key=lambda each: each[1].median, default=None)
        if slowest is not None:
            found += _at_most(f"slowest page, {size:,} jobs: {slowest[0]}", slowest[1], 300, "ms")
    for size in results.sizes("flood"):
        growth = results.get("flood", US, size, "growth")
        found += _at_most(f"memory of the web, {size:,} requests against a tenth of them", growth, 1.1, TIMES)
        found += _at_most("start of a job beside them, against none", results.get("flood", US, size, "times"), 3, TIMES)
    return found


def _within(results: Results, size: int) -> Measured | None:
    """A pass of the daemon over a walk of the same files, round by round."""
    passes = [each["values"] for each in results.records if each["row"] == "passes" and each["size"] == size]
    ratios = [values["pass_ms"] / values["walk_ms"] for values in passes if "pass_ms" in values]
    return Measured.of(ratios) if ratios else None


def held_rate(results: Results, system: str) -> Measured | None:
    """The highest rate of each round at which no job was late."""
    rounds: dict[int, int] = {}
    for each in results.records:
        if (each["row"], each["system"]) == ("sustained", system):
            rounds.setdefault(each["round"], 0)
            if each["values"]["held"]:
                rounds[each["round"]] = max(rounds[each["round"]], each["size"])
    return Measured.of(rounds.values()) if rounds else None


def _at_once(results: Results) -> Iterator[str]:
    yield "## Due at one instant\n"
    yield said(
        "The ratio is the scheduler's last start divided by that of the row's system: below 1, the scheduler is faster."
    )
    for size in results.sizes("at once"):
        yield f"**{size:,} {'job' if size == 1 else 'jobs'}**\n"
        yield table(
            ["", "first start, ms", "last start, ms", "scheduler's, as a ratio", "all ends on record, ms",
             "own CPU per run, ms", "memory, MB", "lost", "twice"],
            [
                [
                    system,
                    *(cell(results.get("at once", system, size, value)) for value in ("first_ms", "last_ms")),
                    cell(results.ratio("at once", (US, system), size, "last_ms")) if system != US else "1",
                    cell(results.get("at once", system, size, "ended_ms")),
                    cell(results.get("at once", system, size, "cpu_ms")) if size >= 1000 else "–",
                    cell(results.get("at once", system, size, "rss_mb")),
                    *(_most(results.get("at once", system, size, value)) for value in ("lost", "twice")),
                ]
                for system in results.systems("at once")
                if results.get("at once", system, size, "lost")
            ],
        )  # fmt: skip
    yield "![Last start by number of jobs due at once](benchmarks/at-once.svg)\n"


def _most(found: Measured | None) -> str:
    return "–" if found is None else f"{found.greatest:.0f}"


def _sustained(results: Results) -> Iterator[str]:
    yield "## Sustained\n"
    yield said(
        "The same number of jobs is due at every full second, and more after some seconds, until one starts a second"
        " late or not at all. The share is that of the rate at which the C loop is never late."
    )
    rows = []
    most = held_rate(results, LIMIT)
    for system in results.systems("sustained"):
        rate = held_rate(results, system)
        held = int(rate.median) if rate else 0
        busy = results.get("sustained", system, held, "busy")
        late = results.get("sustained", system, held, "worst_ms")
        cpu = "–" if system == LIMIT else cell(busy, 100)
        share = f"{rate.median / most.median:.0%}" if rate and most and most.median else "–"
        rows.append([system, cell(rate), share, cell(late), cpu])
    yield table(
        ["", "commands a second", "share of the limit", "latest start at that rate, ms", "own CPU, % of a core"], rows
    )
    for size in results.sizes("memory"):
        values = next(each["values"] for each in results.records if each["row"] == "memory" and each["size"] == size)
        samples = ", ".join(f"{each:.0f}" for each in values["samples_mb"][::4])
        yield said(
            f"Memory at {size} runs a second over {values['seconds']:g} s, at equal intervals: {samples} MB."
            f" Lost: {values['lost']}."
        )


def _running(results: Results) -> Iterator[str]:
    for size in results.sizes("running"):
        yield f"## {size:,} at the same time\n\nEvery job sleeps for twelve seconds.\n"
        columns = {"memory before, MB": "idle_mb", "memory while they run, MB": "rss_mb",
                   "started before the first ended": "started",
                   "last start, ms": "last_ms", "own CPU per run, ms": "cpu_ms"}  # fmt: skip
        systems = results.systems("running")
        rows = [
            [each, *(cell(results.get("running", each, size, value)) for value in columns.values())] for each in systems
        ]
        yield table(["", *columns], rows)


def _chores(results: Results) -> Iterator[str]:
    yield "## Beside other work\n"
    yield said(
        "The last start of jobs that are due at once, while the machine or the daemon has something else to do. A busy"
        " process alone takes one of the cores; `list --json` and `backup` are started again and again."
    )
    sizes = results.sizes("chores")
    rows = []
    for name in results.systems("chores"):
        rows.append([name])
        for size in sizes:
            ratio = results.ratio("chores", (name, "nothing else"), size, "last_ms")
            lost = results.get("chores", name, size, "lost")
            rows[-1] += [cell(results.get("chores", name, size, "last_ms")), cell(ratio), _most(lost)]
    head = [title for size in sizes for title in (f"last of {size:,}, ms", "as a ratio", "not within 15 s")]
    yield table(["beside", *head], rows)


def _files(results: Results) -> Iterator[str]:
    yield "## Files\n"
    sizes = results.sizes("files")
    lines: dict[str, Callable[[int], str]] = {
        "cold load (`sync` of new files), s": lambda size: cell(results.get("files", US, size, "cold_s")),
        "restart, s": lambda size: cell(results.get("files", US, size, "restart_s")),
        "one edit in force, ms": lambda size: cell(results.get("files", US, size, "edit_ms")),
        "1,000 edits, from the last rename, ms": lambda size: cell(results.get("burst", US, size, "from_last_ms")),
        "1,000 edits: passes": lambda size: _most(results.get("burst", US, size, "passes")),
        "pass with nothing to do, ms": lambda size: cell(results.get("passes", US, size, "pass_ms")),
        "scandir and stat of the same files, ms": lambda size: cell(results.get("passes", US, size, "walk_ms")),
        "one job's start beside them, ms": lambda size: cell(results.get("files", US, size, "fire_ms")),
        "idle: CPU, % of a core": lambda size: cell(results.get("idle", US, size, "percent")),
        "idle: memory, MB": lambda size: cell(results.get("idle", US, size, "rss_mb")),
    }
    yield table(
        ["job files", *(f"{size:,}" for size in sizes)], [[name, *map(of, sizes)] for name, of in lines.items()]
    )
    yield "![Growth with the number of jobs](benchmarks/jobs.svg)\n"
    names = list(next(each["values"] for each in results.records if each["row"] == "commands"))
    yield "## Commands\n\nSeconds for the whole process, without a daemon.\n"
    rows = [[f"`{name}`", *(cell(results.get("commands", US, size, name)) for size in sizes)] for name in names]
    yield (
        table(["jobs", *(f"{size:,}" for size in sizes)], rows)
        .replace("`next of one job`", "`next JOB`")
        .replace("`bare interpreter`", "bare interpreter")
    )


def _history(results: Results) -> Iterator[str]:
    yield "## History\n\n100 jobs, and ever more runs on record.\n"
    sizes = results.sizes("history")
    values = {"`list`, s": "list_s", "`history`, s": "history_s", "`sync` with nothing to do, s": "noop_s",
              "restart, s": "restart_s", "one edit in force, ms": "edit_ms",
              "one job's start, ms": "fire_ms"}  # fmt: skip
    rows = [
        [name, *(cell(results.get("history", US, size, value)) for size in sizes)] for name, value in values.items()
    ]
    yield table(["runs on record", *(f"{size:,}" for size in sizes)], rows)
    yield "![Growth with the length of the history](benchmarks/history.svg)\n"


def _pages_of(results: Results, size: int) -> list[tuple[str, Measured]]:
    names = dict.fromkeys(name for each in results.records if each["row"] == "pages" for name in each["values"])
    return [(name, found) for name in names if (found := results.get("pages", US, size, name)) is not None]


def _pages(results: Results) -> Iterator[str]:
    yield "## Pages and the API\n"
    yield said(
        "Milliseconds for one answer of the web process beside a daemon, from the second view on. There are a hundred"
        " runs for each job; one job has a tenth of all."
    )
    sizes = results.sizes("pages")
    names = dict.fromkeys(name for size in sizes for name, _ in _pages_of(results, size))
    rows = [[name, *(cell(results.get("pages", US, size, name)) for size in sizes)] for name in names]
    yield table(["jobs", *(f"{size:,}" for size in sizes)], rows)


def _flood(results: Results) -> Iterator[str]:
    yield "## A flood of requests\n"
    yield said(
        "Four clients ask the web process as fast as it answers, while a job is due every second. Memory is that of the"
        " web process after a tenth, half and all of the requests."
    )
    rows = []
    for each in (each for each in results.records if each["row"] == "flood"):
        values = each["values"]
        memory = ", ".join(f"{sample:.0f}" for sample in values["samples_mb"])
        rows.append([f"{each['size']:,}", memory, number(values["calm_ms"]), number(values["busy_ms"])])
    yield table(["requests", "memory, MB", "start before, ms", "start meanwhile, ms"], rows)


def _workers(results: Results) -> Iterator[str]:
    yield "## Runs on workers\n"
    yield said(
        "Jobs that are due at one instant, carried out by one worker with 40 places, on a development server"
        " of Temporal on the same machine; and as many workflows of the same kind in which nothing happens: no ledger,"
        " no process, no output. *There* is from a slot to the first instruction of its process, *back* from the end of"
        " that process until it is on record: of single runs, once a second."
    )
    rows = []
    for size in results.sizes("workers"):
        ours, bare = (results.get("workers", each, size, "rate") for each in (US, BARE))
        ratio = results.ratio("workers", (US, BARE), size, "rate")
        there, back = (results.get("workers", US, size, each) for each in ("there_ms", "back_ms"))
        rows.append([f"{size:,}", *map(cell, (ours, bare, ratio, there, back))])
    yield table(["runs", "a second", "with nothing in them, a second", "as a ratio", "there, ms", "back, ms"], rows)


def _about(about: Mapping[str, Any]) -> Iterator[str]:
    yield "## Machine and versions\n"
    known = {**about["machine"], **about["versions"]}
    yield table(["", ""], [[name, value] for name, value in known.items()]).replace("---:", "---")
    if about["missing"]:
        yield "**Not measured here**\n"
        yield "\n".join(f"- {name}: {' '.join(why.split())}" for name, why in about["missing"].items()) + "\n"


def page(results: Results, about: Mapping[str, Any]) -> str:
    """The whole page. Parts that were not measured are left out."""
    parts = [HEAD.format(measured=about["measured"])]
    aims = targets(results)
    if aims:
        parts += ["## Targets\n", table(["", "target", "reached", ""], [aim.row() for aim in aims])]
    for row, part in {
        "at once": _at_once, "sustained": _sustained, "running": _running, "chores": _chores, "files": _files,
        "history": _history, "pages": _pages, "flood": _flood, "workers": _workers,
    }.items():  # fmt: skip
        if results.sizes(row):
            parts += part(results)
    return "\n".join([*parts, METHOD, *_about(about), REPEAT])


def _growth(results: Results, row: str) -> dict[str, list[tuple[float, float]]]:
    values = {"list": ("list_s", 1000), "sync, nothing to do": ("noop_s", 1000), "one edit": ("edit_ms", 1),
              "one job's start": ("fire_ms", 1)}  # fmt: skip
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, (value, scale) in values.items():
        for size in results.sizes(row):
            found = results.get(row, US, size, value)
            if found is not None and found.median > 0:
                lines.setdefault(name, []).append((size, found.median * scale))
    return lines


def plots(results: Results) -> dict[str, str]:
    """SVG by file name."""
    found = {}
    lines: dict[str, list[tuple[float, float]]] = {}
    for system in results.systems("at once"):
        for size in results.sizes("at once", system):
            last = results.get("at once", system, size, "last_ms")
            if last is not None:
                lines.setdefault(system, []).append((size, last.median))
    if lines:
        found["at-once.svg"] = plot(
            "Last start, by number of jobs due at once", "jobs due at once", "milliseconds", lines
        )
    for row, name, across in (("files", "jobs", "jobs"), ("history", "history", "runs on record")):
        if growth := _growth(results, row):
            found[f"{name}.svg"] = plot(f"Growth with the number of {across}", across, "milliseconds", growth)
    return found


def write_page(results: Results, about: Mapping[str, Any], path: Path) -> None:
    """Write the page, and the plots into a folder of its name beside it."""
    path.write_text(page(results, about))
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    for name, svg in plots(results).items():
        (folder / name).write_text(svg)
