"""The systems that are compared: each is given the same plan and starts the same program.

A system is started with a plan, says when it is ready, and is killed at the end. Where one cannot be measured,
`MissingError` says why, and the report repeats it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.machine import HERE, found_program, wait_for
from tests.bench.roots import Root, scheduler, utc

PINNED = ["apscheduler==3.11.3", "sqlalchemy==2.1.9", "yacron==0.19.0"]
NODE_CRON = "node-cron@4.6.0"
THREADS = 10  # of APScheduler: its default; with 32 and 100, 1,000 jobs take no less time


class MissingError(Exception):
    """A system that cannot be measured here, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Jobs that are due together: once at `at`, or at every second from `at` to `until`, both included.

    Instants are whole seconds since 1970.
    """

    first: int  # number of the first job
    count: int
    at: int
    until: int | None = None

    @property
    def slots(self) -> range:
        return range(self.at, (self.until or self.at) + 1)


@dataclass(slots=True)
class Running:
    """A system at work: its process, and how its record of a group is looked at, if it keeps one."""

    pid: int
    root: Root | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all systems share: a folder on a real disk, one of this run alone, and the programs."""

    work: Path
    runs: Path
    stamp: Path
    limit: Path
    unavailable: dict[str, str] = field(default_factory=dict)

    def folder(self, name: str) -> Path:
        """An empty folder of this name."""
        path = self.runs / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path


def _write_plan(path: Path, groups: Sequence[Group], command: Sequence[str], sleep_ms: int) -> Path:
    found = []
    for group in groups:
        known = {"first": group.first, "count": group.count, "at": group.at}
        found.append(known if group.until is None else {**known, "until": group.until})
    plan = {"groups": found, "command": command, "sleep": [str(sleep_ms)] if sleep_ms else []}
    threads = max(THREADS, max(group.count for group in groups) if sleep_ms else 0)
    path.write_text(json.dumps({**plan, "threads": threads}))
    return path


@contextlib.contextmanager
def process(command: Sequence[str | Path], log: Path, *, env: dict[str, str] | None = None) -> Iterator[int]:
    """The id of a process in a session of its own, all of which is killed at the end. Its output goes to `log`."""
    with log.open("wb") as file:
        environ = {**os.environ, "TZ": "UTC", **(env or {})}
        daemon = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environ, start_new_session=True
        )
        try:
            yield daemon.pid
        finally:
            daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()


def wait_ready(log: Path, word: str, pid: int, *, seconds: float = 600) -> None:
    """Wait until a line of the log holds this word."""
    wait_for(lambda: word in log.read_text() or not Path(f"/proc/{pid}/exe").exists(), seconds, every=0.02)
    if word not in log.read_text():
        raise MissingError(f"it did not start: {log.read_text()[-300:].strip() or 'it printed nothing'}")


class System:
    """One of them. `lead_s` is how long before the first instant it has to be started, at a first guess."""

    name = ""
    minutes = False  # its schedules know no seconds
    bursts = True  # it can fire at every second between two instants

    def lead_s(self, jobs: int) -> float:
        return 3 + jobs / 500

    @contextlib.contextmanager
    def run(self, bench: Bench, groups: Sequence[Group], stamps: Path, sleep_ms: int = 0) -> Iterator[Running]:
        """Run it with this plan, ready before the first instant. Raises: MissingError."""
        raise NotImplementedError

    def version(self, bench: Bench) -> str:
        """Its version, installing it first. Raises: MissingError."""
        raise NotImplementedError


class Scheduler(System):
    name = "scheduler"

    def lead_s(self, jobs: int) -> float:
        return 5 + jobs / 500

    def version(self, bench: Bench) -> str:
        said = subprocess.run(scheduler("--version"), capture_output=True, text=True, check=True)
        git = ["git", "-C", str(HERE), "rev-parse", "--short=10", "HEAD"]
        commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
        return " ".join([said.stdout.split()[-1], *(["of commit", commit] if commit else [])])

    @contextlib.contextmanager
    def run(self, bench: Bench, groups: Sequence[Group], stamps: Path, sleep_ms: int = 0) -> Iterator[Running]:
        command = [str(bench.stamp), str(stamps), *(["-", str(sleep_ms)] if sleep_ms else [])]
        root = Root(bench.folder("scheduler") / "root")
        root.write_settings(command)
        schedules: dict[int, str] = {}
        for group in groups:
            at = datetime.fromtimestamp(group.at, UTC)
            when = f'"{at.second} {at.minute} {at.hour} * * *"'
            if group.until is not None:
                when = f'{{cron: "* * * * * *", starts: "{utc(group.at)}", ends: "{utc(group.until)}"}}'
            schedules |= dict.fromkeys(range(group.first, group.first + group.count), when)
        root.write_jobs(schedules)
        root.commit()
        with root.served() as pid:
            yield Running(pid, root)


