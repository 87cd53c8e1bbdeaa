"""Which causes belong to the place and which to the job, whom they keep waiting, and what is owed afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.core.due.due import due
from scheduler.core.due.place import (
    PLACE,
    Cause,
    PlaceFault,
    Sight,
    fault_of_key,
    fault_of_place,
    missed_meanwhile,
    place_texts,
)
from scheduler.core.values.facts import Fault, FileFacts, Job, Status
from scheduler.core.values.runs import Run, RunStatus, Trigger
from scheduler.core.values.spec import CatchUp, CatchUpPolicy, JobSpec, Schedule

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAILY = Schedule(timezone="UTC", cron="0 3 * * *")
ONCE = Schedule(timezone="UTC", at=NOON - 9 * HOUR)
THREE = NOON - 9 * HOUR


def job(schedule: Schedule = DAILY, *, cursor: datetime | None = THREE, **spec: Any) -> Job:
    known: dict[str, Any] = {"id": "job", "name": "job", "runner": "agent", "task_source_path": "prompts/a/job.md"}
    facts = FileFacts(
        spec=JobSpec(schedule=schedule, **{**known, **spec}), generation=1, path="jobs/job.yaml", line=1, revision=None,
        dirty=None, file_sha256="", task_sha256="", activated_at=NOON - 48 * HOUR,
    )  # fmt: skip
    return Job(id="job", file=facts, next_run_at=cursor, created_at=NOON, created_by="test", updated_at=NOON)


GONE = Sight(root="the root /r is gone")
LOST = Sight(folder="prompts", folder_trouble="the folder 'prompts' is empty")
MERGE = Sight(held="a merge is in progress in the repository")
FINE = Sight()


@pytest.mark.parametrize(
    ("reason", "sight", "cause"),
    [
        ("source_missing", GONE, Cause.ROOT),
        ("source_unreadable", GONE, Cause.ROOT),
        ("source_invalid", GONE, Cause.ROOT),
        ("runner_cwd_missing", GONE, Cause.ROOT),
        ("runner_not_found", GONE, Cause.ROOT),
        ("other_branch", FINE, Cause.BRANCH),
        ("other_branch", GONE, Cause.ROOT),
        ("source_missing", LOST, Cause.FOLDER),
        ("source_unreadable", LOST, Cause.FOLDER),
        ("source_denied", LOST, Cause.FOLDER),
        ("runner_not_found", FINE, Cause.RUNNER),
        ("runner_cwd_missing", FINE, Cause.RUNNER),
        ("runner_start_failed", FINE, Cause.RUNNER),
        ("runner_not_found", LOST, Cause.RUNNER),
        ("source_missing", MERGE, Cause.HELD),
        ("source_conflict_markers", MERGE, Cause.HELD),
        ("source_invalid", MERGE, Cause.HELD),
        ("source_dirty", MERGE, Cause.HELD),
        ("source_missing", FINE, None),
        ("source_missing", replace(LOST, folder_known=False), None),
        ("source_conflict_markers", LOST, None),
        ("source_not_utf8", FINE, None),
        ("source_too_large", GONE, Cause.ROOT),
        ("source_empty", FINE, None),
        ("runner_unknown", FINE, None),
        ("runner_unknown", GONE, None),
        ("runner_not_allowed", MERGE, None),
        ("runner_task_too_large", FINE, None),
    ],
)
def test_a_cause_belongs_to_the_place_or_to_the_job(reason: str, sight: Sight, cause: Cause | None) -> None:
    found = fault_of_place(Fault(reason=reason, message="why"), job(), sight)
    assert (None if found is None else found.cause) == cause
    if found is not None:
        assert found.holds(job())
        assert found.message


def test_a_job_that_says_itself_where_programs_are_answers_for_it() -> None:
    own = job(env=(("PATH", "/opt/bin"),))
    assert fault_of_place(Fault(reason="runner_not_found", message="why"), own, FINE) is None
    assert not PlaceFault(cause=Cause.RUNNER, name="agent").holds(own)


@pytest.mark.parametrize(
    ("fault", "holds"),
    [
        (PlaceFault(cause=Cause.ROOT), True),
        (PlaceFault(cause=Cause.BRANCH), True),
        (PlaceFault(cause=Cause.FOLDER, name="prompts"), True),
        (PlaceFault(cause=Cause.FOLDER, name="prompts/a"), True),
        (PlaceFault(cause=Cause.FOLDER, name="jobs"), True),
        (PlaceFault(cause=Cause.FOLDER, name="prompt"), False),
        (PlaceFault(cause=Cause.FOLDER, name="prompts/b"), False),
        (PlaceFault(cause=Cause.RUNNER, name="agent"), True),
        (PlaceFault(cause=Cause.RUNNER, name="shell"), False),
        (PlaceFault(cause=Cause.HELD, name="job"), True),
        (PlaceFault(cause=Cause.HELD, name="other"), False),
    ],
)
def test_only_the_jobs_that_need_what_is_gone_wait(fault: PlaceFault, holds: bool) -> None:
    assert fault.holds(job()) == holds
    assert fault_of_key(fault.key, "why", NOON) == fault


def test_a_key_of_a_later_version_is_no_fault_of_this_one() -> None:
    assert fault_of_key("moon_missing:full", "why", NOON) is None


def test_people_read_what_is_gone_and_since_when() -> None:
    (told,) = place_texts([PlaceFault(cause=Cause.ROOT, message="the root /r is gone", since=NOON)])
    assert (
        told
        == "jobs wait until this is resolved; no errors are counted: the root /r is gone (since 2026-03-02T12:00:00Z)"
    )


def test_a_job_that_waits_for_its_place_has_a_status_of_its_own_after_all_others() -> None:
    assert job().status(NOON, waits=True) is Status.WAITING
    assert job(cursor=None).status(NOON, waits=True) is Status.COMPLETED
    assert job(enabled=False).status(NOON, waits=True) is Status.DISABLED


SHORT = CatchUp(within=timedelta(minutes=30))
LONG = CatchUp(within=12 * HOUR)
NONE = CatchUp(policy=CatchUpPolicy.NONE)
ALL = CatchUp(policy=CatchUpPolicy.ALL)


@pytest.mark.parametrize("schedule", [DAILY, ONCE], ids=["daily", "one-shot"])
@pytest.mark.parametrize(
    ("catch_up", "back_at", "caught_up"),
    [
        (CatchUp(), None, False),  # nine hours late
        (CatchUp(), NOON, True),
        (CatchUp(), NOON - HOUR, True),
        (CatchUp(), NOON - 5 * HOUR, False),  # it was back long before, and something else kept it
        (SHORT, NOON, False),
        (LONG, NOON, True),
        (NONE, NOON, False),
        (ALL, NOON, True),
    ],
)
def test_catch_up_judges_afterwards_and_its_default_counts_from_the_recovery(
    schedule: Schedule, catch_up: CatchUp, back_at: datetime | None, caught_up: bool
) -> None:
    found = due(job(schedule, catch_up=catch_up), now=NOON, since=NOON - 24 * HOUR, back_at=back_at)
    assert found is not None
    assert found.slot is None
    assert found.catch_up == ((THREE,) if caught_up else ())
    assert [(skip.reason, skip.slots) for skip in found.skips] == ([] if caught_up else [("missed", 1)])


def test_of_the_slots_that_waited_the_newest_is_caught_up_with_and_the_rest_share_a_row() -> None:
    hourly = job(Schedule(timezone="UTC", cron="0 * * * *"))
    found = due(hourly, now=NOON + HOUR / 2 + HOUR / 3, since=NOON - 24 * HOUR, back_at=NOON + HOUR / 2 + HOUR / 3)
    assert found is not None
    assert found.catch_up == (NOON,)
    assert [(skip.reason, skip.slots) for skip in found.skips] == [("missed", 9)]


@pytest.mark.parametrize(
    ("catch_up", "late", "back", "missed"),
    [
        (CatchUp(), 20 * HOUR, timedelta(0), ""),
        (CatchUp(), 20 * HOUR, 3 * HOUR, "within"),
        (CatchUp(), 20 * HOUR, None, "within"),  # nobody knows by now that it was gone
        (CatchUp(), HOUR, None, ""),
        (ALL, 20 * HOUR, None, ""),
        (LONG, 11 * HOUR, timedelta(0), ""),
        (LONG, 13 * HOUR, timedelta(0), "within"),
        (NONE, timedelta(seconds=30), timedelta(0), ""),
        (NONE, HOUR, timedelta(0), "none"),
    ],
)
def test_a_run_claimed_just_before_its_place_was_gone_is_judged_like_its_slot(
    catch_up: CatchUp, late: timedelta, back: timedelta | None, missed: str
) -> None:
    run = Run(
        n=1, job_id="job", fire_time=THREE, requested_at=THREE, trigger=Trigger.CATCH_UP, status=RunStatus.QUEUED,
        reason=PLACE, generation=1,
    )  # fmt: skip
    now = THREE + late
    found = missed_meanwhile(job(catch_up=catch_up), run, now, back_at=None if back is None else now - back)
    assert found.endswith(missed)
    assert bool(found) == bool(missed)
