"""What is known about a job, besides its definition."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from scheduler.core.values.codec import Stored
from scheduler.core.values.spec import JobSpec, Schedule

Dirty = Literal["modified", "untracked", "converted"]
TaskDirty = Dirty | Literal["unread"]  # unread: the task is at fault, and what is known about it is older


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Which commit and blob a file's bytes belong to (F3). Outside a repository all three are None."""

    revision: str | None = None  # the commit HEAD named
    blob: str | None = None  # the blob at revision:path; None if that commit has no such file
    dirty: Dirty | None = None  # None exactly if the bytes are the blob's (or there is no repository)
    why_none: str | None = field(default=None, compare=False)  # a sentence for people if there is no revision


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerFile(Stored):
    """One file of the root that a runner's command names, as a run found it (F3)."""

    path: str  # root-relative, as the command names it
    sha256: str | None  # None if it could not be read
    blob: str | None = None
    dirty: TaskDirty | None = None  # as in `Provenance`; a mode that differs from the commit's is `modified`
    executable: bool = False

    def check(self) -> None:
        """Raises: ValueError if the value comes from elsewhere and contains what no run writes."""
        sound: dict[str, type] = {"path": str, "executable": bool}
        if not all(isinstance(value, sound.get(key, str | None)) for key, value in self.to_json().items()):
            raise ValueError("the record of a runner's file is not valid")

    @property
    def content(self) -> tuple[str, str | None, bool]:
        """What distinguishes it from another one when asking what ran."""
        return self.path, self.sha256, self.executable


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit(Stored):
    """A commit as its author describes it. The texts are what somebody wrote, and not safe for a terminal."""

    id: str
    author: str
    email: str
    date: datetime  # of the author
    subject: str


# Why no commit is known to have brought a change.
NoCommit = Literal[
    "uncommitted",  # the file was not as committed when it was seen
    "shallow",  # the clone does not reach back that far
    "unknown",  # git did not answer, or not in time
    "pending",  # git has not been asked yet: it is, once the change is in force
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A question to git: the newest commit, from a revision back, that gave a path these bytes."""

    revision: str
    path: str  # as git names it, from the root
    blob: str | None  # None: the commit that deleted the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task text as it was on disk: what a run receives, and the file it came from."""

    text: bytes  # what the runner receives; valid UTF-8
    source_path: str  # root-relative
    source: bytes  # the whole file
    real_path: str | None = None  # where the links of a mounted volume lead, if elsewhere
    known_source_sha256: str | None = None  # for a text that was stored without its file

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text).hexdigest()

    @property
    def source_sha256(self) -> str:
        return self.known_source_sha256 or hashlib.sha256(self.source).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a run could not start: the reason code of its skip, and a sentence for people."""

    reason: str  # source_* or runner_*; stable
    message: str


class SyncState(StrEnum):
    """How a job's file relates to its row; an archived job has none."""

    SYNCED = "synced"
    INVALID = "invalid"  # the file exists but cannot be read; the last good definition is in force
    CONFLICT = "conflict"  # two places claim the id; the last good definition is in force
    HELD = "held"  # nothing claims it, and the guard keeps it until a person confirms


