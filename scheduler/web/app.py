"""The web application: its routers, and every error as `application/problem+json` (RFC 9457), or as a page."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers as RequestHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from scheduler import __version__
from scheduler.core.values.problems import RefusedError, SchedulerError, UnavailableError, UnknownError, UsageError
from scheduler.core.values.texts import short
from scheduler.service.root import Root
from scheduler.web import act, act_sync, events, health, hooks, jump, login, mcp, show
from scheduler.web.api import edits, jobs, runs, whole
from scheduler.web.calls import AccessError, Guard
from scheduler.web.document import document
from scheduler.web.guard import Headers

MOST_BODY = 1024 * 1024  # bytes
TOO_LARGE = f"a request has at most {MOST_BODY:,} bytes in its body"
MOST_DETAIL = 1_000  # characters
RETRY_AFTER_S = 10  # for a client of a database or a daemon that does not answer

ROUTERS = (
    health.router,
    jobs.router,
    runs.router,
    whole.router,
    edits.router,
    events.router,
    hooks.router,
    mcp.router,
    login.router,
    act.router,
    act_sync.router,
    jump.router,
    show.router,
)


def build_app(root: Root, guard: Guard) -> FastAPI:
    """The application for one root. `guard` decides who asks; it writes nothing itself."""
    app = FastAPI(title="gitops-scheduler", version=__version__, docs_url=None, redoc_url=None)
    app.state.root, app.state.guard = root, guard
    for router in ROUTERS:
        app.include_router(router)
    app.openapi = functools.cache(lambda: document(app, ROUTERS))  # type: ignore[method-assign]
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MOST_BODY)
    app.add_middleware(_AnnouncedBody)
    app.add_middleware(_HeadAsGet)
    app.add_middleware(Headers)
    app.add_exception_handler(SchedulerError, _scheduler_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    return app


class _AnnouncedBody:
    """Refuses a body by its Content-Length, whatever would have been answered without reading it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = "" if scope["type"] != "http" else RequestHeaders(scope=scope).get("content-length", "")
        if length.isdigit() and int(length[:20]) > MOST_BODY:
            await problem(413, TOO_LARGE)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class _HeadAsGet:
    """Answers HEAD as GET. The server leaves the body out, as it knows the method."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD" and scope["path"] != events.PATH:  # it does not end
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


def problem(
    status: int, detail: str, *, hint: str = "", headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """An error as problem+json."""
    told: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    told |= {"detail": detail, **({"hint": hint} if hint else {}), **more}
    return JSONResponse(told, status, headers, media_type="application/problem+json")


def _scheduler_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SchedulerError)
    message, hint = error.told(lambda argument: argument, lambda name, value: f"{name}={json.dumps(value)}")
    headers: dict[str, str] = {}
    match error:
        case AccessError():
            status = error.status
            if error.retry_after_s is not None:
                headers["Retry-After"] = str(error.retry_after_s)
            if status == 401:
                headers["WWW-Authenticate"] = "Bearer"
        case UnknownError():
            status = 404
        case UsageError():
            status = 400
        case RefusedError():
            status = 409
        case UnavailableError():
            status, headers = 503, {"Retry-After": str(RETRY_AFTER_S)}
        case _:
            status = 500
    if show.is_browser(request):
        return show.error_page(request, message, hint, status, headers)
    return problem(status, message, hint=hint, headers=headers)


def _invalid(request: Request, error: Exception) -> Response:
    """Names each value that is wrong, but does not repeat it: it may be a secret in the wrong place."""
    assert isinstance(error, RequestValidationError)
    wrong = [f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()]
    detail = "; ".join(wrong)[:MOST_DETAIL]
    return show.error_page(request, detail, "", 422) if show.is_browser(request) else problem(422, detail)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers, detail, hint = dict(error.headers or {}), str(error.detail), ""
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            detail = f"there is nothing at {short(request.url.path)}"
            hint = "a job is at /jobs/ID, a run at /runs/JOB:N; /openapi.json describes the API"
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            detail = TOO_LARGE
        case HTTPStatus.METHOD_NOT_ALLOWED:  # the router names only the methods of the first route
            allowed = headers["Allow"] = ", ".join(_allowed(request))
            detail, hint = f"{short(request.url.path)} does not take {short(request.method)}", f"it takes {allowed}"
    if show.is_browser(request):
        return show.error_page(request, detail, hint, error.status_code, headers)
    return problem(error.status_code, detail, hint=hint, headers=headers)


def _allowed(request: Request) -> Sequence[str]:
    """The methods that the path of a request answers."""
    routes = request.app.routes
    each = {method: {**request.scope, "method": method} for method in ("DELETE", "GET", "PATCH", "POST", "PUT")}
    found = [method for method, scope in each.items() if any(route.matches(scope)[0] is Match.FULL for route in routes)]
    return sorted([*found, "HEAD"]) if "GET" in found and request.url.path != events.PATH else found


def _unexpected(request: Request, error: Exception) -> Response:
    said = "an unexpected error; the log has its traceback"
    return show.error_page(request, said, "", 500) if show.is_browser(request) else problem(500, said)
