"""The last lines that a process printed, safe for a terminal, a log and a table: what a run prints is hostile text."""

from __future__ import annotations

import re

from scheduler.core.values.hidden import each_shown

TAIL_BYTES = 4096  # of a stream: what its last lines are taken from
MOST_CHARACTERS = 200  # of one line

# ECMA-48: colours and cursor moves (CSI), titles and links (OSC and its siblings), and the short ones.
_STEERS = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|[\\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[ -/]*[0-~])")
_LINE_ENDS = re.compile("[\r\n\x0b\x0c\x85\u2028\u2029]+")


def last_lines(tail: bytes, count: int) -> list[str]:
    """The last lines that are not blank, in order, each on one line of at most 200 characters.

    tail: the end of a stream; invalid UTF-8 and characters that do not show become U+FFFD, colours are left out.
    """
    text = _STEERS.sub("", tail.decode("utf-8", "replace"))
    found = [" ".join(line.split()) for line in _LINE_ENDS.split(text)]
    return [_shown(line) for line in found if line][-count:] if count > 0 else []


def last_line(tail: bytes) -> str:
    """The last line that says something, with a letter or a digit in it; empty if there is none."""
    return next((line for line in reversed(last_lines(tail, TAIL_BYTES)) if any(map(str.isalnum, line))), "")


def _shown(line: str) -> str:
    line = line if len(line) <= MOST_CHARACTERS else line[: MOST_CHARACTERS - 1] + "…"
    return "".join(each if plain else "\N{REPLACEMENT CHARACTER}" for each, plain in each_shown(line))
