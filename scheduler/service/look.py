"""The verbs that only read: list, show, next, history, task, output, audit. None of them makes a database."""

from __future__ import annotations

import functools
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from scheduler.core import views
from scheduler.core.due.expected import Alarm, Kind, alarm_texts
from scheduler.core.times.fires import coming
from scheduler.core.values.facts import Fault, Job, Status
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import Problem, SchedulerError, UnavailableError, UsageError, did_you_mean
from scheduler.core.values.runs import Run, RunStatus
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import Schedule
from scheduler.core.views import Json
from scheduler.ledger import audit, evidence, lives, queries, runs, syncs
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock, SystemClock
from scheduler.root.files import WorkingTree
from scheduler.root.followed import Looked
from scheduler.root.place import Place, is_there
from scheduler.root.settings import read_settings

_CUT = re.compile(rb"\n\[\.\.\. \d+ bytes not kept \.\.\.\]\n")  # capture.py
MOST_FIRES = 100_000  # of a range without a count: a hundred megabytes
GLANCE_S = 2.0  # for a daemon to say how it is, to one who asks for something else
FOLLOW_S = 0.1  # between two looks at a growing output


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One root, seen by one caller who changes nothing."""

    place: Place
    actor: str  # who asks, as `kind:name`; goes into audit rows
    environ: Mapping[str, str]
    clock: Clock = field(default_factory=SystemClock)
    tell: Callable[[str], None] = lambda _: None  # what whoever asks has to know beside the answer

    def list(
        self, *, status: str | None = None, tag: str | None = None, problems: bool = False, tasks: bool = True
    ) -> Json:
        """Every job, archived ones too, and what the last sync found wrong.

        tasks: False leaves out what the disk holds of each task now, which reads a file a job.
        """
        store = self._store()
        if store is None:
            return views.list_json([], [], held=self.held())
        troubles = [] if not store.read_only else [store.read_only]
        with store:
            found = store.read(syncs.problems)
            files = _Files(self) if tasks else None
            known = store.read(queries.jobs)
            overdue = store.read(evidence.alarms, self.clock.now(), known)
            silent, said = self._daemon_says()
            if silent:  # it is not to fire: nothing becomes of any slot
                overdue = [each for each in overdue if each[1].kind is not Kind.ROW]
            alarms: dict[str, list[Alarm]] = {}
            for _, alarm in overdue:
                alarms.setdefault(alarm.job_id, []).append(alarm)
            jobs = [self._job_json(job, found, files, alarms.get(job.id, ())) for job in known]
            held = self._held(store)
        wanted = [
            job
            for job in jobs
            if (status is None or job["status"] == status)
            and (tag is None or tag in job["tags"])
            and (not problems or job["problems"] or job["sync_state"] in ("invalid", "conflict", "held"))
        ]
        troubles += [*said, *alarm_texts(overdue)]
        # The summary is of the whole root.
        return {**views.list_json(jobs, found, troubles, held=held), "jobs": wanted}

    def held(self) -> str | None:
        """Why no sync takes the files as they are now (S8)."""
        store = self._store()
        if store is None:
            return self._held(None)
        with store:
            return self._held(store)

    def _held(self, store: Store | None) -> str | None:
        from scheduler.sync.holds import why_held

        return why_held(self.place, None if store is None else store.read(syncs.settings)) or None

    def show(self, job_id: str, *, prefix: bool = False) -> Json:
        with self._need_store(job_id) as store:
            job = self._job(store, job_id, prefix=prefix)
            now = self.clock.now()
            coming = [] if job.status(now) in _NEVER_FIRE else self._coming(job, now)
            alarms = [alarm for _, alarm in store.read(evidence.alarms, now, [job])]
            return {
                "job": self._job_json(job, store.read(syncs.problems), _Files(self), alarms),
                "next_fires": [{"job_id": job.id, **views.fire_json(fire, job.file.spec.due_by)} for fire in coming],
                "held": self._held(store),
            }

    def _coming(self, job: Job, now: datetime) -> Sequence[datetime]:
        if job.pause is not None and job.pause.covers(now):
            if job.pause.until is None:
                return []  # nothing comes until somebody resumes it
            now = job.pause.until
        return coming(job.file.spec.due_by, after=now, count=views.NEXT_FIRES)

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

        count: per job; 5 without `until`.
        Raises: UsageError for a range that is no range, or that holds more fires than anybody reads and no `count`.
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
            jobs = [self._job(store, each, prefix=prefix) for each in job_ids] or store.read(queries.jobs)
        counted = count is not None or until is None
        limit = (views.NEXT_FIRES if count is None else count) if counted else MOST_FIRES + 1
        known: dict[Schedule, list[datetime]] = {}  # jobs with one schedule have the same fires
        found: list[tuple[datetime, str, Schedule]] = []
        for job in jobs:
            if not job_ids and job.archived:
                continue
            if not explicit and job.status(now) in _NEVER_FIRE:
                continue
            schedule = replace(job.file.spec.due_by, jitter=timedelta())
            if schedule not in known:
                known[schedule] = coming(schedule, after=begin, until=until, count=limit)
            found += [(slot, job.id, schedule) for slot in known[schedule]]
            if not counted and len(found) > MOST_FIRES:
                raise UsageError(
                    f"the range holds over {MOST_FIRES:,} fires", hint="narrow it, or limit each job's fires with -n"
                )
        found.sort(key=lambda each: each[:2])
        tell = functools.cache(views.fire_json)
        return {"fires": [{"job_id": job_id, **tell(slot, schedule)} for slot, job_id, schedule in found]}

    def history(
        self, job_id: str, *, count: int | None = None, status: RunStatus | None = None, prefix: bool = False
    ) -> Json:
        """A job's runs and skips, newest first."""
        with self._need_store(job_id) as store:
            job = self._job(store, job_id, prefix=prefix)
            return {
                "runs": [views.run_json(run) for run in store.read(queries.runs, job.id, limit=count, status=status)]
            }

    def explain(self, job_id: str, *, at: datetime | None = None, prefix: bool = False) -> Json:
        """Why the job did, did not or will not fire at an instant; without one, at the newest slot that was due."""
        from scheduler.control.daemon_lock import find
        from scheduler.core.past.explain import MOST_EVIDENCE, Ledger, explain, newest_slot

        now = self.clock.now()
        with self._need_store(job_id) as store:
            job = self._job(store, job_id, prefix=prefix)
            moment = newest_slot(job, now) if at is None else at
            runs, kept_from = store.read(queries.slots_around, job.id, moment)
            ledger = Ledger(
                job=job,
                definitions=store.read(queries.definitions, job.id),
                audit=store.read(audit.read_audit, job.id),
                runs=runs,
                beside=store.read(queries.under_way_at, moment, most=MOST_EVIDENCE + 1),
                lives=store.read(lives.lives, now),
                daemon=find(self.place) is not None,
                kept_from=kept_from,
            )
        return views.explain_json(job.id, moment, explain(ledger, moment, now=now))

    def run_of(self, run_id: str, *, prefix: bool = False) -> Run:
        """The run that `JOB:N` names. Raises: UsageError."""
        job_id, _, number = run_id.rpartition(":")
        if not job_id or not number.isascii() or not number.isdigit() or len(number) > 15:
            raise UsageError(f"{run_id!r} does not name a run", hint="a run is JOB:N, such as heartbeat:12")
        with self._need_store(job_id) as store:
            job = self._job(store, job_id, prefix=prefix)
            run = store.read(runs.find_run, job.id, int(number))
            if run is None:
                newest = store.read(queries.runs, job.id, limit=1)
                hint = f"its newest is {newest[0].id}" if newest else "it has not run yet"
                raise UsageError(f"job {job.id!r} has no run {number}", hint=hint)
            return run

    def task(self, run_id: str, *, prefix: bool = False) -> tuple[Run, bytes]:
        """The exact text that a run was given. Raises: UsageError where it never got one."""
        run = self.run_of(run_id, prefix=prefix)
        if run.task_sha256 is None:
            raise UsageError(f"{run.id} was given no text: it is {run.status.value}, {run.reason}")
        with self._open() as store:
            return run, store.read(queries.text_of, run.task_sha256, store.path)

    def output(self, run_id: str, *, prefix: bool = False) -> tuple[Run, bytes, bytes]:
        """What a run's last attempt wrote on stdout and stderr, as far as it was kept."""
        run = self.run_of(run_id, prefix=prefix)
        attempt = run.attempts[-1].n if run.attempts else 1
        files = [self.place.output(run.job_id, run.n, attempt, stream) for stream in ("stdout", "stderr")]
        if run.output_bytes and not any(file.exists() for file in files):
            left = f"; `scheduler history {run.job_id} --json` has how it began (`result`)" if run.result else ""
            raise UnavailableError(
                f"the output of {run.id} is gone: {files[0]} is not there",
                hint=f"retention.output_days in scheduler.yaml has run out, or the run came by an import{left}",
            )
        return run, _kept(files[0]), _kept(files[1])

    def follow(self, run_id: str, *, prefix: bool = False) -> Iterator[tuple[Literal["stdout", "stderr"], bytes]]:
        """What a run writes, as it comes, until it has ended. Where not all was kept, the end says so in its place."""
        run = self.run_of(run_id, prefix=prefix)
        with self._open() as store:
            settings = store.read(syncs.settings) or Settings()
        room = settings.limits.output_bytes // 2  # of each stream; beyond it the file is put together anew at the end
        done: dict[Literal["stdout", "stderr"], int] = {"stdout": 0, "stderr": 0}
        attempt = run.attempts[-1].n if run.attempts else 1
        while True:
            run = self.run_of(run.id)
            while run.attempts and attempt < run.attempts[-1].n:  # the rest of one try, and the next from its start
                for stream in done:
                    whole = _kept(self.place.output(run.job_id, run.n, attempt, stream))
                    cut = _CUT.search(whole) if len(whole) > room else None
                    data = whole[min(done[stream], len(whole) if cut is None else cut.start()) :]
                    if data:
                        yield stream, data
                attempt, done = attempt + 1, {"stdout": 0, "stderr": 0}
            for stream in done:
                path = self.place.output(run.job_id, run.n, attempt, stream)
                data = _kept(path, start=done[stream])
                if run.truncated and run.status.finished and (cut := _CUT.search(whole := _kept(path))) is not None:
                    data = whole[min(done[stream], cut.start()) :]
                elif not run.status.finished:
                    data = data[: max(0, room - done[stream])]
                done[stream] += len(data)
                if data:
                    yield stream, data
            if run.status.finished:
                return
            time.sleep(FOLLOW_S)

    def audit(self, job_id: str | None = None, *, count: int | None = None, prefix: bool = False) -> Json:
        store = self._store() if job_id is None or job_id == "@root" else self._need_store(job_id)
        if store is None:
            return {"audit": []}
        with store:
            known = job_id if job_id is None or job_id == "@root" else self._job(store, job_id, prefix=prefix).id
            return {"audit": [views.audit_json(row) for row in store.read(audit.read_audit, known, limit=count)]}

    def known_words(self) -> tuple[Sequence[str], Sequence[str]]:
        """All job ids and the newest run ids, for completion; never an error."""
        try:
            store = self._store()
            if store is None:
                return [], []
            with store:
                ids = store.read(queries.job_ids)
                return ids, [run.id for job_id in ids[:200] for run in store.read(queries.runs, job_id, limit=3)]
        except SchedulerError:
            return [], []

    def never_synced(self) -> bool:
        store = self._store()
        if store is None:
            return True
        with store:
            return store.read(syncs.synced_at) is None

    # -- shared ----------------------------------------------------------------------------------

    def _store(self) -> Store | None:
        """The database, or None on a root never synced: reading must not create one.

        Raises: RefusedError where there was one and it is gone.
        """
        if not is_there(self.place.db):
            from scheduler.maintenance.lost import refuse_lost

            refuse_lost(self.place)
            if not is_there(self.place.db):  # else a restore has just put it there
                return None
        return self._open()

    def _open(self) -> Store:
        """The database; also where nothing can be written beside it, and then whoever asked is told."""
        store = Store.open_to_read(self.place.db)
        if store.read_only:
            self.tell(store.read_only)
        return store

    def looked(self) -> Looked:
        """What the last look at the remote found that the root is kept from; nothing for any other root."""
        return Looked() if self.place.followed is None else self.place.followed.standing()

    def troubles(self) -> Sequence[str]:
        """What the daemon says keeps jobs from firing or files from being synced; or that it says nothing."""
        return self._daemon_says()[1]

    def _daemon_says(self) -> tuple[str, Sequence[str]]:
        """Why the daemon is not to fire here, empty if it is, and its troubles; and that of following a remote."""
        from scheduler.control.client import answer_of
        from scheduler.control.daemon_lock import find

        remote = [words] if (words := self.looked().words) else []
        try:
            holder = find(self.place)
            answer = {} if holder is None else answer_of(holder, "status", limit=GLANCE_S)
            return answer.get("silent", ""), [*answer.get("trouble", []), *remote]
        except UnavailableError as error:
            return "", [f"{error}; {error.hint}", *remote]

    def _need_store(self, job_id: str, *, to_write: bool = False) -> Store:
        store = Store.open(self.place.db, create=False) if to_write and is_there(self.place.db) else self._store()
        if store is None:
            raise self._unknown_job(job_id.rpartition(":")[0] or job_id, [])
        return store

    def _job(self, store: Store, job_id: str, *, prefix: bool) -> Job:
        """The job of that id, or of that unique prefix where `prefix` allows one. Raises: UsageError."""
        job = store.read(queries.job, job_id)
        if job is not None:
            return job
        known = store.read(queries.job_ids)
        starts = [each for each in known if prefix and job_id and each.startswith(job_id)]
        if len(starts) == 1:
            found = store.read(queries.job, starts[0])
            assert found is not None
            return found
        if starts:
            raise UsageError(f"{job_id!r} is the start of {len(starts)} ids", hint=", ".join(starts[:10]))
        raise self._unknown_job(job_id, known)

    def _unknown_job(self, job_id: str, known: Iterable[str]) -> UsageError:
        """The error for an id no row has; it tells apart a typing mistake and a file nobody has synced."""
        from scheduler.git.tree import Tree
        from scheduler.root.desired import read_desired

        settings, _ = read_settings(self.place)
        documents = (
            []
            if settings is None
            else [f.document for f in read_desired(WorkingTree(self.place), settings, Tree()).found]
        )
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

    def _job_json(
        self, job: Job, problems: Iterable[Problem], files: _Files | None, alarms: Sequence[Alarm] = ()
    ) -> Json:
        mine = [p for p in problems if p.job_id == job.id or (p.job_id is None and p.path == job.file.path)]
        sha256 = None if job.archived or files is None else files.task_sha256(job)
        return views.job_json(job, task_sha256=sha256, problems=mine, now=self.clock.now(), alarms=alarms)


