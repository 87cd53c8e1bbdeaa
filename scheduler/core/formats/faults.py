"""What pydantic finds wrong with a document, as faults at their keys; and faults as Problems at their positions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from annotated_types import Ge, Le
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from scheduler.core.formats.base import Shape
from scheduler.core.formats.root_shapes import RootShape
from scheduler.core.formats.rules import BY_HAND, ENV_PATTERN, MANY, NO_OFFSET, ONE, flow_list, shown, with_offset
from scheduler.core.formats.shapes import AnyShape, JobShape
from scheduler.core.formats.yamlfile import Path, YamlDocument
from scheduler.core.values import units
from scheduler.core.values.hidden import HIDDEN_HINT, find_hidden, names_of
from scheduler.core.values.lookalikes import doubtful_hint, plain_hint
from scheduler.core.values.problems import Problem, Severity, did_you_mean, meant
from scheduler.core.values.texts import Lines, TextError, short


@dataclass(frozen=True, slots=True)
class KeyFault:
    """One thing wrong in plain data, by its path in it."""

    path: Path
    code: str
    message: str
    hint: str = ""
    at_key: bool = False  # blame the key rather than its value
    offset: int = 0  # characters into the value


def check(
    shape: type[AnyShape], data: Any, *, raw: Callable[[Path], str | None] = lambda path: None, folder: str = ""
) -> tuple[AnyShape | None, tuple[KeyFault, ...]]:
    """The shape of plain data, or everything that is wrong with it.

    raw: the text of a value as written, for hints.
    folder: root-relative folder of the file, for hints on paths.
    """
    try:
        return shape.model_validate(data, context={"folder": folder}), ()
    except ValidationError as error:
        details = error.errors(include_url=False)
    return None, tuple(_fault(shape, detail, raw) for detail in details)


def fitting(shape: type[AnyShape], data: Any) -> AnyShape | None:
    """The shape of plain data, or None if anything is wrong with it."""
    try:
        return shape.model_validate(data)
    except ValidationError:
        return None


def _fault(shape: type[Shape], detail: ErrorDetails, raw: Callable[[Path], str | None]) -> KeyFault:
    found, value = _judged(shape, detail, raw), detail["input"]
    text = str(found.path[-1]) if found.at_key else value if isinstance(value, str) else ""
    if found.path[-1:] != ("task_source_path",) and (hint := plain_hint(text)):
        return replace(found, hint=hint)
    if found.message.endswith(NO_OFFSET) and (zone := raw((*found.path[:-1], "timezone"))) is not None:
        # With Z, it would be a different instant from the one meant, if a zone is set beside it.
        right = with_offset(text, zone.strip("\"'"))
        return replace(found, hint=f'write {found.path[-1]}: "{right}"' if right else f"write the offset of {zone}")
    return found


def _judged(shape: type[Shape], detail: ErrorDetails, raw: Callable[[Path], str | None]) -> KeyFault:
    kind = detail["type"]
    path: Path = detail["loc"]
    if path[:1] == ("schedule",) and path[1:2] in ((ONE,), (MANY,), (BY_HAND,)) and shape is JobShape:
        path = path[:1] + path[2:]
    if kind == "extra_forbidden":
        return _unknown(shape, path)
    at_key = len(path) > 1 and path[-1] == "[key]"
    if at_key:
        path = path[:-1]
    context = detail.get("ctx", {})
    value = detail["input"]
    if kind == "size.range":
        return _out_of_range(shape, path, value, raw(path), code=kind)
    if kind == "missing":
        examples = _owner(shape, path).model_fields[str(path[-1])].examples
        hint = f"write {path[-1]}: {examples[0]}" if examples else ""
        return KeyFault(path, "key.missing", f"key {path[-1]!r} is missing", hint)
    if "message" in context:  # one of our own
        return KeyFault(path, kind, context["message"], context["hint"], at_key=at_key, offset=context["offset"])
    if value is None:
        return KeyFault(path, "value.missing", f"{_name(path)} has no value", "write one, or delete the key")
    if kind in ("greater_than_equal", "less_than_equal"):
        return _out_of_range(shape, path, value, raw(path))
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        hint = meant(value[:100], allowed) if isinstance(value, str) else ""
        message = f"{_name(path)} {shown(value)} is not known; allowed: {', '.join(allowed)}"
        return KeyFault(path, "value.choice", message, hint)
    expected, hint = _EXPECTED.get(kind, "something else"), _type_hint(kind, value, raw(path))
    if shape is JobShape and path[0] == "schedule" and kind in ("model_type", "model_attributes_type"):
        expected = (
            "a cron expression, a mapping or a list of these" if len(path) == 1 else "a cron expression or a mapping"
        )
        hint = 'write "0 9 * * *" or {every: 15m}'
    elif shape is RootShape and path[0] == "runners" and len(path) == 2 and isinstance(value, str):
        hint = f"write {{command: {flow_list(value[:100].split())}}}"
    message = f"{_name(path)} must be {expected}, not {shown(value, raw(path))}"
    return KeyFault(path, "value.type", message, hint, at_key=at_key)


def _out_of_range(shape: type[Shape], path: Path, value: Any, raw: str | None, code: str = "value.range") -> KeyFault:
    bounds = _owner(shape, path).model_fields[str(path[-1])].metadata
    low = next(bound.ge for bound in bounds if isinstance(bound, Ge))
    high = next(bound.le for bound in bounds if isinstance(bound, Le))
    show: Callable[[Any], str] = units.format_size if str(path[-1]).endswith("_bytes") else str
    message = f"{_name(path)} {short(raw or str(value))[1:-1]} is outside {show(low)}-{show(high)}"
    return KeyFault(path, code, message)


_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def _type_hint(kind: str, value: Any, raw: str | None) -> str:
    if kind == "string_type":
        if isinstance(value, bool | int | float):
            return f'quote it: "{raw or value}"'
        if isinstance(value, dict) and len(value) == 1 and [*value.values()] == [None]:
            return f'quote text in braces: "{{{next(iter(value))}}}"'
    if kind == "bool_type" and value in (0, 1):
        return f"write {str(bool(value)).lower()}"
    if kind == "bool_type" and isinstance(value, str):
        if value.lower() in ("yes", "on", "y", "true"):
            return "write true"
        if value.lower() in ("no", "off", "n", "false"):
            return "write false"
    if kind == "int_type" and isinstance(value, str) and value.isdecimal():
        return "write it without quotes"
    if kind == "int_type" and isinstance(value, str) and re.fullmatch(r"[0-9]{1,9} ?%", value):
        return f"write {value.rstrip(' %')}"
    if kind == "list_type" and isinstance(value, str):
        words = [word.strip() for word in value.split(",")] if len(value) <= 200 else [value]
        return f"write {flow_list(words if all(words) else [value])}"
    if kind == "list_type" and isinstance(value, dict):
        bare = bool(value) and len(value) <= 20 and all(each is None for each in value.values())
        return f"write {flow_list([*value])}" if bare else "write one item per line, each after '- '"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        if isinstance(value, list):
            return "write key: value lines without the leading dash"
        name, equals, rest = value.partition("=") if isinstance(value, str) and len(value) <= 200 else ("", "", "")
        if equals and re.fullmatch(ENV_PATTERN[1:-1], name):
            return f"write {{{name}: {json.dumps(rest, ensure_ascii=False)}}}"
    return ""


def _unknown(shape: type[Shape], path: Path) -> KeyFault:
    owner = _owner(shape, path)
    key = str(path[-1])
    known = sorted(owner.model_fields, key=lambda name: not owner.model_fields[name].is_required())
    near = did_you_mean(key[:100], known)
    hint = owner.misplaced.get(key) or near or f"allowed: {', '.join(known)}"
    message = f"unknown key {short(key)}"
    return KeyFault(path, "key.unknown", message, hint, at_key=True)


def unknown_key(shape: type[Shape], path: Sequence[str]) -> KeyFault | None:
    """The fault of the first key in `path` that the shape does not know. None if it knows all of them."""
    here: type[Shape] | None = shape
    keys = [part for part in path if not part.isdigit()]  # a number is a position in a list
    for number, key in enumerate(keys):
        if here is None:
            return None  # below it any key is allowed, or none
        if key not in here.model_fields:
            return _unknown(shape, tuple(keys[: number + 1]))
        here = here.inner.get(key)
    return None


def _owner(shape: type[Shape], path: Path) -> type[Shape]:
    """The shape that governs the last key of `path`."""
    for part in path[:-1]:
        if isinstance(part, int):
            continue  # the items of a list have one shape
        shape = shape.inner.get(str(part)) or shape.inner["*"]
    return shape


def _name(path: Path) -> str:
    last = path[-1]
    if isinstance(last, int):
        return f"item {last + 1} of {path[-2]}" if len(path) > 1 else f"item {last + 1}"
    return short(last)[1:-1]


def file_problem(path: str, error: TextError) -> Problem:
    return Problem(path, error.line, error.column, error.code, error.message, error.hint)


def hidden_problems(path: str, text: str) -> Iterable[Problem]:
    """A warning for invisible characters in a file."""
    found = find_hidden(text)
    if found is not None:
        lines = Lines(text)
        line, column = lines.place(found.places[0])
        message = f"the file contains {names_of(found, lines)}"
        yield Problem(path, line, column, "text.hidden", message, HIDDEN_HINT, Severity.WARNING)


_PROSE = ("name", "description", "owner", "env", "task")  # keys whose values are not searched for or matched


def lookalike_problems(
    path: str,
    document: YamlDocument,
    found: Iterable[Problem],
    *,
    keys: Sequence[str] | None = None,
    job_id: str | None = None,
) -> Iterable[Problem]:
    """Warnings for words, globs and folders with characters that only look plain, so that they match nothing.

    found: the known problems; a word that one of them reports is not reported again.
    keys: the keys of the document to check. None: all of them.
    """
    if document.text.isascii() or not isinstance(document.data, dict):
        return
    known = {(each.line, each.column) for each in found}
    for place, text in _texts((), {key: each for key, each in document.data.items() if keys is None or key in keys}):
        line, column = document.place(place)
        if (hint := doubtful_hint(text)) and (line, column) not in known:
            message = f"{_name(place)} {short(text)} contains a character that looks like another"
            yield Problem(path, line, column, "text.lookalike", message, hint, Severity.WARNING, job_id)


def _texts(place: Path, value: Any) -> Iterable[tuple[Path, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            if key not in _PROSE:
                yield from _texts((*place, key), each)


def not_a_mapping(path: str, document: YamlDocument, *, hint: str) -> Problem:
    """The Problem of a document that is a list or a bare value."""
    line, column = document.start
    found = "a list" if isinstance(document.data, list) else "a bare value"
    return Problem(path, line, column, "yaml.not-a-mapping", f"expected key: value lines, not {found}", hint)


def flaw_problems(path: str, document: YamlDocument, job_id: str | None = None) -> Iterable[Problem]:
    for flaw in document.flaws:
        line, column = document.lines.place(flaw.index)
        yield Problem(path, line, column, flaw.code, flaw.message, flaw.hint, job_id=job_id)


def doubt_problems(path: str, document: YamlDocument, job_id: str | None = None) -> Iterable[Problem]:
    """Warnings for values that can be read but were perhaps not intended."""
    for each in document.doubts:
        line, column = document.lines.place(each.index)
        yield Problem(path, line, column, each.code, each.message, each.hint, Severity.WARNING, job_id)


def fault_problem(path: str, document: YamlDocument, fault: KeyFault, job_id: str | None = None) -> Problem:
    """The Problem of one fault, at its value, its key, or the nearest enclosing position."""
    if fault.at_key:
        line, column = document.key_place(fault.path)
    else:
        line, column = document.place(fault.path, fault.offset)
    return Problem(path, line, column, fault.code, fault.message, fault.hint, job_id=job_id)
