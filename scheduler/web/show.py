"""The pages over HTTP. Each is HTML, or JSON for `Accept: application/json` and under its address with `.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from fastapi import APIRouter, Request
from fastapi.encoders import jsonable_encoder
from starlette.responses import HTMLResponse, JSONResponse, Response

from scheduler.core.values.problems import SchedulerError, UnavailableError, UnknownError, UsageError
from scheduler.service.root import Root
from scheduler.web.assets import router as static_router
from scheduler.web.calls import AccessError, Call, Viewer
from scheduler.web.frame import frame
from scheduler.web.pages import now
from scheduler.web.render import render

router = APIRouter(include_in_schema=False)
router.include_router(static_router)

# Pages of the whole root, by address: the template, and what makes its View.
PAGES: dict[str, tuple[str, Callable[[Root, Mapping[str, str]], Any]]] = {"/": ("now", now.page)}


def show(call: Call, request: Request, template: str, page: Callable[[Root, Mapping[str, str]], Any]) -> Response:
    """The answer to a GET of a page: the only place that renders one."""
    if call.caller.jobs:
        raise AccessError(403, "this token is for some jobs only; pages show all of them", hint="use the API")
    try:
        view = page(call.root, request.query_params)
        if wants_json(request):
            return JSONResponse(jsonable_encoder({each.name: getattr(view, each.name) for each in fields(view)}))
        around = frame(call.root, request.query_params)
        values = {"view": view, "frame": around, "path": request.url.path, "pages": PAGES}
        return HTMLResponse(render(f"{template}.html", values))
    except SchedulerError as error:
        if wants_json(request):
            raise
        message, hint = error.told(lambda argument: argument, lambda name, value: f"{name}={value}")
        return HTMLResponse(render("error.html", {"message": message, "hint": hint}), _status(error))


def wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return request.url.path.endswith(".json") or ("application/json" in accepted and "text/html" not in accepted)


def _status(error: SchedulerError) -> int:
    match error:
        case UnknownError():
            return 404
        case UsageError():
            return 400
        case UnavailableError():
            return 503
    return 500


def _add(path: str, template: str, page: Callable[[Root, Mapping[str, str]], Any]) -> None:
    def answer(call: Viewer, request: Request) -> Response:
        return show(call, request, template, page)

    for each in (path, f"{path}.json" if path != "/" else "/now.json"):
        router.add_api_route(each, answer, methods=["GET"])


for _path, (_template, _page) in PAGES.items():
    _add(_path, _template, _page)
