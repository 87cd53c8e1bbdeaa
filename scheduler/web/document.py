"""What `/openapi.json` says of every route alike: an error is a problem, and how one logs in."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

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
_OPEN = ("/livez", "/readyz", "/hooks/git")  # without a login


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the API. Every status that a route does not name is that of a problem."""
    found = get_openapi(title=app.title, version=app.version, routes=app.routes)
    for path, operations in found["paths"].items():
        for operation in operations.values():
            answers = operation["responses"]
            answers.pop("422", None)  # FastAPI's own form of an error, which no route has here
            for status, answer in answers.items():
                if status >= "400" and path != "/readyz":
                    answer["content"] = _AS_PROBLEM
            answers["default"] = {"description": "An error", "content": _AS_PROBLEM}
            if path not in _OPEN:
                operation["security"] = [{"token": []}, {"session": []}]
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
