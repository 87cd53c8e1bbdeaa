"""Health and metrics: `/livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse

from scheduler.service.metrics import metrics, readiness
from scheduler.web.calls import Viewer

router = APIRouter(tags=["health"])


@router.get("/livez")
def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "The database or the daemon does not answer"}})
def readyz(request: Request) -> Any:
    """The database can be read and a daemon answers. Never red because a job has failed."""
    wrong = readiness(request.app.state.root)
    return {"status": "ok"} if not wrong else JSONResponse({"status": "not ready", "reason": wrong}, 503)


@router.get("/metrics", response_class=PlainTextResponse)
def prometheus(call: Viewer, jobs: bool = True) -> PlainTextResponse:
    """Metrics in the text format of Prometheus. With jobs=0, nothing has a label for the job."""
    text = metrics(call.root, jobs=jobs, patterns=call.caller.jobs)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")
