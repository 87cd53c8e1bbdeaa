"""Markdown job files: where the front matter, which is the definition, and the body, which is the task, are."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from scheduler.core.values.texts import TextError

_OPENING = re.compile(r"---[ \t]*(?:\r?\n|\Z)")
_CLOSING = re.compile(r"^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Fences:
    """Where a Markdown job's front matter starts and ends, without its fences, and where its body starts."""

    start: int
    end: int
    body: int


def is_markdown(path: str) -> bool:
    return posixpath.splitext(path)[1].lower() == ".md"


def fences_of(text: str) -> Fences:
    """The parts of a Markdown file that opens with a fence. Raises: TextError if no fence closes it."""
    opening = _OPENING.match(text)
    closing = None if opening is None else _CLOSING.search(text, opening.end())
    if opening is None or closing is None:
        hint = "close it with a line of three dashes before the task; for a horizontal rule elsewhere, write ***"
        raise TextError("front-matter.unclosed", "the front matter that opens here is never closed", hint=hint)
    return Fences(start=opening.end(), end=closing.start(), body=closing.end())
