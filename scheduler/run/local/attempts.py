"""Where attempts run: here, as local processes. Every path through it ends in a row of the ledger."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from scheduler.core.due.due import is_slot
from scheduler.core.due.policy import retry_at
from scheduler.core.values.facts import Fault, Job, Provenance, Task
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.runs import Ending, Run, RunStatus, Trigger
from scheduler.core.values.settings import RunnerSpec, Settings
from scheduler.ledger import owners, queries, runs, syncs
from scheduler.ledger.put_back import OF_COPY
from scheduler.ledger.store import Store
from scheduler.machine import processes
from scheduler.machine.clock import Clock
from scheduler.machine.crash import crash_point
from scheduler.machine.log import Log
from scheduler.root.place import Place, unusable
from scheduler.root.tasks import not_committed, read_task
from scheduler.run.local.cancel import Cancel, Why
from scheduler.run.local.command import execute
from scheduler.run.local.prepare import Context, Invocation, prepare
from scheduler.sync.passes import LOOK_AGAIN_S, SAVE_S, Fresh, Passes


class EndNotWrittenError(UnavailableError):
    """A run whose outcome is known and could not be written; nobody may write another one.

    write_end: writes it, with a store that can; as long as nobody has, the run counts as under way.
    """

    def __init__(self, message: str, *, hint: str, write_end: Callable[[Store], Run]) -> None:
        super().__init__(message, hint=hint)
        self.write_end = write_end


_log = Log(__name__)

# What a save, or a commit, looks like for a moment.
_PASSING = ("source_missing", "source_empty", "source_invalid", "source_dirty")
END_TRIES = 6  # each waits for the database as long as any command does


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A task as it was read, where it came from, and the process that would run it."""

    task: Task
    provenance: Provenance
    runner: RunnerSpec
    invocation: Invocation


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEngine:
    """Carries claimed runs to their end in this process; `store` belongs to the thread that calls."""

    place: Place
    store: Store
    clock: Clock
    environ: Mapping[str, str]
    passes: Passes
    owner: str = ""  # this process, as the rows of its runs name it; empty: it runs none

    def carry_out(
        self, run: Run, *, scratch: Path, cancel: Cancel, claimed: Callable[[Run], None] = lambda _: None
    ) -> Run:
        """Looks at the job's file again, reads the task, runs it, and writes down what ran and how it ended (F1-F5).

        scratch: a folder for private files, whose owner removes it. claimed: told of the run before anything else.
        Returns the finished run: a skip with its reason where nothing could be started; or one that is `queued`, to
        be carried out again from its `retry_at` on; or, of these, one that another process carries out by now.
        Raises: UnavailableError where outputs cannot be kept, or the end cannot be written.
        """
        try:
            crash_point("after_claim")
            claimed(run)
            return self.told(self._carry_out(run, scratch, cancel))
        except EndNotWrittenError:
            raise
        except BaseException as error:
            self._abandon(run, error)
            raise

    def _carry_out(self, run: Run, scratch: Path, cancel: Cancel) -> Run:
        if run.attempts:
            return self._try_again(run, scratch, cancel)
        actor, cause = run.requested_by or "scheduler", "run" if run.fire_time is None else "fire"
        fresh = self.passes.refresh(self.store, run.job_id, cancel=cancel, actor=actor, cause=cause)
        if fresh is None or cancel.is_set():
            return self.end_unstarted(run, cancel.why or "cancelled")
        if isinstance(fresh, Fault):
            return self._skip(run, fresh)
        job, settings, here = fresh.job, fresh.settings, self.at(fresh.passes)
        if run.fire_time is not None and (superseded := _superseded(job, run.fire_time)):
            return self.store.write(
                runs.skip, run, reason="superseded", message=superseded, fault=False, now=self.clock.now()
            )
        if run.task_of is None:
            ready = here._await_ready(run, job, settings, cancel)
        else:
            ready = here.make_ready_again(job, settings, run, run_id=run.id)
        if isinstance(ready, Fault):
            return self._skip(run, ready)
        self._make_room(run)
        crash_point("after_read")
        started = self.store.write(
            runs.start_attempt,
            run,
            n=1,
            owner=self.owner,
            generation=job.file.generation,
            task=ready.task,
            provenance=ready.provenance,
            now=self.clock.now(),
        )
        return here._attempt(started, job, settings, ready.invocation, scratch, cancel)

    def at(self, passes: Passes) -> LocalEngine:
        """The same, of the files that these passes read; of one commit, these stay for as long as somebody has it."""
        return self if passes is self.passes else replace(self, place=passes.place, passes=passes)

    def _try_again(self, run: Run, scratch: Path, cancel: Cancel) -> Run:
        """The next attempt: the job as it is known by now, with the text of the first (F2)."""
        observed = self.store.read(syncs.observed, job_id=run.job_id)
        job, settings = observed.jobs[run.job_id], observed.settings or Settings()
        last = run.attempts[-1]
        if job.archived:  # its file is gone: no retry (F5)
            return self.store.write(
                runs.finish,
                run,
                Ending(
                    status=last.status,
                    reason=last.reason,
                    exit_code=last.exit_code,
                    error=run.error,
                    result=run.result,
                    output_bytes=run.output_bytes,
                    truncated=run.truncated,
                ),
                now=self.clock.now(),
            )
        if cancel.why == "interrupted":
            return run  # the next daemon tries it again
        if cancel.why is not None:
            return self.end_unstarted(run, cancel.why)
        assert run.task_sha256 is not None
        assert run.source_path is not None
        task = Task(
            text=self.store.read(queries.text, run.task_sha256, self.store.path),
            source_path=run.source_path,
            source=b"",
        )
        here = self
        if (
            self.place.followed is not None
        ):  # its program is of the newest commit: so have definition and settings to be
            actor, cause = run.requested_by or "scheduler", "retry"
            fresh = self.passes.refresh(self.store, run.job_id, cancel=cancel, actor=actor, cause=cause)
            if isinstance(fresh, Fresh):
                job, settings, here = fresh.job, fresh.settings, self.at(fresh.passes)
            else:
                place = self.place.now()
                here = self.at(replace(self.passes, place=place))
        ready = here._made_ready(
            job, settings, task, run.provenance, run_id=run.id, fire_time=run.fire_time, trigger=run.trigger,
            attempt=last.n + 1,
        )  # fmt: skip
        self._make_room(run)
        started = self.store.write(runs.start_retry, run, owner=self.owner, now=self.clock.now())
        if started is None:  # as by a daemon, started while a command waited in somebody's foreground
            return self.store.read(runs.run, run.job_id, run.n) or run
        crash_point("after_retry")
        if isinstance(ready, Fault):
            return self._end(started, ready, job, cancel)
        return here._attempt(started, job, settings, ready.invocation, scratch, cancel)

    def _make_room(self, run: Run) -> None:
        folder = self.place.output(run.job_id, run.n, 1, "stdout").parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(folder, error) from error

    def _attempt(
        self, run: Run, job: Job, settings: Settings, invocation: Invocation, scratch: Path, cancel: Cancel
    ) -> Run:
        """Carries out the attempt that was opened last."""
        n = run.attempts[-1].n
        crash_point("before_spawn")
        outcome = execute(
            invocation,
            timeout=job.file.spec.timeout,
            scratch=scratch,
            stdout=self.place.output(run.job_id, run.n, n, "stdout"),
            stderr=self.place.output(run.job_id, run.n, n, "stderr"),
            output_limit=settings.limits.output_bytes,
            on_spawn=lambda pid: self._spawned(run, n, pid),
            cancel=cancel,
        )
        crash_point("before_end")
        return self._end(run, outcome, job, cancel)

    def _await_ready(self, run: Run, job: Job, settings: Settings, cancel: Cancel) -> Ready | Fault:
        """As `make_ready`; a task that is absent or empty is looked for again: a save is seen so for a moment.

        So is one that is not committed: a commit writes the file before HEAD moves.
        """
        give_up = time.monotonic() + min(self.passes.absent_grace.total_seconds(), SAVE_S)
        while True:
            ready = self.make_ready(job, settings, run_id=run.id, fire_time=run.fire_time, trigger=run.trigger)
            passing = isinstance(ready, Fault) and ready.reason in _PASSING
            if not passing or time.monotonic() >= give_up or cancel.wait(LOOK_AGAIN_S):
                return ready

    def _end(self, run: Run, outcome: Ending | Fault, job: Job, cancel: Cancel) -> Run:
        """Writes how an attempt ended, and with it the run unless that is tried again.

        Nobody tries again what a person has cancelled or a newer run replaced, even if it ended by itself just then.
        A locked database must not turn what happened into something else: tries again.
        """
        if isinstance(outcome, Fault):
            outcome = Ending(status=RunStatus.FAILED, reason=outcome.reason, error=outcome.message)
        ending, now = outcome, self.clock.now()
        again = retry_at(job.file.spec.retry, attempts=run.attempts[-1].n, status=ending.status, now=now)
        if cancel.why in ("cancelled", "replaced"):
            again = None

        def write_end(store: Store) -> Run:
            with store.writing() as sql:
                known = queries.job(sql, run.job_id)
                if again is not None and known is not None and not known.archived:
                    return runs.end_attempt(sql, run, ending, retry_at=again, now=now)
                return runs.finish(sql, run, ending, now=now)

        for left in reversed(range(END_TRIES)):
            try:
                ended = write_end(self.store)
                crash_point("after_end")
                return ended
            except UnavailableError as error:
                if not left:
                    raise EndNotWrittenError(
                        f"{run.id} ended ({_words(outcome)}), but its end could not be written: {error}",
                        hint="a daemon tries again; else the next run or sync marks it interrupted. Its output is kept",
                        write_end=write_end,
                    ) from error
        raise AssertionError("the last try returns or raises")

    def _abandon(self, run: Run, error: BaseException) -> None:
        """Ends a run that an error of ours has stopped before its outcome was known; one that has ended stays so."""
        now = self.clock.now()

        def write_end(store: Store) -> Run:
            return give_up(store, run, error, now=now, owner=self.owner)

        try:
            write_end(self.store)
        except UnavailableError as second:
            raise EndNotWrittenError(
                f"{run.id} was given up ({error}), and that could not be written: {second}",
                hint="a daemon tries again; else the next run or sync marks it interrupted",
                write_end=write_end,
            ) from error

    def end_unstarted(self, run: Run, why: Why) -> Run:
        """Ends a run that was stopped before its process existed, or while it waits: no error of the job.

        Changes nothing where another process has gone on with it meanwhile.
        """
        if why == "interrupted":
            error = "the scheduler was stopped before it started"
            return self.store.write(
                runs.finish,
                run,
                Ending(status=RunStatus.INTERRUPTED, reason="shutdown", error=error),
                expected=run.status,
                now=self.clock.now(),
            )
        return self.store.write(
            runs.finish, run, Ending(status=RunStatus.CANCELLED, reason=why), expected=run.status, now=self.clock.now()
        )

    def make_ready(
        self, job: Job, settings: Settings, *, run_id: str, fire_time: datetime | None, trigger: Trigger
    ) -> Ready | Fault:
        """All that a run of this job would start with now, or why it cannot; starts and writes nothing."""
        task = read_task(
            self.place.root,
            job.file.spec,
            job.file.path,
            settings,
            forbidden=self.place.closed,
            parsed=self.passes.parsed,
        )
        if isinstance(task, Fault):
            return task
        path = task.real_path or task.source_path
        tree = self.passes.tree(path)
        source = tree.provenance(path, task.source)
        only_committed = settings.worktree.dirty == "skip" and trigger is not Trigger.MANUAL  # who asks may try a text
        if only_committed and (fault := not_committed(path, tree, source)):
            return fault
        return self._made_ready(
            job, settings, task, source, run_id=run_id, fire_time=fire_time, trigger=trigger, attempt=1
        )

    def make_ready_again(self, job: Job, settings: Settings, origin: Run, *, run_id: str) -> Ready | Fault:
        """As `make_ready` for a rerun: with the text that a run had, and where that came from, whatever is on disk.

        The definition, and what the runner may be given, are today's.
        """
        assert origin.task_sha256 is not None
        assert origin.source_path is not None
        task = Task(
            text=self.store.read(queries.text, origin.task_sha256, self.store.path),
            source_path=origin.source_path,
            source=b"",
            known_source_sha256=origin.source_sha256,
        )
        return self._made_ready(
            job, settings, task, origin.provenance, run_id=run_id, fire_time=None, trigger=Trigger.RERUN, attempt=1
        )

    def _made_ready(
        self,
        job: Job,
        settings: Settings,
        task: Task,
        source: Provenance,
        *,
        run_id: str,
        fire_time: datetime | None,
        trigger: Trigger,
        attempt: int,
    ) -> Ready | Fault:
        runner = settings.runners.get(job.file.spec.runner)
        if runner is None:
            return Fault(reason="runner_unknown", message=f"scheduler.yaml has no runner {job.file.spec.runner!r}")
        context = Context(
            run_id=run_id,
            job_id=job.id,
            fire_time=fire_time,
            trigger=trigger.value,
            attempt=attempt,
            root=self.place.root,
            revision=source.revision,
            task_sha256=task.sha256,
        )
        invocation = prepare(runner, job.file.spec, task, context, environ=self.environ)
        if isinstance(invocation, Fault):
            return invocation
        return Ready(task=task, provenance=source, runner=runner, invocation=invocation)

    def _skip(self, run: Run, fault: Fault) -> Run:
        """Ends a claimed run that could not start; a fault, so it counts as an error and is told (F7)."""
        return self.store.write(
            runs.skip, run, reason=fault.reason, message=fault.message, fault=True, now=self.clock.now()
        )

    def told(self, run: Run) -> Run:
        """Tells in the log how a run has ended, and that it has stopped its job (F7); or that it is tried again."""
        if run.retry_at is not None:
            last = run.attempts[-1]
            _log.info(
                "attempt_failed",
                "it is tried again then",
                run_id=run.id,
                attempt=last.n,
                status=last.status.value,
                retry_at=instant(run.retry_at),
            )
            return run
        if not run.status.finished:
            return run  # somebody else's by now
        log_end(run)
        if run.finished_at is not None and run.status not in (RunStatus.SUCCEEDED, RunStatus.CANCELLED):
            job = self.store.read(queries.job, run.job_id)
            if job is not None and job.runtime.stopped_at == run.finished_at:
                _log.warning(
                    "job_stopped",
                    f"an edit of its definition or task, or `scheduler resume {job.id}`, starts it again",
                    job_id=job.id,
                    reason=job.runtime.stop_reason,
                )
        return run

    def recover(self) -> list[Run]:
        """Ends the runs whose owner is dead: what is left of their processes is killed, their rows say so (F4).

        A queued run has no owner yet: it goes on waiting.
        """
        owners.tidy(self.place.owners)  # of the dead, whether or not a row still names them
        ended = []
        for active in self.store.read(runs.active):
            ours = active.owner == self.owner  # also if somebody has removed the file of our lock
            if active.run.status is RunStatus.QUEUED or ours or owners.is_alive(self.place.owners, active.owner):
                continue
            if active.run.status is RunStatus.RUNNING:
                told, followed = {"SCHEDULER_RUN_ID": active.run.id}, self.place.followed
                if followed is None:
                    told["SCHEDULER_ROOT"] = str(self.place.root)
                # A retry or a rerun was not in the folder of the commit that its text is of.
                processes.end_processes(active.process, told, root_below=None if followed is None else followed.commits)
            crash_point("in_recover")
            ended.append(self._interrupted(active.run))
            crash_point("between_recovered")
        return ended

    def _interrupted(self, run: Run) -> Run:
        now, error = self.clock.now(), "the process that ran it ended without finishing it"
        job = self.store.read(queries.job, run.job_id)
        if job is not None and not job.archived and run.attempts and run.reason != OF_COPY:
            again = retry_at(job.file.spec.retry, attempts=run.attempts[-1].n, status=RunStatus.INTERRUPTED, now=now)
            if again is not None:
                return self.store.write(
                    runs.end_attempt,
                    run,
                    Ending(status=RunStatus.INTERRUPTED, reason="owner_died", error=error),
                    retry_at=again,
                    now=now,
                )
        return self.store.write(
            runs.finish, run, Ending(status=RunStatus.INTERRUPTED, reason="owner_died", error=error), now=now
        )

    def _spawned(self, run: Run, attempt: int, pid: int) -> None:
        crash_point("after_spawn")
        try:
            with self.store.writing(durable=False) as sql:  # a power loss leaves no child
                runs.record_process(sql, run, attempt=attempt, process=processes.identify(pid))
        except UnavailableError as error:
            # A lock or a full disk is no reason to kill what has begun: a later owner finds it by its environment.
            _log.warning("process_not_recorded", run_id=run.id, pid=pid, error=str(error))
        crash_point("after_record")


