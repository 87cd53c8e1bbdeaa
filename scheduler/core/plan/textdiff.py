"""How one text became another: by lines, as `diff -u` prints it, and by words within the lines that differ.

The shortest edit script (Myers, 1986) with bounded length, so that time and memory are bounded whatever the texts are.
A larger difference is shown as one block that replaces another. That is correct, and no reader could use more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

Kind = Literal["keep", "delete", "insert"]

_MOST_EDITS = 1_000  # of one script: a second at worst
_TOKEN = re.compile(r"\w+|\n|[^\S\n]+|[^\w\s]")
_NO_NEWLINE = "\\ No newline at end of file"
_SIGNS: dict[Kind, str] = {"keep": " ", "delete": "-", "insert": "+"}


@dataclass(frozen=True, slots=True)
class LineEdit:
    """A piece of text that both have, or only the earlier (delete), or only the later one (insert); never empty."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunk:
    """Neighbouring changes and the lines around them; starts are 1-based, 0 if there are no lines on that side.

    edits: one line each, with its line ending if it has one.
    """

    before_start: int
    before_count: int
    after_start: int
    after_count: int
    edits: tuple[LineEdit, ...]

    @property
    def title(self) -> str:
        before, after = (self.before_start, self.before_count), (self.after_start, self.after_count)
        return f"@@ -{_range(*before)} +{_range(*after)} @@"


def line_edits(before: str, after: str) -> list[LineEdit]:
    """One edit per line, line endings included. Only a line feed ends a line, so that a changed line ending shows."""
    return list(_deletes_first(_edits(_lines(before), _lines(after))))


def word_edits(before: str, after: str) -> list[LineEdit]:
    """Pieces as long as possible: words, the space between them, and single punctuation marks.

    If only space is between two changes, it belongs to them, so that a rewritten sentence reads as one.
    """
    pieces = _joined(_edits(_TOKEN.findall(before), _TOKEN.findall(after)))
    bridged: list[LineEdit] = []
    for number, piece in enumerate(pieces):
        inside = 0 < number < len(pieces) - 1
        if piece.kind == "keep" and inside and piece.text.isspace() and "\n" not in piece.text:
            bridged += [LineEdit("delete", piece.text), LineEdit("insert", piece.text)]
        else:
            bridged.append(piece)
    return _joined(_deletes_first(bridged))


def hunks(before: str, after: str, *, context: int = 3) -> tuple[Hunk, ...]:
    """The differences, with up to `context` lines around them; empty for equal texts."""
    edits = line_edits(before, after)
    changed = [number for number, edit in enumerate(edits) if edit.kind != "keep"]
    spans: list[list[int]] = []
    for number in changed:
        if spans and number - spans[-1][1] <= 2 * context:
            spans[-1][1] = number + 1
        else:
            spans.append([number, number + 1])
    found = []
    here, at, old, new = 0, 0, 0, 0  # lines of each side that come before `at`
    for first, last in spans:
        start, end = max(here, first - context), min(len(edits), last + context)
        old += sum(edit.kind != "insert" for edit in edits[at:start])
        new += sum(edit.kind != "delete" for edit in edits[at:start])
        part = tuple(edits[start:end])
        old_count = sum(edit.kind != "insert" for edit in part)
        new_count = sum(edit.kind != "delete" for edit in part)
        found.append(
            Hunk(
                before_start=old + (old_count > 0),
                before_count=old_count,
                after_start=new + (new_count > 0),
                after_count=new_count,
                edits=part,
            )
        )
        old, new, at, here = old + old_count, new + new_count, end, end
    return tuple(found)


def unified(
    before: str, after: str, *, before_name: str = "before", after_name: str = "after", context: int = 3
) -> str:
    """The output of `diff -u` for them; empty for equal texts. Escape it for where it is shown."""
    found = hunks(before, after, context=context)
    lines = [f"--- {before_name}", f"+++ {after_name}"] if found else []
    for hunk in found:
        lines.append(hunk.title)
        for edit in hunk.edits:
            lines.append(_SIGNS[edit.kind] + edit.text.removesuffix("\n"))
            if not edit.text.endswith("\n"):
                lines.append(_NO_NEWLINE)
    return "".join(line + "\n" for line in lines)


