"""The values everything else speaks of: what files say, what the store holds, what runs did.

Desired state (`JobSpec`, `Settings`) and observed state (`Job`, `Run`) are different types on
purpose: a definition can be compared and replaced, a history cannot.
Instants are aware UTC; durations are `timedelta`, or whole milliseconds in names ending in `_ms`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal
from zoneinfo import ZoneInfo

ROOT_FILE = "scheduler.yaml"
ROOT_JOB_ID = "@root"  # audit rows about scheduler.yaml itself; no job id can start with @


def instant(at: datetime) -> str:
    """RFC 3339 in UTC with `Z`; whole seconds print without a fraction."""
    text = at.astimezone(UTC).isoformat()
    return text.removesuffix("+00:00") + "Z"


def parse_instant(text: str) -> datetime:
    """The inverse of `instant`. Raises ValueError for an instant without an offset."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} lies outside the years 1 to 9999") from None


def on_the_clock(at: datetime, timezone: str) -> tuple[datetime, str]:
    """An instant in a zone, and the zone's name; in UTC at the calendar's ends, where the zone has no date for it."""
    try:
        return at.astimezone(ZoneInfo(timezone)), timezone
    except OverflowError:
        return at.astimezone(UTC), "UTC"


def milliseconds(duration: timedelta) -> int:
    return round(duration / timedelta(milliseconds=1))


# -- desired state ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a job is due: one entry, with exactly one of `cron`, `every`, `at`; or several entries, united."""

    timezone: str  # IANA name; never the machine's zone; of several entries the first one's
    cron: str | None = None  # 5 fields, 6 with the second first, or a macro such as @hourly, as written
    every: timedelta | None = None  # at whole multiples since the Unix epoch, plus `phase`
    at: datetime | None = None  # aware UTC
    phase: timedelta = timedelta(0)  # of `every`, and shorter
    starts: datetime | None = None  # aware UTC; slots before it do not count
    ends: datetime | None = None  # aware UTC; nor do those after it
    jitter: timedelta = timedelta(0)  # a run starts less than this after its slot; no part of the slot
    union: tuple[Schedule, ...] = ()  # two entries or more, in the order of the file; the jitter is that of all

    @property
    def entries(self) -> tuple[Schedule, ...]:
        return self.union or (self,)

    @property
    def timing(self) -> Schedule:
        """The schedule without its jitter and the order of its entries: equal timings name the same slots (S6)."""
        if self.union:
            entries = sorted(self.union, key=lambda entry: json.dumps(entry.to_json(), sort_keys=True))
            return Schedule(timezone=entries[0].timezone, union=tuple(entries))
        return replace(self, jitter=timedelta(0)) if self.jitter else self

    def until(self, last: datetime) -> Schedule:
        """The same without the slots after `last`."""
        if self.union:
            return replace(self, union=tuple(entry.until(last) for entry in self.union))
        return replace(self, ends=last if self.ends is None else min(self.ends, last))

    def to_json(self) -> dict[str, Any]:
        # What is not set is not said, so that definitions stored before a key existed are equal still.
        jitter = {"jitter_ms": milliseconds(self.jitter)} if self.jitter else {}
        if self.union:
            return {"any": [entry.to_json() for entry in self.union], "timezone": self.timezone, **jitter}
        found: dict[str, Any] = {}
        if self.cron is not None:
            found["cron"] = self.cron
        elif self.every is not None:
            found["every_ms"] = milliseconds(self.every)
        elif self.at is not None:
            found["at"] = instant(self.at)
        if self.phase:
            found["phase_ms"] = milliseconds(self.phase)
        found["timezone"] = self.timezone
        if self.starts is not None:
            found["starts"] = instant(self.starts)
        if self.ends is not None:
            found["ends"] = instant(self.ends)
        return {**found, **jitter}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Schedule:
        every = found.get("every_ms")
        at, starts, ends = (None if (text := found.get(key)) is None else parse_instant(text) for key in _INSTANTS)
        return cls(
            timezone=found["timezone"],
            cron=found.get("cron"),
            every=None if every is None else timedelta(milliseconds=every),
            at=at,
            phase=timedelta(milliseconds=found.get("phase_ms", 0)),
            starts=starts,
            ends=ends,
            jitter=timedelta(milliseconds=found.get("jitter_ms", 0)),
            union=tuple(cls.from_json(entry) for entry in found.get("any", ())),
        )


