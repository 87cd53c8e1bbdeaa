"""kill -9 in the first moments after an instant at which many jobs are due: each slot runs once, or is told of."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from tests.crash.invariants import judge
from tests.crash.world import SERVING, World
from tests.helpers import until

FEW, MANY = 24, 200  # two chunks of starts at one instant, and five
EVERY_S = 3  # between two instants: a daemon starts, serves and is killed in that time
SAMPLE = sorted(random.Random(17).sample(range(150), 6))
TOLD = ("succeeded", "failed", "skipped", "interrupted")


def kill_after(world: World, delays_ms: Sequence[int], *, jobs: int = FEW) -> None:
    """Daemons that are killed so long after an instant, one after the other; then one that goes on."""
    world.limit(jobs)
    for n in range(jobs):
        world.job(f"j{n}", schedule=f"every: {EVERY_S}s")
    for delay in delays_ms:
        daemon = world.serve()
        daemon.says(SERVING)
        now = time.time()
        instant = (now // EVERY_S + 1) * EVERY_S
        time.sleep(max(0.0, instant + delay / 1000 - now))  # the moment of the kill is what is tested
        daemon.kill()
    daemon = world.serve()
    daemon.says(SERVING)
    last = {row["job_id"]: row["n"] for row in world.rows("SELECT job_id, max(n) AS n FROM runs GROUP BY job_id")}
    open_rows = f"SELECT * FROM runs WHERE status NOT IN {TOLD}"
    until(
        lambda: not [row for row in world.rows(open_rows) if row["n"] <= last.get(row["job_id"], 0)],
        "the end of all that killed daemons have left",
    )
    assert daemon.stop() == 0, daemon.stderr


def check(world: World) -> None:
    judge(world)
    ran = Counter(mark.run_id for mark in world.marks())
    for row in world.rows("SELECT * FROM runs WHERE status = 'interrupted' AND fire_time NOTNULL"):
        attempts = world.rows("SELECT * FROM attempts WHERE job_id = ? AND run_n = ?", row["job_id"], row["n"])
        assert attempts, "what never started is started by whoever comes next"
    assert ran


def test_kills_just_after_an_instant_lose_no_slot(world: World) -> None:
    kill_after(world, SAMPLE)
    check(world)


@pytest.mark.long
@pytest.mark.parametrize(("jobs", "delays_ms"), [(FEW, range(150)), (MANY, range(0, 600, 10))])
def test_a_kill_in_any_of_the_first_moments_loses_no_slot(world: World, jobs: int, delays_ms: range) -> None:
    kill_after(world, delays_ms, jobs=jobs)
    check(world)
