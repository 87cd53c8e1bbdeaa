"""The other side of the helper process: ask it, and end it with all it started once its time is up."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Final

from scheduler.core.due.sending import UNKNOWN
from scheduler.core.values.units import format_seconds
from scheduler.delivery import helper
from scheduler.delivery.helper import scrubbed
from scheduler.delivery.requests import Outcome, Request, line_of, transient
from scheduler.machine import orphans

if TYPE_CHECKING:
    from subprocess import Popen

LIMIT_S: Final = 20.0
IDLE_S: Final = 60.0
_MOST_ANSWER = 256 * 1024
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_PASSED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *_PROXIES,
    *map(str.upper, _PROXIES),
)


def bare_environment(environ: Mapping[str, str], names: Iterable[str] = ()) -> dict[str, str]:
    """What a helper gets of an environment, and what a command gets beside the names it asks for."""
    return {name: environ[name] for name in (*_PASSED, *names) if name in environ}


class Courier:
    """One helper process, started when it is needed. It carries one message at a time.

    For one thread. clock: seconds that only grow.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, *, clock: Callable[[], float] = monotonic) -> None:
        self._environ = environ
        self._clock = clock
        self._child: Popen[bytes] | None = None
        self._used_at = 0.0

    @property
    def pid(self) -> int | None:
        """Of the helper, if there is one."""
        return None if self._child is None else self._child.pid

    def send(self, request: Request, *, limit_s: float = LIMIT_S) -> Outcome:
        """Carry out the request, and be done within limit_s. Never raises for what a service or the helper does."""
        try:
            outcome = self._send(line_of(request), limit_s)
        except BaseException:  # a half-written request would be answered by the next one
            self.close()
            raise
        self._used_at = self._clock()
        return scrubbed(outcome, request)

    def _send(self, line: bytes, limit_s: float) -> Outcome:
        deadline = monotonic() + limit_s
        try:
            child = self._running()
            said = _exchange(child, line, deadline)
        except OSError as error:
            self.close()
            return transient(f"cannot use a helper process: {error.strerror or error}")
        if said is None:
            self.close()
            return transient(f"timeout after {format_seconds(limit_s)}; {UNKNOWN}")
        try:
            return Outcome.from_json(json.loads(said))
        except (ValueError, KeyError, TypeError, AttributeError):
            self.close()
            return transient(f"the helper process ended without an answer; {UNKNOWN}")

    def _running(self) -> Popen[bytes]:
        if self._child is not None and _has_ended(self._child.pid):
            self.close()
        if self._child is None:
            from subprocess import DEVNULL, PIPE

            self._child = orphans.start(
                [sys.executable, "-P", "-m", helper.__name__],
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                bufsize=0,
                cwd="/",
                env=bare_environment(self._environ),
                start_new_session=True,
            )
            for pipe in (self._child.stdin, self._child.stdout):
                assert pipe is not None
                os.set_blocking(pipe.fileno(), False)
        return self._child

    def leave_if_idle(self, idle_s: float = IDLE_S) -> float | None:
        """End a helper that has had nothing to do for so long. Returns the seconds until then, None without one."""
        if self._child is None:
            return None
        left = self._used_at + idle_s - self._clock()
        if left > 0:
            return left
        self.close()
        return None

    def close(self) -> None:
        """Kill the helper and its process group now."""
        child, self._child = self._child, None
        if child is None:
            return
        # As long as it is not reaped, its pid names its group and nothing else.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        child.wait()


def _has_ended(pid: int) -> bool:
    """True if the child has ended. It is left to be reaped, since only then may its group be killed by its pid."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _exchange(child: Popen[bytes], line: bytes, deadline: float) -> bytes | None:
    """The helper's answer; empty or cut if it ended, None if there was no time. Raises: OSError."""
    assert child.stdin is not None
    assert child.stdout is not None
    view, said = memoryview(line), bytearray()
    asks, answers = child.stdin.fileno(), child.stdout.fileno()
    poller = select.poll()
    poller.register(asks, select.POLLOUT)
    poller.register(answers, select.POLLIN)
    while not said.endswith(b"\n"):
        left = deadline - monotonic()
        if left <= 0:
            return None
        for file, _ in poller.poll(left * 1000):
            if file == answers:
                part = os.read(answers, 64 * 1024)
                said += part
                if not part or len(said) > _MOST_ANSWER:
                    return bytes(said[:_MOST_ANSWER])
            elif view:
                try:
                    view = view[os.write(asks, view) :]
                except BrokenPipeError:  # it has ended: its stdout says so too
                    view = memoryview(b"")
                if not view:
                    poller.unregister(asks)
    return bytes(said)
