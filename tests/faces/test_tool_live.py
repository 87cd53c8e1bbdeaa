"""The tool server as a process of its own, spoken to by the SDK's own client, and by clients that do not behave."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from scheduler.tool import server
from scheduler.tool.arguments import EDIT_TOOL, READ_TOOL, READS
from tests.faces import served
from tests.faces.conftest import Root
from tests.helpers import LONG_S, REPOSITORY, ROOT_FILE, until

root, serve = served.root, served.serve  # the fixtures

POLICY = "agents: {jobs: [tick], verbs: [update, run, sync], edits: commit}\n"
HELLO = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "0"}},
}
READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}


@pytest.fixture(autouse=True)
def allowed(root: Root) -> None:
    root.write("scheduler.yaml", ROOT_FILE + POLICY)
    root.commit()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


Ask = Callable[..., Coroutine[Any, Any, Any]]


@contextlib.asynccontextmanager
async def agent(root: Root) -> AsyncIterator[Ask]:
    """Calls of the tool by the SDK's client: `ask(action, ...)` gives the answer, or fails with the error."""
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "scheduler", "mcp"], env=environment(), cwd=root.path
    )
    async with Client(stdio_client(command)) as client:

        async def ask(action: str, **given: Any) -> Any:
            tool = READ_TOOL if action in READS else EDIT_TOOL
            found = await client.call_tool(tool, {"action": action, **given})
            assert not found.is_error, found.structured_content
            return found.structured_content

        yield ask


async def eventually(found: Callable[[], Any], what: str) -> Any:
    """As `until`, in the thread of the session: commands called in this process set signal handlers."""
    with anyio.fail_after(LONG_S):
        while not (value := found()):
            await anyio.sleep(0.1)
    assert value, what
    return value


# -- with a daemon -------------------------------------------------------------------------------


def test_an_agent_edits_its_job_the_commit_appears_the_next_fire_runs_it_and_nothing_is_reset(
    root: Root, serve: Callable[..., Any]
) -> None:
    serve()
    until(lambda: any(run["status"] == "succeeded" for run in root.runs("tick")), "a first run")
    before, old_runs = root.job("tick"), root.runs("tick")

    async def session() -> None:
        async with agent(root) as ask:
            version = (await ask("show", job="tick"))["job"]["version"]
            found = await ask("update", job="tick", task="second\n", if_version=version, message="Say second")
            assert (found["applied"], found["commit"]) == ("now", root.git("rev-parse", "HEAD"))
            assert root.git("log", "-1", "--format=%s") == "Say second"
            assert root.git("show", "--format=", "--name-only", "HEAD") == "prompts/tick.md"

            def ran() -> Any:
                return next((run for run in root.runs("tick") if run["result"] == "second\n"), None)

            run = await eventually(ran, "a run of the new text")
            assert run["task_sha256"] == hashlib.sha256(b"second\n").hexdigest()
            assert (run["revision"], run["dirty"]) == (found["commit"], None)

            found = await ask("update", job="tick", name="Tock", schedule={"every": "2s"})
            assert (found["applied"], found["job"]["name"]) == ("now", "Tock")
            assert found["job"]["schedule"]["every_ms"] == 2000
            assert (await ask("show", job="tick"))["next_fires"][0]["fire_time"][-3:-1] in {
                f"{second:02}" for second in range(0, 60, 2)
            }
            found = await ask("update", job="tick", enabled=False)
            assert (found["job"]["status"], found["job"]["enabled"]) == ("disabled", False)
            found = await ask("update", job="tick", enabled=True)
            count = found["job"]["run_count"]

            def fired() -> bool:
                return bool(root.job("tick")["run_count"] > count)

            await eventually(fired, "a run after all of it")

    anyio.run(session)
    after, runs = root.job("tick"), root.runs("tick")
    assert [after[name] for name in ("id", "created_at", "created_by")] == [
        before[name] for name in ("id", "created_at", "created_by")
    ]
    ids = [run["id"] for run in runs]
    numbers = [int(each.partition(":")[2]) for each in ids]
    assert numbers == sorted(set(numbers), reverse=True), "no number is given twice"
    finished = {run["id"]: run for run in old_runs if run["status"] == "succeeded"}
    assert finished
    assert {run["id"]: run for run in runs if run["id"] in finished} == finished
    assert after["run_count"] >= before["run_count"] + 2
    assert root.git("status", "--porcelain") == ""
    assert root.git("rev-list", "--count", "HEAD") == "6"


