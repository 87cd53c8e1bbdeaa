"""Jobs from elsewhere, as values: what their files are to say, what is known of their history, what was lost."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from scheduler.core.formats.rules import ID_PATTERN
from scheduler.core.imports.secrets import secret_in
from scheduler.core.past.past import Past
from scheduler.core.values.problems import Problem, Severity
from scheduler.core.values.units import format_duration

_LONGEST_STEM = 60
_LONGEST_CHANNEL = 64
_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Work(StrEnum):
    """What the task of a job is, and so which runner can carry it out."""

    COMMANDS = "commands"  # for a shell
    PROMPT = "prompt"  # for an agent


@dataclass(frozen=True, slots=True, kw_only=True)
class Decider:
    """Commands that decide before each run whether there is one."""

    text: str
    output: str = "ignore"  # as a job file has it
    timeout: str = "2m"
    note: tuple[str, str, str] | None = None  # a warning if it is carried: code, message, hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One job: the keys of its file as plain YAML values, and the text of its task."""

    id: str
    stem: str  # the name of its files, without folder and suffix
    keys: Mapping[str, Any]  # without its task and runner, which the root places
    comments: tuple[str, ...] = ()  # lines above the keys
    text: str | None = None  # the task
    check: Decider | None = None
    work: Work = Work.PROMPT  # what that text is
    wish: str = ""  # the name of a runner that would suit it best, if the root has one
    path: str = ""  # the file that it is from, if the source has several
    line: int  # where it is in that file
    past: Past | None = None
    named: bool = True  # it had an id; otherwise one was derived from the task


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What one source holds: its jobs in its order, and what could not be imported or has changed."""

    jobs: tuple[Incoming, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One job's files, as they are to be written."""

    job: Incoming
    path: str
    data: bytes
    task_path: str | None = None
    task: bytes | None = None
    check_path: str | None = None
    check: bytes | None = None

    @property
    def texts(self) -> tuple[tuple[str, bytes], ...]:
        """The files of its texts."""
        found = ((self.task_path, self.task), (self.check_path, self.check))
        return tuple((path, data) for path, data in found if path is not None and data is not None)


def problem(
    line: int, code: str, message: str, hint: str = "", *, error: bool = True, job_id: str | None = None
) -> Problem:
    """Something that could not be imported, or has changed. The caller adds the source's name."""
    severity = Severity.ERROR if error else Severity.WARNING
    return Problem("", line, 1, f"import.{code}", message, hint, severity, job_id)


def of_job(job: Incoming, code: str, message: str, hint: str = "", *, error: bool = True) -> Problem:
    """A problem at the place of a job."""
    return replace(problem(job.line, code, message, hint, error=error, job_id=job.id), path=job.path)


def secret_id(line: int, secret: str) -> Problem:
    """What is said of a job whose id must not be shown. secret: the kind of it."""
    why = f"an id contains {secret}, and the files of a root are committed; the job was left out"
    return problem(line, "secret", why, "give the job another id there")


def secret_of(job: Incoming) -> tuple[str, str] | None:
    """The part of a job whose files would contain a secret, and the kind of it."""
    parts = {
        "task": job.text or "",
        "comment": "\n".join(job.comments),
        "check": "" if job.check is None else job.check.text,
    }
    for part, value in {**parts, **job.keys}.items():
        for text in _texts(value):
            if secret := secret_in(text):
                return part, secret
    return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield f"{name}={each}" if isinstance(each, str) else ""
            yield from _texts(each)
    elif isinstance(value, Sequence):
        for each in value:
            yield from _texts(each)


def slug(text: str) -> str:
    """Words as the name of a file or an id; empty if nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", _plain(text)).strip("-")[:_LONGEST_STEM].strip("-")


def _plain(text: str) -> str:
    """In lower case, without diacritics."""
    parts = unicodedata.normalize("NFKD", text.lower())
    return "".join(each for each in parts if not unicodedata.combining(each))


def channel_names(to: Sequence[str]) -> list[str]:
    """Valid names for the channel that takes the place of one elsewhere and its target: slack-owner, or owner."""
    words = [word for each in to if (word := re.sub(r"[^A-Za-z0-9._-]+", "-", each).strip("-._"))] or ["results"]
    return list(dict.fromkeys(each[:_LONGEST_CHANNEL].rstrip("-._") for each in ("-".join(words), words[-1])))


def either_day(fields: Sequence[str]) -> str:
    """The fields of a cron of which either kind of day is enough; by cron's own rule, */2 requires both."""
    found = list(fields)
    if len(fields) in (5, 6) and fields[-3] != "*" and fields[-1] != "*":
        for place, every in ((-3, "1-31"), (-1, "0-6")):
            found[place] = re.sub(r"(^|,)\*(?=/)", rf"\g<1>{every}", fields[place])
    return " ".join(found)


def every_from(every: timedelta, first: datetime | None) -> dict[str, str]:
    """The entry of a schedule that fires at `first` and then at this interval. No first: at whole multiples of it."""
    phase = timedelta(0) if first is None else (first - _EPOCH) % every
    phase -= phase % _SECOND
    return {"every": format_duration(every), **({"phase": format_duration(phase)} if phase else {})}


def whole_seconds(duration: timedelta) -> str:
    """A duration as a job file has it: at least a second, without its fraction."""
    return format_duration(max(duration - duration % _SECOND, _SECOND))


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
