"""What was spent, by text, runner and model, and what a new text changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby

from scheduler.core.past.figures import Figure, Measured, figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """By one job, or `@root`, in one currency. A run of unknown cost counts with what was reserved for it."""

    job_id: str
    currency: str
    amount: Decimal
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentRun:
    """An ended run that has a cost, or whose program should have told one."""

    n: int
    task_sha256: str | None
    runner: str | None
    model: str | None  # the one that answered, else the one that was asked for
    measured: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Runs that have something in common. Only known costs add up."""

    name: str | None
    currency: str | None  # None: these runs are unpriced
    amount: Decimal
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mover:
    """The median cost of a run before and with the newest text of a job."""

    job_id: str
    currency: str
    before: Figure
    after: Figure
    old_sha256: str
    new_sha256: str

    @property
    def share(self) -> Decimal:
        """The change as a share of what it was: 0.5 for half more."""
        return (self.after.value - self.before.value) / self.before.value


def parts(runs: Iterable[SpentRun], of: Callable[[SpentRun], str | None]) -> list[Part]:
    """Sums by what `of` gives, the dearest first; unpriced runs apart."""
    found: dict[tuple[str | None, str | None], list[Decimal]] = {}
    for run in runs:
        cost = run.measured.cost
        key = of(run), None if cost is None else run.measured.currency
        found.setdefault(key, []).append(Decimal(0) if cost is None else cost)
    made = (
        Part(name=name, currency=currency, amount=sum(costs, Decimal(0)), runs=len(costs))
        for (name, currency), costs in found.items()
    )
    return sorted(made, key=lambda part: (part.currency is None, -part.amount, part.name or ""))


def mover(job_id: str, runs: Sequence[SpentRun]) -> Mover | None:
    """What the newest text has changed. None without two texts, with too few runs to say, or without a change.

    runs: newest first. A text that comes back counts from its return.
    """
    stretches = [(text, list(each)) for text, each in groupby(runs, key=lambda run: run.task_sha256)][:2]
    if len(stretches) < 2:
        return None
    (new_sha256, new), (old_sha256, old) = stretches
    after, before = (figures(run.measured for run in each) for each in (new, old))
    if new_sha256 is None or old_sha256 is None or after.cost is None or before.cost is None:
        return None
    if not (after.cost.enough and before.cost.enough) or after.currency != before.currency:
        return None
    if before.cost.value in (0, after.cost.value) or after.currency is None:
        return None
    return Mover(
        job_id=job_id,
        currency=after.currency,
        before=before.cost,
        after=after.cost,
        old_sha256=old_sha256,
        new_sha256=new_sha256,
    )
