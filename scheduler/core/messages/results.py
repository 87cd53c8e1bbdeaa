"""What a run answered, as a service can show it: Markdown of agents, JSON objects, plain text (delivery.md, B5)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from scheduler.core.messages.cut import cut_text, size_of
from scheduler.core.messages.defuse import FENCE, fenced, on_one_line, pages_nobody, safe_text, with_even_fences
from scheduler.core.messages.services import is_document
from scheduler.core.values.events import Attachment, Fit, Markup
from scheduler.core.values.runs import Run
from scheduler.core.values.texts import json_text

MOST_ATTACHED = 1024 * 1024  # bytes
_MOST_LOOKED_AT = 256 * 1024  # characters: of what is longer, the middle is in no message anyway
_MOST_JSON_LINES = 40
_TELLING = ("result", "text", "summary")  # keys of an object that are its answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A result that is not blank. kind: also the ending of its file's name."""

    kind: Literal["md", "json", "txt"]
    text: str
    object: dict[str, Any] | None = None

    @property
    def telling(self) -> str:
        """What an object says for people; empty if it has no such key."""
        found = self.object or {}
        return next((each for key in _TELLING if isinstance(each := found.get(key), str) and each.strip()), "")


def result_of(run: Run | None) -> Result | None:
    """None if there is none, or it is blank."""
    text = "" if run is None or run.result is None else run.result.strip()
    if run is None or not text:
        return None
    if text.startswith("{") and len(text) <= MOST_ATTACHED:
        try:
            found = json.loads(text)
            return Result(kind="json", text=json_text(found, indent=2), object=found)
        except (ValueError, RecursionError):
            pass
    return Result(kind="txt" if run.agent is None else "md", text=text)


def shown_result(found: Result, fit: Fit, most: int, *, where: str) -> tuple[str, bool]:
    """The result for the body, at most `most` in the units of the service; and whether it is all of it."""
    rich = fit.markup is Markup.MARKDOWN
    shown, shortened, total = _prepared(found, fit)
    text = pages_nobody(shown)
    fits = size_of(text, in_bytes=fit.in_bytes) <= most and not shortened
    return cut_text(text, most, in_bytes=fit.in_bytes, where=where, fences=rich, total=total), fits


def _prepared(found: Result, fit: Fit) -> tuple[str, bool, int | None]:
    """The text in the markup of the service, whether it lacks something, and how long it was if it was too long."""
    rich, document = fit.markup is Markup.MARKDOWN, is_document(fit)
    if found.kind == "json" and not (document and not rich):
        if found.telling:
            return (*_markdown(found.telling, rich=rich, document=False)[:1], len(found.object or ()) > 1, None)
        if not rich:
            return _one_string(found.object or {}), True, None
        lines = found.text.split("\n")
        left = len(lines) - _MOST_JSON_LINES
        more = [f"… {left:,} of {len(lines):,} lines left out"] if left > 0 else []
        return fenced(safe_text("\n".join([*lines[:_MOST_JSON_LINES], *more]))), left > 0, None
    if found.kind == "md":
        shown, total = _markdown(found.text, rich=rich, document=document)
        return shown, False, total
    text, total = _bounded(found.text)
    return fenced(safe_text(text)) if rich else safe_text(text), False, total


def _bounded(text: str) -> tuple[str, int | None]:
    """A text in time that does not grow with it, and its length if that was too much."""
    if len(text) <= _MOST_LOOKED_AT:
        return text, None
    return cut_text(text, _MOST_LOOKED_AT), len(text)


def _markdown(text: str, *, rich: bool, document: bool) -> tuple[str, int | None]:
    text, total = _bounded(text)
    text = safe_text(text)
    if rich:
        return "\n".join(_with_fenced_tables(with_even_fences(text).split("\n"))), total
    return text if document else without_marks(text), total


def _one_string(found: dict[str, Any]) -> str:
    """What a notification says of an object: its first text, or all of it in one line."""
    text = next((each for each in found.values() if isinstance(each, str) and each.strip()), json_text(found))
    return on_one_line(text, 1_000)


def _is_rule_of_table(line: str) -> bool:
    line = line.strip()
    return "|" in line and "-" in line and set(line) <= set("|-: ")


def _with_fenced_tables(lines: list[str]) -> Iterator[str]:
    """No chat service knows tables: in code, their columns at least stand below each other."""
    inside, at = False, 0
    while at < len(lines):
        line = lines[at]
        inside ^= line.startswith(FENCE)
        table = not inside and "|" in line and at + 1 < len(lines) and _is_rule_of_table(lines[at + 1])
        if not table:
            yield line
            at += 1
            continue
        rows = []
        while at < len(lines) and "|" in lines[at]:
            rows.append([cell.strip() for cell in lines[at].strip().strip("|").split("|")])
            at += 1
        yield FENCE
        yield from _aligned([row for number, row in enumerate(rows) if number != 1])
        yield FENCE


_MOST_WIDE = 40  # characters of a column that is padded


def _aligned(rows: list[list[str]]) -> Iterator[str]:
    count = max(map(len, rows))
    widths = [min(max(len(row[n]) for row in rows if n < len(row)), _MOST_WIDE) for n in range(min(count, 20))]
    for row in rows:
        padded = [cell.ljust(widths[n]) if n < len(widths) else cell for n, cell in enumerate(row)]
        yield " | ".join(padded).replace(FENCE, "'''").rstrip()


# Bounded, so that a hostile text costs no more than its length times a little.
_MARKS = (
    (re.compile(r"!?\[([^\]\n]{0,200})\]\(([^)\s]{1,300})\)"), r"\1 (\2)"),
    (re.compile(r"(\*\*|__)(?=\S)([^\n]{1,200}?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]{1,200})(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"`([^`\n]{1,200})`"), r"\1"),
)
_LEAD = re.compile(r"^ {0,3}(?:#{1,6} +|>+ ?)")


def without_marks(markdown: str) -> str:
    """Safe Markdown as plain text, for services that would show its marks."""
    lines, inside = [], False
    for line in with_even_fences(markdown).split("\n"):
        if line.startswith(FENCE):
            inside = not inside
            continue
        if not inside:
            if _is_rule_of_table(line) or set(line.strip()) in ({"-"}, {"*"}, {"="}):
                continue
            line = _LEAD.sub("", line, count=1)
            for mark, text in _MARKS:
                line = mark.sub(text, line)
        lines.append(line)
    return re.sub("\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def attachment_of(found: Result, run: Run) -> Attachment:
    """The whole result as a file, at most 1 MiB."""
    name = re.sub("[^A-Za-z0-9._-]+", "-", f"{run.job_id}-{run.n}").lstrip(".-") or "result"
    text = cut_text(safe_text(found.text), MOST_ATTACHED - 1, in_bytes=True, where=f"scheduler output {run.id}")
    return Attachment(name=f"{name}.{found.kind}", text=text + "\n")
