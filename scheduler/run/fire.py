"""What shall run: the definition that is in force at the fire (F1), and the text that the disk holds then (F2).

Starts nothing, and writes nothing but what a partial pass applies. Where it runs is an engine's business.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from scheduler.core.due.due import is_slot
from scheduler.core.due.place import Cause, PlaceFault, fault_of_place
from scheduler.core.values.facts import Fault, Job, Provenance, RunnerFile, Task
from scheduler.core.values.instants import instant
from scheduler.core.values.runs import Run, Trigger
from scheduler.core.values.settings import RunnerSpec, Settings
from scheduler.ledger import queries, syncs
from scheduler.ledger.store import Store
from scheduler.root.files import WorkingTree
from scheduler.root.place import Place
from scheduler.root.runner_files import read_runner_files, runner_files, runner_paths
from scheduler.root.tasks import not_committed, not_committed_files, read_task, unmerged
from scheduler.sync.passes import LOOK_AGAIN_S, SAVE_S, Fresh, Passes

if TYPE_CHECKING:
    from collections.abc import Callable

    Wait = Callable[[float], bool]  # waits so many seconds at most; whether somebody has cancelled the run

# What a save, or a commit, looks like for a moment.
_PASSING = ("source_missing", "source_empty", "source_invalid", "source_dirty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What an attempt is given: its definition, its text, and where that came from."""

    job: Job
    settings: Settings
    runner: RunnerSpec
    task: Task
    provenance: Provenance
    place: Place  # of one commit, where the root is kept from a remote: its files stay for as long as this does
    runner_files: tuple[RunnerFile, ...] = ()  # of the root, that the runner's command names


@dataclass(frozen=True, slots=True)
class Superseded:
    """An edit since the claim has left no such slot to serve: a skip that is nobody's fault (F1)."""

    message: str


def what_shall_run(passes: Passes, store: Store, run: Run, wait: Wait) -> Ready | Fault | Superseded | None:
    """What the first attempt of a claimed run is given, or why there is none. None: somebody has cancelled it."""
    if fault := _of_other_branch(passes, store):
        return fault
    fresh = _fresh(passes, store, run, wait, cause="run" if run.fire_time is None else "fire")
    if fresh is None or wait(0):
        return None
    if isinstance(fresh, Fault):
        return fresh
    if run.fire_time is not None and (why := _superseded(fresh.job, run.fire_time)):
        return Superseded(why)
    if run.task_of is not None:
        return pinned(fresh.passes, store, fresh.job, fresh.settings, run)
    # A task that is absent or empty is looked for again: a save is seen so for a moment. So is one that is not
    # committed: a commit writes the file before HEAD moves.
    patience, give_up = min(passes.absent_grace.total_seconds(), SAVE_S), None
    while True:
        ready = _from_quiet_disk(fresh, run, wait)
        if fresh.settings.worktree.branch and (fault := _of_other_branch(passes, store)):
            return fault  # checked out while the file was read
        if not isinstance(ready, Fault) or ready.reason not in _PASSING:
            return ready
        give_up = give_up or time.monotonic() + patience  # from when it was seen: to see it may have taken seconds
        if time.monotonic() >= give_up or wait(LOOK_AGAIN_S):
            return ready


def _of_other_branch(passes: Passes, store: Store) -> Fault | None:
    why = passes.other_branch(store.read(syncs.settings))
    return Fault(reason=Cause.BRANCH, message=why) if why else None


def lost_place(passes: Passes, store: Store, run: Run, fault: Fault) -> PlaceFault | None:
    """What of the place has kept a run from starting; None where the fault is the job's (F7)."""
    job = store.read(queries.job, run.job_id)
    return None if job is None else fault_of_place(fault, job, passes.sight(store, job))


