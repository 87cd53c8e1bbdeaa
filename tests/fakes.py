"""Small working stand-ins for what a test must control."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scheduler.core.times.clocks import ClockReading

START = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)


@dataclass
class FakeClock:
    """A clock that moves only when told to. Time passes by `advance`, or by setting `moment`; `step` sets the clock."""

    moment: datetime = START
    boot_id: str | None = "boot-1"
    booted_at: datetime = START - timedelta(days=1)

    def now(self) -> datetime:
        return self.moment

    def read(self) -> ClockReading:
        return ClockReading(wall=self.moment, elapsed=self.moment - self.booted_at, boot_id=self.boot_id)

    def advance(self, by: timedelta) -> None:
        self.moment += by

    def step(self, by: timedelta) -> None:
        """Somebody sets the clock on the wall; no time passes."""
        self.moment += by
        self.booted_at += by

    def reboot(self) -> None:
        self.boot_id, self.booted_at = f"{self.boot_id}+", self.moment
