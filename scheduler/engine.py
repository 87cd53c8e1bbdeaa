"""Where attempts run: here, as local processes. Every path through it ends in a row of the ledger."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from scheduler import owner as owners
from scheduler.clock import Clock
from scheduler.config import Place, unusable
from scheduler.core.models import Fault, Job, Provenance, Run, RunnerSpec, RunStatus, Settings, Task, Trigger
from scheduler.core.problems import UnavailableError
from scheduler.crash import crash_point
from scheduler.git import provenance
from scheduler.runners.command import Context, Invocation, Outcome, execute, prepare
from scheduler.store import Store
from scheduler.tasks import read_task


class EndNotWrittenError(UnavailableError):
    """A run whose outcome is known and could not be written; nobody may write another one."""


_log = logging.getLogger(__name__)

END_TRIES = 6  # each waits for the database as long as any command does


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A task as it was read, where it came from, and the process that would run it."""

    task: Task
    provenance: Provenance
    runner: RunnerSpec
    invocation: Invocation


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Carries claimed runs to their end in this process."""

    place: Place
    store: Store
    clock: Clock
    environ: Mapping[str, str]

    def carry_out(self, run: Run, job: Job, settings: Settings, *, scratch: Path, cancel: threading.Event) -> Run:
        """Reads the task from disk as it stands now, runs it, and writes down what ran and how it ended (F2, F3, F5).

        scratch: a folder for private files, whose owner removes it.
        Returns the finished run: a skip with its reason where nothing could be started.
        Raises: UnavailableError where outputs cannot be kept, or the end cannot be written.
        """
        crash_point("after_claim")
        ready = self.make_ready(job, settings, run_id=run.id, fire_time=run.fire_time, trigger=run.trigger)
        if isinstance(ready, Fault):
            return self.skip(run, ready)
        stdout, stderr = (self.place.output(run.job_id, run.n, 1, stream) for stream in ("stdout", "stderr"))
        try:
            stdout.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(stdout.parent, error) from error
        run = self.store.start_attempt(
            run,
            n=1,
            generation=job.file.generation,
            task=ready.task,
            provenance=ready.provenance,
            now=self.clock.now(),
        )
        crash_point("before_spawn")
        outcome = execute(
            ready.invocation,
            timeout=job.file.spec.timeout,
            scratch=scratch,
            stdout=stdout,
            stderr=stderr,
            output_limit=settings.limits.output_bytes,
            on_spawn=lambda pid: self._spawned(run, pid),
            cancel=cancel,
        )
        crash_point("before_end")
        return _told(self._end(run, outcome))

    def _end(self, run: Run, outcome: Outcome | Fault) -> Run:
        """Writes how a run ended. A locked database must not turn what happened into something else: tries again."""
        now = self.clock.now()
        for left in reversed(range(END_TRIES)):
            try:
                if isinstance(outcome, Fault):
                    return self.store.finish(
                        run, status=RunStatus.FAILED, reason=outcome.reason, error=outcome.message, now=now
                    )
                return self.store.finish(
                    run,
                    status=RunStatus(outcome.status),
                    reason=outcome.reason,
                    exit_code=outcome.exit_code,
                    error=outcome.error,
                    result=outcome.result,
                    output_bytes=outcome.output_bytes,
                    truncated=outcome.truncated,
                    now=now,
                )
            except UnavailableError as error:
                if not left:
                    raise EndNotWrittenError(
                        f"{run.id} ended ({_words(outcome)}), but its end could not be written: {error}",
                        hint="the next command that runs or syncs marks it interrupted; its output is kept",
                    ) from error
        raise AssertionError("the last try returns or raises")

    def abandon(self, run: Run, error: BaseException) -> None:
        """Ends a run that an error of ours has stopped before its outcome was known; one that has ended stays so."""
        if isinstance(error, EndNotWrittenError):
            return
        with contextlib.suppress(UnavailableError):  # the first error is the one to tell
            self.store.finish(
                run,
                status=RunStatus.INTERRUPTED,
                reason="scheduler_error",
                error=f"{type(error).__name__}: {error}",
                now=self.clock.now(),
            )

    def cancel(self, run: Run) -> Run:
        """Ends a claimed run that a person has stopped before it started; no error, no run."""
        return self.store.finish(run, status=RunStatus.CANCELLED, reason="cancelled", now=self.clock.now())

    def make_ready(
        self, job: Job, settings: Settings, *, run_id: str, fire_time: datetime | None, trigger: Trigger
    ) -> Ready | Fault:
        """All that a run of this job would start with now, or why it cannot; starts and writes nothing."""
        spec, root = job.file.spec, self.place.root
        task = read_task(root, spec, job.file.path, settings, forbidden=self.place.state)
        if isinstance(task, Fault):
            return task
        runner = settings.runners.get(spec.runner)
        if runner is None:
            return Fault(reason="runner_unknown", message=f"scheduler.yaml has no runner {spec.runner!r}")
        source = provenance(root, task.source_path, task.source)
        context = Context(
            run_id=run_id,
            job_id=job.id,
            fire_time=fire_time,
            trigger=trigger.value,
            attempt=1,
            root=root,
            revision=source.revision,
            task_sha256=task.sha256,
        )
        invocation = prepare(runner, spec, task, context, environ=self.environ)
        if isinstance(invocation, Fault):
            return invocation
        return Ready(task=task, provenance=source, runner=runner, invocation=invocation)

    def skip(self, run: Run, fault: Fault) -> Run:
        """Ends a claimed run that could not start; a fault, so it counts as an error and is told (F7)."""
        ended = self.store.skip(run, reason=fault.reason, message=fault.message, fault=True, now=self.clock.now())
        return _told(ended)

    def recover(self) -> list[Run]:
        """Ends the runs whose owner is dead: what is left of their processes is killed, their rows say so (F4)."""
        ended = []
        for active in self.store.active():
            if owners.is_alive(self.place.owners, active.owner):
                continue
            if active.run.status is RunStatus.RUNNING:
                told = {"SCHEDULER_RUN_ID": active.run.id, "SCHEDULER_ROOT": str(self.place.root)}
                owners.end_processes(active.process, told)
            ended.append(
                self.store.finish(
                    active.run,
                    status=RunStatus.INTERRUPTED,
                    reason="owner_died",
                    error="the process that ran it ended without finishing it",
                    now=self.clock.now(),
                )
            )
        return ended

    def _spawned(self, run: Run, pid: int) -> None:
        crash_point("after_spawn")
        self.store.record_process(run, attempt=1, process=owners.identify(pid))


def _told(run: Run) -> Run:
    """Notifies of a failure, as long as there is no delivery: one WARNING line of event and fields (F7)."""
    if run.status not in (RunStatus.SUCCEEDED, RunStatus.CANCELLED):
        _log.warning("run_%s run_id=%s reason=%s error=%r", run.status.value, run.id, run.reason, run.error)
    return run


def _words(outcome: Outcome | Fault) -> str:
    if isinstance(outcome, Fault):
        return outcome.reason
    return outcome.status if outcome.exit_code is None else f"{outcome.status}, exit code {outcome.exit_code}"
