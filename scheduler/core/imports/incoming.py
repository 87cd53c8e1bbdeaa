"""Jobs from elsewhere, as values: what their files are to say, what is known of their history, what was lost."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scheduler.core.formats.rules import ID_PATTERN
from scheduler.core.past.past import Past
from scheduler.core.values.problems import Problem, Severity

_LONGEST_STEM = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One job: the keys of its file as plain YAML values, and the text of its task."""

    id: str
    stem: str  # the name of its files, without folder and suffix
    keys: Mapping[str, Any]  # without its task and runner, which the root places
    comments: tuple[str, ...] = ()  # lines above the keys
    text: str | None = None  # the task
    line: int  # where it is in the source
    past: Past | None = None
    named: bool = True  # it had an id; otherwise one was derived from the task


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One job's files, as they are to be written."""

    job: Incoming
    path: str
    data: bytes
    task_path: str | None = None
    task: bytes | None = None


def problem(
    line: int, code: str, message: str, hint: str = "", *, error: bool = True, job_id: str | None = None
) -> Problem:
    """Something that could not be imported, or has changed. The caller adds the source's name."""
    severity = Severity.ERROR if error else Severity.WARNING
    return Problem("", line, 1, f"import.{code}", message, hint, severity, job_id)


def slug(text: str) -> str:
    """Words as the name of a file or an id; empty if nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", _plain(text)).strip("-")[:_LONGEST_STEM].strip("-")


def _plain(text: str) -> str:
    """In lower case, without diacritics."""
    parts = unicodedata.normalize("NFKD", text.lower())
    return "".join(each for each in parts if not unicodedata.combining(each))


def short_digest(*parts: object) -> str:
    """A few digits that distinguish things of the same name: the same wherever and whenever they are computed."""
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def mapped_id(original: str) -> str:
    """The id used here for an id from elsewhere: itself if valid, otherwise always the same replacement."""
    if re.fullmatch(ID_PATTERN[1:-1], original):
        return original
    words = re.sub(r"[^a-z0-9._-]+", "-", _plain(original)).strip("-._")[:_LONGEST_STEM].strip("-._")
    return f"{words or 'job'}-{short_digest(original)}"


def free(name: str, taken: Iterable[str], *parts: object) -> str:
    """`name`, or `name` with digits of `parts` if it is taken."""
    names = set(taken) if not isinstance(taken, set | dict) else taken
    if name not in names:
        return name
    found, n = f"{name}-{short_digest(*parts)}", 1
    while found in names:
        n += 1
        found = f"{name}-{short_digest(*parts)}-{n}"
    return found
