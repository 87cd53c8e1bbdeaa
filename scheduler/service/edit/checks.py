"""Checks before an edit is written."""

from __future__ import annotations

import contextlib
import math
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scheduler.core.edits.jobedit import Opened, WrongJobError
from scheduler.core.edits.schedules import PARTS
from scheduler.core.edits.spans import SHORTHANDS, EditError, MissingKeyError, dotted
from scheduler.core.formats.faults import unknown_key
from scheduler.core.formats.paths import PathError, check_path
from scheduler.core.formats.shapes import JobShape
from scheduler.core.formats.yamlfile import MAX_DEPTH
from scheduler.core.values.problems import RefusedError, Remedy, UsageError, did_you_mean
from scheduler.core.values.settings import ROOT_FILE
from scheduler.core.values.texts import MAX_FILE_BYTES, TextError, short
from scheduler.service.edit.trees import EditFiles, is_job_path, text_fault

MOST_KEYS = 100  # per edit: each key is verified by reading the whole file
MOST_VALUES = 1_000  # in all of them together
_LONGEST_NAME = 1_000


def check_keys(changes: Mapping[str, Any], unset: Sequence[str], task: str | None) -> None:
    if task is not None and "task" in changes:
        raise UsageError("the task text is given twice", hint="give it once: as the text or as the key task")
    for name in [*changes, *unset]:
        if name.split(".")[0] == "id":
            raise UsageError(
                "the id cannot be changed: the job's history belongs to it",
                hint="change name instead, or create a job with another id",
            )
    names = [*changes, *unset]
    if len(names) > MOST_KEYS:
        raise UsageError(f"{len(names):,} keys are given; one edit changes at most {MOST_KEYS}", hint="split the edit")
    # A new schedule keeps keys of the old one. Unsetting part of it is a separate matter.
    parts = {f"schedule.{part}" for part in PARTS} & {*unset} if "schedule" in changes else ()
    _check_names([*changes, *(name for name in unset if name not in parts)])
    _check_values(changes)
    _check_known(changes)


def _check_names(names: Sequence[str]) -> None:
    known: dict[str, str] = {}
    for name in names:
        if len(name) > _LONGEST_NAME or name.count(".") > MAX_DEPTH:
            raise UsageError(f"{short(name)} is not a key", hint="a key looks like name or retry.attempts")
        if name in known:
            raise UsageError(f"{name} is changed twice", hint="change it once")
        known[name] = name
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts)):
            if (above := ".".join(parts[:end])) in known:
                raise UsageError(
                    f"{above} and {name} are both changed, and one contains the other", hint="change only one of them"
                )


def _check_values(changes: Mapping[str, Any]) -> None:
    """Refuse values that no job file can contain, or that no comparison would recognise."""
    left = [(name, value, 1) for name, value in changes.items()]
    values = characters = 0
    while left:
        name, value, depth = left.pop()
        values += 1
        characters += len(value) if isinstance(value, str) else 0
        for found, most, what in (
            (values, MOST_VALUES, "values"),
            (depth, MAX_DEPTH, "levels of values"),
            (characters, MAX_FILE_BYTES, "characters"),
        ):
            if found > most:
                raise UsageError(f"more than {most:,} {what} are given in one edit", hint="split the edit")
        if isinstance(value, dict):
            left += [(name, each, depth + 1) for pair in value.items() for each in pair]
        elif isinstance(value, list):
            left += [(name, each, depth + 1) for each in value]
        elif isinstance(value, str) and "\0" in value:
            raise UsageError(f"{name} contains a NUL character", hint="remove it: a job file cannot contain one")
        elif isinstance(value, float) and not math.isfinite(value):
            raise UsageError(
                f"{name} contains {value}, which is not a finite number", hint="no key of a job accepts it"
            )


def _check_known(changes: Mapping[str, Any]) -> None:
    """Refuse unknown keys before any file is read: each would be tried in the file while others wait."""
    left: list[tuple[tuple[str, ...], Any]] = [(tuple(name.split(".")), value) for name, value in changes.items()]
    while left:
        path, value = left.pop(0)
        if not all(path):
            continue  # not a key at all: reported with the file
        if (fault := unknown_key(JobShape, path)) is not None:
            raise UsageError(f"{fault.message} [{fault.code}]; nothing was written", hint=fault.hint)
        if isinstance(value, dict):
            left += [((*path, key), each) for key, each in value.items() if isinstance(key, str)]


def position(path: Sequence[Any]) -> list[tuple[int, str]]:
    """A sort key that puts list items last-first, so that removing one does not move the next."""
    return [(-part, "") if isinstance(part, int) else (0, str(part)) for part in path]


