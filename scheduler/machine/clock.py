"""The one source of the present moment; tests pass a clock of their own."""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from scheduler.core.times.clocks import ClockReading

# Counts on while the machine sleeps. On macOS that is what CLOCK_MONOTONIC does.
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_AT_ONCE_S = 0.05  # two readings further apart have been interrupted, maybe by a suspend


class Clock(Protocol):
    def now(self) -> datetime:
        """The present instant, aware UTC."""

    def read(self) -> ClockReading:
        """The present instant, and how long ago the machine was started."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def read(self) -> ClockReading:
        while True:
            before = time.clock_gettime(_SINCE_BOOT)
            wall = datetime.now(UTC)
            after = time.clock_gettime(_SINCE_BOOT)
            if after - before < _AT_ONCE_S:
                return ClockReading(wall=wall, elapsed=timedelta(seconds=after), boot_id=boot_id())


def file_time() -> float:
    """The present moment by the clock that file times are of, in seconds since 1970."""
    return time.time()


@functools.cache
def boot_id() -> str | None:
    """What names this boot of the machine; None where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
