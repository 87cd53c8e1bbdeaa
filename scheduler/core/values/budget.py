"""What jobs may spend. Amounts are exact, and in the one currency of the root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from scheduler.core.values.codec import Stored, unsaid


@dataclass(frozen=True, slots=True, kw_only=True)
class RootBudget(Stored):
    """What all jobs of the root together may spend. None: no limit."""

    per_day: Decimal | None = unsaid(None)
    per_month: Decimal | None = unsaid(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget(Stored):
    """What one job may spend. None: no limit."""

    per_run: Decimal  # with all its attempts; 0 for a program that spends nothing
    per_day: Decimal | None = None
    per_month: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation(Stored):
    """What a run was claimed with: its per_run."""

    amount: Decimal
    currency: str


def wider_budget(before: Sequence[Decimal | None], after: Sequence[Decimal | None]) -> bool:
    """True if one of these limits is raised or removed."""
    return any(old is not None and (new is None or new > old) for old, new in zip(before, after, strict=True))


def limits_of(budget: Budget | RootBudget | None) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    """per_run, per_day, per_month."""
    if budget is None:
        return None, None, None
    return getattr(budget, "per_run", None), budget.per_day, budget.per_month


def amount_text(amount: Decimal, currency: str) -> str:
    """An amount for people, exact: 2.50 USD, 0.0125 USD."""
    digits = f"{amount.normalize():f}"
    whole, _, part = digits.partition(".")
    return f"{whole}.{part:0<2} {currency}"
