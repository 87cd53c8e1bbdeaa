"""`scheduler top` on a pseudoterminal: what it draws, what ends it, and that the terminal is as it was before."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.faces.conftest import Root
from tests.helpers import REPOSITORY

DRAWN = b"\x1b[J"  # the end of a screen
OTHER, BACK = b"\x1b[?1049h", b"\x1b[?1049l"


def sizeless() -> dict[str, str]:
    """The environment without the size of another terminal, which would count instead of the one here."""
    return {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}


@dataclass(kw_only=True)
class Terminal:
    """A terminal on which `top` runs, with redraws so far apart that only an event causes one."""

    ours: int
    its_own: int
    process: subprocess.Popen[bytes]
    shown: bytes = field(default=b"")

    def until(self, screens: int) -> bytes:
        """The last of that many screens."""
        while self.shown.count(DRAWN) < screens:
            self.shown += os.read(self.ours, 65536)
        return self.shown.split(DRAWN)[screens - 1]

    def resize(self, columns: int, lines: int = 24) -> None:
        fcntl.ioctl(self.its_own, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, key: bytes) -> None:
        os.write(self.ours, key)

    def end(self) -> int:
        code = self.process.wait(timeout=30)
        os.set_blocking(self.ours, False)
        with contextlib.suppress(OSError):
            self.shown += os.read(self.ours, 65536)
        return code


@pytest.fixture
def terminal(root: Root) -> Iterator[Terminal]:
    root.ok("sync")
    ours, its_own = pty.openpty()
    fcntl.ioctl(its_own, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "scheduler", "top", "--every", "600"],
        cwd=root.path,
        env={**sizeless(), "PYTHONPATH": str(REPOSITORY)},
        stdin=its_own,
        stdout=its_own,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Terminal(ours=ours, its_own=its_own, process=process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(its_own)


def test_q_ends_it_and_the_terminal_is_as_it_was_before(terminal: Terminal) -> None:
    before = termios.tcgetattr(terminal.its_own)
    terminal.until(1)
    assert not termios.tcgetattr(terminal.its_own)[3] & termios.ECHO, "keys are not echoed"
    terminal.press(b"q")
    assert terminal.end() == 0
    assert termios.tcgetattr(terminal.its_own) == before
    assert terminal.shown.startswith(OTHER)
    assert terminal.shown.endswith(BACK)


def test_any_other_key_redraws_at_once(terminal: Terminal) -> None:
    terminal.until(1)
    terminal.press(b" ")
    assert b"Needs you" in terminal.until(2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_only_after_the_terminal_is_restored(terminal: Terminal, number: signal.Signals) -> None:
    before = termios.tcgetattr(terminal.its_own)
    terminal.until(1)
    terminal.process.send_signal(number)
    assert terminal.end() == -number, "its parent sees which signal it was"
    assert termios.tcgetattr(terminal.its_own) == before
    assert terminal.shown.endswith(BACK)


def test_a_resize_redraws_at_once_and_no_line_wraps(terminal: Terminal) -> None:
    terminal.until(1)
    terminal.resize(40)
    terminal.process.send_signal(signal.SIGWINCH)  # the kernel sends it only to the foreground of a session
    screen = terminal.until(2).decode().removeprefix("\x1b[H")
    lines = [line.removesuffix("\r").removesuffix("\x1b[K") for line in screen.split("\n")]
    assert max(map(len, lines)) <= 40
    assert len(lines) <= 24


@pytest.mark.parametrize("words", [("top",), ("top", "--once")])
def test_without_a_terminal_it_prints_once(root: Root, words: tuple[str, ...]) -> None:
    root.ok("sync")
    assert root.ok(*words).stdout.splitlines()[1] == "Needs you: no daemon is running"


def test_json_is_that_of_the_page_with_the_status_in_it(root: Root) -> None:
    root.ok("sync")
    found = root.json("top", "--once")
    assert found["status"] == root.json("status")
    assert found["ribbon"]["often"] == 1, "tick, every ten seconds, fills no part of the ribbon"
    assert sum(each["coming"] for each in found["ribbon"]["parts"]) < 10
    assert found.keys() == {"status", "timezone", "counts", "ribbon", "spent", "changes"}


def test_the_first_lines_name_the_job_that_is_broken_and_the_commit_that_broke_it(lived_in: Root) -> None:
    commit = lived_in.break_flaky()
    lines = lived_in.ok("top", "--once").stdout.splitlines()
    failing = next(place for place, line in enumerate(lines) if line.startswith("✕ failing"))
    assert "flaky for 0s, just after" in lines[failing]
    assert lines[failing + 1].strip().startswith(commit[:7])
    (need,) = (each for each in lived_in.json("status")["needs"] if each["kind"] == "failing")
    assert (need["job_id"], need["change"]["commit"]["id"]) == ("flaky", commit)
