"""When a message goes out, and what its outcome means for the channel, at exact times."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from scheduler.core.due.sending import MOST_WAITING, WINDOW, Breaker, Waiting, overdue, retry_after, turn
from scheduler.core.values.events import Event, EventKind

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
DAY = timedelta(days=1)
FINE = Breaker(name="owner", digest="d")


def row(n: int, kind: EventKind = EventKind.FAILURE, **more: object) -> Waiting:
    event = Event(key=f"run/a/{n}/{kind}", at=NOON, kind=kind, job_id="a", run_n=n)
    given = {"tries": 0, "next_at": None, "give_up_at": NOON + DAY, "token": f"t{n}", **more}
    return Waiting(id=n, channel="owner", event=event, **given)  # type: ignore[arg-type]


def test_the_first_goes_at_once_and_what_follows_within_a_minute_is_one_digest() -> None:
    rows = [row(1), row(2), row(3)]
    assert turn(rows[:1], FINE, NOON, merges=True).send == tuple(rows[:1])
    sent = FINE.after_success(NOON)
    assert turn(rows[1:], sent, NOON + SECOND, merges=True).wake_at == NOON + WINDOW
    assert turn(rows[1:], sent, NOON + WINDOW, merges=True).send == tuple(rows[1:])


def test_results_wait_for_no_digest_and_are_merged_with_nothing() -> None:
    rows = [row(1), row(2, EventKind.SUCCESS), row(3, EventKind.SUCCESS)]
    sent = FINE.after_success(NOON)
    assert [each.id for each in turn(rows, sent, NOON + SECOND, merges=True).send] == [2]


def test_a_webhook_gets_each_event_by_itself() -> None:
    rows = [row(1), row(2)]
    assert turn(rows, FINE.after_success(NOON), NOON + SECOND, merges=False).send == (rows[0],)


def test_a_message_that_failed_keeps_those_behind_it_waiting() -> None:
    rows = [row(1, tries=1, next_at=NOON + MINUTE), row(2)]
    failing = FINE.after_failure("refused", NOON, permanent=False)
    assert turn(rows, failing, NOON, merges=True).wake_at == NOON + MINUTE
    assert turn(rows, failing, NOON + MINUTE, merges=False).send == (rows[0],)


def test_what_waits_goes_at_once_when_the_channel_was_edited_or_a_test_has_arrived() -> None:
    rows = [row(1, tries=9, next_at=NOON + 50 * MINUTE)]
    dead = FINE.after_failure("refused", NOON, permanent=True)
    assert not turn(rows, dead, NOON + SECOND, merges=True).send
    for repaired in (dead.reached_by("edited"), dead.after_success(NOON)):
        assert turn(rows, repaired, NOON + MINUTE, merges=True).send == tuple(rows)


def test_a_wait_that_a_clock_ahead_has_set_is_not_believed() -> None:
    failing = FINE.after_failure("refused", NOON, permanent=False)
    assert turn([row(1, tries=1, next_at=NOON + 30 * DAY)], failing, NOON + MINUTE, merges=True).send


def test_the_breaker_opens_after_failures_over_a_minute_and_probes_ever_more_rarely() -> None:
    breaker, at = FINE, NOON
    for _ in range(4):
        breaker = breaker.after_failure("refused", at, permanent=False)
        at += 20 * SECOND
    assert not breaker.dead
    breaker = breaker.after_failure("refused", at, permanent=False)
    assert breaker.dead
    waits = []
    for _ in range(7):
        assert breaker.probe_at is not None
        waits.append((breaker.probe_at - at) / MINUTE)
        assert turn([row(1), row(2)], breaker, at, merges=True).wake_at == breaker.probe_at
        at = breaker.probe_at
        assert turn([row(1), row(2)], breaker, at, merges=True).send == (row(1),), "one probe"
        breaker = breaker.after_failure("refused", at, permanent=False)
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert breaker.open_since == NOON + 80 * SECOND
    assert not breaker.after_success(at).dead


def test_a_permanent_error_opens_it_at_once_and_an_edit_closes_it() -> None:
    dead = FINE.after_failure("401", NOON, permanent=True)
    assert dead.dead
    assert dead.reached_by("d") is dead
    assert not dead.reached_by("other").dead
    assert turn([row(1)], dead.reached_by("other"), NOON, merges=True).send


def test_backoff() -> None:
    waits = [retry_after(tries, spread=0) / SECOND for tries in range(1, 8)]
    assert waits == [5, 30, 120, 600, 1800, 3600, 3600]
    assert retry_after(1, spread=1) == 6 * SECOND
    assert retry_after(1, spread=1, asked_s=60) == MINUTE
    assert retry_after(1, spread=0, asked_s=1e9) == timedelta(hours=1)


def test_what_is_over_without_having_been_sent_says_why() -> None:
    late = row(1, give_up_at=NOON)
    began = replace(row(2, EventKind.STARTED), give_up_at=NOON)
    found = overdue([late, began, row(3)], NOON, known=True)
    assert [(each.id, status, reason) for each, status, reason in found] == [
        (1, "error", "gave_up"), (2, "dropped", "too_late"),
    ]  # fmt: skip
    assert {(status, reason) for _, status, reason in overdue([row(1)], NOON, known=False)} == {
        ("dropped", "channel_removed")
    }


@pytest.mark.parametrize("extra", [0, 3])
def test_of_too_many_the_oldest_results_are_dropped_and_nothing_else(extra: int) -> None:
    rows = [row(n, EventKind.SUCCESS if n % 2 else EventKind.FAILURE) for n in range(1, MOST_WAITING + extra + 1)]
    found = overdue(rows, NOON, known=True)
    assert [each.id for each, _, _ in found] == [1, 3, 5][:extra]
