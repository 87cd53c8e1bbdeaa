"""The style sheet and the script, under names that carry a hash and never change what they mean."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

router = APIRouter(include_in_schema=False)
_KINDS = {"style.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}
_FILES = {name: files("scheduler.web").joinpath("static", name).read_bytes() for name in _KINDS}
_HASHES = {name: hashlib.sha256(data).hexdigest()[:12] for name, data in _FILES.items()}


def static(name: str) -> str:
    """The URL of a file: it may be kept for ever."""
    return f"/static/{_HASHES[name]}/{name}"


@router.get("/static/{name}")
@router.get("/static/{digest}/{name}")
def file(name: str, digest: str = "") -> Response:
    if name not in _FILES or digest not in ("", _HASHES[name]):
        raise HTTPException(404)
    kept = "public, max-age=31536000, immutable" if digest else "no-cache"
    return Response(_FILES[name], media_type=_KINDS[name], headers={"cache-control": kept})
