"""The jobs, and all that one of them has: runs, log, versions, explanations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NotRequired

from fastapi import APIRouter, Depends, Header, Query, Response
from typing_extensions import TypedDict

from scheduler.core.answers import (
    AuditJson,
    DaemonJson,
    ExplainJson,
    ExplainWindowJson,
    FiresJson,
    JobRowJson,
    PresentTaskJson,
    ProblemJson,
    RunJson,
    ShowJson,
)
from scheduler.core.comparisons import DiffJson, LogJson, VersionsJson
from scheduler.core.values.problems import UsageError
from scheduler.core.values.runs import RunStatus
from scheduler.core.views import run_json
from scheduler.service.history import audit, explain_slots, history, present_task
from scheduler.service.jobs import list_jobs, next_fires, show_job
from scheduler.service.pause import pause_job, resume_job
from scheduler.service.requested import request_run
from scheduler.service.versions import NEWEST, diff, list_versions, log
from scheduler.web.api.asked import Cursor, JobId, Limit, When, known_query, number_of, the_job, the_run, visible, when
from scheduler.web.api.bodies import PauseBody, RunBody
from scheduler.web.calls import Operator, Viewer

router = APIRouter(prefix="/api/jobs", tags=["jobs"], dependencies=[Depends(known_query)])


class JobsPage(TypedDict):
    jobs: Sequence[JobRowJson]
    problems: list[ProblemJson]
    next: str | None  # the cursor of the next page
    # Only for a caller who sees all jobs:
    troubles: NotRequired[list[str]]
    summary: NotRequired[dict[str, Any]]
    daemon: NotRequired[DaemonJson]
    synced: NotRequired[bool]


class RunsPage(TypedDict):
    runs: Sequence[RunJson]
    next: str | None  # the cursor of the next page


class Requested(TypedDict):
    run: RunJson


@router.get("")
def jobs(
    call: Viewer,
    status: Annotated[str | None, Query(max_length=200)] = None,
    tag: Annotated[str | None, Query(max_length=200)] = None,
    problems: bool = False,
    limit: Limit = 200,
    cursor: Cursor = None,
) -> JobsPage:
    """Jobs by id, 200 a page. The summary covers the whole root."""
    seen = visible(call)
    found = list_jobs(
        call.root, status=status, tag=tag, problems=problems, full=False, only=seen, after=cursor, limit=limit + 1
    )
    page = found["jobs"][:limit]
    following = page[-1]["id"] if len(found["jobs"]) > limit else None
    if seen is None:
        return {**found, "jobs": page, "next": following}
    wrong = [each for each in found["problems"] if each["job_id"] in seen]
    return {"jobs": page, "problems": wrong, "next": following}


@router.get("/{job_id}", responses={304: {"description": "The job still has the version of If-None-Match."}})
def job(
    call: Viewer,
    job_id: JobId,
    response: Response,
    if_none_match: Annotated[str | None, Header(max_length=1_000)] = None,
) -> ShowJson:
    """One job. `ETag` is its version, for `If-Match` of an edit."""
    found = show_job(call.root, the_job(call, job_id))
    tag = f'"{found["job"]["version"]}"'
    asked = {each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")}
    if tag in asked or "*" in asked:
        return Response(status_code=304, headers={"ETag": tag})  # type: ignore[return-value]
    response.headers["ETag"] = tag
    return found


@router.get("/{job_id}/runs")
def runs(
    call: Viewer,
    job_id: JobId,
    status: RunStatus | None = None,
    since: When = None,
    failed: bool = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> RunsPage:
    """Runs and skips of a job, newest first."""
    named = the_job(call, job_id)
    begun = when(call.root, since, "since", [named])
    before = number_of(cursor)
    found = history(call.root, named, count=limit, status=status, since=begun, failed=failed, before=before)
    following = found["runs"][-1]["id"].rpartition(":")[2] if found["more"] else None
    return {"runs": found["runs"], "next": following}


@router.get("/{job_id}/log")
def job_log(call: Viewer, job_id: JobId, limit: Limit = 50) -> LogJson:
    """Runs and edits on one timeline."""
    return log(call.root, the_job(call, job_id), count=limit)


@router.get("/{job_id}/versions")
def versions(call: Viewer, job_id: JobId, limit: Limit = 50) -> VersionsJson:
    """The texts of the newest 10,000 runs and skips, and how their runs did."""
    return list_versions(call.root, the_job(call, job_id), count=limit, newest=NEWEST)


@router.get("/{job_id}/diff")
def job_diff(call: Viewer, job_id: JobId) -> DiffJson:
    """The last success compared with now."""
    return diff(call.root, the_job(call, job_id)).json


@router.get("/{job_id}/explain")
def explain(
    call: Viewer,
    job_id: JobId,
    at: When = None,
    start: Annotated[str | None, Query(alias="from", max_length=100)] = None,
    end: Annotated[str | None, Query(alias="to", max_length=100)] = None,
) -> ExplainJson | ExplainWindowJson:
    """Why the job did, did not or will not run at an instant, or what its slots in a range came to."""
    named = the_job(call, job_id)
    if at is not None and (start is not None or end is not None):
        raise UsageError("at cannot be combined with from and to", hint="leave one of them out")
    moments = {
        name: when(call.root, value, name, [named]) for name, value in (("at", at), ("from", start), ("to", end))
    }
    return explain_slots(call.root, named, at=moments["at"], start=moments["from"], until=moments["to"])


@router.get("/{job_id}/next")
def coming(
    call: Viewer,
    job_id: JobId,
    n: Annotated[int, Query(ge=1, le=1_000)] = 5,
    start: Annotated[str | None, Query(alias="from", max_length=100)] = None,
    end: Annotated[str | None, Query(alias="to", max_length=100)] = None,
) -> FiresJson:
    """The next fires of one job."""
    named = the_job(call, job_id)
    begin, until = (when(call.root, value, name, [named]) for name, value in (("from", start), ("to", end)))
    return next_fires(call.root, [named], count=n, start=begin, until=until)


@router.get("/{job_id}/task")
def task_now(call: Viewer, job_id: JobId) -> PresentTaskJson:
    """The text that a run would get now."""
    return present_task(call.root, the_job(call, job_id))


@router.get("/{job_id}/audit")
def job_audit(call: Viewer, job_id: JobId, limit: Limit = 50) -> AuditJson:
    """The newest changes of a job, oldest first."""
    return audit(call.root, the_job(call, job_id), count=limit)


@router.post("/{job_id}/run", status_code=202)
def run(
    call: Operator,
    job_id: JobId,
    body: RunBody | None = None,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> Requested:
    """Start a run. A repeated `Idempotency-Key` gets the run of the first request."""
    named = the_job(call, job_id)
    origin = None if body is None or body.task_of is None else the_run(call, body.task_of)
    return {"run": run_json(request_run(call.root, named, task_of=origin, key=idempotency_key))}


@router.post("/{job_id}/pause")
def pause(call: Operator, job_id: JobId, body: PauseBody | None = None) -> ShowJson:
    """Pause a job; its file does not change."""
    named, asked = the_job(call, job_id), body or PauseBody()
    if asked.next and asked.until is not None:
        raise UsageError("next and until cannot be combined", hint="leave until out")
    until = when(call.root, asked.until, "until", [named])
    return pause_job(call.root, named, reason=asked.reason, until=until, one_slot=asked.next)


@router.post("/{job_id}/resume")
def resume(call: Operator, job_id: JobId) -> ShowJson:
    """End a pause, or restart a stopped job."""
    return resume_job(call.root, the_job(call, job_id))
