"""A file system that does not answer, under a living daemon."""

from __future__ import annotations

import signal
import time

from tests.crash.world import STOPPING
from tests.faults.disks import hanging
from tests.faults.world import FaultyWorld, judge

TASK = "scripts/far/far.sh"


def test_a_mount_that_does_not_answer_keeps_its_own_jobs_waiting_and_neither_others_nor_a_stop(
    world: FaultyWorld,
) -> None:
    world.job("near")
    world.write(TASK, world.script())
    world.write("jobs/far.yaml", f"id: far\nschedule: {{every: 1s}}\ntask_source_path: {TASK}\n")
    daemon = world.serve("--grace", "0")
    world.await_marks("near")
    world.await_marks("far")
    with hanging((world.root / TASK).parent):
        world.await_marks("near", 2)  # the next slot of both
        ran = len(world.marks("far"))
        world.await_marks("near")
        assert len(world.marks("far")) == ran
        daemon.tell(signal.SIGTERM)
        daemon.says(STOPPING)
        time.sleep(0.3)  # two signals at once count as one
        assert daemon.stop() == 1, daemon.stderr  # the second signal
        assert " run_left " in daemon.stderr
    daemon = world.serve()
    world.await_marks("far")
    assert daemon.stop() == 0, daemon.stderr
    judge(world)
