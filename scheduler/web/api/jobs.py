"""Jobs over HTTP: reading them, and pausing, resuming and running one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from scheduler.core.answers import (
    AuditJson,
    ExplainJson,
    ExplainWindowJson,
    FiresJson,
    HistoryJson,
    ListJson,
    PresentTaskJson,
    RunJson,
    ShowJson,
)
from scheduler.core.comparisons import DiffJson, LogJson, VersionsJson
from scheduler.core.values.problems import UsageError
from scheduler.core.values.runs import RunStatus
from scheduler.service.history import audit, explain_slots, history, present_task
from scheduler.service.jobs import list_jobs, next_fires, show_job
from scheduler.service.once import run_once
from scheduler.service.pause import pause_job, resume_job
from scheduler.service.versions import diff, list_versions, log
from scheduler.web.api.parameters import JobId, Limit, When, moment
from scheduler.web.calls import Operator, Viewer

PAGE = 200
router = APIRouter(prefix="/api/jobs", tags=["jobs"])


class JobsPage(ListJson):
    next_cursor: str | None  # for the next page; None after the last one


class HistoryPage(HistoryJson):
    next_cursor: str | None


class Requested(TypedDict):
    run: RunJson


@router.get("")
def list_(
    call: Viewer,
    status: Annotated[str | None, Query(max_length=200)] = None,
    tag: Annotated[str | None, Query(max_length=200)] = None,
    problems: bool = False,
    limit: Limit = PAGE,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> JobsPage:
    """List jobs by id. The summary covers all jobs that the caller may see the list of."""
    found = list_jobs(call.root, status=status, tag=tag, problems=problems, full=False)
    seen = [job for job in found["jobs"] if call.sees(job["id"], job["tags"])]
    wanted = [job for job in seen if cursor is None or job["id"] > cursor]
    page = wanted[:limit]
    after = page[-1]["id"] if len(wanted) > limit else None
    if call.caller.jobs:  # what else there is, is none of the caller's business
        mine = {job["id"] for job in seen}
        about = [each for each in found["problems"] if each["job_id"] in mine]
        return {**found, "jobs": page, "problems": about, "troubles": [], "summary": {}, "next_cursor": after}
    return {**found, "jobs": page, "next_cursor": after}


@router.get("/{job_id}", responses={304: {"description": "The job is still as `If-None-Match` has it"}})
def show(
    call: Viewer, job_id: JobId, response: Response, if_none_match: Annotated[str, Header(max_length=1_000)] = ""
) -> ShowJson:
    """Show one job: its definition, its state, its next fires. The `ETag` is its `version`."""
    call.need_job(job_id)
    found = show_job(call.root, job_id)
    etag = f'"{found["job"]["version"]}"'
    if etag in (each.strip().removeprefix("W/") for each in if_none_match.split(",")):
        return Response(status_code=304, headers={"etag": etag})  # type: ignore[return-value]
    response.headers["etag"] = etag
    return found


@router.get("/{job_id}/runs")
def runs(
    call: Viewer,
    job_id: JobId,
    status: RunStatus | None = None,
    failed: bool = False,
    since: When = None,
    limit: Limit = 50,
    cursor: Annotated[int | None, Query(ge=1, lt=2**53)] = None,
) -> HistoryPage:
    """List runs and skips of a job, newest first."""
    call.need_job(job_id)
    found = history(
        call.root,
        job_id,
        count=limit,
        status=status,
        since=moment(call.root, since, job_id),
        failed=failed,
        before=cursor,
    )
    last = found["runs"][-1]["id"].rpartition(":")[2] if found["more"] else None
    return {**found, "next_cursor": last}


@router.get("/{job_id}/log")
def timeline(call: Viewer, job_id: JobId, limit: Limit = 50) -> LogJson:
    """List the runs and changes of a job on one timeline, newest first."""
    call.need_job(job_id)
    return log(call.root, job_id, count=limit)


@router.get("/{job_id}/versions")
def versions(call: Viewer, job_id: JobId, limit: Limit = 50) -> VersionsJson:
    """List the texts that a job has run, and how they did."""
    call.need_job(job_id)
    return list_versions(call.root, job_id, count=limit)


@router.get("/{job_id}/diff")
def difference(call: Viewer, job_id: JobId) -> DiffJson:
    """Compare the last success of a job with the job as it is."""
    call.need_job(job_id)
    return diff(call.root, job_id).json


@router.get("/{job_id}/explain")
def explain(
    call: Viewer,
    job_id: JobId,
    at: When = None,
    start: Annotated[str | None, Query(alias="from", max_length=100)] = None,
    until: Annotated[str | None, Query(alias="to", max_length=100)] = None,
) -> ExplainJson | ExplainWindowJson:
    """Say why a job did, did not or will not run: at an instant, or between two."""
    call.need_job(job_id)
    at_, start_, until_ = (moment(call.root, each, job_id) for each in (at, start, until))
    return explain_slots(call.root, job_id, at=at_, start=start_, until=until_)


@router.get("/{job_id}/next")
def fires(
    call: Viewer,
    job_id: JobId,
    limit: Limit = 5,
    start: Annotated[str | None, Query(alias="from", max_length=100)] = None,
    until: Annotated[str | None, Query(alias="to", max_length=100)] = None,
) -> FiresJson:
    """List the next fires of a job."""
    call.need_job(job_id)
    start_, until_ = (moment(call.root, each, job_id) for each in (start, until))
    return next_fires(call.root, [job_id], count=limit, start=start_, until=until_)


@router.get("/{job_id}/task")
def task(call: Viewer, job_id: JobId) -> PresentTaskJson:
    """Give the text that a run would get now."""
    call.need_job(job_id)
    return present_task(call.root, job_id)


@router.get("/{job_id}/audit")
def changes(call: Viewer, job_id: JobId, limit: Limit = 50) -> AuditJson:
    """List what changed in a job, oldest first: the newest changes."""
    call.need_job(job_id)
    return audit(call.root, job_id, count=limit)


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RunBody(Body):
    task_of: str | None = Field(default=None, max_length=220, description="Run the text of this run, JOB:N, again")


class PauseBody(Body):
    reason: str | None = Field(default=None, max_length=1_000)
    until: str | None = Field(default=None, max_length=100, description="An instant, as every command accepts it")
    next: bool = Field(default=False, description="Skip one slot only")


@router.post("/{job_id}/run", status_code=202)
def run(
    call: Operator,
    job_id: JobId,
    response: Response,
    body: RunBody | None = None,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> Requested:
    """Run a job now, in the daemon. A repeat with the same `Idempotency-Key` answers with the first run."""
    call.need_job(job_id)
    given = body or RunBody()
    if given.task_of is not None:
        call.need_run(given.task_of)
    found = run_once(call.root, job_id, key=idempotency_key, task_of=given.task_of)
    response.headers["location"] = f"/api/runs/{found.run['id']}"
    if found.again:
        response.headers["idempotent-replayed"] = "true"
    return {"run": found.run}


@router.post("/{job_id}/pause")
def pause(call: Operator, job_id: JobId, body: PauseBody | None = None) -> ShowJson:
    """Pause a job: its slots are skipped until it is resumed."""
    call.need_job(job_id)
    given = body or PauseBody()
    if given.next and given.until is not None:
        raise UsageError("next and until cannot be combined", hint="leave until out")
    until = moment(call.root, given.until, job_id)
    return pause_job(call.root, job_id, reason=given.reason, until=until, one_slot=given.next)


@router.post("/{job_id}/resume")
def resume(call: Operator, job_id: JobId) -> ShowJson:
    """End the pause of a job, or restart a stopped one."""
    call.need_job(job_id)
    return resume_job(call.root, job_id)
