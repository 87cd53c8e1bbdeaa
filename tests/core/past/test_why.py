"""Who or what asked for a run, in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.core.past.why import trigger_words, who, why_it_ran
from scheduler.core.values.runs import Run, RunStatus, Trigger, is_fault

SLOT = datetime(2026, 12, 1, 3, tzinfo=UTC)


def run(trigger: Trigger, **given: Any) -> Run:
    return Run(
        n=7, job_id="backup", requested_at=SLOT, trigger=trigger, status=RunStatus.SUCCEEDED, generation=1, **given
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (run(Trigger.SCHEDULE, fire_time=SLOT), "the slot of 2026-12-01T03:00:00Z"),
        (
            run(Trigger.SCHEDULE, fire_time=SLOT, fire_time_last=SLOT + timedelta(hours=2), slots=3),
            "3 slots of the schedule, 2026-12-01T03:00:00Z to 2026-12-01T05:00:00Z",
        ),
        (run(Trigger.CATCH_UP, fire_time=SLOT), "the slot of 2026-12-01T03:00:00Z, caught up late"),
        (run(Trigger.MANUAL, requested_by="user:nina"), "run by nina"),
        (run(Trigger.MANUAL, requested_by="agent:claude"), "run by agent:claude"),
        (run(Trigger.MANUAL), "run by an unknown user"),
        (run(Trigger.RERUN, requested_by="user:nina", task_of=3), "run by nina, with the text of backup:3"),
    ],
)
def test_a_run_says_which_slot_or_whom_it_serves(given: Run, said: str) -> None:
    assert why_it_ran(given) == said


def test_a_table_names_whoever_ran_it_by_hand_and_nobody_else() -> None:
    assert trigger_words("manual", "user:nina") == "manual nina"
    assert trigger_words("rerun", "agent:x") == "rerun agent:x"
    assert trigger_words("schedule", None) == "schedule"
    assert who("user:") == "user:"


@pytest.mark.parametrize(
    ("status", "reason", "failed"),
    [
        ("failed", "exit_code", True),
        ("timed_out", "timeout", True),
        ("interrupted", "owner_died", True),
        ("skipped", "source_missing", True),
        ("skipped", "runner_not_found", True),
        ("skipped", "check_failed", True),
        ("skipped", "overlap", False),
        ("skipped", "missed", False),
        ("skipped", None, False),
        ("cancelled", "cancelled", False),
        ("succeeded", None, False),
        ("running", None, False),
        ("queued", "retry", False),
    ],
)
def test_what_counts_as_failed_is_what_a_person_has_to_look_at(status: str, reason: str | None, failed: bool) -> None:
    found = Run(
        n=1,
        job_id="a",
        requested_at=SLOT,
        trigger=Trigger.SCHEDULE,
        status=RunStatus(status),
        reason=reason,
        generation=1,
    )
    assert found.failed is failed
    assert is_fault(reason) is (status == "skipped" and failed)
