"""The last lines of a process's output, safe for a terminal, a log and a table. The output of runs is untrusted."""

from __future__ import annotations

import re

from scheduler.core.values.hidden import each_shown

TAIL_BYTES = 4096  # of a stream; the last lines are taken from these
MOST_CHARACTERS = 200  # of one line

# ECMA-48 escape sequences: colours and cursor moves (CSI), titles and links (OSC and similar), and the short ones.
_STEERS = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|[\\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[ -/]*[0-~])")
_LINE_ENDS = re.compile("[\r\n\x0b\x0c\x85\u2028\u2029]+")


def without_steering(text: str) -> str:
    """A text without its escape sequences. A sequence that is cut off at its end stays, and is harmless without ESC."""
    return _STEERS.sub("", text)


def last_lines(tail: bytes, count: int) -> list[str]:
    """The last non-blank lines, in order, each cut to 200 characters.

    tail: the end of a stream. Invalid UTF-8 and invisible characters become U+FFFD; escape sequences are removed.
    """
    text = without_steering(tail.decode("utf-8", "replace"))
    found = [" ".join(line.split()) for line in _LINE_ENDS.split(text)]
    return [_shown(line) for line in found if line][-count:] if count > 0 else []


# Where a runner with {task_file} gets a task: no path that anybody knows, and long.
_TASK_FILE = re.compile(rb"/(?:[^\s:]+/)?owners/[^/\s]+\.scratch/task-\w+")


def last_line(tail: bytes) -> str:
    """The last line that contains a letter or a digit, or an empty string if there is none.

    The temporary file of a task is `{task_file}` in it, as in the command of its runner.
    """
    lines = last_lines(_TASK_FILE.sub(b"{task_file}", tail), TAIL_BYTES)
    return next((line for line in reversed(lines) if any(map(str.isalnum, line))), "")


def _shown(line: str) -> str:
    line = line if len(line) <= MOST_CHARACTERS else line[: MOST_CHARACTERS - 1] + "…"
    return "".join(each if plain else "\N{REPLACEMENT CHARACTER}" for each, plain in each_shown(line))
