from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest

from scheduler.core.past.figures import Difference, Figure, Measured, differences, figures
from scheduler.core.values.runs import RunStatus
from scheduler.core.values.usage import EndClass

OK, FAILED = RunStatus.SUCCEEDED, RunStatus.FAILED


def runs(*costs: str | None, currency: str = "USD", status: RunStatus = OK) -> list[Measured]:
    return [
        Measured(
            status=status, duration_ms=1000 * at, tokens=10 * at, cost=None if cost is None else Decimal(cost),
            currency=None if cost is None else currency,
        )
        for at, cost in enumerate(costs, 1)
    ]  # fmt: skip


def test_medians_are_of_the_runs_that_know_the_number() -> None:
    found = figures(runs("1", None, "3", "10", None))
    assert found.cost == Figure(value=Decimal(3), n=3)
    assert (found.tokens, found.duration_ms) == (Figure(value=Decimal(30), n=5), Figure(value=Decimal(3000), n=5))
    assert (found.n, found.enough, found.cost.enough) == (5, True, False)
    assert found.success == Figure(value=Decimal(1), n=5)


@pytest.mark.parametrize(("took", "slow"), [([7], 7), (range(1, 20), 19), (range(1, 21), 19), (range(1, 101), 95)])
def test_19_of_20_runs_take_no_longer_than_the_slow_ones(took: Sequence[int], slow: int) -> None:
    found = figures(Measured(status=OK, duration_ms=each) for each in took)
    assert found.slow_ms == Figure(value=Decimal(slow), n=len(took))
    twice = figures(Measured(status=OK, duration_ms=each, runs=2) for each in took)
    assert twice.slow_ms == Figure(value=Decimal(slow), n=2 * len(took))


def test_nothing_known_is_no_figure() -> None:
    assert figures([]).success is None
    assert figures(runs(None, None)).cost is None
    assert figures([*runs("1"), *runs("1", currency="EUR")]).cost is None


@pytest.mark.parametrize("end", [EndClass.QUOTA, EndClass.CREDENTIAL, EndClass.TRANSIENT, EndClass.BUDGET])
def test_an_end_that_is_not_the_texts_fault_does_not_count(end: EndClass) -> None:
    found = figures([*runs("1", "2"), Measured(status=FAILED, end_class=end, cost=Decimal(50), currency="USD")])
    assert (found.n, found.success) == (2, Figure(value=Decimal(1), n=2))
    assert found.cost == Figure(value=Decimal("1.5"), n=2)


def test_failures_and_timeouts_count_and_what_somebody_ended_does_not() -> None:
    found = figures([
        *runs("1", "1"), *runs("1", status=FAILED), *runs("1", status=RunStatus.TIMED_OUT),
        *runs("9", status=RunStatus.CANCELLED), *runs("9", status=RunStatus.SKIPPED),
    ])  # fmt: skip
    assert found.success == Figure(value=Decimal("0.5"), n=4)


def test_the_change_against_the_version_before() -> None:
    before, after = figures(runs(*["2"] * 5)), figures(runs(*["3"] * 6))
    found = differences(before, after)["cost"]
    assert found == Difference(before=Decimal(2), after=Decimal(3))
    assert (found.by, found.share) == (Decimal(1), Decimal("0.5"))
    assert Difference(before=Decimal(0), after=Decimal(1)).share is None


def test_too_few_runs_say_nothing_of_a_change() -> None:
    few, many, euros = figures(runs(*["2"] * 4)), figures(runs(*["2"] * 5)), figures(runs(*["2"] * 5, currency="EUR"))
    assert set(differences(few, many).values()) == {None}
    assert set(differences(many, few).values()) == {None}
    assert set(differences(None, many).values()) == {None}
    changed = differences(many, euros)
    assert changed["cost"] is None
    assert changed["tokens"] is not None
