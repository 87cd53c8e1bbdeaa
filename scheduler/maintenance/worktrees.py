"""Which worktrees of runs are removed: by age, and beyond a number for each job. Never of a run that has not ended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby

from scheduler.core.values.runs import FreshTree, Run
from scheduler.core.values.settings import Retention
from scheduler.ledger import gc, runs
from scheduler.ledger.store import Store
from scheduler.root.fresh_trees import TreeSpot, remove_fresh, spot_of, spots
from scheduler.root.place import Place


def collect_worktrees(place: Place, store: Store, retention: Retention, *, now: datetime, dry_run: bool) -> int:
    """Remove what `retention` does not keep, and whatever a killed process left. Returns the number of worktrees.

    What nobody committed in them is lost then. Commits stay on their branch.
    """
    count = 0
    for run, spot in _surplus(place, store, retention, now):
        tree = FreshTree(branch=spot.branch, commit=spot.commit, folder=str(spot.folder))
        if run is not None and run.worktree is not None:
            tree = run.worktree
        was_there = spot.folder.is_dir()
        if not dry_run:
            tree = remove_fresh(place.root, spot, tree)
            if tree.folder is None and run is not None:
                store.write(gc.forget_folder, run)
        count += was_there and (dry_run or tree.folder is None)
    return count


def _surplus(place: Place, store: Store, retention: Retention, now: datetime) -> Iterator[tuple[Run | None, TreeSpot]]:
    # Listed before the ledger is read: what is made from now on belongs to a run that it does not have yet.
    found = list(spots(place))
    for job_id, each in groupby(found, key=lambda one: one[0]):
        kept = 0
        for _, n in sorted(each, reverse=True):
            run, spot = store.read(runs.find_run, job_id, n), spot_of(place, job_id, n)
            if run is not None and not run.status.finished:
                continue
            never_started = run is not None and not run.attempts
            if spot.folder.is_dir() and not never_started:
                kept += 1
                aged = retention.worktree_days and _ended(run, spot) < now - timedelta(days=retention.worktree_days)
                if not aged and (not retention.worktrees or kept <= retention.worktrees):
                    continue
            yield run, spot


def _ended(run: Run | None, spot: TreeSpot) -> datetime:
    """When its run ended; when its folder was last changed, if nobody knows of the run."""
    if run is not None and run.finished_at is not None:
        return run.finished_at
    return datetime.fromtimestamp(spot.folder.stat().st_mtime, UTC)
