"""Small working stand-ins for what a test must control."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

START = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)


@dataclass
class FakeClock:
    """A clock that moves only when told to."""

    moment: datetime = START

    def now(self) -> datetime:
        return self.moment

    def advance(self, by: timedelta) -> None:
        self.moment += by
