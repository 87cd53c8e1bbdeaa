"""`scheduler serve` as a process on a root of its own, and what it has said."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.faces.conftest import Root
from tests.helpers import REPOSITORY, ROOT_FILE, Daemon

TICK = "id: tick\nschedule: {every: 1s}\ntask_source_path: prompts/tick.md\n"


class Served(Daemon):
    def __init__(
        self,
        root: Root,
        *args: str,
        before: Callable[[], None] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "scheduler", "serve"),
        **env: str,
    ) -> None:
        """command: what starts one."""
        super().__init__(
            [*command, *args], {**os.environ, "PYTHONPATH": str(REPOSITORY), **env}, cwd=root.path, before=before
        )


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    """One job that fires every second, by the system's clock."""
    found = Root(path=tmp_path / "root", clock=None)  # type: ignore[arg-type]
    for path, text in {
        "scheduler.yaml": ROOT_FILE,
        "jobs/tick.yaml": TICK,
        "prompts/tick.md": "first\n",
        ".gitignore": ".scheduler/\n",
    }.items():
        found.write(path, text)
    found.git("init", "-q", "--template=")
    found.commit()
    monkeypatch.chdir(found.path)
    return found


@pytest.fixture
def serve(root: Root) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(*args: str, waits: bool = True, **env: str) -> Served:
        started.append(Served(root, *args, **env))  # type: ignore[arg-type]
        if waits:
            started[-1].says(" serving root=")
        return started[-1]

    yield start
    for each in started:
        if each.alive:
            each.kill()


def ran(root: Root, text: str, job_id: str = "tick") -> Any:
    """The newest run that was given this text."""
    return next((run for run in root.runs(job_id) if run["result"] == text), None)
