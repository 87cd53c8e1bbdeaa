"""What a job's policies say of one run, as functions of values."""

from __future__ import annotations

from datetime import datetime, timedelta

from scheduler.core.models import Retry, RunStatus


def retry_delay(retry: Retry, *, attempts: int) -> timedelta:
    """How long to wait after the attempt of that number, 1 for the first: exponential, up to `max_delay`."""
    try:
        return min(retry.delay * retry.backoff ** (attempts - 1), retry.max_delay)
    except OverflowError:  # beyond what a timedelta or a float can hold, and so beyond any cap
        return retry.max_delay


def retry_at(retry: Retry, *, attempts: int, status: RunStatus, now: datetime) -> datetime | None:
    """When a run is tried again whose attempt, the `attempts`-th, has ended so; None: it is not."""
    if status not in retry.on or attempts >= retry.attempts:
        return None
    return now + retry_delay(retry, attempts=attempts)
