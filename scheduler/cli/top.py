"""The command that redraws the status of a root on a terminal: top."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator

import click

from scheduler.cli import render
from scheduler.cli.group import Globals, cli, global_options, printed
from scheduler.cli.status import fitted, status_lines
from scheduler.core.values.instants import instant
from scheduler.service.root import Root
from scheduler.service.status import status

_ENDS = (signal.SIGTERM, signal.SIGHUP)


@cli.command("top")
@click.option(
    "--every", metavar="SECONDS", type=click.FloatRange(min=0.2), default=2.0, help="Time between redraws (default: 2)."
)
@click.option("--once", is_flag=True, help="Print the status once, as it does where there is no terminal.")
@global_options
def top_command(given: Globals, every: float, once: bool) -> None:
    """Show the status live on a terminal.

    q or Ctrl-C ends it; any other key redraws at once.
    """
    root = given.find_root()
    if once or given.as_json or not sys.stdout.isatty():
        found = status(root)
        if not printed(given, found):
            for line in status_lines(found, root.clock.now(), coloured=render.in_colour(sys.stdout)):
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
    now, size = root.clock.now(), shutil.get_terminal_size()
    title = f"every {every:g} s, {render.local_time(instant(now))}; q quits"
    lines = [title, "", *status_lines(status(root), now, coloured=render.in_colour(sys.stdout))]
    # Draw over the old screen line by line: clearing it would flicker.
    drawn = "".join(f"{fitted(line)}\x1b[K\n" for line in lines[: size.lines - 1])
    click.echo(f"\x1b[H{drawn}\x1b[J", nl=False, color=True)


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