def test_fifty_calls_at_once_are_all_answered_and_their_edits_all_made(root: Root) -> None:
    root.sync()

    async def session() -> None:
        async with agent(root) as ask, anyio.create_task_group() as group:
            for number in range(45):
                group.start_soon(functools.partial(ask, "show" if number % 2 else "history", job="tick"))
            for number in range(5):
                group.start_soon(functools.partial(ask, "update", job="tick", description=f"edit {number}"))

    anyio.run(session)
    assert root.git("rev-list", "--count", "HEAD") == "7"
    assert root.git("status", "--porcelain") == ""
    assert root.json("validate") == {"problems": []}


# -- clients that do not behave ------------------------------------------------------------------


class Raw:
    """A client that writes lines, and reads what comes."""

    def __init__(self, root: Root, **env: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scheduler", "mcp"],
            cwd=root.path,
            env={**environment(), **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def send(self, *messages: Any) -> None:
        assert self.process.stdin is not None
        for each in messages:
            self.process.stdin.write((each if isinstance(each, str) else json.dumps(each)) + "\n")
        self.process.stdin.flush()

    def call(self, number: int, action: str, **given: Any) -> None:
        params = {"name": "schedule", "arguments": {"action": action, **given}}
        self.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})

    def answer(self, number: int) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = json.loads(line)  # stdout is protocol and nothing else
            if found.get("id") == number:
                return found
        raise AssertionError(f"no answer to {number}")

    def ended(self) -> int:
        try:
            return self.process.wait(LONG_S)
        finally:
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def hang_up(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.ended()


def hook(root: Root, text: str) -> Path:
    """A hook that holds up a commit, and so a call, until the test has done its part."""
    path = root.path / ".git/hooks/pre-commit"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_nonsense_is_answered_or_ignored_and_the_server_goes_on(root: Root) -> None:
    root.sync()
    raw = Raw(root)
    raw.send("", "{", "null", "[]", '"x"', "\x00", "x" * 100_000, '{"jsonrpc": "2.0"}', HELLO, READY)
    assert raw.answer(0)["result"]["serverInfo"]["name"] == "scheduler"
    raw.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "schedule", "arguments": "x"}})
    assert "error" in raw.answer(1)
    raw.send({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "rm", "arguments": {}}})
    assert raw.answer(2)["result"]["isError"]
    raw.send({"jsonrpc": "2.0", "id": 3, "method": "nothing/such"})
    assert "error" in raw.answer(3)
    raw.send({"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {"name": "schedule"}})
    assert raw.answer(4)["result"]["structuredContent"]["error"]["message"] == "action is missing"
    raw.call(5, "update", job="tick", task={"deep": [[[[]]]]}, set={"a.b.c": float("1e308")})
    assert raw.answer(5)["result"]["isError"]
    raw.call(6, "list")
    found = raw.answer(6)["result"]
    assert (found["isError"], found["structuredContent"]) == (False, json.loads(found["content"][0]["text"]))
    (root.path / os.fsdecode(b"jobs/\xff.yaml")).touch()
    raw.call(7, "validate")
    assert "file.name" in raw.answer(7)["result"]["content"][0]["text"]
    raw.send('{"jsonrpc": "2.0", "id": 8, "method": "tools/call", "params": {"name": "schedule", "arguments": '
             '{"action": "\\ud800"}}}', "[" * 100_000)  # fmt: skip
    assert "lone surrogate" in raw.answer(8)["error"]["message"]
    raw.call(9, "show", job="tick", **{"\ud800": 1})
    assert "lone surrogate" in raw.answer(9)["error"]["message"]
    raw.call(10, "list")
    assert not raw.answer(10)["result"]["isError"]
    raw.call(11, "update", job="tick", name="Tock", message="Why\n\n" + "x" * 200_000)
    assert raw.answer(11)["result"]["structuredContent"]["commit"] == root.git("rev-parse", "HEAD")
    assert root.git("log", "-1", "--format=%B") == "Why\n\n" + "x" * 200_000
    raw.call(12, "update", job="tick", name="Tick", message="x" * 300_000)
    assert "the limit is 262,144" in raw.answer(12)["result"]["structuredContent"]["error"]["message"]
    assert raw.hang_up() == 0


def test_a_client_sees_two_tools_and_which_of_them_only_reads(root: Root) -> None:
    root.sync()
    raw = Raw(root)
    raw.send(HELLO, READY)
    raw.send({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    found = {tool["name"]: tool["annotations"] for tool in raw.answer(1)["result"]["tools"]}
    assert {name: (each["readOnlyHint"], each["destructiveHint"]) for name, each in found.items()} == {
        "schedule_read": (True, False),
        "schedule": (False, True),
    }
    arguments = {"action": "update", "job": "tick", "name": "x"}
    raw.send({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
              "params": {"name": "schedule_read", "arguments": arguments}})  # fmt: skip
    assert "changes nothing, so it has no update" in raw.answer(2)["result"]["content"][0]["text"]
    assert raw.hang_up() == 0


def test_a_client_that_reads_no_more_ends_the_server_in_peace(root: Root) -> None:
    root.sync()
    raw = Raw(root)
    raw.send(HELLO)
    raw.answer(0)
    assert raw.process.stdout is not None
    assert raw.process.stderr is not None
    raw.process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        raw.send(READY)
        for number in range(1, 20):
            raw.call(number, "list")
    assert raw.process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        raw.process.stdin.close()
    assert raw.process.wait(LONG_S) == 0
    assert raw.process.stderr.read() == ""
    raw.ended()


def test_a_client_that_hangs_up_in_the_middle_of_an_edit_gets_a_whole_edit(root: Root, tmp_path: Path) -> None:
    root.sync()
    hook(root, f"touch {tmp_path}/begun; while ! [ -e {tmp_path}/go ]; do sleep 0.02; done")
    raw = Raw(root)
    raw.send(HELLO, READY)
    raw.call(1, "update", job="tick", task="second\n")
    raw.call(2, "update", job="tick", task="third\n")  # waits for its turn, which never comes
    until((tmp_path / "begun").exists, "the hook")
    assert raw.process.stdin is not None
    raw.process.stdin.close()
    time.sleep(0.3)  # for the server to see that nobody is there; either way the edit is whole
    (tmp_path / "go").touch()
    assert raw.ended() == 0
    assert (root.path / "prompts/tick.md").read_text() == "second\n"
    assert root.git("rev-list", "--count", "HEAD") == "3"
    assert root.git("status", "--porcelain") == ""


def test_a_cancelled_edit_that_has_begun_is_made_whole_and_one_that_waits_is_not_made(
    root: Root, tmp_path: Path
) -> None:
    root.sync()
    hook(root, f"touch {tmp_path}/begun; while ! [ -e {tmp_path}/go ]; do sleep 0.02; done")
    raw = Raw(root)
    raw.send(HELLO, READY)
    raw.call(1, "update", job="tick", task="second\n")
    until((tmp_path / "begun").exists, "the hook")
    raw.call(2, "update", job="tick", task="third\n")
    for number in (1, 2):
        raw.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}})
    raw.call(3, "show", job="tick")  # the protocol is not blocked
    assert raw.answer(3)["result"]["structuredContent"]["job"]["id"] == "tick"
    (tmp_path / "go").touch()
    until(lambda: root.git("rev-list", "--count", "HEAD") == "3", "the commit")
    raw.call(4, "update", job="tick", name="after")
    assert raw.answer(4)["result"]["structuredContent"]["applied"] == "now"
    assert raw.hang_up() == 0
    assert (root.path / "prompts/tick.md").read_text() == "second\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_signal_ends_the_server_once_what_has_begun_is_done(
    root: Root, tmp_path: Path, number: signal.Signals
) -> None:
    root.sync()
    hook(root, f"touch {tmp_path}/begun; while ! [ -e {tmp_path}/go ]; do sleep 0.02; done")
    raw = Raw(root)
    raw.send(HELLO, READY)
    raw.call(1, "update", job="tick", task="second\n")
    until((tmp_path / "begun").exists, "the hook")
    raw.process.send_signal(number)
    (tmp_path / "go").touch()
    assert raw.ended() == 128 + number
    assert root.git("status", "--porcelain") == ""
    assert (root.path / "prompts/tick.md").read_text() == "second\n"


