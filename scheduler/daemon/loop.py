"""Which of the daemon's threads still turn: each says so at every turn, and whoever asks sees how long ago that was."""

from __future__ import annotations

import threading
import time

# How long a thread may go without a turn before it counts as hung. Each is many times what the longest honest turn
# takes: killing a daemon that is merely slow ends the runs of all its jobs.
CLOCKWORK_S = 180.0  # waits at most ten seconds, and ten more for each of a few locks on the database
RESYNC_S = 900.0  # waits at most a minute; a pass over 100,000 files on a slow disk takes many


class Heartbeat:
    """Of one thread. `watch` names the thread; until then, and once `stop` is called, it counts as alive."""

    def __init__(self, name: str, longest_s: float) -> None:
        self.name = name
        self.turns = 0
        self._longest_s = longest_s
        self._last = time.monotonic()  # stands still while the machine sleeps, like the timers of systemd
        self._thread: threading.Thread | None = None

    def watch(self, thread: threading.Thread) -> None:
        self._thread = thread
        self._last = time.monotonic()

    def beat(self) -> None:
        self._last = time.monotonic()
        self.turns += 1

    @property
    def trouble(self) -> str:
        """Why the thread cannot be counted on; empty if it turns."""
        if self._thread is None:
            return ""
        if not self._thread.is_alive():
            return f"the {self.name} thread has ended"
        silent = time.monotonic() - self._last
        return f"the {self.name} thread has made no turn for {silent:.0f} s" if silent > self._longest_s else ""
