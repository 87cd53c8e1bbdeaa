"""Strict YAML: text to plain data in which the position of every value is known.

YAML 1.2's core schema, so that `on`, `no`, `1:30` and dates stay text. Anchors, aliases, tags, merge keys, duplicate
keys and keys that are not text are flaws of their document; other documents stay readable. Data is built from libyaml's
events as they arrive, and limits are counted on the way, so that a hostile file is refused before it costs anything.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml
from yaml._yaml import CParser

from scheduler.core.values.texts import CONFLICT_HINT, Lines, TextError, check_printable, short

_LONGEST_HINT = 120  # characters of a value that a hint repeats in full
_FARTHEST = 10_000  # characters in which to look for an open bracket
_MARKER = re.compile(r"^(?:<{7} |\|{7} |>{7} |={7}\r?$)", re.MULTILINE)
_TAGS = re.compile(r"^%TAG\b", re.MULTILINE)
_COMMENT = re.compile(r"[ \t]*,?[ \t]+(#[^\s#=~*!-][^\r\n]*)")  # no blank after the #: a text that was cut
_GLUED = re.compile(r"(-|[\w-]{1,100}:)([^\s:-][^\r\n]{0,100})")

MAX_NODES = 10_000  # scalars, keys and collections of one file
MAX_DEPTH = 32  # collections inside each other

Path = tuple[str | int, ...]  # keys and list positions from the document's root


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that YAML allows and the scheduler does not, in an otherwise readable document."""

    path: Path
    index: int  # character offset in the text
    code: str
    message: str
    hint: str = ""


class Spot(NamedTuple):
    """Where one value is, as character offsets in the text."""

    key: int  # its key; for list items and the root, the value itself
    value: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlDocument:
    """One document of a stream: plain data, and the position of everything in it."""

    data: Any  # str, int, float, bool, None, and lists and dicts of them; keys are str
    spots: dict[Path, Spot] = field(repr=False)
    flaws: tuple[Flaw, ...] = ()
    suspect: frozenset[Path] = frozenset()  # paths of the flaws
    doubts: tuple[Flaw, ...] = ()  # values that are accepted, though perhaps not intended
    text: str = field(repr=False)
    lines: Lines = field(repr=False)

    @property
    def start(self) -> tuple[int, int]:
        """Line and column of the first key, or of the document's content if it is not a mapping."""
        return self.lines.place(self.spots[()].value)

    def key_place(self, path: Path) -> tuple[int, int]:
        """Line and column of the key at `path`, or of the nearest enclosing position in the file."""
        return self.lines.place(self._nearest(path).key)

    def place(self, path: Path, offset: int = 0) -> tuple[int, int]:
        """Line and column of the value at `path`, or of the nearest enclosing position in the file.

        offset: characters into the value; counted only if the text shows them unchanged.
        """
        spot = self._nearest(path)
        return self.lines.place(spot.value + (self._shift(spot, path, offset) if offset else 0))

    def raw(self, path: Path) -> str | None:
        """The value at `path` as written, if it is in the file on one line."""
        spot = self.spots.get(path)
        if spot is None:
            return None
        written = self.text[spot.value : spot.end]
        return written if "\n" not in written and "\r" not in written else None

    def flawed(self, path: Path) -> bool:
        """True if the value at `path`, or one around it, may not be what was intended."""
        return bool(self.suspect) and any(path[:length] in self.suspect for length in range(1, len(path) + 1))

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


def read_yaml(text: str, start: int = 0, end: int | None = None, *, most: int = MAX_NODES) -> tuple[YamlDocument, ...]:
    """The documents of text[start:end], without empty ones; positions count in the whole text.

    most: how many values it can hold.
    Raises: TextError for the first thing that makes the whole stream unreadable.
    """
    end = len(text) if end is None else end
    check_printable(text, start, end)
    return tuple(_Reader(text, start, end, most).documents())


@dataclass(slots=True)
class _Fresh:
    """What one document collects while it is built."""

    spots: dict[Path, Spot] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)
    doubts: list[Flaw] = field(default_factory=list)


