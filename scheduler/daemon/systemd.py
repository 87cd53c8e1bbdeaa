"""Messages to the service manager (sd_notify(3)): the daemon is ready, alive or stopping, and its status.

Without NOTIFY_SOCKET nothing is sent and nothing fails, so the daemon is the same under any manager or none.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from scheduler.machine.log import Log
from scheduler.machine.loop import Loop

FIRST_PASS = timedelta(minutes=15)  # how long a start may take, whatever TimeoutStartSec says
STATUS_S = 5.0  # the shortest time between two
MARGIN = timedelta(seconds=30)  # beyond the limit of a stop: for writes to a slow disk
_SEND_S = 1.0  # a manager that does not read must not block the thread that handles signals

_log = Log(__name__)


class Manager:
    """The service manager that the environment names. All calls come from the main thread."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._every_s = _watchdog_s(environ)
        self._ready = False
        self._status, self._status_at = "", float("-inf")
        self._alive_at = float("-inf")
        self._unsent = False
        self._withheld: tuple[str, ...] = ()

    @property
    def turn_s(self) -> float:
        """How often `turn` must be called: often until READY, which is all that a starting unit waits for."""
        if not self._ready and self._address is not None:
            return 0.05
        return 1.0 if self._every_s is None else min(1.0, self._every_s / 2)

    def starting(self) -> None:
        """Announce the first pass, which may take longer than a manager allows by default."""
        self._send("STATUS=reading the files for the first time", _extend(FIRST_PASS))

    def turn(self, loops: Sequence[Loop], summary: Callable[[], str]) -> None:
        """Send READY once every thread has made a turn, then the status, and that all threads are alive."""
        now = time.monotonic()
        lines = []
        if not self._ready and all(loop.beats for loop in loops):
            self._ready = True
            lines.append("READY=1")
        status = "" if self._address is None else summary()  # after the beats: the first turns decide what it says
        if lines or (status != self._status and now - self._status_at >= STATUS_S):
            self._status, self._status_at = status, now
            lines.append("STATUS=" + " ".join(status.split()))
        troubles = tuple(loop.name for loop in loops if loop.hang)
        if troubles != self._withheld:
            if troubles:
                _log.error("thread_silent", reason="; ".join(loop.hang for loop in loops if loop.hang))
            else:
                _log.warning("thread_turns_again")
            self._withheld = troubles
        if self._ready and not troubles and self._every_s is not None and now - self._alive_at >= self._every_s:
            self._alive_at = now
            lines.append("WATCHDOG=1")
        if lines:
            self._send(*lines)

    def stopping(self, longest: timedelta) -> None:
        """longest: how long running jobs may take to finish and to be ended."""
        self._send("STOPPING=1", "STATUS=stopping; running jobs may finish", _extend(longest + MARGIN))

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as sender:
                sender.settimeout(_SEND_S)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._unsent:
                _log.warning("notify_failed", address=self._address, error=str(error))
            self._unsent = True
        else:
            self._unsent = False


def _address(name: str) -> str | None:
    """A path, or a name in the abstract namespace, which systemd writes with `@` and the kernel with a NUL."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else None  # others, such as vsock:, are for whole machines


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """How often to report that all is well: three times within the granted time. None if nobody asks."""
    try:
        granted = int(environ.get("WATCHDOG_USEC", "")) / 1_000_000
        meant = int(environ.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return granted / 3 if granted > 0 and meant == os.getpid() else None


def _extend(by: timedelta) -> str:
    return f"EXTEND_TIMEOUT_USEC={int(by.total_seconds() * 1_000_000)}"