_INSTANTS = ("at", "starts", "ends")  # of a schedule


FAILURE_LIMIT = 10


class Concurrency(StrEnum):
    """What happens to a slot that comes due while the job still runs."""

    FORBID = "forbid"  # it is skipped, `overlap`
    QUEUE = "queue"  # it waits; a newer one takes its place
    REPLACE = "replace"  # what runs is ended first
    ALLOW = "allow"  # it runs beside


class CatchUpPolicy(StrEnum):
    """Which of the slots that passed while nobody was there are run after all."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """What becomes of missed slots. `within`: how late one may start; None: by the rule of `due.patience`."""

    policy: CatchUpPolicy = CatchUpPolicy.LATEST
    within: timedelta | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "policy": self.policy.value,
            "within_ms": None if self.within is None else milliseconds(self.within),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> CatchUp:
        within = found["within_ms"]
        return cls(
            policy=CatchUpPolicy(found["policy"]), within=None if within is None else timedelta(milliseconds=within)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Whether a run that did not succeed is tried again, and when. `attempts` counts the first try too."""

    attempts: int = 1
    delay: timedelta = timedelta(seconds=30)  # before the second try
    backoff: float = 2  # by which each further delay is longer
    max_delay: timedelta = timedelta(hours=1)
    on: tuple[str, ...] = ("failed", "timed_out")  # statuses of an attempt

    def to_json(self) -> dict[str, Any]:
        return {
            "attempts": self.attempts,
            "delay_ms": milliseconds(self.delay),
            "backoff": self.backoff,
            "max_delay_ms": milliseconds(self.max_delay),
            "on": list(self.on),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Retry:
        return cls(
            attempts=found["attempts"],
            delay=timedelta(milliseconds=found["delay_ms"]),
            backoff=found["backoff"],
            max_delay=timedelta(milliseconds=found["max_delay_ms"]),
            on=tuple(found["on"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """Desired state of one job: its resolved definition (defaults merged), never what happened to it.

    The task text is not part of it, and neither is the file it stands in: editing a prompt or
    moving a file changes no definition.
    """

    id: str  # stable; written in the file, so it survives a rename
    name: str
    description: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    enabled: bool = True
    schedule: Schedule
    task_source_path: str | None = None  # None: the text stands in the job file itself
    runner: str
    env: tuple[tuple[str, str], ...] = ()  # sorted by name
    timeout: timedelta = timedelta(minutes=30)
    concurrency: Concurrency = Concurrency.FORBID
    failure_limit: int = FAILURE_LIMIT  # errors in a row that stop the job; 0: none do
    expires: datetime | None = None  # aware UTC; no slot after it is due
    retry: Retry = Retry()
    expect_every: timedelta | None = None  # without a success for longer than that, somebody is told
    catch_up: CatchUp = CatchUp()

    def to_json(self) -> dict[str, Any]:
        """The definition by field, as the store keeps it and `changes` compares it."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "owner": self.owner,
            "tags": list(self.tags),
            "enabled": self.enabled,
            "schedule": self.schedule.to_json(),
            "task_source_path": self.task_source_path,
            "runner": self.runner,
            "env": dict(self.env),
            "timeout_ms": milliseconds(self.timeout),
            "concurrency": self.concurrency.value,
            "failure_limit": self.failure_limit,
            "expires": None if self.expires is None else instant(self.expires),
            "retry": self.retry.to_json(),
            "expect_every_ms": None if self.expect_every is None else milliseconds(self.expect_every),
            "catch_up": self.catch_up.to_json(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> JobSpec:
        """Keys that a definition stored by an earlier version does not have yet get their defaults."""
        return cls(
            id=found["id"],
            name=found["name"],
            description=found["description"],
            owner=found["owner"],
            tags=tuple(found["tags"]),
            enabled=found["enabled"],
            schedule=Schedule.from_json(found["schedule"]),
            task_source_path=found["task_source_path"],
            runner=found["runner"],
            env=tuple(sorted(found["env"].items())),
            timeout=timedelta(milliseconds=found["timeout_ms"]),
            concurrency=Concurrency(found["concurrency"]),
            failure_limit=found.get("failure_limit", FAILURE_LIMIT),
            expires=None if (expires := found.get("expires")) is None else parse_instant(expires),
            retry=Retry.from_json(found["retry"]) if "retry" in found else Retry(),
            expect_every=None if (every := found.get("expect_every_ms")) is None else timedelta(milliseconds=every),
            catch_up=CatchUp.from_json(found["catch_up"]) if "catch_up" in found else CatchUp(),
        )

    @property
    def due_by(self) -> Schedule:
        """The schedule as far as the job is due by it: up to `expires`."""
        if self.expires is None:
            return self.schedule
        return self.schedule.until(self.expires)

    @property
    def digest(self) -> str:
        """sha256 of the definition; equal digests are equal definitions.

        A key that earlier versions did not know counts only where it is set, so that their digests stay.
        """
        said = {name: value for name, value in self.to_json().items() if _LATER_DEFAULTS.get(name, ...) != value}
        text = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


# Keys that came later, and what a definition that does not say them means.
_LATER_DEFAULTS = {
    "failure_limit": FAILURE_LIMIT,
    "expires": None,
    "retry": Retry().to_json(),
    "catch_up": CatchUp().to_json(),
    "expect_every_ms": None,
}


class TaskInput(StrEnum):
    """How a runner is handed the task: on its standard input, as a file, or as one argument."""

    STDIN = "stdin"
    FILE = "file"
    ARG = "arg"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSpec:
    """One entry of `runners` in scheduler.yaml: how a task becomes a process."""

    name: str
    command: tuple[str, ...]  # argv, never a shell line; may hold {task_file} or {task}
    input: TaskInput
    env: tuple[tuple[str, str], ...] = ()  # fixed values, sorted by name
    env_from: tuple[str, ...] = ()  # names passed through from the scheduler's own environment
    job_env: tuple[str, ...] = ()  # names a job may set with `env`
    tasks: tuple[str, ...] | None = None  # globs of task files it may be given; None: any
    jobs: tuple[str, ...] | None = None  # patterns of the jobs that may use it, by id or tag; None: all
    max_timeout: timedelta | None = None  # the longest timeout that a job may have with it; None: any
    cwd: str = "."  # root-relative POSIX path

    def to_json(self) -> dict[str, Any]:
        return {
            "command": list(self.command),
            "input": self.input.value,
            "env": dict(self.env),
            "env_from": list(self.env_from),
            "job_env": list(self.job_env),
            "tasks": None if self.tasks is None else list(self.tasks),
            "jobs": None if self.jobs is None else list(self.jobs),
            "max_timeout_ms": None if self.max_timeout is None else milliseconds(self.max_timeout),
            "cwd": self.cwd,
        }

    @classmethod
    def from_json(cls, name: str, found: Mapping[str, Any]) -> RunnerSpec:
        tasks = found["tasks"]
        jobs, max_timeout = found.get("jobs"), found.get("max_timeout_ms")  # absent where they were stored before
        return cls(
            name=name,
            command=tuple(found["command"]),
            input=TaskInput(found["input"]),
            env=tuple(sorted(found["env"].items())),
            env_from=tuple(found["env_from"]),
            job_env=tuple(found["job_env"]),
            tasks=None if tasks is None else tuple(tasks),
            jobs=None if jobs is None else tuple(jobs),
            max_timeout=None if max_timeout is None else timedelta(milliseconds=max_timeout),
            cwd=found["cwd"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    max_jobs: int = 10_000
    task_bytes: int = 256 * 1024
    output_bytes: int = 10 * 1024 * 1024
    max_running: int = 16

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """The guard (S4): more archives than this in one pass wait for a person."""

    max_percent: int = 50
    max_jobs: int = 20

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What is thrown away, and when: outputs by their age, rows of a history only if asked to."""

    output_days: int = 90  # 0: never
    runs: int | None = None  # rows kept of each job; None: all

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


AgentEdits = Literal["commit", "branch", "working-tree"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """What agents may do to jobs, and to which (core/agents.py)."""

    jobs: tuple[str, ...]  # ids or tag:, as globs
    verbs: tuple[str, ...] = ("update",)
    fields: tuple[str, ...] = ("task", "name", "description", "tags", "schedule", "enabled")
    paths: tuple[str, ...] = ()  # globs of files that they may make
    edits: AgentEdits = "branch"  # the least that an edit must be; a branch is the most

    def to_json(self) -> dict[str, Any]:
        lists = {name: list(getattr(self, name)) for name in ("jobs", "verbs", "fields", "paths")}
        return {**lists, "edits": self.edits}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Agents:
        lists = {name: tuple(found[name]) for name in ("jobs", "verbs", "fields", "paths")}
        return cls(**lists, edits=found["edits"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Worktree:
    """Which state of the repository may be taken for what is meant (S8)."""

    branch: str | None = None  # on another one a sync is held; None: any
    dirty: Literal["run", "skip"] = "run"  # what becomes of a slot whose task is not as it was committed

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


DEFAULT_JOBS = ("jobs/**/*.yaml", "jobs/**/*.yml", "jobs/**/*.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """scheduler.yaml, parsed: one frozen value per pass."""

    version: int = 1
    jobs: tuple[str, ...] = DEFAULT_JOBS
    timezone: str = "UTC"
    defaults: Mapping[str, Any] = field(default_factory=dict)  # job keys as plain YAML values
    runners: Mapping[str, RunnerSpec] = field(default_factory=dict)
    hosts: tuple[str, ...] | None = None  # None: every host
    limits: Limits = Limits()
    prune: Prune = Prune()
    retention: Retention = Retention()
    agents: Agents | None = None  # None: they only read
    worktree: Worktree = Worktree()

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "jobs": list(self.jobs),
            "timezone": self.timezone,
            "defaults": dict(self.defaults),
            "runners": {name: runner.to_json() for name, runner in sorted(self.runners.items())},
            "hosts": None if self.hosts is None else list(self.hosts),
            "limits": self.limits.to_json(),
            "prune": self.prune.to_json(),
            "retention": self.retention.to_json(),
            **({} if self.agents is None else {"agents": self.agents.to_json()}),
            "worktree": self.worktree.to_json(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Settings:
        hosts = found["hosts"]
        agents = found.get("agents")
        return cls(
            version=found["version"],
            jobs=tuple(found["jobs"]),
            timezone=found["timezone"],
            defaults=found["defaults"],
            runners={name: RunnerSpec.from_json(name, each) for name, each in found["runners"].items()},
            hosts=None if hosts is None else tuple(hosts),
            limits=Limits(**found["limits"]),
            prune=Prune(**found["prune"]),
            retention=Retention(**found.get("retention", {})),  # absent where they were stored before
            agents=None if agents is None else Agents.from_json(agents),
            worktree=Worktree(**found.get("worktree", {})),
        )


# -- where a text comes from -----------------------------------------------------------------

Dirty = Literal["modified", "untracked", "converted"]
TaskDirty = Dirty | Literal["unread"]  # unread: the task is at fault, and what is known of it is from before


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Which commit and blob a file's bytes belong to (F3). Outside a repository all three are None."""

    revision: str | None = None  # the commit HEAD named
    blob: str | None = None  # the blob at revision:path; None when that commit has no such file
    dirty: Dirty | None = None  # None exactly when the bytes are the blob's (or no repository)
    why_none: str | None = field(default=None, compare=False)  # a sentence where there is no revision; for people


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit as its author has signed it; texts are what somebody wrote, and safe for no terminal."""

    id: str
    author: str
    email: str
    date: datetime  # of the author
    subject: str


# Why no commit is known to have brought a change.
NoCommit = Literal[
    "uncommitted",  # when it was seen, the file was not as committed
    "shallow",  # the clone does not reach back so far
    "unknown",  # git did not say, or not in time
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task text as it stood on disk: what a run is given, and the file it came from."""

    text: bytes  # what the runner gets; valid UTF-8
    source_path: str  # root-relative
    source: bytes  # the whole file
    real_path: str | None = None  # where the links of a mounted volume lead, if elsewhere
    known_source_sha256: str | None = None  # of a text that was kept without its file

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


# -- observed state: one job, its columns grouped by who may write them ------------------------


class SyncState(StrEnum):
    """How a job's file stands to its row; an archived job has none."""

    SYNCED = "synced"
    INVALID = "invalid"  # the file is there but cannot be read; the last good definition is in force
    CONFLICT = "conflict"  # two places claim the id; the last good definition is in force
    HELD = "held"  # nothing claims it, and the guard keeps it until a person confirms


class Status(StrEnum):
    """Computed from facts, never stored: the first that applies, in this order."""

    ARCHIVED = "archived"
    DISABLED = "disabled"
    STOPPED = "stopped"
    PAUSED = "paused"
    COMPLETED = "completed"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What the files said of a job when they were last read: written by a sync, by nothing else."""

    spec: JobSpec
    generation: int  # +1 whenever the definition changes
    path: str
    line: int
    revision: str | None  # HEAD when this definition was read
    dirty: Dirty | None
    file_sha256: str  # the whole job file, as it was read
    task_sha256: str | None  # None: the task could not be read
    activated_at: datetime  # when the present schedule came into force
    archived_at: datetime | None = None
    sync_state: SyncState = SyncState.SYNCED
    task_dirty: TaskDirty | None = None  # of the file of the task, where that is another one

    @property
    def version(self) -> str:
        return version(self.generation, self.task_sha256)


def version(generation: int, task_sha256: str | None) -> str:
    """What an edit is checked against: generation and the first 12 digits of the task's sha256."""
    return f"{generation}-{(task_sha256 or '')[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """An operator's fact: it survives every sync."""

    at: datetime
    reason: str | None = None
    until: datetime | None = None
    by: str | None = None

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
    next_run_at: datetime | None  # the cursor: the first slot without a row; None: no fire left
    last_slot: datetime | None = None  # the newest slot that has a row, read from the ledger
    taken: tuple[datetime, ...] = ()  # slots from the cursor on that have a row: the clock has gone back (F6)
    created_at: datetime
    created_by: str
    updated_at: datetime

    @property
    def archived(self) -> bool:
        return self.file.archived_at is not None

    def status(self, now: datetime) -> Status:
        if self.archived:
            return Status.ARCHIVED
        if not self.file.spec.enabled:
            return Status.DISABLED
        if self.runtime.stopped_at is not None:
            return Status.STOPPED
        if self.pause is not None and self.pause.covers(now):
            return Status.PAUSED
        return Status.COMPLETED if self.next_run_at is None else Status.ACTIVE


# -- the ledger ------------------------------------------------------------------------------


class RunStatus(StrEnum):
    QUEUED = "queued"
    CLAIMED = "claimed"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"

    @property
    def finished(self) -> bool:
        return self not in (RunStatus.QUEUED, RunStatus.CLAIMED, RunStatus.RUNNING)


class Trigger(StrEnum):
    SCHEDULE = "schedule"
    MANUAL = "manual"
    CATCH_UP = "catch_up"
    RERUN = "rerun"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a run."""

    n: int
    status: RunStatus
    reason: str | None = None
    started_at: datetime
    finished_at: datetime | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One row of the ledger: a served slot, a manual trigger, or slots skipped for one reason."""

    job_id: str
    n: int
    trigger: Trigger
    status: RunStatus
    reason: str | None = None
    fire_time: datetime | None = None  # None: manual
    fire_time_last: datetime | None = None
    slots: int = 1
    requested_at: datetime
    requested_by: str | None = None
    retry_at: datetime | None = None  # while it waits to be tried again
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_ms: int | None = None
    exit_code: int | None = None
    error: str | None = None
    task_sha256: str | None = None
    task_bytes: int | None = None
    source_path: str | None = None
    source_sha256: str | None = None
    provenance: Provenance = Provenance()
    generation: int
    result: str | None = None
    output_bytes: int | None = None
    truncated: bool = False
    attempts: tuple[Attempt, ...] = ()
    task_of: int | None = None  # the number of the run whose text this one was given again

    @property
    def id(self) -> str:
        return f"{self.job_id}:{self.n}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Consecutive slots that no run served, for one reason."""

    first: datetime
    last: datetime
    slots: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One definition that a job had, and from when on it was in force."""

    spec: JobSpec
    generation: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A stretch of time in which a daemon said that it was there, and whether it fired."""

    owner: str
    began: datetime
    seen: datetime
    silent: str = ""  # why it fired nothing; empty: it fired
    over: bool = False  # it said that it was about to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One change: what, from what to what, when, at which commit, and who or what caused it."""

    job_id: str  # or ROOT_JOB_ID
    action: str
    field: str | None = None
    before: Any = None
    after: Any = None
    at: datetime
    revision: str | None = None
    actor: str
    cause: str
    commit: Commit | None = None  # that changed the file which the change stands in
    no_commit: NoCommit | None = None  # why there is none; None where none was looked for, as outside a repository
