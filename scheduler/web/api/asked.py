"""What the routes share: errors with their status, pages of a list, instants, and the jobs of a caller."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Query, Request
from fastapi.routing import APIRoute

from scheduler.core.formats.globs import matches_job
from scheduler.core.times.moments import LONGEST, read_moment
from scheduler.core.values.problems import UsageError, did_you_mean
from scheduler.core.values.texts import InputError, short
from scheduler.service.instants import instant_of
from scheduler.service.requested import visible_jobs
from scheduler.service.root import Root
from scheduler.web.calls import AccessError, Call

JobId = Annotated[str, Path(min_length=1, max_length=200, description="Id of a job.")]
RunId = Annotated[str, Path(min_length=3, max_length=220, description="A run, as JOB:N.")]
Limit = Annotated[int, Query(ge=1, le=200, description="At most so many rows.")]
Cursor = Annotated[str | None, Query(max_length=220, description="`next` of the page before.")]
When = Annotated[str | None, Query(max_length=LONGEST, description="An instant, such as 2027-03-29T01:00:00Z or -1d.")]
MOST_ROWS = 10_000  # that a cursor reaches


def known_query(request: Request) -> None:
    """Raises: UsageError for a parameter that the route does not have, or that comes twice: it would be ignored."""
    route: APIRoute = request.scope["route"]
    names = [each.alias for each in route.dependant.query_params]
    seen = set[str]()
    for name, _ in request.query_params.multi_items():
        if name not in names:
            hint = did_you_mean(name, names) or ("" if names else "there are no parameters here")
            raise UsageError(f"there is no parameter {short(name)}", hint=hint)
        if name in seen:
            raise UsageError(f"the parameter {name} comes more than once", hint="send it once")
        seen.add(name)


class ApiError(AccessError):
    """An error whose status says more than its class: 404, 406, 412, 428."""


def the_job(call: Call, job_id: str) -> str:
    """The id of a job that the caller may see. Raises: ApiError 404, the same for a job that is another's."""
    job = call.root.known(job_id)
    patterns = call.caller.jobs
    if job is None and not patterns:
        try:
            with call.root.job(job_id):
                return job_id
        except UsageError as error:
            raise ApiError(404, str(error), hint=error.hint) from None
    if job is None or (patterns and not matches_job(job.id, job.file.spec.tags, patterns)):
        raise ApiError(404, f"there is no job {job_id!r}")
    return job.id


def the_run(call: Call, run_id: str) -> str:
    """The id of a run of a job that the caller may see. Raises: ApiError 404."""
    job_id, colon, number = run_id.rpartition(":")
    if not (colon and number.isascii() and number.isdigit() and len(number) <= 15):
        raise ApiError(404, f"there is no run {run_id!r}", hint="a run is JOB:N, such as heartbeat:7")
    return f"{the_job(call, job_id)}:{int(number)}"


def whole(call: Call) -> Root:
    """The root, for what concerns all jobs. Raises: AccessError for a caller who sees only some."""
    if call.caller.jobs:
        raise AccessError(403, f"{call.caller.actor} sees only some jobs, and this concerns all of them")
    return call.root


def visible(call: Call) -> frozenset[str] | None:
    """The jobs that the caller sees; None for all."""
    return visible_jobs(call.root, call.caller.jobs) if call.caller.jobs else None


def when(root: Root, written: str | None, name: str, job_ids: Sequence[str] = ()) -> datetime | None:
    if written is None:
        return None
    try:
        return instant_of(root, read_moment(written), job_ids)
    except InputError as error:
        raise UsageError(f"{name}: {error.message}", hint=error.hint) from None


def number_of(cursor: str | None) -> int | None:
    """The number of the run that a page of one job's runs continues after. Raises: UsageError."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 15):
        raise UsageError("the cursor is not one of this list", hint="use `next` of the page before")
    return int(cursor)


def start_of(cursor: str | None) -> int:
    """The number of rows before a page. Raises: UsageError."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 6 and int(cursor) <= MOST_ROWS):
        raise UsageError("the cursor is not one of this list", hint="use `next` of the page before")
    return int(cursor)


def paged(rows: Sequence[Any], start: int, limit: int, *, more: bool) -> tuple[Sequence[Any], str | None]:
    """One page of rows, and the cursor of the next."""
    end = start + limit
    return rows[start:end], str(end) if (more or len(rows) > end) and end <= MOST_ROWS else None
