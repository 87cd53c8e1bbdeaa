"""The two file formats: which keys exist, what each may hold, and what to say where it does not.

pydantic finds the faults; every message and code is ours. The same models give editors a JSON Schema.
Rules between keys (one task source, a runner that exists) are in `jobfile` and `rootfile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from scheduler.core.formats.paths import GLOB_PATTERN, MAX_LENGTH, PATH_PATTERN
from scheduler.core.formats.rules import (
    ENV_PATTERN,
    ID_PATTERN,
    INSTANT_PATTERN,
    JOBS_PATTERN,
    LINE_PATTERN,
    MANY,
    NOT_BLANK_PATTERN,
    ONE,
    OWN_ENV_PATTERN,
    RUNNER_PATTERN,
    catch_up_policy,
    cron_text,
    cwd_path,
    duration_value,
    entries,
    env_name,
    format_version,
    given,
    glob,
    inline_task,
    instant_value,
    job_id,
    job_pattern,
    not_empty,
    one_line,
    one_or_many,
    own_env_name,
    phase_duration,
    runner_command,
    runner_name,
    shell_line,
    shorthand,
    size,
    task_path,
    zone_name,
)
from scheduler.core.times.valid import MOST_ENTRIES
from scheduler.core.values import units
from scheduler.core.values.settings import DEFAULT_JOBS


def _schema(pattern: str, **more: int) -> Any:
    return Field(json_schema_extra={"pattern": pattern, **more})


Line = Annotated[str, AfterValidator(one_line), _schema(LINE_PATTERN)]
JobId = Annotated[str, AfterValidator(job_id), _schema(ID_PATTERN)]
EnvName = Annotated[str, AfterValidator(env_name), _schema(ENV_PATTERN)]
OwnEnvName = Annotated[str, AfterValidator(own_env_name), _schema(OWN_ENV_PATTERN)]
RunnerName = Annotated[str, AfterValidator(runner_name), _schema(RUNNER_PATTERN)]
Glob = Annotated[str, AfterValidator(glob), _schema(GLOB_PATTERN, maxLength=MAX_LENGTH)]
JobPattern = Annotated[str, AfterValidator(job_pattern), _schema(JOBS_PATTERN)]
Duration = Annotated[
    timedelta, BeforeValidator(duration_value), WithJsonSchema({"type": "string", "pattern": units.DURATION_PATTERN})
]
Phase = Annotated[
    timedelta,
    BeforeValidator(phase_duration),
    WithJsonSchema({"type": "string", "anyOf": [{"pattern": units.DURATION_PATTERN}, {"pattern": "^0[dhms]$"}]}),
]
Instant = Annotated[
    datetime, BeforeValidator(instant_value), WithJsonSchema({"type": "string", "pattern": INSTANT_PATTERN})
]
Size = Annotated[
    int,
    BeforeValidator(size),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": units.SIZE_PATTERN}, {"type": "integer", "minimum": 1}]}),
]


_SOME = Field(json_schema_extra={"minItems": 1})
Globs = Annotated[list[Glob], AfterValidator(not_empty), _SOME]
JobPatterns = Annotated[list[JobPattern], AfterValidator(not_empty), _SOME]
Lines = Annotated[list[Line], AfterValidator(not_empty), _SOME]


class Shape(BaseModel):
    """Base of all: nothing is converted, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    not_yet: ClassVar[frozenset[str]] = frozenset()  # keys of the design that no code honours so far
    misplaced: ClassVar[Mapping[str, str]] = {}  # keys that belong elsewhere, and the hint that says where
    inner: ClassVar[Mapping[str, type[Shape]]] = {}  # shapes below; "*" for any key


