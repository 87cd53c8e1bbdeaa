"""One kind of thread: it takes one turn after the other until it is stopped, whatever goes wrong in one of them."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator

from scheduler.core.values.problems import SchedulerError
from scheduler.machine.log import Log

JOIN_S = 10.0


class Loop:
    """A thread of a daemon. It beats after each turn, so that whoever asks sees whether it still turns."""

    def __init__(
        self,
        name: str,
        turns: Callable[[], Iterator[float]],
        log: Log,
        failed: str = "thread_failed",
        resumed: str = "",
        *,
        level: int = logging.ERROR,
        bell: threading.Event | None = None,
        retry_s: float = 0.0,
        longest_s: float = math.inf,
    ) -> None:
        """
        turns: takes turns, and after each yields how many seconds to wait. A ring of the bell ends the wait, and
        whoever hears it clears it. Begun anew `retry_s` seconds after an error, or at a ring.
        log, failed, resumed: where it says that it is in trouble, as which event, and as which that this is over.
        longest_s: without a turn for so long the thread counts as hung.
        """
        self.name = name
        self.bell = threading.Event() if bell is None else bell
        self.stopping = threading.Event()
        self.trouble = ""  # why its last turn failed
        self.beats = 0
        self._turns = turns
        self._log, self._failed, self._level, self._resumed = log, failed, level, resumed
        self._retry_s, self._longest_s = retry_s, longest_s
        self._said: set[str] = set()  # of this trouble
        self._beat_at = time.monotonic()  # stands still while the machine sleeps, like the timers of systemd
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
        """Why the thread cannot be counted on; empty if it turns, or has not been started."""
        if self._thread is None:
            return ""
        if not self._thread.is_alive():
            return f"the {self.name} thread has ended"
        silent = time.monotonic() - self._beat_at
        return f"the {self.name} thread has made no turn for {silent:.0f} s" if silent > self._longest_s else ""

    def fail(self, error: Exception) -> None:
        """Says what is wrong: once, not at every try; two that take turns are told once each."""
        ours = isinstance(error, SchedulerError)
        self.trouble = str(error) if ours else f"{type(error).__name__}: {error}"
        if self.trouble not in self._said:
            self._log.log(self._level, self._failed, reason=self.trouble, exc_info=not ours)
            self._said.add(self.trouble)

    def succeed(self) -> None:
        """Says that the trouble is over, if there was one."""
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
            except Exception as error:  # nothing may end this thread but `stop`
                self.fail(error)
                self.bell.clear()
                self._rest(self._retry_s)  # a database that is locked or full is waited out: this thread turns

    def _rest(self, seconds: float) -> None:
        self.beat()
        if not self.stopping.is_set():  # else its ring may have been cleared just now
            self.bell.wait(seconds)
