"""The buttons of a job, a run and a text. Each leads to the page of what it has changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from scheduler.service.edit.drafts import Target
from scheduler.service.edit.verbs import roll_back
from scheduler.service.pause import pause_job, resume_job
from scheduler.service.requested import request_run
from scheduler.service.run import cancel_run
from scheduler.web.api.asked import JobId, RunId, the_job, the_run, when
from scheduler.web.api.edits import checked_version
from scheduler.web.calls import Approver, Operator
from scheduler.web.frame import links_in, zone_in

router = APIRouter(include_in_schema=False)
Written = Annotated[str, Form(max_length=1_000)]


@router.post("/jobs/{job_id}/run")
def run(
    call: Operator, request: Request, job_id: JobId, key: Annotated[str, Form(min_length=8, max_length=200)]
) -> Response:
    """Start a run. key: made by the page, so that a button that is pressed twice starts one run."""
    started = request_run(call.root, the_job(call, job_id), key=key)
    return RedirectResponse(links_in(request.query_params).run(started.id), 303)


@router.post("/jobs/{job_id}/pause")
def pause(call: Operator, request: Request, job_id: JobId, reason: Written = "", until: Written = "") -> Response:
    """Pause a job; its file does not change."""
    named = the_job(call, job_id)
    written_in = replace(call.root, reads=zone_in(request.query_params))
    end = when(written_in, until.strip() or None, "until", [named])
    pause_job(call.root, named, reason=reason.strip() or None, until=end)
    return RedirectResponse(links_in(request.query_params).job(named), 303)


@router.post("/jobs/{job_id}/resume")
def resume(call: Operator, request: Request, job_id: JobId) -> Response:
    """End a pause, or restart a stopped job."""
    named = the_job(call, job_id)
    resume_job(call.root, named)
    return RedirectResponse(links_in(request.query_params).job(named), 303)


@router.post("/runs/{run_id}/cancel")
def cancel(call: Operator, request: Request, run_id: RunId) -> Response:
    """Stop a run."""
    named = the_run(call, run_id)
    cancel_run(call.root, named)
    return RedirectResponse(links_in(request.query_params).run(named), 303)


@router.post("/jobs/{job_id}/versions/{sha256}/back")
def back(
    call: Approver,
    request: Request,
    job_id: JobId,
    sha256: str,
    version: Annotated[str, Form(max_length=200)],
    branch: Written = "",
) -> Response:
    """Restore a text by a commit, here or on a branch. version: of the job whose difference the page has shown."""
    named, who, links = the_job(call, job_id), call.caller.actor, links_in(request.query_params)
    asked = checked_version(call, named, version)
    target, shown = Target(commit=True, requested_by=who), links.job(named)
    if name := branch.strip():
        target = Target(branch=name, push=call.root.place.followed is not None, requested_by=who)
        shown = links.review(f"HEAD...{name}")
    roll_back(call.root, named, to=f"text:{sha256}", if_version=asked, target=target)
    return RedirectResponse(shown, 303)
