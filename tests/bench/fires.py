"""How late jobs start: many at one instant, many every second, for long, beside 1,000 others, beside other work."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tests.bench.machine import Stamps, sleep_until, usage
from tests.bench.results import Results
from tests.bench.roots import Root, scheduler
from tests.bench.systems import Bench, Group, MissingError, Running, System, ended_ms

LATE_S = 1.0  # a burst each second is sustained while each ends before the next
SLEEP_MS = 12_000
SOAK_SAMPLES = 24
CHORE_EVERY_S = 20
NEW_FILES = 5000


def _first_instant(system: System, lead: float) -> int:
    at = int(time.time() + lead) + 1
    return at + (-at % 60 if system.minutes else 0)


@contextlib.contextmanager
def _started(
    bench: Bench, system: System, plan: Callable[[int], list[Group]], stamps: Stamps, sleep_ms: int = 0
) -> Iterator[tuple[Running, list[Group]]]:
    """The system with a plan whose first instant is still to come. Raises: MissingError."""
    jobs = sum(group.count for group in plan(0))
    for factor in (1, 2, 4, 8):
        groups = plan(_first_instant(system, factor * system.lead_s(jobs)))
        stamps.path.unlink(missing_ok=True)
        with system.run(bench, groups, stamps.path, sleep_ms) as running:
            if time.time() < groups[0].at - 0.5:
                yield running, groups
                return
    raise MissingError(f"it was not ready with {jobs:,} jobs in time")


def _starts(stamps: Stamps, group: Group) -> list[float]:
    """Seconds from the instant to each job's first start, in order."""
    jobs = range(group.first, group.first + group.count)
    return sorted(stamps.seen[job][0] - group.at for job in jobs if job in stamps.seen)


def measure_at_once(bench: Bench, results: Results, system: System, sizes: Sequence[int], number: int) -> None:
    """Jobs that are due at one instant: so many, then so many more in the same process, once the first are done."""

    def plan(at: int) -> list[Group]:
        groups: list[Group] = []
        for size in sorted(sizes):
            groups.append(Group(first=sum(group.count for group in groups), count=size, at=at))
            at += 60 if system.minutes else 2 + size // 75
        return groups

    stamps = Stamps(bench.runs / "stamps")
    with _started(bench, system, plan, stamps) as (running, groups):
        for group in groups:
            sleep_until(group.at - 0.3)
            before, had = usage(running.pid, bench.stamp.name), stamps.read()
            stamps.wait(had + group.count, 10 + 0.03 * group.count)
            ended = None if running.root is None else ended_ms(running.root, group, 20)
            if running.root is None:
                time.sleep(0.3)  # until it has taken in the ends of its children
            after = usage(running.pid, bench.stamp.name)
            late = _starts(stamps, group)
            known = {"first_ms": late[0] * 1000, "last_ms": late[-1] * 1000} if late else {}
            if ended is not None:
                known["ended_ms"] = ended
            if system.name not in ("Debian cron", "C loop"):  # which is several processes; which works at the end
                known |= {"cpu_ms": (after.cpu_s - before.cpu_s) * 1000 / group.count, "rss_mb": after.rss_mb}
            jobs = range(group.first, group.first + group.count)
            twice = sum(len(stamps.seen.get(job, ())) > 1 for job in jobs)
            lost = group.count - len(late)
            results.add("at once", system.name, group.count, number, **known, lost=lost, twice=twice)


def measure_running(bench: Bench, results: Results, system: System, size: int, number: int) -> None:
    """Memory and processor time while so many jobs run at once: they sleep."""
    stamps = Stamps(bench.runs / "stamps")

    def plan(at: int) -> list[Group]:
        return [Group(first=0, count=size, at=at)]

    with _started(bench, system, plan, stamps, SLEEP_MS) as (running, (group,)):
        sleep_until(group.at - 0.3)
        before = usage(running.pid, bench.stamp.name)
        stamps.wait(size, SLEEP_MS / 1000 - 0.5)
        during = usage(running.pid, bench.stamp.name)
        late = _starts(stamps, group)
        if running.root is not None:
            ended_ms(running.root, group, 60)
        else:
            sleep_until(group.at + late[-1] + SLEEP_MS / 1000 + 1)
        after = usage(running.pid, bench.stamp.name)
        results.add(
            "running", system.name, size, number,
            idle_mb=before.rss_mb, rss_mb=during.rss_mb, cpu_ms=(after.cpu_s - before.cpu_s) * 1000 / size,
            last_ms=late[-1] * 1000, started=len(late),
        )  # fmt: skip


