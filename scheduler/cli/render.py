"""What a person sees: tables, problems with their place, and times beside their zone."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from scheduler.core.models import parse_instant
from scheduler.core.problems import Problem

WIDE = 10_000  # columns, where nobody's terminal can cut a line
_COLOURS = {
    "active": "green",
    "succeeded": "green",
    "running": "cyan",
    "claimed": "cyan",
    "completed": "dim",
    "disabled": "dim",
    "archived": "dim",
    "skipped": "yellow",
    "paused": "yellow",
    "conflict": "red",
    "invalid": "red",
    "held": "yellow",
    "failed": "red",
    "timed_out": "red",
    "cancelled": "yellow",
    "interrupted": "red",
    "stopped": "red",
}


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """An aligned table; coloured and fitted on a terminal, plain and uncut in a pipe."""
    if not sys.stdout.isatty():
        widths = [max(len(line[i]) for line in (columns, *rows)) for i in range(len(columns))]
        for line in (columns, *rows):
            cells = (clean(cell).ljust(width) for cell, width in zip(line, widths, strict=True))
            click.echo("  ".join(cells).rstrip())
        return
    from rich.console import Console  # a twentieth of a second that a pipe need not pay
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, overflow="fold" if i == 0 else "ellipsis", no_wrap=i != 0)
    for row in rows:
        table.add_row(*(Text(clean(cell), style=_COLOURS.get(cell.split("/")[0], "")) for cell in row))
    Console(no_color=bool(os.environ.get("NO_COLOR"))).print(table)


def clean(text: str) -> str:
    """Text from files and children without control characters: none of it may steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text.replace("\n", " "))


def first_line(text: str | None, limit: int = 80) -> str:
    line = next((each for each in (text or "").splitlines() if each.strip()), "")
    return line if len(line) <= limit else line[: limit - 1] + "…"


def local_time(text: str | None, timezone: str | None = None) -> str:
    """An instant as a person reads it, in a zone and with that zone's name; UTC where none is given."""
    if text is None:
        return "-"
    from zoneinfo import ZoneInfo

    moment = parse_instant(text).astimezone(UTC if timezone is None else ZoneInfo(timezone))
    return f"{moment:%Y-%m-%d %H:%M:%S} {timezone or 'UTC'}"


def ago(text: str | None, now: datetime) -> str:
    """How long ago an instant was, or how far ahead, in one unit."""
    if text is None:
        return "-"
    seconds = (now - parse_instant(text)).total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if abs(seconds) >= size:
            return f"{int(abs(seconds) // size)}{unit} ago" if seconds > 0 else f"in {int(abs(seconds) // size)}{unit}"
    return f"{int(seconds)}s ago" if seconds >= 0 else f"in {int(-seconds) + 1}s"


def duration(ms: int | None) -> str:
    if ms is None:
        return "-"
    return (
        f"{ms} ms" if ms < 1000 else f"{ms / 1000:.1f} s" if ms < 60_000 else f"{ms // 60_000}m{ms // 1000 % 60:02d}s"
    )


def short(value: str | None, length: int = 12) -> str:
    return value[:length] if value else "-"


def problem_text(problem: Problem) -> str:
    """`path:line:column: severity: message [code]`, and the hint below it."""
    severity = "" if problem.is_error else f"{problem.severity.value}: "
    text = f"{problem.path}:{problem.line}:{problem.column}: {severity}{problem.message} [{problem.code}]"
    text = clean(text)
    return f"{text}\n  hint: {clean(problem.hint)}" if problem.hint else text


def print_problems(problems: Sequence[Problem], *, err: bool = True) -> None:
    for problem in problems:
        click.echo(problem_text(problem), err=err)


def value_text(value: Any) -> str:
    """A definition's value on one line."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {value_text(each)}" for key, each in value.items()) or "-"
    return json.dumps(value, ensure_ascii=False)
