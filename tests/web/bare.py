"""One router in an application of its own: the parts of the web can be tested without the whole."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse

from scheduler.core.values.access import Caller, Role
from scheduler.core.values.problems import RefusedError, SchedulerError, UsageError
from scheduler.root.place import locate
from scheduler.service.root import Root
from scheduler.web.calls import AccessError
from scheduler.web.events import end_streams
from tests.helpers import until


class OpenGuard:
    """Lets everybody in as one caller, or refuses with one error."""

    def __init__(self, caller: Caller) -> None:
        self.caller_now, self.error = caller, None

    caller_now: Caller
    error: AccessError | None

    def caller(self, request: Request) -> Caller:
        if self.error is not None:
            raise self.error
        return self.caller_now


ADMIN = Caller(actor="person:ada", role=Role.ADMIN)


def service_root(folder: Path, actor: str = "person:ada", **environ: str) -> Root:
    place = locate(str(folder), None, None, environ=environ, cwd=folder)
    return Root(place=place, actor=actor, environ=environ)


def bare_app(
    root: Root,
    *routers: APIRouter,
    caller: Caller = ADMIN,
    lifespan: Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    app = FastAPI(lifespan=lifespan or _nothing)
    app.state.root, app.state.guard = root, OpenGuard(caller)
    for each in routers:
        app.include_router(each)

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @app.exception_handler(SchedulerError)
    def problem(_: Request, error: Exception) -> JSONResponse:
        status = 400 if isinstance(error, UsageError) else 409 if isinstance(error, RefusedError) else 503
        headers = {}
        if isinstance(error, AccessError):
            status = error.status
            headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
        told: dict[str, Any] = {"detail": str(error), "hint": getattr(error, "hint", "")}
        return JSONResponse(told, status, headers)

    return app


@contextlib.asynccontextmanager
async def _nothing(_: FastAPI) -> AsyncIterator[None]:
    yield


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None: ...


@contextlib.contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """A real server in a thread; its address."""
    server = _Server(uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started or None, "the server has started")
    (port,) = {sock.getsockname()[1] for each in server.servers for sock in each.sockets}
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        end_streams(app)
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "the server has not stopped"
