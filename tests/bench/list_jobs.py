"""How long `scheduler list` of 1,000 jobs takes from a cold start, beside a bare interpreter.

Run by hand: `make bench`. Figures are whole processes, median of nine; compare ratios, not machines.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JOBS, RUNS = 1000, 9


def make_root(root: Path) -> None:
    for folder in ("jobs", "prompts"):
        (root / folder).mkdir()
    (root / "scheduler.yaml").write_text("version: 1\nrunners: {cat: {command: [cat]}}\ndefaults: {runner: cat}\n")
    for i in range(JOBS):
        schedule = f'schedule: "{i % 60} {i % 24} * * *"'
        if i % 2:
            (root / f"jobs/j{i:04}.md").write_text(f"---\nid: j{i:04}\n{schedule}\n---\nprompt {i}\n")
        else:
            (root / f"jobs/j{i:04}.yaml").write_text(f"id: j{i:04}\n{schedule}\ntask_source_path: prompts/{i}.md\n")
            (root / f"prompts/{i}.md").write_text(f"prompt {i}\n")


def median(*argv: str) -> float:
    """Seconds of wall time of a whole process, after one run that is not counted."""
    taken = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_root(Path(folder))
        scheduler = (sys.executable, "-m", "scheduler", "--root", folder)
        subprocess.run([*scheduler, "sync"], check=True, stdout=subprocess.DEVNULL)
        bare = median(sys.executable, "-c", "pass")
        for arguments in (("list",), ("list", "--json"), ("sync",)):
            taken = median(*scheduler, *arguments)
            print(f"{' '.join(arguments):<12} {taken:.3f} s, {taken / bare:.0f} bare interpreters")


if __name__ == "__main__":
    main()
