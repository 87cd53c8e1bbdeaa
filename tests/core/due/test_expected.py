"""The dead-man's rule: what is overdue, by a schedule and rows that tests write, and by nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.due.expected import LATE, Alarm, AlarmEvidence, Kind, alarms_of
from scheduler.core.times.fires import coming
from scheduler.core.values.facts import FileFacts, Job, Pause, RuntimeFacts
from scheduler.core.values.spec import JobSpec, Schedule

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NIGHTLY = Schedule(timezone="UTC", cron="0 3 * * *")
Rows = Sequence[tuple[datetime, datetime]]


def job(schedule: Schedule = NIGHTLY, *, activated_at: datetime = NOON, **spec: Any) -> Job:
    return Job(
        id="j",
        file=FileFacts(
            spec=JobSpec(id="j", name="j", schedule=schedule, runner="r", **spec),
            generation=1, path="j.yaml", line=1, revision=None, dirty=None, file_sha256="", task_sha256=None,
            activated_at=activated_at,
        ),
        next_run_at=NOON + 99 * DAY,  # wrong on purpose: nobody here may look at a cursor
        created_at=NOON, created_by="t", updated_at=NOON,
    )  # fmt: skip


def overdue(
    job: Job, now: datetime, *, rows: Rows = (), success: datetime | None = None, resumed: datetime | None = None
) -> list[Alarm]:
    def covered_until(slot: datetime) -> datetime | None:
        return max((row for row in rows if row[0] <= slot), default=(None, None))[1]

    evidence = AlarmEvidence(succeeded_at=lambda: success, resumed_at=resumed, covered_until=covered_until)
    return list(alarms_of(job, evidence, now))


def kinds(*args: Any, **kwargs: Any) -> list[str]:
    return [alarm.kind.value for alarm in overdue(*args, **kwargs)]


THREE = datetime(2026, 3, 3, 3, tzinfo=UTC)
EXPECTS = job(expect_every=26 * HOUR)


def test_a_slot_without_a_row_is_overdue_a_minute_after_its_start() -> None:
    assert kinds(job(), THREE + LATE - SECOND) == []
    (alarm,) = overdue(job(), THREE + LATE)
    assert alarm == Alarm(job_id="j", kind=Kind.ROW, since=THREE, deadline=THREE + LATE)
    assert alarm.text(job()) == "the slot of 2026-03-03T03:00:00Z has neither run nor been skipped"
    assert kinds(job(), THREE + HOUR, rows=[(THREE, THREE)]) == []
    assert kinds(job(), THREE + DAY + HOUR, rows=[(THREE, THREE)]) == ["no_row"]
    assert kinds(job(), THREE + DAY + HOUR, rows=[(THREE - DAY, THREE + DAY)]) == [], "one row of many slots"
    jitter = job(replace(NIGHTLY, jitter=10 * MINUTE))
    assert kinds(jitter, THREE + 11 * MINUTE) == ["no_row"]
    assert kinds(jitter, THREE + LATE) == [], "its start is still to come"


@pytest.mark.parametrize("since", [NOON, THREE, THREE + 2 * HOUR])
def test_slots_before_a_job_was_activated_resumed_or_its_pause_ended_owe_nothing(since: datetime) -> None:
    now = THREE + DAY - HOUR
    expected = [] if since >= THREE else ["no_row"]
    assert kinds(job(activated_at=since), now) == expected
    assert kinds(job(), now, resumed=since) == expected
    assert kinds(replace(job(), pause=Pause(at=NOON, until=since)), now) == expected


def test_a_job_that_is_paused_disabled_or_archived_raises_no_alarm() -> None:
    now = THREE + 30 * DAY
    assert kinds(EXPECTS, now) == ["no_success", "no_row"]
    assert kinds(replace(EXPECTS, pause=Pause(at=NOON)), now) == []
    assert kinds(job(expect_every=26 * HOUR, enabled=False), now) == []
    assert kinds(replace(EXPECTS, file=replace(EXPECTS.file, archived_at=NOON)), now) == []


def test_a_stopped_job_misses_its_success_and_owes_the_slots_before_it_was_stopped() -> None:
    stopped = replace(EXPECTS, runtime=RuntimeFacts(stopped_at=THREE + HOUR))
    assert kinds(stopped, THREE + 9 * DAY, rows=[(THREE, THREE)]) == ["no_success"]
    assert kinds(stopped, THREE + 9 * DAY) == ["no_success", "no_row"]


def test_no_success_counts_from_the_last_one_or_from_when_the_job_came_into_force() -> None:
    rows = [(NOON, NOON + 99 * DAY)]
    assert kinds(EXPECTS, NOON + 26 * HOUR, rows=rows) == []
    (alarm,) = overdue(EXPECTS, NOON + 26 * HOUR + SECOND, rows=rows)
    assert (alarm.since, alarm.deadline) == (NOON, NOON + 26 * HOUR)
    assert alarm.text(EXPECTS) == "no success since 2026-03-02T12:00:00Z; expect_every is 1d2h"
    assert kinds(EXPECTS, THREE + 26 * HOUR, rows=rows, success=THREE) == []
    assert kinds(EXPECTS, THREE + 27 * HOUR, rows=rows, success=THREE) == ["no_success"]
    assert kinds(EXPECTS, THREE + 27 * HOUR, rows=rows, success=THREE, resumed=THREE + 2 * HOUR) == []


def test_a_job_that_has_no_slot_after_its_last_success_owes_none() -> None:
    once = job(Schedule(timezone="UTC", at=THREE), expect_every=HOUR)
    rows = [(THREE, THREE)]
    assert kinds(once, THREE + 9 * DAY, rows=rows, success=THREE + MINUTE) == []
    assert kinds(once, THREE + 9 * DAY, rows=rows) == ["no_success"], "its only run did not succeed"


schedules = st.sampled_from(
    [
        Schedule(timezone="UTC", every=7 * MINUTE),
        Schedule(timezone="Europe/Berlin", cron="30 2 * * *"),
        Schedule(timezone="America/Los_Angeles", cron="0 9 * * MON-FRI"),
        Schedule(timezone="UTC", cron="0 0 1 */3 *"),
        Schedule(timezone="UTC", at=NOON + DAY),
    ]
)


@given(schedules, st.timedeltas(timedelta(0), 400 * DAY))
def test_the_newest_slot_is_found_however_far_back_it_is(schedule: Schedule, later: timedelta) -> None:
    now = NOON + later
    slots = coming(schedule, after=NOON, until=now - LATE)
    assert [alarm.since for alarm in overdue(job(schedule), now)] == slots[-1:]
