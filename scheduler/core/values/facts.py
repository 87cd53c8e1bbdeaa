"""What is known about a job, besides its definition."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from scheduler.core.values.codec import Stored
from scheduler.core.values.spec import JobSpec

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
]


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

    @property
    def archived(self) -> bool:
        return self.file.archived_at is not None

    def status(self, now: datetime, *, waits: bool = False) -> Status:
        """waits: whether its place is gone (F7)."""
        if self.archived:
            return Status.ARCHIVED
        if not self.file.spec.enabled:
            return Status.DISABLED
        if self.runtime.stopped_at is not None:
            return Status.STOPPED
        if self.pause is not None and self.pause.covers(now):
            return Status.PAUSED
        if self.file.spec.schedule.manual:
            return Status.MANUAL
        if self.next_run_at is None:
            return Status.COMPLETED
        return Status.WAITING if waits else Status.ACTIVE
