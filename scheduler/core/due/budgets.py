"""Whether a run can be paid for: what was spent and what runs under way may still spend, against the limits.

Pure. A run is admitted only if it could spend its whole `per_run` without exceeding a limit. So jobs exceed a limit by
no more than what runs spend beyond their own `per_run`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from scheduler.core.times.fires import zone_of
from scheduler.core.values.budget import Budget, Reservation, amount_text
from scheduler.core.values.instants import instant
from scheduler.core.values.runs import Attempt, Ending
from scheduler.core.values.usage import Cost

OVER = "budget"  # the reason of a skip


@dataclass(frozen=True, slots=True)
class Period:
    """A day or a month on the wall, as instants: from `start` on, up to and without `end`."""

    start: datetime
    end: datetime


def day_of(now: datetime, timezone: str) -> Period:
    """The day of the zone that contains this instant. It has 23 or 25 hours if the clocks change in it."""
    day = now.astimezone(zone_of(timezone)).date()
    return Period(_midnight(day, timezone), _midnight(day + timedelta(days=1), timezone))


def month_of(now: datetime, timezone: str) -> Period:
    """The calendar month of the zone that contains this instant."""
    first = now.astimezone(zone_of(timezone)).date().replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return Period(_midnight(first, timezone), _midnight(following, timezone))


def _midnight(day: date, timezone: str) -> datetime:
    """The first instant of a day. In a zone that skips or repeats midnight, that is where the day begins anyway."""
    return datetime(day.year, day.month, day.day, tzinfo=zone_of(timezone)).astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one limit stands."""

    key: Literal["per_day", "per_month"]
    of_root: bool  # it limits all jobs together
    limit: Decimal
    spent: Decimal  # by runs that have ended; one of unknown cost counts with its per_run
    reserved: Decimal  # by runs under way
    frees_at: datetime  # the end of the day or month

    def refuses(self, per_run: Decimal) -> bool:
        """True if a run that may spend so much could exceed the limit. A run that spends nothing never does."""
        return per_run > 0 and self.spent + self.reserved + per_run > self.limit

    def waits(self, per_run: Decimal) -> bool:
        """True if it refuses only because of runs under way: they may turn out to spend less."""
        return self.refuses(per_run) and self.spent + per_run <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What a job has spent and reserved, and how the limits stand for it: its own and those of the root."""

    currency: str
    today: Decimal
    this_month: Decimal
    reserved: Decimal
    standings: tuple[Standing, ...]
    refused: str = ""  # why no run starts now; empty if one can
    frees_at: datetime | None = None  # when one can again at the latest, if nothing else changes


def refusing(per_run: Decimal, standings: Iterable[Standing]) -> Standing | None:
    """The limit that refuses a run; of several, the one that does so for longest. None if the run can start."""
    found = [each for each in standings if each.refuses(per_run)]
    return max(found, key=lambda each: (not each.waits(per_run), each.frees_at), default=None)


def refusal_text(found: Standing, per_run: Decimal, currency: str) -> str:
    """Why a run does not start: the figures, and when the limit frees."""
    spent, reserved = amount_text(found.spent, currency), amount_text(found.reserved, currency)
    used = f"{spent} spent" + (f" and {reserved} reserved by runs under way" if found.reserved else "")
    limit = f"{whose_limit(found)} is {amount_text(found.limit, currency)}"
    frees = f"it frees at {instant(found.frees_at)}"
    if found.waits(per_run):
        frees = f"it may free when a run under way ends, otherwise at {instant(found.frees_at)}"
    return f"{limit}, {used}; a run may spend {amount_text(per_run, currency)}: {frees}"


def whose_limit(found: Standing) -> str:
    return f"budget.{found.key} of {'scheduler.yaml' if found.of_root else 'the job'}"


def left_for_attempt(
    reserved: Reservation | None, budget: Budget | None, attempts: Iterable[Attempt] = ()
) -> Decimal | None:
    """What the next attempt of a run may spend. None if its job has no budget.

    reserved: None if the run was not claimed yet, or had no budget then. budget: of the definition in force.
    """
    if budget is None:
        return None
    most = budget.per_run if reserved is None else min(budget.per_run, reserved.amount)
    spent = sum((each.cost.amount for each in attempts if each.cost is not None), Decimal(0))
    return max(Decimal(0), most - spent)


def affords_retry(reserved: Reservation | None, earlier: Iterable[Attempt], ending: Ending) -> bool:
    """True if a run whose last attempt ended so has something left to spend, or nothing to spend anyway.

    An attempt of unknown cost may have spent all of it.
    """
    earlier = tuple(earlier)
    if reserved is None or not reserved.amount:
        return True
    if ending.end_class is None and all(each.end_class is None for each in earlier):
        return True  # no process ran
    cost: Cost | None = ending.cost_after(earlier)
    return cost is not None and cost.currency == reserved.currency and cost.amount < reserved.amount
