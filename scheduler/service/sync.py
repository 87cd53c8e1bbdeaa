"""The verbs about files: init, validate, plan, sync."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.core.values.problems import Problem, RefusedError, UsageError, did_you_mean
from scheduler.core.values.settings import ROOT_FILE
from scheduler.ledger import clock_steps, syncs
from scheduler.ledger.store import Store
from scheduler.root.files import WorkingTree
from scheduler.root.followed import Followed, state_of
from scheduler.root.place import is_there
from scheduler.root.settings import lenient_settings, read_settings
from scheduler.root.trusted import state_problems, tracked_here
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.changes import CostChangeJson
    from scheduler.core.plan.plan import Plan
    from scheduler.scaffold import Scaffold
    from scheduler.sync.synced import Synced, SyncReport


def init(folder: Path) -> Scaffold:
    """Write the files of a new root beside existing files; see `write_scaffold`.

    Raises: RefusedError in a root that follows a branch, or if no folder is free for job files; UnavailableError if the
    folder cannot be written.
    """
    from scheduler.git.folder import head_ref, repository_top
    from scheduler.scaffold import write_scaffold

    if (state := state_of(folder.resolve())) is not None:
        raise RefusedError(
            f"{folder} follows the {Followed(state).remote().words} and gets its files from there; nothing was written",
            hint="run `scheduler init` in a checkout of it, or in another folder",
        )
    real = folder.resolve()
    top = repository_top(real)
    above = "" if top in (None, real) else f"{real.relative_to(top).as_posix()}/"
    ref = head_ref(real) or ""
    branch = ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ""
    return write_scaffold(folder, branch=branch, above=above)


def problem_lines(root: Root, problems: Sequence[Problem]) -> Sequence[str | None]:
    """The line at which each problem points, for a person to read; None if there is none to show."""
    from scheduler.root.excerpts import source_lines

    return source_lines(WorkingTree(root.place.now()), problems)


def validate(root: Root, paths: Sequence[Path] = ()) -> tuple[Problem, ...]:
    """Every problem of every file, or of the named files and folders, sorted. Needs no database, starts nothing.

    Raises: UsageError for a path that is not a job file of this root.
    """
    from scheduler.core.formats.checkout import conversion_problems
    from scheduler.core.formats.rootfile import NEEDS_SETTINGS
    from scheduler.core.plan.claimants import across_files, no_job
    from scheduler.git.tree import Tree
    from scheduler.root.converted import conversions_here
    from scheduler.root.desired import read_desired

    settings, root_problems = read_settings(root.place)
    broken = settings is None
    settings = settings or lenient_settings(root.place)
    root_problems = tuple(sorted({*root_problems, *state_problems(tracked_here(root.place.root))}))
    if settings is None:
        return root_problems
    files = WorkingTree(root.place)
    desired = read_desired(files, settings, Tree())
    converted = conversion_problems(conversions_here(files, desired))
    problems = sorted({*root_problems, *desired.problems, *across_files(desired), *no_job(desired), *converted})
    if broken:
        problems = [each for each in problems if each.path == ROOT_FILE or each.code not in NEEDS_SETTINGS]
    if not paths:
        return tuple(problems)
    wanted = [_below_root(root, path) for path in paths]
    known = {found.document.path for found in desired.found} | desired.broken | desired.empty
    known |= {problem.path for problem in problems} | {ROOT_FILE}
    for path, given in zip(wanted, paths, strict=True):
        if not any(_below(each, path) for each in known):
            raise UsageError(
                f"{given} is not a job file of {root.place.root}",
                hint=did_you_mean(path, known) or "`jobs` in scheduler.yaml says which files are job files",
            )
    if broken:
        wanted.append(ROOT_FILE)  # without it, nothing can be checked completely
    return tuple(problem for problem in problems if any(_below(problem.path, path) for path in wanted))


def _below_root(root: Root, path: Path) -> str:
    try:
        return path.resolve().relative_to(root.place.root).as_posix()
    except ValueError:
        raise UsageError(f"{path} is outside the root {root.place.root}") from None


def plan_sync(root: Root, *, confirmed: str | None = None, now_anyway: bool = False) -> SyncReport:
    """What a sync would change now. Writes nothing."""
    from scheduler.core.plan.costs import costs_json

    found = _planned(root, confirmed=confirmed, now_anyway=now_anyway)
    report = found.report()
    report = replace(report, json={**report.json, **costs_json(cost_changes(root, found.plan))})
    return _with_way_back(root, report)


def _planned(root: Root, *, confirmed: str | None, now_anyway: bool) -> Synced:
    with root.store() or contextlib.nullcontext() as store:
        if store is None:
            return root.passes().plan(root.observed(), confirmed=confirmed, now_anyway=now_anyway)
        return root.passes().plan_changes(store, confirmed=confirmed, now_anyway=now_anyway)


def cost_changes(root: Root, plan: Plan) -> list[CostChangeJson]:
    """What a plan changes in the cost of its jobs, by what their recent runs have cost."""
    from scheduler.core.plan.costs import changed_costs, costly
    from scheduler.ledger import budgets

    ids = [action.job_id for action in costly(plan)]
    if not ids:
        return []
    with root.store() or contextlib.nullcontext() as store:
        recent = {} if store is None else store.read(budgets.recent_costs, ids, plan.settings.currency)
    return changed_costs(plan, recent, now=root.clock.now())


def _with_way_back(root: Root, found: SyncReport) -> SyncReport:
    """Add to a guard how to restore the missing files, if that is known here."""
    guard = found.json["guard"]
    if guard is None or root.place.followed is not None:  # its files come from the remote
        return found
    from scheduler.core.plan.put_back import way_back
    from scheduler.git.tree import read_tree

    with root.store() or contextlib.nullcontext() as store:
        jobs = {} if store is None else store.read(syncs.observed_of, guard["ids"], ())[0].jobs
    paths = sorted({job.file.path for job in jobs.values()})
    lost = [path for path in paths if not (root.place.root / path).exists()]
    tree = read_tree(root.place.root, *lost) if lost else None
    committed = tree.blobs.keys() if tree is not None and tree.in_repository else None
    back = way_back(lost, committed, lambda folder: (root.place.root / folder).is_dir())
    return replace(found, json={**found.json, "guard": {**guard, "put_back": back or None}})


def sync(
    root: Root, *, confirmed: str | None = None, cause: str = "sync", now_anyway: bool = False, new_state: bool = False
) -> SyncReport:
    """Make one pass, in the daemon if one is running.

    now_anyway: even while git is in the middle of an operation (S8).
    new_state: start without a history if the previous one is gone.
    Raises: UnavailableError if the root or the database cannot be used.
    """
    from scheduler.control.client import answer_of
    from scheduler.maintenance.lost import start_state
    from scheduler.sync.settle_copy import settle_copy
    from scheduler.sync.synced import SyncReport

    holder = root.daemon()
    if holder is not None:
        answer = answer_of(holder, "sync", actor=root.actor, confirmed=confirmed, now_anyway=now_anyway)
        return _with_way_back(root, SyncReport.from_json(answer))
    if root.place.followed is not None:
        from scheduler.remote.following import Follow

        Follow(followed=root.place.followed, clock=root.clock, environ=root.environ, logs=False).look()
    start_state(root.place, new_state=new_state, now=root.clock.now())
    # The look may have made another commit the root.
    if not is_there(root.place.db) and read_settings(root.place.now())[0] is None:
        return plan_sync(root, confirmed=confirmed)  # no database to store the problems in
    root.place.make_state()
    with Store.open(root.place.db) as store:
        settle_copy(store, root.place, now=root.clock.now(), actor=root.actor)
        _set_right(root, store)
        recovered = root.recover(store)
        found = root.passes().sync(
            store, actor=root.actor, cause=cause, confirmed=confirmed, now_anyway=now_anyway, deep="all unless local"
        )
        root.look_up_commits(store)
    return _with_way_back(root, replace(found, recovered=tuple(run.id for run in recovered)).report())


def _set_right(root: Root, store: Store) -> None:
    """Correct rows in the future after the clock went back (F6), unless a daemon does it."""
    from scheduler.core.times.clocks import NOT_BEFORE
    from scheduler.sync.clock_repair import repair_after_clock_change

    now, newest = root.clock.now(), store.read(clock_steps.last_clock).newest
    if now >= NOT_BEFORE:
        repair_after_clock_change(store, now=now, whole=newest is not None and newest > now, actor=root.actor)


def _below(path: str, folder: str) -> bool:
    return folder in (".", path) or path.startswith(folder + "/")
