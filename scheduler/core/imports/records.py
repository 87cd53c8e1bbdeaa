"""Records of a source, field by field: what is read has its type, and what is not read can be named afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]
from typing import Any
from zoneinfo import ZoneInfo

from scheduler.core.formats.frontmatter import fences_of
from scheduler.core.formats.yamlfile import read_yaml
from scheduler.core.imports.brought import LeftOutError, Lost
from scheduler.core.imports.secrets import quoted
from scheduler.core.values.texts import TextError

_SPACES = " \t\r\n"
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)
_DECODER = json.JSONDecoder()
_PLAIN_KEY = re.compile(r"^([\w-]+):(?=\s)(.*(?:\n[ \t]+.*)*)", re.MULTILINE)


class Record:
    """One JSON object. A field that is absent, null or of another type reads as None; the latter stays unread."""

    def __init__(self, values: Mapping[str, Any], *, zone: str = "UTC") -> None:
        """zone: of times that name none."""
        self._values = values
        self._zone = zone
        self._read: set[str] = set()
        self._below: dict[str, Record] = {}
        self._lists: dict[str, tuple[Record, ...]] = {}

    def _take(self, name: str, *kinds: type) -> Any:
        value = self._values.get(name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            return None
        self._read.add(name)
        return value

    def text(self, *names: str) -> str | None:
        """The first of these fields that is a text and not blank."""
        found: list[str] = [value for name in names if (value := self._take(name, str)) is not None and value.strip()]
        return found[0] if found else None

    def peek(self, name: str) -> str:
        """A text that stays unread; empty if there is none."""
        value = self._values.get(name)
        return value if isinstance(value, str) else ""

    def raw(self, name: str) -> Any:
        """A value of any type, which stays unread."""
        return self._values.get(name)

    def flag(self, name: str) -> bool | None:
        found: bool | None = self._take(name, bool)
        return found

    def count(self, name: str) -> int | None:
        """A whole number from 0."""
        value = self._take(name, int)
        if value is not None and not 0 <= value < 2**53:
            self._read.discard(name)
            return None
        return None if value is None else int(value)

    def duration(self, name: str, unit: timedelta) -> timedelta | None:
        """A number of `unit`s above 0."""
        value = self._take(name, int, float)
        if value is not None and 0 < value < timedelta(days=36500) / unit:
            found: timedelta = value * unit
            if found:  # not a fraction of a microsecond
                return found
        self._read.discard(name)
        return None

    def instant(self, *names: str) -> datetime | None:
        """The first of these fields that is a time: milliseconds since 1970, or RFC 3339, perhaps without a zone."""
        for name in names:
            value = self._take(name, int, float, str)
            found = None if value is None else _instant(value, self._zone)
            if found is not None:
                return found
            self._read.discard(name)
        return None

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, or one text."""
        value = self._take(name, list, str)
        found = [value] if isinstance(value, str) else value or []
        if all(isinstance(each, str) for each in found):
            return tuple(found)
        self._read.discard(name)
        return ()

    def record(self, name: str) -> Record | None:
        """An object; its unread fields count as those of this record."""
        value = self._take(name, dict)
        if value is None:
            return None
        return self._below.setdefault(name, Record(value, zone=self._zone))

    def records(self, name: str) -> tuple[Record, ...]:
        """A list of objects; their unread fields count as those of this record."""
        value = self._take(name, list)
        if not value or not all(isinstance(each, dict) for each in value):
            self._read.discard(name)
            return ()
        return self._lists.setdefault(name, tuple(Record(each, zone=self._zone) for each in value))

    def drop(self, *names: str) -> None:
        """Fields that no longer mean anything, or that follow from the others: they are not named."""
        self._read |= {*names}

    def has(self, name: str) -> bool:
        return self._values.get(name) not in (None, "", [], {})

    def lost(self, instead: Mapping[str, str] | None = None, prefix: str = "") -> tuple[Lost, ...]:
        """The fields that nobody read and that say something. instead: what to do about them."""
        found: list[Lost] = []
        for name, value in self._values.items():
            if name in self._below:
                found += self._below[name].lost(instead, f"{prefix}{name}.")
            elif name in self._lists:
                for number, each in enumerate(self._lists[name]):
                    place = name if len(self._lists[name]) == 1 else f"{name}[{number}]"
                    found += each.lost(instead, f"{prefix}{place}.")
            elif name not in self._read and value not in (None, "", [], {}):
                hint = (instead or {}).get(prefix + name, "")
                found.append(Lost(name=prefix + str(name), value=value, instead=hint))
        return tuple(found)


