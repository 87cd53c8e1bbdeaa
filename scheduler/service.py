"""The verbs that every face shares: validate, plan, sync, list, show, next, run, history, output, task, audit.

Faces parse and print; nothing they offer goes around these functions (I1). Results are the JSON shapes of
interface.md or core values; what cannot be done is a SchedulerError.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler import views
from scheduler.clock import Clock, SystemClock
from scheduler.config import Place, read_settings
from scheduler.core.models import (
    ROOT_FILE,
    Fault,
    Job,
    Run,
    RunStatus,
    Settings,
    Status,
    Trigger,
    instant,
    milliseconds,
)
from scheduler.core.problems import Problem, RefusedError, UnavailableError, UsageError, did_you_mean
from scheduler.core.schedule import fires
from scheduler.safe_open import read_source
from scheduler.store import Observed, Store
from scheduler.views import Json

if TYPE_CHECKING:  # the file readers: paid for by the commands that read files
    from scheduler.core.reconcile import Plan
    from scheduler.engine import LocalEngine

LOOK_AGAIN_S = 0.1
REPLAN_S = 30.0  # a plan goes stale when another process writes meanwhile; for that long it is a fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What a pass, or the plan of one, found. `plan` is None where scheduler.yaml could not be read."""

    plan: Plan | None
    problems: tuple[Problem, ...]
    json: Json
    token_refused: bool = False
    recovered: tuple[Run, ...] = ()  # runs of dead processes that were ended on the way
    no_provenance: str = ""  # why git, though there is a repository, could not say where the files stand


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    """One root, seen by one caller."""

    place: Place
    actor: str  # who asks, as `kind:name`; goes into audit rows
    environ: Mapping[str, str]
    clock: Clock = field(default_factory=SystemClock)
    absent_grace: timedelta = timedelta(seconds=10)  # F1

    # -- files -----------------------------------------------------------------------------------

    def validate(self, paths: Sequence[Path] = ()) -> tuple[Problem, ...]:
        """Every problem of every file, or of the named files and folders, sorted; needs no database, starts nothing.

        Raises: UsageError for a path that is no job file of this root.
        """
        from scheduler.core.reconcile import duplicate_ids
        from scheduler.git import Tree
        from scheduler.source import read_desired

        settings, root_problems = read_settings(self.place)
        if settings is None:
            return root_problems
        desired = read_desired(self.place, settings, Tree())
        problems = sorted({*root_problems, *desired.problems, *duplicate_ids(desired)})
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
        return tuple(problem for problem in problems if any(_below(problem.path, path) for path in wanted))

    def _below_root(self, path: Path) -> str:
        try:
            return path.resolve().relative_to(self.place.root).as_posix()
        except ValueError:
            raise UsageError(f"{path} lies outside the root {self.place.root}") from None

    # -- sync ------------------------------------------------------------------------------------

    def plan(self, *, confirmed: str | None = None) -> Synced:
        """What a sync would change now; writes nothing."""
        started = self.clock.now()
        observed = self._observed()
        plan, problems = self._plan(observed, started, confirmed)
        return self._synced(plan, problems, started, confirmed)

    def sync(self, *, confirmed: str | None = None, cause: str = "sync") -> Synced:
        """One pass: read, plan, apply in one transaction (S5).

        Raises: UnavailableError where the root or the database cannot be used.
        """
        started = self.clock.now()
        settings, root_problems = read_settings(self.place)
        if settings is None and not self.place.db.exists():
            return self._synced(None, root_problems, started, confirmed)  # nothing to keep the problems in
        self.place.make_state()
        with Store.open(self.place.db) as store:
            recovered = tuple(self._engine(store).recover())
            for _ in self._tries():
                observed = store.observed()
                now = self.clock.now()
                plan, problems = self._plan(observed, now, confirmed)
                if plan is None:
                    store.record_problems(problems)
                    return self._synced(None, problems, started, confirmed)
                if self._apply(store, plan, observed, now, cause):
                    return replace(self._synced(plan, problems, started, confirmed), recovered=recovered)
        raise UnavailableError("other processes kept changing the database; nothing was applied", hint="try again")

    def _observed(self) -> Observed:
        if not self.place.db.exists():
            return Observed(jobs={}, settings=None, ticket=0)
        with Store.open(self.place.db) as store:
            return store.observed()

    def _plan(
        self, observed: Observed, now: datetime, confirmed: str | None
    ) -> tuple[Plan | None, tuple[Problem, ...]]:
        from scheduler.core.reconcile import plan
        from scheduler.git import read_tree
        from scheduler.source import read_desired

        settings, root_problems = read_settings(self.place)
        if settings is None:
            return None, root_problems
        desired = read_desired(self.place, settings, read_tree(self.place.root))
        desired = replace(desired, problems=tuple(sorted({*root_problems, *desired.problems})))
        found = plan(desired, observed.jobs, previous=observed.settings, now=now, confirmed=confirmed)
        return found, found.problems

    def _apply(
        self, store: Store, plan: Plan, observed: Observed, now: datetime, cause: str, only: str | None = None
    ) -> bool:
        from scheduler.core.audit import audit_rows

        rows = audit_rows(plan, at=now, actor=self.actor, cause=cause)
        return store.apply(plan, ticket=observed.ticket, audit=rows, now=now, actor=self.actor, only=only)

    def _synced(
        self, plan: Plan | None, problems: tuple[Problem, ...], started: datetime, confirmed: str | None
    ) -> Synced:
        from scheduler.core.reconcile import Plan
        from scheduler.git import git_silence

        now = self.clock.now()
        shown = plan if plan is not None else Plan(settings=Settings(), problems=problems)
        json = views.plan_json(shown, now=now, duration_ms=max(0, milliseconds(now - started)))
        refused = confirmed is not None and plan is not None and plan.guard is not None
        silent = git_silence(self.place.root) if plan is not None and plan.revision is None else ""
        return Synced(plan=plan, problems=problems, json=json, token_refused=refused, no_provenance=silent)

    # -- reading ---------------------------------------------------------------------------------

    def list(
        self, *, status: str | None = None, tag: str | None = None, problems: bool = False, tasks: bool = True
    ) -> Json:
        """Every job, archived ones too, and what the last sync found wrong.

        tasks: False leaves out what the disk holds of each task now, which reads a file a job.
        """
        store = self._store()
        if store is None:
            return views.list_json([], [])
        with store:
            found = store.problems()
            files = _Files(self) if tasks else None
            jobs = [self._job_json(job, found, files) for job in store.jobs()]
        wanted = [
            job
            for job in jobs
            if (status is None or job["status"] == status)
            and (tag is None or tag in job["tags"])
            and (not problems or job["problems"] or job["sync_state"] in ("invalid", "conflict", "held"))
        ]
        return {**views.list_json(jobs, found), "jobs": wanted}  # the summary is of the whole root

    def show(self, job_id: str, *, prefix: bool = False) -> Json:
        with self._need_store(job_id) as store:
            job = self._job(store, job_id, prefix=prefix)
            now = self.clock.now()
            coming = [] if job.status(now) in _NEVER_FIRE else self._coming(job, now)
            return {
                "job": self._job_json(job, store.problems(), _Files(self)),
                "next_fires": [views.fire_json(job.id, fire, job.file.spec.schedule.timezone) for fire in coming],
            }

    def _coming(self, job: Job, now: datetime) -> Sequence[datetime]:
        pause = job.pause
        after = pause.until if pause is not None and pause.covers(now) and pause.until is not None else now
        return views.coming_fires(job.file.spec.schedule, after=after)

    def next(
        self,
        job_ids: Sequence[str] = (),
        *,
        count: int | None = None,
        start: datetime | None = None,
        until: datetime | None = None,
        prefix: bool = False,
    ) -> Json:
        """Coming fires in (start, until], ascending. With an explicit range it is arithmetic on the schedule alone.

        count: per job; 5 without `until`. Raises: UsageError for a range that is no range.
        """
        now = self.clock.now()
        explicit = start is not None or until is not None
        begin = now if start is None else start
        if until is not None and until < begin:
            raise UsageError(f"--to lies before --from ({instant(until)} < {instant(begin)})")
        store = self._store() if not job_ids else self._need_store(job_ids[0])
        if store is None:
            return {"fires": []}
        with store:
            jobs = [self._job(store, each, prefix=prefix) for each in job_ids] or store.jobs()
        found: list[tuple[datetime, str, str]] = []
        limit = count if count is not None else views.NEXT_FIRES if until is None else None
        for job in jobs:
            if not job_ids and job.archived:
                continue
            if not explicit and job.status(now) in _NEVER_FIRE:
                continue
            schedule = job.file.spec.schedule
            for taken, fire in enumerate(fires(schedule, after=begin)):
                if (until is not None and fire > until) or (limit is not None and taken >= limit):
                    break
                found.append((fire, job.id, schedule.timezone))
        return {"fires": [views.fire_json(job_id, fire, timezone) for fire, job_id, timezone in sorted(found)]}

    def history(
        self, job_id: str, *, count: int | None = None, status: RunStatus | None = None, prefix: bool = False
    ) -> Json:
        """A job's runs and skips, newest first."""
        with self._need_store(job_id) as store:
            job = self._job(store, job_id, prefix=prefix)
            return {"runs": [views.run_json(run) for run in store.runs(job.id, limit=count, status=status)]}

    def run_of(self, run_id: str, *, prefix: bool = False) -> Run:
        """The run that `JOB:N` names. Raises: UsageError."""
        job_id, _, number = run_id.rpartition(":")
        if not job_id or not number.isascii() or not number.isdigit() or len(number) > 15:
            raise UsageError(f"{run_id!r} does not name a run", hint="a run is JOB:N, such as heartbeat:12")
        with self._need_store(job_id) as store:
            job = self._job(store, job_id, prefix=prefix)
            run = store.run(job.id, int(number))
            if run is None:
                newest = store.runs(job.id, limit=1)
                hint = f"its newest is {newest[0].id}" if newest else "it has not run yet"
                raise UsageError(f"job {job.id!r} has no run {number}", hint=hint)
            return run

    def task(self, run_id: str, *, prefix: bool = False) -> tuple[Run, bytes]:
        """The exact text that a run was given. Raises: UsageError where it never got one."""
        run = self.run_of(run_id, prefix=prefix)
        if run.task_sha256 is None:
            raise UsageError(f"{run.id} was given no text: it is {run.status.value}, {run.reason}")
        with Store.open(self.place.db) as store:
            return run, store.text(run.task_sha256)

    def output(self, run_id: str, *, prefix: bool = False) -> tuple[Run, bytes, bytes]:
        """What a run's last attempt wrote on stdout and stderr, as far as it was kept."""
        run = self.run_of(run_id, prefix=prefix)
        attempt = run.attempts[-1].n if run.attempts else 1
        files = [self.place.output(run.job_id, run.n, attempt, stream) for stream in ("stdout", "stderr")]
        if run.output_bytes and not any(file.exists() for file in files):
            raise UnavailableError(f"the output of {run.id} is gone: {files[0]} is not there")
        return run, _kept(files[0]), _kept(files[1])

    def audit(self, job_id: str | None = None, *, count: int | None = None, prefix: bool = False) -> Json:
        store = self._store() if job_id is None or job_id == "@root" else self._need_store(job_id)
        if store is None:
            return {"audit": []}
        with store:
            known = job_id if job_id is None or job_id == "@root" else self._job(store, job_id, prefix=prefix).id
            return {"audit": [views.audit_json(row) for row in store.audit(known, limit=count)]}

    def known_words(self) -> tuple[Sequence[str], Sequence[str]]:
        """All job ids and the newest run ids, for completion; never an error."""
        try:
            store = self._store()
            if store is None:
                return [], []
            with store:
                ids = store.job_ids()
                return ids, [run.id for job_id in ids[:200] for run in store.runs(job_id, limit=3)]
        except (UsageError, UnavailableError):
            return [], []

    def never_synced(self) -> bool:
        store = self._store()
        if store is None:
            return True
        with store:
            return store.synced_at() is None

    # -- running ---------------------------------------------------------------------------------

    def run(self, job_id: str, *, cancel: threading.Event, claimed: Callable[[Run], None] = lambda run: None) -> Run:
        """Runs a job now, in this process, and returns its finished run: a skip where it could not start.

        claimed: told of the run once its row stands, before anything is started.
        What its own file and scheduler.yaml say now counts, synced or not (F1); the task is read last of all.
        Raises: RefusedError, leaving no row, for an archived or a running job; UsageError for an unknown one.
        """
        from scheduler.owner import Owner

        with self._need_store(job_id) as store:
            engine = self._engine(store)
            engine.recover()
            job = self._job(store, job_id, prefix=False)
            settings = store.observed().settings or Settings()
            with Owner(self.place.owners) as owner:
                run = store.claim_manual(
                    job.id,
                    trigger=Trigger.MANUAL,
                    requested_by=self.actor,
                    owner=owner.id,
                    max_running=settings.limits.max_running,
                    now=self.clock.now(),
                )
                try:
                    claimed(run)
                    fresh = self._refresh(store, job.id, cancel)
                    if fresh is None:
                        return engine.cancel(run)
                    if isinstance(fresh, Fault):
                        return engine.skip(run, fresh)
                    job, settings = fresh
                    return engine.carry_out(run, job, settings, scratch=owner.scratch, cancel=cancel)
                except BaseException as error:
                    engine.abandon(run, error)
                    raise

    def dry_run(self, job_id: str) -> Json:
        """What `run` would start: argv, working directory, names of the environment, and the text. Starts nothing.

        Raises: RefusedError with the reason of the skip where nothing could be started.
        """
        with self._need_store(job_id) as store:
            job = self._job(store, job_id, prefix=False)
            if job.archived:
                raise RefusedError(f"job {job.id!r} is archived: no file names it any more")
            found = self._look_again(store.observed(), job, self.clock.now())
            if not isinstance(found, Fault):
                _, job, settings = found
                ready = self._engine(store).make_ready(
                    job, settings, run_id=f"{job.id}:0", fire_time=None, trigger=Trigger.MANUAL
                )
            else:
                ready = found
        if isinstance(ready, Fault):
            raise RefusedError(f"job {job.id!r} would be skipped: {ready.message} [{ready.reason}]")
        return {
            "job_id": job.id,
            "argv": list(ready.invocation.argv),
            "cwd": str(ready.invocation.cwd),
            "env": sorted(ready.invocation.env),
            "input": ready.runner.input.value,
            "task_sha256": ready.task.sha256,
            "task": ready.task.text.decode(),
        }

    def _refresh(self, store: Store, job_id: str, cancel: threading.Event) -> tuple[Job, Settings] | Fault | None:
        """The partial pass of F1: the job as its own file and scheduler.yaml say now, and the settings in force.

        A file that is absent is waited for, at most `absent_grace`: a checkout takes it away for a moment.
        None where somebody cancelled the wait.
        """
        give_up = time.monotonic() + self.absent_grace.total_seconds()
        job = store.job(job_id)
        assert job is not None  # it has a run
        while not (self.place.root / job.file.path).exists() and time.monotonic() < give_up:
            if cancel.wait(LOOK_AGAIN_S):
                return None
        for _ in self._tries():
            observed = store.observed()
            now = self.clock.now()
            found = self._look_again(observed, observed.jobs[job_id], now)
            if isinstance(found, Fault):
                return found
            plan, job, settings = found
            if plan is None or plan.nothing_to_do or self._apply(store, plan, observed, now, "run", job.file.path):
                return job, settings
        raise UnavailableError("other processes kept changing the database; the run was not started", hint="try again")

    @staticmethod
    def _tries() -> Iterator[None]:
        """Turns at planning anew after another process has written meanwhile, until that has gone on for too long."""
        give_up = time.monotonic() + REPLAN_S
        yield
        while time.monotonic() < give_up:
            time.sleep(random.uniform(0, 0.05))  # apart, or the same processes meet again
            yield

    def _look_again(self, observed: Observed, job: Job, now: datetime) -> tuple[Plan | None, Job, Settings] | Fault:
        """What the job's own file and scheduler.yaml say now: a plan to apply, and the job as it will be then."""
        from scheduler.core.reconcile import plan_one
        from scheduler.git import read_tree
        from scheduler.source import read_desired

        settings, _ = read_settings(self.place)
        if settings is None:  # a broken scheduler.yaml: the last good settings and definition stay in force
            return None, job, observed.settings or Settings()
        path = job.file.path
        desired = read_desired(self.place, settings, read_tree(self.place.root, path), only=path)
        plan = plan_one(desired, job, previous=observed.settings, now=now)
        if plan is None:
            return Fault(
                reason="source_missing",
                message=f"{path!r} no longer names this job; if it has moved, `scheduler sync` finds it",
            )
        return plan, plan.after(job), settings

    # -- shared ----------------------------------------------------------------------------------

    def _engine(self, store: Store) -> LocalEngine:
        from scheduler.engine import LocalEngine

        return LocalEngine(self.place, store, self.clock, self.environ)

    def _store(self) -> Store | None:
        """The database, or None on a root never synced: reading must not create one."""
        return Store.open(self.place.db) if self.place.db.exists() else None

    def _need_store(self, job_id: str) -> Store:
        store = self._store()
        if store is None:
            raise self._unknown_job(job_id.rpartition(":")[0] or job_id, [])
        return store

    def _job(self, store: Store, job_id: str, *, prefix: bool) -> Job:
        """The job of that id, or of that unique prefix where `prefix` allows one. Raises: UsageError."""
        job = store.job(job_id)
        if job is not None:
            return job
        known = store.job_ids()
        starts = [each for each in known if prefix and job_id and each.startswith(job_id)]
        if len(starts) == 1:
            found = store.job(starts[0])
            assert found is not None
            return found
        if starts:
            raise UsageError(f"{job_id!r} is the start of {len(starts)} ids", hint=", ".join(starts[:10]))
        raise self._unknown_job(job_id, known)

    def _unknown_job(self, job_id: str, known: Iterable[str]) -> UsageError:
        """The error for an id no row has; it tells apart a typing mistake and a file nobody has synced."""
        from scheduler.git import Tree
        from scheduler.source import read_desired

        settings, _ = read_settings(self.place)
        documents = [] if settings is None else [f.document for f in read_desired(self.place, settings, Tree()).found]
        for document in documents:
            if document.id == job_id:
                return UsageError(
                    f"job {job_id!r} stands in {document.path}:{document.line} but has not been synced",
                    hint="run `scheduler sync`",
                )
        ids = {*known, *(document.id for document in documents if document.id is not None)}
        return UsageError(
            f"there is no job {job_id!r}",
            hint=did_you_mean(job_id, ids) or ("`scheduler list` shows all of them" if ids else "there is no job yet"),
        )

    def _job_json(self, job: Job, problems: Iterable[Problem], files: _Files | None) -> Json:
        mine = [p for p in problems if p.job_id == job.id or (p.job_id is None and p.path == job.file.path)]
        sha256 = None if job.archived or files is None else files.task_sha256(job)
        return views.job_json(job, task_sha256=sha256, problems=mine, now=self.clock.now())


