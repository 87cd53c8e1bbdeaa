"""What jobs have spent and may still spend. Claims decide by it, in their own transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from sqlite3 import Connection, Row
from typing import Any, Literal

from scheduler.core.due.budgets import Period, Spending, Standing, day_of, month_of, refusal_text, refusing
from scheduler.core.values.budget import Budget, Reservation, RootBudget
from scheduler.core.values.settings import ROOT_JOB_ID, Settings
from scheduler.core.values.spec import JobSpec
from scheduler.ledger.agents import amount_of
from scheduler.ledger.rows import ACTIVE, stamp, to_settings

_RECENT = 100  # newest runs of a job among which known costs are looked for
_ENOUGH = 20  # known costs


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a run does not start."""

    message: str


@dataclass(frozen=True, slots=True)
class _Sum:
    """Money in the currency of the root, and runs for which none is known in it: each counts with a per_run."""

    amount: Decimal = Decimal(0)
    others: int = 0

    def counted(self, per_run: Decimal) -> Decimal:
        return self.amount + self.others * per_run


class Funds:
    """What can be spent at one moment, with what this transaction has claimed itself."""

    def __init__(self, sql: Connection, now: datetime) -> None:
        settings = to_settings(sql.execute("SELECT settings FROM root").fetchone()["settings"]) or Settings()
        self._sql, self._now = sql, now
        self._whole, self.currency, self._timezone = settings.budget, settings.currency, settings.timezone
        self._held: _Sum | None = None  # by all jobs
        self._periods: dict[str, Period] = {}
        self._spent: dict[str, _Sum] = {}  # by all jobs, by key of the limit

    def reserve(self, spec: JobSpec, *, gives_way: Iterable[int] = ()) -> Reservation | Refused | None:
        """What a run of this job is claimed with. None if neither the job nor the root has a budget.

        gives_way: the numbers of waiting runs of the job that are skipped for it.
        """
        budget = spec.budget
        if budget is None:
            if self._whole is None:
                return None
            return Refused("scheduler.yaml limits what all jobs spend, and the job has no budget.per_run")
        found = Reservation(amount=budget.per_run, currency=self.currency)
        limits = (budget.per_day, budget.per_month, self._whole)
        if not budget.per_run or limits == (None, None, None):
            return found
        freed = self._holding(spec.id, gives_way).counted(budget.per_run) if gives_way else Decimal(0)
        standings = [replace(each, reserved=each.reserved - freed) for each in self.standings(spec.id, budget)]
        if (refused := refusing(budget.per_run, standings)) is not None:
            return Refused(refusal_text(refused, budget.per_run, self.currency))
        if self._held is not None:
            self._held = replace(self._held, amount=self._held.amount + budget.per_run - freed)
        return found

    def standings(self, job_id: str | None, budget: Budget | None) -> list[Standing]:
        """How the limits of a job and of the root stand. Without a job, only those of the root."""
        per_run = Decimal(0) if budget is None else budget.per_run
        found: list[Standing] = []
        if job_id is not None and budget is not None and (budget.per_day or budget.per_month):
            held = self._holding(job_id).counted(per_run)
            for key, limit in _limits(budget):
                spent = self._spending(job_id, self._period(key)).counted(per_run)
                found.append(self._standing(key, limit, spent, held, of_root=False))
        if self._whole is not None:
            if self._held is None:
                self._held = self._holding()
            for key, limit in _limits(self._whole):
                if key not in self._spent:
                    self._spent[key] = self._spending(ROOT_JOB_ID, self._period(key))
                spent, held = self._spent[key].counted(per_run), self._held.counted(per_run)
                found.append(self._standing(key, limit, spent, held, of_root=True))
        return found

    def of_job(self, job_id: str) -> tuple[Decimal, Decimal, Decimal]:
        """What a job has spent today and this month, and what its runs under way reserve."""
        day, month = (self._spending(job_id, self._period(key)).amount for key in ("per_day", "per_month"))
        return day, month, self._holding(job_id).amount

    def _standing(
        self, key: Literal["per_day", "per_month"], limit: Decimal, spent: Decimal, held: Decimal, *, of_root: bool
    ) -> Standing:
        frees_at = self._period(key).end
        return Standing(key=key, of_root=of_root, limit=limit, spent=spent, reserved=held, frees_at=frees_at)

    def _period(self, key: str) -> Period:
        if key not in self._periods:
            self._periods[key] = (day_of if key == "per_day" else month_of)(self._now, self._timezone)
        return self._periods[key]

    def _spending(self, job_id: str, period: Period) -> _Sum:
        """By runs that started in this time and have ended."""
        row = self._sql.execute(
            "SELECT coalesce(sum(CASE WHEN currency = ? THEN nano END), 0),"
            " coalesce(sum(CASE WHEN currency <> ? THEN runs END), 0)"
            " FROM spending WHERE job_id = ? AND since >= ? AND since < ?",
            (self.currency, self.currency, job_id, stamp(period.start)[:16], stamp(period.end)[:16]),
        ).fetchone()
        return _Sum(amount_of(row[0]), row[1])

    def _holding(self, job_id: str | None = None, numbers: Iterable[int] | None = None) -> _Sum:
        """By runs that have not ended: of all jobs, or of one; of that one, all or those with these numbers."""
        where, values = f"{ACTIVE}", list[Any]()
        if job_id is not None:
            where, values = f"{where} AND job_id = ?", [job_id]
        if numbers is not None:
            values += numbers
            where += f" AND n IN ({', '.join('?' * (len(values) - 1))})"
        row = self._sql.execute(
            "SELECT coalesce(sum(CASE WHEN reserved_currency = ?"
            " THEN max(reserved_nano, CASE WHEN currency = reserved_currency THEN cost_nano ELSE 0 END) END), 0),"
            f" coalesce(sum(reserved_currency IS NOT ?), 0) FROM runs WHERE {where}",
            (self.currency, self.currency, *values),
        ).fetchone()
        return _Sum(amount_of(row[0]), row[1])


