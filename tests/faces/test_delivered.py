"""A real daemon, its sender and a real sink: what happens arrives, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.delivery.sinks import HttpSink, http_sink
from tests.faces.conftest import Root
from tests.faces.served import Served, root, serve
from tests.helpers import ROOT_FILE, until

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
