"""What users see: tables, problems with their place, and times with their zone."""

from __future__ import annotations

import functools
import io
import os
import re
import shutil
import sys
import unicodedata
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TextIO

import click

from scheduler.core.values.instants import parse_instant
from scheduler.core.values.settings import converted_file_of, is_inherited_setting, named_file_of
from scheduler.core.values.texts import json_text, listed
from scheduler.core.values.units import rough

if TYPE_CHECKING:
    from scheduler.core.values.problems import Problem

GAP = "  "
NARROWEST = 8  # columns; a shorter cell says nothing
NARROWEST_LINE = 20  # columns of a source line
PIPE_WIDTH = 120  # columns of a source line if there is no terminal
TAB = "    "
_COLOURS = {
    word: colour
    for colour, words in {
        "green": ("active", "succeeded", "ok"),
        "cyan": ("running", "claimed"),
        "dim": ("completed", "disabled", "archived"),
        "yellow": ("skipped", "paused", "waiting", "held", "cancelled", "warning"),
        "red": ("conflict", "invalid", "failing", "overdue", "failed", "timed_out", "interrupted", "stopped", "error"),
    }.items()
    for word in words
}


def print_json(value: Any) -> None:
    """Print JSON: indented for a person, on one line for a program, which is several times faster to write."""
    click.echo(json_text(value, indent=2 if sys.stdout.isatty() else None))


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    flexible: str = "",
    optional: Sequence[str] = (),
    least: int = NARROWEST,
) -> None:
    """Print an aligned table: coloured and fitted to the screen on a terminal, plain and uncut in a pipe.

    flexible: the column that is narrowed first, down to `least`. optional: columns left out next, in this order.
    Empty optional columns go before anything is cut.
    We do not use rich's table: it takes most of a second for a thousand rows.
    """
    lines = list(map(_cleaned, (columns, *rows)))
    widths = _widths(columns, lines)
    terminal = sys.stdout.isatty()
    if terminal:
        if sum(widths.values()) + len(GAP) * (len(widths) - 1) > shutil.get_terminal_size().columns:
            lines[1:] = [[clean(getattr(cell, "narrow", cell)) for cell in row] for row in rows]
            widths = _widths(columns, lines)
        cells = dict(zip(columns, zip(*lines[1:], strict=True), strict=True)) if rows else {}
        empty = [name for name in optional if not any(cell not in ("", "-") for cell in cells.get(name, ()))]
        room = shutil.get_terminal_size().columns
        widths = fitted(widths, room, flexible=flexible, optional=optional, empty=empty, least=least)
    coloured = terminal and not os.environ.get("NO_COLOR")
    shown = [
        _column(column, widths[name], coloured=coloured)
        for name, column in zip(columns, zip(*lines, strict=True), strict=True)
        if name in widths
    ]
    click.echo("\n".join(GAP.join(row).rstrip() for row in zip(*shown, strict=True)))


def _cleaned(line: Sequence[str]) -> Sequence[str]:
    text = "".join(line)
    return line if text.isascii() and text.isprintable() else list(map(clean, line))


def _column(cells: Sequence[str], width: int, *, coloured: bool) -> list[str]:
    """The cells of a column, header first, cut or padded to its width."""
    shown = [
        cell.ljust(width) if len(cell) <= width and cell.isascii() else _padded(cut(cell, width), width)
        for cell in cells
    ]
    if not coloured:
        return shown
    return [_styled(text, cell, header=i == 0) for i, (text, cell) in enumerate(zip(shown, cells, strict=True))]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_width(text))


