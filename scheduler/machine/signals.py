"""Signals that this process inherited as blocked or ignored, and how to keep them from its children.

nohup, a shell's background job or a supervisor may block or ignore signals, and exec keeps both. A script cannot even
trap a signal that was ignored when it started, so no run may depend on how the daemon was started.
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
    """Unblock all signals. Ignored ones still do nothing here, but have their default action in every child.

    Call it in the main thread before any other thread starts.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # While SIGCHLD is ignored the kernel discards exit statuses: each child would seem to exit with 0.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in signal.valid_signals():
        # Python ignores two signals itself, and subprocess restores those.
        if number not in (signal.SIGPIPE, signal.SIGXFSZ) and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _do_nothing)  # exec turns a handler into the default, and leaves SIG_IGN


def _do_nothing(number: int, frame: FrameType | None) -> None:
    pass


def is_ignored(number: int) -> bool:
    """True if this process was started with the signal ignored, so it must survive it."""
    return signal.getsignal(number) in (signal.SIG_IGN, _do_nothing)


def leave_pid_1() -> None:
    """Continue in a child if this is the first process of a container, which inherits all orphans there.

    The first process then only reaps them, forwards signals and exits as the child does. It has no other children,
    so it takes no exit status from another waiter. Call it before any thread starts or file is opened.
    """
    if os.getpid() != 1:
        return
    heard = HANDED_ON | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, heard)  # signals that arrive meanwhile stay pending
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
    os._exit(code)  # flush and close nothing here: it belongs to the child


def _reap(child: int) -> int | None:
    """Reap every ended process. Returns the child's exit code as a shell reports it, if the child was among them."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if not pid:
            return None
