"""The machine and its processes: what it is, what a process has used, and the programs that the benchmarks start."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
import statistics
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

HERE = Path(__file__).parent
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
T = TypeVar("T")


def compile_programs(folder: Path) -> tuple[Path, Path]:
    """The programs `stamp` and `limit`, linked statically."""
    made = []
    folder.mkdir(exist_ok=True)
    for name in ("stamp", "limit"):
        made.append(folder / name)
        source = HERE / f"programs/{name}.c"
        subprocess.run(["cc", "-O2", "-static", "-o", made[-1], source], check=True)
    return made[0], made[1]


def wait_for(found: Callable[[], T | None], seconds: float, *, every: float = 0.002) -> T | None:
    """What `found` returns once it is true, or its last answer after so many seconds."""
    give_up = time.monotonic() + seconds
    while not (value := found()) and time.monotonic() < give_up:
        time.sleep(every)
    return value


def sleep_until(instant: float) -> None:
    """Sleep until an instant in seconds since 1970."""
    time.sleep(max(0.0, instant - time.time()))


@dataclass(frozen=True, slots=True)
class Usage:
    """What a daemon and its helper processes use, without the jobs that it started."""

    cpu_s: float
    rss_mb: float


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):  # it ended meanwhile
        children = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
        for child in " ".join(children).split():
            yield from _family(int(child))


def usage(pid: int, job: str) -> Usage:
    """The usage of a process and all below it whose program is not called `job`."""
    ticks, pages = 0, 0
    for each in _family(pid):
        try:
            stat = Path(f"/proc/{each}/stat").read_text()
            memory = Path(f"/proc/{each}/statm").read_text()
        except OSError:
            continue
        name, _, rest = stat.partition("(")[2].rpartition(")")
        if name != job and int(memory.split()[1]):
            fields = rest.split()
            ticks += int(fields[11]) + int(fields[12])
            pages += int(memory.split()[1])
    return Usage(ticks * TICK_S, pages * resource.getpagesize() / 1e6)


@dataclass(slots=True)
class Stamps:
    """The file to which each job appends its number and its start."""

    path: Path
    seen: dict[int, list[float]] = field(default_factory=dict)  # seconds since 1970, by job, in order
    count: int = 0

    def read(self) -> int:
        """Take in what was appended; how many starts there are in all."""
        with self.path.open("ab+") as file:
            file.seek(self.count * 16)
            data = file.read()
        for job, instant in struct.iter_unpack("<qq", data[: len(data) // 16 * 16]):
            self.seen.setdefault(job, []).append(instant / 1e9)
            self.count += 1
        return self.count

    def wait(self, count: int, seconds: float) -> int:
        """Wait until there are so many starts; how many there are."""
        wait_for(lambda: self.path.exists() and self.path.stat().st_size >= 16 * count, seconds, every=0.01)
        return self.read()


def synced_write_ms(folder: Path) -> float:
    """The median time to append 4 KiB and to sync it to the disk."""
    taken = []
    path = folder / "synced"
    with path.open("wb", buffering=0) as file:
        for _ in range(60):
            start = time.perf_counter()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    path.unlink()
    return statistics.median(taken) * 1000


def _said(*command: str) -> str:
    """The first line that a command prints; empty if it cannot be run."""
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.splitlines()
    except OSError:
        return ""
    return lines[0].strip() if lines else ""


def described(folder: Path) -> dict[str, str]:
    """The machine in words, for the report."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1] for line in lines if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": f"{cpu.strip()}, {os.cpu_count()} cores",
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "file system": _said("stat", "-f", "-c", "%T", str(folder)).replace("ext2/ext3", "ext4"),
        "synced write of 4 KiB": f"{synced_write_ms(folder):.2f} ms",
        "load before the run": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "SQLite": __import__("sqlite3").sqlite_version,
        "git": _said("git", "--version").removeprefix("git version "),
        "C compiler": _said("cc", "--version"),
    }


def raise_limits() -> None:
    """Allow as many open files as the system does."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def found_program(name: str) -> str | None:
    return shutil.which(name)