class ScheduleShape(Shape):
    """When a job is due: exactly one of cron, every and at."""

    cron: Annotated[str, AfterValidator(cron_text)] | None = Field(
        default=None,
        description="Five cron fields (minute hour day month weekday), six with the second first, or a macro from "
        "@hourly to @yearly; on the wall clock of the timezone.",
        examples=["0 9 * * mon-fri", "@daily"],
    )
    every: Duration | None = Field(
        default=None,
        description="An interval of at least 1s; the job is due at whole multiples of it since 1970-01-01T00:00Z.",
        examples=["15m"],
    )
    phase: Phase | None = Field(
        default=None,
        description="How much later than at whole multiples of every the job is due; shorter than every. "
        "Without it, 0s.",
        examples=["5m"],
    )
    at: Instant | None = Field(
        default=None, description="One instant with an explicit UTC offset.", examples=["2027-01-31T09:00:00+01:00"]
    )
    starts: Instant | None = Field(
        default=None,
        description="The job is not due before this instant; at it, it may be.",
        examples=["2027-01-01T00:00:00+01:00"],
    )
    ends: Instant | None = Field(
        default=None,
        description="The job is not due after this instant; at it, it may be.",
        examples=["2027-06-30T23:59:59+02:00"],
    )
    timezone: Annotated[str, AfterValidator(zone_name)] | None = Field(
        default=None,
        description="IANA name of the zone; without it that of scheduler.yaml, else UTC.",
        examples=["Europe/Berlin"],
    )
    jitter: Duration | None = Field(
        default=None,
        description="Starts each run later than it is due, by a time below this that stays the same for the job; "
        "under half the shortest time between two fires. Without it a run starts when it is due. In a list, all "
        "entries have the same.",
        examples=["30s"],
    )


Entry = Annotated[ScheduleShape, BeforeValidator(shorthand, json_schema_input_type=str | ScheduleShape)]
Entries = Annotated[list[Entry], Field(min_length=1, max_length=MOST_ENTRIES)]


class RetryShape(Shape):
    """Whether and when a run that did not succeed is tried again, with the text that it had."""

    attempts: int = Field(default=1, ge=1, le=100, description="How many tries a run has, the first one too.")
    delay: Duration | None = Field(
        default=None, description="How long to wait before the second try; 30s unless written.", examples=["30s"]
    )
    backoff: float = Field(default=2.0, ge=1, le=100, description="By how much each further delay is longer.")
    max_delay: Duration | None = Field(
        default=None, description="The longest delay; 1h unless written.", examples=["1h"]
    )
    on: Annotated[list[Literal["failed", "timed_out", "interrupted"]], AfterValidator(not_empty)] = Field(
        default=["failed", "timed_out"],
        description="How a try has to end to be followed by another. interrupted: the scheduler died or was stopped.",
    )


_Policy = Literal["none", "latest", "all"]


class CatchUpShape(Shape):
    """What becomes of slots that passed while nobody was there: the scheduler was down, or the machine slept."""

    policy: _Policy = Field(
        default="latest",
        description="Which of them run after all: none, the newest one, or all of them, the oldest first and at most "
        "the newest 100. Those that do not are skipped as missed.",
    )
    within: Duration | None = Field(
        default=None,
        description="How late such a run may start. Without it at most 2h and half the time to the next slot; with "
        "all, as late as it comes.",
        examples=["2h"],
    )


