"""Channels and deliveries through the tool: read by every agent, sent to by those that may."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.core.values.problems import RefusedError
from scheduler.ledger import outbox
from scheduler.ledger.store import Store
from tests.faces.conftest import Root
from tests.faces.test_cli import unheard
from tests.faces.test_tool import allow, ask, refused


@pytest.fixture
def quiet(root: Root) -> Root:
    """Three channels; of two messages about a failure, one was delivered, and the other was given up."""
    unheard(root)
    with Store.open(root.db, create=False) as store, store.writing() as sql:
        late = [each for each in outbox.waiting(sql) if each.channel == "mail"]
        outbox.settle(sql, late, status="error", reason="gave_up", now=root.clock.now())
    return root


def given_up(root: Root) -> Any:
    (found,) = ask(root, "deliveries", channel="mail")["deliveries"]
    return found


def test_every_agent_reads_channels_and_deliveries(quiet: Root) -> None:
    found = {each["name"]: each for each in ask(quiet, "channels")["channels"]}
    assert [*found] == ["ci", "mail", "old"]
    assert found["mail"]["error"] == "HTTP 401 Unauthorized: wrong password"
    assert "dead_since" in found["mail"]
    assert "error" not in found["ci"]
    told = ask(quiet, "deliveries", job="flaky")["deliveries"]
    assert {each["channel"]: each["status"] for each in told} == {
        "ping:flaky": "pending", "ci": "delivered", "mail": "error:gave_up",
    }  # fmt: skip
    assert [each["channel"] for each in ask(quiet, "deliveries", failed=True)["deliveries"]] == ["mail"]
    assert len(ask(quiet, "deliveries", n=1)["deliveries"]) == 1
    status = ask(quiet, "status")
    assert "2 channels are dead" in status["attention"]
    assert (status["channels"]["total"], len(status["channels"]["dead"])) == (3, 2)


def test_a_status_without_channels_says_nothing_of_them(lived_in: Root) -> None:
    assert "channels" not in ask(lived_in, "status")


def test_a_run_says_who_was_told_of_it(quiet: Root) -> None:
    (run,) = ask(quiet, "history", job="flaky")["runs"]
    wanted = {("mail", "failure", "error:gave_up"), ("ci", "failure", "delivered")}
    assert {(each["channel"], each["event"], each["status"]) for each in run["deliveries"]} == wanted
    shown = ask(quiet, "show", run="flaky:1")["run"]["deliveries"]
    assert {each["id"] for each in shown} == {each["id"] for each in run["deliveries"]}
    (other,) = ask(quiet, "history", job="heartbeat")["runs"]
    assert "deliveries" not in other


def test_an_agent_sends_no_message_unless_its_policy_says_so(quiet: Root) -> None:
    number = given_up(quiet)["id"]
    calls: list[dict[str, Any]] = [
        {"action": "test_channel", "channel": "mail"},
        {"action": "retry_delivery", "id": number},
    ]
    told = ("test channels", "retry deliveries of jobs")
    for call, doing in zip(calls, told, strict=True):
        assert f"agents cannot {doing} here: scheduler.yaml has no `agents` section" in refused(quiet, **call)
    allow(quiet, "agents: {jobs: [heartbeat], verbs: [update]}\n")
    for call, doing in zip(calls, told, strict=True):
        assert f"agents cannot {doing} here; agents.verbs allows update" in refused(quiet, **call)
    allow(quiet, "agents: {jobs: [heartbeat], verbs: [retry_delivery]}\n")
    assert "agents cannot retry deliveries of job 'flaky'; agents.jobs allows heartbeat" in refused(quiet, **calls[1])


def test_an_agent_that_may_lets_a_message_wait_again(quiet: Root) -> None:
    allow(quiet, "agents: {jobs: [flaky], verbs: [retry_delivery]}\n")
    number = given_up(quiet)["id"]
    assert ask(quiet, "retry_delivery", id=number)["status"] == "pending"
    assert given_up(quiet)["status"] == "pending"
    (row,) = quiet.json("audit", "@root", "-n", "1")["audit"]
    assert (row["action"], row["field"], row["actor"]) == ("retry", f"delivery:{number}", "agent:tester")
    assert "there is no delivery 999 | " in refused(quiet, "retry_delivery", id=999)


def test_a_dry_run_needs_no_permission_and_a_test_needs_a_daemon(quiet: Root) -> None:
    found = ask(quiet, "test_channel", channel="old", kind="failure", dry_run=True)
    assert (found["ready"], found["payload"]["facts"]) == (True, {"sample": "failure"})
    assert "test_channel: " in refused(quiet, "test_channel", channel="old", kind="nonsense", dry_run=True)
    assert "there is no channel 'oldd'" in refused(quiet, "test_channel", channel="oldd", dry_run=True)
    allow(quiet, "agents: {jobs: [flaky], verbs: [test_channel]}\n")
    with pytest.raises(RefusedError, match="no daemon is running"):
        ask(quiet, "test_channel", channel="old")
