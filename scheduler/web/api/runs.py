"""Runs over HTTP: what ran, what it wrote, and stopping one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from typing_extensions import TypedDict

from scheduler.core.answers import ExplainJson, HistoryJson, RunJson, ShowRunJson, TaskJson
from scheduler.core.comparisons import DiffJson
from scheduler.core.values.runs import RunStatus
from scheduler.core.views import run_json, task_json
from scheduler.service import history as past
from scheduler.service.output import Captured, captured
from scheduler.service.run import cancel_run
from scheduler.service.versions import diff
from scheduler.web.api.parameters import Limit, RunId, When, moment
from scheduler.web.calls import Operator, Viewer

PIECE = 64 * 1024
router = APIRouter(prefix="/api", tags=["runs"])


class Cancelled(TypedDict):
    run: RunJson


@router.get("/history")
def history(
    call: Viewer, status: RunStatus | None = None, failed: bool = False, since: When = None, limit: Limit = 50
) -> HistoryJson:
    """List runs and skips of all jobs: those under way, then the others by when they ended, newest first."""
    call.need_all()
    return past.history(call.root, count=limit, status=status, since=moment(call.root, since), failed=failed)


@router.get("/runs/{run_id}")
def show(call: Viewer, run_id: RunId) -> ShowRunJson:
    """Show one run: why it ran, its attempts, how it ended, its last lines."""
    call.need_run(run_id)
    return past.show_run(call.root, run_id)


@router.get("/runs/{run_id}/task")
def task(call: Viewer, run_id: RunId) -> TaskJson:
    """Give the exact text that a run was given."""
    call.need_run(run_id)
    return task_json(*past.task(call.root, run_id))


@router.get("/runs/{run_id}/explain")
def explain(call: Viewer, run_id: RunId) -> ExplainJson:
    """Say why a run started, and why it ended as it did."""
    call.need_run(run_id)
    return past.explain_run_of(call.root, run_id)


@router.get("/runs/{run_id}/diff")
def difference(
    call: Viewer, run_id: RunId, other: Annotated[str | None, Query(alias="with", max_length=220)] = None
) -> DiffJson:
    """Compare a run with another one, or with its job as it is."""
    call.need_run(run_id)
    if other is not None:
        call.need_run(other)
    return diff(call.root, run_id, other).json


@router.get(
    "/runs/{run_id}/output",
    response_class=StreamingResponse,
    responses={200: {"description": "What the run wrote", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def output(
    call: Viewer,
    run_id: RunId,
    stream: Literal["stdout", "stderr"] = "stdout",
    attempt: Annotated[int | None, Query(ge=1, le=10_000)] = None,
    tail: Annotated[int | None, Query(ge=1, le=2**40, description="The last bytes only")] = None,
) -> StreamingResponse:
    """Give what a run wrote, as text. It is read and sent in pieces, whatever its size."""
    call.need_run(run_id)
    found = captured(call.root, run_id, stream, attempt=attempt, tail=tail)
    headers = {"content-length": str(found.bytes), "content-disposition": "inline", "x-run": found.run_id}
    return StreamingResponse(_pieces(found), media_type="text/plain; charset=utf-8", headers=headers)


def _pieces(found: Captured) -> Iterator[bytes]:
    with found.file as file:
        left = found.bytes
        while left > 0 and (piece := file.read(min(PIECE, left))):
            left -= len(piece)
            yield piece


@router.post("/runs/{run_id}/cancel")
def cancel(call: Operator, run_id: RunId) -> Cancelled:
    """Stop a run, and answer once it has ended."""
    call.need_run(run_id)
    return {"run": run_json(cancel_run(call.root, run_id))}
