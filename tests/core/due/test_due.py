"""Which slots are due: each is run or skipped with a reason, none twice, none forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.due.due import LATE, due, held_back, is_slot, next_slot, patience, start_of, unserved
from scheduler.core.times.fires import coming, start_delay
from scheduler.core.values.facts import FileFacts, Job, Pause, RuntimeFacts
from scheduler.core.values.spec import CatchUp, CatchUpPolicy, JobSpec, Schedule

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTELY = Schedule(timezone="UTC", every=timedelta(minutes=1))
SECOND = timedelta(seconds=1)


NONE = CatchUp(policy=CatchUpPolicy.NONE)
ALL = CatchUp(policy=CatchUpPolicy.ALL)
LATEST = CatchUp()
HOUR = timedelta(hours=1)


def job(
    schedule: Schedule = MINUTELY,
    *,
    cursor: datetime | None = NOON,
    pause: Pause | None = None,
    catch_up: CatchUp = LATEST,
) -> Job:
    spec = JobSpec(id="job", name="job", schedule=schedule, runner="agent", catch_up=catch_up)
    facts = FileFacts(
        spec=spec,
        generation=1,
        path="jobs/job.yaml",
        line=1,
        revision=None,
        dirty=None,
        file_sha256="",
        task_sha256="",
        activated_at=NOON - timedelta(days=1),
    )
    return Job(
        id="job", file=facts, pause=pause, next_run_at=cursor, created_at=NOON, created_by="test", updated_at=NOON
    )


def test_a_slot_whose_instant_has_come_is_run_and_the_cursor_moves_to_the_next() -> None:
    found = due(job(), now=NOON, since=NOON - SECOND)
    assert found is not None
    assert (found.slot, found.skips, found.next_run_at) == (NOON, (), NOON + timedelta(minutes=1))
    assert found.last == NOON


def test_nothing_is_due_before_the_cursor() -> None:
    assert due(job(), now=NOON - timedelta(microseconds=1), since=NOON - SECOND) is None


def test_a_delay_that_leads_beyond_the_calendar_ends_with_it_and_stops_nobody() -> None:
    slot = datetime(9999, 12, 29, 12, tzinfo=UTC)
    late = job(Schedule(timezone="UTC", cron="0 12 29 12 *", jitter=timedelta(days=180)), cursor=slot)
    assert start_delay(late.file.spec.schedule, late.id) > timedelta(days=3)
    assert start_of(late) == datetime.max.replace(tzinfo=UTC)
    assert due(late, now=NOON, since=NOON) is None


@pytest.mark.parametrize("away", ["archived", "disabled", "stopped", "completed"])
def test_a_job_that_is_not_to_run_owes_nothing(away: str) -> None:
    found = job()
    match away:
        case "archived":
            found = replace(found, file=replace(found.file, archived_at=NOON))
        case "disabled":
            found = replace(found, file=replace(found.file, spec=replace(found.file.spec, enabled=False)))
        case "stopped":
            found = replace(found, runtime=RuntimeFacts(stopped_at=NOON - SECOND))
        case _:
            found = replace(found, next_run_at=None)
    assert start_of(found) is None
    assert due(found, now=NOON + timedelta(hours=1), since=NOON) is None


def test_slots_from_before_anybody_was_there_are_one_missed_range() -> None:
    since = NOON + timedelta(minutes=10, seconds=30)
    found = due(job(catch_up=NONE), now=since, since=since)
    assert found is not None
    assert (found.slot, found.catch_up) == (None, ())
    (skip,) = found.skips
    assert (skip.first, skip.last, skip.slots, skip.reason) == (NOON, NOON + timedelta(minutes=10), 11, "missed")
    assert found.next_run_at == NOON + timedelta(minutes=11)


def test_a_slot_reached_over_a_minute_late_was_missed_and_one_reached_sooner_runs() -> None:
    hourly = job(Schedule(timezone="UTC", every=timedelta(hours=1)), catch_up=NONE)
    in_time = due(hourly, now=NOON + LATE, since=NOON - SECOND)
    late = due(hourly, now=NOON + LATE + SECOND, since=NOON - SECOND)
    assert in_time is not None
    assert in_time.slot == NOON
    assert late is not None
    assert [skip.reason for skip in late.skips] == ["missed"]


def test_of_several_slots_the_newest_runs_and_the_others_were_missed() -> None:
    found = due(job(Schedule(timezone="UTC", every=SECOND)), now=NOON + 3 * SECOND, since=NOON - SECOND)
    assert found is not None
    assert found.slot == NOON + 3 * SECOND
    assert [(skip.first, skip.slots, skip.reason) for skip in found.skips] == [(NOON, 3, "missed")]


def test_of_missed_slots_the_latest_is_caught_up_with_within_its_window() -> None:
    daily = Schedule(timezone="UTC", every=timedelta(days=1))
    midnight = NOON.replace(hour=0)
    for since in (None, midnight + HOUR):
        soon = due(job(daily, cursor=midnight), now=midnight + 2 * HOUR, since=since)
        later = due(job(daily, cursor=midnight), now=midnight + 2 * HOUR + SECOND, since=since)
        assert soon is not None
        assert (soon.slot, soon.catch_up, soon.skips) == (None, (midnight,), ())
        assert later is not None
        assert (later.slot, later.catch_up, later.skips[0].reason) == (None, (), "missed")
    spec = job(daily).file.spec
    assert patience(spec, midnight, midnight + timedelta(minutes=10)) == timedelta(minutes=5)
    assert patience(spec, midnight, None) == 2 * HOUR
    wide = job(daily, cursor=midnight, catch_up=CatchUp(within=3 * HOUR))
    found = due(wide, now=midnight + 2 * HOUR + SECOND, since=None)
    assert found is not None
    assert found.catch_up == (midnight,)


def test_a_slot_in_time_leaves_nothing_to_catch_up_with_but_where_all_are_wanted() -> None:
    hourly = Schedule(timezone="UTC", every=HOUR)
    now = NOON + 3 * HOUR + SECOND
    latest = due(job(hourly), now=now, since=NOON - HOUR)
    assert latest is not None
    assert (latest.slot, latest.catch_up) == (NOON + 3 * HOUR, ())
    assert [(skip.first, skip.slots) for skip in latest.skips] == [(NOON, 3)]
    every = due(job(hourly, catch_up=ALL), now=now, since=NOON - HOUR)
    assert every is not None
    assert (every.slot, every.skips) == (NOON + 3 * HOUR, ())
    assert every.catch_up == (NOON, NOON + HOUR, NOON + 2 * HOUR)
    assert every.last == NOON + 3 * HOUR


def test_all_are_at_most_a_hundred_and_those_within_the_duration_that_is_written() -> None:
    now = NOON + timedelta(minutes=250, seconds=30)
    many = due(job(catch_up=ALL), now=now, since=now)
    assert many is not None
    assert (len(many.catch_up), many.catch_up[0], many.catch_up[-1]) == (
        100, NOON + timedelta(minutes=151), NOON + timedelta(minutes=250),
    )  # fmt: skip
    assert [(skip.first, skip.slots, skip.reason) for skip in many.skips] == [(NOON, 151, "missed")]
    few = due(job(catch_up=replace(ALL, within=timedelta(minutes=3))), now=now, since=now)
    assert few is not None
    assert few.catch_up == tuple(NOON + timedelta(minutes=m) for m in (248, 249, 250))
    for_ever = due(job(catch_up=replace(ALL, within=timedelta.max)), now=now, since=now)
    assert for_ever is not None
    assert for_ever.catch_up == many.catch_up


def test_nothing_from_before_the_end_of_a_pause_or_from_another_host_is_caught_up_with() -> None:
    now = NOON + timedelta(minutes=10, seconds=30)
    over = Pause(at=NOON + timedelta(minutes=3), until=NOON + timedelta(minutes=6))
    found = due(job(pause=over, catch_up=ALL), now=now, since=now)
    assert found is not None
    assert found.catch_up == tuple(NOON + timedelta(minutes=m) for m in (6, 7, 8, 9, 10))
    assert [(skip.slots, skip.reason) for skip in found.skips] == [(3, "missed"), (3, "paused")]
    for pause in (Pause(at=NOON + timedelta(minutes=3)), replace(over, until=now + SECOND)):
        held = due(job(pause=pause, catch_up=ALL), now=now, since=now)
        assert held is not None
        assert held.catch_up == ()
    moved = due(job(catch_up=ALL), now=now, since=now, elsewhere_until=now - timedelta(minutes=2))
    assert moved is not None
    assert moved.catch_up == tuple(NOON + timedelta(minutes=m) for m in (9, 10))
    settled = due(job(catch_up=ALL), now=now, since=now, until=now)
    assert settled is not None
    assert settled.catch_up == (), "its schedule is about to be replaced"


def test_an_outage_is_told_by_what_it_has_left() -> None:
    five = due(job(catch_up=ALL), now=NOON + timedelta(minutes=5), since=NOON + timedelta(minutes=5))
    more = due(job(catch_up=NONE), now=NOON + timedelta(minutes=5, seconds=1), since=NOON + timedelta(minutes=5))
    assert five is not None
    assert not five.after_outage(NOON + timedelta(minutes=5))
    assert more is not None
    assert more.after_outage(NOON + timedelta(minutes=5, seconds=1))


def test_of_a_list_each_slot_is_owed_once_and_late_by_the_same_jitter() -> None:
    twice = (MINUTELY, Schedule(timezone="UTC", every=timedelta(seconds=90)))  # both at each third minute
    listed = job(Schedule(timezone="UTC", union=twice, jitter=timedelta(seconds=20)))
    delay = start_delay(listed.file.spec.schedule, "job")
    assert start_of(listed) == NOON + delay
    assert due(listed, now=NOON + delay - timedelta(microseconds=1), since=NOON) is None
    found = due(listed, now=NOON + timedelta(minutes=3) + delay, since=NOON)
    assert found is not None
    assert found.slot == NOON + timedelta(minutes=3)
    assert [(skip.first, skip.slots) for skip in found.skips] == [(NOON, 4)]  # 0:00, 1:00, 1:30, 2:00
    assert found.next_run_at == NOON + timedelta(minutes=4)
    assert is_slot(listed.file.spec.schedule, NOON + timedelta(seconds=90))
    assert not is_slot(listed.file.spec.schedule, NOON + timedelta(seconds=30))


def test_jitter_delays_the_start_and_not_the_slot() -> None:
    jittered = job(replace(MINUTELY, jitter=timedelta(seconds=20)))
    delay = start_delay(jittered.file.spec.schedule, "job")
    assert timedelta(0) < delay < timedelta(seconds=20)
    assert start_of(jittered) == NOON + delay
    assert due(jittered, now=NOON + delay - timedelta(milliseconds=1), since=NOON) is None
    found = due(jittered, now=NOON + delay, since=NOON)
    assert found is not None
    assert (found.slot, found.next_run_at) == (NOON, NOON + timedelta(minutes=1))


def test_a_schedule_about_to_be_replaced_owes_its_slots_before_their_start() -> None:
    jittered = job(replace(MINUTELY, jitter=timedelta(seconds=20)))
    found = due(jittered, now=NOON + timedelta(milliseconds=1), since=NOON, until=NOON + timedelta(milliseconds=1))
    assert found is not None
    assert found.slot == NOON


def test_a_paused_job_owes_skips() -> None:
    paused = job(pause=Pause(at=NOON - SECOND))
    found = due(paused, now=NOON, since=NOON - timedelta(hours=1))
    assert found is not None
    assert found.slot is None
    assert [(skip.first, skip.reason) for skip in found.skips] == [(NOON, "paused")]


def test_a_pause_that_comes_before_the_start_holds_back_a_slot_that_has_passed() -> None:
    jittered = replace(MINUTELY, jitter=timedelta(seconds=20))
    delay = start_delay(jittered, "job")
    found = due(job(jittered, pause=Pause(at=NOON + delay / 2)), now=NOON + delay, since=NOON - SECOND)
    assert found is not None
    assert [skip.reason for skip in found.skips] == ["paused"]


def test_a_pause_that_has_run_out_divides_the_slots() -> None:
    pause = Pause(at=NOON + timedelta(minutes=2), until=NOON + timedelta(minutes=4))
    found = due(job(pause=pause), now=NOON + timedelta(minutes=6), since=NOON)
    assert found is not None
    assert [(skip.reason, skip.slots) for skip in found.skips] == [("missed", 2), ("paused", 2), ("missed", 2)]
    assert found.slot == NOON + timedelta(minutes=6)


def test_lifting_a_pause_settles_what_it_held_back() -> None:
    paused = job(pause=Pause(at=NOON - SECOND))
    found = held_back(paused, NOON + timedelta(minutes=3))
    assert found is not None
    assert [(skip.reason, skip.slots) for skip in found.skips] == [("paused", 4)]
    assert found.next_run_at == NOON + timedelta(minutes=4)
    assert held_back(paused, NOON - SECOND / 2) is None
    assert held_back(job(), NOON + timedelta(minutes=3)) is None


def test_a_job_that_was_stopped_owes_rows_for_its_slots_up_to_then_and_runs_none() -> None:
    stopped = replace(job(), runtime=RuntimeFacts(stopped_at=NOON + timedelta(minutes=2, seconds=30)))
    found = due(stopped, now=NOON + timedelta(hours=1), since=NOON)
    assert found is not None
    assert (found.slot, found.next_run_at) == (None, NOON + timedelta(minutes=3))
    assert [(skip.first, skip.slots, skip.reason) for skip in found.skips] == [(NOON, 3, "missed")]
    assert found.skips == unserved(stopped, NOON + timedelta(hours=1))
    settled = replace(stopped, next_run_at=found.next_run_at)
    assert (start_of(settled), next_slot(stopped, NOON), next_slot(settled, NOON)) == (None, None, None)


def test_the_next_slot_is_the_first_that_has_not_started() -> None:
    late = Schedule(timezone="UTC", every=timedelta(minutes=1), jitter=timedelta(seconds=30))
    delay = start_delay(late, "job")
    assert timedelta(0) < delay
    assert next_slot(job(late), NOON + delay / 2) == NOON, "it has passed, and starts later"
    assert next_slot(job(late), NOON + delay) == NOON + timedelta(minutes=1)
    assert next_slot(job(), NOON - timedelta(hours=1)) == NOON
    assert next_slot(job(), NOON + timedelta(hours=1)) == NOON + timedelta(minutes=61), "nobody has served the others"
    assert next_slot(job(cursor=None), NOON) is None


def test_an_instant_is_a_slot_or_not() -> None:
    assert is_slot(MINUTELY, NOON)
    assert not is_slot(MINUTELY, NOON + SECOND)
    assert is_slot(Schedule(timezone="Europe/Berlin", cron="0 13 * * *"), NOON)


schedules = st.one_of(
    st.builds(lambda s: Schedule(timezone="UTC", every=timedelta(seconds=s)), st.integers(1, 7200)),
    st.builds(
        lambda cron, zone: Schedule(timezone=zone, cron=cron),
        st.sampled_from(["* * * * *", "*/7 * * * *", "30 2 * * *", "0 9 * * MON-FRI", "15,45 1-3 * * *"]),
        st.sampled_from(["UTC", "Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe"]),
    ),
)
seconds = st.integers(1, 6 * 3600).map(lambda s: timedelta(seconds=s))
pauses = st.none() | st.builds(
    lambda at, length: Pause(at=NOON + at, until=None if length is None else NOON + at + length),
    seconds,
    st.none() | seconds.map(lambda s: s + SECOND),
)


catch_ups = st.builds(
    lambda policy, within: CatchUp(policy=policy, within=within), st.sampled_from(CatchUpPolicy), st.none() | seconds
)


@given(schedules, seconds, seconds, pauses, st.booleans(), st.integers(0, 40), catch_ups)
def test_every_slot_up_to_now_is_covered_exactly_once(
    schedule: Schedule,
    passed: timedelta,
    present: timedelta,
    pause: Pause | None,
    once: bool,
    jitter_s: int,
    catch_up: CatchUp,
) -> None:
    schedule = replace(schedule, jitter=timedelta(seconds=jitter_s))
    (cursor,) = coming(schedule, after=NOON, count=1)
    now = NOON + passed
    owing = job(schedule, cursor=cursor, pause=pause, catch_up=catch_up)
    found = due(owing, now=now, since=None if once else now - present)
    slots = coming(schedule, after=NOON, until=now - start_delay(schedule, "job"))
    if found is None:
        assert slots == []
        return
    covered = [
        slot for skip in found.skips for slot in coming(schedule, after=skip.first - SECOND / 2, until=skip.last)
    ]
    assert [skip.slots for skip in found.skips] == [
        len(coming(schedule, after=skip.first - SECOND / 2, until=skip.last)) for skip in found.skips
    ]
    covered += found.catch_up
    covered += [] if found.slot is None else [found.slot]
    assert covered == slots
    assert found.last == slots[-1]
    assert len(found.catch_up) <= {"none": 0, "latest": 1, "all": 100}[catch_up.policy]
    assert found.next_run_at == coming(schedule, after=slots[-1], count=1)[0]


@given(schedules, seconds, pauses)
def test_what_a_sync_settles_covers_the_same_slots(schedule: Schedule, passed: timedelta, pause: Pause | None) -> None:
    (cursor,) = coming(schedule, after=NOON, count=1)
    now = NOON + passed
    skips = unserved(job(schedule, cursor=cursor, pause=pause), now)
    covered = [slot for skip in skips for slot in coming(schedule, after=skip.first - SECOND / 2, until=skip.last)]
    assert covered == coming(schedule, after=NOON, until=now)
