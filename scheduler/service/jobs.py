"""The verbs that show jobs: list, show, next. None of them creates a database."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

from scheduler.core import views
from scheduler.core.due.expected import NO_CAPACITY, Alarm, Kind, alarm_texts, starved_texts
from scheduler.core.due.place import holding, place_texts
from scheduler.core.past.outcome import state_of
from scheduler.core.times.fires import coming
from scheduler.core.values.facts import Fault, Job, JobSummary, Status, SyncState, summary_of
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import UsageError, meant
from scheduler.core.values.runs import Run, RunStatus
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import Schedule
from scheduler.core.values.texts import short
from scheduler.core.values.usage import OtherModel, ResultFormat
from scheduler.ledger import budgets, evidence, places, queries, syncs
from scheduler.ledger.agents import other_models
from scheduler.ledger.reach import dead_channels
from scheduler.ledger.standing import ProblemsByJob, job_row
from scheduler.ledger.store import Store
from scheduler.root.files import WorkingTree
from scheduler.root.settings import read_settings
from scheduler.service.first import is_new, read_unsynced
from scheduler.service.presence import find_daemon
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import FiresJson, JobJson, JobRowJson, ListJson, ShowJson
    from scheduler.service.kept import Kept

UNSYNCED = "unsynced"  # the sync state of a job that only a file names
MOST_FIRES = 100_000  # of a range without a count: a hundred megabytes
_NEVER_FIRE = (Status.ARCHIVED, Status.DISABLED, Status.STOPPED, Status.MANUAL, Status.COMPLETED)


def list_jobs(
    root: Root,
    *,
    status: str | None = None,
    tag: str | None = None,
    problems: bool = False,
    full: bool = True,
    only: Collection[str] | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> ListJson:
    """Every job, including archived ones, and the problems of the last sync; for a root never synced, of its files.

    status: one or several, separated by commas; `running` and `failing` are additional filters.
    full: False leaves out what a table does not show, such as the definition of each job and its current task text,
    which would read one file per job.
    only: the ids among which it looks. after, limit: at most so many jobs, with ids after this one. The rest of the
    answer covers the whole root.
    Raises: UsageError for an unknown status.
    """
    statuses = None if status is None else wanted_statuses(status)
    store, now = root.store(), root.clock.now()
    if store is None:
        return _unsynced_list(root, statuses, tag, problems=problems, only=only, after=after, limit=limit)
    troubles = [] if not store.read_only else [store.read_only]
    with store:
        if is_new(store):
            return _unsynced_list(root, statuses, tag, problems=problems, only=only, after=after, limit=limit)
        known: list[Job] = store.read(queries.jobs) if full else []
        narrow = root.kept is not None and not full  # rows are made of the jobs on the page alone
        rows_of_all = queries.sketches if narrow else queries.summaries
        summaries = list(map(summary_of, known)) if full else store.read(rows_of_all)
        table = Table(root, store, summaries, now)
        overdue = table.look_for_alarms(store, summaries, root.kept)
        wanted = [
            job
            for job in summaries
            if (after is None or job.id > after)
            and (only is None or job.id in only)
            and (statuses is None or not statuses.isdisjoint(table.words(job)))
            and (tag is None or tag in job.tags)
            and (not problems or table.is_wrong(job))
        ][:limit]
        starved = summaries
        if narrow:
            wanted = store.read(queries.summaries, [job.id for job in wanted])
            starved = store.read(queries.summaries, store.read(queries.newest_skip_is, NO_CAPACITY))
        other = store.read(other_models, agents_among(store, wanted))
        rows = [table.row(job, other.get(job.id)) for job in wanted]
        if full:
            files, by_id = _Files(root), {job.id: job for job in known}
            rows = [files.job_json(by_id[row["id"]], row) for row in rows]
        held = held_in(root, store)
        dead = store.read(dead_channels)
    # A daemon that is gone comes first: everything below it is a consequence or out of date.
    troubles = [*table.daemon.troubles, *troubles, *place_texts(table.lost), *alarm_texts(overdue)]
    troubles += [*starved_texts(starved), *(f"{each.dead_text}; {each.hint}" for each in dead)]
    return {
        "jobs": rows,
        "problems": views.problems_json(table.problems),
        "troubles": troubles,
        "summary": views.summary_json(summaries, now, lost=table.lost, running=table.running, held=held),
        "synced": True,
        "daemon": views.daemon_json(table.daemon.presence),
    }


class Table:
    """What the rows of a table of jobs are made of. It is read once; a row is made only when it is asked for."""

    def __init__(self, root: Root, store: Store, jobs: Sequence[JobSummary], now: datetime) -> None:
        self._now = now
        self.problems = store.read(syncs.problems)
        self.lost = store.read(places.open_faults)
        self.daemon = find_daemon(root, store, jobs, now)
        self._wrong = ProblemsByJob(self.problems)
        self._going: dict[str, list[Run]] = {}
        self._alarms: dict[str, list[Alarm]] = {}
        for run in store.read(queries.active_runs):
            self._going.setdefault(run.job_id, []).append(run)
        self.running = {
            job_id for job_id, runs in self._going.items() if any(run.status is not RunStatus.QUEUED for run in runs)
        }

    def look_for_alarms(
        self, store: Store, jobs: Sequence[JobSummary], kept: Kept | None = None
    ) -> list[tuple[JobSummary, Alarm]]:
        """What is overdue of these jobs, or of all if it is kept. Rows have only the alarms that were looked for."""
        found = store.read(evidence.alarms, self._now, jobs) if kept is None else kept.overdue(store, self._now)
        overdue = list(found)
        if self.daemon.observes:
            overdue = [each for each in overdue if each[1].kind is not Kind.ROW]
        for _, alarm in overdue:
            self._alarms.setdefault(alarm.job_id, []).append(alarm)
        return overdue

    def status(self, job: JobSummary) -> Status:
        return job.status(self._now, waits=holding(self.lost, job) is not None)

    def state(self, job: JobSummary) -> str:
        """Its status, but what its latest run came to if nothing keeps it from running."""
        return state_of(job, self.status(job))

    def words(self, job: JobSummary) -> Iterator[str]:
        """The words by which the job is found: its status, and whether it runs or fails."""
        status = self.status(job)
        yield status.value
        if job.id in self.running:
            yield "running"
        if job.consecutive_errors and status is not Status.ARCHIVED:
            yield "failing"

    def is_wrong(self, job: JobSummary) -> bool:
        """True if the last sync found something in its file, or could not apply it."""
        return bool(self._wrong.of(job)) or (not job.archived and job.sync_state is not SyncState.SYNCED)

    def row(self, job: JobSummary, other_model: OtherModel | None = None) -> JobRowJson:
        return views.job_row(
            job,
            problems=self._wrong.of(job),
            now=self._now,
            alarms=self._alarms.get(job.id, ()),
            lost=holding(self.lost, job),
            running=self._going.get(job.id, ()),
            other_model=other_model,
        )


def agents_among(store: Store, jobs: Iterable[JobSummary]) -> list[str]:
    """The jobs whose runner prints what its program says of a run."""
    runners = (store.read(syncs.settings) or Settings()).runners
    agents = {name for name, runner in runners.items() if runner.prints is not ResultFormat.TEXT}
    return [job.id for job in jobs if job.runner in agents and not job.archived]


FILTERS = ("running", "failing")  # of `list`, in addition to the statuses


def wanted_statuses(text: str, further: Sequence[str] = FILTERS) -> frozenset[str]:
    """The statuses in a text such as `active,failing`. Raises: UsageError for an unknown one."""
    known = tuple(dict.fromkeys((*(each.value for each in Status), *further)))
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in known:
            hint = meant(word, known) or f"the statuses are {', '.join(known)}"
            raise UsageError(f"{short(word)} is not a job status", hint=hint)
    if not words:
        raise UsageError("no status was given", hint=f"the statuses are {', '.join(known)}")
    return frozenset(words)


def _unsynced_list(
    root: Root,
    statuses: frozenset[str] | None,
    tag: str | None,
    *,
    problems: bool,
    only: Collection[str] | None,
    after: str | None,
    limit: int | None,
) -> ListJson:
    """The jobs that a first sync would create. Writes nothing, and none of the jobs has a row yet."""
    found, now = read_unsynced(root), root.clock.now()
    jobs: list[JobJson] = []
    for job in found.jobs:
        mine = [problem for problem in found.problems if problem.job_id == job.id]
        about = views.job_json(
            job, views.job_row(summary_of(job), problems=mine, now=now), task_sha256=job.file.task_sha256
        )
        nobody: Mapping[str, None] = dict.fromkeys(("activated_at", "created_at", "created_by", "updated_at"))
        jobs.append(cast("JobJson", {**about, "sync_state": UNSYNCED, **nobody}))
    daemon = find_daemon(root, None, found.jobs, now)
    told = views.list_json(jobs, found.problems, daemon.troubles, held=held_in(root, None), synced=False)
    wanted = [
        job
        for job in jobs
        if (statuses is None or job["status"] in statuses)
        and (tag is None or tag in job["tags"])
        and (not problems or job["problems"])
        and (after is None or job["id"] > after)
        and (only is None or job["id"] in only)
    ]
    return {**told, "jobs": wanted[:limit], "daemon": views.daemon_json(daemon.presence)}


def held(root: Root) -> str | None:
    """Why syncs are held now, or None (S8)."""
    with root.store() or contextlib.nullcontext() as store:
        return held_in(root, store)


def held_in(root: Root, store: Store | None) -> str | None:
    """As `held`, with a database that is already open."""
    from scheduler.sync import holds

    return holds.why_held(root.place, None if store is None else store.read(syncs.settings)) or None


def show_job(root: Root, job_id: str, *, prefix: bool = False) -> ShowJson:
    with root.job(job_id, prefix=prefix) as (store, job):
        now = root.clock.now()
        coming = [] if job.status(now) in _NEVER_FIRE else _coming(job, now)
        row = store.read(job_row, job, now)
        runner = (store.read(syncs.settings) or Settings()).runners.get(job.file.spec.runner)
        return {
            "job": _Files(root).job_json(job, row),
            "next_fires": [{"job_id": job.id, **views.fire_json(fire, job.file.spec.due_by)} for fire in coming],
            "held": held_in(root, store),
            "spending": views.spending_json(store.read(budgets.spending_of, job.file.spec, now)),
            "result_format": None if runner is None else runner.prints.value,
        }


def _coming(job: Job, now: datetime) -> Sequence[datetime]:
    if job.pause is not None and job.pause.covers(now):
        if job.pause.until is None:
            return []  # no fires until somebody resumes it
        now = job.pause.until
    return coming(job.file.spec.due_by, after=now, count=views.NEXT_FIRES)


def next_fires(
    root: Root,
    job_ids: Sequence[str] = (),
    *,
    count: int | None = None,
    start: datetime | None = None,
    until: datetime | None = None,
    prefix: bool = False,
) -> FiresJson:
    """The fires in (start, until], ascending. An explicit range is computed from the schedule alone.

    count: per job; default: 5 without `until`.
    Raises: UsageError for an invalid range, or one with too many fires and no `count`.
    """
    now = root.clock.now()
    explicit = start is not None or until is not None
    begin = now if start is None else start
    if until is not None and until < begin:
        message = f"{{to}} is before {{from}} ({instant(until)} < {instant(begin)})"
        raise UsageError(message, arguments=("to", "from"))
    store = root.store() if not job_ids else root.need_store(job_ids[0])
    if store is None:
        return {"fires": []}
    with store:
        named = [summary_of(root.find_job(store, each, prefix=prefix)) for each in job_ids]
        jobs = named or store.read(queries.sketches)
    counted = count is not None or until is None
    limit = (views.NEXT_FIRES if count is None else count) if counted else MOST_FIRES + 1
    known: dict[Schedule, list[datetime]] = {}  # jobs with the same schedule have the same fires
    found: list[tuple[datetime, str, Schedule]] = []
    for job in jobs:
        if not job_ids and job.archived:
            continue
        if not explicit and job.status(now) in _NEVER_FIRE:
            continue
        schedule = replace(job.due_by, jitter=timedelta()) if job.due_by.jitter else job.due_by
        if schedule not in known:
            known[schedule] = coming(schedule, after=begin, until=until, count=limit)
        found += [(slot, job.id, schedule) for slot in known[schedule]]
        if not counted and len(found) > MOST_FIRES:
            raise UsageError(
                f"the range contains more than {MOST_FIRES:,} fires",
                hint="choose a shorter range, or limit the fires of each job with -n",
            )
    found.sort(key=lambda each: each[:2])
    tell = functools.cache(views.fire_json)
    return {"fires": [{"job_id": job_id, **tell(slot, schedule)} for slot, job_id, schedule in found]}


class _Files:
    """The current task texts of many jobs on disk. A file shared by several jobs is read once."""

    def __init__(self, root: Root) -> None:
        self._place = root.place
        self._settings: Settings | None = None
        self._sources: dict[str, str | None] = {}
        self._files = WorkingTree(root.place)

    def job_json(self, job: Job, row: JobRowJson) -> JobJson:
        return views.job_json(job, row, task_sha256=None if job.archived else self.task_sha256(job))

    def task_sha256(self, job: Job) -> str | None:
        """sha256 of the text that a run would get now, or None if F2 would skip the run."""
        facts, path = job.file, job.file.spec.task_source_path
        synced = facts.file_sha256 if path is None else facts.task_sha256
        if facts.task_sha256 is not None and self._sha256(path or facts.path) == synced:
            return facts.task_sha256  # same bytes as at the last sync: no need to check or parse them again
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
            self._settings = read_settings(self._place)[0] or Settings()
        task = read_task(self._files, job.file.spec, job.file.path, self._settings)
        return None if isinstance(task, Fault) else task.sha256
