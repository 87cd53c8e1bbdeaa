"""What to run: the definition in force at the fire (F1), and the text on disk at that moment (F2).

Starts nothing, and writes only what a partial pass applies. The engine decides where it runs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from scheduler.core.due.checked import with_output
from scheduler.core.due.due import is_slot
from scheduler.core.due.place import Cause, PlaceFault, fault_of_place
from scheduler.core.formats.queues import queue_of
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

    Wait = Callable[[float], bool]  # waits at most that many seconds; True if the run was cancelled

# What a file looks like for a moment during a save or a commit.
_PASSING = ("source_missing", "source_empty", "source_invalid", "source_dirty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The input of an attempt: its definition, its text, and the source of the text."""

    job: Job
    settings: Settings
    runner: RunnerSpec
    task: Task
    provenance: Provenance
    place: Place  # of a followed root, pinned to one commit: its files exist as long as this object
    runner_files: tuple[RunnerFile, ...] = ()  # files of the root that the runner's command names
    is_check: bool = False  # this is the job's check, with `Job.of_check`
    check_output: bytes | None = None  # what the check printed, if that is added to the text

    @property
    def queue(self) -> str | None:
        """The queue of the workers that carry it out. None for this machine, as for every check."""
        return None if self.is_check else queue_of(self.job.file.spec, self.runner)

    @property
    def given(self) -> Task:
        """What the runner is given: the text, and what the check printed."""
        if self.check_output is None:
            return self.task
        return replace(self.task, text=with_output(self.task.text, self.check_output))


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """A try that workers carry out: what it is, before anything of it is on disk."""

    run: Run
    ready: Ready
    queue: str  # whose workers may take it
    budget: Decimal | None = None  # what the try may spend; None: anything

    @property
    def attempt(self) -> int:
        return self.run.attempts[-1].n + 1 if self.run.attempts else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFault(Fault):
    """Why the check of a job could not start."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """An edit since the claim removed the slot: a skip that is nobody's fault (F1)."""

    message: str


def what_shall_run(
    passes: Passes, store: Store, run: Run, wait: Wait, *, check: bool = False
) -> Ready | Fault | Superseded | None:
    """The input of the first attempt of a claimed run, or why there is none. None if the run was cancelled.

    check: the input of the job's check instead, if it has one.
    """
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
    # Look again if a task is absent or empty: during a save it is so for a moment. Likewise if it is not committed: a
    # commit writes the file before HEAD moves.
    patience, give_up = min(passes.absent_grace.total_seconds(), SAVE_S), None
    check = check and fresh.job.file.spec.check is not None
    while True:
        ready = _from_quiet_disk(fresh, run, wait, check=check)
        if fresh.settings.worktree.branch and (fault := _of_other_branch(passes, store)):
            return fault  # another branch was checked out during the read
        if isinstance(ready, Fault) and ready.reason in _PASSING:
            give_up = give_up or time.monotonic() + patience  # from the first such look, which can itself take seconds
            if time.monotonic() < give_up and not wait(LOOK_AGAIN_S):
                continue
        if isinstance(ready, Fault) and check:
            return CheckFault(reason=ready.reason, message=ready.message)
        return ready


def _of_other_branch(passes: Passes, store: Store) -> Fault | None:
    why = passes.other_branch(store.read(syncs.settings))
    return Fault(reason=Cause.BRANCH, message=why) if why else None


def lost_place(passes: Passes, store: Store, run: Run, fault: Fault) -> PlaceFault | None:
    """The place fault that kept a run from starting. None if the fault is the job's (F7).

    What only a check needs is no place of the job: its slots would wait for something else.
    """
    job = store.read(queries.job, run.job_id)
    found = None if job is None else fault_of_place(fault, job, passes.sight(store, job))
    of_check = isinstance(fault, CheckFault) and found is not None and found.cause in (Cause.FOLDER, Cause.RUNNER)
    return None if of_check else found


def what_runs_again(passes: Passes, store: Store, run: Run, wait: Wait) -> Ready | Fault:
    """The input of the next attempt: the job's current definition with the text of the first attempt (F2)."""
    if fault := _of_other_branch(passes, store):  # the runner's own files would be from that branch
        return fault
    observed = store.read(syncs.observed, job_id=run.job_id)
    job, settings = observed.jobs[run.job_id], observed.settings or Settings()
    if passes.place.followed is not None:
        # The runner's program is from the newest commit, so definition and settings must be too.
        fresh = _fresh(passes, store, run, wait, cause="retry")
        if isinstance(fresh, Fresh):
            job, settings, passes = fresh.job, fresh.settings, fresh.passes
        else:
            passes = replace(passes, place=passes.place.now())
    return pinned(passes, store, job, settings, run)


def _from_quiet_disk(fresh: Fresh, run: Run, wait: Wait, *, check: bool) -> Ready | Fault | None:
    """The input, read once nobody is writing the file. None if the run was cancelled."""
    passes, job = fresh.passes, fresh.job.of_check if check else fresh.job
    runner = fresh.settings.runners.get(job.file.spec.runner)
    named = [] if runner is None else runner_paths(WorkingTree(passes.place), runner)
    paths = (job.file.spec.task_source_path or job.file.path, *named)
    return passes.read_quiet(paths, lambda: from_disk(passes, job, fresh.settings, run.trigger, check=check), wait)


def from_disk(passes: Passes, job: Job, settings: Settings, trigger: Trigger, *, check: bool = False) -> Ready | Fault:
    """What a run of this job would get now. check: what its check would get; `job` is then `Job.of_check`."""
    place, spec = passes.place, job.file.spec
    task = read_task(WorkingTree(place), spec, job.file.path, settings, parsed=passes.parsed, of_check=check)
    if isinstance(task, Fault):
        return task
    path = task.real_path or task.source_path
    tree = passes.tree(path)
    if fault := unmerged(path, task.source, tree):
        return fault
    source = tree.provenance(path, task.source)
    only_committed = settings.worktree.dirty == "skip" and trigger is not Trigger.MANUAL  # a person may try out a text
    if only_committed and (fault := not_committed(path, tree, source)):
        return fault
    ready = _with_runner(passes, job, settings, task, source)
    if isinstance(ready, Fault):
        return ready
    if only_committed and (fault := not_committed_files(ready.runner_files, tree)):
        return fault
    return replace(ready, is_check=check)


def pinned(passes: Passes, store: Store, job: Job, settings: Settings, run: Run) -> Ready | Fault:
    """The pinned text of a run and its source, whatever is on disk. The definition is the current one."""
    assert run.task_sha256 is not None
    assert run.source_path is not None
    task = Task(
        text=store.read(queries.text_of, run.task_sha256, store.path),
        source_path=run.source_path,
        source=b"",
        known_source_sha256=run.source_sha256,
    )
    output = None if run.check_sha256 is None else store.read(queries.text_of, run.check_sha256, store.path)
    ready = _with_runner(passes, job, settings, task, run.provenance)
    return ready if isinstance(ready, Fault) else replace(ready, check_output=output)


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
    """Why the current schedule has no such slot; empty if it has."""
    if not job.file.spec.enabled:
        return "the job was disabled after the slot was claimed"
    if not is_slot(job.file.spec.due_by, slot):
        return f"the schedule changed after the slot was claimed and no longer includes {instant(slot)}"
    return ""
