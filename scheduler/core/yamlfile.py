"""Strict YAML: text to plain data in which every value knows its place.

YAML 1.2's core schema, so that `on`, `no`, `1:30` and dates stay text. Anchors, aliases, tags, merge
keys, duplicate keys and keys that are not text are flaws of their document; they leave the others
readable. Data is built from libyaml's events as they come, with limits counted on the way: a hostile
file is refused before it costs anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml._yaml import CParser

from scheduler.core.texts import Lines, TextError, check_printable, short

MAX_NODES = 10_000  # scalars, keys and collections of one file
MAX_DEPTH = 32  # collections inside each other

Path = tuple[str | int, ...]  # keys and list positions from the document's root


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """Something YAML allows and we do not, in an otherwise readable document."""

    path: Path
    index: int  # character offset in the text
    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one value stands, as character offsets in the text."""

    key: int  # its key; the value itself for list items and the root
    value: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlDocument:
    """One document of a stream: plain data, and the place of everything in it."""

    data: Any  # str, int, float, bool, None, and lists and dicts of them; keys are str
    spots: dict[Path, Spot] = field(repr=False)
    flaws: tuple[Flaw, ...] = ()
    suspect: frozenset[Path] = frozenset()  # paths of the flaws
    text: str = field(repr=False)
    lines: Lines = field(repr=False)

    @property
    def start(self) -> tuple[int, int]:
        """Line and column of the first key, or of whatever the document is instead of a mapping."""
        return self.lines.place(self.spots[()].value)

    def key_place(self, path: Path) -> tuple[int, int]:
        """Line and column of the key at `path`, or of the nearest thing around it that stands in the file."""
        return self.lines.place(self._nearest(path).key)

    def place(self, path: Path, offset: int = 0) -> tuple[int, int]:
        """Line and column of the value at `path`, or of the nearest thing around it that stands in the file.

        offset: characters into the value; counted only where the text shows them as they are.
        """
        spot = self._nearest(path)
        return self.lines.place(spot.value + (self._shift(spot, path, offset) if offset else 0))

    def raw(self, path: Path) -> str | None:
        """The value at `path` as written, if it stands in the file on one line."""
        spot = self.spots.get(path)
        if spot is None:
            return None
        written = self.text[spot.value : spot.end]
        return written if "\n" not in written and "\r" not in written else None

    def flawed(self, path: Path) -> bool:
        """Whether the value at `path`, or one around it, cannot be trusted to be what was meant."""
        return any(path[:length] in self.suspect for length in range(1, len(path) + 1))

    def _nearest(self, path: Path) -> Spot:
        while path not in self.spots:
            path = path[:-1]
        return self.spots[path]

    def _shift(self, spot: Spot, path: Path, offset: int) -> int:
        value: Any = self.data
        for part in path:
            if isinstance(value, dict | list):
                try:
                    value = value[part]  # type: ignore[index]
                except (KeyError, IndexError):
                    break
        if not isinstance(value, str):
            return 0
        written = self.text[spot.value : spot.end]
        quote = written[:1] in ("'", '"')
        inner = written[1:-1] if quote else written
        return offset + quote if inner == value else 0


def read_yaml(text: str, start: int = 0, end: int | None = None) -> tuple[YamlDocument, ...]:
    """The documents of text[start:end], without those that hold nothing; places count in the whole text.

    Raises: TextError for the first thing that makes the whole stream unreadable.
    """
    end = len(text) if end is None else end
    check_printable(text, start, end)
    return tuple(_Reader(text, start, end).documents())


@dataclass(slots=True)
class _Fresh:
    """What one document collects while it is built."""

    spots: dict[Path, Spot] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)


