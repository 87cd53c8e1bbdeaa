"""The buttons of the Sync page: apply the files now, and archive what the guard holds. Each leads back to the page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from scheduler.core.values.problems import RefusedError
from scheduler.service.sync import plan_sync, sync
from scheduler.web.api.asked import whole
from scheduler.web.calls import Approver, Operator
from scheduler.web.frame import links_in

router = APIRouter(include_in_schema=False)
_AGAIN = "open the Sync page again, and confirm what it shows now"


@router.post("/sync/now")
def sync_now(call: Operator, request: Request) -> Response:
    """Apply the files. What a guard holds stays held."""
    sync(whole(call))
    return RedirectResponse(links_in(request.query_params).sync, 303)


@router.post("/sync/confirm")
def confirm(call: Approver, request: Request, token: Annotated[str, Form(max_length=100)] = "") -> Response:
    """Archive exactly the jobs that the page named. Raises: RefusedError if they are others by now."""
    root = whole(call)
    guard = plan_sync(root).json["guard"]
    if guard is None:  # without this, a pass would archive the few that no guard holds
        raise RefusedError("the guard holds no jobs now; nothing was archived", hint=_AGAIN)
    if guard["token"] != token or sync(root, confirmed=token).token_refused:
        raise RefusedError("other jobs would be archived now than you confirmed; nothing was archived", hint=_AGAIN)
    return RedirectResponse(links_in(request.query_params).sync, 303)
