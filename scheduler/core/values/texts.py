"""Bytes of a job file as text: its encoding, its line table, and what no parser should see."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

MAX_FILE_BYTES = 1024 * 1024
BOM = "\ufeff"

CONFLICT_HINT = "resolve the conflict, and delete the <<<<<<<, ======= and >>>>>>> lines"

_MOST_LISTED = 20
_LINE_END = re.compile(r"\r\n|\r|\n")
# What YAML 1.2 section 5.1 allows, except NUL, DEL and the byte order mark: libyaml swallows one at the start of its
# text, and counts positions without it. A lone surrogate cannot come out of a UTF-8 decoder. Compiled when the first
# file is read, because it takes a tenth of the time of a `list`.
_UNPRINTABLE = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"


class InputError(ValueError):
    """Input that cannot be used. `hint` says what to write instead, if that is known."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class TextError(InputError):
    """A file, or all of its text, that cannot be used. `line` and `column` are 1-based."""

    def __init__(self, code: str, message: str, *, line: int = 1, column: int = 1, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.line = line
        self.column = column


class Lines:
    """Turns character offsets of one text into positions; LF, CRLF and CR end a line.

    The table is built when the first position is requested: a file without problems seldom needs one.
    """

    __slots__ = ("_end", "_starts", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts: list[int] = []
        self._end = len(text)

    def place(self, index: int) -> tuple[int, int]:
        """The 1-based line and column of an offset. An offset behind the text belongs to the end of its last line."""
        self._fill()
        index = min(max(index, 0), self._end)
        line = bisect_right(self._starts, index)
        return line, index - self._starts[line - 1] + 1

    def start(self, line: int) -> int:
        """The offset at which a line starts. For a line outside the text, the nearest end of the text."""
        self._fill()
        if line < 1:
            return 0
        return self._starts[line - 1] if line <= len(self._starts) else len(self._text)

    def _fill(self) -> None:
        if not self._starts:
            if "\r" in self._text:
                self._starts = [0, *(found.end() for found in _LINE_END.finditer(self._text))]
            else:
                lengths = map(len, self._text.split("\n"))
                self._starts = [0, *(end + number for number, end in enumerate(accumulate(lengths), start=1))][:-1]
            if self._starts[-1] == len(self._text) and len(self._starts) > 1:
                self._starts.pop()
                self._end -= 2 if self._text.endswith("\r\n") else 1


def decode(data: bytes) -> str:
    """The text of a file without its byte order mark; line endings stay as they are.

    Raises: TextError with code file.too-large, file.conflict-markers, file.encoding or file.character.
    """
    if len(data) > MAX_FILE_BYTES:
        message = f"the file has {len(data)} bytes; the maximum is {MAX_FILE_BYTES} (1MiB)"
        hint = "split it into several files, or move the text to its own file with task_source_path"
        raise TextError("file.too-large", message, hint=hint)
    marked = conflict_line(data)
    if marked is not None:
        raise TextError(
            "file.conflict-markers", "the file contains merge-conflict markers", line=marked, hint=CONFLICT_HINT
        )
    text = utf8(data)
    if "\0" in text:
        line, column = Lines(text).place(text.index("\0"))
        raise TextError(
            "file.character", "a job file cannot contain a NUL byte", line=line, column=column, hint="delete it"
        )
    return text


def utf8(data: bytes) -> str:
    """The text of bytes without its byte order mark. Raises: TextError with code file.encoding."""
    try:
        return data.decode().removeprefix(BOM)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode().removeprefix(BOM)
        line, column = Lines(before + "?").place(len(before))
        hint = "save the file as UTF-8"
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            hint = "the file looks like UTF-16; save it as UTF-8"
        message = f"byte 0x{data[error.start]:02x} is not valid UTF-8"
        raise TextError("file.encoding", message, line=line, column=column, hint=hint) from None


def check_printable(text: str, start: int, end: int) -> None:
    """Refuse control characters in text[start:end].

    Raises: TextError with code file.character.
    """
    found = re.compile(_UNPRINTABLE).search(text, start, end)
    if found is not None:
        line, column = Lines(text).place(found.start())
        kind = "a second byte order mark" if found[0] == BOM else "control character"
        message = f"{kind} U+{ord(found[0]):04X} is not allowed here"
        hint = 'delete it, or write it in double quotes as an escape such as "\\x1b"'
        raise TextError("file.character", message, line=line, column=column, hint=hint)


def short(text: str) -> str:
    """`text` quoted for a message, cut off at the end if it is long."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that people can read and that cannot control a terminal: invisible characters are written as escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def counted(n: int, word: str, words: str = "") -> str:
    """A count with its noun, such as "1 job" or "2,000 jobs". words: the plural, if it is not the word with an s."""
    return f"{n:,} {word if n == 1 else words or word + 's'}"


def errors_in_a_row(n: int) -> str:
    """How often a job has failed since its last success. A stop writes the same words in SQL."""
    return "1 error" if n == 1 else f"{n} errors in a row"


def listed(names: Iterable[str]) -> str:
    """Names for a message; if there are many, the rest are counted."""
    names = list(names)
    more = len(names) - _MOST_LISTED
    shown = [name if len(name) <= 100 else name[:97] + "..." for name in names[:_MOST_LISTED]]
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def conflict_line(data: bytes) -> int | None:
    """The line of the first merge-conflict marker, or None.

    A conflict is a line that starts with `<<<<<<< `, a later one that is exactly `=======` and a later one that starts
    with `>>>>>>> ` (design F2). A conflict that is entirely inside a Markdown fence is an example.
    """
    if b"<<<<<<< " not in data:
        return None
    lines = _lines(data)
    for first, last in _fences(lines):
        while (found := _conflict(lines, first, last)) is not None:
            for number in range(found[0], found[1] + 1):
                lines[number] = b""
    found = _conflict(lines, 0, len(lines))
    return None if found is None else found[0] + 1


def example_line(data: bytes) -> int | None:
    """The line of the first marker of a conflict that does not count only because it is inside a fence, or None."""
    if b"<<<<<<< " not in data:
        return None
    lines = _lines(data)
    found = [each for first, last in _fences(lines) if (each := _conflict(lines, first, last)) is not None]
    return found[0][0] + 1 if found else None


def _lines(data: bytes) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in data.removeprefix(BOM.encode()).split(b"\n")]


def _conflict(lines: Sequence[bytes], first: int, last: int) -> tuple[int, int] | None:
    """Where the first conflict among these lines begins and ends; `last` is not looked at."""
    opened: int | None = None
    parted = False
    for number in range(first, last):
        line = lines[number]
        if opened is None:
            if line.startswith(b"<<<<<<< "):
                opened = number
        elif not parted:
            parted = line == b"======="
        elif line.startswith(b">>>>>>> "):
            return opened, number
    return None


_FENCE = re.compile(rb" {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)")  # CommonMark 4.5


def _fences(lines: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """The lines inside each fenced block, from the first up to the one that closes it; not of a block left open."""
    opened, mark = None, b""
    for number, line in enumerate(lines):
        found = _FENCE.match(line)
        if found is None:
            continue
        if opened is None:
            opened, mark = number + 1, found[1]
        elif found[1].startswith(mark) and not found[2].strip():
            yield opened, number
            opened = None


_NAMED = 5  # in one line


def names(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more


HALF_WAY = "is in progress in the repository"


def how_held_ends(held: str) -> str:
    """The hint that says what ends a held sync. Nothing lets a sync take the files of another branch (S8)."""
    if held.endswith(HALF_WAY):
        return "finish or abort it; `scheduler sync --now` syncs the files as they are"
    return "check out that branch, or change worktree.branch on the branch that is synced"
