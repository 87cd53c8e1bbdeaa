"""What it costs to read the largest files within the limits (1 MiB, 10,000 YAML values, 32 levels), good and hostile.

Run by hand: `python tests/bench/read_files.py`. Each file is read in a process of its own: time is that of the read
alone, memory what the process needed beyond its start. `list` and `sync` read hundreds of small files in the time of
one of these.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable

from scheduler.core.formats.jobfile import read_job_file
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.formats.yamlfile import MAX_DEPTH, MAX_NODES
from scheduler.core.values.settings import Settings
from scheduler.core.values.texts import MAX_FILE_BYTES

ROOT = b"""\
version: 1
runners:
  agent: {command: [cat], job_env: [MODE], jobs: ["*", "tag:agent"], tasks: ["jobs/**"], max_timeout: 2h}
  many: {command: [cat], job_env: [MODE, %s], jobs: ["*"]}
defaults: {runner: agent, env: {MODE: day}}
""" % ", ".join(f"VARIABLE_{n}" for n in range(4_000)).encode()
JOB = "id: job-{n}\nschedule: {{cron: '{m} {h} * * *', timezone: Europe/Berlin}}\ntags: [agent]\ntask: {text}\n---\n"
HEAD = b"id: a\nschedule: '@daily'\n"


def jobs(count: int, text: str) -> bytes:
    return "".join(JOB.format(n=n, m=n % 60, h=n % 24, text=text) for n in range(count)).encode()


def filled(start: bytes, unit: bytes, end: bytes = b"") -> bytes:
    return start + unit * ((MAX_FILE_BYTES - len(start) - len(end)) // len(unit)) + end


def items(template: str, count: int) -> str:
    return ", ".join(template.format(n=n) for n in range(count))


JOB_FILES: dict[str, Callable[[], bytes]] = {
    "600 jobs in one file": lambda: jobs(600, "x" * 1000),
    "one task of 1 MiB": lambda: filled(HEAD + b"task: |\n", b"  do this and that, then say what you did\n"),
    "a body of 1 MiB (Markdown)": lambda: filled(b"---\n" + HEAD + b"---\n", b"do this and that\n"),
    "10,000 values": lambda: HEAD + b"task: x\ntags: [" + b"agent, " * (MAX_NODES - 12) + b"]\n",
    "10,000 values, all wrong": lambda: HEAD + b"task: x\ntags: [" + b"1, " * (MAX_NODES - 12) + b"]\n",
    "5,000 unknown keys": lambda: HEAD + "\n".join(f"timeuot{n}: x" for n in range(MAX_NODES // 2 - 4)).encode(),
    "5,000 variables not allowed": lambda: HEAD + f"task: x\nenv: {{{items('MOD{n}: x', 4_990)}}}\n".encode(),
    "5,000 variables against 4,000": lambda: (
        HEAD + f"task: x\nrunner: many\nenv: {{{items('VARIABLES_{n}: x', 4_990)}}}\n".encode()
    ),
    "900 unknown runners": lambda: "".join(f"id: j{n}\nrunner: mani{n}\n---\n" for n in range(900)).encode(),
    "5,000 duplicate keys": lambda: HEAD + b"task: x\n" * 4_990,
    "10,000 aliases": lambda: HEAD + b"task: x\ntags: [" + b"*a, " * (MAX_NODES - 12) + b"]\n",
    "32 levels": lambda: HEAD + b"task: x\ntags: " + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1),
    "100,000 keys": lambda: "".join(f"k{n}: x\n" for n in range(100_000)).encode(),
    "500,000 levels": lambda: b"[" * 500_000,
    "a key of 1 MiB": lambda: filled(b"", b"k", b": x"),
    "an id of 1 MiB": lambda: filled(b"id: ", b"A"),
    "1 MiB of %TAG": lambda: filled(b"", b"%TAG !a! b\n"),
    "1 MiB of documents": lambda: filled(b"", b"---\n"),
    "1 MiB of line ends": lambda: filled(b"", b"\n"),
    "1 MiB of quotes": lambda: filled(b"id: ", b'"'),
    "1 MiB of half a conflict": lambda: filled(b"", b"<<<<<<< a\n"),
    "not UTF-8 at the end": lambda: filled(HEAD, b"# x\n", b"\xff"),
    "10 MiB": lambda: b"#" * (10 * MAX_FILE_BYTES),
}
ROOT_FILES: dict[str, Callable[[], bytes]] = {
    "1,900 runners": lambda: (
        "version: 1\nrunners:\n" + "".join(f"  r{n}: {{command: [cat]}}\n" for n in range(1_900))
    ).encode(),
    "10,000 globs": lambda: f"version: 1\njobs: [{items('jobs/{n}/**/*.md', MAX_NODES - 10)}]\n".encode(),
    "5,000 wrong limits": lambda: f"version: 1\nlimits: {{{items('max_job{n}: 1', 4_990)}}}\n".encode(),
}


def measured(name: str) -> tuple[float, int, int]:
    """Seconds, KiB beyond the start, and problems."""
    make = {**JOB_FILES, **ROOT_FILES}[name]
    settings, _ = read_root_file(ROOT)
    assert isinstance(settings, Settings)
    data = make()
    path = "jobs/a.md" if "Markdown" in name else "jobs/a.yaml"
    read_job_file(path, HEAD + b"task: x\n", settings)  # imports and caches are not what is measured
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    problems = read_root_file(data)[1] if name in ROOT_FILES else read_job_file(path, data, settings).problems
    taken = time.perf_counter() - start
    return taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, len(problems)


def main() -> None:
    if len(sys.argv) > 1:
        taken, memory, problems = measured(sys.argv[1])
        print(f"{sys.argv[1]:<30} {taken:7.3f} s  {memory / 1024:6.1f} MiB  {problems:>6} problems")
        return
    for name in (*JOB_FILES, *ROOT_FILES):
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main()
