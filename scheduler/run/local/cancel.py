"""How a run is told to end before it does so by itself."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from queue import Empty, SimpleQueue

from scheduler.run.engine import Why

GRACE = timedelta(seconds=10)  # between TERM and KILL

_MISSED_SIGNAL_S = 1
_LONGEST_WAIT_S = 86_400  # epoll counts milliseconds in an int: 25 days are too many


def longest_wait() -> float:
    """Seconds that the calling thread may block at a time.

    Handlers run in the main thread, between its steps. For a signal that arrives just before it blocks, or in another
    thread, nothing wakes it.
    """
    return _MISSED_SIGNAL_S if threading.current_thread() is threading.main_thread() else _LONGEST_WAIT_S


class Cancel:
    """A request to end one run, made by any thread or signal handler and seen at once by whoever carries it out.

    A handler runs between any two steps of the thread it interrupts, so no step here relies on one before it: requests
    are only appended, whoever waits listens first and looks second, and the holder of the lock may take it again.
    """

    def __init__(self) -> None:
        self._requests: list[tuple[Why, float]] = []
        self._rings: list[Callable[[], None]] = []
        self._lock = threading.RLock()  # held while ringing, so that who has stopped listening is not rung

    def request(self, why: Why = "cancelled", *, grace: timedelta = GRACE) -> None:
        """Ask for TERM now and KILL after `grace`. Asked again, `why` stays and the KILL can only come sooner."""
        kill_at = time.monotonic() + grace.total_seconds()
        with self._lock:
            if (known := self.kill_at) is None or kill_at < known:
                self._requests.append((why, kill_at))
            for ring in tuple(self._rings):
                ring()

    @property
    def why(self) -> Why | None:
        """What the first request said; None: there was none."""
        return self._requests[0][0] if self._requests else None

    @property
    def kill_at(self) -> float | None:
        """When TERM becomes KILL, in time.monotonic() seconds; None: nothing was requested."""
        return min((at for _, at in self._requests), default=None)

    def is_set(self) -> bool:
        return bool(self._requests)

    def wait(self, timeout: float | None) -> bool:
        """Whether there was a request, at the latest after `timeout` seconds (None: as long as it takes)."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        rung: SimpleQueue[None] = SimpleQueue()  # its `put` may interrupt its `get`; an Event has no such promise
        with self.listening(lambda: rung.put(None)):
            while not self.is_set() and (left := end - time.monotonic()) > 0:
                with contextlib.suppress(Empty):
                    rung.get(timeout=min(left, longest_wait()))
        return self.is_set()

    @contextlib.contextmanager
    def listening(self, ring: Callable[[], None]) -> Iterator[None]:
        """Within the block `ring` is called for each request, and at once for one made before; after it, never.

        By the thread or signal handler that asks, so `ring` must neither block nor raise, and may be called within
        a call of itself. A request made just as the block begins may ring twice.
        """
        with self._lock:
            self._rings.append(ring)
        try:
            if self.is_set():
                ring()
            yield
        finally:
            with self._lock:
                self._rings.remove(ring)
