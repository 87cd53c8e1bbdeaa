"""A real daemon, its sender and a real sink: what happens arrives, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler.machine.clock import SystemClock
from tests.delivery.sinks import HttpSink, http_sink
from tests.faces.conftest import Root
from tests.faces.served import Served, root, serve
from tests.faces.test_tool import ask, refused
from tests.helpers import ROOT_FILE, call, until

__all__ = ["root", "serve"]  # fixtures

Serve = Callable[..., Served]
SECRET = "canary-5b1d2f"
CHANNELS = """\
channels:
  ci: {{webhook: "{url}/hook", secret: "${{env:HOOK}}"}}
"""

JOB = "id: tick\nschedule: {every: 1s}\nrunner: sh\ndeliver: [ci]\n"


def told(sink: HttpSink) -> list[tuple[str, str]]:
    found = [json.loads(each.body) for each in [*sink.received]]
    return [(each["kind"], each["key"]) for each in found]


def test_a_failure_and_its_recovery_arrive_once_at_a_signed_webhook(root: Root, serve: Serve) -> None:
    with http_sink() as sink:
        root.write("scheduler.yaml", ROOT_FILE + CHANNELS.format(url=sink.url))
        root.write("jobs/tick.yaml", JOB + "task: exit 3\n")
        daemon = serve(HOOK=SECRET)
        until(lambda: told(sink) or None, "the failure")
        root.write("jobs/tick.yaml", JOB + "task: exit 0\n")
        until(lambda: len(told(sink)) > 1 or None, "the recovery")
        assert daemon.stop() == 0
        kinds = [kind for kind, _ in told(sink)]
        assert kinds[:2] == ["failure", "recovery"]
        assert len({key for _, key in told(sink)}) == len(kinds), "each once"
        headers: dict[str, Any] = sink.received[0].headers
        assert headers["webhook-signature"].startswith("v1,")
        assert SECRET not in daemon.stderr


def test_a_channel_is_tested_through_the_daemon_and_what_it_refuses_can_be_sent_again(root: Root, serve: Serve) -> None:
    with http_sink(401) as sink:
        root.write("scheduler.yaml", ROOT_FILE + CHANNELS.format(url=sink.url))
        refused = call("channels", "test", "ci")
        assert (refused.code, "no daemon is running" in refused.stderr) == (3, True)
        serve(HOOK=SECRET)
        unknown = call("channels", "test", "cj")
        assert (unknown.code, "the channels are ci" in unknown.stderr) == (2, True)
        failed = call("channels", "test", "ci", "--json")
        assert failed.code == 1
        assert failed.json["delivered"] is False
        assert "401" in failed.json["error"]
        (channel,) = root.json("channels", "list")["channels"]
        assert (channel["name"], channel["dead_since"] is not None, channel["waiting"]) == ("ci", True, 0)
        (dead,) = root.json("status")["channels"]["dead"]
        assert (dead["name"], dead["error"]) == ("ci", failed.json["error"])
        checks = root.cli("doctor", "--json").json["checks"]
        assert ("delivery", "error", dead["message"]) in [
            (each["name"], each["status"], each["message"]) for each in checks
        ]
        (row,) = root.json("deliveries", "--failed")["deliveries"]
        assert (row["event"], row["status"].startswith("error:"), row["tries"]) == ("test", True, 1)
        sink.mode = 200
        assert root.ok("channels", "test", "ci").stdout == "ci: delivered\n"
        assert root.json("status")["channels"]["dead"] == []
        assert root.json("channels", "test", "ci", "--kind", "failure")["sample"] == "failure"
        sample = json.loads(sink.received[-1].body)
        assert (sample["kind"], sample["facts"], sample["run"]["status"]) == ("test", {"sample": "failure"}, "failed")
        again = root.json("deliveries", "retry", str(row["id"]))
        assert again["status"] == "pending"
        until(lambda: root.json("deliveries")["deliveries"][-1]["status"] == "delivered" or None, "the first message")
        tokens = [each.headers["webhook-id"] for each in sink.received]
        assert tokens[0] == tokens[-1] not in tokens[1:-1], "a message keeps its token"
        assert call("deliveries", "retry", str(row["id"])).code == 3
        assert "delivered" in root.ok("deliveries", "--channel", "ci").stdout
        assert root.ok("deliveries", "tick").stderr == "no deliveries\n"
        assert "there is no job 'tock'" in call("deliveries", "tock").stderr
        assert call("deliveries", "tick", "3").code == 2

        sink.mode = 503
        root.cli("channels", "test", "ci")
        assert "503" in root.json("channels", "list")["channels"][0]["error"]
        root.write("scheduler.yaml", ROOT_FILE + CHANNELS.format(url=sink.url + "/other"))
        root.ok("sync")
        assert root.json("channels", "list")["channels"][0]["error"] is None, "nothing is known of the new address"
        root.write("scheduler.yaml", ROOT_FILE)
        root.ok("sync")
        refused = root.cli("deliveries", "retry", str(root.json("deliveries")["deliveries"][0]["id"]))
        assert (refused.code, "there is no channel ci" in refused.stderr) == (3, True), "else it is dropped again"


def test_a_person_sees_what_a_failure_will_look_like_before_there_is_one(root: Root, serve: Serve) -> None:
    with http_sink() as sink:
        url = f"json://{sink.url.removeprefix('http://')}/people"
        text = f'{ROOT_FILE}channels:\n  people: {{url: "{url}?+X-Key=${{env:KEY}}"}}\n'
        root.write("scheduler.yaml", text + "agents: {jobs: ['*'], verbs: [test_channel]}\n")
        serve(KEY=SECRET)
        assert root.ok("channels", "test", "people", "--kind", "failure").stdout == "people: delivered\n"
        (arrived,) = sink.received
        message = json.loads(arrived.body)
        assert message["title"].endswith("] TEST: example failed")
        assert message["message"].startswith("this is a test message; none of this has happened\nexit code 3 after 41s")
        (row,) = root.json("deliveries")["deliveries"]
        assert (row["event"], row["job_id"], row["status"]) == ("test", None, "delivered")
        shown = root.cli("channels", "test", "people", "--dry-run", "--kind", "failure", "--json")
        assert shown.code == 1, "the variable is the daemon's"
        assert shown.json["message"]["title"] == message["title"]
        assert len(sink.received) == 1
        assert "agents.verbs allows test_channel" in refused(root, "retry_delivery", id=row["id"])
        seen = replace(root, clock=SystemClock())  # type: ignore[arg-type]
        assert ask(seen, "test_channel", channel="people") == {
            "channel": "people", "sample": "test", "delivered": True,
        }  # fmt: skip
        assert json.loads(sink.received[-1].body)["title"].endswith("] test message")


def test_a_daemon_that_serves_once_sends_what_is_due_before_it_ends(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", SECRET)
    with http_sink() as sink, http_sink(500) as refusing:
        two = CHANNELS + '  cd: {{webhook: "{other}/hook", secret: "${{env:HOOK}}"}}\n'
        root.write("scheduler.yaml", ROOT_FILE + two.format(url=sink.url, other=refusing.url))
        root.write("jobs/tick.yaml", JOB.replace("[ci]", "[ci, cd]") + "task: exit 3\n")
        root.sync()
        until(lambda: datetime.fromisoformat(root.job("tick")["next_run_at"]) < datetime.now(UTC), "a slot")
        assert root.process("serve", "--once").code == 1
        assert [kind for kind, _ in told(sink)] == ["failure"]
        rows = {row["channel"]: row["status"] for row in root.json("deliveries")["deliveries"]}
        assert rows == {"ci": "delivered", "cd": "pending"}, "what is refused waits for the next one"