def test_a_run_in_the_foreground_ends_with_the_client_that_waits_for_it(root: Root, tmp_path: Path) -> None:
    root.write("scripts/long.sh", f"touch {tmp_path}/begun; exec sleep 600\n")
    root.write("jobs/tick.yaml", "id: tick\nschedule: '@yearly'\nrunner: sh\ntask_source_path: scripts/long.sh\n")
    root.commit()
    root.sync()
    raw = Raw(root)
    raw.send(HELLO, READY)
    raw.call(1, "run", job="tick", wait=True)
    until((tmp_path / "begun").exists, "the run")
    assert raw.hang_up() == 0
    assert [run["status"] for run in root.runs("tick")] == ["cancelled"]


def test_a_client_that_stops_waiting_leaves_the_run_to_the_daemon(
    root: Root, tmp_path: Path, serve: Callable[..., Any]
) -> None:
    root.write("scripts/long.sh", f"touch {tmp_path}/begun; while ! [ -e {tmp_path}/go ]; do sleep 0.02; done\n")
    root.write("jobs/tick.yaml", "id: tick\nschedule: '@yearly'\nrunner: sh\ntask_source_path: scripts/long.sh\n")
    root.commit()
    serve()
    raw = Raw(root)
    raw.send(HELLO, READY)
    raw.call(1, "run", job="tick", wait=True)
    until((tmp_path / "begun").exists, "the run")
    assert raw.hang_up() == 0
    assert [run["status"] for run in root.runs("tick")] == ["running"]
    (tmp_path / "go").touch()
    until(lambda: root.runs("tick")[0]["status"] == "succeeded", "the end of the run")


