"""Budgets: days and months on the wall, what is refused and why, and what jobs can spend at most."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.due.budgets import (
    Period,
    Standing,
    affords_retry,
    day_of,
    left_for_attempt,
    month_of,
    refusal_text,
    refusing,
)
from scheduler.core.values.budget import Budget, Reservation, amount_text
from scheduler.core.values.runs import Attempt, Ending, RunStatus
from scheduler.core.values.usage import AgentResult, Cost, CostBasis, EndClass, ResultFormat

NOON = datetime(2026, 12, 2, 12, tzinfo=UTC)
ZONES = ["UTC", *sorted(name for name in available_timezones() if "/" in name)]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("zone", "now", "start", "end"),
    [
        ("UTC", "2026-12-02T00:00:00Z", "2026-12-02T00:00:00Z", "2026-12-03T00:00:00Z"),
        ("Europe/Berlin", "2026-12-01T23:30:00Z", "2026-12-02T00:00:00+01:00", "2026-12-03T00:00:00+01:00"),
        ("Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        ("Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"),
        ("Africa/Cairo", "2026-04-24T12:00:00Z", "2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"),
        ("America/Havana", "2026-11-01T12:00:00Z", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"),
        ("Asia/Kathmandu", "2026-12-02T18:14:59Z", "2026-12-02T00:00:00+05:45", "2026-12-03T00:00:00+05:45"),
    ],
    ids=["utc", "winter", "23 hours", "25 hours", "no midnight", "two midnights", "a quarter of an hour"],
)
def test_a_day_is_one_of_the_zone(zone: str, now: str, start: str, end: str) -> None:
    assert day_of(at(now), zone) == Period(at(start), at(end))


def test_a_month_is_one_of_the_calendar() -> None:
    new_year = Period(at("2026-12-01T00:00:00+01:00"), at("2027-01-01T00:00:00+01:00"))
    assert month_of(at("2026-12-31T22:59:59Z"), "Europe/Berlin") == new_year
    assert month_of(new_year.end, "Europe/Berlin").start == new_year.end
    assert month_of(at("2028-02-29T12:00:00Z"), "UTC").end == at("2028-03-01T00:00:00Z")


@given(st.integers(0, 4 * 365 * 86_400), st.sampled_from(ZONES))
def test_days_and_months_cover_each_instant_once_and_begin_with_a_quarter_of_an_hour(seconds: int, zone: str) -> None:
    now = NOON + timedelta(seconds=seconds)
    for period_of in (day_of, month_of):
        found = period_of(now, zone)
        assert found.start <= now < found.end
        assert period_of(found.end - timedelta(microseconds=1), zone) == found
        assert period_of(found.end, zone).start == found.end, "no gap, no overlap"
        for edge in (found.start, found.end):  # sums are kept by quarter
            assert (edge.minute % 15, edge.second, edge.microsecond) == (0, 0, 0)


def standing(spent: str, reserved: str = "0", limit: str = "5", hours: int = 12, *, of_root: bool = False) -> Standing:
    return Standing(
        key="per_day",
        of_root=of_root,
        limit=Decimal(limit),
        spent=Decimal(spent),
        reserved=Decimal(reserved),
        frees_at=NOON + timedelta(hours=hours),
    )


def test_a_run_starts_if_it_could_spend_all_that_it_may() -> None:
    run = Decimal("0.5")
    assert refusing(run, [standing("4.50"), standing("0", "4.5")]) is None, "up to the limit itself"
    assert refusing(run, [standing("4.50", "0.000001")]) == standing("4.50", "0.000001")
    assert refusing(Decimal(0), [standing("7")]) is None, "a program that spends nothing harms no budget"
    assert refusing(run, [standing("6", limit="2")]) is not None, "a budget lowered below what was spent"


def test_of_several_limits_the_one_is_told_that_holds_longest() -> None:
    busy, over, month = standing("0", "5", hours=99), standing("5"), standing("5", hours=700, of_root=True)
    assert refusing(Decimal(1), [busy, over]) == over, "a run under way may end at any time"
    assert refusing(Decimal(1), [month, busy, over]) == month


def test_a_refusal_has_the_figures_and_when_it_frees() -> None:
    assert refusal_text(standing("4.7"), Decimal("0.5"), "EUR") == (
        "budget.per_day of the job is 5.00 EUR, 4.70 EUR spent; a run may spend 0.50 EUR:"
        " it frees at 2026-12-03T00:00:00Z"
    )
    assert refusal_text(standing("4", "0.75", of_root=True), Decimal("0.5"), "USD") == (
        "budget.per_day of scheduler.yaml is 5.00 USD, 4.00 USD spent and 0.75 USD reserved by runs under way;"
        " a run may spend 0.50 USD: it may free when a run under way ends, otherwise at 2026-12-03T00:00:00Z"
    )


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "0.00 USD"), ("2.5", "2.50 USD"), ("100", "100.00 USD"), ("0.0125", "0.0125 USD"), ("1E+2", "100.00 USD")],
)
def test_an_amount_is_told_exactly(amount: str, text: str) -> None:
    assert amount_text(Decimal(amount), "USD") == text


def cost(amount: str | None, currency: str = "USD") -> Cost | None:
    return None if amount is None else Cost(amount=Decimal(amount), currency=currency, basis=CostBasis.REPORTED)


def attempt(amount: str | None, n: int = 1, *, ran: bool = True) -> Attempt:
    ended = EndClass.TRANSIENT if ran else None
    return Attempt(n=n, status=RunStatus.FAILED, started_at=NOON, end_class=ended, cost=cost(amount))


def ending(amount: str | None, currency: str = "USD") -> Ending:
    agent = AgentResult(format=ResultFormat.CLAUDE, end_class=EndClass.TRANSIENT, cost=cost(amount, currency))
    return Ending(status=RunStatus.FAILED, exit_code=1, output_bytes=9, agent=agent)


HALF = Reservation(amount=Decimal("0.5"), currency="USD")


def test_an_attempt_gets_what_the_earlier_ones_have_left() -> None:
    budget = Budget(per_run=Decimal(1))
    assert left_for_attempt(None, None) is None
    assert left_for_attempt(None, budget) == 1
    assert left_for_attempt(HALF, budget) == Decimal("0.5"), "raised since it was claimed: the rest is not reserved"
    assert left_for_attempt(HALF, Budget(per_run=Decimal("0.2"))) == Decimal("0.2")
    assert left_for_attempt(HALF, budget, [attempt("0.1"), attempt("0.15", 2)]) == Decimal("0.25")
    assert left_for_attempt(HALF, budget, [attempt("0.7")]) == 0


def test_a_run_is_tried_again_only_with_something_left() -> None:
    assert affords_retry(None, [], ending(None)), "no budget"
    assert affords_retry(HALF, [], ending("0.49"))
    assert not affords_retry(HALF, [], ending("0.5"))
    assert not affords_retry(HALF, [attempt("0.3")], ending("0.2"))
    assert not affords_retry(HALF, [], ending(None)), "it may have spent all of it"
    assert not affords_retry(HALF, [attempt(None)], ending("0.1"))
    assert not affords_retry(HALF, [], ending("0.1", "EUR")), "unknown in the currency of the budget"
    assert affords_retry(replace(HALF, amount=Decimal(0)), [], ending(None)), "its program spends nothing"
    unstarted = Ending(status=RunStatus.FAILED, reason="runner_start_failed")
    assert affords_retry(HALF, [attempt(None, ran=False)], unstarted)
    assert not affords_retry(HALF, [attempt(None)], unstarted)


@dataclass
class Spender:
    """A job of the model: what was spent each day, and what its runs under way are claimed with."""

    budget: Budget
    spent: dict[int, Decimal]
    under_way: list[Decimal]


AMOUNTS = st.decimals(Decimal("0.01"), Decimal("2"), places=2)
STEPS = st.lists(
    st.tuples(st.sampled_from(["fire", "fire", "end", "end", "midnight"]), st.integers(0, 2), st.none() | AMOUNTS),
    max_size=60,
)


@given(AMOUNTS, AMOUNTS, STEPS)
def test_spending_exceeds_a_limit_by_no_more_than_runs_exceed_their_own(
    per_run: Decimal, more: Decimal, steps: list[tuple[str, int, Decimal | None]]
) -> None:
    limit = per_run + more
    jobs = [Spender(Budget(per_run=per_run * (n + 1) / 2, per_day=limit), {}, []) for n in range(3)]
    whole = limit * 2
    day, exceeded, refused = 0, dict[tuple[int, int], Decimal](), 0

    def standings(job: Spender) -> list[Standing]:
        held = [sum(each.under_way, Decimal(0)) for each in jobs]
        all_spent = sum((each.spent.get(day, Decimal(0)) for each in jobs), Decimal(0))
        own = standing(str(job.spent.get(day, Decimal(0))), str(held[jobs.index(job)]), str(limit))
        return [own, standing(str(all_spent), str(sum(held, Decimal(0))), str(whole), of_root=True)]

    for step, n, actual in steps:
        job = jobs[n]
        if step == "midnight":
            day += 1
        elif step == "fire":
            if refusing(job.budget.per_run, standings(job)) is None:
                job.under_way.append(job.budget.per_run)
            else:
                refused += 1
                tight = [each for each in standings(job) if each.refuses(job.budget.per_run)]
                assert all(each.spent + each.reserved + job.budget.per_run > each.limit for each in tight)
        elif job.under_way:
            claimed = job.under_way.pop(0)
            charged = claimed if actual is None else actual
            job.spent[day] = job.spent.get(day, Decimal(0)) + charged
            key = (n, day)
            exceeded[key] = exceeded.get(key, Decimal(0)) + max(Decimal(0), charged - claimed)
    for each_day in range(day + 1):
        for n, job in enumerate(jobs):
            assert job.spent.get(each_day, Decimal(0)) <= limit + exceeded.get((n, each_day), Decimal(0))
        all_spent = sum((job.spent.get(each_day, Decimal(0)) for job in jobs), Decimal(0))
        assert all_spent <= whole + sum((exceeded.get((n, each_day), Decimal(0)) for n in range(3)), Decimal(0))
