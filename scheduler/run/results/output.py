"""A stream of JSON, whole or cut, in bounded memory: its lines as objects, or all of it as one document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from scheduler.core.values.last_lines import TAIL_BYTES

Json = dict[str, Any]

MOST_LINE = 16 * 2**20  # bytes; a longer line is skipped
TEXT_BYTES = 64 * 1024  # of a text that is kept
_HALF = 8 * 2**20  # of a document: as much of its head, and of its tail
_MARKER = re.compile(rb"\[\.\.\. [0-9]+ bytes not kept \.\.\.\]")  # run/local/capture
_TOKEN = re.compile(r'\s+|[\[\]{}:,]|"(?:[^"\\]++|\\.)*+"|[^\s\[\]{}:,"]+', re.DOTALL)
_PARTIAL = re.compile(r'"((?:[^"\\]++|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*+)')
_TEXTS = frozenset({"result", "response", "text"})  # keys whose value is worth keeping though its end is missing


class Output:
    """One pass over a stream. Nothing here raises, whatever the bytes."""

    def __init__(self, chunks: Iterable[bytes], *, cut: bool = False) -> None:
        """chunks: the stream in pieces of any size. cut: bytes of it are known to be missing."""
        self.cut = cut  # also set by a marker, a line too long, and an unfinished last line of JSON
        self.closed = False  # `document` had to do without its end
        self._marked = False
        self._chunks = chunks
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0

    def objects(self) -> Iterator[Json]:
        """The JSON objects that stand on lines of their own, in order; other lines are passed over. Call it once."""
        for line in self._lines():
            if _MARKER.fullmatch(line):
                self.cut = self._marked = True
            elif line.startswith(b"{"):
                found = loads(line.decode("utf-8", "replace"))
                if isinstance(found, dict):
                    yield found

    def _lines(self) -> Iterator[bytes]:
        line, skipping = bytearray(), False
        for chunk in self._chunks:
            self._keep(chunk)
            *ended, rest = chunk.split(b"\n")
            for piece in ended:
                if not skipping:
                    yield bytes(line + piece).strip()
                line, skipping = bytearray(), False
            if not skipping:
                line += rest
            if len(line) > MOST_LINE:
                line, skipping, self.cut = bytearray(), True, True
        last = bytes(line).strip()
        if last.startswith(b"{") and loads(last.decode("utf-8", "replace")) is None:
            self.cut = True
        yield last

    def _keep(self, chunk: bytes) -> None:
        self._size += len(chunk)
        room = max(0, _HALF - len(self._head))
        self._head += chunk[:room]
        self._tail += chunk[room:]
        if len(self._tail) > 2 * _HALF:
            del self._tail[:-_HALF]

    @property
    def blank(self) -> bool:
        """True if there was nothing but white space. Ask after `objects` has ended, as of everything below."""
        return not self._head.strip() and not self._tail.strip()

    @property
    def start(self) -> str:
        """The first 64 KiB."""
        return text_of(self._head[:TEXT_BYTES].decode("utf-8", "replace")) or ""

    @property
    def end(self) -> str:
        """The last 4 KiB."""
        last = self._tail if len(self._tail) >= TAIL_BYTES else self._head + self._tail
        return last[-TAIL_BYTES:].decode("utf-8", "replace")

    def document(self) -> Any:
        """The whole stream as one JSON value. Of one that is cut, all that is complete before the cut. Or None.

        Text before the document is passed over: some programs print a warning first.
        """
        head = self._whole().decode("utf-8", "replace")
        marker = re.search(_MARKER.pattern.decode(), head)
        before = len(head) if marker is None else marker.start() - 1
        for start in _starts(head):
            try:
                return _DECODER.raw_decode(head, start)[0]
            except (ValueError, RecursionError):
                if found := loads(_closed(head[start:before])):
                    self.cut = self.closed = True
                    return found
        return None

    def last_of(self, key: str) -> Any:
        """The value of the last such key of a document whose middle is missing and whose end is there, or None.

        Without a marker nobody knows whether the end is there: a key of an inner object could be taken for it.
        """
        if not self._marked:
            return None
        text = self._whole(tail=True).decode("utf-8", "replace")
        for found in reversed(list(re.finditer(rf'(?<!\\)"{re.escape(key)}"\s*:\s*', text))[-8:]):
            try:
                return _DECODER.raw_decode(text, found.end())[0]
            except (ValueError, RecursionError):
                continue
        return None

    def _whole(self, *, tail: bool = False) -> bytes:
        if self._size <= len(self._head) + len(self._tail):
            return bytes(self._head + self._tail)
        return bytes(self._tail[-_HALF:] if tail else self._head)


def _starts(text: str) -> list[int]:
    """Where a document may begin: at the first bracket or brace of a line; the first three such places."""
    return [found.start(1) for found, _ in zip(re.finditer(r"^[ \t]*([\[{])", text, re.M), range(3), strict=False)]


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except ArithmeticError:
        return None


_DECODER = json.JSONDecoder(parse_float=_number, parse_constant=lambda name: None)


def loads(text: str) -> Any:
    """A JSON value, with fractions as Decimal and NaN as None. None if it is no JSON."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


def _closed(text: str) -> str:
    """A cut document with its open brackets closed, and without its last value unless that is complete.

    A number at the very end may miss digits, and a text letters: it goes, but for an answer, where its start is kept.
    """
    stack: list[str] = []
    key: str | None = None
    safe = 0  # where the last complete value or open bracket ends: `stack` is what is open there
    at, previous, expects_key = 0, "", False
    while found := _TOKEN.match(text, at):
        token = found[0]
        if token[0].isspace():
            at = found.end()
            continue
        if found.end() == len(text) and token[0] not in '[]{},:"':
            break
        at = found.end()
        if token in "{[":
            stack.append("}" if token == "{" else "]")
            expects_key = token == "{"
            safe = at
        elif token in "}]":
            if not stack or stack[-1] != token:
                break
            stack.pop()
            safe = at
            if not stack:
                break
        elif token == ",":
            expects_key = bool(stack) and stack[-1] == "}"
        elif token == ":":
            expects_key = False
        elif expects_key:
            key = token[1:-1]
        else:
            safe = at
        previous = token
    if previous == ":" and key in _TEXTS and (partial := _PARTIAL.match(text, at)):
        return f'{text[:at]}{partial[0]}"{"".join(reversed(stack))}'
    return text[:safe] + "".join(reversed(stack))


def text_of(value: Any) -> str | None:
    """Text that any file or database can hold, cut to 64 KiB. None for anything else."""
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace")[:TEXT_BYTES].decode("utf-8", "ignore")


def name_of(value: Any) -> str | None:
    """A name of a model, tool or limit: a printable line of at most 200 characters."""
    found = text_of(value)
    return found if found and len(found) <= 200 and found.isprintable() and found.strip() == found else None


def inside(value: Any, *path: str) -> Any:
    """The value at a path of keys, or None."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def mappings(value: Any) -> list[Json]:
    """The objects in a list, or none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
