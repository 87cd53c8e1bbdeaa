"""A function of many values, worked out by this process and a copy of it: for a command that has nothing else to do.

A fork, since a new interpreter starts up for as long as thousands of files take to read. Nothing depends on it: what it
does not answer is worked out here.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Value = TypeVar("Value")
Result = TypeVar("Result")

_AT_ONCE = 64  # values
_PATIENCE_S = 10.0  # for so many


def in_two(work: Callable[[Value], Result], values: Sequence[Value]) -> list[Result]:
    """`work` of each value, in their order: of the first ones here, of the last ones in a second process.

    work: its result is pickled; whatever else it does is lost there. Raises: what `work` raises.
    """
    first, last = list[Result](), list[list[Result]]()  # the lists of the second from the end backwards
    end, asked = len(values), False
    with contextlib.ExitStack() as stack:
        other: _Other[Value, Result] | None = None
        if _can_fork():
            with contextlib.suppress(OSError):
                other = stack.enter_context(contextlib.closing(_Other(work)))
        while len(first) < end or asked:
            if other is not None and asked:
                answer = other.answer(0 if len(first) < end else _PATIENCE_S)
                asked = answer is None
                if answer:
                    last.append(answer)
                elif not asked:
                    other, end = None, end + _AT_ONCE
            if other is not None and not asked and end - len(first) > _AT_ONCE:
                end, asked = end - _AT_ONCE, True
                other.ask(values[end : end + _AT_ONCE])
            if len(first) < end:
                first.append(work(values[len(first)]))
    for answer in reversed(last):
        first += answer
    return first


def _can_fork() -> bool:
    """With another thread, the copy might hold a lock that nobody releases. macOS breaks after a fork anyway."""
    return sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1 and threading.active_count() == 1


class _Other(Generic[Value, Result]):
    """The second process. Raises: OSError if it cannot be started."""

    def __init__(self, work: Callable[[Value], Result]) -> None:
        asked, to = os.pipe()
        back, answers = os.pipe()
        self._to, self._back = os.fdopen(to, "wb"), os.fdopen(back, "rb")
        try:
            self._pid = os.fork()
            if not self._pid:
                os.close(to)  # or it would not see the end of this process
                _serve(work, asked, answers)
        except OSError:
            self._to.close()
            self._back.close()
            raise
        finally:
            os.close(asked)
            os.close(answers)
        self._poll = select.poll()
        self._poll.register(self._back, select.POLLIN)

    def ask(self, values: Sequence[Value]) -> None:
        with contextlib.suppress(OSError):  # it has ended, as `answer` will see
            pickle.dump(values, self._to)
            self._to.flush()

    def answer(self, patience_s: float) -> list[Result] | None:
        """What it has worked out. None if that is not ready yet; empty if it is not within `patience_s`, or never."""
        if self._poll.poll(patience_s * 1000):
            with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
                answer: list[Result] = pickle.load(self._back)
                return answer
            return []
        return [] if patience_s else None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        for each in (self._to, self._back):
            with contextlib.suppress(OSError):
                each.close()


def _serve(work: Callable[[Value], object], asked: int, answers: int) -> None:
    """All that the second process does. It ends when it is no longer asked, or `work` raises."""
    try:
        gc.freeze()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with os.fdopen(asked, "rb") as values, os.fdopen(answers, "wb") as to:
            while True:
                pickle.dump([work(each) for each in pickle.load(values)], to)
                to.flush()
    finally:
        os._exit(0)  # what the first process has not written or closed yet is not written or closed twice
