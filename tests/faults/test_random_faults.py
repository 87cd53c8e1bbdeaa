"""Faults one upon the other, at random, with kills in the middle of them; then all is well again, and is judged."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator

import pytest

from tests.crash.world import SERVING
from tests.faults.disks import Disk, failing_writes
from tests.faults.world import STOPPED, FaultyWorld, judge
from tests.helpers import until

# A disk that turns between a claim and its outputs costs that run, which is an error.
TOLD = (STOPPED, "sync_failed", "end_not_written", "run_abandoned")
ROUNDS = int(os.environ.get("FAULT_ROUNDS", "30"))


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def possible(world: FaultyWorld, disk: Disk, pid: int) -> dict[str, contextlib.AbstractContextManager[None]]:
    return {
        "full": disk.full(),
        "read-only": disk.read_only(),
        "failing": failing_writes(pid),
        "locked": world.locked(),
        "stopped": stopped(pid),
    }


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_goes_wrong_no_slot_runs_twice_and_none_is_lost(apart: FaultyWorld, disk: Disk, seed: int) -> None:
    chance = random.Random(seed)
    for n in range(4):
        apart.job(f"quick-{n}", "echo done")
    for n in range(2):
        apart.job(f"slow-{n}", "sleep 0.7", "head -c 100000 /dev/zero")
    daemon = apart.serve("--grace", "0")
    daemon.says(SERVING)
    for _ in range(ROUNDS):
        faults = possible(apart, disk, daemon.process.pid)
        names = chance.sample(sorted(faults), chance.choice([1, 1, 2]))
        if "locked" in names:
            names = ["locked", *(name for name in names if name not in ("locked", "stopped"))]
        kill = chance.random() < 0.5
        with contextlib.ExitStack() as wrong:
            for name in names:
                wrong.enter_context(faults[name])
            time.sleep(chance.uniform(0.1, 2.5))
            if kill:
                daemon.kill()
        if kill:
            daemon = apart.serve("--grace", "0")
            daemon.says(SERVING)
        if chance.random() < 0.5:
            apart.await_marks("quick-0")
    apart.await_marks("quick-0")
    until(lambda: not apart.listed()["troubles"], "all to be well")
    assert daemon.stop() == 0, daemon.stderr
    judge(apart, expected=TOLD, unmarked=True)
