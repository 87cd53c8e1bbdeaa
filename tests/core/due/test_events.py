"""What is news: streaks are told when they begin, daily, and when they end; what flaps once an hour."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.due.events import (
    AGAIN,
    FLAPPING,
    Asked,
    News,
    Streak,
    gone_well,
    gone_wrong,
    news_of_failure,
    news_of_skip,
    news_of_start,
    news_of_success,
    steady,
)
from scheduler.core.values.channels import DeliverOn
from scheduler.core.values.events import Event, EventKind, Phase

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BOTH = Asked(deliver=("owner",), on=(DeliverOn.FAILURE, DeliverOn.RECOVERY))


def event(kind: EventKind, at: datetime, n: int = 1) -> Event:
    return Event(key=f"run/a/{n}/{kind}", at=at, kind=kind, job_id="a", run_n=n)


def fails(before: Streak | None, at: datetime, asked: Asked = BOTH, **more: bool) -> tuple[Streak, News]:
    given = {"stopped": False, "watched": False, **more}
    streak, (news,) = news_of_failure(asked, before, event(EventKind.FAILURE, at), **given)
    return streak, news


@given(
    st.lists(
        st.tuples(st.booleans(), st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3))),
        min_size=1,
        max_size=60,
    )
)
def test_every_streak_is_told_daily_and_its_end_if_it_was_told(history: list[tuple[bool, timedelta]]) -> None:
    streak: Streak | None = None
    at, told, heard_at = NOON, list[tuple[datetime, str, str | None]](), dict[str, datetime]()
    for n, (failed, later) in enumerate(history, start=1):
        at += later
        if failed:
            streak, news = news_of_failure(BOTH, streak, event(EventKind.FAILURE, at, n), stopped=False, watched=False)
        else:
            streak_after, news = news_of_success(BOTH, streak, event(EventKind.SUCCESS, at, n))
            streak = streak_after or streak
        for each in news:
            if each.channels:
                told.append((at, each.event.kind.value, each.event.streak))
        if failed:
            assert streak is not None
            flaps = streak.flapping is not None
            newest = [when for when, kind, _ in told if kind == ("flapping" if flaps else "failure")]
            assert newest, "something has been said about it"
            assert at - newest[-1] < (FLAPPING if flaps else AGAIN) or newest[-1] == at
    for when, kind, of in told:
        heard_at.setdefault(f"{kind}{of}", when)
    recoveries = [of for _, kind, of in told if kind == "recovery"]
    assert len(recoveries) == len(set(recoveries)), "one end for each streak"
    hours = [when for when, kind, _ in told if kind == "flapping"]
    assert all(later - earlier >= HOUR for earlier, later in pairwise(hours))


def test_a_streak_is_told_once_a_day_and_says_how_often_and_since_when() -> None:
    streak, first = fails(None, NOON)
    assert (first.event.phase, first.channels, first.audited) == (Phase.BEGINS, ("owner",), True)
    streak, second = fails(streak, NOON + HOUR)
    assert (second.channels, second.audited) == ((), False)
    streak, third = fails(streak, NOON + AGAIN)
    assert (third.event.phase, third.event.times, third.event.since) == (Phase.LASTS, 3, NOON)
    assert third.event.streak == first.event.key


def test_what_a_clock_that_was_ahead_has_told_is_told_again() -> None:
    streak, _ = fails(None, NOON + timedelta(days=400))
    _, again = fails(streak, NOON)
    assert again.event.phase is Phase.LASTS
    assert again.channels == ("owner",)


def test_a_job_that_alternates_each_minute_sends_few_messages() -> None:
    streak: Streak | None = None
    kinds: list[str] = []
    for minute in range(180):
        at = NOON + minute * MINUTE
        if minute % 2 == 0:
            streak, news = fails(streak, at)
            kinds += [news.event.kind.value] * len(news.channels)
            if minute == 2:
                assert (news.event.since, news.event.times) == (NOON, 3), "changes, and not failures"
        else:
            after, all_news = news_of_success(BOTH, streak, event(EventKind.SUCCESS, at))
            streak = after or streak
            kinds += [each.event.kind.value for each in all_news if each.channels]
    assert kinds == ["failure", "recovery", "flapping", "flapping", "flapping"]
    assert streak is not None
    assert steady(streak, at=NOON + 200 * MINUTE) is None
    calm = steady(streak, at=NOON + 300 * MINUTE)
    assert calm is not None
    assert (calm.phase, calm.flaps, calm.streak.flapping) == (Phase.ENDS, True, None)


def test_the_failure_that_stops_its_job_is_told_even_if_the_streak_was_told_today() -> None:
    streak, _ = fails(None, NOON)
    _, stopped = fails(streak, NOON + MINUTE, stopped=True)
    assert (stopped.event.kind, stopped.channels) == (EventKind.STOPPED, ("owner",))


def test_whoever_wants_every_failure_gets_each_but_the_audit_does_not() -> None:
    every = Asked(deliver=("owner",), on=(DeliverOn.EVERY_FAILURE,))
    streak, first = fails(None, NOON, every)
    _, second = fails(streak, NOON + MINUTE, every)
    assert (first.channels, second.channels, second.audited) == (("owner",), ("owner",), False)


def test_a_person_who_waits_for_a_run_is_told_nothing_but_the_streak_goes_on() -> None:
    streak, news = fails(None, NOON, watched=True)
    assert (news.channels, streak.open) == ((), True)


def test_pings_get_every_end_and_the_start() -> None:
    asked = Asked(ping="https://hc.example.com/x")
    streak, failed = fails(None, NOON, asked)
    _, again = fails(streak, NOON + MINUTE, asked)
    assert failed.channels == again.channels == ("ping:a",)
    (began,) = news_of_start(asked, event(EventKind.STARTED, NOON))
    assert began.channels == ("ping:a",)
    assert news_of_start(BOTH, event(EventKind.STARTED, NOON)) == []


def test_a_result_says_itself_that_it_is_the_first_after_failures() -> None:
    asked = replace(BOTH, on=(DeliverOn.SUCCESS, DeliverOn.RECOVERY))
    streak, _ = fails(None, NOON, asked)
    _, news = news_of_success(asked, streak, event(EventKind.SUCCESS, NOON + HOUR))
    (told,) = [each for each in news if each.channels]
    assert (told.event.kind, told.event.phase) == (EventKind.SUCCESS, Phase.ENDS)


@pytest.mark.parametrize(
    ("reason", "told"),
    [("overlap", True), ("missed", True), ("superseded", True), ("capacity", True), ("paused", False),
     ("elsewhere", False), ("nothing_to_do", False)],
)  # fmt: skip
def test_which_skips_are_told(reason: str, told: bool) -> None:
    asked = Asked(deliver=("owner",), on=(DeliverOn.SKIP,))
    assert bool(news_of_skip(asked, event(EventKind.SKIP, NOON), reason)) is told


def test_a_new_part_of_what_is_wrong_is_news() -> None:
    first = gone_wrong(None, key="root/problems", event="e", at=NOON, members=["a"])
    same = gone_wrong(first.streak, key="root/problems", event="f", at=NOON + MINUTE, members=["a"])
    more = gone_wrong(same.streak, key="root/problems", event="g", at=NOON + 2 * MINUTE, members=["a", "b"])
    assert (first.phase, same.phase, more.phase) == (Phase.BEGINS, None, Phase.LASTS)
    ended = gone_well(more.streak, at=NOON + 3 * MINUTE)
    assert ended is not None
    assert ended.phase is Phase.ENDS
    assert gone_well(ended.streak, at=NOON + HOUR) is None


def test_a_streak_survives_the_database() -> None:
    streak, _ = fails(None, NOON)
    assert Streak.from_json(streak.to_json()) == streak


def test_a_failure_that_somebody_watched_is_no_edge_and_keeps_no_later_one_from_being_told() -> None:
    streak, news = fails(None, NOON)
    assert news.channels
    streak, _ = news_of_success(BOTH, streak, event(EventKind.SUCCESS, NOON + MINUTE, 2))  # type: ignore[assignment]
    streak, news = fails(streak, NOON + 2 * MINUTE, watched=True)
    assert not news.channels
    assert streak.flapping is None
    again, news = fails(streak, NOON + 3 * MINUTE)
    assert (news.channels, news.event.kind, again.flapping) == (("owner",), EventKind.FAILURE, None)
    after, (told, _) = news_of_success(BOTH, streak, event(EventKind.SUCCESS, NOON + 3 * MINUTE, 3))
    assert after is not None
    assert (told.event.kind, told.channels) == (EventKind.FLAPPING, ("owner",)), "three edges that were to be heard"
