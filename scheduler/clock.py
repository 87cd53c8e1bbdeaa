"""The one source of the present moment; tests pass a clock of their own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present instant, aware UTC."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)