def _instant(value: float | str, zone: str) -> datetime | None:
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value.strip())
            at = (at.replace(tzinfo=ZoneInfo(zone)) if at.tzinfo is None else at).astimezone(UTC)
        else:
            at = datetime.fromtimestamp(value / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return at if datetime(1970, 1, 1, tzinfo=UTC) <= at < _LATEST else None


AN_INSTANT, A_SPAN, A_TEXT = "a time from 1970 to 8999", "a number above 0, up to 100 years", "a text"


def no_time(schedule: Record, kinds: Mapping[str, tuple[str, ...]]) -> LeftOutError:
    """Why a schedule says no time. kinds: what may say it, and in which fields."""
    kind = schedule.peek("kind")
    allowed, *names = kinds.get(kind, ("",))
    said = next((name for name in names if schedule.has(name)), None)
    if said is not None:
        return LeftOutError("schedule", f"its {said} is {quoted(schedule.raw(said))}; allowed: {allowed}")
    why = f"its schedule of the kind {quoted(kind)} says no time"
    return LeftOutError("schedule", f"{why}; allowed: {', '.join(kinds)}" if not names else f"{why}: no {names[0]}")


def read_skill(text: str) -> tuple[Record, str]:
    """The front matter of a SKILL.md, and the prompt below it. Raises: TextError."""
    if re.match(r"---\s*$", text, re.MULTILINE) is None:
        return Record({}), text
    fences = fences_of(text)
    try:
        heads = [each.data for each in read_yaml(text, fences.start, fences.end) if isinstance(each.data, dict)]
    except TextError:  # agents write texts with `: ` in them without quotes, and their programs read them
        heads = [{name: value.strip() for name, value in _PLAIN_KEY.findall(text, fences.start, fences.end)}]
    return Record(heads[0] if heads else {}), text[fences.body :].lstrip()


def json_value(text: str) -> Any:
    """The value of a JSON text. Raises: TextError with the place."""
    try:
        return _DECODER.decode(text)
    except JSONDecodeError as error:
        if not text.strip():
            raise TextError("json", "it is empty") from None
        cut = error.pos >= len(text.rstrip())
        why = (
            "it ends in the middle of the JSON text"
            if cut
            else f"it is not JSON: {error.msg[0].lower()}{error.msg[1:]}"
        )
        hint = "the file may be incomplete; copy it again" if cut else ""
        raise TextError("json", why, line=error.lineno, column=error.colno, hint=hint) from None
    except RecursionError:
        raise TextError("json", "it is nested too deeply") from None


def json_objects(text: str, name: str) -> list[Mapping[str, Any]]:
    """The objects in a list, which is the JSON text itself or field `name` of it; none if it is something else.

    Raises: TextError if it begins like JSON and is none.
    """
    value = json_value(text) if text.lstrip().startswith(("{", "[")) else None
    found = value.get(name) if isinstance(value, dict) else value
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def json_items(text: str, name: str) -> Iterator[tuple[int, Any]]:
    """The elements of a list, each with its line: the list itself, or field `name` of an object.

    Raises: TextError, also if there is no such list.
    """
    value = json_value(text)
    if not isinstance(value.get(name) if isinstance(value, dict) else value, list):
        raise TextError("json", f"it has no list {name!r}")
    at = _skip(text, 0)
    if text[at] == "{":
        at = _skip(text, at + 1)
        while True:
            key, at = scanstring(text, at + 1, True)
            at = _skip(text, _skip(text, at) + 1)
            if key == name and text[at] == "[":
                break
            _, at = _DECODER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
    at = _skip(text, at + 1)
    line, seen = 1, 0
    while text[at] != "]":
        line, seen = line + text.count("\n", seen, at), at
        item, at = _DECODER.raw_decode(text, at)
        yield line, item
        at = _skip(text, at)
        at = _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    while text[at] in _SPACES:
        at += 1
    return at
