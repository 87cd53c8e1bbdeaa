"""The verbs that start and stop runs: run, run --dry-run, cancel."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.core.due.accounts import frees
from scheduler.core.values.facts import Fault, Job
from scheduler.core.values.instants import milliseconds
from scheduler.core.values.problems import RefusedError, UnavailableError, UsageError
from scheduler.core.values.runs import Run, RunStatus, Trigger
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import FRESH
from scheduler.core.views import Json
from scheduler.ledger import accounts, claims, put_back, runs, syncs
from scheduler.ledger.audit import append_audit
from scheduler.ledger.store import Store
from scheduler.service.first import never_synced, read_unsynced, sync_first
from scheduler.service.history import run_of, task
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.control.daemon_lock import Holder
    from scheduler.core.answers import DryCheckJson, DryRunJson
    from scheduler.run.fire import Ready
    from scheduler.run.local.attempts import Attempts
    from scheduler.run.local.cancel import Cancel
    from scheduler.run.local.prepare import Invocation
    from scheduler.sync.passes import Passes

CANCEL_WAIT = timedelta(seconds=15)  # TERM, ten seconds, KILL, and the time to record it
_LOOK_S = 0.05
_FOREGROUND_LOOK_S = 0.5


def run_job(
    root: Root,
    job_id: str,
    *,
    cancel: Cancel,
    wait: bool = True,
    claimed: Callable[[Run, bool], None] = lambda *_: None,
    task_of: str | None = None,
    check: bool = False,
    watched: bool = False,
    synced: Callable[[int], None] = lambda _: None,
) -> Run:
    """Run a job now: in the daemon if one is running, otherwise in this process, whatever `wait` says.

    claimed: called with the run once it has a row, and whether it runs here.
    task_of: an earlier run of the job, JOB:N, whose text is used again; the new run records its origin.
    watched: somebody sees at a terminal how it ends, so no channel is told of a failure.
    check: let the job's check decide first, as it does for a slot. Without it, somebody who asks for a run gets one.
    synced: called with the number of created jobs, if the root was never synced and is synced first.
    The job's own file and scheduler.yaml count as they are now, synced or not (F1). The task is read last.
    Returns the finished run, or a skip if it could not start; without `wait`, a daemon's run as it is.
    Raises: RefusedError, without a row, for an archived or running job, or while a branch other than
    `worktree.branch` is checked out; UsageError for an unknown job.
    """
    from scheduler.control.client import ask

    sync_first(root, job_id, synced)
    origin = None if task_of is None else _origin(root, job_id, task_of)
    if check:
        _need_check(root, job_id, task_of)
    _refuse_other_branch(root, job_id)
    holder = root.daemon()
    if holder is None:
        return _run_here(root, job_id, cancel, claimed, origin, check=check, watched=watched)
    with root.job(job_id, to_write=True) as (store, job):
        run: Run | None = None
        # A separate verb: a daemon of an earlier version must not run a different text.
        what: Json = {"verb": "run", "check": check} if origin is None else {"verb": "rerun", "task_of": origin.n}
        for answer in ask(holder, **what, job_id=job.id, actor=root.actor, wait=wait, watched=wait and watched):
            first = run is None
            run = store.read(runs.find_run, job.id, answer["n"])
            assert run is not None  # the daemon reports it once its row exists
            if first:
                claimed(run, False)
        if run is None or (wait and not run.status.finished):
            raise UnavailableError(
                f"the daemon ({holder}) closed the connection before the run ended",
                hint=f"`scheduler history {job.id}` shows how the run ended",
            )
        return run


def _need_check(root: Root, job_id: str, task_of: str | None) -> None:
    """Raises: UsageError if there is no check to carry out."""
    if task_of is not None:
        raise UsageError("the check and the text of an earlier run cannot be combined", hint="leave the check out")
    with root.job(job_id) as (_, job):
        if job.file.spec.check is None:
            raise UsageError(f"job {job.id!r} has no check", hint=f"run it without one: scheduler run {job.id}")


def _refuse_other_branch(root: Root, job_id: str) -> None:
    """Refuse if the text on disk belongs to another branch (S8). Raises: RefusedError."""
    with root.job(job_id) as (store, _):
        _refuse_branch(root.passes().other_branch(store.read(syncs.settings)))


def _refuse_branch(why: str) -> None:
    if why:
        raise RefusedError(
            f"{why}; nothing was started", hint="check out that branch: a job never runs the text of another branch"
        )


def _origin(root: Root, job_id: str, run_id: str) -> Run:
    """The run whose text is to run again. Raises: UsageError; RefusedError if it is no longer kept."""
    if run_id.rpartition(":")[0] != job_id:
        raise UsageError(
            f"{run_id!r} is not a run of {job_id!r}", hint=f"`scheduler versions {job_id}` lists the runs of each text"
        )
    with root.need_store(job_id) as store:
        number = run_id.rpartition(":")[2]
        kept = number.isascii() and number.isdigit() and len(number) <= 15
        if (
            kept
            and 0 < int(number) <= store.read(put_back.last_numbers).get(job_id, 0)
            and not store.read(runs.find_run, job_id, int(number))
        ):
            raise RefusedError(
                f"{run_id} and its text have been deleted",
                hint="retention.runs in scheduler.yaml sets how many runs a history keeps;"
                f" `scheduler versions {job_id}` lists the remaining ones",
            )
    run = run_of(root, run_id)
    task(root, run_id)  # also checks that it is intact
    return run


def _run_here(
    root: Root,
    job_id: str,
    cancel: Cancel,
    claimed: Callable[[Run, bool], None],
    origin: Run | None = None,
    *,
    check: bool = False,
    watched: bool = False,
) -> Run:
    from scheduler.ledger.owners import Owner
    from scheduler.run.local.attempts import Attempts
    from scheduler.sync.settle_copy import settle_copy

    with root.need_store(job_id, to_write=True) as store:
        settle_copy(store, root.place, now=root.clock.now(), actor=root.actor)
        root.recover(store)
        job = root.find_job(store, job_id)
        settings = store.read(syncs.settings) or Settings()
        with Owner(root.place.owners) as owner:
            claim = store.write(
                claims.claim_manual,
                job.id,
                trigger=Trigger.MANUAL if origin is None else Trigger.RERUN,
                task_of=None if origin is None else origin.n,
                check=check,
                watched=watched,
                requested_by=root.actor,
                owner=owner.id,
                max_running=settings.limits.max_running,
                now=root.clock.now(),
            )
            attempts = Attempts(
                place=root.place,
                store=store,
                clock=root.clock,
                environ=root.environ,
                passes=root.passes(),
                owner=owner.id,
            )
            run = attempts.carry_out(
                claim.runs[0], scratch=owner.scratch, cancel=cancel, claimed=lambda each: claimed(each, True)
            )
            run = _await_end(root, attempts, run, owner.scratch, cancel)
            if frees(run, 0):
                store.write(accounts.frees_account, run, now=root.clock.now())
        root.look_up_commits(store)
        return run


def _await_end(root: Root, attempts: Attempts, run: Run, scratch: Path, cancel: Cancel) -> Run:
    """Carry out the retries of a run here. In the meantime, it can be cancelled, or a daemon can take it over."""
    planned, start = None, 0.0
    while not run.status.finished and not cancel.is_set():
        if run.retry_at is not None and run.retry_at != planned:
            planned = run.retry_at
            start = time.monotonic() + (planned - root.clock.now()).total_seconds()
        left = _FOREGROUND_LOOK_S if run.retry_at is None else start - time.monotonic()
        if left <= 0:
            planned = None
            run = attempts.carry_out(run, scratch=scratch, cancel=cancel)
            continue
        cancel.wait(min(left, _FOREGROUND_LOOK_S))
        run = attempts.store.read(runs.find_run, run.job_id, run.n) or run
    if cancel.is_set() and run.retry_at is not None:
        return attempts.end_unstarted(run, "cancelled")
    return run


def dry_run_job(root: Root, job_id: str, *, task_of: str | None = None) -> DryRunJson:
    """What `run` would start: argv, working directory, names of the environment, and the text. Starts nothing.

    Raises: RefusedError with the reason of the skip if nothing could be started.
    """
    from scheduler.run.fire import from_disk, pinned

    trigger = Trigger.MANUAL if task_of is None else Trigger.RERUN
    passes = root.passes()
    ready: Ready | Fault
    if task_of is None and (new := _unsynced_job(root, job_id)) is not None:
        job, settings = new
        _refuse_branch(passes.other_branch(settings))
        ready = from_disk(passes, job, settings, trigger)
    else:
        with root.job(job_id) as (store, job):
            origin = None if task_of is None else _origin(root, job.id, task_of)
            if job.archived:
                raise RefusedError(f"job {job.id!r} is archived: no file defines it now")
            _refuse_other_branch(root, job.id)
            found = passes.look_again(store.read(syncs.observed, job_id=job.id), job.id, root.clock.now())
            if isinstance(found, Fault):
                raise _would_be_skipped(job, found)
            _, job, settings = found
            if origin is None:
                ready = from_disk(passes, job, settings, trigger)
            else:
                ready = pinned(passes, store, job, settings, origin)
    if isinstance(ready, Fault):
        raise _would_be_skipped(job, ready)
    process = _process(root, job, ready, trigger) if ready.queue is None else _sent(ready)
    if isinstance(process, Fault):
        raise _would_be_skipped(job, process)
    return {
        "job_id": job.id,
        "argv": list(process.argv),
        "cwd": str(process.cwd),
        "env": sorted(process.env),
        "input": ready.runner.input.value,
        "task_queue": ready.queue,
        "task_sha256": ready.task.sha256,
        "task": ready.task.text.decode(),
        "check": None if job.file.spec.check is None else _dry_check(root, passes, job, settings),
    }


def _process(root: Root, job: Job, ready: Ready, trigger: Trigger) -> Invocation | Fault:
    from scheduler.core.due.budgets import left_for_attempt
    from scheduler.run.local.fresh import fresh_cwd
    from scheduler.run.local.prepare import prepare_attempt

    attempt = 0 if ready.is_check else 1
    fresh = fresh_cwd(ready.place, job.id, "N") if ready.job.file.spec.workdir == FRESH else None
    if isinstance(fresh, Fault):
        return fresh
    budget = left_for_attempt(None, job.file.spec.budget)
    run_id, environ = f"{job.id}:0", root.environ
    return prepare_attempt(ready, run_id, None, trigger, attempt=attempt, environ=environ, fresh=fresh, budget=budget)


def _sent(ready: Ready) -> Invocation | Fault:
    """What workers would be told to start. Where the program is, and the rest of its environment, they know."""
    from scheduler.core.due.budgets import left_for_attempt
    from scheduler.core.formats.asked import model_of
    from scheduler.run.local.prepare import Invocation, chosen

    runner, spec = ready.runner, ready.job.file.spec
    budget = left_for_attempt(None, spec.budget)
    if fault := chosen(runner, spec, ready.given, budget=budget):
        return fault
    words = runner.words(model_of(spec, runner), spec.args, None if budget is None else f"{budget.normalize():f}")
    env = dict.fromkeys((*runner.env_from, *(name for name, _ in (*runner.env, *spec.env))), "")
    return Invocation(
        argv=(runner.command[0], *words), cwd=Path(spec.workdir or runner.cwd), env=env, stdin=None, task_file=None
    )


def _dry_check(root: Root, passes: Passes, job: Job, settings: Settings) -> DryCheckJson:
    """The process that would decide at a slot whether the job runs."""
    from scheduler.run.fire import from_disk

    check = job.file.spec.check
    assert check is not None
    ready = from_disk(passes, job.of_check, settings, Trigger.SCHEDULE, check=True)
    found: Invocation | Fault = ready if isinstance(ready, Fault) else _process(root, job, ready, Trigger.SCHEDULE)
    return {
        "runner": check.runner,
        "task_source_path": check.task_source_path,
        "timeout_ms": milliseconds(check.timeout),
        "output": check.output,
        "argv": None if isinstance(found, Fault) else list(found.argv),
        "fault": f"{found.message} [{found.reason}]" if isinstance(found, Fault) else None,
    }


def _unsynced_job(root: Root, job_id: str) -> tuple[Job, Settings] | None:
    """The job from its file, in a root that was never synced; None in any other, or if no file names it."""
    if not never_synced(root):
        return None
    found = read_unsynced(root)
    return next(((job, found.settings) for job in found.jobs if job.id == job_id), None)


def _would_be_skipped(job: Job, fault: Fault) -> RefusedError:
    return RefusedError(f"job {job.id!r} would be skipped: {fault.message} [{fault.reason}]")


def cancel_run(root: Root, run_id: str) -> Run:
    """Stop a run, whoever carries it out, and return it once it has ended.

    Raises: RefusedError for a run that has already ended; UnavailableError if it does not end in time.
    """
    from scheduler.control.client import answer_of
    from scheduler.run.ends import end_unstarted

    run = run_of(root, run_id)
    if run.status.finished:
        raise RefusedError(f"{run.id} has already ended: {run.status.value}")
    with Store.open(root.place.db) as store:
        store.write(append_audit, [root.audit_row(run.job_id, "cancel", field="run", after=run.id)])
        holder = root.daemon()
        if holder is None and run.status is RunStatus.QUEUED:  # nobody has started it yet
            end_unstarted(store, run, "cancelled", root.clock.now())
        elif holder is None or not answer_of(holder, "cancel", run_id=run.id)["found"]:
            _cancel_elsewhere(root, store, run, holder)
        give_up = time.monotonic() + CANCEL_WAIT.total_seconds()
        while True:
            now = store.read(runs.find_run, run.job_id, run.n)
            assert now is not None
            if now.status.finished:
                return now
            if time.monotonic() > give_up:
                raise UnavailableError(
                    f"{run.id} was asked to stop and has not ended yet",
                    hint=f"check again shortly: `scheduler show {run.id}`",
                )
            time.sleep(_LOOK_S)


def _cancel_elsewhere(root: Root, store: Store, run: Run, holder: Holder | None) -> None:
    """Ask the command that runs it in its foreground to stop it. If that command is dead, end what it left behind."""
    from scheduler.ledger import owners
    from scheduler.run.ends import end_unstarted

    found = next((each for each in store.read(runs.active) if each.run.id == run.id), None)
    if found is None:
        return  # ended in the meantime
    if found.run.status is RunStatus.QUEUED:  # nobody's yet: waiting for a retry in a foreground, or nothing fires here
        end_unstarted(store, found.run, "cancelled", root.clock.now())
        return
    pid = None if found.owner is None or found.kind != owners.LOCAL else owners.pid_of(found.owner)
    if holder is not None and pid == holder.pid:
        return  # the daemon's, which knows that it has ended and will record it
    if pid is not None and owners.is_alive(root.place.owners, found.owner):
        # While it holds its lock, the pid in its name is its own.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    else:
        root.recover(store)
