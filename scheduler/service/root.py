"""The verbs that every face shares: those that read (reading.py), and validate, plan, sync, run, pause, resume, cancel,
serve, doctor, backup, restore.

Faces parse and print; nothing they offer goes around these functions (I1). Results are the JSON shapes of
interface.md or core values; what cannot be done is a SchedulerError. Where a daemon holds the database, what has to be
done by one process is done by it; everything else is written here, and the daemon is told to look.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.core.values.facts import Fault, Job, Pause
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import Problem, RefusedError, UnavailableError, UsageError, did_you_mean
from scheduler.core.values.runs import AuditRow, Run, RunStatus, Trigger
from scheduler.core.values.settings import ROOT_FILE, Agents, Settings
from scheduler.core.views import Json
from scheduler.ledger import carried, claims, clock_steps, put_back, queries, runs, syncs
from scheduler.ledger.audit import append_audit
from scheduler.ledger.cursor import until_fresh
from scheduler.ledger.store import Store
from scheduler.ledger.syncs import Observed
from scheduler.root.files import WorkingTree
from scheduler.root.place import is_there
from scheduler.root.settings import lenient_settings, read_settings
from scheduler.service.look import GLANCE_S, Reading

if TYPE_CHECKING:  # the file readers: paid for by the commands that read files
    from scheduler.control.daemon_lock import Holder
    from scheduler.daemon.daemon import Served
    from scheduler.ledger.carried import Carried, State
    from scheduler.ledger.copies import Contents
    from scheduler.maintenance.backup import Copy
    from scheduler.maintenance.restoring import Restored
    from scheduler.maintenance.retention import Collected
    from scheduler.run.local.attempts import Attempts
    from scheduler.run.local.cancel import Cancel
    from scheduler.service.edit.verbs import Edits
    from scheduler.service.imports.importing import Imports
    from scheduler.service.review.review import Reviewed
    from scheduler.sync.passes import Passes
    from scheduler.sync.synced import Synced

CANCEL_WAIT = timedelta(seconds=15)  # TERM, ten seconds, KILL, and the writing down
SHORTEST_GAP = timedelta(seconds=1)  # between two slots: a pause that ends so soon after one covers no second
_LOOK_S = 0.05
_FOREGROUND_LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler(Reading):
    """One root, seen by one caller."""

    absent_grace: timedelta = timedelta(seconds=10)  # F1

    # -- files -----------------------------------------------------------------------------------

    def source_lines(self, problems: Sequence[Problem]) -> Sequence[str | None]:
        """The line that each problem points at, for a person to see; None where there is none to show."""
        from scheduler.root.excerpts import source_lines

        return source_lines(WorkingTree(self.place.now()), problems)

    def validate(self, paths: Sequence[Path] = ()) -> tuple[Problem, ...]:
        """Every problem of every file, or of the named files and folders, sorted; needs no database, starts nothing.

        Raises: UsageError for a path that is no job file of this root.
        """
        from scheduler.core.formats.rootfile import NEEDS_SETTINGS
        from scheduler.core.plan.claims import across_files
        from scheduler.git.tree import Tree
        from scheduler.root.desired import read_desired

        settings, root_problems = read_settings(self.place)
        broken = settings is None
        settings = settings or lenient_settings(self.place)
        if settings is None:
            return root_problems
        desired = read_desired(WorkingTree(self.place), settings, Tree())
        problems = sorted({*root_problems, *desired.problems, *across_files(desired)})
        if broken:
            problems = [problem for problem in problems if problem.code not in NEEDS_SETTINGS]
        if not paths:
            return tuple(problems)
        wanted = [self._below_root(path) for path in paths]
        known = {found.document.path for found in desired.found} | desired.broken | desired.empty
        known |= {problem.path for problem in problems} | {ROOT_FILE}
        for path, given in zip(wanted, paths, strict=True):
            if not any(_below(each, path) for each in known):
                raise UsageError(
                    f"{given} is no job file of {self.place.root}",
                    hint=did_you_mean(path, known) or "job files are those that `jobs` in scheduler.yaml names",
                )
        if broken:
            wanted.append(ROOT_FILE)  # without it nobody can say that they are sound
        return tuple(problem for problem in problems if any(_below(problem.path, path) for path in wanted))

    def _below_root(self, path: Path) -> str:
        try:
            return path.resolve().relative_to(self.place.root).as_posix()
        except ValueError:
            raise UsageError(f"{path} lies outside the root {self.place.root}") from None

    def plan(self, *, confirmed: str | None = None, now_anyway: bool = False) -> Synced:
        """What a sync would change now; writes nothing."""
        return self._passes().plan(self._observed(), confirmed=confirmed, now_anyway=now_anyway)

    def _observed(self) -> Observed:
        if not is_there(self.place.db):
            from scheduler.maintenance.lost import refuse_lost

            refuse_lost(self.place)
            return Observed(jobs={}, settings=None, ticket=0)
        with self._open() as store:
            return store.read(syncs.observed)

    def review(self, *, base: str | None = None, head: str | None = None, direct: bool = False) -> Reviewed:
        """What a sync would change, with all that a person needs to decide; writes nothing.

        base: a revision to compare with instead of the database, which is then not looked at.
        head: the revision that is compared; None: the files on disk.
        direct: with `base` itself, not with the commit where `head` left it.
        Raises: UsageError for a revision that is not there, UnavailableError where git or the root cannot be used.
        """
        from scheduler.service.review.review import review_commits, with_review

        if base is not None:
            return review_commits(self.place, self.clock, base=base, head=head, direct=direct)
        found, planned = self._passes().look(self._observed())
        return with_review(found, planned, self.place, now=self.clock.now())

    def sync(
        self,
        *,
        confirmed: str | None = None,
        cause: str = "sync",
        now_anyway: bool = False,
        new_state: bool = False,
    ) -> Synced:
        """One pass, by the daemon if one runs.

        now_anyway: also while git is in the middle of something (S8).
        new_state: start without a history where the one there was is gone.
        Raises: UnavailableError where the root or the database cannot be used.
        """
        from scheduler.control.client import answer_of
        from scheduler.maintenance.lost import start_state
        from scheduler.sync.settle_copy import settle_copy
        from scheduler.sync.synced import Synced

        holder = self._daemon()
        if holder is not None:
            answer = answer_of(holder, "sync", actor=self.actor, confirmed=confirmed, now_anyway=now_anyway)
            return Synced.from_json(answer)
        self._follow()
        start_state(self.place, new_state=new_state, now=self.clock.now())
        settings, _ = read_settings(self.place.now())  # the look may have made another commit the root
        if settings is None and not is_there(self.place.db):
            return self.plan(confirmed=confirmed)  # nothing to keep the problems in
        self.place.make_state()
        with Store.open(self.place.db) as store:
            settle_copy(store, self.place, now=self.clock.now(), actor=self.actor)
            self._set_right(store)
            recovered = self._recover(store)
            found = self._passes().sync(
                store, actor=self.actor, cause=cause, confirmed=confirmed, now_anyway=now_anyway
            )
        return replace(found, recovered=tuple(run.id for run in recovered))

    def _follow(self) -> None:
        """Where no daemon does it: looks at the remote that the root is kept from."""
        if self.place.followed is not None:
            from scheduler.remote.following import Follow

            Follow(followed=self.place.followed, clock=self.clock, environ=self.environ, logs=False).look()

    def _set_right(self, store: Store) -> None:
        """Where no daemon does it: rows that lie ahead, because the clock has gone back (F6)."""
        from scheduler.core.times.clocks import NOT_BEFORE
        from scheduler.sync.clock_repair import set_right

        now, newest = self.clock.now(), store.read(clock_steps.last_clock).newest
        if now >= NOT_BEFORE:
            set_right(store, now=now, whole=newest is not None and newest > now, actor=self.actor)

    # -- running ---------------------------------------------------------------------------------

    def run(
        self,
        job_id: str,
        *,
        cancel: Cancel,
        wait: bool = True,
        claimed: Callable[[Run, bool], None] = lambda *_: None,
        task_of: str | None = None,
    ) -> Run:
        """Runs a job now: in the daemon if one runs, else in this process, whatever `wait` says.

        claimed: told of the run once its row stands, and whether it runs here.
        task_of: a run of the job, JOB:N, whose text it is given again; where that came from, this run says of itself.
        Returns the finished run, a skip where it could not start; without `wait`, a daemon's run as it stands.
        What its own file and scheduler.yaml say now counts, synced or not (F1); the task is read last of all.
        Raises: RefusedError, leaving no row, for an archived or a running job; UsageError for an unknown one.
        """
        from scheduler.control.client import ask

        origin = None if task_of is None else self._origin(job_id, task_of)
        holder = self._daemon()
        if holder is None:
            return self._run_here(job_id, cancel, claimed, origin)
        with self._need_store(job_id, to_write=True) as store:
            job = self._job(store, job_id, prefix=False)
            run: Run | None = None
            # A verb of its own: a daemon of an earlier version must not run another text than was asked for.
            what: Json = {"verb": "run"} if origin is None else {"verb": "rerun", "task_of": origin.n}
            for answer in ask(holder, **what, job_id=job.id, actor=self.actor, wait=wait):
                first = run is None
                run = store.read(runs.find_run, job.id, answer["n"])
                assert run is not None  # the daemon says so once its row stands
                if first:
                    claimed(run, False)
            if run is None or (wait and not run.status.finished):
                raise UnavailableError(
                    f"the daemon ({holder}) hung up before the run had ended",
                    hint=f"`scheduler history {job.id}` shows how it went on",
                )
            return run

    def _origin(self, job_id: str, run_id: str) -> Run:
        """The run whose text is to run again. Raises: UsageError, RefusedError where it is kept no longer."""
        if run_id.rpartition(":")[0] != job_id:
            raise UsageError(
                f"{run_id!r} is no run of {job_id!r}", hint=f"`scheduler versions {job_id}` names those of each text"
            )
        with self._need_store(job_id) as store:
            number = run_id.rpartition(":")[2]
            kept = number.isascii() and number.isdigit() and len(number) <= 15
            if (
                kept
                and 0 < int(number) <= store.read(put_back.last_numbers).get(job_id, 0)
                and not store.read(runs.find_run, job_id, int(number))
            ):
                raise RefusedError(
                    f"{run_id} is not kept any more, and neither is its text",
                    hint="retention.runs in scheduler.yaml says how many rows of a history are kept;"
                    f" `scheduler versions {job_id}` names those that are left",
                )
        run = self.run_of(run_id)
        self.task(run_id)  # also that it is whole
        return run

    def _run_here(
        self, job_id: str, cancel: Cancel, claimed: Callable[[Run, bool], None], origin: Run | None = None
    ) -> Run:
        from scheduler.ledger.owners import Owner
        from scheduler.sync.settle_copy import settle_copy

        with self._need_store(job_id, to_write=True) as store:
            settle_copy(store, self.place, now=self.clock.now(), actor=self.actor)
            self._recover(store)
            job = self._job(store, job_id, prefix=False)
            settings = store.read(syncs.settings) or Settings()
            with Owner(self.place.owners) as owner:
                claim = store.write(
                    claims.claim_manual,
                    job.id,
                    trigger=Trigger.MANUAL if origin is None else Trigger.RERUN,
                    task_of=None if origin is None else origin.n,
                    requested_by=self.actor,
                    owner=owner.id,
                    max_running=settings.limits.max_running,
                    now=self.clock.now(),
                )
                attempts = self._attempts(store, owner.id)
                run = attempts.carry_out(
                    claim.runs[0], scratch=owner.scratch, cancel=cancel, claimed=lambda each: claimed(each, True)
                )
                return self._await_end(attempts, run, owner.scratch, cancel)

    def _await_end(self, attempts: Attempts, run: Run, scratch: Path, cancel: Cancel) -> Run:
        """Tries a run again here as long as it says so. Meanwhile somebody may cancel it, or a daemon go on with it."""

        planned, start = None, 0.0
        while not run.status.finished and not cancel.is_set():
            if run.retry_at is not None and run.retry_at != planned:
                planned = run.retry_at
                start = time.monotonic() + (planned - self.clock.now()).total_seconds()
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

    def dry_run(self, job_id: str, *, task_of: str | None = None) -> Json:
        """What `run` would start: argv, working directory, names of the environment, and the text. Starts nothing.

        Raises: RefusedError with the reason of the skip where nothing could be started.
        """
        from scheduler.run.fire import from_disk, pinned
        from scheduler.run.local.prepare import prepare_attempt

        with self._need_store(job_id) as store:
            job = self._job(store, job_id, prefix=False)
            origin = None if task_of is None else self._origin(job.id, task_of)
            if job.archived:
                raise RefusedError(f"job {job.id!r} is archived: no file names it any more")
            passes = self._passes()
            found = passes.look_again(store.read(syncs.observed, job_id=job.id), job.id, self.clock.now())
            trigger = Trigger.MANUAL if origin is None else Trigger.RERUN
            if isinstance(found, Fault):
                raise _would_be_skipped(job, found)
            _, job, settings = found
            if origin is None:
                ready = from_disk(passes, job, settings, trigger)
            else:
                ready = pinned(self.place, store, job, settings, origin)
        if isinstance(ready, Fault):
            raise _would_be_skipped(job, ready)
        process = prepare_attempt(ready, f"{job.id}:0", None, trigger, attempt=1, environ=self.environ)
        if isinstance(process, Fault):
            raise _would_be_skipped(job, process)
        return {
            "job_id": job.id,
            "argv": list(process.argv),
            "cwd": str(process.cwd),
            "env": sorted(process.env),
            "input": ready.runner.input.value,
            "task_sha256": ready.task.sha256,
            "task": ready.task.text.decode(),
        }

    def cancel(self, run_id: str) -> Run:
        """Ends a run, whoever carries it out, and returns it once it has ended.

        Raises: RefusedError for a run that has ended already; UnavailableError where it does not end in time.
        """
        from scheduler.control.client import answer_of
        from scheduler.run.ends import end_unstarted

        run = self.run_of(run_id)
        if run.status.finished:
            raise RefusedError(f"{run.id} has ended already: {run.status.value}")
        with Store.open(self.place.db) as store:
            store.write(append_audit, [self._audit_row(run.job_id, "cancel", field="run", after=run.id)])
            holder = self._daemon()
            if holder is None and run.status is RunStatus.QUEUED:  # nobody's yet
                end_unstarted(store, run, "cancelled", self.clock.now())
            elif holder is None or not answer_of(holder, "cancel", run_id=run.id)["found"]:
                self._cancel_elsewhere(store, run, holder)
            give_up = time.monotonic() + CANCEL_WAIT.total_seconds()
            while True:
                now = store.read(runs.find_run, run.job_id, run.n)
                assert now is not None
                if now.status.finished:
                    return now
                if time.monotonic() > give_up:
                    raise UnavailableError(f"{run.id} was told to end and has not yet", hint="look again in a moment")
                time.sleep(_LOOK_S)

    def _cancel_elsewhere(self, store: Store, run: Run, holder: Holder | None) -> None:
        """Tells the command in whose foreground the run is; where that is dead, ends what it has left."""
        from scheduler.ledger import owners
        from scheduler.run.ends import end_unstarted

        found = next((each for each in store.read(runs.active) if each.run.id == run.id), None)
        if found is None:
            return  # ended meanwhile
        if (
            found.run.status is RunStatus.QUEUED
        ):  # nobody's yet: to be tried again in a foreground, or nothing fires here
            end_unstarted(store, found.run, "cancelled", self.clock.now())
            return
        pid = None if found.owner is None or found.kind != owners.LOCAL else owners.pid_of(found.owner)
        if holder is not None and pid == holder.pid:
            return  # the daemon's, which knows that it has ended and will write it
        if pid is not None and owners.is_alive(self.place.owners, found.owner):
            # While it holds its lock the pid in its name is its own.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        else:
            self._recover(store)

    # -- an operator's facts ---------------------------------------------------------------------

    def pause(
        self, job_id: str, *, reason: str | None = None, until: datetime | None = None, one_slot: bool = False
    ) -> Json:
        """Holds a job back: its slots become skips, `paused`. Survives every sync; said again, it is replaced.

        one_slot: only the next one.
        Raises: UsageError for an instant that has passed; RefusedError for an archived job, and with `one_slot` for
        one that is paused already or has no slot ahead.
        """
        from scheduler.core.due.due import next_slot

        now = self.clock.now()
        if until is not None and until <= now:
            raise UsageError(f"--until {instant(until)} has already passed", hint="name a later instant")

        def paused(job: Job) -> Pause:
            if job.archived:
                raise RefusedError(f"job {job.id!r} is archived: nothing of it is due")
            going_on = job.pause is not None and job.pause.covers(now)
            since = job.pause.at if job.pause is not None and going_on else now
            if not one_slot:
                return Pause(at=since, reason=reason, until=until, by=self.actor)
            if going_on:
                raise RefusedError(f"job {job.id!r} is paused already", hint=f"`scheduler resume {job.id}` first")
            slot = next_slot(job, now)
            if slot is None:
                raise RefusedError(f"job {job.id!r} is {job.status(now).value}: no slot of it is coming")
            return Pause(at=now, reason=reason, until=slot + SHORTEST_GAP, by=self.actor)

        return self._set_pause(job_id, "pause", paused)

    def resume(self, job_id: str) -> Json:
        """Lifts a pause, and starts a stopped job anew: slots that passed meanwhile are not made up for.

        A job that is neither stays as it is.
        """
        return self._set_pause(job_id, "resume", lambda _: None)

    def _set_pause(self, job_id: str, action: str, pause: Callable[[Job], Pause | None]) -> Json:
        from scheduler.core.due.due import held_back, replaced

        with self._need_store(job_id, to_write=True) as store:
            found = self._job(store, job_id, prefix=False)

            def turn() -> None:
                observed = store.read(syncs.observed, job_id=found.id)
                job, now = observed.jobs[found.id], self.clock.now()
                new = pause(job)
                arms = new is None and job.runtime.stopped_at is not None and not job.archived
                changes: dict[str, tuple[object, object]] = {}
                if new != job.pause:
                    changes["pause"] = _pause_json(job.pause), _pause_json(new)
                if arms:
                    changes["status"] = "stopped", "active"
                if not changes:
                    return
                first, *also = [
                    self._audit_row(job.id, action, field=field, before=before, after=after)
                    for field, (before, after) in changes.items()
                ]
                settled = held_back(job, now) if new is None else replaced(job, now)
                store.write(
                    syncs.set_pause,
                    job.id,
                    new,
                    audit=first,
                    also=also,
                    ticket=observed.ticket,
                    settled=settled,
                    arms=arms,
                )

            until_fresh(turn, "nothing was done")
        self._wake()
        return self.show(found.id)

    def _audit_row(self, job_id: str, action: str, *, field: str, before: object = None, after: object) -> AuditRow:
        return AuditRow(
            job_id=job_id,
            action=action,
            field=field,
            before=before,
            after=after,
            at=self.clock.now(),
            actor=self.actor,
            cause=action,
        )

    # -- edits of files --------------------------------------------------------------------------

    def edits(self, *, by_agent: bool = False) -> Edits:
        """The verbs that change a job by changing its file. by_agent: held to `agents` in scheduler.yaml."""
        from scheduler.service.edit.verbs import Edits

        return Edits(
            place=self.place,
            environ=self.environ,
            tell=self.tell,
            known=self._known,
            show=self.show,
            sync=self._sync_edit,
            runs=self._texts,
            text=self._text,
            agents=self.agents,
            by_agent=by_agent,
        )

    def need_leave(self, verb: str, job_id: str | None = None) -> None:
        """That an agent may do this. Raises: RefusedError; UsageError for an unknown job."""
        from scheduler.service.edit.permission import leave_for

        leave = leave_for(self.agents(), verb, self.environ)
        if job_id is not None:
            with self._need_store(job_id) as store:
                leave.check_job(self._job(store, job_id, prefix=False))

    def agents(self) -> Agents | None:
        """What agents may do, as the last sync read it; before the first, as scheduler.yaml says it.

        So an edit of scheduler.yaml allows nothing until a sync has taken it over, and `plan` shows it before.
        """
        store = self._store()
        if store is not None:
            with store:
                settings = store.read(syncs.settings)
            if settings is not None:
                return settings.agents
        settings, _ = read_settings(self.place)
        return None if settings is None else settings.agents

    def _sync_edit(self) -> Synced | None:
        """A pass after an edit, which makes no database: None where there never was one."""
        from scheduler.maintenance.lost import refuse_lost

        if is_there(self.place.db):
            return self.sync(cause="edit")
        refuse_lost(self.place)
        return None

    def _known(self, job_id: str) -> Job | None:
        store = self._store()
        if store is None:
            return None
        with store:
            return store.read(queries.job, job_id)

    def _texts(self, job_id: str) -> dict[str, str]:
        """The sha256 of the text of each run that was given one, newest first."""
        with self._need_store(job_id) as store:
            return {run.id: run.task_sha256 for run in store.read(queries.runs, job_id) if run.task_sha256 is not None}

    def _text(self, sha256: str) -> bytes:
        with self._open() as store:
            return store.read(queries.text_of, sha256, store.path)

    # -- jobs from elsewhere ---------------------------------------------------------------------

    def imports(self) -> Imports:
        """The verb that carries jobs from elsewhere into this root, each kind of source by its name."""
        from scheduler.service.imports.importing import Imports

        return Imports(
            place=self.place,
            clock=self.clock,
            environ=self.environ,
            actor=self.actor,
            tell=self.tell,
            sync=lambda: self.sync(cause="import"),
            carry=self._carry,
            forget=self._forget_carried,
        )

    def _carry(self, pasts: Mapping[str, Carried]) -> Mapping[str, State]:
        from scheduler.maintenance.lost import start_state
        from scheduler.sync.settle_copy import settle_copy

        self._daemon()  # refuses that of another root
        start_state(self.place, new_state=False, now=self.clock.now())
        self.place.make_state()
        with Store.open(self.place.db) as store:
            settle_copy(store, self.place, now=self.clock.now(), actor=self.actor)
            return store.write(carried.carry, pasts, now=self.clock.now())

    def _forget_carried(self, job_ids: Collection[str]) -> None:
        if job_ids:
            with Store.open(self.place.db, create=False) as store:
                store.write(carried.forget_carried, job_ids)

    def export(self, job_ids: Sequence[str]) -> Iterator[Json]:
        """The lines of an export of these jobs, or of all; their unfinished runs are left out.

        Raises: UsageError for an unknown job; RefusedError, UnavailableError for one whose file cannot be read.
        """
        from scheduler.service.edit.trees import EditFiles
        from scheduler.service.imports.exporting import files_of, lines

        with self._need_store(job_ids[0] if job_ids else "") as store:
            jobs = [self._job(store, each, prefix=False) for each in dict.fromkeys(job_ids)] or list(
                store.read(queries.jobs)
            )
            tree = EditFiles(WorkingTree(self.place))
            files = {job.id: None if job.archived else files_of(tree, job.id) for job in jobs}
            under_way = {each.run.job_id for each in store.read(runs.active)}
            for job in jobs:
                if job.id in under_way:
                    self.tell(f"{job.id} has a run that has not ended: it is left out")
            found = ((job.id, files[job.id], store.read(carried.past_of, job.id)) for job in jobs)
            yield from lines(found, now=self.clock.now(), actor=self.actor)

    # -- the daemon ------------------------------------------------------------------------------

    def serve(
        self, *, observe: bool = False, once: bool = False, new_state: bool = False, grace: timedelta | None = None
    ) -> Served:
        """Watches, syncs and fires until a signal says to stop; with `once`, what is due now.

        Raises: UnavailableError where another daemon holds the database, or it or the root cannot be used;
        RefusedError where a history is gone and `new_state` is not given.
        """
        from scheduler.daemon.daemon import GRACE, Daemon

        while True:
            daemon = Daemon(
                place=self.place,
                clock=self.clock,
                environ=self.environ,
                absent_grace=self.absent_grace,
                observe=observe,
                once=once,
                new_state=new_state,
                grace=GRACE if grace is None else grace,
            )
            served = daemon.serve()
            if not served.put_back:
                return served
            new_state = False  # a database was put in place of one that was gone: as if started anew

    def doctor(self) -> Json:
        """What is well and what is not, with what to do about it; writes nothing."""
        from scheduler.service.doctor import examine as doctor

        return doctor.examine(self.place, self.clock, self.validate, self.environ)

    # -- copies of the database ------------------------------------------------------------------

    def backup(self, target: Path) -> Contents:
        """A verified copy of the database in a new file, with a daemon or without one. Raises: as `back_up`."""
        from scheduler.maintenance.backup import back_up
        from scheduler.maintenance.lost import refuse_lost

        refuse_lost(self.place)
        return back_up(self.place, target, now=self.clock.now(), actor=self.actor)

    def collect(self, *, dry_run: bool = False) -> Collected:
        """Throws away what `retention` in scheduler.yaml does not keep. Raises: as `retention.collect`."""
        from scheduler.maintenance import retention
        from scheduler.maintenance.lost import refuse_lost

        refuse_lost(self.place)
        if not is_there(self.place.db):
            return retention.Collected(outputs=0, output_bytes=0, runs=0, texts=0)
        with Store.open(self.place.db, create=False) as store:
            return retention.collect(self.place, store, now=self.clock.now(), actor=self.actor, dry_run=dry_run)

    def other_retention(self) -> str:
        """Why what scheduler.yaml says of `retention` does not count yet; empty if it does."""
        if not is_there(self.place.db):
            return ""
        settings, _ = read_settings(self.place)
        if settings is None:
            return "scheduler.yaml cannot be used: what counts is `retention` as it was last; see `scheduler validate`"
        with Store.open_to_read(self.place.db) as store:
            known = store.read(syncs.settings) or Settings()
        if known.retention == settings.retention:
            return ""
        return "scheduler.yaml has another `retention` by now: it counts after the next sync"

    def backups(self) -> Sequence[Copy]:
        """The nightly copies, newest first."""
        from scheduler.maintenance.backup import copies

        return copies(self.place)

    def restore(self, source: Path) -> Restored:
        """Puts a verified copy in the place of the database, which is put aside. Raises: as `restoring.restore`."""
        from scheduler.maintenance.restoring import restore

        return restore(self.place, source, now=self.clock.now(), actor=self.actor)

    def _daemon(self) -> Holder | None:
        """The daemon that holds the database. Raises: RefusedError where it serves another root."""
        from scheduler.control.daemon_lock import find

        holder = find(self.place)
        if holder is not None and holder.root != str(self.place.label):
            raise RefusedError(
                f"the database {self.place.db} is held for another root, {holder.root}, and this is {self.place.label}",
                hint="name that root with --root, or another database with --db",
            )
        return holder

    def _wake(self) -> None:
        """Tells the daemon that something has changed; one that does not hear it sees it when it looks by itself."""
        from scheduler.control.client import answer_of

        try:
            holder = self._daemon()
            if holder is not None:
                answer_of(holder, "wake", limit=GLANCE_S)
        except UnavailableError as error:
            self.tell(f"it is written, and holds once the daemon goes on: {error}; {error.hint}")

    # -- shared ----------------------------------------------------------------------------------

    def _passes(self) -> Passes:
        from scheduler.sync.passes import Passes

        return Passes(place=self.place, clock=self.clock, absent_grace=self.absent_grace)

    def _recover(self, store: Store) -> list[Run]:
        from scheduler.run.engine import recover
        from scheduler.run.local.recovery import LocalRecovery

        return recover(store, [LocalRecovery(place=self.place, clock=self.clock)])

    def _attempts(self, store: Store, owner: str) -> Attempts:
        from scheduler.run.local.attempts import Attempts

        return Attempts(
            place=self.place,
            store=store,
            clock=self.clock,
            environ=self.environ,
            passes=self._passes(),
            owner=owner,
        )


def _pause_json(pause: Pause | None) -> Json | None:
    if pause is None:
        return None
    until = None if pause.until is None else instant(pause.until)
    return {"at": instant(pause.at), "reason": pause.reason, "until": until, "by": pause.by}


def _below(path: str, folder: str) -> bool:
    return folder in (".", path) or path.startswith(folder + "/")


def _would_be_skipped(job: Job, fault: Fault) -> RefusedError:
    return RefusedError(f"job {job.id!r} would be skipped: {fault.message} [{fault.reason}]")