_NEVER_FIRE = (Status.ARCHIVED, Status.DISABLED, Status.STOPPED, Status.COMPLETED)


class _Files:
    """What the disk holds now of many jobs' tasks; a file that several share is read once."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._settings: Settings | None = None
        self._sources: dict[str, str | None] = {}

    def task_sha256(self, job: Job) -> str | None:
        """sha256 of the text a run would get now; None where F2 would skip it."""
        facts, path = job.file, job.file.spec.task_source_path
        synced = facts.file_sha256 if path is None else facts.task_sha256
        if facts.task_sha256 is not None and self._sha256(path or facts.path) == synced:
            return facts.task_sha256  # the bytes last synced: no need to check or to parse them again
        return self._parsed(job)

    def _sha256(self, path: str) -> str | None:
        if path not in self._sources:
            from scheduler.tasks import JOB_FILE_BYTES

            place = self._scheduler.place
            source = read_source(place.root, path, limit=JOB_FILE_BYTES, forbidden=place.state)
            self._sources[path] = None if isinstance(source, Fault) else hashlib.sha256(source.data).hexdigest()
        return self._sources[path]

    def _parsed(self, job: Job) -> str | None:
        from scheduler.tasks import read_task

        if self._settings is None:
            self._settings = read_settings(self._scheduler.place)[0] or Settings()
        place = self._scheduler.place
        task = read_task(place.root, job.file.spec, job.file.path, self._settings, forbidden=place.state)
        return None if isinstance(task, Fault) else task.sha256


def _below(path: str, folder: str) -> bool:
    return folder in (".", path) or path.startswith(folder + "/")


def _kept(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UnavailableError(f"the output {path} cannot be read: {error.strerror}") from error