class _Reader:
    def __init__(self, text: str, start: int, end: int) -> None:
        self._text = text
        self._start = start
        self._end = end
        self._lines = Lines(text)
        self._nodes = 0
        # Tags are refused anyway, and libyaml compares each declared one with all before it.
        declared = re.compile(r"^%TAG\b", re.MULTILINE).search(text, start, end)
        if declared is not None:
            raise self._error("yaml.tag", "tags are not read", declared.start(), "delete the %TAG line")
        self._parser = CParser(text[start:end])

    def documents(self) -> Iterator[YamlDocument]:
        while True:
            event = self._next()
            if isinstance(event, yaml.StreamEndEvent):
                return
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            fresh = _Fresh()
            first = self._next()
            data = self._node(first, (), self._index(first.start_mark), 1, fresh)
            self._next()  # the end of the document
            if data is None and not fresh.flaws and isinstance(first, yaml.ScalarEvent) and not first.value:
                continue
            yield YamlDocument(
                data=data,
                spots=fresh.spots,
                flaws=tuple(fresh.flaws),
                suspect=frozenset(flaw.path for flaw in fresh.flaws),
                text=self._text,
                lines=self._lines,
            )

    def _node(self, event: Any, path: Path, key: int, depth: int, fresh: _Fresh, *, kept: bool = True) -> Any:
        """The value that begins with `event`. kept: False for one whose key is refused; its place is not noted."""
        self._nodes += 1
        index = self._index(event.start_mark)
        if self._nodes > MAX_NODES:
            raise self._error(
                "yaml.too-many-nodes",
                f"the file holds more than {MAX_NODES} YAML values",
                index,
                "split it into several files",
            )
        if kept:
            fresh.spots[path] = Spot(key, index, self._index(event.end_mark))
        if isinstance(event, yaml.AliasEvent):
            fresh.flaws.append(self._alias(event, path, index))
            return None
        if event.anchor is not None:
            fresh.flaws.append(
                Flaw(
                    path=(),
                    index=index,
                    code="yaml.anchor",
                    message=f"anchor {short('&' + event.anchor)} is not read",
                    hint=f'delete it; if the text itself starts with &, quote it: "&{event.anchor}"',
                )
            )
        if event.tag is not None:
            fresh.flaws.append(
                Flaw(
                    path=path,
                    index=index,
                    code="yaml.tag",
                    message=f"tag {short(event.tag.replace('tag:yaml.org,2002:', '!!'))} is not read",
                    hint="delete it; if the text itself starts with !, quote it",
                )
            )
        if isinstance(event, yaml.ScalarEvent):
            if "\0" in event.value:
                fresh.flaws.append(
                    Flaw(path=path, index=index, code="file.character", message="a NUL character cannot stand here")
                )
            if event.style or event.tag is not None:
                return event.value
            if _LEADING_ZERO.fullmatch(event.value):
                fresh.flaws.append(self._leading_zero(event, path, index))
            return resolve(event.value)
        if depth > MAX_DEPTH:
            raise self._error(
                "yaml.too-deep", f"values are nested more than {MAX_DEPTH} deep", index, "a job file needs three levels"
            )
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path, depth, fresh, kept=kept)
        return self._mapping(path, depth, fresh, kept=kept)

    def _sequence(self, path: Path, depth: int, fresh: _Fresh, *, kept: bool) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            place = (*path, len(items))
            items.append(self._node(event, place, self._index(event.start_mark), depth + 1, fresh, kept=kept))
        return items

    def _mapping(self, path: Path, depth: int, fresh: _Fresh, *, kept: bool) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        lines: dict[str, int] = {}
        first = True
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            index = self._index(event.start_mark)
            if kept and not path and first:
                fresh.spots[()] = Spot(index, index, index)
            first = False
            flaws = len(fresh.flaws)
            key = self._node(event, path, index, depth + 1, fresh, kept=False)
            usable = len(fresh.flaws) == flaws and isinstance(key, str)
            if isinstance(key, str) and key == "<<" and not event.style:
                usable = False
                fresh.flaws.append(
                    Flaw(
                        path=path,
                        index=index,
                        code="yaml.merge-key",
                        message="merge key '<<' is not read",
                        hint="write the keys out, or use defaults in scheduler.yaml",
                    )
                )
            elif not isinstance(key, str) and len(fresh.flaws) == flaws:
                fresh.flaws.append(self._key_flaw(event, path, index))
            elif usable and key in pairs:
                usable = False
                fresh.flaws.append(
                    Flaw(
                        path=(*path, key),
                        index=index,
                        code="key.duplicate",
                        message=f"key {short(key)} is given twice, on lines {lines[key]} and {self._line(index)}",
                        hint="delete one of them",
                    )
                )
            if usable:
                lines[key] = self._line(index)
                pairs[key] = self._node(self._next(), (*path, key), index, depth + 1, fresh, kept=kept)
            else:
                self._node(self._next(), path, index, depth + 1, fresh, kept=False)
        return pairs

    def _key_flaw(self, event: Any, path: Path, index: int) -> Flaw:
        if isinstance(event, yaml.ScalarEvent):
            written = event.value or "(nothing)"
            hint = f'quote it: "{event.value}"' if event.value else "write a key in front of the colon"
            return Flaw(path=path, index=index, code="key.type", message=f"key {short(written)} is not text", hint=hint)
        return Flaw(
            path=path,
            index=index,
            code="key.type",
            message="a list or mapping cannot be a key",
            hint="quote text that starts with { or [",
        )

    def _leading_zero(self, event: Any, path: Path, index: int) -> Flaw:
        plain = event.value.lstrip("+-0") or "0"
        return Flaw(
            path=path,
            index=index,
            code="yaml.octal",
            message=f"number {short(event.value)} starts with 0: some programs would count it in eights",
            hint=f'write {"-" * event.value.startswith("-")}{short(plain)[1:-1]}, or quote text: "{event.value}"',
        )

    def _alias(self, event: Any, path: Path, index: int) -> Flaw:
        return Flaw(
            path=path,
            index=index,
            code="yaml.alias",
            message=f"alias {short('*' + event.anchor)} is not read",
            hint="write the value out; if the text itself starts with *, quote it",
        )

    def _next(self) -> Any:
        try:
            return self._parser.get_event()
        except yaml.MarkedYAMLError as error:
            raise self._syntax(error) from None
        except yaml.YAMLError:
            raise self._error("yaml.syntax", "the file cannot be read as YAML", self._start) from None

    def _index(self, mark: Any) -> int:
        return self._start + int(mark.index)

    def _line(self, index: int) -> int:
        return self._lines.place(index)[0]

    def _error(self, code: str, message: str, index: int, hint: str = "") -> TextError:
        line, column = self._lines.place(index)
        return TextError(code, message, line=line, column=column, hint=hint)

    # -- syntax errors: libyaml's terse phrases, turned to the place and the remedy ---------------

    def _syntax(self, error: yaml.MarkedYAMLError) -> TextError:
        problem = error.problem or "cannot be read"
        context = error.context or ""
        at = self._start if error.problem_mark is None else self._index(error.problem_mark)
        opened = at if error.context_mark is None else self._index(error.context_mark)
        if "alias" in context:
            return self._starred(opened)
        character = self._text[at : min(at + 1, self._end)]
        if character == "\t" or "tab character" in problem:
            return self._error("yaml.tab", "a tab cannot indent YAML", at, "indent with spaces")
        if (
            "cannot start any token" in problem
            or "mapping keys are not allowed" in problem
            or ("expected node content" in problem and "block node" in context and character in (",", "]", "}"))
        ):
            quoted = self._quoted(at)
            return self._error(
                "yaml.unquoted", f"a value cannot start with {character!r} unless it is quoted", at, f"write {quoted}"
            )
        if "sequence entries are not allowed" in problem:
            return self._error(
                "yaml.syntax",
                "a list cannot start behind its key",
                at,
                "start it on the next line, each item after '- '; or quote the text",
            )
        if "unknown escape character" in problem:
            return self._error(
                "yaml.syntax",
                f"in double quotes a backslash escapes, and {self._text[at : at + 2]} stands for nothing",
                at,
                "write it in single quotes, or the backslash twice",
            )
        if "expected ':'" in problem:
            return self._error(
                "yaml.syntax",
                "the line above this is neither a key with its value nor the rest of a text",
                at,
                "write key: value; a text of several lines stands indented below key: |",
            )
        if "incompatible YAML" in problem:
            return self._error("yaml.syntax", "only YAML 1.1 and 1.2 are read", at, "delete the %YAML line")
        if "mapping values are not allowed" in problem:
            return self._error(
                "yaml.syntax",
                "a second ': ' or a wrong indentation: no key is possible here",
                at,
                "quote a value that holds ': ', or align the key with those above",
            )
        if problem == "found unexpected end of stream" and "quoted scalar" in context:
            return self._error(
                "yaml.syntax",
                "the quote that opens here is never closed",
                opened,
                f"close it with {self._text[opened]}",
            )
        if "flow" in context and opened < at:
            opener = self._text[opened : opened + 1]
            closer = {"[": "]", "{": "}"}.get(opener, "")
            if closer:
                return self._error(
                    "yaml.syntax", f"{opener!r} opened here is not closed properly", opened, f"close it with {closer}"
                )
        if "document start" in problem:
            return self._error(
                "yaml.syntax",
                "text after the end of the document",
                at,
                "start another document with --- on its own line",
            )
        if "expected key" in problem:
            return self._error(
                "yaml.syntax", "no key is possible here", at, "align it with the keys above, or quote the text"
            )
        if "'-' indicator" in problem:
            return self._error("yaml.syntax", "a list item was expected here", at, "start it with '- ', or indent it")
        phrase = f"{problem} {context}".strip()
        return self._error("yaml.syntax", f"YAML cannot be read: {phrase}", at)

    def _starred(self, index: int) -> TextError:
        quoted = self._quoted(index)
        return self._error(
            "yaml.unquoted", "a value cannot start with '*' unless it is quoted", index, f"write {quoted}"
        )

    def _quoted(self, index: int) -> str:
        """The plain value at `index` as it should have been written, without the comment or bracket behind it."""
        line_start = index - self._lines.place(index)[1] + 1
        in_flow = any(bracket in self._text[line_start:index] for bracket in "{[")
        ends = r"\s#|[\r\n\]}]|,\s" if in_flow else r"\s#|[\r\n]"
        value = re.split(ends, self._text[index : self._end], maxsplit=1)[0].rstrip()
        return "'" + value.replace("'", "''") + "'" if '"' in value or "\\" in value else f'"{value}"'


# -- the core schema (YAML 1.2.2, section 10.3.2) ------------------------------------------------

_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_INT = re.compile(r"[-+]?[0-9]{1,40}")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]{1,40}")
_OCTAL = re.compile(r"0o[0-7]{1,40}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,40}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def resolve(text: str) -> Any:
    """What a plain scalar stands for. A number of more than 40 digits stays text: nothing here can use it."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text, 16)
    if _FLOAT.fullmatch(text) and len(text) <= 40:
        return float(text)
    return text
