"""One run from its claim to its first process and to its end. Every path through it ends in a row of the ledger."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.core.due.budgets import left_for_attempt
from scheduler.core.due.checked import CHECK_FAILED, NOTHING_TO_DO, WANTS_CHECK, as_text, judge_check
from scheduler.core.due.place import Cause, PlaceFault
from scheduler.core.formats.queues import MOST_TASK_BYTES
from scheduler.core.values.facts import Fault, Job, Provenance
from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.runs import Ending, FreshTree, Run, RunStatus
from scheduler.core.values.settings import SCRATCH
from scheduler.core.values.spec import FRESH
from scheduler.ledger import places, queries, runs
from scheduler.ledger.batches import Pinned
from scheduler.ledger.skips import skip_alike
from scheduler.ledger.store import Store
from scheduler.machine import processes
from scheduler.machine.clock import Clock
from scheduler.machine.crash import crash_point
from scheduler.machine.log import Log
from scheduler.root.place import Place, unusable
from scheduler.run import ends
from scheduler.run.engine import Why
from scheduler.run.fire import CheckFault, HandOver, Ready, Superseded, lost_place, what_runs_again, what_shall_run
from scheduler.run.local.agent import as_told, speaks
from scheduler.run.local.cancel import Cancel
from scheduler.run.local.checks import Checked, Checking, check_here
from scheduler.run.local.command import execute
from scheduler.run.local.fresh import fresh_cwd, make_fresh, settle_fresh
from scheduler.run.local.prepare import Invocation, Tools, cannot_start, chosen, prepare_attempt
from scheduler.sync.passes import Passes

if TYPE_CHECKING:
    from sqlite3 import Connection

NO_ENGINE = "only a daemon hands runs to workers, and none has this one: start `scheduler serve`"

_log = Log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """An attempt that is about to be opened: everything about it is known, and nothing of it is on disk."""

    run: Run
    job: Job
    ready: Ready | Fault
    invocation: Invocation | Fault  # a Fault ends a retry as soon as it is open
    tree: FreshTree | None = None  # its worktree, with `workdir: fresh`

    def pinned(self) -> Pinned:
        assert isinstance(self.ready, Ready)
        ready = self.ready
        return Pinned(
            generation=ready.job.file.generation,
            task=ready.task,
            provenance=ready.provenance,
            runner_files=ready.runner_files,
            check_output=ready.check_output,
        )

    def settled(self, ending: Ending) -> Ending:
        """The ending of its attempt, with what that changed in its worktree. Git looks at all files there."""
        assert isinstance(self.ready, Ready)
        assert self.tree is not None
        return settle_fresh(self.ready.place, self.run, self.tree, ending)

    def of(self, run: Run) -> Opening:
        """The same for a run that has its number only now."""
        assert isinstance(self.invocation, Invocation)
        return Opening(run=run, job=self.job, ready=self.ready, invocation=self.invocation.of(run.id))

    def open(self, sql: Connection, *, owner: str, clock: Clock) -> Run | None:
        """Open it, before its process exists. None if another process has the run, or has ended it."""
        if self.run.attempts:
            files = self.ready.runner_files if isinstance(self.ready, Ready) else None
            return runs.start_retry(sql, self.run, owner=owner, runner_files=files, worktree=self.tree, now=clock.now())
        pinned = self.pinned()
        try:
            return runs.start_attempt(
                sql,
                self.run,
                n=1,
                owner=owner,
                generation=pinned.generation,
                task=pinned.task,
                provenance=pinned.provenance,
                runner_files=pinned.runner_files,
                worktree=self.tree,
                check_output=pinned.check_output,
                now=clock.now(),
            )
        except runs.EndedMeanwhileError:  # while we waited for its files; that is already logged
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Carries out claimed runs in this process. `store` belongs to the calling thread."""

    place: Place
    store: Store
    clock: Clock
    environ: Mapping[str, str]
    passes: Passes
    owner: str  # this process, as the rows of its runs name it
    lost: Callable[[PlaceFault], None] = lambda _: None  # called for each place fault that keeps a slot waiting
    no_engine: Callable[[Ready], str] = lambda _: NO_ENGINE  # why nothing can be handed over now; empty if it can

    def carry_out(
        self, run: Run, *, scratch: Path, cancel: Cancel, claimed: Callable[[Run], None] = lambda _: None
    ) -> Run:
        """Re-read the job's file, read the task, run it, and record what ran and how it ended (F1-F5).

        scratch: a folder for private files; the caller removes it. claimed: called with the run before anything else.
        Returns the finished run (a skip with its reason if nothing could be started), or a `queued` run to be carried
        out again from its `retry_at` on. In both cases another process may have taken over the run.
        Raises: UnavailableError if outputs cannot be kept, or the end cannot be written.
        """
        try:
            crash_point("after_claim")
            claimed(run)
            found = self.look(run, cancel)
            if isinstance(found, Checking):
                run = found.run
                found = self.look(run, cancel, check_here(found, scratch, cancel))
            assert not isinstance(found, Checking)
            if isinstance(found, Opening):
                found = self._carry_out(found, scratch, cancel)
            elif isinstance(found, HandOver):  # never here
                found = self._not_started(run, Fault(reason=Cause.ENGINE, message=NO_ENGINE))
            return ends.tell_end(self.store, found)
        except ends.EndNotWrittenError:
            raise
        except BaseException as error:
            self._abandon(run, error)
            raise

    def look_or_abandon(
        self, run: Run, cancel: Cancel, checked: Checked | None = None
    ) -> Opening | Checking | HandOver | Run:
        """Like `look`. An error of ours ends the run, and is raised. Raises also: EndNotWrittenError."""
        try:
            return self.look(run, cancel, checked)
        except BaseException as error:
            self._abandon(run, error)
            raise

    def _abandon(self, run: Run, error: BaseException) -> None:
        ends.abandon(self.store, run, error, self.owner, self.clock.now())

    def end_unstarted(self, run: Run, why: Why) -> Run:
        """End a run that was stopped before its process existed, or while it waits."""
        return ends.end_unstarted(self.store, run, why, self.clock.now())

    def look(self, run: Run, cancel: Cancel, checked: Checked | None = None) -> Opening | Checking | HandOver | Run:
        """Find out what the next attempt runs, as carefully as it takes. May wait, as for a file that is being saved.

        checked: the end of the check that an earlier look has asked for. Only then the text is read: a check takes
        time.
        Returns the run if it is over, or keeps waiting, or another process has it.
        """
        found = self._look_again(run, cancel) if run.attempts else self._look(run, cancel, checked)
        if isinstance(found, Opening):
            self.make_room()
        return found

    def make_room(self) -> None:
        """Raises: UnavailableError if no output could be kept."""
        try:
            if not (outputs := self.place.outputs).is_dir():
                outputs.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(self.place.outputs, error) from error

    def _look(self, run: Run, cancel: Cancel, checked: Checked | None) -> Opening | Checking | HandOver | Run:
        output = b""
        if checked is not None:
            crash_point("after_check")
            printed = checked.read()
            if cancel.why is not None:
                return self.end_unstarted(run, cancel.why)
            verdict = judge_check(checked.ending, printed)
            if verdict.answer == NOTHING_TO_DO:
                return self.store.write(skip_alike, run, reason=NOTHING_TO_DO, now=self.clock.now())
            if verdict.answer == CHECK_FAILED:
                return self._skip(run, CHECK_FAILED, verdict.why, fault=True)
            output = as_text(printed) if checked.appends else b""
        check = checked is None and (run.fire_time is not None or run.reason == WANTS_CHECK)
        ready = what_shall_run(self.passes, self.store, run, cancel.wait, check=check)
        if ready is None:
            return self.end_unstarted(run, cancel.why or "cancelled")
        if isinstance(ready, Superseded):
            return self._skip(run, "superseded", ready.message, fault=False)
        if isinstance(ready, Ready) and output:
            ready = replace(ready, check_output=output)
        if isinstance(ready, Ready) and (queue := ready.queue) is not None:
            away = self._hand_over(ready, run, queue)
            return away if isinstance(away, HandOver) else self._not_started(run, away)
        invocation, tree = (ready, None) if isinstance(ready, Fault) else self._prepare(ready, run)
        if isinstance(invocation, Fault) or isinstance(ready, Fault):
            assert isinstance(invocation, Fault)
            return self._not_started(run, invocation)
        if ready.is_check:
            return self._checking(run, ready, invocation)
        return Opening(run=run, job=ready.job, ready=ready, invocation=invocation, tree=tree)

    def _look_again(self, run: Run, cancel: Cancel) -> Opening | HandOver | Run:
        last, job = run.attempts[-1], self.store.read(queries.job, run.job_id)
        assert job is not None
        if job.archived:  # its file is gone: no retry (F5)
            ending = Ending(
                status=last.status,
                reason=last.reason,
                exit_code=last.exit_code,
                error=run.error,
                result=run.result,
                output_bytes=run.output_bytes,
                truncated=run.truncated,
                agent=run.agent,
            )
            return self.store.write(runs.finish, run, ending, now=self.clock.now())
        if cancel.why == "interrupted":
            return run  # the next daemon tries it again
        if cancel.why is not None:
            return self.end_unstarted(run, cancel.why)
        ready = what_runs_again(self.passes, self.store, run, cancel.wait)
        if isinstance(ready, Ready) and (queue := ready.queue) is not None:
            away = self._hand_over(ready, run, queue)
            if isinstance(away, HandOver):
                return away
            ready = away
        invocation, tree = (ready, None) if isinstance(ready, Fault) else self._prepare(ready, run)
        if isinstance(invocation, Fault) and run.fire_time is not None:
            lost = lost_place(self.passes, self.store, run, invocation)
            if lost is not None:  # keep waiting
                self.lost(lost)
                return run
        defined = job if isinstance(ready, Fault) else ready.job
        return Opening(run=run, job=defined, ready=ready, invocation=invocation, tree=tree)

    def _hand_over(self, ready: Ready, run: Run, queue: str) -> HandOver | Fault:
        """What goes to workers of a queue: nothing of this machine is looked at but the rules of the runner."""
        spec = ready.job.file.spec
        budget = left_for_attempt(run.reserved, spec.budget, run.attempts)
        if fault := chosen(ready.runner, spec, ready.given, budget=budget):
            return fault
        if why := self.no_engine(ready):
            return Fault(reason=Cause.ENGINE, message=f"job {run.job_id!r} is for workers of queue {queue!r}: {why}")
        if ready.runner.cwd != SCRATCH and (lacks := _no_commit(ready)):
            message = f"workers make the folder of runner {ready.runner.name!r} from a commit, and {lacks}"
            return cannot_start("needs_commit", message)
        if len(ready.given.text) > MOST_TASK_BYTES:
            message = f"the text has {len(ready.given.text):,} bytes; at most {MOST_TASK_BYTES:,} are sent to workers"
            return Fault(reason="source_too_large", message=message)
        return HandOver(run=run, ready=ready, queue=queue, budget=budget)

    def prepare(
        self, ready: Ready, run: Run, tools: Tools | None = None, *, fresh: Path | None = None
    ) -> Invocation | Fault:
        """The process of a run's next attempt.

        tools: of its runner, if somebody has looked already. fresh: its working directory in a worktree of its own.
        """
        n = 0 if ready.is_check else run.attempts[-1].n + 1 if run.attempts else 1
        found = prepare_attempt(
            ready,
            run.id,
            run.fire_time,
            run.trigger,
            attempt=n,
            environ=self.environ,
            tools=tools,
            fresh=fresh,
            budget=left_for_attempt(run.reserved, ready.job.file.spec.budget, run.attempts),
        )
        if ready.is_check and isinstance(found, Fault):
            return CheckFault(reason=found.reason, message=found.message)
        return found

    def _prepare(self, ready: Ready, run: Run) -> tuple[Invocation | Fault, FreshTree | None]:
        """The same, and its worktree, made last: where anything else is wrong, none is needed."""
        if ready.job.file.spec.workdir != FRESH:
            return self.prepare(ready, run), None
        cwd = fresh_cwd(ready.place, run.job_id, run.n)
        invocation = cwd if isinstance(cwd, Fault) else self.prepare(ready, run, fresh=cwd)
        if isinstance(invocation, Fault) or isinstance(cwd, Fault):
            return invocation, None
        source = ready.provenance
        if run.task_of is not None:  # the text may be as old as it likes; the files are those of now
            tree = replace(self.passes, place=ready.place).tree()
            source = Provenance(revision=tree.revision, why_none=tree.why_unavailable)
        made = make_fresh(ready.place, run, cwd, source.revision, source.why_none)
        return (made, None) if isinstance(made, Fault) else (invocation, made)

    def _not_started(self, run: Run, fault: Fault) -> Run:
        """Handle a claimed run that cannot start: its slot waits for its place; anything else is a skip (F7)."""
        lost = lost_place(self.passes, self.store, run, fault)
        if lost is None and isinstance(fault, CheckFault):
            return self._skip(run, CHECK_FAILED, f"the check could not start: {fault.message}", fault=True)
        if lost is None or run.fire_time is None:
            return self._skip(run, fault.reason, fault.message, fault=lost is None)
        self.lost(lost)
        return self.store.write(places.keep_waiting, run)

    def _skip(self, run: Run, reason: str, message: str, *, fault: bool) -> Run:
        """End a claimed run that could not start. A fault counts as an error and is logged (F7)."""
        return self.store.write(runs.skip, run, reason=reason, message=message, fault=fault, now=self.clock.now())

    def _checking(self, run: Run, ready: Ready, invocation: Invocation) -> Checking | Run:
        """The check of a run, which has a place from now on."""
        taken = self.store.write(runs.take, run, owner=self.owner)
        spec = ready.job.file.spec
        if taken is None or spec.check is None:
            return self.store.read(runs.find_run, run.job_id, run.n) or run
        return Checking(run=taken, invocation=invocation, timeout=spec.timeout, appends=spec.check.output == "append")

    def _carry_out(self, opening: Opening, scratch: Path, cancel: Cancel) -> Run:
        """Open an attempt, run its process, and write how it ended."""
        tried = opening.run
        crash_point("after_read")
        with self.store.writing() as sql:
            run = opening.open(sql, owner=self.owner, clock=self.clock)
        if run is None:  # for example, a daemon took the run that a command in the foreground was waiting to retry
            return self.store.read(runs.find_run, tried.job_id, tried.n) or tried
        if tried.attempts:
            crash_point("after_retry")
        outcome: Ending | Fault
        if isinstance(opening.invocation, Fault):
            outcome = opening.invocation
        else:
            outcome = self._execute(run, opening, opening.invocation, scratch, cancel)
        if isinstance(outcome, Fault):
            outcome = Ending(status=RunStatus.FAILED, reason=outcome.reason, error=outcome.message)
        if opening.tree is not None:
            outcome = opening.settled(outcome)
        return ends.end_attempt(self.store, run, outcome, opening.job, cancel.why, self.clock.now())

    def _execute(
        self, run: Run, opening: Opening, invocation: Invocation, scratch: Path, cancel: Cancel
    ) -> Ending | Fault:
        assert isinstance(opening.ready, Ready)
        n = run.attempts[-1].n
        crash_point("before_spawn")
        with self.store.writing(durable=False) as sql:  # survives a kill; a reboot is recognised by the boot id
            runs.mark_spawning(sql, run, attempt=n)
        outcome = execute(
            invocation,
            timeout=opening.job.file.spec.timeout,
            scratch=scratch,
            stdout=self.place.output(run.job_id, run.n, n, "stdout"),
            stderr=self.place.output(run.job_id, run.n, n, "stderr"),
            output_limit=opening.ready.settings.limits.output_bytes,
            on_spawn=lambda pid: self._spawned(run, n, pid),
            cancel=cancel,
        )
        if isinstance(outcome, Ending) and speaks(invocation):
            files = {name: os.fspath(self.place.output(run.job_id, run.n, n, name)) for name in ("stdout", "stderr")}
            now = self.clock.now()
            outcome = as_told(invocation, outcome, at=now, since=run.started_at or now, **files)
        crash_point("before_end")
        return outcome

    def _spawned(self, run: Run, attempt: int, pid: int) -> None:
        crash_point("after_spawn")
        try:
            with self.store.writing(durable=False) as sql:  # after a power loss there is no child
                runs.record_process(sql, run, attempt=attempt, process=processes.identify(pid))
        except UnavailableError as error:
            # Do not kill a started process because of a lock or a full disk: a later owner finds it by its environment.
            _log.warning("process_not_recorded", run_id=run.id, pid=pid, error=str(error))
        crash_point("after_record")


def _no_commit(ready: Ready) -> str:
    """Why there is no commit from which a worker could make the folder around a task. Empty if there is one."""
    if ready.place.followed is None:
        return (
            "this root follows no remote branch: give the runner cwd: scratch, or make the root with `scheduler clone`"
        )
    source = ready.provenance
    if source.revision is None or source.dirty is not None:
        return "the task is not as it was committed"
    return ""