class _Reader:
    def __init__(self, text: str, start: int, end: int, most: int) -> None:
        self._text = text
        self._start = start
        self._end = end
        self._lines = Lines(text)
        self._nodes = 0
        self._most = most
        # Tags are refused anyway, and libyaml compares each declared tag with all before it.
        declared = _TAGS.search(text, start, end)
        if declared is not None:
            raise self._error("yaml.tag", "YAML tags are not allowed", declared.start(), "delete the %TAG line")
        self._comments = "#" in text
        self._next: Callable[[], Any] = CParser(text[start:end]).get_event

    def documents(self) -> Iterator[YamlDocument]:
        """Raises: TextError."""
        try:
            yield from self._documents()
        except yaml.MarkedYAMLError as error:
            raise self._syntax(error) from None
        except yaml.YAMLError:
            raise self._error("yaml.syntax", "the file is not valid YAML", self._start) from None

    def _documents(self) -> Iterator[YamlDocument]:
        while True:
            event = self._next()
            if isinstance(event, yaml.StreamEndEvent):
                return
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            fresh = _Fresh()
            first = self._next()
            data = self._node(first, (), self._start + first.start_mark.index, 1, fresh, True)
            self._next()  # the end of the document
            if data is None and not fresh.flaws and isinstance(first, yaml.ScalarEvent) and not first.value:
                continue
            yield YamlDocument(
                data=data,
                spots=fresh.spots,
                flaws=tuple(fresh.flaws),
                suspect=frozenset(flaw.path for flaw in fresh.flaws),
                doubts=tuple(fresh.doubts),
                text=self._text,
                lines=self._lines,
            )

    def _node(self, event: Any, path: Path, key: int, depth: int, fresh: _Fresh, kept: bool) -> Any:
        """The value that begins with `event`. kept: False if its key is refused; then its position is not recorded."""
        self._nodes += 1
        index = self._start + event.start_mark.index
        if self._nodes > self._most:
            message = f"the file contains more than {self._most} YAML values"
            raise self._error("yaml.too-many-nodes", message, index, "split it into several files")
        if kept:
            fresh.spots[path] = Spot(key, index, self._start + event.end_mark.index)
        if isinstance(event, yaml.AliasEvent):
            message = f"YAML alias {short(f'*{event.anchor}')} is not allowed"
            hint = "write the value in full; if the text itself starts with *, quote it"
            fresh.flaws.append(Flaw(path, index, "yaml.alias", message, hint))
            return None
        if event.anchor is not None:
            hint = f'delete it; if the text itself starts with &, quote it: "&{event.anchor}"'
            fresh.flaws.append(
                Flaw((), index, "yaml.anchor", f"YAML anchor {short('&' + event.anchor)} is not allowed", hint)
            )
        if event.tag is not None:
            message = f"YAML tag {short(event.tag.replace('tag:yaml.org,2002:', '!!'))} is not allowed"
            hint = "delete it; if the text itself starts with !, quote it"
            fresh.flaws.append(Flaw(path, index, "yaml.tag", message, hint))
        if isinstance(event, yaml.ScalarEvent):
            value: str = event.value
            if "\0" in value:
                fresh.flaws.append(Flaw(path, index, "file.character", "a NUL character is not allowed here"))
            if event.style or event.tag is not None:
                return value
            if self._comments:
                self._doubt_comment(event, path, fresh)
            if value[:1] not in _NUMERIC:
                return _WORDS.get(value, value)
            if _LEADING_ZERO.fullmatch(value):
                fresh.flaws.append(self._leading_zero(event, path, index))
            return resolve_scalar(value)
        if depth > MAX_DEPTH:
            raise self._error(
                "yaml.too-deep",
                f"values are nested more than {MAX_DEPTH} levels deep",
                index,
                "flatten it; a job file needs only three levels",
            )
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path, depth, fresh, kept)
        return self._mapping(path, depth, fresh, kept)

    def _sequence(self, path: Path, depth: int, fresh: _Fresh, kept: bool) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            index = self._start + event.start_mark.index
            items.append(self._node(event, (*path, len(items)), index, depth + 1, fresh, kept))
        return items

    def _mapping(self, path: Path, depth: int, fresh: _Fresh, kept: bool) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        found: dict[str, int] = {}  # where each key is
        first = True
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            index = self._start + event.start_mark.index
            if kept and not path and first:
                fresh.spots[()] = Spot(index, index, index)
            first = False
            flaws = len(fresh.flaws)
            key = self._node(event, path, index, depth + 1, fresh, False)
            usable = len(fresh.flaws) == flaws and isinstance(key, str)
            if key == "<<" and not event.style:
                usable = False
                hint = "write the keys in full, or use defaults in scheduler.yaml"
                fresh.flaws.append(Flaw(path, index, "yaml.merge-key", "merge key '<<' is not allowed", hint))
            elif not isinstance(key, str) and len(fresh.flaws) == flaws:
                fresh.flaws.append(self._key_flaw(event, path, index))
            elif usable and key in pairs:
                usable = False
                message = f"key {short(key)} appears twice, on lines {self._line(found[key])} and {self._line(index)}"
                fresh.flaws.append(Flaw((*path, key), index, "key.duplicate", message, "delete one of them"))
            if usable:
                found[key] = index
                pairs[key] = self._node(self._next(), (*path, key), index, depth + 1, fresh, kept)
            else:
                self._node(self._next(), path, index, depth + 1, fresh, False)
        return pairs

    def _key_flaw(self, event: Any, path: Path, index: int) -> Flaw:
        if isinstance(event, yaml.ScalarEvent):
            written = event.value or "(nothing)"
            hint = f'quote it: "{event.value}"' if event.value else "write a key before the colon"
            return Flaw(path, index, "key.type", f"key {short(written)} is not text", hint)
        return Flaw(path, index, "key.type", "a list or mapping cannot be a key", "quote text that starts with { or [")

    def _doubt_comment(self, event: Any, path: Path, fresh: _Fresh) -> None:
        found = _COMMENT.match(self._text, self._index(event.end_mark), self._end)
        if found is None:
            return
        lost = found[1].rstrip()
        in_list = "," in found[0][: -len(found[1])]
        if in_list:
            said, whole = "so the line ends before it", lost
        elif event.value:
            said, whole = f"so the value is only {short(event.value)}", f"{event.value} {lost}"
        else:
            said, whole = "so there is no value", lost
        one_line = len(whole) <= _LONGEST_HINT and "\n" not in whole and not in_list
        quote = f"write {json.dumps(whole, ensure_ascii=False)}" if one_line else "put quotes around the text"
        message = f"{short(lost)} is read as a comment, {said}"
        hint = f"{quote}; if it is a comment, put a space after the #"
        fresh.doubts.append(Flaw(path, found.start(1), "yaml.comment", message, hint))

    def _leading_zero(self, event: Any, path: Path, index: int) -> Flaw:
        plain = event.value.lstrip("+-0") or "0"
        message = f"number {short(event.value)} starts with 0, so some programs would read it as octal"
        hint = f'write {"-" * event.value.startswith("-")}{short(plain)[1:-1]}, or quote text: "{event.value}"'
        return Flaw(path, index, "yaml.octal", message, hint)

    def _index(self, mark: Any) -> int:
        return self._start + int(mark.index)

    def _line(self, index: int) -> int:
        return self._lines.place(index)[0]

    def _error(self, code: str, message: str, index: int, hint: str = "") -> TextError:
        line, column = self._lines.place(index)
        return TextError(code, message, line=line, column=column, hint=hint)

    def _syntax(self, error: yaml.MarkedYAMLError) -> TextError:
        problem = error.problem or "cannot be read"
        context = error.context or ""
        at = self._start if error.problem_mark is None else self._index(error.problem_mark)
        opened = at if error.context_mark is None else self._index(error.context_mark)
        marker = self._marker(at)
        if marker is not None:
            return self._error("file.conflict-markers", "a merge-conflict marker was left here", marker, CONFLICT_HINT)
        if "alias" in context:
            return self._unquoted("yaml.unquoted", opened)
        character = self._text[at : min(at + 1, self._end)]
        if character == "\t" or "tab character" in problem:
            return self._error("yaml.tab", "YAML cannot be indented with tabs", at, "indent with spaces")
        if (
            "cannot start any token" in problem
            or "mapping keys are not allowed" in problem
            or ("expected node content" in problem and "block node" in context and character in (",", "]", "}"))
        ):
            return self._unquoted("yaml.unquoted", at)
        if "block scalar" in context and ("comment or line break" in problem or "indicator" in problem):
            return self._unquoted("yaml.unquoted", opened, "; a text of several lines starts on the next line")
        if "an anchor" in context or "a tag" in context:
            return self._unquoted("yaml.syntax", opened)
        if "tag handle" in problem:
            return self._unquoted("yaml.syntax", at)
        if "sequence entries are not allowed" in problem:
            hint = "start it on the next line, each item after '- '; or quote the text"
            return self._error("yaml.syntax", "a list cannot start on the line of its key", at, hint)
        if "escape c" in problem or "hexdecimal" in problem:
            escape = at if "unknown" in problem else self._text.rfind("\\", opened, at)
            digits = "hexdecimal" in problem
            stands = "needs hexadecimal digits after it" if digits else "is not one"
            message = f"in double quotes a backslash starts an escape, and {self._text[escape : escape + 2]} {stands}"
            return self._error("yaml.syntax", message, escape, "use single quotes, or double the backslash")
        if "expected ':'" in problem:
            return self._no_key(opened)
        if "directive" in context or "incompatible YAML" in problem:
            if "YAML" in context + problem:
                return self._error(
                    "yaml.syntax", "only YAML 1.1 and 1.2 are supported", opened, "delete the %YAML line"
                )
            return self._error(
                "yaml.syntax", "a line that starts with % is not a key", opened, "delete the line, or quote the text"
            )
        if "mapping values are not allowed" in problem:
            hint = "quote a value that contains ': ', or align the key with those above"
            return self._error("yaml.syntax", "a second ': ' or wrong indentation: no key can start here", at, hint)
        if problem == "found unexpected end of stream" and "quoted scalar" in context:
            message = "the quote that opens here is never closed"
            return self._error("yaml.syntax", message, opened, f"close it with {self._text[opened]}")
        if "flow" in context:
            found = self._flow(at, opened, character)
            if found is not None:
                return found
        if "document start" in problem:
            message = "text after the end of the document"
            return self._error("yaml.syntax", message, at, "start another document with --- on its own line")
        if "expected key" in problem:
            return self._behind_value(at, character)
        if "'-' indicator" in problem:
            return self._error("yaml.syntax", "expected a list item here", at, "start it with '- ', or indent it")
        if "node content" in problem:
            return self._error("yaml.syntax", "expected a value here", at, "write it, or quote the text")
        phrase = f"{problem} {context}".strip()
        return self._error(
            "yaml.syntax", f"the file is not valid YAML: {phrase}", at, "quote the text, or fix its indentation"
        )

    def _marker(self, index: int) -> int | None:
        """The merge-conflict marker that a syntax error is on or just below."""
        line = self._lines.place(index)[0]
        start, end = self._lines.start(line - 1), self._lines.start(line + 1)
        found = [each.start() for each in _MARKER.finditer(self._text, max(start, self._start), min(end, self._end))]
        return found[-1] if found else None

    def _unquoted(self, code: str, index: int, more: str = "") -> TextError:
        message = f"a value cannot start with {self._text[index : index + 1]!r} unless it is quoted"
        return self._error(code, message, index, f"write {self._quoted(index)}{more}")

    def _no_key(self, index: int) -> TextError:
        hint = "write key: value; indent a text of several lines under key: |"
        glued = _GLUED.match(self._text, index, self._end)
        if glued is not None:
            what = "dash" if glued[1] == "-" else "colon"
            hint = f"write a space after the {what}: {glued[1]} {glued[2]}"
        return self._error(
            "yaml.syntax", "this is neither a key with its value nor the continuation of a text", index, hint
        )

    def _flow(self, at: int, opened: int, character: str) -> TextError | None:
        """What is wrong inside [ ] or { }. None if that cannot be determined."""
        if character == ",":
            hint = "delete the comma, or write the missing value before it"
            return self._error("yaml.syntax", "this comma has no value before it", at, hint)
        if opened == at:
            opened = self._opener(at)
        opener = self._text[opened : opened + 1]
        closer = {"[": "]", "{": "}"}.get(opener, "")
        if not closer:
            return None
        return self._error(
            "yaml.syntax", f"the {opener!r} that opens here is not closed properly", opened, f"close it with {closer}"
        )

    def _opener(self, index: int) -> int:
        """The bracket that is still open at `index`, or `index`; quotes are not considered."""
        depth = 0
        for at in range(index - 1, max(self._start, index - _FARTHEST) - 1, -1):
            depth += (self._text[at] in "]}") - (self._text[at] in "[{")
            if depth < 0:
                return at
        return index

    def _behind_value(self, at: int, character: str) -> TextError:
        """The error of text where a key was expected, often the rest of a value that ended too early."""
        line_start = at - self._lines.place(at)[1] + 1
        before = self._text[line_start:at].rstrip()[-1:]
        if character in ("]", "}"):
            message, hint = f"this {character!r} has no opening bracket", "delete it, or quote the text"
        elif before in ("'", '"'):
            message, hint = (
                "the quotes end before this",
                'write the text in single quotes, or \\" for a quote inside it',
            )
            if before == "'":
                hint = "write the text in double quotes, or '' for an apostrophe inside it"
        elif before in ("]", "}"):
            message, hint = f"the value already ended with the {before} before this", "quote the whole text"
        else:
            message, hint = "no key can start here", "align it with the keys above, or quote the text"
        return self._error("yaml.syntax", message, at, hint)

    def _quoted(self, index: int) -> str:
        """The plain value at `index` as it should have been written, without the comment or bracket after it."""
        line_start = index - self._lines.place(index)[1] + 1
        in_flow = any(bracket in self._text[line_start:index] for bracket in "{[")
        ends = r"\s#|[\r\n\]}]|,\s" if in_flow else r"\s#|[\r\n]"
        value = re.split(ends, self._text[index : self._end], maxsplit=1)[0].rstrip()
        return "'" + value.replace("'", "''") + "'" if '"' in value or "\\" in value else f'"{value}"'


_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_NUMERIC = frozenset("+-.0123456789")  # what a number starts with
_INT = re.compile(r"[-+]?[0-9]{1,40}")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]{1,40}")
_OCTAL = re.compile(r"0o[0-7]{1,40}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,40}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def resolve_scalar(text: str) -> Any:
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
