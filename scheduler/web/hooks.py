"""POST /hooks/git: a forge says that something was pushed. Its signature is its way in, so no caller is asked for."""

from __future__ import annotations

from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from scheduler.core.access.hooks import MOST_BYTES, is_signed
from scheduler.service.push import Outcome, receive_push
from scheduler.service.root import Root
from scheduler.web.calls import AccessError

router = APIRouter()
_STATUS = {Outcome.BAD: 401, Outcome.CLOSED: 404, Outcome.REPEATED: 409}


@router.post(
    "/hooks/git",
    response_class=JSONResponse,
    responses={
        200: {"description": "Received; `outcome` is `woken`, or `ignored` if it is not about a push"},
        401: {"description": "The signature is missing or wrong"},
        404: {"description": "No secret is set"},
        409: {"description": "Received before"},
        413: {"description": "More than 1 MiB"},
    },
)
async def git_hook(request: Request) -> Any:
    """Wake the daemon after a push. Accepts the webhooks of GitHub, Forgejo, Gitea, GitLab, and Standard Webhooks."""
    headers = request.headers.items()
    root: Root = request.app.state.root
    # Nothing of what nobody has signed is read.
    body = await _body(request) if is_signed(headers) else b""
    found = await run_sync(receive_push, root, headers, body)
    if found.outcome in _STATUS:
        raise AccessError(_STATUS[found.outcome], found.message, hint=found.hint)
    return {"outcome": found.outcome.value, "message": found.message}


async def _body(request: Request) -> bytes:
    """Raises: AccessError (413) before it reads more than the limit."""
    length = request.headers.get("content-length", "0")
    too_large = AccessError(413, f"a webhook has at most {MOST_BYTES:,} bytes")
    if not (length.isascii() and length.isdigit() and len(length) < 12) or int(length) > MOST_BYTES:
        raise too_large
    found = bytearray()
    async for part in request.stream():
        found += part
        if len(found) > MOST_BYTES:
            raise too_large
    return bytes(found)
