"""The pages over HTTP. Each is HTML, or JSON for `Accept: application/json` and under its address with `.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.encoders import jsonable_encoder
from starlette.responses import HTMLResponse, JSONResponse, Response

from scheduler.core.values.access import Role
from scheduler.core.values.codec import Stored
from scheduler.core.values.problems import RefusedError, SchedulerError, UnavailableError, UnknownError, UsageError
from scheduler.service.root import Root
from scheduler.web.api.asked import JobId, RunId, the_job, the_run
from scheduler.web.assets import router as static_router
from scheduler.web.calls import AccessError, Call, Viewer
from scheduler.web.frame import Frame, frame, zone_in
from scheduler.web.pages import activity, back, explain, health, job, jobs, now, review, run, spend, sync, version
from scheduler.web.render import render

router = APIRouter(include_in_schema=False)
router.include_router(static_router)

# Pages of the whole root, by address: the template, and what makes its View of the parameters of query and path.
PAGES: dict[str, tuple[str, Callable[[Root, Mapping[str, str]], Any]]] = {
    "/": ("now", now.page),
    "/jobs": ("jobs", jobs.page),
    "/sync": ("sync", sync.page),
    "/activity": ("activity", activity.page),
    "/spend": ("spend", spend.page),
    "/health": ("health", health.page),
    "/explain": ("explain", explain.page),
    "/review": ("review", review.page),
}


def show(
    call: Call,
    request: Request,
    template: str,
    page: Callable[[Root, Mapping[str, str]], Any],
    *,
    of_one_job: bool = False,
) -> Response:
    """The answer to a GET of a page: the only place that renders one.

    of_one_job: the page shows one job, which the caller is known to see.
    """
    if call.caller.jobs and not of_one_job:
        raise AccessError(403, "this token is for some jobs only; pages show all of them", hint="use the API")
    try:
        root = replace(call.root, reads=zone_in(request.query_params))  # times are written as the page shows them
        view = page(root, {**request.query_params, **request.path_params})
        if wants_json(request):
            values = {each.name: getattr(view, each.name) for each in fields(view)}
            told = {name: each.to_json() if isinstance(each, Stored) else each for name, each in values.items()}
            return JSONResponse(jsonable_encoder(told))
        around = frame(call.root, request.query_params, whole=not call.caller.jobs)
        return HTMLResponse(_rendered(template, view, around, request.url.path, call.caller.role))
    except SchedulerError as error:
        if wants_json(request):
            raise
        message, hint = error.told(lambda argument: argument, lambda name, value: f"{name}={value}")
        return error_page(request, message, hint, _status(error))


def _rendered(template: str, view: object, around: Frame, path: str, role: Role) -> str:
    values = {"view": view, "frame": around, "path": path, "pages": PAGES, "role": role}
    return render(template, values, zone=around.zone)


def show_once(root: Root) -> None:
    """Make the first page for nobody, so that whoever asks for it first need not wait for what that loads."""
    from scheduler.core.formats import jobfile  # noqa: F401 - what a review reads files by is slow to import

    root = replace(root, place=root.place.now(), scans=False)
    _rendered("now", now.page(root, {}), frame(root, {}, whole=True), "/", Role.VIEWER)


def error_page(
    request: Request, message: str, hint: str, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """An error in words. Its links keep the zone of the address."""
    try:
        zone = zone_in(request.query_params)
    except UsageError:  # possibly the error itself
        zone = ""
    return HTMLResponse(render("error", {"message": message, "hint": hint}, zone=zone), status, headers)


def wants_json(request: Request) -> bool:
    accepted, path = request.headers.get("accept", ""), request.url.path
    named = path.endswith(".json") and not path.endswith(f"/{request.path_params.get('job_id')}")
    return named or ("application/json" in accepted and "text/html" not in accepted)


def is_browser(request: Request) -> bool:
    """True for a person who opens a page or uses a form of one; False for the API."""
    path, accepted = request.url.path, request.headers.get("accept", "")
    return "text/html" in accepted and not path.startswith(("/api/", "/hooks/", "/mcp")) and not path.endswith(".json")


def _status(error: SchedulerError) -> int:
    match error:
        case AccessError():
            return error.status
        case UnknownError():
            return 404
        case UsageError():
            return 400
        case RefusedError():
            return 409
        case UnavailableError():
            return 503
    return 500


def _add(path: str, template: str, page: Callable[[Root, Mapping[str, str]], Any]) -> None:
    def answer(call: Viewer, request: Request) -> Response:
        return show(call, request, template, page)

    for each in (f"{path}.json" if path != "/" else "/now.json", path):  # a revision takes what ends in .json as well
        router.add_api_route(each, answer, methods=["GET"])


for _path, (_template, _page) in PAGES.items():
    _add(_path, _template, _page)
_add("/review/{revisions:path}", *PAGES["/review"])


def _add_of_job(path: str, template: str, page: Callable[[Root, Mapping[str, str], str], Any]) -> None:
    """A page of one job. The other parameters of its path are among those of the query."""

    def answer(call: Viewer, request: Request, job_id: JobId) -> Response:
        whole_id = f"{job_id}.json"
        if request.url.path.endswith(f"/{whole_id}") and call.root.known(whole_id):  # an id may end like a twin
            job_id = request.path_params["job_id"] = whole_id
        return show(
            call, request, template, lambda root, query: page(root, query, the_job(call, job_id)), of_one_job=True
        )

    for each in (f"{path}.json", path):
        router.add_api_route(each, answer, methods=["GET"])


_add_of_job("/jobs/{job_id}/versions/{sha256}/back", "back", back.page)
_add_of_job("/jobs/{job_id}/versions/{sha256}", "version", version.page)
_add_of_job("/jobs/{job_id}", "job", job.page)


@router.get("/runs/{run_id}")
@router.get("/runs/{run_id}.json")
def show_one_run(call: Viewer, request: Request, run_id: RunId) -> Response:
    return show(call, request, "run", lambda root, query: run.page(root, query, the_run(call, run_id)), of_one_job=True)
