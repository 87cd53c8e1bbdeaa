"""When a run is tried again: exponential delays with a cap, for the ends that the job names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.models import Retry, RunStatus
from scheduler.core.policy import retry_at, retry_delay

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
THRICE = Retry(attempts=3, delay=timedelta(seconds=10), backoff=3, max_delay=timedelta(minutes=1))


def test_each_delay_is_longer_by_the_backoff_up_to_the_longest() -> None:
    delays = [retry_delay(THRICE, attempts=n).total_seconds() for n in range(1, 5)]
    assert delays == [10, 30, 60, 60]


def test_a_run_is_tried_again_until_its_attempts_are_used_up() -> None:
    found = [retry_at(THRICE, attempts=n, status=RunStatus.FAILED, now=NOW) for n in (1, 2, 3, 4)]
    assert found == [NOW + timedelta(seconds=10), NOW + timedelta(seconds=30), None, None]
    assert retry_at(Retry(), attempts=1, status=RunStatus.FAILED, now=NOW) is None


@pytest.mark.parametrize("status", RunStatus)
def test_only_the_ends_that_the_job_names_are_followed_by_another_try(status: RunStatus) -> None:
    again = retry_at(THRICE, attempts=1, status=status, now=NOW) is not None
    assert again is (status in (RunStatus.FAILED, RunStatus.TIMED_OUT))


@given(
    retry=st.builds(
        Retry,
        attempts=st.just(100),
        delay=st.timedeltas(timedelta(seconds=1), timedelta(days=366)),
        backoff=st.floats(1, 100),
        max_delay=st.timedeltas(timedelta(seconds=1), timedelta(days=366)),
    ),
    attempts=st.integers(1, 99),
)
def test_no_delay_is_beyond_the_longest_or_shorter_than_the_one_before(retry: Retry, attempts: int) -> None:
    this, following = (retry_delay(retry, attempts=n) for n in (attempts, attempts + 1))
    assert timedelta(0) < this <= following <= retry.max_delay