class DefaultsShape(Shape):
    """The keys that a job takes from scheduler.yaml where it does not write them itself."""

    model_config = ConfigDict(title="Defaults of all jobs")
    not_yet = frozenset({"deliver", "deliver_on"})
    misplaced = {
        **dict.fromkeys(("id", "task", "task_source_path", "schedule"), "write it in each job file: it has no default"),
        "timezone": "write timezone at the top level of scheduler.yaml",
    }

    inner = {"retry": RetryShape, "catch_up": CatchUpShape}

    name: Line | None = Field(default=None, description="What people call the job; without it the id.")
    description: str | None = Field(default=None, description="What the job is for.")
    owner: Line | None = Field(default=None, description="Who answers for the job.", examples=["platform@example.com"])
    tags: list[Line] | None = Field(
        default=None, description="Words to find the job by.", examples=[["agent", "hourly"]]
    )
    enabled: bool | None = Field(
        default=None,
        description="false: the job is never due; true unless written. An operator's pause is kept apart from it.",
    )
    runner: str | None = Field(
        default=None,
        description="Name of a runner in scheduler.yaml; needed here or in its defaults.",
        examples=["shell"],
    )
    env: dict[OwnEnvName, str | None] | None = Field(
        default=None,
        description="Environment variables, only those that the runner's job_env allows; values are text. "
        "Merged by name with the defaults; null takes one away.",
        examples=[{"MODE": "nightly"}],
    )
    timeout: Duration | None = Field(
        default=None, description="How long a run may take before it is ended; 30m unless written.", examples=["20m"]
    )
    concurrency: Literal["forbid", "queue", "replace", "allow"] | None = Field(
        default=None,
        description="What happens when the job is due while it still runs. forbid: the slot is skipped; queue: it "
        "waits, and a newer one takes its place; replace: what runs is ended first; allow: both run. "
        "forbid unless written.",
    )
    catch_up: (
        Annotated[CatchUpShape, BeforeValidator(catch_up_policy, json_schema_input_type=_Policy | CatchUpShape)] | None
    ) = Field(
        default=None,
        description="What becomes of slots that passed while nobody was there; latest unless written. "
        "The policy alone may be written for it.",
        examples=["none", {"policy": "all", "within": "1d"}],
    )
    failure_limit: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="How many errors in a row stop the job, until its definition or task is edited or somebody resumes "
        "it; 0: none do. 10 unless written.",
    )
    retry: RetryShape | None = Field(
        default=None, description="Whether a run that did not succeed is tried again; without it no run is."
    )
    expires: Instant | None = Field(
        default=None,
        description="The job is not due after this instant, whatever its schedule says; it is completed then.",
        examples=["2027-06-30T23:59:59+02:00"],
    )
    expect_every: Duration | None = Field(
        default=None,
        description="Without a success for that long an alarm is raised: in list, doctor and the log. Not while the "
        "job is paused or disabled.",
        examples=["26h"],
    )


class JobShape(DefaultsShape):
    """One job: a document of a YAML job file, or the front matter of a Markdown one."""

    model_config = ConfigDict(title="Job")
    misplaced = {
        **dict.fromkeys(
            ("cron", "every", "at", "timezone"), 'write it below schedule, as in schedule: {cron: "0 9 * * *"}'
        ),
        "prompt": "write task with the text, or task_source_path with its file",
        "command": "name a runner; its command stands in scheduler.yaml",
    }
    inner = {**DefaultsShape.inner, "schedule": ScheduleShape}

    id: JobId = Field(
        description="What the job is known by, for ever: moving or renaming the file changes nothing. "
        "1-128 of a-z 0-9 . _ -, starting with a letter or digit.",
        examples=["heartbeat"],
    )
    schedule: Annotated[
        Annotated[Entry, Tag(ONE)] | Annotated[Entries, Tag(MANY)],
        Discriminator(one_or_many),
        BeforeValidator(entries, json_schema_input_type=str | ScheduleShape | Entries),
    ] = Field(
        description="When the job is due: a mapping, a bare cron expression, or a list of 1-32 of these, whose "
        "instants are united.",
        examples=['"0 9 * * *"'],
    )
    task: Annotated[str, AfterValidator(inline_task), _schema(NOT_BLANK_PATTERN)] | None = Field(
        default=None,
        description="The task itself. Exactly one of this, task_source_path and the body of a Markdown file.",
    )
    task_source_path: Annotated[str, AfterValidator(task_path), _schema(PATH_PATTERN, maxLength=MAX_LENGTH)] | None = (
        Field(
            default=None,
            description="The file that holds the task, relative to the folder of scheduler.yaml; read at each fire.",
            examples=["prompts/heartbeat.md"],
        )
    )


