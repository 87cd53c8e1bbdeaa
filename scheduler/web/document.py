"""What `/openapi.json` says of every route alike: an error is a problem, and how one logs in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from scheduler.web.calls import role_needed

PROBLEM = {
    "description": "An error, by RFC 9457. `hint` says what to do about it.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "hint": {"type": "string"},
    },
}
_AS_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def document(app: FastAPI, routers: Iterable[APIRouter]) -> dict[str, Any]:
    """The OpenAPI document of the API. Every status that a route does not name is that of a problem.

    `x-role` of an operation is the role that it needs.
    """
    found = get_openapi(title=app.title, version=app.version, routes=app.routes)
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    roles = {(route.path, method.lower()): role_needed(route) for route in routes for method in route.methods or ()}
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            answers.pop("422", None)  # FastAPI's own form of an error, which no route has here
            for status, answer in answers.items():
                if status >= "400" and path != "/readyz":
                    answer["content"] = _AS_PROBLEM
            answers["default"] = {"description": "An error", "content": _AS_PROBLEM}
            if (role := roles[path, method]) is not None:
                operation |= {"x-role": role.value, "security": [{"token": []}, {"session": []}]}
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "`scheduler token create` makes one."},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "scheduler_ROOT",
            "description": "`scheduler login` prints a link that sets it. The name differs from root to root.",
        },
    }
    return found
