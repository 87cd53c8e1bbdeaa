"""The verb for what was spent, by whom, and on what. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING

from scheduler.core import views
from scheduler.core.due.budgets import Standing, day_of, month_of
from scheduler.core.past.spend import Mover, Part, Spent, SpentRun, mover, parts
from scheduler.core.values.instants import instant
from scheduler.core.values.settings import ROOT_JOB_ID, Settings
from scheduler.ledger import budgets, queries, spent_by, syncs
from scheduler.ledger.store import Store
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.spent import LimitJson, MoverJson, PartJson, SpendJson, SpentRowJson

MOST_JOBS = 50
NEWEST_OF_JOB = 200  # runs by which versions, models and runners are told apart
NEWEST = 5_000  # runs of the root among which unpriced ones are counted
_MOST_PARTS = 50


def spend(root: Root) -> SpendJson:
    """Today and this month by job against budgets; by version, model and runner; and what a new text has changed.

    Takes as long for a million runs as for ten thousand: sums are kept, and of each job only the newest runs are read.
    """
    now, store = root.clock.now(), root.store()
    if store is None:
        return _told(instant(now), [], [], {}, {}, [])
    with store:
        settings = store.read(syncs.settings) or Settings()
        day, month = day_of(now, settings.timezone), month_of(now, settings.timezone)
        dearest = store.read(spent_by.dearest, month.start, month.end, MOST_JOBS + 1)
        whole = store.read(spent_by.spent_of, ROOT_JOB_ID, month.start, month.end)
        shown = dearest[:MOST_JOBS]
        today = {
            (each.job_id, each.currency): each.amount
            for job_id in {ROOT_JOB_ID, *(each.job_id for each in shown)}
            for each in store.read(spent_by.spent_of, job_id, day.start, day.end)
        }
        rows = [_row(each, today, _limits(root, store, each)) for each in shown]
        of_root = [_row(each, today, []) for each in sorted(whole, key=lambda each: -each.amount)]
        ids = dict.fromkeys(each.job_id for each in shown)
        runs = store.read(spent_by.newest_runs, ids, NEWEST_OF_JOB)
        unpriced = store.read(spent_by.unpriced, NEWEST)
        limits = store.read(spent_by.limits, now)
    return _told(instant(now), of_root, rows, runs, unpriced, limits, more=len(dearest) > len(shown))


def _told(
    at: str,
    of_root: list[SpentRowJson],
    rows: list[SpentRowJson],
    runs: dict[str, list[SpentRun]],
    unpriced: dict[str, int],
    limits: Sequence[Standing],
    *,
    more: bool = False,
) -> SpendJson:
    every = list(chain.from_iterable(runs.values()))
    versions = [(job_id, part) for job_id, each in runs.items() for part in parts(each, lambda run: run.task_sha256)]
    versions.sort(key=lambda found: (found[1].currency is None, -found[1].amount))
    movers = [found for job_id, each in runs.items() if (found := mover(job_id, each)) is not None]
    return {
        "at": at,
        "root": of_root,
        "limits": [views.limit_json(each) for each in limits],
        "jobs": rows,
        "more": more,
        "versions": [{"job_id": job_id, **_part_json(part)} for job_id, part in versions[:_MOST_PARTS]],
        "models": [_part_json(part) for part in parts(every, lambda run: run.model)[:_MOST_PARTS]],
        "runners": [_part_json(part) for part in parts(every, lambda run: run.runner)[:_MOST_PARTS]],
        "unpriced": unpriced,
        "movers": [_mover_json(each) for each in sorted(movers, key=lambda each: -abs(each.share))],
    }


def _limits(root: Root, store: Store, spent: Spent) -> list[LimitJson]:
    """The job's own, if they are in this currency."""
    job = store.read(queries.job, spent.job_id)
    found = None if job is None else store.read(budgets.spending_of, job.file.spec, root.clock.now())
    if found is None or found.currency != spent.currency:
        return []
    return [views.limit_json(each) for each in found.standings if not each.of_root]


def _row(spent: Spent, today: dict[tuple[str, str], Decimal], limits: list[LimitJson]) -> SpentRowJson:
    return {
        "job_id": spent.job_id,
        "currency": spent.currency,
        "today": views.amount_json(today.get((spent.job_id, spent.currency), Decimal(0))),
        "this_month": views.amount_json(spent.amount),
        "runs": spent.runs,
        "limits": limits,
    }


def _part_json(part: Part) -> PartJson:
    return {"name": part.name, "currency": part.currency, "amount": views.amount_json(part.amount), "runs": part.runs}


def _mover_json(found: Mover) -> MoverJson:
    return {
        "job_id": found.job_id,
        "currency": found.currency,
        "before": views.amount_json(found.before.value),
        "before_runs": found.before.n,
        "after": views.amount_json(found.after.value),
        "after_runs": found.after.n,
        "old_sha256": found.old_sha256,
        "new_sha256": found.new_sha256,
        "share": float(found.share),
    }