def measure_sustained(
    bench: Bench, results: Results, system: System, rates: Sequence[int], seconds: int, number: int
) -> None:
    """Ever more jobs every second, until one is late: each rate for so many seconds, in one process."""
    stamps = Stamps(bench.runs / "stamps")

    def plan(at: int) -> list[Group]:
        end = at + seconds * len(rates) - 1
        more = [rate - before for before, rate in zip([0, *rates], rates, strict=False)]
        return [
            Group(first=rate - count, count=count, at=at + seconds * step, until=end)
            for step, (rate, count) in enumerate(zip(rates, more, strict=True))
        ]

    with _started(bench, system, plan, stamps) as (running, groups):
        for step, rate in enumerate(rates):
            at = groups[step].at
            sleep_until(at - 0.1)
            before = usage(running.pid, bench.stamp.name)
            sleep_until(at + seconds - 0.1)
            after = usage(running.pid, bench.stamp.name)
            sleep_until(at + seconds - 1 + LATE_S + 0.05)
            stamps.read()
            worst = max(_worst(stamps, group, range(at, at + seconds)) for group in groups[: step + 1])
            held = worst < LATE_S
            results.add(
                "sustained", system.name, rate, number,
                held=held, worst_ms=worst * 1000 if held else None, busy=(after.cpu_s - before.cpu_s) / seconds,
            )  # fmt: skip
            if not held:
                return


def _worst(stamps: Stamps, group: Group, slots: range) -> float:
    """Seconds that the latest start of these slots was late; at least `LATE_S` if there is none for one of them."""
    worst = 0.0
    for job in range(group.first, group.first + group.count):
        starts = stamps.seen.get(job, [])
        for slot in slots:
            index = slot - group.at
            worst = max(worst, starts[index] - slot if index < len(starts) else LATE_S)
    return worst


def measure_memory(bench: Bench, results: Results, system: System, rate: int, seconds: int, number: int) -> None:
    """Memory over a long time at a steady rate."""
    stamps = Stamps(bench.runs / "stamps")

    def plan(at: int) -> list[Group]:
        return [Group(first=0, count=rate, at=at, until=at + seconds)]

    with _started(bench, system, plan, stamps) as (running, (group,)):
        samples = []
        for sample in range(SOAK_SAMPLES + 1):
            sleep_until(group.at + seconds * sample / SOAK_SAMPLES)
            samples.append(usage(running.pid, bench.stamp.name).rss_mb)
        stamps.wait(rate * len(group.slots), 5)
    # The first eighth fills caches and pools.
    quarter = SOAK_SAMPLES // 4
    early, late = sorted(samples[SOAK_SAMPLES // 8 :][:quarter]), sorted(samples[-quarter:])
    results.add(
        "memory", system.name, rate, number,
        seconds=seconds, samples_mb=[round(each, 1) for each in samples],
        early_mb=early[quarter // 2], late_mb=late[quarter // 2], growth=late[quarter // 2] / early[quarter // 2],
        lost=rate * len(group.slots) - stamps.count,
    )  # fmt: skip


def measure_chores(bench: Bench, results: Results, size: int, number: int) -> None:
    """The last start of many jobs while the machine, or the daemon, has something else to do."""
    folder = bench.folder("chores")
    root, stamps = Root(folder / "root"), Stamps(bench.runs / "stamps")
    stamps.path.unlink(missing_ok=True)
    root.write_settings([str(bench.stamp), str(stamps.path)])
    root.write_jobs(dict.fromkeys(range(size), f'"*/{CHORE_EVERY_S} * * * * *"'))
    root.commit()
    new = Root(folder / "new")
    new.write_jobs(dict.fromkeys(range(NEW_FILES * 10, NEW_FILES * 11), '"0 3 * * *"'))

    def new_files() -> None:
        for made in sorted((new.path / "jobs").iterdir()):
            made.replace(root.path / "jobs" / made.name)

    chores: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {
        "nothing else": lambda: contextlib.nullcontext(),
        "a busy process": lambda: _repeated([sys.executable, "-c", "while True: pass"]),
        "list --json": lambda: _repeated([*map(str, scheduler("--root", root.path, "list", "--json"))]),
        "backup": lambda: _repeated([*map(str, scheduler("--root", root.path, "backup"))], copies=folder),
        f"{NEW_FILES:,} new files": lambda: _after(new_files),
    }
    with root.served() as pid:
        for name, chore in chores.items():
            at = int(time.time() + 3) // CHORE_EVERY_S * CHORE_EVERY_S + CHORE_EVERY_S
            group = Group(first=0, count=size, at=at)
            sleep_until(at - 0.5)
            stamps.read()
            stamps.seen.clear()
            had = stamps.count
            before = usage(pid, bench.stamp.name)
            with chore():
                got = stamps.wait(had + size, CHORE_EVERY_S * 0.75) - had
            late = _starts(stamps, group)
            ended_ms(root, group, CHORE_EVERY_S)
            after = usage(pid, bench.stamp.name)
            results.add(
                "chores", name, size, number, lost=size - got,
                last_ms=late[-1] * 1000 if late else None, cpu_ms=(after.cpu_s - before.cpu_s) * 1000 / size,
            )  # fmt: skip


@contextlib.contextmanager
def _after(done: Callable[[], None]) -> Iterator[None]:
    done()
    yield


@contextlib.contextmanager
def _repeated(command: list[str], *, copies: object = None) -> Iterator[None]:
    """A process at work all the time: started again as soon as it has ended."""
    stop = threading.Event()

    def work() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            words = command if copies is None else [*command, f"{copies}/copy-{time.time_ns()}.db"]
            with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
                while child.poll() is None:
                    if stop.wait(0.02):
                        child.kill()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
