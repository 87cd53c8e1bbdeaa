"""How late a job fires, alone and beside 10,000 others; and how long a thousand that are due at once take.

A whole daemon, real files, the system's clock. Late is the time from the slot to the claim, to the start of the
process, and to its end. Compare within one run of this script only: the rest of the machine takes part.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

ROOT = """version: 1
runners: {nothing: {command: ["true"]}}
defaults: {runner: nothing}
limits: {max_jobs: 20000}
"""
PER_FILE = 100


def write_root(root: Path, *, others: int, together: int) -> None:
    """One job a second; beside it `others` that are due once a day, and `together` that are due every minute."""
    (root / "jobs").mkdir(parents=True)
    (root / "scheduler.yaml").write_text(ROOT)
    (root / "jobs/tick.yaml").write_text("id: tick\nschedule: {every: 1s}\ntask: tick\n")
    documents = [f'id: other-{i}\nschedule: "{i % 60} {i // 60 % 24} * * *"\ntask: x\n' for i in range(others)]
    documents += [f'id: together-{i}\nschedule: "* * * * *"\ntask: x\n' for i in range(together)]
    for start in range(0, len(documents), PER_FILE):
        (root / f"jobs/f{start}.yaml").write_text("---\n".join(documents[start : start + PER_FILE]))
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", root, *command], check=True)


@contextlib.contextmanager
def served(root: Path) -> Iterator[None]:
    log = root.parent / "log"  # not in the root: that would be one change after the other
    command = [sys.executable, "-m", "scheduler", "--root", str(root), "serve"]
    with log.open("w") as file, subprocess.Popen(command, stderr=file) as daemon:
        while " serving root=" not in log.read_text():
            time.sleep(0.05)
        try:
            yield
        finally:
            daemon.send_signal(signal.SIGTERM)


def late_ms(root: Path, like: str, fire_time: str | None = None) -> dict[str, list[float]]:
    """Milliseconds from the slot to each step of a run, by step."""
    with contextlib.closing(sqlite3.connect(root / ".scheduler/state.db")) as database:
        rows = database.execute(
            "SELECT fire_time, requested_at, started_at, finished_at FROM runs WHERE status = 'succeeded'"
            " AND job_id LIKE ? AND (? IS NULL OR fire_time = ?) ORDER BY fire_time",
            (like, fire_time, fire_time),
        ).fetchall()
    moments = [[datetime.fromisoformat(each) for each in row] for row in rows]
    return {
        step: [(row[i] - row[0]).total_seconds() * 1000 for row in moments]
        for i, step in enumerate(("claimed", "started", "ended"), start=1)
    }


def measure_ticks(others: int, seconds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        write_root(root, others=others, together=0)
        with served(root):
            time.sleep(seconds)
        return {step: statistics.median(late) for step, late in late_ms(root, "tick").items()}


def measure_together(together: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        write_root(root, others=0, together=together)
        time.sleep(max(0, 50 - time.time() % 60))  # late in a minute: the next one is the first
        with served(root):
            time.sleep(61 - time.time() % 60 + 20)
        return {step: max(late) for step, late in late_ms(root, "together-%").items()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--others", type=int, default=10_000)
    options.add_argument("--together", type=int, default=1_000)
    options.add_argument("--seconds", type=int, default=20)
    given = options.parse_args()
    alone, beside = measure_ticks(0, given.seconds), measure_ticks(given.others, given.seconds)
    for step in alone:
        print(f"{step:8} {alone[step]:8.2f} ms alone {beside[step]:8.2f} ms beside {given.others:,} jobs (median)")
    for step, late in measure_together(given.together).items():
        print(f"{step:8} {late:8.0f} ms after the minute, the last of {given.together:,}")


if __name__ == "__main__":
    main()
