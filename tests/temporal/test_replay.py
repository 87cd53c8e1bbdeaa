"""The frozen workflow still does what it did: kept histories are replayed, in the sandbox of Temporal's library."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from scheduler.run.temporal.workflow import Run

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_a_kept_history_is_replayed_without_a_difference(path: Path) -> None:
    history = WorkflowHistory.from_json(path.stem, path.read_text(encoding="utf-8"))
    asyncio.run(Replayer(workflows=[Run]).replay_workflow(history))


def test_there_is_a_history_of_each_way_to_end() -> None:
    assert {path.stem for path in HISTORIES} >= {"succeeded", "cancelled", "lost", "died", "unstarted", "unbegun"}