def check_there(path: Sequence[Any], keys: Mapping[str, Any], job: Opened) -> None:
    name, inside = dotted(tuple(path)), keys
    for part in path:
        there = part in inside if isinstance(inside, dict) else isinstance(part, int) and part < len(inside)
        if not there:
            default = isinstance(keys, dict) and path[0] in job.settings.defaults and path[0] not in keys
            raise UsageError(
                f"{name} is not in {job.path}",
                hint="it comes from defaults in scheduler.yaml; set it to null to do without it"
                if default
                else did_you_mean(str(path[0]), keys) or f"it has {', '.join(keys)}",
            )
        inside = inside[part]
        if not isinstance(inside, dict | list) and part is not path[-1]:
            if path[0] in SHORTHANDS and isinstance(inside, str):
                return  # it replaces a mapping, whose contents are checked where they are edited
            raise UsageError(f"{name} is not in {job.path}", hint=f"{part} is {short(str(inside))}")


def check_task_key(changes: Mapping[str, Any], unset: Sequence[str], job: Opened) -> None:
    if "task" not in changes or changes["task"] is None:
        return
    source = job.keys.get("task_source_path")
    if source is not None and "task_source_path" not in unset and "task_source_path" not in changes:
        raise UsageError(f"the task of {job.document.id} is in {source}", remedy=Remedy.GIVE_TEXT_OF_FILE)
    if job.has_body and job.document.text is not None:
        raise UsageError(
            f"the task of {job.document.id} is the text below the front matter of {job.path}", remedy=Remedy.GIVE_TEXT
        )


def task_text(task: str, job: Opened) -> bytes:
    try:
        text = task.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError("the task is not valid Unicode text: it contains a lone surrogate") from None
    if fault := text_fault(text, job.settings):
        raise UsageError(fault.message, hint="give the complete task text")
    return text


def lf(text: str) -> str:
    """A text whose lines all end with CRLF, as YAML would read it."""
    return text.replace("\r\n", "\n") if "\r" not in text.replace("\r\n", "") else text


def check_task_path(path: str, job: Opened) -> None:
    try:
        check_path(path, what="task_source_path")
    except PathError as error:
        raise UsageError(error.message, hint=error.hint) from None
    if path == ROOT_FILE or is_job_path(path, job.settings):
        raise RefusedError(
            f"{path} is a settings or job file and cannot be edited as a task", hint="edit that file itself"
        )


def path_for(job_id: str, files: EditFiles, *, markdown: bool) -> str:
    """The path for a new job: in the folder of the first glob that would find it there."""
    name = f"{job_id}.{'md' if markdown else 'yaml'}"
    for folder in ("jobs", *(glob.split("*")[0].rstrip("/") for glob in files.settings.jobs)):
        path = posixpath.join(folder, name)
        if is_job_path(path, files.settings):
            return path
    raise UsageError("`jobs` in scheduler.yaml does not say where to put the new file", remedy=Remedy.NAME_FILE)


def check_new_path(path: str, files: EditFiles) -> None:
    check_job_path(path, files)
    if not files.is_free(path):
        raise RefusedError(f"{path} already exists; nothing was written", hint="choose another path")


def check_job_path(path: str, files: EditFiles) -> None:
    try:
        check_path(path)
    except PathError as error:
        raise UsageError(error.message, hint=error.hint) from None
    if not is_job_path(path, files.settings):
        raise UsageError(
            f"{path} would not be a job file: no glob in `jobs` matches it, or it does not end in .yaml, .yml, or .md",
            hint=f"`jobs` in scheduler.yaml: {', '.join(files.settings.jobs)}",
        )


@contextlib.contextmanager
def said_of(path: str) -> Iterator[None]:
    """Turn errors of the core into errors for the caller."""
    try:
        yield
    except EditError as error:
        raise RefusedError(f"{path}:{error.line}: {error.message}; nothing was written", hint=error.hint) from None
    except MissingKeyError as error:
        raise UsageError(f"{path}: {error}", hint=error.hint) from None
    except WrongJobError as error:
        first, more = error.problems[0], len(error.problems) - 1
        also = f" (and {more} more)" if more else ""
        raise UsageError(f"{first.message} [{first.code}]{also}; nothing was written", hint=first.hint) from None
    except TextError as error:
        raise RefusedError(
            f"{path}:{error.line}:{error.column}: {error.message} [{error.code}]; nothing was written", hint=error.hint
        ) from None
