"""What jobs may cost in 30 days, before and after a plan: a pure function of values."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from scheduler.core.plan.action import Action
from scheduler.core.plan.plan import Plan
from scheduler.core.plan.review import MONTH, slots_ahead
from scheduler.core.values.spec import JobSpec

if TYPE_CHECKING:
    from scheduler.core.changes import CostChangeJson, CostsJson

_COSTLY = {"schedule", "enabled", "expires", "budget"}  # fields that change how often a job runs, or what it may spend


def costly(plan: Plan) -> list[Action]:
    """The actions that may change what a job costs."""
    new_or_gone = ("create", "revive", "archive")
    return [each for each in plan.actions if each.verb in new_or_gone or _COSTLY & set(each.changes)]


def changed_costs(plan: Plan, recent: Mapping[str, Sequence[Decimal]], *, now: datetime) -> list[CostChangeJson]:
    """One entry for each job whose cost or budget is known and changes, by id.

    recent: what the newest runs of a job have cost, in the currency of the root. A job without any has no known cost.
    """
    found: list[CostChangeJson] = []
    for action in costly(plan):
        known = recent.get(action.job_id)
        median = None if not known else statistics.median(known)
        before = None if action.before is None or action.verb in ("create", "revive") else action.before.spec
        after = None if action.verb == "archive" else action.after.spec
        if median is None and not any(spec is not None and spec.budget is not None for spec in (before, after)):
            continue
        (old, most_old), (new, most_new) = (_month(spec, median, now) for spec in (before, after))
        if (old, most_old) != (new, most_new):
            found.append(
                {
                    "id": action.job_id,
                    "currency": plan.settings.currency,
                    "median": _text(median),
                    "before": _text(old),
                    "after": _text(new),
                    "most_before": _text(most_old),
                    "most_after": _text(most_new),
                }
            )
    return found


def costs_json(found: list[CostChangeJson]) -> CostsJson:
    """The part of a plan's JSON; nothing if no cost changes."""
    return {"costs": found} if found else {}


def _month(spec: JobSpec | None, median: Decimal | None, now: datetime) -> tuple[Decimal | None, Decimal | None]:
    """What a job probably costs in 30 days, and what its budget allows at most. None: unknown, or no budget."""
    runs = slots_ahead(spec.due_by.timing, now) if spec is not None and spec.enabled else 0
    if not runs or spec is None:
        return Decimal(0), Decimal(0)
    budget, probably = spec.budget, None if median is None else runs * median
    if budget is None:
        return probably, None
    if not budget.per_run and probably is None:
        return Decimal(0), Decimal(0)
    per_day = None if budget.per_day is None else budget.per_day * MONTH.days
    limits = (runs * budget.per_run, per_day, budget.per_month)
    return probably, min(limit for limit in limits if limit is not None)


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount.normalize():f}"
