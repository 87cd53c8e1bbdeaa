"""What concerns the whole root: status, plan, sync, history, deliveries."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query

from scheduler import schemas
from scheduler.core.answers import (
    AccountJson,
    AuditJson,
    ChannelsJson,
    DeliveriesJson,
    DeliveryJson,
    DoctorJson,
    FiresJson,
    StatusJson,
    TestedJson,
)
from scheduler.core.changes import PlanJson
from scheduler.core.values.access import Role
from scheduler.core.values.problems import RefusedError
from scheduler.core.values.runs import RunStatus
from scheduler.service.accounts import resume_account
from scheduler.service.channels import channels, deliveries, delivery, retry_delivery, try_channel
from scheduler.service.doctor.lately import LATELY
from scheduler.service.history import audit, history
from scheduler.service.jobs import next_fires
from scheduler.service.review.review import review
from scheduler.service.review.revisions import need_repository
from scheduler.service.status import status
from scheduler.service.sync import plan_sync, sync
from scheduler.web.api.asked import Cursor, Limit, When, known_query, paged, start_of, the_job, visible, when, whole
from scheduler.web.api.bodies import PRINTABLE, SyncBody
from scheduler.web.calls import AccessError, Operator, Viewer

router = APIRouter(prefix="/api", tags=["root"], dependencies=[Depends(known_query)])
Name = Annotated[str, Path(min_length=1, max_length=200)]
Revision = Annotated[str | None, Query(min_length=1, max_length=200, pattern=PRINTABLE)]


@router.get("/status")
def root_status(call: Viewer) -> StatusJson:
    """One screen: daemon, running, failing, overdue, next, what needs a person."""
    return status(whole(call))


@router.get("/next")
def coming(
    call: Viewer,
    n: Annotated[int, Query(ge=1, le=100)] = 1,
    start: Annotated[str | None, Query(alias="from", max_length=100)] = None,
    end: Annotated[str | None, Query(alias="to", max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
) -> FiresJson:
    """The next fires of all jobs. n: of each job."""
    seen = visible(call)
    begin, until = (when(call.root, value, name) for name, value in (("from", start), ("to", end)))
    found = next_fires(call.root, count=n, start=begin, until=until)["fires"]
    return {"fires": [each for each in found if seen is None or each["job_id"] in seen][:limit]}


@router.get("/history")
def runs(
    call: Viewer,
    since: When = None,
    failed: bool = False,
    status: RunStatus | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Any:
    """Runs of all jobs: active ones first, then the last ended."""
    seen, start = visible(call), start_of(cursor)
    begun = when(call.root, since, "since")
    found = history(call.root, count=start + limit, since=begun, failed=failed, status=status)
    page, following = paged(found["runs"], start, limit, more=found["more"])
    return {"runs": [run for run in page if seen is None or run["job_id"] in seen], "next": following}


@router.get("/audit")
def changes(call: Viewer, limit: Limit = 50) -> AuditJson:
    """The newest changes, oldest first."""
    return audit(whole(call), count=limit)


@router.get("/doctor")
def doctor(call: Viewer) -> DoctorJson:
    """Everything that jobs need in order to run, checked: once at a time, and not again for some seconds."""
    found, _ = LATELY.examine(whole(call))
    assert found is not None
    return found.doctor


@router.get("/plan")
def plan(call: Viewer, base: Revision = None, head: Revision = None) -> Any:
    """What a sync would change; with base or head, what a commit would."""
    root = whole(call)
    if base is None and head is None:
        return plan_sync(root).json
    need_repository(root.place.root)
    return review(root, base=base or "HEAD", head=head).json


@router.post("/sync")
def sync_now(call: Operator, body: SyncBody | None = None) -> PlanJson:
    """Apply the files now. To confirm the guard needs an approver."""
    root, confirm = whole(call), None if body is None else body.confirm
    if confirm is not None and not call.caller.role.allows(Role.APPROVER):
        raise AccessError(403, f"{call.caller.actor} has the role {call.caller.role}; to confirm needs approver")
    found = sync(root, confirmed=confirm)
    if found.token_refused:
        raise RefusedError(
            "the token is not that of the jobs to archive now; nothing was archived", hint="ask for the plan again"
        )
    return found.json


@router.get("/channels")
def all_channels(call: Viewer) -> ChannelsJson:
    """The channels, and how sending to each of them goes."""
    return channels(whole(call))


@router.post("/channels/{name}/test")
def test_channel(call: Operator, name: Name) -> TestedJson:
    """Send a test message."""
    return try_channel(whole(call), name)


@router.get("/deliveries")
def all_deliveries(
    call: Viewer,
    job: Annotated[str | None, Query(max_length=200)] = None,
    channel: Annotated[str | None, Query(max_length=200)] = None,
    failed: bool = False,
    limit: Limit = 50,
) -> DeliveriesJson:
    """Messages, sent and waiting, newest first."""
    seen = visible(call)
    named = None if job is None else the_job(call, job)
    found = deliveries(call.root, named, channel=channel, failed=failed, count=limit)["deliveries"]
    return {"deliveries": [each for each in found if seen is None or each["job_id"] in seen]}


@router.post("/deliveries/{number}/retry")
def retry(call: Operator, number: Annotated[int, Path(ge=1, le=2**53)]) -> DeliveryJson:
    """Send a message that was given up."""
    job_id = delivery(call.root, number)["job_id"]
    root = whole(call) if job_id is None else call.root
    if job_id is not None:
        the_job(call, job_id)
    return retry_delivery(root, number)


@router.post("/accounts/{name}/resume")
def resume(call: Operator, name: Name) -> AccountJson:
    """Let the next run of a parked account probe it at once."""
    return resume_account(whole(call), name)


@router.get("/schema/{name}")
def schema(call: Viewer, name: Literal["job", "root"]) -> Any:
    """The JSON Schema of job files, or of scheduler.yaml."""
    return json.loads(schemas.schema_text(name))
