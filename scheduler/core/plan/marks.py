"""The line of a file at which to mark a change: a line that the diff of a pull request shows, or none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from scheduler.core.formats.keylines import KeyLines
from scheduler.core.plan.textdiff import Hunk

Place = tuple[str, int]  # root-relative path, 1-based line


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The places at which to mark changes. Changes that no line of the diff shows are left out."""

    jobs: Mapping[tuple[str, str], Place] = field(default_factory=dict)  # by job id and field; "": the job itself
    settings: Mapping[str, Place] = field(default_factory=dict)
    tasks: Mapping[str, Place] = field(default_factory=dict)  # by path of the file of a task or a program


def mark_line(lines: range | None, found: Sequence[Hunk] | None) -> int | None:
    """The line to mark for a key on these lines of the new text, or None if the diff shows nothing of the file.

    lines: the lines of the key; None if it was removed. found: the differences of the file, with the lines of context
    that a diff shows; None if unknown.
    """
    if found is None:
        return None if lines is None else lines.start
    new = sorted(_inserted(found))
    if lines is not None:
        if inside := next((line for line in new if line in lines), None):
            return inside
        if any(lines.start in _shown(hunk) for hunk in found):
            return lines.start
    shown = [line for hunk in found for line in (*_inserted([hunk]), *_beside_deleted(hunk))]
    wanted = 1 if lines is None else lines.start
    return min(shown, key=lambda line: (abs(line - wanted), line), default=None)


def field_lines(name: str, lines: KeyLines) -> range | None:
    """The lines of a definition's field, or of the nearest enclosing key in the file."""
    key = name.removesuffix("_ms")
    while key not in lines:
        if "." not in key:
            return None
        key = key.rpartition(".")[0]
    return lines[key]


def _shown(hunk: Hunk) -> range:
    return range(hunk.after_start, hunk.after_start + hunk.after_count)


def _inserted(found: Sequence[Hunk]) -> Iterator[int]:
    for hunk in found:
        line = hunk.after_start
        for edit in hunk.edits:
            if edit.kind == "insert":
                yield line
            line += edit.kind != "delete"


def _beside_deleted(hunk: Hunk) -> Iterator[int]:
    """The line after each deleted line, or the line before it at the end of the hunk."""
    line = hunk.after_start
    for edit in hunk.edits:
        if edit.kind == "delete" and hunk.after_count:
            yield min(line, hunk.after_start + hunk.after_count - 1)
        line += edit.kind != "delete"
