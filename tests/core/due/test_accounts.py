"""What the class of an end means for the job, its next attempt and its account."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.core.due.accounts import (
    Park,
    frees,
    is_interrupted,
    mark_of,
    of_account,
    park_text,
    parked,
    tries,
    waits_for_probe,
)
from scheduler.core.due.events import is_error
from scheduler.core.due.place import Cause, fault_of_account, fault_of_key
from scheduler.core.due.policy import retry_at
from scheduler.core.values.runs import Attempt, Ending, Run, RunStatus, Trigger
from scheduler.core.values.settings import RunnerSpec, TaskInput
from scheduler.core.values.spec import Retry
from scheduler.core.values.usage import AgentResult, EndClass, ResultFormat

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CLAUDE = RunnerSpec(name="claude", command=("claude",), input=TaskInput.STDIN)
SONNET = replace(CLAUDE, name="sonnet", account="claude")
OTHER = replace(CLAUDE, name="other", account="team")
RUNNERS = of_account("claude", (SONNET, OTHER, CLAUDE))


def end(end_class: EndClass, *, reset_at: datetime | None = None, limit: str | None = None) -> Ending:
    agent = AgentResult(format=ResultFormat.CLAUDE, end_class=end_class, reset_at=reset_at, limit=limit, error="no")
    return Ending(status=RunStatus.FAILED, reason=end_class.value, agent=agent, account="claude")


def park_of(
    end_class: EndClass = EndClass.QUOTA, *, at: datetime = NOW, known: Park | None = None, **told: Any
) -> Park:
    return parked(end(end_class, **told), known=known, runners=RUNNERS, now=at)


def run(*classes: EndClass | None, by_hand: bool = False, **more: Any) -> Run:
    attempts = tuple(
        Attempt(n=n, status=RunStatus.RUNNING if each is None else RunStatus.FAILED, started_at=NOW, end_class=each)
        for n, each in enumerate(classes, 1)
    )
    base = Run(
        n=1, job_id="a", requested_at=NOW, trigger=Trigger.SCHEDULE, status=RunStatus.RUNNING, generation=1,
        attempts=attempts, fire_time=None if by_hand else NOW,
    )  # fmt: skip
    return replace(base, **more)


@pytest.mark.parametrize(
    ("reset_at", "until", "told"),
    [
        (NOW + 5 * HOUR, NOW + 5 * HOUR + MINUTE, True),
        (None, NOW + HOUR, False),
        (NOW - 3 * HOUR, NOW + MINUTE, True),  # in the past
        (NOW, NOW + MINUTE, True),
        (NOW + 7 * DAY, NOW + 7 * DAY + MINUTE, True),
        (NOW + 365 * DAY, NOW + 7 * DAY + MINUTE, True),  # in a year
        (datetime.max.replace(tzinfo=UTC), NOW + 7 * DAY + MINUTE, True),
    ],
)
def test_a_quota_parks_its_account_until_a_minute_after_the_reset(
    reset_at: datetime | None, until: datetime, told: bool
) -> None:
    found = park_of(reset_at=reset_at)
    assert (found.until, found.told, found.since, found.reason) == (until, told, NOW, "quota")
    assert found.runners == ("claude", "sonnet")


def test_a_credential_is_probed_hourly_whatever_the_program_says_of_a_reset() -> None:
    found = park_of(EndClass.CREDENTIAL, reset_at=NOW + 5 * HOUR)
    assert (found.reason, found.until, found.told) == ("credential", NOW + HOUR, False)


def test_a_reset_that_has_passed_is_believed_once() -> None:
    first = park_of(reset_at=NOW - HOUR)
    probed = first.until + timedelta(seconds=5)
    again = park_of(at=probed, known=first, reset_at=NOW - HOUR)
    assert (again.until, again.told, again.since) == (probed + HOUR, False, NOW)


def test_of_several_runs_that_meet_one_limit_the_best_knowledge_counts() -> None:
    guessed = park_of()
    told = park_of(at=NOW + MINUTE, known=guessed, reset_at=NOW + 20 * MINUTE)
    assert told.until == NOW + 21 * MINUTE, "what is told counts more than a guess"
    assert park_of(at=NOW + 2 * MINUTE, known=told).until == told.until
    later = park_of(at=NOW + 2 * MINUTE, known=told, reset_at=NOW + 2 * HOUR)
    assert later.until == NOW + 2 * HOUR + MINUTE
    assert park_of(at=NOW + 3 * MINUTE, known=later, reset_at=NOW + HOUR).until == later.until
    assert later.since == NOW


def test_what_a_probe_has_met_counts_alone() -> None:
    first = park_of(reset_at=NOW + 5 * HOUR)
    probed = first.until + MINUTE
    assert park_of(at=probed, known=first).until == probed + HOUR
    assert park_of(EndClass.CREDENTIAL, at=probed, known=first).reason == "credential"


def test_a_clock_that_goes_back_parks_nothing_for_longer_than_an_hour_or_the_longest_window() -> None:
    guessed, told = park_of(), park_of(reset_at=NOW + 5 * HOUR)
    back = NOW - 30 * DAY
    assert guessed.within_reach(NOW) is guessed
    assert guessed.within_reach(back).until == back + HOUR
    assert told.within_reach(NOW - HOUR) is told, "a reset is an instant of the provider's clock"
    assert told.within_reach(back).until == back + 7 * DAY + MINUTE


def test_a_slot_gets_one_attempt_more_and_a_person_none() -> None:
    quota = end(EndClass.QUOTA)
    assert waits_for_probe(run(None), quota)
    assert waits_for_probe(run(EndClass.TASK, None), quota)
    assert not waits_for_probe(run(EndClass.QUOTA, None), quota)
    assert not waits_for_probe(run(EndClass.CREDENTIAL, EndClass.TRANSIENT, None), quota)
    assert not waits_for_probe(run(None, by_hand=True), quota)
    assert not waits_for_probe(run(None), end(EndClass.TASK))


def test_an_attempt_that_the_account_cut_short_counts_against_no_retry() -> None:
    assert tries(run(EndClass.QUOTA, EndClass.TASK, None).attempts) == 2


@pytest.mark.parametrize(
    ("end_class", "counts"),
    [
        (EndClass.TASK, True), (EndClass.REFUSED, True), (EndClass.TRANSIENT, True), (EndClass.TIMEOUT, True),
        (EndClass.QUOTA, False), (EndClass.CREDENTIAL, False), (EndClass.BUDGET, False),
    ],
)  # fmt: skip
def test_which_ends_are_failures_of_the_job(end_class: EndClass, counts: bool) -> None:
    assert is_error(RunStatus.FAILED, None, end_class) is counts


@pytest.mark.parametrize("end_class", list(EndClass))
def test_a_probe_frees_its_account_unless_it_says_nothing_or_meets_the_limit(end_class: EndClass) -> None:
    stays = (EndClass.QUOTA, EndClass.CREDENTIAL, EndClass.CANCELLED, EndClass.INTERRUPTED)
    assert frees(run(EndClass.QUOTA, end_class), 1) is (end_class not in stays)


def test_a_probe_that_never_tried_frees_nothing() -> None:
    assert not frees(run(EndClass.TASK), 1)
    assert not frees(run(), 0)
    assert not frees(run(None), 0)


def test_only_a_run_that_waits_with_that_reason_is_interrupted() -> None:
    waits: dict[str, Any] = {"status": RunStatus.QUEUED, "retry_at": NOW}
    assert is_interrupted(run(EndClass.QUOTA, reason="quota", **waits))
    assert is_interrupted(run(EndClass.CREDENTIAL, reason="credential", **waits))
    assert not is_interrupted(run(EndClass.TASK, reason="retry", **waits))
    assert not is_interrupted(run(EndClass.QUOTA, reason="quota", status=RunStatus.FAILED))


@pytest.mark.parametrize(
    ("on", "end_class", "again"),
    [
        (("failed",), EndClass.TASK, True), (("failed",), EndClass.TRANSIENT, True),
        (("failed",), EndClass.REFUSED, True), (("failed",), None, True), (("failed",), EndClass.BUDGET, False),
        (("failed",), EndClass.QUOTA, False), (("failed",), EndClass.CREDENTIAL, False),
        (("transient",), EndClass.TRANSIENT, True), (("transient",), EndClass.TASK, False),
        (("budget",), EndClass.BUDGET, True), (("task", "budget"), EndClass.TASK, True),
        (("quota",), EndClass.QUOTA, False),
    ],
)  # fmt: skip
def test_retry_on_takes_statuses_and_classes(on: tuple[str, ...], end_class: EndClass | None, again: bool) -> None:
    retry = Retry(attempts=2, on=on)
    found = retry_at(retry, attempts=1, status=RunStatus.FAILED, end_class=end_class, now=NOW)
    assert (found == NOW + retry.delay) is again
    assert (found is None) is not again


def test_a_timeout_is_retried_by_its_status_and_by_its_class() -> None:
    for on in ("timed_out", "timeout"):
        retry = Retry(attempts=2, on=(on,))
        assert retry_at(retry, attempts=1, status=RunStatus.TIMED_OUT, end_class=EndClass.TIMEOUT, now=NOW)


def test_a_park_survives_its_audit_row_and_an_edit_of_a_runner_changes_its_mark() -> None:
    park = park_of(reset_at=NOW + HOUR, limit="five_hour")
    fault = fault_of_account("claude", park, NOW)
    assert (fault.key, fault.reason, fault.until, fault.needs_a_person) == (
        "account:claude", "quota", NOW + HOUR + MINUTE, False,
    )  # fmt: skip
    again = fault_of_key(fault.key, fault.told, NOW)
    assert again is not None
    assert (again.cause, again.name, again.park, again.since) == (Cause.ACCOUNT, "claude", park, NOW)
    assert fault_of_key("account:claude", "a text", NOW) is None
    assert fault_of_account("claude", park_of(EndClass.CREDENTIAL), NOW).needs_a_person
    assert mark_of({**RUNNERS, "claude": replace(CLAUDE, env_from=("KEY",))}) != park.mark
    assert mark_of(dict(reversed(RUNNERS.items()))) == park.mark


def test_what_people_read_of_a_park() -> None:
    park = park_of(reset_at=NOW + HOUR, limit="five_hour")
    told = "account 'claude': the limit of the account is reached: five_hour (since 2027-03-01T12:00:00Z; {})"
    assert park_text("claude", park, NOW) == told.format("probed at 2027-03-01T13:01:00Z")
    assert park_text("claude", park, park.until) == told.format("a probe is due")