class APScheduler(System):
    def __init__(self, *, durable: bool) -> None:
        self._durable = durable
        self.name = "APScheduler, SQLite" if durable else "APScheduler, memory"

    def lead_s(self, jobs: int) -> float:
        return 4 + jobs / (150 if self._durable else 600)

    def version(self, bench: Bench) -> str:
        return f"{_installed(bench, 'APScheduler')}, pool of {THREADS} threads"

    @contextlib.contextmanager
    def run(self, bench: Bench, groups: Sequence[Group], stamps: Path, sleep_ms: int = 0) -> Iterator[Running]:
        folder = bench.folder("apscheduler")
        plan = _write_plan(folder / "plan.json", groups, [str(bench.stamp), str(stamps)], sleep_ms)
        database = str(folder / "jobs.db") if self._durable else "-"
        driver = HERE / "drivers/apscheduler_jobs.py"
        with process([_python(bench), driver, plan, database], folder / "log") as pid:
            wait_ready(folder / "log", "ready", pid)
            yield Running(pid)


class NodeCron(System):
    name = "node-cron"

    def version(self, bench: Bench) -> str:
        folder = bench.work / "node"
        if not (folder / "node_modules/node-cron").exists():
            folder.mkdir(parents=True, exist_ok=True)
            npm, node = found_program("npm"), found_program("node")
            if npm is None or node is None:
                raise MissingError("there is no node on this machine")
            _installing([npm, "install", "--silent", "--no-audit", "--prefix", str(folder), NODE_CRON])
        node_version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
        return f"{NODE_CRON.partition('@')[2]}, Node {node_version.removeprefix('v')}"

    @contextlib.contextmanager
    def run(self, bench: Bench, groups: Sequence[Group], stamps: Path, sleep_ms: int = 0) -> Iterator[Running]:
        folder = bench.folder("node-cron")
        plan = _write_plan(folder / "plan.json", groups, [str(bench.stamp), str(stamps)], sleep_ms)
        env = {"NODE_CRON": str(bench.work / "node/node_modules/node-cron")}
        with process(["node", HERE / "drivers/node_cron_jobs.js", plan], folder / "log", env=env) as pid:
            wait_ready(folder / "log", "ready", pid)
            yield Running(pid)


class Yacron(System):
    name = "yacron"
    minutes, bursts = True, False

    def version(self, bench: Bench) -> str:
        return _installed(bench, "yacron")

    @contextlib.contextmanager
    def run(self, bench: Bench, groups: Sequence[Group], stamps: Path, sleep_ms: int = 0) -> Iterator[Running]:
        folder = bench.folder("yacron")
        jobs = [
            f"- name: j{job}\n"
            f"  command:\n  - {bench.stamp}\n  - {stamps}\n  - '{job}'\n"
            f"  schedule: '{datetime.fromtimestamp(group.at, UTC):%M %H} * * *'\n"
            "  captureStdout: true\n"
            for group in groups
            for job in range(group.first, group.first + group.count)
        ]
        (folder / "crontab.yaml").write_text("jobs:\n" + "".join(jobs))
        with process([_python(bench).with_name("yacron"), "-c", folder / "crontab.yaml"], folder / "log") as pid:
            time.sleep(1 + len(jobs) / 100)
            if not Path(f"/proc/{pid}/exe").exists():
                raise MissingError(f"it did not start: {(folder / 'log').read_text()[-300:].strip()}")
            yield Running(pid)

    def lead_s(self, jobs: int) -> float:
        return 4 + jobs / 80


