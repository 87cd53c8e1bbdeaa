"""Edits of jobs that a daemon is firing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from tests.faces import served
from tests.faces.conftest import Root
from tests.faces.test_editing import edit
from tests.helpers import until

root, serve = served.root, served.serve  # the fixtures


def test_with_a_daemon_an_edit_is_applied_at_once_and_the_next_fire_runs_it(
    root: Root, serve: Callable[..., Any]
) -> None:
    serve()
    until(lambda: root.job("tick")["run_count"] >= 1, "a first run")
    found = edit(root, "update", "tick", "--task-file", "-", "--commit", text="second\n")
    assert (found["applied"], found["commit"]) == ("now", root.git("rev-parse", "HEAD"))
    assert found["job"]["task_sha256"] == hashlib.sha256(b"second\n").hexdigest()

    def ran() -> Any:
        runs = [run for run in root.runs("tick") if run["task_sha256"] == found["job"]["task_sha256"]]
        return next((run for run in runs if run["status"] == "succeeded"), None)

    run = until(ran, "a run of the new text")
    assert (run["revision"], run["dirty"], run["result"]) == (found["commit"], None, "second\n")
    found = edit(root, "update", "tick", "--set", "name=Tock", "--set", "enabled=false")
    assert (found["applied"], found["job"]["status"], found["job"]["name"]) == ("now", "disabled", "Tock")
    assert found["job"]["run_count"] >= int(run["id"].partition(":")[2])
