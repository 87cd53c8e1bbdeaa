"""The source lines that problems point at, for people to see."""

from __future__ import annotations

import re
from collections.abc import Sequence

from scheduler.core.values.facts import Fault
from scheduler.core.values.problems import Problem
from scheduler.root.files import Files
from scheduler.root.settings import ROOT_FILE_BYTES

_LINE_END = re.compile(r"\r\n|\r|\n")  # as places are counted; other Unicode separators do not end a line
_OF_NO_LINE = ("file.kind", "file.emptied")  # about the file as a whole: its first line is not the cause


def source_lines(files: Files, problems: Sequence[Problem]) -> list[str | None]:
    """For each problem, the line it points at, as it is now and without its end. None if nothing can be shown.

    problems: sorted, so that each file is read once. A file that is unreadable, too large or no text has no lines.
    """
    found: list[str | None] = []
    path, lines = None, list[str]()
    for problem in problems:
        if problem.path != path:
            path, lines = problem.path, _lines(files, problem.path)
        shown = problem.line <= len(lines) and problem.code not in _OF_NO_LINE
        line = lines[problem.line - 1] if shown else ""
        # A place beyond the end of its line was counted in another text: the file has changed since.
        found.append(line if line.strip() and problem.column <= len(line) + 1 else None)
    return found


def _lines(files: Files, path: str) -> list[str]:
    found = files.read(path, limit=ROOT_FILE_BYTES)
    if isinstance(found, Fault) or b"\0" in found.data:
        return []
    return _LINE_END.split(found.data.decode(errors="replace").removeprefix("\ufeff"))
