"""The jump box: a job or a run by its exact name, otherwise the jobs whose id or name contains what was typed."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.encoders import jsonable_encoder
from starlette.responses import JSONResponse, RedirectResponse, Response

from scheduler.service.jump import find
from scheduler.web.api.asked import whole
from scheduler.web.calls import Viewer
from scheduler.web.frame import links_in
from scheduler.web.show import wants_json

router = APIRouter(include_in_schema=False)
MOST_TYPED = 220  # characters: no name is longer


@router.get("/jump.json")
@router.get("/jump")
def jump(call: Viewer, request: Request, q: str = "") -> Response:
    """Lead there. As JSON: what was found, and suggestions."""
    text = q.strip()[:MOST_TYPED]
    found, links = find(whole(call), text), links_in(request.query_params)
    if wants_json(request):
        return JSONResponse(jsonable_encoder(found))
    where = links.job(found.job) if found.job else links.run(found.run) if found.run else links.jobs(q=text)
    return RedirectResponse(where, 303)
