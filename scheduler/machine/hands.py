"""Threads for work that may block, such as a file on a server that does not answer. Nobody waits for them at exit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from scheduler.machine.log import Log

_IDLE_S = 10.0

_log = Log(__name__)


class Hands:
    """At most `most` daemon threads, started when needed. What they are given must not raise."""

    def __init__(self, name: str, *, most: int) -> None:
        self._name = name
        self._most = most
        self._lock = threading.Lock()
        self._work: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._threads = 0
        self._idle = 0
        self._given = 0  # and not yet begun

    def give(self, what: Callable[[], object]) -> None:
        """Have it done by a free thread, or by the next that becomes free.

        Raises: RuntimeError if there is no thread and none can start. Then it is not done.
        """
        with self._lock:
            if self._idle <= self._given and self._threads < self._most:
                try:
                    threading.Thread(target=self._run, name=self._name, daemon=True).start()
                    self._threads += 1
                except RuntimeError:
                    if not self._threads:  # otherwise, another one does it
                        raise
            self._work.put(what)
            self._given += 1

    def _run(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            try:
                what = self._work.get(timeout=_IDLE_S)
            except Empty:
                with self._lock:
                    self._idle -= 1
                    if not self._given:
                        self._threads -= 1
                        return
                continue
            with self._lock:
                self._idle -= 1
                self._given -= 1
            try:
                what()
            except Exception:
                _log.exception("thread_failed")
            del what  # holds what it was given
