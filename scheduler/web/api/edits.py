"""Edits of job files: applied now, as a commit, or on a branch, just as the commands do them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header

from scheduler.core.changes import EditJson
from scheduler.core.formats.globs import matches_job
from scheduler.service.edit.drafts import Target
from scheduler.service.edit.verbs import create_job, delete_job, move_job, roll_back, update_job
from scheduler.service.jobs import show_job
from scheduler.web.api.asked import ApiError, JobId, known_query, the_job
from scheduler.web.api.bodies import CreateBody, DeleteBody, EditBody, MoveBody, RollbackBody, UpdateBody
from scheduler.web.calls import AccessError, Approver, Call

router = APIRouter(prefix="/api/jobs", tags=["edits"], dependencies=[Depends(known_query)])
IfMatch = Annotated[str | None, Header(max_length=200, description="`ETag` of the job.")]


def _target(call: Call, body: EditBody) -> Target:
    return Target(
        commit=body.commit, branch=body.branch, push=body.push, message=body.message, requested_by=call.caller.actor
    )


def checked_version(call: Call, job_id: str, if_match: str | None, *, needed: bool = False) -> str | None:
    """The version of `If-Match`. Raises: ApiError 428 if it is missing, 412 if the job has another one."""
    if if_match is None:
        if needed:
            raise ApiError(428, "If-Match is missing", hint=f"send the ETag of GET /api/jobs/{job_id}")
        return None
    asked = if_match.strip().removeprefix("W/").strip('"')
    if asked == "*":
        return None
    now = show_job(call.root, job_id)["job"]["version"]
    if asked != now:
        raise ApiError(412, f"job {job_id!r} has another version now: {now}; nothing was written")
    return asked


@router.patch("/{job_id}", responses={412: {"description": "Stale If-Match"}, 428: {"description": "No If-Match"}})
def update(call: Approver, job_id: JobId, body: UpdateBody, if_match: IfMatch = None) -> EditJson:
    """Change keys of a job or its text. Needs `If-Match`."""
    named = the_job(call, job_id)
    version = checked_version(call, named, if_match, needed=True)
    return update_job(
        call.root,
        named,
        changes=body.set,
        unset=body.unset,
        task=body.task,
        if_version=version,
        target=_target(call, body),
    )


@router.post("", status_code=201)
def create(call: Approver, body: CreateBody) -> EditJson:
    """Write a new job file."""
    if call.caller.jobs and not matches_job(body.id, (), call.caller.jobs):
        raise AccessError(403, f"{call.caller.actor} may not create a job with this id")
    return create_job(call.root, body.id, changes=body.set, task=body.task, path=body.path, target=_target(call, body))


@router.delete("/{job_id}")
def delete(call: Approver, job_id: JobId, body: DeleteBody | None = None, if_match: IfMatch = None) -> EditJson:
    """Delete a job from its file; its history stays."""
    named, asked = the_job(call, job_id), body or DeleteBody()
    version = checked_version(call, named, if_match)
    return delete_job(call.root, named, with_task=asked.with_task, if_version=version, target=_target(call, asked))


@router.post("/{job_id}/move")
def move(call: Approver, job_id: JobId, body: MoveBody, if_match: IfMatch = None) -> EditJson:
    """Move a job to another file."""
    named = the_job(call, job_id)
    return move_job(
        call.root, named, body.path, if_version=checked_version(call, named, if_match), target=_target(call, body)
    )


@router.post("/{job_id}/rollback")
def rollback(call: Approver, job_id: JobId, body: RollbackBody, if_match: IfMatch = None) -> EditJson:
    """Restore the text of a run, or the job of a commit."""
    named = the_job(call, job_id)
    return roll_back(
        call.root, named, to=body.to, if_version=checked_version(call, named, if_match), target=_target(call, body)
    )