def by_words(hunk: Hunk) -> Iterator[LineEdit]:
    """A hunk's text in order, with its changed lines compared word by word with those that they replace."""
    for kept, run in groupby(hunk.edits, key=lambda edit: edit.kind == "keep"):
        if kept:
            yield LineEdit("keep", "".join(edit.text for edit in run))
            continue
        edits = list(run)
        old = "".join(edit.text for edit in edits if edit.kind == "delete")
        new = "".join(edit.text for edit in edits if edit.kind == "insert")
        yield from word_edits(old, new)


def same_but_for_line_ends(before: str, after: str) -> bool:
    """True if two different texts differ only by CR LF against LF, which a checkout can cause."""
    return before != after and before.replace("\r\n", "\n") == after.replace("\r\n", "\n")


def _lines(text: str) -> list[str]:
    parts = text.split("\n")
    return [part + "\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _range(start: int, count: int) -> str:
    return str(start) if count == 1 else f"{start},{count}"


def _edits(before: Sequence[str], after: Sequence[str]) -> Iterator[LineEdit]:
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    yield from (LineEdit("keep", token) for token in before[:head])
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    kept = _common(old, new)
    x = y = 0
    for i, j in [*kept, (len(old), len(new))]:
        yield from (LineEdit("delete", token) for token in old[x:i])
        yield from (LineEdit("insert", token) for token in new[y:j])
        if i < len(old):
            yield LineEdit("keep", old[i])
        x, y = i + 1, j + 1
    yield from (LineEdit("keep", token) for token in before[len(before) - tail :])


def _common(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Positions, ascending, of a longest common subsequence; none if that takes more than `_MOST_EDITS` edits."""
    ids: dict[str, int] = {}
    a = [ids.setdefault(token, len(ids)) for token in old]
    b = [ids.setdefault(token, len(ids)) for token in new]
    n, m = len(a), len(b)
    if not n or not m or abs(n - m) > _MOST_EDITS:
        return []
    reach = {1: 0}  # by diagonal x - y: how far along the earlier text that many edits lead
    trail: list[dict[int, int]] = []
    for edits in range(min(n + m, _MOST_EDITS) + 1):
        trail.append({k: reach[k] for k in range(-edits - 1, edits + 2, 2) if k in reach})
        for k in range(-edits, edits + 1, 2):
            down = k == -edits or (k != edits and reach.get(k - 1, -1) < reach.get(k + 1, -1))
            x = reach[k + 1] if down else reach[k - 1] + 1
            y = x - k
            while x < n and y < m and a[x] == b[y]:
                x, y = x + 1, y + 1
            reach[k] = x
            if x >= n and y >= m:
                return _walk_back(trail, n, m)
    return []


def _walk_back(trail: Sequence[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for edits in range(len(trail) - 1, -1, -1):
        reach, k = trail[edits], x - y
        down = k == -edits or (k != edits and reach.get(k - 1, -1) < reach.get(k + 1, -1))
        before_x = reach[k + 1] if down else reach[k - 1]
        before_y = before_x - (k + 1 if down else k - 1)
        start_x = before_x if down else before_x + 1
        while x > start_x and x > 0 and y > 0:
            x, y = x - 1, y - 1
            kept.append((x, y))
        x, y = before_x, before_y
    return kept[::-1]


def _joined(edits: Iterable[LineEdit]) -> list[LineEdit]:
    found: list[LineEdit] = []
    for kind, run in groupby(edits, key=lambda edit: edit.kind):
        found.append(LineEdit(kind, "".join(edit.text for edit in run)))
    return found


def _deletes_first(edits: Iterable[LineEdit]) -> Iterator[LineEdit]:
    """Between two kept pieces, deletions first, then insertions."""
    for kept, run in groupby(edits, key=lambda edit: edit.kind == "keep"):
        group = list(run)
        if kept:
            yield from group
        else:
            yield from (edit for edit in group if edit.kind == "delete")
            yield from (edit for edit in group if edit.kind == "insert")