def _widths(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> dict[str, int]:
    return dict(zip(columns, map(_widest, zip(*lines, strict=True)), strict=True))


def _widest(cells: Sequence[str]) -> int:
    return max(map(len if all(map(str.isascii, cells)) else cell_width, cells))


def fitted(
    widths: Mapping[str, int],
    room: int,
    *,
    flexible: str,
    optional: Sequence[str],
    empty: Sequence[str] = (),
    least: int = NARROWEST,
) -> dict[str, int]:
    """The columns that fit in `room`, and their widths. Times, statuses and ids are never cut.

    empty: the `optional` columns without content.
    """
    found = dict(widths)
    over = _width(found) - room
    if over > 0:
        for name in empty:
            found.pop(name, None)
    for dropped in (None, *(name for name in optional if name not in empty)):
        found.pop(dropped or "", None)
        over = _width(found) - room
        if over <= 0:
            break
        if flexible in found and found[flexible] - over >= least:
            found[flexible] -= over
            break
    else:
        if flexible in found:
            found[flexible] = min(found[flexible], max(NARROWEST, found[flexible] - over))
    return found


def _width(columns: Mapping[str, int]) -> int:
    return sum(columns.values()) + len(GAP) * (len(columns) - 1)


def wrapped(prefix: str, text: str, *, indent: int) -> str:
    """A text after a prefix. On a terminal, wrapped at its width with an indent; in a pipe, one line."""
    if not sys.stdout.isatty():
        return prefix + text
    room = max(shutil.get_terminal_size().columns - indent, NARROWEST_LINE)
    rows = [""]
    for word in text.split(" "):
        for piece in _pieces(word, room):
            if rows[-1] and cell_width(rows[-1]) + 1 + cell_width(piece) > room:
                rows.append(piece)
            else:
                rows[-1] = f"{rows[-1]} {piece}" if rows[-1] else piece
    return prefix + f"\n{' ' * indent}".join(rows)


def _pieces(word: str, room: int) -> Iterator[str]:
    """Split a word that is too wide, such as a PATH, into pieces that fit."""
    while cell_width(word) > room:
        head = cut(word, room + 1)[:-1] or word[:1]
        yield head
        word = word[len(head) :]
    yield word


def cut(cell: str, width: int) -> str:
    if cell_width(cell) <= width:
        return cell
    while cell and cell_width(cell) > width - 1:
        cell = cell[:-1]
    return cell + "…"


def cell_width(text: str) -> int:
    """The columns that a text takes on a terminal: two for East Asian wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def styled(word: str, width: int, *, err: bool = False) -> str:
    """A status, padded, and coloured on a terminal. err: for stderr."""
    padded = f"{word:<{width}}"
    terminal = (sys.stderr if err else sys.stdout).isatty()
    return _styled(padded, word, header=False) if terminal and not os.environ.get("NO_COLOR") else padded


def in_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR")


def painted(shown: str, word: str) -> str:
    """A text in the colour of a status or severity."""
    colour = _COLOURS.get(word)
    if colour is None:
        return shown
    return click.style(shown, dim=True) if colour == "dim" else click.style(shown, fg=colour)


def _styled(shown: str, cell: str, *, header: bool) -> str:
    if header:
        return click.style(shown, bold=True)
    first, *marks = (word.partition(" ")[0] for word in cell.split("/"))
    colour = _COLOURS.get(first)
    if colour is None:
        return shown
    for mark in marks:  # a warning mark matters more than the status before it
        colour = _COLOURS.get(mark, colour)
    return click.style(shown, dim=True) if colour == "dim" else click.style(shown, fg=colour)


def clean(text: str) -> str:
    """Text from files and child processes without control characters, so that it cannot control a terminal."""
    if text.isascii() and text.isprintable():
        return text
    from scheduler.core.values.hidden import each_shown

    return "".join(c if plain else "\N{REPLACEMENT CHARACTER}" for c, plain in each_shown(text.replace("\n", " ")))


class ForScreen:
    """One stream of bytes, in pieces, as a terminal can safely show it: lines and tabs, no control sequences.

    A carriage return ends a line. Otherwise text that a progress bar overwrites would hide the rest.
    """

    def __init__(self) -> None:
        self._decoder = io.IncrementalNewlineDecoder(getincrementaldecoder("utf-8")("replace"), translate=True)

    def __call__(self, data: bytes, *, final: bool = False) -> str:
        text = self._decoder.decode(data, final=final)
        return "\n".join("\t".join(map(clean, line.split("\t"))) for line in text.split("\n"))


def write_bytes(file: TextIO, data: bytes, screen: ForScreen | None = None, *, final: bool = False) -> None:
    """Write what a run wrote or received, byte for byte; on a terminal, without control sequences (ADR 18).

    screen: for one of several pieces; `final` marks the last one.
    """
    if file.isatty():
        text = ForScreen()(data, final=True) if screen is None else screen(data, final=final)
        data = text.encode(file.encoding, "replace")
    file.flush()
    file.buffer.write(data)
    file.buffer.flush()


def first_line(text: str | None, limit: int = 80) -> str:
    line = next((each for each in (text or "").splitlines() if each.strip()), "")
    return line if len(line) <= limit else line[: limit - 1] + "…"


def two_sides(before: str, after: str, limit: int) -> tuple[str, str]:
    """First lines that show how two texts differ, even if they differ only after the visible part."""
    sides = first_line(before, limit), first_line(after, limit)
    if before == after or sides[0] != sides[1]:
        return sides
    pairs = enumerate(zip(before, after, strict=False))
    same = next((place for place, (a, b) in pairs if a != b), min(len(before), len(after)))
    start = max(0, same - limit // 3)
    cut = ["\u2026" + " ".join(each[start:].split()) for each in (before, after)]
    return first_line(cut[0], limit), first_line(cut[1], limit)


_ZONE = "zone of the screen"  # key in the command's context: how to find the zone of its screen


def set_zone(find: Callable[[], str]) -> None:
    """find: called when the first instant is shown, because most commands show none."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_ZONE] = find


def zone_shown() -> str:
    """The zone in which this screen shows instants. UTC outside a command that has found its root."""
    context = click.get_current_context(silent=True)
    find = None if context is None else context.meta.get(_ZONE)
    return "UTC" if find is None else find()


class ShownTime(str):
    """An instant as text for people, and the short form for tables without enough room."""

    narrow: str


def local_time(text: str | None) -> str:
    """An instant as text for people, in the zone of the screen and with that zone's name."""
    return "-" if text is None else _shown_time(text, zone_shown())


@functools.lru_cache(maxsize=10_000)
def _shown_time(text: str, zone: str) -> ShownTime:
    """Cached: on a long screen, many rows have the same instant."""
    from scheduler.core.times.moments import offset_time, wall_time

    at = parse_instant(text)
    shown = ShownTime(wall_time(at, zone))
    shown.narrow = offset_time(at, zone)
    return shown


def in_zone(text: str) -> str:
    """A message of ours, with its instants in the zone of the screen. Not for contents of files and runs."""
    if "Z" not in text:
        return text
    from scheduler.core.times.moments import with_wall_times

    return with_wall_times(text, zone_shown())


def clock_change(fire: Mapping[str, Any]) -> str:
    """How a clock change affects a fire; empty on all other days."""
    match fire["dst"], fire["dst_occurrence"]:
        case "gap", _:
            return "moved: its time is skipped"
        case "fold", 1:
            return "first of two"
        case "fold", _:
            return "second of two"
    return ""


def lasting(text: str, now: datetime) -> str:
    """The time since an instant in the past, in one unit."""
    return ago(text, now).removesuffix(" ago")


def ago(text: str | None, now: datetime) -> str:
    """How long ago an instant was, or how far ahead it is, in one unit."""
    if text is None:
        return "-"
    seconds = (now - parse_instant(text)).total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if abs(seconds) >= size:
            return f"{int(abs(seconds) // size)}{unit} ago" if seconds > 0 else f"in {int(abs(seconds) // size)}{unit}"
    return f"{int(seconds)}s ago" if seconds >= 0 else f"in {int(-seconds) + 1}s"


def ahead(text: str, now: datetime) -> str:
    """How far ahead a fire is, or how long it has been due."""
    found = ago(text, now)
    return f"due {found}" if found.endswith("ago") else found


def duration(ms: int | None) -> str:
    if ms is None:
        return "-"
    return rough(ms)


def money(amount: float, currency: str) -> str:
    """An amount with at least two decimals, and four where it is small."""
    return f"{amount:,.2f} {currency}" if amount >= 1 or not amount else f"{amount:.4f} {currency}"


def cost(found: Mapping[str, Any] | None) -> str:
    return "-" if found is None else money(found["amount"], found["currency"])


def cost_change(change: Mapping[str, Any]) -> str:
    """What a job may cost in 30 days, before and after a change."""

    def pair(before: str | None, after: str | None, unknown: str) -> str:
        sides = [unknown if each is None else money(float(each), change["currency"]) for each in (before, after)]
        return " -> ".join(dict.fromkeys(sides))

    probably = pair(change["before"], change["after"], "unknown")
    most = pair(change["most_before"], change["most_after"], "no limit")
    return f"{probably} in 30 days" + ("" if most == "no limit" else f", at most {most}")


def tokens(found: Mapping[str, Any] | None) -> str | None:
    """Tokens by kind, without those that are unknown or none."""
    words = {name.replace("_", " "): number for name, number in (found or {}).items() if number}
    return ", ".join(f"{number:,} {name}" for name, number in words.items()) or None


def short_hash(value: str | None, length: int = 12) -> str:
    return value[:length] if value else "-"


def print_fields(fields: Mapping[str, object]) -> None:
    """Print names and values, one pair per line."""
    for name, value in fields.items():
        click.echo(f"  {name:<12} {clean(str(value))}")


def print_problems(
    problems: Sequence[Problem], *, sources: Sequence[str | None] | None = None, err: bool = True
) -> None:
    """sources: the line at which each problem points. With None, no line is shown."""
    stream = sys.stderr if err else sys.stdout
    terminal = stream.isatty()
    width = shutil.get_terminal_size().columns if terminal else PIPE_WIDTH
    coloured = terminal and not os.environ.get("NO_COLOR")
    for problem, source in zip(problems, sources or [None] * len(problems), strict=True):
        click.echo(problem_text(problem, source, width=width, coloured=coloured), err=err)


def problem_text(problem: Problem, source: str | None = None, *, width: int, coloured: bool = False) -> str:
    """`path:line:column: severity: message [code]`, the line with a caret below the place, and the hint."""
    severity = problem.severity.value
    shown = _styled(severity, severity, header=False) if coloured else severity
    place = f"{problem.path}:{problem.line}:{problem.column}"
    lines = [f"{clean(place)}: {shown}: {clean(problem.message)} [{problem.code}]"]
    if source is not None:
        text, marks = excerpt(source, problem.column, width - len(f"  {problem.line} | "))
        pointer = click.style(marks.lstrip(), fg="green", bold=True) if coloured else marks.lstrip()
        indent = " " * (len(marks) - len(marks.lstrip()))
        lines.append(f"  {problem.line} | {text}")
        lines.append(f"  {' ' * len(str(problem.line))} | {indent}{pointer}")
    if problem.hint:
        lines.append(f"  hint: {clean(problem.hint)}")
    return "\n".join(lines)


_WORD = re.compile(r"\"[^\"]*\"|'[^']*'|[\w.@/*+-]+(?::[\w.@/*+-]+)*")


def excerpt(source: str, column: int, room: int) -> tuple[str, str]:
    """The part of a line that fits in `room` columns, and a line with a caret at `column` and ~ to the word's end.

    Reads only the text near the caret, however long the line is.
    """
    room = max(room, NARROWEST_LINE)
    at = min(column - 1, len(source))
    whole = len(source) <= room and _cells(source) <= room
    start = 0
    if not whole and (at > room or _cells(source[:at]) > room * 3 // 4):
        start = at - _fitting(reversed(source[max(0, at - room) : at]), room // 2)
    before = "…" * (start > 0) + _visible(source[start:at])
    left = room - cell_width(before)
    end = at + _fitting(source[at : at + room], left)
    if end < len(source):
        end = at + _fitting(source[at : at + room], left - 1)
    after = _visible(source[at:end]) + "…" * (end < len(source))
    word = _WORD.match(source[at:end])
    marked = _cells(word[0]) if word else 1
    return (before + after).rstrip(), " " * cell_width(before) + "^" + "~" * (marked - 1)


def _fitting(characters: Iterable[str], room: int) -> int:
    """How many of the characters fit in `room` columns."""
    count = 0
    for character in characters:
        room -= _cells(character)
        if room < 0:
            break
        count += 1
    return count


def _visible(text: str) -> str:
    return clean(text.replace("\t", TAB))


def _cells(text: str) -> int:
    return cell_width(_visible(text))


def github_text(problem: Problem, folder: str) -> str:
    """A workflow command that marks the place in a pull request on GitHub.

    folder: the root, relative to the top of the checkout; empty if it is the top itself.
    """
    path = f"{folder}/{problem.path}" if folder else problem.path
    hint = f"\nhint: {problem.hint}" if problem.hint else ""
    return github_command(
        problem.severity.value, path, problem.line, problem.code, problem.message + hint, column=problem.column
    )


def github_command(kind: str, path: str, line: int, title: str, text: str, *, column: int | None = None) -> str:
    """A workflow command for an annotation. kind: error, warning or notice. Without a path, it belongs to no file."""
    properties: dict[str, object] = {"file": path, "line": line} if path else {}
    if path and column is not None:
        properties["col"] = column
    properties["title"] = title
    written = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in properties.items())
    return f"::{kind} {written}::{_escaped(text)}"


def _escaped(text: str, more: str = "") -> str:
    """Escape for the workflow runner: % and line ends always, and in properties also : and ,."""
    special = {c: f"%{ord(c):02X}" for c in "%\r\n" + more}
    return "".join(special.get(c, c if c.isprintable() else "\N{REPLACEMENT CHARACTER}") for c in text)


def schedule_change(change: Mapping[str, Any], words: Mapping[str, Any]) -> tuple[str, str]:
    """A schedule before and after: in words, with the jitter if it changed, or as written if nothing else changed."""
    sides = [change["before"], change["after"]]
    said = [words["before"], words["after"]]
    jitters = [field_text("jitter_ms", side.get("jitter_ms", "none")) for side in sides]
    if jitters[0] != jitters[1]:
        said = [f"{text}, jitter {jitter}" for text, jitter in zip(said, jitters, strict=True)]
    if said[0] == said[1]:
        said = [schedule_written(side) for side in sides]
    return said[0], said[1]


def schedule_written(schedule: Mapping[str, Any]) -> str:
    """A schedule by its keys, as in its file."""
    if schedule.get("manual"):
        return "manual"
    return "; ".join(
        value_text({key.removesuffix("_ms"): field_text(key, value) for key, value in entry.items()})
        for entry in schedule.get("any", [schedule])
    )


def field_text(field: str, value: Any) -> str:
    """A field's value on one line, with durations as in job files."""
    if field.endswith("_ms") and isinstance(value, int):
        from scheduler.core.values.units import format_duration

        return format_duration(timedelta(milliseconds=value))
    if named_file_of(field) is not None:
        return "no file" if value is None else _SHA256.sub(lambda found: found[1][:12], str(value))
    if converted_file_of(field) is not None:
        return "as committed" if value is None else str(value)
    if field == "pause" and isinstance(value, Mapping):
        return pause_text(value)
    return schedule_written(value) if field == "schedule" and isinstance(value, Mapping) else value_text(value)


def pause_text(pause: Mapping[str, Any]) -> str:
    """A pause on one line, its instants in the zone of the screen."""
    return value_text({**pause, **{name: local_time(pause[name]) for name in ("at", "until") if pause.get(name)}})


def change_text(field: str, change: Mapping[str, Any], *, schedules: Mapping[str, Any] | None = None) -> str:
    """A field before and after; a schedule in words, if `schedules` has them."""
    if field == "schedule" and schedules:
        return " -> ".join(schedule_change(change, schedules))
    return " -> ".join(field_text(field, change[side]) for side in ("before", "after"))


_SHA256 = re.compile("sha256:([0-9a-f]{64})")


def setting_name(field: str) -> str:
    """The dotted name of a setting in scheduler.yaml, or the path of a file that a runner or channel names."""
    path = named_file_of(field)
    if path is not None:
        kind, name, _ = field.split(".", 2)
        return f"{path} (named by {kind.removesuffix('s')} {name})"
    if (path := converted_file_of(field)) is not None:
        return f"{path} (git's attributes)"
    from scheduler.core.views import place_of_setting

    return f"{place_of_setting(field)} {field.removesuffix('_ms')}"


def users_text(change: Mapping[str, Any]) -> str:
    """The jobs that use a setting of a runner or channel, or inherit a default; empty for other settings."""
    if "jobs" not in change:
        return ""
    if is_inherited_setting(change["field"]):
        jobs = change["jobs"]
        named = f": {listed(jobs)}" if jobs else ""
        return f"; for {len(jobs) or 'no'} {'job' if len(jobs) < 2 else 'jobs'}{named}"
    return f"; used by {listed(change['jobs'])}" if change["jobs"] else "; no job uses it"


def revision_text(run: Mapping[str, Any]) -> str:
    """The commit that HEAD named, with a star if the task or a file of its runner differed from it."""
    files = run["runner_files"] or ()
    return short_hash(run["revision"], 7) + ("*" if run["dirty"] or any(each["dirty"] for each in files) else "")


def value_text(value: Any) -> str:
    """A definition's value on one line."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        told = {
            key.removesuffix("_ms"): field_text(key, each) for key, each in value.items() if each not in (None, [], {})
        }
        return ", ".join(f"{key} {each}" for key, each in told.items()) or "-"
    return json_text(value)
