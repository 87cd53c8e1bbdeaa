"""The private parts of a service's URL, told from the templates that Apprise documents for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def private_by_template(details: Mapping[str, Any]) -> dict[str, list[str]]:
    """By scheme: what is private in a URL without user, with a user, and with user and password; some of u, h, P."""
    found = {}
    for service in details["schemas"]:
        private = {name for name, token in service["details"]["tokens"].items() if token.get("private")}
        templates = [_parts(template) for template in service["details"]["templates"]]
        for scheme in (*(service["protocols"] or ()), *(service["secure_protocols"] or ())):
            found[scheme] = [_private(templates, shape, private) for shape in ("", "u", "up")]
    return found


def _private(templates: Sequence[tuple[str, Mapping[str, set[str]]]], shape: str, private: set[str]) -> str:
    fitting = [parts for each, parts in templates if each == shape]
    return "".join(part for part in "uhP" if fitting and all(parts[part] & private for parts in fitting))


def _parts(template: str) -> tuple[str, Mapping[str, set[str]]]:
    before, slash, path = template.partition("://")[2].partition("/")
    authority, inner, rest = before.partition("{path}")
    login, at, host = authority.rpartition("@")
    user, colon, _ = login.partition(":")
    named = {"u": user, "h": host, "P": f"{inner}{rest}{slash}{path}"}
    return "up" if colon else "u" if at else "", {
        part: set(re.findall(r"{(\w+)}", text)) for part, text in named.items()
    }
