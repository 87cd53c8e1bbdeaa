"""The command that redraws the page Now on a terminal: top."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from scheduler.cli import render
from scheduler.cli.group import Globals, cli, global_options, printed
from scheduler.cli.status import daemon_text, fitted
from scheduler.core.past.outcome import SIGNS, tone_of
from scheduler.core.past.worded import hours_in_words
from scheduler.core.values.instants import instant
from scheduler.core.values.units import format_seconds
from scheduler.service.now import now
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import CommitJson, NeedJson
    from scheduler.core.now import NowJson

_ENDS = (signal.SIGTERM, signal.SIGHUP)


@cli.command("top")
@click.option(
    "--every", metavar="SECONDS", type=click.FloatRange(min=0.2), default=2.0, help="Time between redraws (default: 2)."
)
@click.option("--once", is_flag=True, help="Print it once, as it does where there is no terminal.")
@global_options
def top_command(given: Globals, every: float, once: bool) -> None:
    """Show the page Now on a terminal.

    What needs a person, worst first, with the change just before it; the hours around now; what runs, what is next, the
    latest changes and the spend of today. q or Ctrl-C ends it; any other key redraws at once.
    """
    root = given.find_root()
    if once or given.as_json or not sys.stdout.isatty():
        found = now(root)
        if not printed(given, found):
            for line in now_lines(found, root.clock.now(), coloured=render.in_colour(sys.stdout)):
                click.echo(fitted(line))
        return
    ended = None
    with _signals() as signals, _other_screen(), _keys() as keys, contextlib.suppress(KeyboardInterrupt):
        while True:
            _draw(root, every)
            ended = _wait(every, signals, keys)
            if ended is not None:
                break
    if ended:  # as if it had never been caught, now that the terminal is restored
        os.kill(os.getpid(), ended)


def _draw(root: Root, every: float) -> None:
    at, size = root.clock.now(), shutil.get_terminal_size()
    title = f"every {format_seconds(every)}, {render.local_time(instant(at))}; q quits"
    lines = [title, *now_lines(now(root), at, coloured=render.in_colour(sys.stdout))]
    # Draw over the old screen line by line: clearing it would flicker.
    drawn = "".join(f"{fitted(line)}\x1b[K\n" for line in lines[: size.lines - 1])
    click.echo(f"\x1b[H{drawn}\x1b[J", nl=False, color=True)


_SHOWN = 5  # rows of a section, of those that are no need
_LABEL = 11


def now_lines(found: NowJson, now: datetime, *, coloured: bool = False) -> Iterator[str]:
    """The page Now, line by line, in its order."""
    status = found["status"]
    yield _line("daemon", daemon_text(status["daemon"]))
    said = f"Needs you: {', '.join(status['attention'])}" if status["attention"] else "All is well"
    yield render.painted(said, "error" if status["attention"] else "ok") if coloured else said
    for each in status["needs"]:
        yield from _need_lines(each, now, coloured)
    counts = "  ".join(f"{SIGNS[word]} {count} {word}" for word, count in found["counts"].items())
    yield _line("jobs", counts or "none")
    yield _line("-6h", _ribbon_line(found) + " +6h")
    sums = {
        name: sum(int(str(each[name])) for each in found["ribbon"]["parts"])
        for name in ("failed", "succeeded", "other", "skipped", "coming")
    }
    yield _line("", hours_in_words(sums, len(found["ribbon"]["running"]), found["ribbon"]["often"]))
    running = [
        f"{each['id']}  {render.lasting(min(each['started_at'], status['at']), now)}"
        + ("" if each["usual_ms"] is None else f", usually {render.duration(each['usual_ms'])}")
        for each in found["ribbon"]["running"]
    ]
    yield from _lines("running", running)
    coming = [
        f"{each['job_id']}  {render.ahead(each['fire_time'], now)}, {render.local_time(each['fire_time'])}"
        for each in status["next"]
    ]
    yield from _lines("next", coming)
    changes = [
        f"{each['who']} {each['text']}, {render.ago(each['at'], now)}"
        + (f": {_commit(each['commit'])}" if each["commit"] else "")
        for each in found["changes"]
    ]
    yield from _lines("changes", changes)
    spent = [
        f"{each['amount']} {each['currency']}"
        + "".join(f" of {limit['limit']}" for limit in each["limits"] if limit["key"] == "per_day")
        for each in found["spent"]
    ]
    yield from _lines("spent today", spent)


def _need_lines(each: NeedJson, now: datetime, coloured: bool) -> Iterator[str]:
    """The line of a need, under it the commit just before, and what is said of it."""
    mark = f"{SIGNS[each['kind']]} {each['kind']}"
    label = f"{mark:<{_LABEL}} "
    if coloured:
        label = render.painted(label, {"bad": "error", "wait": "warning"}.get(tone_of(each["kind"]), ""))
    who = f"{each['job_id']} " if each["job_id"] else ""
    since = f"for {render.lasting(each['since'], now)}" if each["since"] else ""
    since = f"failing {since}" if since and each["kind"] == "stopped" else since
    text, change = render.clean(render.in_zone(each["text"])), each["change"]
    if change is None:
        yield f"{label}{who}{text}{f', {since}' if since and each['urgent'] else ''}"
        return
    commit = change["commit"]
    by = f"{commit['author']} changed its {change['what']}" if commit else f"its {change['what']} changed"
    yield f"{label}{render.clean(f'{who}{since}, just after {by}')}"
    if commit is not None:
        yield _line("", _commit(commit))
    yield _line("", text)


def _commit(commit: CommitJson) -> str:
    return f"{render.short_hash(commit['id'], 7)} {commit['subject']}"


def _line(label: str, text: str) -> str:
    return f"{label:<{_LABEL}} {render.clean(text)}"


def _lines(label: str, rows: Sequence[str]) -> Iterator[str]:
    for place, row in enumerate(rows[:_SHOWN]):
        yield _line(label if place == 0 else "", row)
    if len(rows) > _SHOWN:
        yield _line("", f"and {len(rows) - _SHOWN} more")


_CELL = 15  # minutes


def _ribbon_line(found: NowJson) -> str:
    """A quarter of an hour in each cell: the worst that ended in it, or whether a fire is to come."""
    parts, cells = found["ribbon"]["parts"], []
    size = max(1, _CELL * len(parts) // (12 * 60))
    for place in range(0, len(parts), size):
        some = parts[place : place + size]
        if place >= len(parts) // 2:
            cells.append("○" if any(each["coming"] for each in some) else " ")
        elif any(each["failed"] for each in some):
            cells.append("✕")
        elif any(each["succeeded"] or each["other"] for each in some):
            cells.append("▪")
        else:
            cells.append("–" if any(each["skipped"] for each in some) else " ")
    half = len(cells) // 2
    return f"{''.join(cells[:half])}|{''.join(cells[half:])}"


def _wait(seconds: float, signals: int, keys: int | None) -> int | None:
    """Wait for the next redraw: the time is over, a key was pressed, or the terminal was resized.

    Returns: a signal that ends the command, 0 for the key q, None to redraw.
    """
    ready, _, _ = select.select([signals] if keys is None else [signals, keys], [], [], seconds)
    if signals in ready:
        ends = [number for number in os.read(signals, 64) if number in _ENDS]
        return ends[0] if ends else None
    if keys in ready and keys is not None:
        pressed = os.read(keys, 64)
        if not pressed:  # the terminal is gone: it would stay readable, and this loop would spin
            return 0
        return 0 if pressed in (b"q", b"Q") else None
    return None


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """A descriptor that reads the numbers of the signals which would leave the terminal changed, and of resizes."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {number: signal.signal(number, lambda *_: None) for number in (*_ENDS, signal.SIGWINCH)}
    old = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


@contextlib.contextmanager
def _keys() -> Iterator[int | None]:
    """Let single keys be read without echo; None if the input is no terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    tty.setcbreak(keys)
    try:
        yield keys
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(keys, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _other_screen() -> Iterator[None]:
    """Switch to the alternate screen without a cursor, and restore the terminal afterwards."""
    click.echo("\x1b[?1049h\x1b[?25l", nl=False, color=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the terminal is gone
            click.echo("\x1b[?25h\x1b[?1049l", nl=False, color=True)