def test_an_answer_that_holds_what_no_utf8_can_is_sent_all_the_same() -> None:
    found = server._result({"path": "jobs/\udcff.yaml", "name": "ü"})
    assert found.structured_content == {"path": "jobs/?.yaml", "name": "ü"}
    assert json.loads(found.model_dump_json(by_alias=True))["structuredContent"] == found.structured_content


def test_an_answer_that_is_too_long_to_read_is_an_error_that_says_so() -> None:
    found = server._result({"task": "x" * server.MOST_BYTES})
    assert found.is_error
    assert "ask for less" in found.structured_content["error"]["hint"]


# -- how it starts -------------------------------------------------------------------------------


def test_without_the_extra_the_command_says_what_to_install(root: Root, tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without/sitecustomize.py").write_text(
        "import sys\nsys.modules['mcp_types'] = sys.modules['mcp'] = None\n"
    )
    env = {**environment(), "PYTHONPATH": f"{tmp_path}/without:{REPOSITORY}"}
    command = [sys.executable, "-m", "scheduler", "mcp"]
    found = subprocess.run(command, env=env, capture_output=True, text=True, input="")
    assert (found.returncode, found.stdout) == (5, "")
    assert "`scheduler mcp` needs the extra `mcp`, which is not installed" in found.stderr
    assert "pip install 'gitops-scheduler[mcp]'" in found.stderr


def test_where_there_is_no_root_it_says_so_before_it_speaks_the_protocol(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scheduler", "mcp", "--root", str(tmp_path)]
    found = subprocess.run(command, env=environment(), capture_output=True, text=True, input="")
    assert (found.returncode, found.stdout) == (2, "")
    assert "scheduler.yaml" in found.stderr