class Cron(System):
    name = "Debian cron"
    minutes, bursts = True, False

    def version(self, bench: Bench) -> str:
        folder = bench.work / "cron"
        if os.geteuid() != 0:
            raise MissingError("it has to be run by root")
        if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
            raise MissingError("this machine allows no mount namespace, in which it would find its own crontab")
        if not list(folder.glob("*.deb")):
            folder.mkdir(parents=True, exist_ok=True)
            _installing(["apt-get", "download", "cron"], cwd=folder)
            _installing(["dpkg", "-x", str(next(folder.glob("*.deb"))), str(folder / "files")])
        return next(folder.glob("*.deb")).name.split("_")[1]

    @contextlib.contextmanager
    def run(self, bench: Bench, groups: Sequence[Group], stamps: Path, sleep_ms: int = 0) -> Iterator[Running]:
        folder = bench.folder("crontab")
        (folder / "cron/crontabs").mkdir(parents=True)
        lines = [
            f"{datetime.fromtimestamp(group.at, UTC):%M %H} * * * {bench.stamp} {stamps} {job}"
            for group in groups
            for job in range(group.first, group.first + group.count)
        ]
        table = folder / "cron/crontabs/root"
        table.write_text("\n".join(lines) + "\n")
        table.chmod(0o600)
        # Its places are compiled in: it sees ours there, and nothing else sees them.
        script = 'mount --bind "$1" /var/spool && exec "$2" -f'
        for hidden in ("/run", "/etc/cron.d"):
            script = f"mount -t tmpfs none {hidden} && {script}"
        daemon = bench.work / "cron/files/usr/sbin/cron"
        with process(["unshare", "-m", "sh", "-c", script, "sh", folder, daemon], folder / "log") as pid:
            time.sleep(1.5)
            if not Path(f"/proc/{pid}/exe").exists():
                raise MissingError(f"it did not start: {(folder / 'log').read_text()[-300:].strip()}")
            yield Running(pid)


class Limit(System):
    """A loop in C that starts children and does nothing else."""

    name = "C loop"

    def version(self, bench: Bench) -> str:
        return "tests/bench/programs/limit.c"

    @contextlib.contextmanager
    def run(self, bench: Bench, groups: Sequence[Group], stamps: Path, sleep_ms: int = 0) -> Iterator[Running]:
        folder = bench.folder("limit")
        bursts = sorted((slot, group.first, group.count) for group in groups for slot in group.slots)
        (folder / "plan").write_text("".join(f"{slot}000000000 {first} {count}\n" for slot, first, count in bursts))
        script = 'exec "$1" "$2" "$3" < "$4"'
        command: list[str | Path] = ["sh", "-c", script, "sh", bench.limit, bench.stamp, stamps, folder / "plan"]
        with process(command, folder / "log") as pid:
            yield Running(pid)


SYSTEMS: tuple[System, ...] = (
    Scheduler(), APScheduler(durable=False), APScheduler(durable=True), NodeCron(), Yacron(), Cron(), Limit(),
)  # fmt: skip
NOT_PACKAGED = {
    "dagu": "no package of PyPI, Debian or npm",
    "supercronic": "no package of PyPI, Debian or npm",
    "systemd timers": "systemd has to be process 1, with a unit file for each job",
}


def _installing(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise MissingError(f"`{' '.join(command[:2])}` failed: {' '.join(last)}")


def _python(bench: Bench) -> Path:
    return bench.work / "peers/bin/python"


def _installed(bench: Bench, package: str) -> str:
    """The version of a package in the peers' own environment, which is made first."""
    python = _python(bench)
    if not python.with_name("ready").exists():
        _installing([sys.executable, "-m", "venv", str(bench.work / "peers")])
        _installing([str(python), "-m", "pip", "install", "--quiet", *PINNED])
        python.with_name("ready").touch()
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def ended_ms(root: Root, group: Group, seconds: float) -> float | None:
    """Milliseconds from the instant until every run of the group has its end in the database; None if it has not."""
    query = "SELECT count(*) FROM runs WHERE fire_time = ? AND finished_at IS NOT NULL AND status = 'succeeded'"
    with contextlib.closing(sqlite3.connect(f"file:{root.database}?mode=ro", uri=True)) as database:

        def all_ended() -> float | None:
            now = time.time()
            (count,) = database.execute(query, (utc(group.at, fraction=True),)).fetchone()
            return now if count >= group.count else None

        at = wait_for(all_ended, seconds, every=0.01)
    return None if at is None else (at - group.at) * 1000