_NEVER_FIRE = (Status.ARCHIVED, Status.DISABLED, Status.STOPPED, Status.COMPLETED)


class _Files:
    """What the disk holds now of many jobs' tasks; a file that several share is read once."""

    def __init__(self, scheduler: Reading) -> None:
        self._scheduler = scheduler
        self._settings: Settings | None = None
        self._sources: dict[str, str | None] = {}
        self._files = WorkingTree(scheduler.place)

    def task_sha256(self, job: Job) -> str | None:
        """sha256 of the text a run would get now; None where F2 would skip it."""
        facts, path = job.file, job.file.spec.task_source_path
        synced = facts.file_sha256 if path is None else facts.task_sha256
        if facts.task_sha256 is not None and self._sha256(path or facts.path) == synced:
            return facts.task_sha256  # the bytes last synced: no need to check or to parse them again
        return self._parsed(job)

    def _sha256(self, path: str) -> str | None:
        if path not in self._sources:
            from scheduler.root.tasks import JOB_FILE_BYTES

            source = self._files.read(path, limit=JOB_FILE_BYTES)
            self._sources[path] = None if isinstance(source, Fault) else hashlib.sha256(source.data).hexdigest()
        return self._sources[path]

    def _parsed(self, job: Job) -> str | None:
        from scheduler.root.tasks import read_task

        if self._settings is None:
            self._settings = read_settings(self._scheduler.place)[0] or Settings()
        task = read_task(self._files, job.file.spec, job.file.path, self._settings)
        return None if isinstance(task, Fault) else task.sha256


def _kept(path: Path, *, start: int = 0) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UnavailableError(f"the output {path} cannot be read: {error.strerror}") from error
