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


class SpentRowJson(TypedDict):
    """What a job, or the root as `@root`, has spent in one currency."""

    job_id: str
    currency: str
    today: str  # in the zone of scheduler.yaml; a run of unknown cost counts with its per_run
    this_month: str
    runs: int  # this month
    limits: list[LimitJson]  # of the job alone


class PartJson(TypedDict):
    """Runs that have something in common."""

    name: str | None
    currency: str | None  # null: these runs are unpriced, and no part of the others
    amount: str
    runs: int


class VersionPartJson(PartJson):
    job_id: str


class MoverJson(TypedDict):
    """The median cost of a run before and with the newest text of a job."""

    job_id: str
    currency: str
    before: str
    before_runs: int
    after: str
    after_runs: int
    old_sha256: str
    new_sha256: str
    share: float  # 0.5 for half more


class SpendJson(TypedDict):
    at: Instant
    root: list[SpentRowJson]  # one for each currency
    limits: list[LimitJson]  # of the root
    jobs: list[SpentRowJson]  # the dearest of this month first
    more: bool  # than are shown
    versions: list[VersionPartJson]  # these three: of the newest runs of the jobs shown
    models: list[PartJson]
    runners: list[PartJson]
    unpriced: dict[str, int]  # by job, of the newest runs of the root
    movers: list[MoverJson]  # the largest change first