def what_runs_again(passes: Passes, store: Store, run: Run, wait: Wait) -> Ready | Fault:
    """What the next attempt is given: the job as it is known by now, with the text of the first (F2)."""
    if fault := _of_other_branch(passes, store):  # the runner's own files would be that branch's
        return fault
    observed = store.read(syncs.observed, job_id=run.job_id)
    job, settings = observed.jobs[run.job_id], observed.settings or Settings()
    if passes.place.followed is not None:
        # Its program is of the newest commit: so have definition and settings to be.
        fresh = _fresh(passes, store, run, wait, cause="retry")
        if isinstance(fresh, Fresh):
            job, settings, passes = fresh.job, fresh.settings, fresh.passes
        else:
            passes = replace(passes, place=passes.place.now())
    return pinned(passes, store, job, settings, run)


def _from_quiet_disk(fresh: Fresh, run: Run, wait: Wait) -> Ready | Fault | None:
    """The same of a file that nobody is writing; None where somebody has cancelled the run."""
    passes, job = fresh.passes, fresh.job
    runner = fresh.settings.runners.get(job.file.spec.runner)
    named = [] if runner is None else runner_paths(WorkingTree(passes.place), runner)
    paths = (job.file.spec.task_source_path or job.file.path, *named)
    return passes.read_quiet(paths, lambda: from_disk(passes, job, fresh.settings, run.trigger), wait)


def from_disk(passes: Passes, job: Job, settings: Settings, trigger: Trigger) -> Ready | Fault:
    """What a run of this job would be given now."""
    place = passes.place
    task = read_task(WorkingTree(place), job.file.spec, job.file.path, settings, parsed=passes.parsed)
    if isinstance(task, Fault):
        return task
    path = task.real_path or task.source_path
    tree = passes.tree(path)
    if fault := unmerged(path, task.source, tree):
        return fault
    source = tree.provenance(path, task.source)
    only_committed = settings.worktree.dirty == "skip" and trigger is not Trigger.MANUAL  # who asks may try a text
    if only_committed and (fault := not_committed(path, tree, source)):
        return fault
    ready = _with_runner(passes, job, settings, task, source)
    if only_committed and isinstance(ready, Ready) and (fault := not_committed_files(ready.runner_files, tree)):
        return fault
    return ready


def pinned(passes: Passes, store: Store, job: Job, settings: Settings, run: Run) -> Ready | Fault:
    """The text that a run was given, and where that came from, whatever is on disk; the definition is today's."""
    assert run.task_sha256 is not None
    assert run.source_path is not None
    task = Task(
        text=store.read(queries.text_of, run.task_sha256, store.path),
        source_path=run.source_path,
        source=b"",
        known_source_sha256=run.source_sha256,
    )
    return _with_runner(passes, job, settings, task, run.provenance)


def _with_runner(passes: Passes, job: Job, settings: Settings, task: Task, source: Provenance) -> Ready | Fault:
    runner = settings.runners.get(job.file.spec.runner)
    if runner is None:
        return Fault(reason="runner_unknown", message=f"scheduler.yaml has no runner {job.file.spec.runner!r}")
    return Ready(
        job=job,
        settings=settings,
        runner=runner,
        task=task,
        provenance=source,
        place=passes.place,
        runner_files=what_it_names(passes, runner),
    )


def what_it_names(passes: Passes, runner: RunnerSpec) -> tuple[RunnerFile, ...]:
    """The files of the root that a runner's command names, as they are now."""
    read = read_runner_files(WorkingTree(passes.place), runner)
    if not read:
        return ()
    return runner_files(read, passes.tree(*(found.real for _, found in read if not isinstance(found, Fault))))


def _fresh(passes: Passes, store: Store, run: Run, wait: Wait, *, cause: str) -> Fresh | Fault | None:
    return passes.refresh(store, run.job_id, wait=wait, actor=run.requested_by or "scheduler", cause=cause)


def _superseded(job: Job, slot: datetime) -> str:
    """Why the present schedule has no such slot to serve; empty where it names it too."""
    if not job.file.spec.enabled:
        return "the job was disabled after the slot was claimed"
    if not is_slot(job.file.spec.due_by, slot):
        return f"the schedule was changed after the slot was claimed, and no longer names {instant(slot)}"
    return ""
