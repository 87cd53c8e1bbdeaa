"""What this process was started with: how it lives with it, and what its children are not to inherit.

Whoever starts a daemon may block or ignore signals: nohup, a shell's background job, a supervisor. Exec keeps both.
A job's script cannot even trap a signal that it was started with ignored, so no run is to depend on that.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Set
from types import FrameType
from typing import NoReturn

HANDED_ON = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
)  # by the first process of a container


def settle_signals() -> None:
    """Blocks none; those that were ignored still do nothing here, and have their default action in every child.

    Call it in the main thread, before there are others.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # The kernel throws the ends of children away while it is ignored: each would look like exit code 0.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in signal.valid_signals():
        # Python ignores two signals itself, and subprocess restores those.
        if number not in (signal.SIGPIPE, signal.SIGXFSZ) and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _do_nothing)  # exec turns a handler into the default, and leaves SIG_IGN


def _do_nothing(number: int, frame: FrameType | None) -> None:
    pass


def is_ignored(number: int) -> bool:
    """Whether whoever started this process wants it to live through this signal."""
    return signal.getsignal(number) in (signal.SIG_IGN, _do_nothing)


def leave_pid_1() -> None:
    """Goes on in a child where this is the first process of a container, which all orphans there are handed to.

    The first process then does nothing but reap them, hand signals on and end as the child does. It has no other
    children, so it takes no exit code from anybody who waits for it. Call it before there are threads or open files.
    """
    if os.getpid() != 1:
        return
    heard = HANDED_ON | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, heard)  # what comes meanwhile waits
    child = os.fork()
    if child:
        _stand_by(child, heard)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stand_by(child: int, heard: Set[signal.Signals]) -> NoReturn:
    code: int | None = None
    while code is None:
        number = signal.sigwait(heard)
        if number == signal.SIGCHLD:
            code = _reap(child)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)
    os._exit(code)  # nothing here is to be flushed or closed: it is the child's


def _reap(child: int) -> int | None:
    """Takes all that has ended; the exit code where the child was among them, as a shell would say it."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if not pid:
            return None
