"""What the runs of one text cost and brought, and how that compares with the text before."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate

from scheduler.core.values.runs import RunStatus
from scheduler.core.values.usage import EndClass

ENOUGH_RUNS = 5  # with fewer, a median is an accident

_SUCCESSES = (RunStatus.SUCCEEDED,)
_JUDGED = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.TIMED_OUT)  # others were ended by somebody
# Ends that say nothing about the text.
_NOBODYS_FAULT = (EndClass.QUOTA, EndClass.CREDENTIAL, EndClass.TRANSIENT, EndClass.BUDGET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Runs of a text that ended alike. None is unknown."""

    status: RunStatus
    end_class: EndClass | None = None
    duration_ms: int | None = None
    cost: Decimal | None = None
    currency: str | None = None
    tokens: int | None = None
    runs: int = 1

    @property
    def counts(self) -> bool:
        return self.status in _JUDGED and self.end_class not in _NOBODYS_FAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A median and how many runs it is of, or a rate and of how many."""

    value: Decimal
    n: int

    @property
    def enough(self) -> bool:
        return self.n >= ENOUGH_RUNS


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of the runs that say something about the text. A figure of no runs is None."""

    n: int
    cost: Figure | None  # median, in `currency`
    currency: str | None
    tokens: Figure | None  # median
    duration_ms: Figure | None  # median
    slow_ms: Figure | None = None  # the 95th percentile of the durations
    success: Figure | None  # share of successes, 0 to 1

    @property
    def enough(self) -> bool:
        """False if there are too few runs to say."""
        return self.n >= ENOUGH_RUNS


def figures(runs: Iterable[Measured]) -> Figures:
    """Each median is of the runs that know the number: an unknown cost is none of 0.

    Runs of more than one currency have no common cost.
    """
    found = [each for each in runs if each.counts]
    currencies = {each.currency for each in found if each.cost is not None}
    one = len(currencies) == 1
    n, successes = sum(each.runs for each in found), sum(each.runs for each in found if each.status in _SUCCESSES)
    return Figures(
        n=n,
        cost=_median_of((each.cost, each.runs) for each in found) if one else None,
        currency=currencies.pop() if one else None,
        tokens=_median_of((each.tokens, each.runs) for each in found),
        duration_ms=_median_of((each.duration_ms, each.runs) for each in found),
        slow_ms=_slow_of((each.duration_ms, each.runs) for each in found),
        success=Figure(value=Decimal(successes) / n, n=n) if n else None,
    )


def _median_of(counted: Iterable[tuple[Decimal | int | None, int]]) -> Figure | None:
    """Of numbers, each given with how often it occurs."""
    ordered = sorted((number, times) for number, times in counted if number is not None)
    ends = list(accumulate(times for _, times in ordered))
    if not ends:
        return None
    middle = [Decimal(ordered[bisect_right(ends, at)][0]) for at in ((ends[-1] - 1) // 2, ends[-1] // 2)]
    return Figure(value=sum(middle, Decimal(0)) / 2, n=ends[-1])


def _slow_of(counted: Iterable[tuple[int | None, int]]) -> Figure | None:
    """The smallest number that 19 of 20 do not exceed."""
    ordered = sorted((number, times) for number, times in counted if number is not None)
    ends = list(accumulate(times for _, times in ordered))
    if not ends:
        return None
    return Figure(value=Decimal(ordered[bisect_left(ends, -(-19 * ends[-1] // 20))][0]), n=ends[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How a figure changed."""

    before: Decimal
    after: Decimal

    @property
    def by(self) -> Decimal:
        return self.after - self.before

    @property
    def share(self) -> Decimal | None:
        """The change as a share of what it was: 0.5 for half more. None if that was 0."""
        return self.by / self.before if self.before else None


def differences(before: Figures | None, after: Figures) -> Mapping[str, Difference | None]:
    """The change of each figure against the version before. None if there are too few runs to say, on either side."""
    names = ("cost", "tokens", "duration_ms", "success")
    found: dict[str, Difference | None] = dict.fromkeys(names)
    for name in names if before is not None else ():
        old, new = getattr(before, name), getattr(after, name)
        same_money = name != "cost" or (before is not None and before.currency == after.currency)
        if old is not None and new is not None and old.enough and new.enough and same_money:
            found[name] = Difference(before=old.value, after=new.value)
    return found
