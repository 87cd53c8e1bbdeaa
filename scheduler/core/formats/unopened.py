"""Front matter that does not start on the first line of its file, so that the file is taken for a text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from scheduler.core.values.hidden import without_hidden
from scheduler.core.values.problems import Problem, Severity

_DASH = "[-\u2010-\u2015\u2212]"  # with what a word processor makes of a hyphen, or of two or three
_RULER = re.compile(rf"\s*(?:(?:{_DASH}[ \t]*){{2,}}|\+{{3,}}|\N{{EM DASH}})\s*")
_OPENS = re.compile(rf"\s*(?:{_DASH}{{3}}|\+\+\+|\N{{EM DASH}})")  # front matter, perhaps with a comment after it
_LINE_END = re.compile(r"\r\n|\r|\n")
_JOB_LINE = re.compile(r"""\s*["']?(?:id["']?\s*[:=]\s*\S|schedule["']?\s*[:=])""")
_KEY_LINE = re.compile(r"""\s*["']?[a-z_]+["']?\s*[:=](?:\s|$)""")
_CODE_FENCE = re.compile(r"\s*(?:`{3,}|~{3,})\s*\w*\s*")


def unopened_line(text: str) -> int | None:
    """The line at which front matter seems to start, if nothing opens it on the first line."""
    if "id" not in text and "schedule" not in text:
        return None
    lines = _LINE_END.split(without_hidden(text))
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    fenced = _CODE_FENCE.fullmatch(lines[first]) is not None
    opened = first + 1 if fenced else first  # where a block would begin; without dashes, only the first one can
    for number in range(first, len(lines)):
        closes = _RULER.fullmatch(lines[number]) or (fenced and number > first and _CODE_FENCE.fullmatch(lines[number]))
        if closes and _is_job(lines[opened:number]):
            return opened if opened > first else first + 1
        if closes or _OPENS.match(lines[number]):
            opened = number + 1
    return None


def _is_job(block: Sequence[str]) -> bool:
    """True if the lines are keys with their values, among them keys of a job."""
    keys = [line for line in block if line.strip() and not line.lstrip().startswith("#")]
    return bool(keys) and _KEY_LINE.match(keys[0]) is not None and any(_JOB_LINE.match(line) for line in keys)


def unopened(path: str, line: int) -> Problem:
    message = "this looks like a job, but its front matter does not start on the first line, so the file is ignored"
    hint = "move it to the top of the file; the first line must be three dashes and nothing else"
    return Problem(path, line, 1, "front-matter.unopened", message, hint, severity=Severity.WARNING)
