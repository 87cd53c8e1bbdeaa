"""Who of those that wait starts next: fair between jobs, one after another within one, and nobody is forgotten."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.due.waiting import OUTAGE, PACE, Waiting, WaitingRun
from scheduler.core.values.runs import Run, RunStatus, Trigger

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def entry(job_id: str, n: int, minutes: float = 0, *, paced: bool = False) -> WaitingRun:
    run = Run(
        job_id=job_id,
        n=n,
        trigger=Trigger.CATCH_UP,
        status=RunStatus.QUEUED,
        reason=OUTAGE if paced else None,
        fire_time=NOON + minutes * MINUTE,
        requested_at=NOON,
        generation=1,
    )
    return WaitingRun(run=run)


def line(*entries: WaitingRun, alone: bool = True) -> Waiting:
    waiting = Waiting(alone=lambda _: alone)
    for each in entries:
        waiting.add(each)
    return waiting


def started(waiting: Waiting, now: datetime = NOON) -> list[str]:
    found = []
    while (each := waiting.next(now)) is not None:
        found.append(each[0].run.id)
    return found


def test_the_oldest_slot_starts_first_whoever_came_first() -> None:
    assert started(line(entry("a", 1, 5), entry("b", 1, 3), entry("c", 1, 4))) == ["b:1", "c:1", "a:1"]


def test_a_job_that_has_many_waiting_takes_no_more_than_its_turn() -> None:
    waiting = line(
        *(entry("many", n, n) for n in range(1, 5)), entry("other", 1, 30), entry("third", 1, 40), alone=False
    )
    assert started(waiting) == ["many:1", "other:1", "third:1", "many:2", "many:3", "many:4"]


def test_who_found_no_place_in_time_comes_first_at_the_next_instant() -> None:
    """Nine jobs at each instant, and time for six of them."""
    waiting, ran = line(), Counter[str]()
    for instant in range(3):
        at = NOON + instant * MINUTE
        for job in "abcdefghi":
            waiting.add(entry(job, instant, instant))
        for _ in range(2):
            found = [waiting.next(at) for _ in range(3)]
            for each in found:
                assert each is not None
                ran[each[0].run.job_id] += 1
                waiting.left(each[0].run.job_id, now=at)
        for job in "abcdefghi":
            waiting.pop(f"{job}:{instant}", now=at)
    assert set(ran.values()) == {2}


def test_runs_of_one_job_that_exclude_each_other_start_one_after_another() -> None:
    waiting = line(entry("a", 1, 1), entry("a", 2, 2), entry("b", 1, 3))
    assert started(waiting) == ["a:1", "b:1"]
    waiting.left("a", now=NOON + MINUTE)
    assert waiting.next(NOON + 3 * MINUTE) == (entry("a", 2, 2), NOON + 2 * MINUTE)
    waiting.add(entry("a", 3, 3))
    waiting.left("a", now=NOON + 7 * MINUTE)
    assert waiting.next(NOON + 9 * MINUTE) == (entry("a", 3, 3), NOON + 7 * MINUTE), "until then it waited for its own"


def test_while_one_is_put_off_no_other_of_its_job_starts() -> None:
    waiting = line(entry("a", 2, 2))
    waiting.put_off(entry("a", 1, 1), NOON + MINUTE)
    assert (started(waiting), len(waiting), waiting.later) == ([], 2, 1)
    assert waiting.next_at(free=[False]) == NOON + MINUTE
    waiting.release(NOON + MINUTE - timedelta(microseconds=1))
    assert started(waiting) == []
    waiting.release(NOON + MINUTE)
    assert (started(waiting), waiting.next_at(free=[False])) == (["a:1"], None)


def test_it_moves_as_long_as_one_may_start_though_nothing_else_happens() -> None:
    waiting = line(entry("a", 2, 2), entry("b", 1, 1, paced=True), entry("b", 2, 2, paced=True))
    waiting.put_off(entry("a", 1, 1), NOON + MINUTE)
    assert waiting.moves
    assert started(waiting) == ["b:1"]
    waiting.left("b", now=NOON)
    assert waiting.moves, "a second later"
    assert started(waiting, NOON + PACE) == ["b:2"]
    assert not waiting.moves, "its job waits for a run that is to be tried again"
    assert len(waiting) == 2


def test_a_definition_that_has_changed_meanwhile_counts() -> None:
    apart = {"a"}
    waiting = Waiting(alone=lambda job_id: job_id in apart)
    for n in (1, 2):
        waiting.add(entry("a", n, n))
    assert started(waiting) == ["a:1"]
    apart.clear()
    waiting.add(entry("a", 3, 3))
    found = waiting.next(NOON)
    assert found is not None
    apart.add("a")
    assert started(waiting) == []


def test_what_follows_an_outage_starts_a_second_apart_and_holds_nobody_else_back() -> None:
    waiting = line(entry("a", 1, 1, paced=True), entry("b", 1, 2, paced=True), entry("c", 1, 30))
    assert started(waiting) == ["a:1", "c:1"]
    assert waiting.next_at(free=[False]) == NOON + PACE
    assert waiting.next_at(free=[]) is None, "the end of a run is what it waits for"
    assert started(waiting, NOON + PACE - timedelta(microseconds=1)) == []
    assert started(waiting, NOON + PACE) == ["b:1"]
    assert waiting.next_at(free=[False]) is None


def test_a_clock_that_goes_back_stops_nobody() -> None:
    waiting = line(entry("a", 1, 1, paced=True), entry("b", 1, 2, paced=True))
    assert started(waiting, NOON + timedelta(hours=1)) == ["a:1"]
    assert started(waiting, NOON) == ["b:1"]


def test_who_is_taken_out_is_not_started_and_its_job_goes_on() -> None:
    waiting = line(entry("a", 1, 1), entry("a", 2, 2))
    waiting.put_off(entry("b", 1, 1), NOON + MINUTE)
    waiting.add(entry("b", 2, 2))
    assert waiting.pop("a:1", now=NOON) == entry("a", 1, 1)
    assert waiting.pop("a:1", now=NOON) is None
    assert waiting.pop("b:1", now=NOON) == entry("b", 1, 1)
    waiting.release(NOON + MINUTE)
    assert ("a:1" in waiting, "a:2" in waiting) == (False, True)
    assert started(waiting) == ["a:2", "b:2"]
    assert (len(waiting), waiting.drain()) == (0, [])


moves = st.lists(
    st.tuples(
        st.sampled_from(["add", "put off", "next", "left", "pop", "release"]),
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 9),
        st.booleans(),
    ),
    max_size=60,
)


@given(moves, st.sets(st.sampled_from(["a", "b", "c"])))
def test_whatever_happens_each_run_starts_once_or_is_taken_out_and_none_beside_its_like(
    steps: list[tuple[str, str, int, bool]], apart: set[str]
) -> None:
    waiting = Waiting(alone=lambda job_id: job_id in apart)
    numbers: Counter[str] = Counter()
    running: Counter[str] = Counter()
    here: set[str] = set()
    now = NOON
    for what, job_id, number, paced in steps:
        now += timedelta(milliseconds=300)
        match what:
            case "add" | "put off":
                numbers[job_id] += 1
                each = entry(job_id, numbers[job_id], number, paced=paced)
                here.add(each.run.id)
                if what == "add":
                    waiting.add(each)
                else:
                    waiting.put_off(each, now + timedelta(seconds=number))
            case "next":
                found = waiting.next(now)
                if found is not None:
                    started_id = found[0].run.job_id
                    assert found[0].run.id in here
                    here.remove(found[0].run.id)
                    assert not (started_id in apart and running[started_id])
                    running[started_id] += 1
            case "left" if running[job_id]:
                running[job_id] -= 1
                waiting.left(job_id, now=now)
            case "pop":
                run_id = f"{job_id}:{number}"
                assert (waiting.pop(run_id, now=now) is not None) == (run_id in here)
                here.discard(run_id)
            case "release":
                waiting.release(now)
        assert len(waiting) == len(here)
    for _ in range(2 * len(here)):  # everybody's turn comes
        now += timedelta(seconds=10)
        waiting.release(now)
        for job_id in "abc":
            while running[job_id]:
                running[job_id] -= 1
                waiting.left(job_id, now=now)
        found = waiting.next(now)
        if found is not None:
            running[found[0].run.job_id] += 1
            here.remove(found[0].run.id)
    assert here == set()
