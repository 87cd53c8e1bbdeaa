"""Requests to end a run before it ends by itself."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from queue import Empty, SimpleQueue

from scheduler.machine.reactor import longest_wait
from scheduler.run.engine import Why

GRACE = timedelta(seconds=10)  # between TERM and KILL


class Cancel:
    """A request to end one run. Any thread or signal handler may make it, and the thread of the run sees it at once.

    A handler may run between any two steps of the thread that it interrupts, so no step relies on an earlier one:
    requests are only appended, waiters first listen and then look, and the lock is reentrant.
    """

    def __init__(self) -> None:
        self._requests: list[tuple[Why, float]] = []
        self._rings: list[Callable[[], None]] = []
        self._lock = threading.RLock()  # held while ringing, so that nobody is rung after they stop listening

    def request(self, why: Why = "cancelled", *, grace: timedelta = GRACE) -> None:
        """Ask for TERM now and KILL after `grace`. Later requests keep `why` and can only bring the KILL forward."""
        kill_at = time.monotonic() + grace.total_seconds()
        with self._lock:
            if (known := self.kill_at) is None or kill_at < known:
                self._requests.append((why, kill_at))
            for ring in tuple(self._rings):
                ring()

    @property
    def why(self) -> Why | None:
        """The reason of the first request, or None if there is none."""
        return self._requests[0][0] if self._requests else None

    @property
    def kill_at(self) -> float | None:
        """When KILL follows TERM, in time.monotonic() seconds. None if nothing was requested."""
        return min((at for _, at in self._requests), default=None)

    def is_set(self) -> bool:
        return bool(self._requests)

    def wait(self, timeout: float | None) -> bool:
        """Wait for a request. True if there is one within `timeout` seconds (None waits forever)."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        rung: SimpleQueue[None] = SimpleQueue()  # its `put` may interrupt its `get`; an Event does not promise that
        with self.listening(lambda: rung.put(None)):
            while not self.is_set() and (left := end - time.monotonic()) > 0:
                with contextlib.suppress(Empty):
                    rung.get(timeout=min(left, longest_wait()))
        return self.is_set()

    @contextlib.contextmanager
    def listening(self, ring: Callable[[], None]) -> Iterator[None]:
        """Call `ring` for each request within the block, and at once for an earlier one. Never after the block.

        `ring` is called in the requesting thread or signal handler, so it must neither block nor raise, and must be
        reentrant. A request made just as the block begins may ring twice.
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
