"""/mcp: the tool server over streamable HTTP. Each request stands alone: no session is kept, so none can be taken over.

A call acts as `agent:NAME`, so `agents` in scheduler.yaml applies besides the role of the token.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from scheduler.core.values.problems import UnavailableError
from scheduler.service.root import Root
from scheduler.tool.server import Asked, Context, Tool
from scheduler.web.calls import Call, Viewer

MOST_BYTES = 1024 * 1024  # of a request, as everywhere in the API
_CALL = "scheduler_call"  # in the scope of a request: who was let in


def _asked(context: Context) -> Asked:
    request: Any = context.request
    call = request.scope.get(_CALL) if isinstance(request, Request) else None
    if not isinstance(call, Call):
        raise UnavailableError("the request has lost its caller; nothing was done")
    name = call.caller.actor.partition(":")[2] or call.caller.actor
    caller = replace(call.caller, actor=f"agent:{name}")
    root: Root = request.app.state.root
    return Asked(root=replace(root, actor=caller.actor), caller=caller)


@contextlib.asynccontextmanager
async def _serving(app: FastAPI) -> AsyncIterator[None]:
    logging.getLogger("mcp").setLevel(logging.WARNING)
    tool = Tool(_asked)
    manager = StreamableHTTPSessionManager(
        tool.server(),
        stateless=True,
        # The guard has checked Host and Origin.
        security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        max_request_body_size=MOST_BYTES,
    )
    async with manager.run():
        app.state.mcp = manager
        try:
            yield
        finally:
            await tool.end()


router = APIRouter(lifespan=_serving)


class _Answer(Response):
    """The SDK's own answer to a request that was let in."""

    def __init__(self, request: Request, call: Call) -> None:
        super().__init__()
        self._manager: StreamableHTTPSessionManager = request.app.state.mcp
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._manager.handle_request({**scope, _CALL: self._call}, receive, send)


@router.post("/mcp", include_in_schema=False)
async def mcp(request: Request, call: Viewer) -> Response:
    """Answer a message of the Model Context Protocol. GET and DELETE are not allowed, as there are no sessions."""
    return _Answer(request, call)
