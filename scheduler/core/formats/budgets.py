"""What a job's budget says, and what is wrong with it beside its runner and the budget of scheduler.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scheduler.core.formats.faults import KeyFault, fitting
from scheduler.core.formats.shapes import BudgetShape
from scheduler.core.values.budget import Budget, amount_text
from scheduler.core.values.settings import BUDGET, RunnerSpec, Settings
from scheduler.core.values.spec import Retry
from scheduler.core.values.usage import ResultFormat

_WRITE = "write for example budget: {per_run: 0.50}, or 0 if its program spends nothing"


def budget_of(shape: BudgetShape | None) -> Budget | None:
    """None if nothing limits the job."""
    if shape is None or shape.per_run is None:
        return None
    return Budget(per_run=shape.per_run, per_day=shape.per_day, per_month=shape.per_month)


def budget_faults(written: Any, runner: RunnerSpec | None, settings: Settings) -> Iterator[KeyFault]:
    """At most one fault.

    written: the job's own keys over the defaults. What the shape of a budget refuses is not repeated.
    """
    shape = fitting(BudgetShape, {} if written is None else written)
    if shape is None:
        return
    if shape.per_run is None:
        yield from _without_amount(shape, runner, settings)
        return
    whole = settings.budget
    limits = [("budget.per_day", shape.per_day), ("budget.per_month", shape.per_month)]
    if whole is not None:
        limits += [(f"{key} of scheduler.yaml", getattr(whole, key[7:])) for key, _ in limits]
    for name, limit in limits:
        if limit is not None and shape.per_run > limit:
            run, most = (amount_text(each, settings.currency) for each in (shape.per_run, limit))
            message = f"per_run {run} is more than {name} ({most}), so no run would ever start"
            hint = f"write per_run: {limit.normalize():f} or less"
            yield KeyFault(("budget", "per_run"), "budget.never", message, hint)
            return


def _without_amount(shape: BudgetShape, runner: RunnerSpec | None, settings: Settings) -> Iterator[KeyFault]:
    """per_run is what limits are checked with before a run: only afterwards is it known what the run has cost."""
    key = "per_day" if shape.per_day is not None else "per_month" if shape.per_month is not None else None
    if key is not None:
        message = f"{key} needs per_run: what a run costs is known only after it"
        yield KeyFault(("budget", key), "budget.missing", message, _WRITE, at_key=True)
    elif settings.budget is not None:
        message = "scheduler.yaml limits what all jobs spend, but this job has no budget.per_run"
        yield KeyFault((), "budget.missing", message, _WRITE)
    elif runner is not None and runner.takes_budget:
        message = f"runner {runner.name!r} passes {BUDGET} to its program, but the job has no budget.per_run"
        hint = "write for example budget: {per_run: 0.50}, or choose another runner"
        yield KeyFault(("runner",), "budget.missing", message, hint)


def budget_doubts(
    budget: Budget | None, runner: RunnerSpec | None, retry: Retry
) -> Iterator[tuple[tuple[str, str], str, str]]:
    """Keys that have no effect: each with the reason, and a hint."""
    if budget is None:
        return
    if budget.per_day and budget.per_month and budget.per_day > budget.per_month:
        yield ("budget", "per_day"), "per_month is lower", "write a lower per_day, or delete the key"
    if budget.per_run and retry.attempts > 1 and runner is not None and runner.prints is ResultFormat.TEXT:
        why = "what an attempt of this runner costs is unknown, so budget.per_run counts as spent after the first"
        yield ("retry", "attempts"), why, "set result_format of the runner, or delete the key"