class Status(StrEnum):
    """Computed from facts, never stored: the first that applies, in this order."""

    ARCHIVED = "archived"
    DISABLED = "disabled"
    STOPPED = "stopped"
    PAUSED = "paused"
    MANUAL = "manual"
    COMPLETED = "completed"
    WAITING = "waiting"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What the files said about a job when they were last read. Only a sync writes it."""

    spec: JobSpec
    generation: int  # +1 whenever the definition changes
    path: str
    line: int
    revision: str | None  # HEAD when this definition was read
    dirty: Dirty | None
    file_sha256: str  # the whole job file, as it was read
    task_sha256: str | None  # None if the task could not be read
    activated_at: datetime  # when the present schedule came into force
    archived_at: datetime | None = None
    sync_state: SyncState = SyncState.SYNCED
    task_dirty: TaskDirty | None = None  # of the task's file, if that is a different file

    @property
    def version(self) -> str:
        return version(self.generation, self.task_sha256)


def version(generation: int, task_sha256: str | None) -> str:
    """What an edit is checked against: generation and the first 12 digits of the task's sha256."""
    return f"{generation}-{(task_sha256 or '')[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Stored):
    """An operator's fact: it survives every sync."""

    reason: str | None = None
    until: datetime | None = None
    by: str | None = None
    at: datetime

    def covers(self, moment: datetime) -> bool:
        return self.at <= moment and (self.until is None or moment < self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFacts:
    """What runs left behind: written at the start and end of a run, never by a sync."""

    run_count: int = 0  # runs that reached attempt 1
    consecutive_errors: int = 0
    errors_at_arm: int = 0
    stopped_at: datetime | None = None
    stop_reason: str | None = None
    last_run_at: datetime | None = None
    last_run_status: str | None = None
    last_run_duration_ms: int | None = None
    last_run_error: str | None = None
    last_skip_at: datetime | None = None  # read from the ledger
    last_skip_reason: str | None = None
    last_delivery_status: str | None = None


class Watched(Protocol):
    """What the rules of statuses, slots and alarms need to know of a job."""

    @property
    def id(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def task_source_path(self) -> str | None: ...
    @property
    def runner(self) -> str: ...
    @property
    def sets_path(self) -> bool: ...  # True if the job itself says where its runner's program is looked for
    @property
    def workdir(self) -> str | None: ...
    @property
    def due_by(self) -> Schedule: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def expect_every(self) -> timedelta | None: ...
    @property
    def archived(self) -> bool: ...
    @property
    def activated_at(self) -> datetime: ...
    @property
    def pause(self) -> Pause | None: ...
    @property
    def stopped_at(self) -> datetime | None: ...
    @property
    def next_run_at(self) -> datetime | None: ...
    @property
    def last_slot(self) -> datetime | None: ...
    @property
    def last_run_at(self) -> datetime | None: ...
    @property
    def last_skip_at(self) -> datetime | None: ...
    @property
    def last_skip_reason(self) -> str | None: ...


def status_of(job: Watched, now: datetime, *, waits: bool = False) -> Status:
    """waits: whether its place is gone (F7)."""
    if job.archived:
        return Status.ARCHIVED
    if not job.enabled:
        return Status.DISABLED
    if job.stopped_at is not None:
        return Status.STOPPED
    if job.pause is not None and job.pause.covers(now):
        return Status.PAUSED
    if job.due_by.manual:
        return Status.MANUAL
    if job.next_run_at is None:
        return Status.COMPLETED
    return Status.WAITING if waits else Status.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Observed state of one job."""

    id: str
    file: FileFacts
    pause: Pause | None = None
    runtime: RuntimeFacts = RuntimeFacts()
    next_run_at: datetime | None  # the cursor: the first slot without a row; None if no fire is left
    last_slot: datetime | None = None  # the newest slot that has a row, read from the ledger
    taken: tuple[datetime, ...] = ()  # slots from the cursor on that have a row, because the clock has gone back (F6)
    created_at: datetime
    created_by: str
    updated_at: datetime

    def status(self, now: datetime, *, waits: bool = False) -> Status:
        return status_of(self, now, waits=waits)

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def task_source_path(self) -> str | None:
        return self.file.spec.task_source_path

    @property
    def runner(self) -> str:
        return self.file.spec.runner

    @property
    def sets_path(self) -> bool:
        return any(name == "PATH" for name, _ in self.file.spec.env)

    @property
    def workdir(self) -> str | None:
        return self.file.spec.workdir

    @property
    def of_check(self) -> Job:
        """The job as its check runs."""
        return replace(self, file=replace(self.file, spec=self.file.spec.of_check))

    @property
    def due_by(self) -> Schedule:
        return self.file.spec.due_by

    @property
    def enabled(self) -> bool:
        return self.file.spec.enabled

    @property
    def expect_every(self) -> timedelta | None:
        return self.file.spec.expect_every

    @property
    def archived(self) -> bool:
        return self.file.archived_at is not None

    @property
    def activated_at(self) -> datetime:
        return self.file.activated_at

    @property
    def stopped_at(self) -> datetime | None:
        return self.runtime.stopped_at

    @property
    def last_run_at(self) -> datetime | None:
        return self.runtime.last_run_at

    @property
    def last_skip_at(self) -> datetime | None:
        return self.runtime.last_skip_at

    @property
    def last_skip_reason(self) -> str | None:
        return self.runtime.last_skip_reason


class JobSummary(NamedTuple):
    """What a table of jobs shows of each: read in a tenth of the time of a `Job`, for thousands of them."""

    id: str
    path: str
    due_by: Schedule
    enabled: bool
    expect_every: timedelta | None
    tags: tuple[str, ...]
    runner: str
    task_source_path: str | None
    sets_path: bool
    workdir: str | None
    sync_state: SyncState
    activated_at: datetime
    archived: bool
    pause: Pause | None
    stopped_at: datetime | None
    stop_reason: str | None
    next_run_at: datetime | None
    last_slot: datetime | None
    last_run_at: datetime | None
    last_run_status: str | None
    last_run_error: str | None
    last_skip_at: datetime | None
    last_skip_reason: str | None
    run_count: int
    consecutive_errors: int
    updated_at: datetime

    def status(self, now: datetime, *, waits: bool = False) -> Status:
        return status_of(self, now, waits=waits)


def summary_of(job: Job) -> JobSummary:
    facts, runtime = job.file, job.runtime
    return JobSummary(
        id=job.id,
        path=facts.path,
        due_by=job.due_by,
        enabled=job.enabled,
        expect_every=job.expect_every,
        tags=facts.spec.tags,
        runner=job.runner,
        task_source_path=job.task_source_path,
        sets_path=job.sets_path,
        workdir=job.workdir,
        sync_state=facts.sync_state,
        activated_at=facts.activated_at,
        archived=job.archived,
        pause=job.pause,
        stopped_at=runtime.stopped_at,
        stop_reason=runtime.stop_reason,
        next_run_at=job.next_run_at,
        last_slot=job.last_slot,
        last_run_at=runtime.last_run_at,
        last_run_status=runtime.last_run_status,
        last_run_error=runtime.last_run_error,
        last_skip_at=runtime.last_skip_at,
        last_skip_reason=runtime.last_skip_reason,
        run_count=runtime.run_count,
        consecutive_errors=runtime.consecutive_errors,
        updated_at=job.updated_at,
    )
