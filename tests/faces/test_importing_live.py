"""An import into a root whose daemon is firing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faces import served
from tests.faces.conftest import Root
from tests.faces.test_importing import phantom
from tests.helpers import until

root, serve = served.root, served.serve  # the fixtures


def test_a_daemon_takes_over_what_is_imported(root: Root, serve: Callable[..., Any], tmp_path: Path) -> None:
    source = phantom(
        tmp_path / "p.db",
        {"id": "a", "name": "A", "schedule_kind": "every", "schedule_value": '{"intervalMs": 1000}', "run_count": 5},
        {
            "id": "b",
            "name": "B",
            "status": "paused",
            "schedule_kind": "every",
            "schedule_value": '{"intervalMs": 1000}',
        },
    )
    serve()
    assert root.process("import", "phantom", str(source)).code == 0
    made = root.job("a")["created_at"]
    assert made == "2026-01-01T00:00:00Z"
    until(lambda: root.job("a")["run_count"] > 5, "a run that counts on")
    assert (root.job("b")["status"], root.job("b")["run_count"]) == ("paused", 0)


def test_what_is_imported_paused_never_fires_before_it_is_resumed(
    root: Root, serve: Callable[..., Any], tmp_path: Path
) -> None:
    tab = tmp_path / "tab"
    tab.write_text("* * * * * hello\n")
    serve()
    refused = root.process("import", "crontab", str(tab), "--no-sync")
    assert (refused.code, "nothing was written" in refused.stderr) == (3, True)
    assert not (root.path / "jobs/imported").exists()
    found = root.process("import", "crontab", str(tab), "--paused", "--runner", "sh")
    assert (found.code, "scheduler resume hello" in found.stderr) == (0, True), found
    (create, *_) = [row for row in root.json("audit", "hello")["audit"] if row["action"] == "create"]
    assert create["at"] >= root.job("hello")["paused"]["at"], "from its first moment"
    tab.write_text("* * * * * bye\n")
    live = root.process("import", "crontab", str(tab), "--runner", "sh")
    assert "a daemon fires these jobs now" in live.stderr
    assert live.stderr.splitlines()[-1] == "  scheduler pause bye"
