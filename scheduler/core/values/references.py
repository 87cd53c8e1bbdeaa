"""Secrets in scheduler.yaml are named, not written: `${env:NAME}` and `${file:/path}` are kept elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

_REFERENCE = re.compile(r"\$\{(?:env:(?P<env>[A-Za-z_][A-Za-z0-9_]*)|file:(?P<file>/[^\x00-\x1f{}]{1,1000}))\}")
_ANY = re.compile(r"\$\{[^}]*\}?")
ENV_EXAMPLE = "${env:NAME}"


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a value is kept: in a variable of the daemon's environment, or in a file."""

    kind: Literal["env", "file"]
    name: str  # of the variable, or the absolute path of the file

    def __str__(self) -> str:
        return f"${{{self.kind}:{self.name}}}"


def references_of(text: str) -> tuple[Reference, ...]:
    """The references in a text, in its order."""
    return tuple(map(_reference, _REFERENCE.finditer(text)))


def is_reference(text: str) -> bool:
    """True if the text is one reference and nothing else."""
    return _REFERENCE.fullmatch(text) is not None


def misspelt(text: str) -> Iterator[tuple[int, str]]:
    """The index and the text of each `${...}` that is no reference."""
    for found in _ANY.finditer(text):
        if not _REFERENCE.match(text, found.start()):
            yield found.start(), found[0]


def with_references_as(text: str, stand_in: str) -> str:
    """The text with the same words in place of each reference."""
    return _REFERENCE.sub(lambda found: stand_in, text)


def filled(text: str, lookup: Callable[[Reference], str], *, url: bool = True) -> str:
    """The text with each reference replaced by its value.

    url: percent-encode a value inside a URL, so that an `@` in a password ends no user name; in a path `/` stays. A
    value that the URL starts with brings its own scheme, and is taken as it is.
    """

    def value(found: re.Match[str]) -> str:
        said = lookup(_reference(found))
        if not url or found.start() == 0:
            return said
        before = text[: found.start()].partition("://")[2]
        return quote(said, safe="/" if "/" in before and "?" not in before else "")

    return _REFERENCE.sub(value, text)


def _reference(found: re.Match[str]) -> Reference:
    return Reference("env", found["env"]) if found["env"] else Reference("file", found["file"])
