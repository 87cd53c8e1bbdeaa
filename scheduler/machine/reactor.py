"""The events of one thread: descriptors, timers, and what other threads and signal handlers ask it to do.

A reactor is also the bell of a `Loop`: to wait for the bell is to handle events until somebody rings.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import os
import select
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable

from scheduler.machine.log import Log

_SIGNAL_S = 1.0
_LONGEST_S = 86_400.0  # epoll counts milliseconds in an int, so 25 days are too long
_FEW = 256  # timers
_SELECTABLE = 1024  # select(2) takes no larger descriptor

_log = Log(__name__)


def longest_wait() -> float:
    """The longest time, in seconds, that the calling thread may block at once.

    Signal handlers run in the main thread, between its steps. A signal that arrives just before that thread blocks, or
    in another thread, does not wake it.
    """
    return _SIGNAL_S if threading.current_thread() is threading.main_thread() else _LONGEST_S


class Timer:
    """Something to do at a moment, unless it is cancelled first."""

    __slots__ = ("what",)

    def __init__(self, what: Callable[[], None]) -> None:
        self.what: Callable[[], None] | None = what

    def cancel(self) -> None:
        self.what = None


class _Epoll:
    """epoll(7) without the bookkeeping of `selectors`, which takes as long as a run's reads and writes."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.fileno, self.close = self._epoll.fileno, self._epoll.close

    def register(self, file: int) -> None:
        self._epoll.register(file, select.EPOLLIN)

    def unregister(self, file: int) -> None:
        with contextlib.suppress(OSError):  # closed already
            self._epoll.unregister(file)

    def poll(self, timeout: float) -> list[int]:
        return [file for file, _ in self._epoll.poll(timeout)]


class _Poller:
    """Whatever else the machine has."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.unregister, self.close = self._selector.unregister, self._selector.close

    def register(self, file: int) -> None:
        self._selector.register(file, selectors.EVENT_READ)

    def fileno(self) -> int:
        return self._selector.fileno() if hasattr(self._selector, "fileno") else _SELECTABLE

    def poll(self, timeout: float) -> list[int]:
        return [key.fd for key, _ in self._selector.select(timeout)]


class Reactor:
    """Handles events in the thread that calls `turn` or `wait`: one thread at a time.

    `call`, `set` and `clear` are for any thread and for signal handlers; all else is for that one thread.
    What is called may raise: it is logged, and nothing else is lost.
    """

    def __init__(self) -> None:
        self._poller: _Epoll | _Poller = _Epoll() if hasattr(select, "epoll") else _Poller()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers, self._tidy_at = itertools.count(), _FEW
        self._calls: deque[Callable[[], None]] = deque()
        self._turning = threading.RLock()  # what is called may take turns itself
        self._rung = False
        self._woken = False  # a byte is in the pipe, or about to be
        self._pipe, self._button = os.pipe()
        for end in (self._pipe, self._button):
            os.set_blocking(end, False)
        self.watch(self._pipe, self._answer)

    def close(self) -> None:
        """Handle nothing any more. Whoever still calls is not heard."""
        self._woken, button, self._button = True, self._button, -1
        self._poller.close()
        os.close(self._pipe)
        os.close(button)

    # -- for any thread --------------------------------------------------------------------------

    def call(self, what: Callable[[], None]) -> None:
        """Have it done by the reactor's thread, soon."""
        self._calls.append(what)
        self._wake()

    def set(self) -> None:
        """Ring: `wait` returns."""
        self._rung = True
        self._wake()

    def is_set(self) -> bool:
        return self._rung

    def clear(self) -> None:
        self._rung = False

    def _wake(self) -> None:
        if not self._woken:  # taken back once the pipe is empty, and before calls and the ring are looked at
            self._woken = True
            with contextlib.suppress(OSError):  # full, or closed
                os.write(self._button, b"\0")

    # -- for the reactor's thread ------------------------------------------------------------------

    def soon(self, what: Callable[[], None]) -> None:
        """Do it after the events that are being handled."""
        self._calls.append(what)

    def at(self, moment: float, what: Callable[[], None]) -> Timer:
        """Do it at a moment of `time.monotonic()`."""
        if len(self._timers) >= self._tidy_at:  # one of a long run would keep the cancelled ones behind it
            self._timers = [each for each in self._timers if each[2].what is not None]
            heapq.heapify(self._timers)
            self._tidy_at = 2 * len(self._timers) + _FEW
        timer = Timer(what)
        heapq.heappush(self._timers, (moment, next(self._numbers), timer))
        return timer

    def watch(self, file: int, what: Callable[[], None]) -> None:
        """Call `what` whenever a descriptor can be read. Raises: OSError."""
        self._poller.register(file)
        self._handlers[file] = what

    def unwatch(self, file: int) -> None:
        """Forget a descriptor, before it is closed: its number may be given to another file at once."""
        if self._handlers.pop(file, None) is not None:
            self._poller.unregister(file)

    def wait(self, timeout: float | None = None) -> bool:
        """Handle events until the bell rings, at most `timeout` seconds. True if it has rung."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        self.turn(0.0)  # in any case: whoever rings all the time must not keep events waiting
        while not self._rung and (left := until - time.monotonic()) > 0:
            self.turn(left)
        return self._rung

    def turn(self, timeout: float) -> None:
        """Handle what has happened. If nothing has, wait for it, at most `timeout` seconds."""
        with self._turning:
            self._turn(timeout)

    def _turn(self, timeout: float) -> None:
        if self._calls or self._rung:
            timeout = 0.0
        while self._timers and self._timers[0][2].what is None:
            heapq.heappop(self._timers)
        if self._timers:
            timeout = min(timeout, self._timers[0][0] - time.monotonic())
        for file, handler in [(file, self._handlers.get(file)) for file in self._ready(timeout)]:
            # An earlier event may have closed this descriptor, and its number may be another file's by now.
            if handler is not None and handler is self._handlers.get(file):
                _do(handler)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if timer.what is not None:
                _do(timer.what)
        for _ in range(len(self._calls)):  # what these add is for the next turn
            _do(self._calls.popleft())

    def _ready(self, timeout: float) -> list[int]:
        if timeout > 0:
            timeout = min(timeout, longest_wait())
            number = self._poller.fileno()
            if number >= _SELECTABLE:
                return self._poller.poll(timeout)
            # epoll_wait(2) counts whole milliseconds, and would be that late; select(2) counts microseconds.
            select.select([number], [], [], timeout)
        return self._poller.poll(0)

    def _answer(self) -> None:
        # In this order: a byte that came after `_woken` is taken back must stay, or nobody would ever write one again.
        with contextlib.suppress(OSError):
            os.read(self._pipe, 4096)
        self._woken = False


def _do(what: Callable[[], None]) -> None:
    try:
        what()
    except Exception:
        _log.exception("event_failed")
