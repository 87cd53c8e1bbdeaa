"""When a run is tried again, and how `concurrency` receives a run whose job has others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.due.policy import MOST_CAUGHT_UP, Active, Admission, admit, retry_at, retry_delay
from scheduler.core.values.runs import RunStatus, Trigger
from scheduler.core.values.spec import CatchUp, CatchUpPolicy, Concurrency, JobSpec, Retry, Schedule

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


RUNS = Active(n=1, trigger=Trigger.SCHEDULE, waits=False)
WAITS = Active(n=2, trigger=Trigger.SCHEDULE, waits=True)
LATE = Active(n=3, trigger=Trigger.CATCH_UP, waits=True)
BY_HAND = Active(n=4, trigger=Trigger.MANUAL, waits=True)
START, WAIT, OVERLAP = (Admission(answer=answer) for answer in ("start", "wait", "overlap"))


def job(concurrency: str, policy: str = "latest") -> JobSpec:
    return JobSpec(
        id="job",
        name="job",
        schedule=Schedule(timezone="UTC", every=timedelta(hours=1)),
        runner="agent",
        concurrency=Concurrency(concurrency),
        catch_up=CatchUp(policy=CatchUpPolicy(policy)),
    )


@pytest.mark.parametrize("trigger", Trigger)
@pytest.mark.parametrize("concurrency", Concurrency)
def test_a_run_starts_where_its_job_has_no_other_or_allows_them(concurrency: Concurrency, trigger: Trigger) -> None:
    assert admit(job(concurrency), [], trigger=trigger) == START
    assert admit(job("allow"), [RUNS, WAITS, LATE], trigger=trigger) == START


def test_forbid_skips_a_slot_while_anything_of_the_job_is_active_but_a_catch_up_that_has_not_begun() -> None:
    for active in ([RUNS], [WAITS], [BY_HAND], [RUNS, LATE], [WAITS, LATE]):
        assert admit(job("forbid"), active, trigger=Trigger.SCHEDULE) == OVERLAP
    assert admit(job("forbid"), [LATE], trigger=Trigger.SCHEDULE) == Admission(answer="start", gives_way=(3,))
    assert admit(job("forbid"), [LATE], trigger=Trigger.MANUAL) == OVERLAP


def test_what_was_due_while_the_account_was_parked_waits_for_the_run_that_the_limit_has_cut_short() -> None:
    cut_short = Active(n=7, trigger=Trigger.SCHEDULE, waits=False, delayed=True)
    assert admit(job("forbid"), [cut_short], trigger=Trigger.CATCH_UP) == WAIT
    assert admit(job("forbid"), [cut_short, LATE], trigger=Trigger.CATCH_UP) == Admission(answer="wait", gives_way=(3,))
    assert admit(job("forbid"), [cut_short], trigger=Trigger.SCHEDULE) == OVERLAP, "it is due while the other one runs"
    assert admit(job("forbid"), [cut_short], trigger=Trigger.MANUAL) == OVERLAP
    assert admit(job("forbid"), [cut_short, RUNS], trigger=Trigger.CATCH_UP) == OVERLAP


def test_queue_lets_one_wait_and_a_newer_one_takes_its_place() -> None:
    assert admit(job("queue"), [RUNS], trigger=Trigger.SCHEDULE) == WAIT
    assert admit(job("queue"), [RUNS, WAITS], trigger=Trigger.SCHEDULE) == Admission(answer="wait", gives_way=(2,))
    assert admit(job("queue"), [RUNS, LATE], trigger=Trigger.SCHEDULE) == Admission(answer="wait", gives_way=(3,))
    assert admit(job("queue"), [RUNS, BY_HAND], trigger=Trigger.SCHEDULE) == WAIT, "somebody waits for it"


def test_a_run_by_hand_waits_where_nothing_else_does_and_takes_no_slot_its_turn() -> None:
    assert admit(job("queue"), [RUNS], trigger=Trigger.MANUAL) == WAIT
    for waiting in (WAITS, LATE, BY_HAND):
        assert admit(job("queue"), [RUNS, waiting], trigger=Trigger.MANUAL) == OVERLAP


def test_replace_ends_what_has_begun_and_skips_what_waits() -> None:
    for trigger in (Trigger.SCHEDULE, Trigger.MANUAL):
        found = admit(job("replace"), [RUNS, WAITS, LATE, BY_HAND], trigger=trigger)
        assert found == Admission(answer="wait", gives_way=(2, 3), replaced=(1,))
    again = Active(n=5, trigger=Trigger.RERUN, waits=True)
    assert admit(job("replace"), [again], trigger=Trigger.SCHEDULE) == WAIT, "a person has asked for it"


@pytest.mark.parametrize("concurrency", ["forbid", "queue"])
def test_a_job_that_catches_up_with_all_loses_no_slot_to_those_that_wait(concurrency: str) -> None:
    spec = job(concurrency, "all")
    assert admit(spec, [LATE], trigger=Trigger.SCHEDULE) == WAIT
    assert admit(spec, [RUNS, WAITS, LATE], trigger=Trigger.SCHEDULE) == WAIT
    assert admit(spec, [LATE], trigger=Trigger.MANUAL).answer == "overlap"
    assert admit(spec, [LATE] * MOST_CAUGHT_UP, trigger=Trigger.SCHEDULE) == OVERLAP


def test_nothing_is_replaced_while_all_slots_are_caught_up_with() -> None:
    """What would come next is not the newer slot but the next old one: a run longer than the gap would never end."""
    spec, under_way = job("replace", "all"), Active(n=3, trigger=Trigger.CATCH_UP, waits=False)
    for trigger in (Trigger.SCHEDULE, Trigger.MANUAL):
        for active in ([LATE], [RUNS, LATE], [under_way, LATE], [under_way, WAITS], [under_way]):
            assert admit(spec, active, trigger=trigger) == WAIT
    assert admit(spec, [under_way, *[LATE] * MOST_CAUGHT_UP], trigger=Trigger.SCHEDULE) == OVERLAP
    done = admit(spec, [RUNS, WAITS], trigger=Trigger.SCHEDULE)
    assert done == Admission(answer="wait", gives_way=(2,), replaced=(1,))
    latest = admit(job("replace"), [under_way], trigger=Trigger.SCHEDULE)
    assert latest == Admission(answer="wait", replaced=(3,))
