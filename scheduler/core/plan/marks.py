"""Which line of a file a mark of a change belongs to: one that the diff of a pull request shows, or none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from scheduler.core.formats.keylines import KeyLines
from scheduler.core.plan.textdiff import Hunk

Place = tuple[str, int]  # root-relative path, 1-based line


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Where changes are to be marked. What no line of the diff shows has no place here."""

    jobs: Mapping[tuple[str, str], Place] = field(default_factory=dict)  # by job id and field; "": the job itself
    settings: Mapping[str, Place] = field(default_factory=dict)
    tasks: Mapping[str, Place] = field(default_factory=dict)  # by path of the task's or a program's file


def mark_line(lines: range | None, found: Sequence[Hunk] | None) -> int | None:
    """The line to mark for something on these lines of the later text.

    lines: of the key; None where it is gone. found: how the file differs, with the lines around it as a diff shows
    them; None: that is not known. None where the diff shows nothing of the file.
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
    """The lines of a field of a definition, or of the nearest key around it that is written there."""
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
    """The lines that stand where some were deleted: the next one, or at the end of the file the one before."""
    line = hunk.after_start
    for edit in hunk.edits:
        if edit.kind == "delete" and hunk.after_count:
            yield min(line, hunk.after_start + hunk.after_count - 1)
        line += edit.kind != "delete"
