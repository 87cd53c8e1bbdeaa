"""The only source of the current time. Tests pass their own clock."""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from scheduler.core.times.clocks import ClockReading

# Keeps counting while the machine sleeps. On macOS, CLOCK_MONOTONIC does that.
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_AT_ONCE_S = 0.05  # two readings further apart were interrupted, perhaps by a suspend


class Clock(Protocol):
    def now(self) -> datetime:
        """The current time, as an aware datetime in UTC."""

    def read(self) -> ClockReading:
        """The current time, and the time since the machine booted."""


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
    """The current time by the clock that file timestamps use, in seconds since 1970."""
    return time.time()


@functools.cache
def boot_id() -> str | None:
    """The id of this boot of the machine, or None if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
