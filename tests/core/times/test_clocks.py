"""When a clock is believed, and what becomes of a job whose rows lie ahead of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from scheduler.core.due.due import due
from scheduler.core.times.clocks import (
    Ahead,
    Boot,
    ClockReading,
    Trust,
    around,
    cut_skip,
    first_free_slot,
    first_trust,
    judged,
    righted,
    true_lives,
)
from scheduler.core.values.facts import FileFacts, Job, Pause, RuntimeFacts
from scheduler.core.values.runs import Life
from scheduler.core.values.spec import JobSpec, Schedule

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
HOURLY = Schedule(timezone="UTC", cron="0 * * * *")
BOOTED = NOON - DAY


def reading(wall: datetime, *, set_by: timedelta = timedelta(), boot_id: str | None = "boot") -> ClockReading:
    """set_by: how much of what the wall clock says was set since it was right."""
    return ClockReading(wall=wall, elapsed=wall - set_by - BOOTED, boot_id=boot_id)


def nobody() -> bool:
    return False


def somebody() -> bool:
    return True


def believed(at: datetime = NOON) -> Trust:
    return first_trust(reading(at), stored=None, newest=None, good=nobody)


def test_a_clock_that_goes_on_is_believed_however_long_the_machine_slept() -> None:
    trust = believed()
    for wall in (NOON + MINUTE, NOON + 9 * HOUR, NOON + 30 * DAY):
        trust = judged(trust, reading(wall), good=nobody)
        assert (trust.doubt, trust.went_back, trust.gained) == ("", False, False)


@pytest.mark.parametrize(("by", "doubted"), [(59 * MINUTE, False), (61 * MINUTE, True), (300 * DAY, True)])
def test_a_clock_that_gains_over_an_hour_is_doubted(by: timedelta, doubted: bool) -> None:
    trust = judged(believed(), reading(NOON + by, set_by=by), good=nobody)
    assert bool(trust.doubt) is doubted
    assert not judged(believed(), reading(NOON + by, set_by=by), good=somebody).doubt, "it is synchronised"


def test_a_doubted_clock_is_believed_after_two_minutes_or_once_something_vouches_for_it() -> None:
    by = 3 * HOUR
    trust = judged(believed(), reading(NOON + by, set_by=by), good=nobody)
    assert "jumped ahead by 3:00:00" in trust.doubt
    trust = judged(trust, reading(NOON + by + timedelta(seconds=119), set_by=by), good=nobody)
    assert trust.doubt
    after = judged(trust, reading(NOON + by + timedelta(seconds=120), set_by=by), good=nobody)
    assert (after.doubt, after.gained) == ("", True)
    assert not judged(after, reading(NOON + by + 3 * MINUTE, set_by=by), good=nobody).gained, "said once"
    vouched = judged(trust, reading(NOON + by + timedelta(seconds=119), set_by=by), good=somebody)
    assert (vouched.doubt, vouched.gained) == ("", True)


def test_a_jump_that_is_taken_back_is_forgotten_and_another_one_is_doubted_anew() -> None:
    trust = judged(believed(), reading(NOON + 3 * HOUR, set_by=3 * HOUR), good=nobody)
    back = judged(trust, reading(NOON + MINUTE), good=nobody)
    assert (back.doubt, back.went_back) == ("", False)
    further = judged(trust, reading(NOON + 9 * HOUR + MINUTE, set_by=9 * HOUR), good=nobody)
    assert further.since == reading(NOON + MINUTE).elapsed, "its two minutes begin now"


def test_a_step_back_is_seen_and_small_ones_add_up() -> None:
    assert judged(believed(), reading(NOON - HOUR, set_by=-HOUR), good=nobody).went_back
    trust, seen = believed(), []
    for tenths in range(1, 8):
        by = timedelta(seconds=tenths / 10)
        trust = judged(trust, reading(NOON + MINUTE - by, set_by=-by), good=nobody)
        seen.append(trust.went_back)
    assert seen == [False] * 5 + [True, False]


def test_a_jump_while_no_daemon_was_there_is_found_within_one_boot_only() -> None:
    stored = Boot(boot_id="boot", booted_at=BOOTED)
    ahead = reading(NOON + 3 * HOUR, set_by=3 * HOUR)
    assert first_trust(ahead, stored=stored, newest=NOON, good=nobody).doubt
    assert not first_trust(reading(NOON + 3 * HOUR), stored=stored, newest=NOON, good=nobody).doubt, "it slept"
    other = replace(stored, boot_id="another boot")
    assert not first_trust(ahead, stored=other, newest=NOON, good=nobody).doubt, "it was switched off"
    unknown = replace(ahead, boot_id=None)
    assert not first_trust(unknown, stored=replace(stored, boot_id=None), newest=NOON, good=nobody).doubt
    assert first_trust(reading(NOON - HOUR, set_by=-HOUR), stored=stored, newest=NOON, good=nobody).went_back


def test_a_first_boot_far_behind_what_was_written_waits_two_minutes_and_one_before_the_program_for_ever() -> None:
    behind = first_trust(reading(NOON - DAY), stored=None, newest=NOON, good=nobody)
    assert "the state was last written at 2026-03-02T12:00:00Z" in behind.doubt
    assert judged(behind, reading(NOON - DAY + 2 * MINUTE), good=nobody).gained
    assert not first_trust(reading(NOON - DAY), stored=None, newest=NOON, good=somebody).doubt
    for good in (nobody, somebody):
        old = datetime(2000, 1, 1, tzinfo=UTC)
        trust = first_trust(ClockReading(wall=old, elapsed=MINUTE, boot_id="b"), stored=None, newest=None, good=good)
        trust = judged(trust, ClockReading(wall=old + DAY, elapsed=DAY + MINUTE, boot_id="b"), good=good)
        assert "is impossible" in trust.doubt
        set_now = judged(trust, ClockReading(wall=NOON, elapsed=DAY + 2 * MINUTE, boot_id="b"), good=good)
        assert bool(set_now.doubt) is (good is nobody), "it has jumped: two minutes, or until something vouches for it"


# -- skips that lie ahead ----------------------------------------------------------------------


def ahead(first: datetime, last: datetime, slots: int) -> Ahead:
    return Ahead(job_id="j", n=1, first=first, last=last, slots=slots, reason="missed", schedule=HOURLY)


def test_a_skip_is_cut_where_the_clock_stands() -> None:
    whole = ahead(NOON, NOON + 3 * HOUR, 4)
    found = cut_skip(whole, NOON + 90 * MINUTE)
    assert (found.kept, found.kept_last, found.first, found.void) == (2, NOON + HOUR, NOON + 2 * HOUR, 2)
    found = cut_skip(whole, NOON - MINUTE)
    assert (found.kept, found.first, found.void) == (0, NOON, 4)
    found = cut_skip(whole, NOON + HOUR)
    assert (found.kept_last, found.first) == (NOON + HOUR, NOON + 2 * HOUR), "a slot at this instant has come"


def test_ranges_leave_out_what_has_a_row() -> None:
    tick = timedelta.resolution
    assert list(around((), NOON, NOON + HOUR)) == [(NOON, NOON + HOUR)]
    assert list(around((NOON, NOON + HOUR), NOON, NOON + HOUR)) == [(NOON + tick, NOON + HOUR - tick)]
    assert list(around((NOON + HOUR,), NOON, NOON)) == [(NOON, NOON)]
    assert first_free_slot(HOURLY, after=NOON, taken={NOON + HOUR, NOON + 2 * HOUR}) == NOON + 3 * HOUR


# -- jobs --------------------------------------------------------------------------------------


def job(schedule: Schedule = HOURLY, **kwargs: object) -> Job:
    spec = JobSpec(id="j", name="j", schedule=schedule, runner="r")
    facts = FileFacts(
        spec=spec, generation=1, path="j.yaml", line=1, revision=None, dirty=None, file_sha256="", task_sha256=None,
        activated_at=BOOTED,
    )  # fmt: skip
    found = Job(id="j", file=facts, next_run_at=NOON + HOUR, created_at=BOOTED, created_by="t", updated_at=BOOTED)
    return replace(found, **kwargs)  # type: ignore[arg-type]


def test_a_job_that_is_right_stays_as_it_is() -> None:
    assert righted(job(), now=NOON + MINUTE, taken=()).changes == {}
    late = job(next_run_at=NOON - 5 * HOUR, last_slot=NOON - 6 * HOUR)
    assert righted(late, now=NOON + MINUTE, taken=()).changes == {}, "an outage is none of its business"


def test_a_cursor_beyond_a_slot_without_a_row_comes_back_and_stops_at_none_that_ran() -> None:
    far = job(next_run_at=NOON + 9 * HOUR)
    assert righted(far, now=NOON + MINUTE, taken=()).next_run_at == NOON + HOUR
    assert righted(far, now=NOON + MINUTE, taken=(NOON + HOUR,)).next_run_at == NOON + 2 * HOUR
    at = Schedule(timezone="UTC", at=NOON + HOUR)
    assert righted(job(at, next_run_at=None), now=NOON, taken=()).next_run_at == NOON + HOUR, "it has not run"
    assert righted(job(at, next_run_at=None), now=NOON, taken=(NOON + HOUR,)).changes == {}, "it has"
    off = replace(far, file=replace(far.file, archived_at=NOON), next_run_at=None)
    assert righted(off, now=NOON, taken=()).next_run_at is None


def test_nothing_has_happened_in_the_future() -> None:
    later = NOON + 5 * HOUR
    found = righted(
        replace(
            job(pause=Pause(at=later), runtime=RuntimeFacts(stopped_at=later)),
            file=replace(job().file, activated_at=later),
        ),
        now=NOON,
        taken=(),
    )
    assert (found.activated_at, found.paused_at, found.stopped_at) == (NOON, NOON, NOON)


def test_a_job_made_by_a_clock_that_was_never_set_owes_nothing_for_the_years_since() -> None:
    old = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
    found = righted(
        replace(job(next_run_at=old + HOUR), file=replace(job().file, activated_at=old)), now=NOON, taken=()
    )
    assert (found.activated_at, found.next_run_at) == (NOON, NOON + HOUR)


def zone_job(cursor: datetime, last: datetime) -> Job:
    """At nine every day in Berlin, UTC+1; the cursor was computed by other rules."""
    return job(Schedule(timezone="Europe/Berlin", cron="0 9 * * *"), next_run_at=cursor, last_slot=last)


@pytest.mark.parametrize("off", [-2, -1, 1, 2])
def test_new_rules_of_a_zone_move_a_cursor_to_the_slot_that_stands_for_it(off: int) -> None:
    eight = datetime(2026, 3, 2, 8, tzinfo=UTC)
    old = zone_job(eight + DAY + off * HOUR, eight + off * HOUR)
    assert righted(old, now=eight + 12 * HOUR, taken=()).next_run_at == eight + DAY
    late = righted(old, now=eight + 3 * DAY, taken=())
    assert late.next_run_at == eight + DAY, "what an outage has left is found by the new rules too"


def test_new_rules_never_go_back_before_what_is_covered_or_before_a_stopped_job_was_started_anew() -> None:
    eight = datetime(2026, 3, 2, 8, tzinfo=UTC)
    old = zone_job(eight + HOUR, eight + timedelta(seconds=1))
    assert righted(old, now=eight + 30 * MINUTE, taken=()).next_run_at == eight + DAY
    old = zone_job(eight + HOUR, eight - DAY)
    assert righted(old, now=eight + 30 * MINUTE, taken=()).next_run_at == eight
    assert righted(old, now=eight + 30 * MINUTE, taken=(), since=lambda: eight).next_run_at == eight + DAY


def test_slots_on_both_sides_of_one_that_ran_are_due_and_it_is_not() -> None:
    ran = NOON + 2 * HOUR
    behind = job(next_run_at=NOON + HOUR, taken=(ran,))
    first = due(behind, now=ran + HOUR + MINUTE / 2, since=BOOTED)
    assert first is not None
    assert (first.slot, [(s.first, s.last) for s in first.skips]) == (None, [(NOON + HOUR, NOON + HOUR)])
    assert first.next_run_at == ran + HOUR
    second = due(replace(behind, next_run_at=first.next_run_at), now=ran + HOUR + MINUTE / 2, since=BOOTED)
    assert second is not None
    assert (second.slot, second.skips) == (ran + HOUR, ())


def test_lives_that_a_later_one_contradicts_were_noted_by_a_clock_that_has_gone_back_since() -> None:
    def life(began: int, seen: int) -> Life:
        return Life(owner="1-a", began=NOON + timedelta(hours=began), seen=NOON + timedelta(hours=seen))

    assert true_lives([life(0, 1), life(2, 3)], NOON + timedelta(hours=4)) == [life(0, 1), life(2, 3)]
    assert true_lives([life(0, 1), life(50, 51), life(2, 3)], NOON + timedelta(hours=4)) == [life(0, 1), life(2, 3)]
    assert true_lives([life(0, 51), life(2, 3)], NOON + timedelta(hours=4)) == [life(0, 2), life(2, 3)]
    assert true_lives([life(0, 1), life(50, 51)], NOON + timedelta(hours=4)) == [life(0, 1)], "nobody is there by now"
