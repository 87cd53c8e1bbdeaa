"""The tool over HTTP: the SDK's own client against a real server."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from mcp import Client

from scheduler.core.values.access import Caller, Role
from scheduler.tool.arguments import EDIT_TOOL, READ_TOOL, READS
from scheduler.web import mcp
from scheduler.web.calls import AccessError
from tests.faces.conftest import ROOT_FILE, Root
from tests.helpers import until
from tests.web.bare import OpenGuard, bare_app, running, service_root

POLICY = """\
agents:
  jobs: ["tag:agent", tick, slow]
  verbs: [update, run, pause, sync, cancel]
  edits: working-tree
"""
SLOW = "id: slow\nschedule: '@yearly'\nrunner: shell\ntask_source_path: scripts/slow.sh\n"
Ask = Callable[..., Coroutine[Any, Any, Any]]


@pytest.fixture
def app(lived_in: Root) -> Any:
    lived_in.write("scheduler.yaml", ROOT_FILE + POLICY)
    lived_in.write("jobs/slow.yaml", SLOW)
    lived_in.write("scripts/slow.sh", "exec sleep 60\n")
    lived_in.commit()
    lived_in.sync()
    return bare_app(service_root(lived_in.path), mcp.router, caller=caller(Role.ADMIN))


@pytest.fixture
def address(app: Any) -> Iterator[str]:
    with running(app) as found:
        yield found


def caller(role: Role, *jobs: str) -> Caller:
    return Caller(actor="token:claude", role=role, jobs=jobs)


@contextlib.asynccontextmanager
async def agent(address: str) -> AsyncIterator[Ask]:
    """`ask(action, ...)` gives the answer, or the message of the error."""
    async with Client(f"{address}/mcp") as client:

        async def ask(action: str, **given: Any) -> Any:
            tool = READ_TOOL if action in READS else EDIT_TOOL
            found = await client.call_tool(tool, {"action": action, **given})
            told: Any = found.structured_content
            return told["error"]["message"] if found.is_error else told

        yield ask


def asked(address: str, *calls: dict[str, Any]) -> list[Any]:
    async def go() -> list[Any]:
        async with agent(address) as ask:
            return [await ask(**each) for each in calls]

    return anyio.run(go)


def raw(address: str, method: str = "POST", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    try:
        connection.request(method, "/mcp", b"{}" if method == "POST" else None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_an_agent_reads_pauses_and_edits_as_an_agent(lived_in: Root, address: str) -> None:
    listed, paused, edited = asked(
        address,
        {"action": "list"},
        {"action": "pause", "job": "tick"},
        {"action": "update", "job": "heartbeat", "task": "Look again.\n"},
    )
    assert "heartbeat" in {job["id"] for job in listed["jobs"]}
    assert paused["job"]["status"] == "paused"
    assert edited["applied"] == "now"
    actors = {row["actor"] for row in lived_in.json("audit", "tick")["audit"] if row["action"] == "pause"}
    assert actors == {"agent:claude"}


def test_the_policy_for_agents_applies_besides_the_role(address: str) -> None:
    told, deleted = asked(address, {"action": "run", "job": "flaky"}, {"action": "delete", "job": "tick"})
    assert "agents cannot run job 'flaky'" in told
    assert "agents cannot delete" in deleted


@pytest.mark.parametrize(
    ("role", "refused"), [(Role.VIEWER, "needs operator"), (Role.OPERATOR, None), (Role.APPROVER, None)]
)
def test_operations_need_an_operator(app: Any, address: str, role: Role, refused: str | None) -> None:
    app.state.guard = OpenGuard(caller(role))
    listed, told = asked(address, {"action": "list"}, {"action": "pause", "job": "tick"})
    assert listed["jobs"]
    assert refused in told if refused else "job" in told


@pytest.mark.parametrize(("role", "refused"), [(Role.OPERATOR, "needs approver"), (Role.APPROVER, None)])
def test_edits_need_an_approver(app: Any, address: str, role: Role, refused: str | None) -> None:
    app.state.guard = OpenGuard(caller(role))
    (told,) = asked(address, {"action": "update", "job": "tick", "task": "Tock.\n"})
    assert refused in told if refused else told["applied"] == "now"


def test_a_token_of_some_jobs_reaches_no_others(app: Any, address: str) -> None:
    app.state.guard = OpenGuard(caller(Role.ADMIN, "tick", "tag:hourly"))
    listed, own, tagged, *others = asked(
        address,
        {"action": "list"},
        {"action": "show", "job": "tick"},
        {"action": "history", "job": "heartbeat"},
        {"action": "show", "job": "flaky"},
        {"action": "output", "run": "flaky:1"},
        {"action": "diff", "before": "tick:1", "after": "flaky:1"},
        {"action": "next", "jobs": ["tick", "flaky"]},
        {"action": "update", "job": "triage", "task": "x"},
        {"action": "run", "job": "tick", "task_of": "flaky:1"},
        {"action": "rollback", "job": "tick", "to": "flaky:1"},
        {"action": "history"},
        {"action": "status"},
        {"action": "validate"},
        {"action": "resume", "account": "x"},
    )
    assert {job["id"] for job in listed["jobs"]} == {"tick", "heartbeat"}
    assert "flaky" not in json.dumps(listed)
    assert own["job"]["id"] == "tick"
    assert tagged["runs"]
    for told in others:
        assert "reaches only the jobs tick, tag:hourly" in told


def test_the_start_of_an_id_is_not_a_pattern_for_the_rest(app: Any, address: str) -> None:
    app.state.guard = OpenGuard(caller(Role.ADMIN, "flak"))
    assert asked(address, {"action": "show", "job": "flak"}, {"action": "output", "run": "flak"}) == [
        "there is no job 'flak'",
        "there is no job 'flak'",
    ]


def test_a_caller_who_is_not_let_in_gets_no_protocol(app: Any, address: str) -> None:
    app.state.guard.error = AccessError(401, "no token")
    assert raw(address)[0] == 401
    assert raw(address, "GET")[0] == 405
    assert raw(address, "DELETE")[0] == 405


def test_what_is_no_message_and_what_is_too_long_is_refused(address: str) -> None:
    json_headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    assert 400 <= raw(address, **json_headers)[0] < 500
    assert raw(address, **json_headers, **{"Content-Length": str(20 * 2**20)})[0] == 413


def test_a_client_that_disconnects_during_a_wait_ends_the_wait(lived_in: Root, app: Any, address: str) -> None:
    async def go() -> None:
        async with agent(address) as ask:
            with anyio.move_on_after(3):
                await ask("run", job="slow", wait=True)

    anyio.run(go)

    def ended() -> bool | None:
        (run, *_) = lived_in.runs("slow")
        return run["status"] != "running" or None

    until(ended, "the run that was waited for here has been stopped", within=20)


def test_livez_answers_beside_thirty_calls_at_once(address: str) -> None:
    answered = 0

    async def go() -> None:
        nonlocal answered

        async def call() -> None:
            nonlocal answered
            await ask("list")
            answered += 1

        async with agent(address) as ask, anyio.create_task_group() as group:
            for _ in range(30):
                group.start_soon(call)
            for _ in range(10):
                await anyio.to_thread.run_sync(alive, address)  # raises if it has to wait for long

    anyio.run(go)
    assert answered == 30


def alive(address: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    try:
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200
    finally:
        connection.close()
