"""Who is told of what happens while nothing can be written: nothing is lost, and no run waits for it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.crash.world import ROOT_FILE
from tests.delivery.sinks import HttpSink, http_sink, soon
from tests.faults.disks import failing_writes
from tests.faults.world import STOPPED, FaultyWorld
from tests.helpers import Daemon, until


def told(sink: HttpSink) -> list[str]:
    return [json.loads(each.body)["key"] for each in [*sink.received]]


def sender_of(daemon: Daemon) -> int:
    for each in Path(f"/proc/{daemon.process.pid}/task").glob("*/children"):
        for pid in each.read_text().split():
            if b"scheduler.delivery.process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
    return 0


def test_a_failure_whose_rows_find_no_room_is_recorded_and_told_once_there_is_some(world: FaultyWorld) -> None:
    pipe = world.root.parent / "go"
    os.mkfifo(pipe)
    world.job("patient", f"read line < '{pipe}'", "exit 3", schedule="every: 1d", keys="deliver: [ci]\n")
    world.job("other", "exit 4", schedule="every: 1d", keys="deliver: [ci]\n")
    world.job("tick")  # by which the daemon sees soon that it can write again
    with http_sink() as sink:
        channels = f'channels:\n  ci: {{webhook: "{sink.url}/hook", secret: "${{env:HOOK}}"}}\n'
        world.write("scheduler.yaml", ROOT_FILE.format(max_running=4) + channels)
        daemon = world.serve("--grace", "0", HOOK="x")
        daemon.says(" serving root=")
        assert world.cli("run", "patient").code == 0
        until(lambda: world.rows("SELECT 1 FROM attempts WHERE pid NOTNULL"), "the process")
        sender = until(lambda: sender_of(daemon), "the sender")
        with failing_writes(daemon.process.pid):
            pipe.write_text("go\n")
            daemon.says("end_not_written")
            daemon.says(STOPPED)
            assert told(sink) == []
        daemon.says("end_written run_id=patient:1")
        soon(sink, 1)
        assert told(sink) == ["run/patient/1/failure"]
        with failing_writes(sender):
            assert world.cli("run", "other").code == 0
            world.await_end("other")
            daemon.says("sender_failed")
            (run,) = world.runs("other")
            assert (run["status"], run["exit_code"]) == ("failed", 4)
            assert told(sink) == ["run/patient/1/failure"], "nothing is sent that is not first noted"
        soon(sink, 2)
        until(lambda: not world.rows("SELECT 1 FROM deliveries WHERE status <> 'delivered'"), "the outcome")
        assert told(sink) == ["run/patient/1/failure", "run/other/1/failure"]
        assert daemon.stop() == 0, daemon.stderr
