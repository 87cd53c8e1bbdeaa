"""The sentence on top of the page of a job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.core.past.verdict import Condition, TextRecord, judge, spoken
from scheduler.core.values.facts import Pause, Status
from scheduler.core.values.runs import RunStatus

NOW = datetime(2026, 3, 5, 12, 30, tzinfo=UTC)  # a Thursday
NEW = TextRecord(sha256="817ed0d" + "0" * 57, by="Ann", succeeded=0, n=3)
OLD = TextRecord(sha256="41aaaaa" + "0" * 57, by="Ben", succeeded=41, n=41)
RAN = {"last_at": NOW - timedelta(minutes=30), "last_status": RunStatus.SUCCEEDED, "text": OLD}
FAILS = {
    "errors": 3,
    "failing_since": datetime(2026, 3, 3, 8, tzinfo=UTC),
    "text": NEW,
    "before": OLD,
    "last_at": NOW - timedelta(minutes=30),
    "last_status": RunStatus.FAILED,
}
TELLS = (
    " since Tuesday 09:00: 3 of 3 runs with text 817ed0d by Ann failed; with the text before it, 41 of 41 succeeded."
)


def told(status: Status, **known: Any) -> tuple[str, str]:
    found = judge(Condition(status=status, now=NOW, zone="Europe/Berlin", **known))
    return found.word, found.text


def test_a_failing_job_says_since_when_with_which_text_and_how_the_one_before_did() -> None:
    assert told(Status.ACTIVE, **FAILS, next_at=NOW + timedelta(minutes=30)) == (
        "Failing",
        f"Failing{TELLS} Next: today 14:00.",
    )


def test_a_text_that_has_succeeded_before_is_not_blamed_alone() -> None:
    text = TextRecord(sha256="817ed0d", by="Ann", succeeded=40, n=42)
    word, text_told = told(Status.ACTIVE, **{**FAILS, "errors": 2, "text": text})
    assert word == "Failing"
    assert "2 errors in a row with text 817ed0d by Ann; in all, 40 of 42 runs with that text succeeded." in text_told


def test_errors_that_say_nothing_about_the_text_are_counted() -> None:
    word, text = told(Status.ACTIVE, errors=1, failing_since=NOW - timedelta(hours=1))
    assert (word, text) == ("Failing", "Failing since today 12:30: 1 error.")


def test_a_healthy_job_names_its_last_run_and_its_text() -> None:
    assert told(Status.ACTIVE, **RAN, next_at=NOW + timedelta(days=1)) == (
        "Healthy",
        (
            "Healthy: its last run, today 13:00, succeeded; "
            "41 of 41 runs with text 41aaaaa by Ben succeeded. Next: tomorrow 13:30."
        ),
    )


def test_a_job_that_never_ran_says_when_it_will() -> None:
    assert told(Status.ACTIVE, next_at=NOW + timedelta(days=2)) == ("Never run", "Never run. Next: Saturday 13:30.")
    assert told(Status.MANUAL) == ("Never run", "Never run. It runs only by hand.")


def test_a_paused_job_is_never_healthy() -> None:
    pause = Pause(at=NOW - timedelta(days=1), by="user:ann", reason="the site moves", until=NOW + timedelta(days=30))
    found = judge(Condition(status=Status.PAUSED, now=NOW, zone="UTC", pause=pause, **RAN))  # type: ignore[arg-type]
    assert (found.tone, found.word) == ("wait", "Paused")
    assert found.text == "Paused since yesterday 12:30 by ann, until 4 April 12:30: the site moves."


def test_a_stopped_job_says_who_starts_it_again_and_why_it_failed() -> None:
    word, text = told(Status.STOPPED, **FAILS, stopped_at=NOW, stop_reason="10 errors in a row")
    assert word == "Stopped"
    assert text == (
        f"Stopped since today 13:30:00 after 10 errors in a row; it starts again when somebody resumes it."
        f" It has failed{TELLS}"
    )


@pytest.mark.parametrize(
    ("status", "known", "word", "text"),
    [
        (Status.WAITING, {"waiting": "the disk is not mounted"}, "Waiting", "Waiting: the disk is not mounted."),
        (Status.ACTIVE, {**RAN, "overdue": "no success for 2 hours"}, "Overdue", "Overdue: no success for 2 hours."),
        (Status.ARCHIVED, {"archived_at": NOW}, "Archived", "Archived since today 13:30:00: no file defines it."),
        (Status.DISABLED, {}, "Disabled", "Disabled: its file says enabled: false."),
        (Status.COMPLETED, {"last_at": NOW - timedelta(days=400), "last_status": RunStatus.SUCCEEDED}, "Healthy",
         "Healthy: its last run, 29 January 2025 13:30, succeeded. Its schedule has no time left."),
    ],
)  # fmt: skip
def test_every_other_state_has_its_sentence(status: Status, known: dict[str, Any], word: str, text: str) -> None:
    assert told(status, **known) == (word, text)


def test_a_running_job_says_since_when() -> None:
    assert (
        "It has been running since today 13:20."
        in told(Status.ACTIVE, **RAN, running_since=NOW - timedelta(minutes=10))[1]
    )


def test_the_first_run_of_a_job_is_said_to_be_that() -> None:
    word, text = told(Status.ACTIVE, running_since=NOW - timedelta(minutes=10))
    assert (word, text) == ("Running", "Running for the first time. It has been running since today 13:20.")


def test_a_cancelled_run_was_cancelled() -> None:
    found = told(Status.ACTIVE, last_at=NOW - timedelta(days=8), last_status=RunStatus.CANCELLED)
    assert found == ("Idle", "Idle: its last run, 25 February 13:30, was cancelled.")


def test_times_are_said_in_the_zone_of_the_page() -> None:
    assert spoken(NOW, NOW + timedelta(hours=3), "America/Los_Angeles") == "today 04:30"
