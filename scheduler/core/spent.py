"""The JSON shapes about budgets, as types. Amounts are exact, as text.

Types only, as in `answers`.
"""

from __future__ import annotations

from typing_extensions import TypedDict

Instant = str  # as in `answers`


class BudgetJson(TypedDict):
    """Amounts are exact, as text."""

    per_run: str
    per_day: str | None
    per_month: str | None


class ReservationJson(TypedDict):
    """What a run was claimed with: its budget.per_run."""

    amount: str
    currency: str


class LimitJson(TypedDict):
    """A limit of a budget. Amounts are exact, as text."""

    key: str  # per_day or per_month
    of: str  # job or root
    limit: str
    spent: str  # a run of unknown cost counts with its per_run
    reserved: str  # by runs under way
    frees_at: Instant  # the end of the day or month


class SpendingJson(TypedDict):
    currency: str
    today: str  # of the job alone, in the zone of scheduler.yaml
    this_month: str
    reserved: str
    limits: list[LimitJson]
    refused: str | None  # why no run starts now
    frees_at: Instant | None