class RunnerShape(Shape):
    """One way to turn a task into a process."""

    command: Annotated[
        list[str],
        BeforeValidator(shell_line, json_schema_input_type=Annotated[list[str], Field(min_length=1)]),
        AfterValidator(runner_command),
    ] = Field(
        description="The program and its arguments, never a shell line. The program is absolute, found on PATH, or "
        "under the root and written ./... An argument may hold {task_file}, the path of a private copy of the task, "
        "or {task}, its text.",
        examples=['[sh, "{task_file}"]'],
    )
    input: Literal["stdin", "file", "arg"] | None = Field(
        default=None,
        description="How the program is handed the task: file goes with {task_file}, arg with {task}, stdin with "
        "neither. Told from the command unless written.",
    )
    env: dict[OwnEnvName, str] = Field(
        default={}, description="Environment variables of fixed value.", examples=[{"LANG": "C.UTF-8"}]
    )
    env_from: list[EnvName] = Field(
        default=[], description="Names of variables passed on from the scheduler's own environment."
    )
    job_env: list[OwnEnvName] = Field(default=[], description="Names of variables that a job may set with env.")
    tasks: Annotated[Globs | None, BeforeValidator(given, json_schema_input_type=Globs)] = Field(
        default=None,
        description="Globs of the files whose text the runner may be given; without it any.",
        examples=[["scripts/**"]],
    )
    jobs: Annotated[JobPatterns | None, BeforeValidator(given, json_schema_input_type=JobPatterns)] = Field(
        default=None,
        description="The jobs that may use the runner, by globs of their ids, or tag: and a glob of a tag; "
        "without it all.",
        examples=[["backup-*", "tag:agent"]],
    )
    max_timeout: Annotated[Duration | None, BeforeValidator(given, json_schema_input_type=Duration)] = Field(
        default=None,
        description="The longest timeout that a job may have with the runner; without it any.",
        examples=["2h"],
    )
    cwd: Annotated[str, AfterValidator(cwd_path), _schema(PATH_PATTERN, maxLength=MAX_LENGTH)] = Field(
        default="root", description="Working directory: root, or a folder below it."
    )


MOST_JOBS = 100_000
MOST_TASK_BYTES = 16 * 2**20


class LimitsShape(Shape):
    """Sizes beyond which work is refused or cut."""

    max_jobs: int = Field(default=10_000, ge=1, le=MOST_JOBS, description="How many jobs there may be.")
    task_bytes: Size = Field(default=256 * 2**10, ge=1, le=MOST_TASK_BYTES, description="How large a task may be.")
    output_bytes: Size = Field(
        default=10 * 2**20, ge=1, le=2**30, description="How much of a run's output is kept: its head and tail."
    )
    max_running: int = Field(default=16, ge=1, le=1_000, description="How many runs there may be at once.")


class PruneShape(Shape):
    """The guard: a sync that would archive more than this waits for a person."""

    max_percent: int = Field(default=50, ge=0, le=100, description="The largest share of all jobs, beyond three.")
    max_jobs: int = Field(default=20, ge=0, le=100_000, description="The largest number of jobs.")


class RetentionShape(Shape):
    """What is thrown away, and when: every night, and by `scheduler gc`."""

    output_days: int = Field(
        default=90, ge=0, le=36_500, description="How long the output of a run is kept; 0: for ever."
    )
    runs: Annotated[
        int | None, BeforeValidator(given, json_schema_input_type=Annotated[int, Field(ge=10, le=10_000_000)])
    ] = Field(
        default=None,
        ge=10,
        le=10_000_000,
        description="How many rows of each job's history are kept, skips going first; without it all.",
    )


AgentVerb = Literal[
    "update", "create", "delete", "mv", "rollback", "run", "cancel", "pause", "resume", "sync"
]  # fmt: skip
AgentField = Literal[
    "task", "task_source_path", "name", "description", "owner", "tags", "schedule", "enabled", "runner", "env",
    "timeout", "concurrency", "catch_up", "failure_limit", "retry", "expires", "expect_every",
]  # fmt: skip


