"""What it means that no daemon is there, as the ledger remembers it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scheduler.core.past.presence import DaemonState, absence
from scheduler.core.values.runs import Life

NOW = datetime(2026, 12, 1, 16, 45, 30, 123456, tzinfo=UTC)
SEEN = NOW - timedelta(seconds=20, microseconds=5)


def life(**given: bool) -> Life:
    return Life(owner="1-a", began=SEEN - timedelta(hours=1), seen=SEEN, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("last", "jobs", "state", "severity", "message"),
    [
        (life(), 4, "dead", "error", "the daemon is dead, last seen at 2026-12-01T16:45:10Z: no job fires"),
        (life(), 0, "dead", "warning", "the daemon is dead, last seen at 2026-12-01T16:45:10Z"),
        (life(over=True), 1, "stopped", "error", "the daemon was stopped at 2026-12-01T16:45:10Z: no job fires"),
        (life(over=True), 0, "stopped", "warning", "the daemon was stopped at 2026-12-01T16:45:10Z"),
        (
            life(over=True, once=True),
            4,
            "once",
            "warning",
            "no daemon is running; `serve --once` ran last, at 2026-12-01T16:45:10Z",
        ),
        (None, 4, "never", "warning", "not serving yet: no daemon has run here, so no job fires"),
        (None, 0, "never", "warning", "not serving yet: no daemon has run here"),
    ],
)
def test_a_daemon_that_served_and_is_gone_is_an_error_as_soon_as_jobs_expect_it(
    last: Life | None, jobs: int, state: str, severity: str, message: str
) -> None:
    found = absence(last, jobs, NOW)
    assert (found.state, found.severity, found.message) == (DaemonState(state), severity, message)
    assert bool(found.hint) == (state != "once")


def test_a_clock_that_has_gone_back_puts_no_sign_of_life_into_the_future() -> None:
    assert absence(Life(owner="1-a", began=NOW, seen=NOW + timedelta(days=1)), 1, NOW).seen_at == NOW