def _limits(budget: Budget | RootBudget) -> Iterable[tuple[Literal["per_day", "per_month"], Decimal]]:
    if budget.per_day is not None:
        yield "per_day", budget.per_day
    if budget.per_month is not None:
        yield "per_month", budget.per_month


def spending_of(sql: Connection, spec: JobSpec, now: datetime) -> Spending | None:
    """None if neither the job nor the root has a budget."""
    funds = Funds(sql, now)
    standings = tuple(funds.standings(spec.id, spec.budget))
    if spec.budget is None and not standings:
        return None
    today, this_month, reserved = funds.of_job(spec.id)
    answer = funds.reserve(spec)
    over = None if spec.budget is None else refusing(spec.budget.per_run, standings)
    return Spending(
        currency=funds.currency,
        today=today,
        this_month=this_month,
        reserved=reserved,
        standings=standings,
        refused=answer.message if isinstance(answer, Refused) else "",
        frees_at=None if over is None else over.frees_at,
    )


def refused_now(sql: Connection, now: datetime) -> dict[str, Spending] | None:
    """The unarchived, enabled jobs of which no run starts now, by id. None if nothing has a budget."""
    rows = sql.execute(
        "SELECT spec FROM jobs JOIN definitions ON definitions.job_id = jobs.id"
        " AND definitions.generation = jobs.generation WHERE archived_at IS NULL"
        " AND json_extract(spec, '$.enabled') AND (json_extract(spec, '$.budget') NOTNULL"
        " OR (SELECT json_extract(settings, '$.budget') FROM root) NOTNULL) ORDER BY id"
    ).fetchall()
    found = {spec.id: spending_of(sql, spec, now) for spec in (JobSpec.from_json(json.loads(row[0])) for row in rows)}
    return {job_id: each for job_id, each in found.items() if each is not None and each.refused} if rows else None


def count_past(sql: Connection, job_id: str) -> None:
    """Count the runs that a job has brought along from another database, as the trigger counts those that end here."""
    known = "cost_nano NOTNULL AND currency = coalesce(reserved_currency, currency)"
    sql.execute(
        "INSERT INTO spending (job_id, since, currency, nano, runs) SELECT whose.id,"
        " substr(started_at, 1, 14) || printf('%02d', substr(started_at, 15, 2) / 15 * 15) AS quarter,"
        f" CASE WHEN {known} THEN currency ELSE reserved_currency END AS its,"
        f" sum(CASE WHEN {known} THEN cost_nano ELSE reserved_nano END) AS total, count(*)"
        " FROM runs, (SELECT ? AS id UNION ALL SELECT ?) AS whose"
        f" WHERE job_id = ? AND started_at NOTNULL AND NOT {ACTIVE} AND (currency NOTNULL OR reserved_nano NOTNULL)"
        " GROUP BY whose.id, quarter, its HAVING its NOTNULL AND total NOTNULL"
        " ON CONFLICT (job_id, since, currency) DO UPDATE SET nano = nano + excluded.nano, runs = runs + excluded.runs",
        (job_id, ROOT_JOB_ID, job_id),
    )


def forget_spending(sql: Connection, before: datetime) -> None:
    """Delete the sums of days and months that are over."""
    sql.execute("DELETE FROM spending WHERE since < ?", (stamp(before)[:16],))


def recent_costs(sql: Connection, job_ids: Collection[str], currency: str) -> dict[str, list[Decimal]]:
    """What the newest runs of each job have cost, as far as that is known in this currency."""
    found: dict[str, list[Decimal]] = {}
    for job_id in job_ids:
        rows: list[Row] = sql.execute(
            "SELECT cost_nano FROM (SELECT cost_nano, currency FROM runs WHERE job_id = ? ORDER BY n DESC LIMIT ?)"
            " WHERE currency = ? LIMIT ?",
            (job_id, _RECENT, currency, _ENOUGH),
        ).fetchall()
        if rows:
            found[job_id] = [amount_of(row["cost_nano"]) for row in rows]
    return found