def give_up(store: Store, run: Run, error: BaseException, *, now: datetime, owner: str | None = None) -> Run:
    """Ends a run that an error of ours has stopped; one that has ended stays so.

    owner: who gives it up; one that another process goes on with stays as it is.
    """
    return store.write(
        runs.finish,
        run,
        Ending(status=RunStatus.INTERRUPTED, reason="scheduler_error", error=f"{type(error).__name__}: {error}"),
        owner=owner,
        now=now,
    )


def _superseded(job: Job, slot: datetime) -> str:
    """Why an edit since has left no such slot to serve; empty where the present schedule names it too (F1)."""
    if not job.file.spec.enabled:
        return "the job was disabled after the slot was claimed"
    if not is_slot(job.file.spec.due_by, slot):
        return f"the schedule was changed after the slot was claimed, and no longer names {instant(slot)}"
    return ""


BENIGN = ("overlap", "paused", "missed", "superseded", "capacity")  # skips that are nobody's fault (F7)


def log_end(run: Run) -> Run:
    """One line for every end. As long as there is no delivery, a failure or fault is told by it: a WARNING (F7)."""
    fine = run.status in (RunStatus.SUCCEEDED, RunStatus.CANCELLED) or run.reason in BENIGN
    _log.log(
        logging.INFO if fine else logging.WARNING,
        f"run_{run.status.value}",
        run_id=run.id,
        reason=run.reason,
        error=run.error,
        fire_time=run.fire_time and instant(run.fire_time),
        duration_ms=run.duration_ms,
        task=run.task_sha256 and run.task_sha256[:12],
        revision=run.provenance.revision and run.provenance.revision[:12],
    )
    return run


def _words(outcome: Ending | Fault) -> str:
    if isinstance(outcome, Fault):
        return outcome.reason
    return outcome.status if outcome.exit_code is None else f"{outcome.status}, exit code {outcome.exit_code}"
