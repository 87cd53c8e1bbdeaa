"""One run: its facts, output and text."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.responses import JSONResponse

from scheduler.core.answers import ShowRunJson, TaskJson
from scheduler.core.comparisons import DiffJson
from scheduler.core.views import run_json, task_json
from scheduler.service.history import output_part, show_run, task
from scheduler.service.run import cancel_run
from scheduler.service.versions import diff
from scheduler.web.api.asked import RunId, known_query, the_run
from scheduler.web.api.jobs import Requested
from scheduler.web.calls import Operator, Viewer

router = APIRouter(prefix="/api/runs", tags=["runs"], dependencies=[Depends(known_query)])
MOST_BYTES = 1024 * 1024  # of one answer


@router.get("/{run_id}")
def run(call: Viewer, run_id: RunId) -> ShowRunJson:
    """One run: why it exists, its attempts, how it ended, its last lines of output."""
    return show_run(call.root, the_run(call, run_id))


@router.get("/{run_id}/output", response_class=Response)
def run_output(
    call: Viewer,
    request: Request,
    run_id: RunId,
    stream: Literal["stdout", "stderr"] = "stdout",
    start: Annotated[
        int | None, Query(ge=0, le=2**40, description="First byte. Default: the end of the output.")
    ] = None,
    most: Annotated[int, Query(ge=1, le=MOST_BYTES, description="At most so many bytes.")] = MOST_BYTES,
    attempt: Annotated[int | None, Query(ge=1, le=2**31, description="Default: the last one.")] = None,
) -> Any:
    """A part of the captured output; as JSON with `Accept: application/json`. `next` is the byte after it."""
    part = output_part(call.root, the_run(call, run_id), stream, start=start, most=most, attempt=attempt)
    text, end = part.data.decode(errors="replace"), part.start + len(part.data)
    if "application/json" in request.headers.get("accept", ""):
        told = {"run_id": part.run.id, "stream": stream, "text": text, "start": part.start, "next": end}
        told |= {"bytes": part.total, "finished": part.run.status.finished, "truncated": part.run.truncated}
        return JSONResponse(told)
    headers = {
        "X-Content-Type-Options": "nosniff",
        "X-Output-Start": str(part.start),
        "X-Output-Bytes": str(part.total),
    }
    return Response(text, media_type="text/plain; charset=utf-8", headers=headers)


@router.get("/{run_id}/task")
def run_task(call: Viewer, run_id: RunId) -> TaskJson:
    """The exact text that ran."""
    return task_json(*task(call.root, the_run(call, run_id)))


@router.get("/{run_id}/diff")
def run_diff(
    call: Viewer, run_id: RunId, other: Annotated[str | None, Query(alias="with", max_length=220)] = None
) -> DiffJson:
    """The run compared with another one, or with now."""
    return diff(call.root, the_run(call, run_id), None if other is None else the_run(call, other)).json


@router.post("/{run_id}/cancel")
def cancel(call: Operator, run_id: RunId) -> Requested:
    """Stop a run."""
    return {"run": run_json(cancel_run(call.root, the_run(call, run_id)))}
