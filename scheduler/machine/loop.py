"""A thread that takes one turn after another until it is stopped, even if a turn fails."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.units import format_seconds
from scheduler.machine.log import Log

JOIN_S = 10.0


class Bell(Protocol):
    """What a `threading.Event` offers. A `Reactor` handles events while it waits."""

    def set(self) -> None: ...
    def clear(self) -> None: ...
    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


class Loop:
    """A daemon thread. It records a heartbeat after each turn, so that others can tell whether it still works."""

    def __init__(
        self,
        name: str,
        turns: Callable[[], Iterator[float]],
        log: Log,
        failed: str = "thread_failed",
        resumed: str = "",
        *,
        level: int = logging.ERROR,
        bell: Bell | None = None,
        retry_s: float = 0.0,
        longest_s: float = math.inf,
    ) -> None:
        """
        turns: takes turns, and after each yields the seconds to wait. Setting the bell ends the wait; the turn
        clears it. After an error, turns start over in `retry_s` seconds or when the bell is set.
        log, failed, resumed: the logger, and the events for the start and the end of trouble.
        longest_s: the thread counts as hung if it takes no turn for this long.
        """
        self.name = name
        self.bell: Bell = threading.Event() if bell is None else bell
        self.stopping = threading.Event()
        self.trouble = ""  # why the last turn failed
        self.beats = 0
        self._turns = turns
        self._log, self._failed, self._level, self._resumed = log, failed, level, resumed
        self._retry_s, self._longest_s = retry_s, longest_s
        self._said: set[str] = set()  # messages already logged for this trouble
        self._beat_at = time.monotonic()  # stops while the machine sleeps, like systemd's timers
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        thread.start()
        self._thread, self._beat_at = thread, time.monotonic()

    def stop(self) -> None:
        self.stopping.set()
        self.bell.set()

    def join(self, timeout: float = JOIN_S) -> None:
        if self._thread is not None:
            self._thread.join(timeout)

    def beat(self) -> None:
        self._beat_at = time.monotonic()
        self.beats += 1

    @property
    def hang(self) -> str:
        """Why the thread counts as hung; empty if it works or was not started."""
        if self._thread is None:
            return ""
        if not self._thread.is_alive():
            return f"the {self.name} thread has ended"
        silent = time.monotonic() - self._beat_at
        if silent <= self._longest_s:
            return ""
        return f"the {self.name} thread has been stuck for {format_seconds(round(silent))}"

    def fail(self, error: Exception) -> None:
        """Log an error once, not at every retry. Two errors that alternate are logged once each."""
        ours = isinstance(error, SchedulerError)
        self.trouble = str(error) if ours else f"{type(error).__name__}: {error}"
        if self.trouble not in self._said:
            self._log.log(self._level, self._failed, reason=self.trouble, exc_info=not ours)
            self._said.add(self.trouble)

    def succeed(self) -> None:
        """Log the end of trouble, if there was any."""
        if self.trouble and self._resumed:
            self._log.warning(self._resumed)
        self._said.clear()
        self.trouble = ""

    def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                for wait_s in self._turns():
                    self._rest(wait_s)
                    if self.stopping.is_set():
                        return
            except Exception as error:  # only `stop` may end this thread
                self.fail(error)
                self.bell.clear()
                self._rest(self._retry_s)  # waiting for a locked or full database counts as working

    def _rest(self, seconds: float) -> None:
        self.beat()
        if not self.stopping.is_set():  # otherwise its bell may just have been cleared
            self.bell.wait(seconds)