class AgentsShape(Shape):
    """What agents may do, through the tool or from inside a run. They may always read. A guard rail, no wall."""

    jobs: JobPatterns = Field(
        description="The jobs that they may change, by globs of their ids, or tag: and a glob of a tag.",
        examples=[["heartbeat", "tag:agent"]],
    )
    verbs: Annotated[list[AgentVerb], AfterValidator(not_empty), _SOME] = Field(
        default=["update"],
        description="What they may do beside reading: update, create, delete, mv and rollback edit files; run, cancel, "
        "pause, resume and sync do not.",
        examples=[["update", "rollback"]],
    )
    fields: Annotated[list[AgentField], AfterValidator(not_empty), _SOME] = Field(
        default=["task", "name", "description", "tags", "schedule", "enabled"],
        description="The keys of a job that they may change; task is its text, wherever that stands.",
    )
    paths: list[Glob] = Field(
        default=[],
        description="Globs of the files that they may make, job files and tasks, or name as a task; without it none.",
        examples=[["jobs/agents/**"]],
    )
    edits: Literal["commit", "branch", "working-tree"] = Field(
        default="branch",
        description="What becomes of an edit: a commit on a branch agents/..., to be reviewed; a commit in place; or "
        "the file alone. A stricter one, a branch before a commit before the file, may always be asked for.",
    )


class WorktreeShape(Shape):
    """Which state of the git repository may be taken for what is meant."""

    branch: Annotated[
        str | None, BeforeValidator(given, json_schema_input_type=Annotated[str, Field(min_length=1)])
    ] = Field(
        default=None,
        min_length=1,
        max_length=MAX_LENGTH,
        description="The branch whose files are synced. On another one, or on none, a sync is held; without it any.",
        examples=["main"],
    )
    dirty: Literal["run", "skip"] = Field(
        default="run",
        description="What becomes of a slot whose task is not as it was committed: it is run, or skipped.",
    )


class RootShape(Shape):
    """scheduler.yaml: the root of all paths, and what holds for all jobs."""

    model_config = ConfigDict(title="scheduler.yaml")
    not_yet = frozenset({"channels"})
    misplaced = {
        **dict.fromkeys(DefaultsShape.model_fields, "write it in a job file, or below defaults"),
        "schedule": "write it in a job file",
        "id": "write it in a job file",
    }
    inner = {
        "defaults": DefaultsShape,
        "limits": LimitsShape,
        "prune": PruneShape,
        "retention": RetentionShape,
        "agents": AgentsShape,
        "worktree": WorktreeShape,
        "runners": type("RunnersShape", (Shape,), {"inner": {"*": RunnerShape}}),
    }

    version: Annotated[Literal[1], BeforeValidator(format_version)] = Field(
        description="Version of this format; 1.", examples=[1]
    )
    jobs: Globs = Field(
        default=list(DEFAULT_JOBS), description="Globs of the job files, relative to the folder of this file."
    )
    timezone: Annotated[str, AfterValidator(zone_name)] = Field(
        default="UTC", description="IANA name of the zone of all schedules that name none.", examples=["Europe/Berlin"]
    )
    defaults: DefaultsShape = Field(
        default_factory=DefaultsShape, description="What a job takes where it does not write it itself."
    )
    runners: dict[RunnerName, RunnerShape] = Field(default={}, description="The ways to run a task, by name.")
    hosts: Annotated[Lines | None, BeforeValidator(given, json_schema_input_type=Lines)] = Field(
        default=None,
        description="Globs of the host names where jobs fire; without it everywhere.",
        examples=[["prod-*"]],
    )
    limits: LimitsShape = Field(default_factory=LimitsShape, description="Sizes beyond which work is refused or cut.")
    prune: PruneShape = Field(
        default_factory=PruneShape, description="How many jobs a sync may archive before a person confirms."
    )
    retention: RetentionShape = Field(
        default_factory=RetentionShape, description="How long outputs and histories are kept."
    )
    agents: Annotated[AgentsShape | None, BeforeValidator(given, json_schema_input_type=AgentsShape)] = Field(
        default=None,
        description="What agents may change, through the tool or from inside a run; without it they only read.",
    )
    worktree: WorktreeShape = Field(
        default_factory=WorktreeShape, description="Which branch is synced, and whether what is not committed fires."
    )


AnyShape = TypeVar("AnyShape", bound=Shape)
