"""The two file formats: which keys exist, what each may hold, and what to say about a value that is not allowed.

pydantic finds the faults; every message and code is ours. The same models give editors a JSON Schema. Rules between
keys (one task source, a runner that exists) are in `jobfile` and `rootfile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from scheduler.core.formats import rules
from scheduler.core.formats.paths import GLOB_PATTERN, MAX_LENGTH, PATH_PATTERN
from scheduler.core.times.cron import CRON_PATTERN
from scheduler.core.times.valid import MOST_ENTRIES
from scheduler.core.values import units
from scheduler.core.values.settings import DEFAULT_JOBS
from scheduler.core.values.spec import MANUAL


def _schema(pattern: str, **more: int | str) -> Any:
    return Field(json_schema_extra={"pattern": pattern, **more})


def _optional(description: str, *examples: Any, **limits: Any) -> Any:
    """A key that may be left out; then it is None."""
    return Field(default=None, description=description, examples=list(examples) or None, **limits)


Line = Annotated[str, AfterValidator(rules.one_line), _schema(rules.LINE_PATTERN)]
JobId = Annotated[str, AfterValidator(rules.job_id), _schema(rules.ID_PATTERN)]
EnvName = Annotated[str, AfterValidator(rules.env_name), _schema(rules.ENV_PATTERN)]
OwnEnvName = Annotated[str, AfterValidator(rules.own_env_name), _schema(rules.OWN_ENV_PATTERN)]
RunnerName = Annotated[str, AfterValidator(rules.runner_name), _schema(rules.RUNNER_PATTERN)]
Glob = Annotated[str, AfterValidator(rules.glob), _schema(GLOB_PATTERN, maxLength=MAX_LENGTH)]
JobPattern = Annotated[str, AfterValidator(rules.job_pattern), _schema(rules.JOBS_PATTERN)]
Duration = Annotated[
    timedelta,
    BeforeValidator(rules.duration_value),
    WithJsonSchema({"type": "string", "pattern": units.DURATION_PATTERN}),
]
Phase = Annotated[
    timedelta,
    BeforeValidator(rules.phase_duration),
    WithJsonSchema({"type": "string", "anyOf": [{"pattern": units.DURATION_PATTERN}, {"pattern": "^0[dhms]$"}]}),
]
Instant = Annotated[
    datetime, BeforeValidator(rules.instant_value), WithJsonSchema({"type": "string", "pattern": rules.INSTANT_PATTERN})
]
Size = Annotated[
    int,
    BeforeValidator(rules.size),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": units.SIZE_PATTERN}, {"type": "integer", "minimum": 1}]}),
]


_SOME = Field(json_schema_extra={"minItems": 1})
Globs = Annotated[list[Glob], AfterValidator(rules.not_empty), _SOME]
JobPatterns = Annotated[list[JobPattern], AfterValidator(rules.not_empty), _SOME]
Lines = Annotated[list[Line], AfterValidator(rules.not_empty), _SOME]


class Shape(BaseModel):
    """Base of all shapes: nothing is converted, and unknown keys are rejected."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    not_yet: ClassVar[frozenset[str]] = frozenset()  # keys of the design that are not implemented yet
    misplaced: ClassVar[Mapping[str, str]] = {}  # keys that belong elsewhere, and the hint that says where
    inner: ClassVar[Mapping[str, type[Shape]]] = {}  # shapes below; "*" for any key


# VS Code and yaml-language-server show the message in place of the pattern.
_WRITE_CRON = "write five fields (minute hour day month weekday) such as 0 9 * * 1-5, or a macro such as @daily"
_CRON = _schema(CRON_PATTERN, patternErrorMessage=_WRITE_CRON)
CronText = Annotated[str, _CRON]
CronTextOrManual = Annotated[
    str, _schema(f"^{MANUAL}$|{CRON_PATTERN}", patternErrorMessage=f"{_WRITE_CRON}; or {MANUAL}")
]


class ScheduleShape(Shape):
    """When a job is due: exactly one of cron, every and at."""

    cron: Annotated[str, AfterValidator(rules.cron_text), _CRON] | None = _optional(
        "Five cron fields (minute hour day month weekday), six with the second first, or a macro from "
        "@hourly to @yearly; on the wall clock of the timezone.",
        "0 9 * * mon-fri",
        "@daily",
    )
    every: Duration | None = _optional(
        "An interval of at least 1s; the job is due at whole multiples of it since 1970-01-01T00:00Z.", "15m"
    )
    phase: Phase | None = _optional(
        "How much later than at whole multiples of every the job is due; shorter than every. Without it, 0s.", "5m"
    )
    at: Instant | None = _optional("One instant with an explicit UTC offset.", "2027-01-31T09:00:00+01:00")
    starts: Instant | None = _optional(
        "The job is not due before this instant; at it, it may be.", "2027-01-01T00:00:00+01:00"
    )
    ends: Instant | None = _optional(
        "The job is not due after this instant; at it, it may be.", "2027-06-30T23:59:59+02:00"
    )
    timezone: Annotated[str, AfterValidator(rules.zone_name)] | None = _optional(
        "IANA name of the zone; without it that of scheduler.yaml, else UTC.", "Europe/Berlin"
    )
    jitter: Duration | None = _optional(
        "Starts each run later than it is due, by a time below this that stays the same for the job; "
        "under half the shortest time between two fires. Without it a run starts when it is due. In a list, all "
        "entries have the same.",
        "30s",
    )


Entry = Annotated[ScheduleShape, BeforeValidator(rules.shorthand, json_schema_input_type=CronText | ScheduleShape)]
Entries = Annotated[list[Entry], Field(min_length=1, max_length=MOST_ENTRIES)]


class RetryShape(Shape):
    """Whether and when a run that did not succeed is tried again, with the text that it had."""

    attempts: int = Field(default=1, ge=1, le=100, description="How many tries a run has, the first one too.")
    delay: Duration | None = _optional("How long to wait before the second try; 30s unless written.", "30s")
    backoff: float = Field(default=2.0, ge=1, le=100, description="By how much each further delay is longer.")
    max_delay: Duration | None = _optional("The longest delay; 1h unless written.", "1h")
    on: Annotated[list[Literal["failed", "timed_out", "interrupted"]], AfterValidator(rules.not_empty)] = Field(
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
    within: Duration | None = _optional(
        "How late such a run may start. Without it at most 2h and half the time to the next slot; with "
        "all, as late as it comes.",
        "2h",
    )


class SharedShape(Shape):
    """The keys that a job has, and that all jobs may have from scheduler.yaml."""

    not_yet = frozenset({"deliver", "deliver_on"})
    misplaced = {
        **dict.fromkeys(("id", "task", "task_source_path", "schedule"), "write it in each job file: it has no default"),
        "timezone": "write timezone at the top level of scheduler.yaml",
    }

    inner = {"retry": RetryShape, "catch_up": CatchUpShape}

    name: Line | None = _optional("What people call the job; without it the id.")
    description: str | None = _optional("What the job is for.")
    owner: Line | None = _optional("Who answers for the job.", "platform@example.com")
    tags: list[Line] | None = _optional("Words to find the job by.", ["agent", "hourly"])
    enabled: bool | None = _optional(
        "false: the job is never due; true unless written. An operator's pause is kept apart from it."
    )
    runner: str | None = _optional("Name of a runner in scheduler.yaml; needed here or in its defaults.", "shell")
    env: dict[OwnEnvName, str | None] | None = _optional(
        "Environment variables, only those that the runner's job_env allows; values are text. "
        "Merged by name with the defaults; null takes one away.",
        {"MODE": "nightly"},
    )
    timeout: Duration | None = _optional("How long a run may take before it is ended; 30m unless written.", "20m")
    concurrency: Literal["forbid", "queue", "replace", "allow"] | None = _optional(
        "What happens when the job is due while it still runs. forbid: the slot is skipped; queue: it "
        "waits, and a newer one takes its place; replace: what runs is ended first; allow: both run. "
        "forbid unless written."
    )
    catch_up: (
        Annotated[CatchUpShape, BeforeValidator(rules.catch_up_policy, json_schema_input_type=_Policy | CatchUpShape)]
        | None
    ) = _optional(
        "What becomes of slots that passed while nobody was there; latest unless written. "
        "The policy alone may be written for it.",
        "none",
        {"policy": "all", "within": "1d"},
    )
    failure_limit: int | None = _optional(
        "How many errors in a row stop the job, until its definition or task is edited or somebody resumes "
        "it; 0: none do. 10 unless written.",
        ge=0,
        le=1_000_000,
    )
    retry: RetryShape | None = _optional("Whether a run that did not succeed is tried again; without it no run is.")
    expires: Instant | None = _optional(
        "The job is not due after this instant, whatever its schedule says; it is completed then.",
        "2027-06-30T23:59:59+02:00",
    )
    expect_every: Duration | None = _optional(
        "Without a success for that long an alarm is raised: in list, doctor and the log. Not while the "
        "job is paused or disabled.",
        "26h",
    )


class DefaultsShape(SharedShape):
    """The keys that a job takes from scheduler.yaml where it does not write them itself."""

    model_config = ConfigDict(title="Defaults of all jobs")

    jitter: Duration | None = _optional(
        "The jitter of every schedule that writes none; where fires are close together, as much of it as fits.", "5m"
    )


class JobShape(SharedShape):
    """One job: a document of a YAML job file, or the front matter of a Markdown one."""

    model_config = ConfigDict(title="Job")
    misplaced = {
        **dict.fromkeys(
            ("cron", "every", "at", "timezone", "jitter"),
            'write it below schedule, as in schedule: {cron: "0 9 * * *"}',
        ),
        "prompt": "write task with the text, or task_source_path with its file",
        "command": "name a runner; its command stands in scheduler.yaml",
    }
    inner = {**SharedShape.inner, "schedule": ScheduleShape}

    id: JobId = Field(
        description="What the job is known by, for ever: moving or renaming the file changes nothing. "
        "1-128 of a-z 0-9 . _ -, starting with a letter or digit.",
        examples=["heartbeat"],
    )
    schedule: Annotated[
        Annotated[Entry, Tag(rules.ONE)]
        | Annotated[Entries, Tag(rules.MANY)]
        | Annotated[Literal["manual"], Tag(rules.BY_HAND)],
        Discriminator(rules.one_or_many),
        BeforeValidator(rules.entries, json_schema_input_type=CronTextOrManual | ScheduleShape | Entries),
    ] = Field(
        description="When the job is due: a mapping, a bare cron expression, or a list of 1-32 of these, whose "
        "instants are united; or manual: never, it only runs by hand.",
        examples=['"0 9 * * *"', "manual"],
    )
    task: Annotated[str, AfterValidator(rules.inline_task), _schema(rules.NOT_BLANK_PATTERN)] | None = _optional(
        "The task itself. Exactly one of this, task_source_path and the body of a Markdown file."
    )
    task_source_path: (
        Annotated[str, AfterValidator(rules.task_path), _schema(PATH_PATTERN, maxLength=MAX_LENGTH)] | None
    ) = _optional(
        "The file that holds the task, relative to the folder of scheduler.yaml; read at each fire.",
        "prompts/heartbeat.md",
    )


class RunnerShape(Shape):
    """One way to turn a task into a process."""

    command: Annotated[
        list[str],
        BeforeValidator(rules.shell_line, json_schema_input_type=Annotated[list[str], Field(min_length=1)]),
        AfterValidator(rules.runner_command),
    ] = Field(
        description="The program and its arguments, never a shell line. The program is absolute, found on PATH, or "
        "under the root and written ./... An argument may hold {task_file}, the path of a private copy of the task, "
        "or {task}, its text.",
        examples=['[sh, "{task_file}"]'],
    )
    input: Literal["stdin", "file", "arg"] | None = _optional(
        "How the program is handed the task: file goes with {task_file}, arg with {task}, stdin with "
        "neither. Told from the command unless written."
    )
    env: dict[OwnEnvName, str] = Field(
        default={}, description="Environment variables of fixed value.", examples=[{"LANG": "C.UTF-8"}]
    )
    env_from: list[EnvName] = Field(
        default=[], description="Names of variables passed on from the scheduler's own environment."
    )
    job_env: list[OwnEnvName] = Field(default=[], description="Names of variables that a job may set with env.")
    tasks: Annotated[Globs | None, BeforeValidator(rules.given, json_schema_input_type=Globs)] = _optional(
        "Globs of the files whose text the runner may be given; without it any.", ["scripts/**"]
    )
    jobs: Annotated[JobPatterns | None, BeforeValidator(rules.given, json_schema_input_type=JobPatterns)] = _optional(
        "The jobs that may use the runner, by globs of their ids, or tag: and a glob of a tag; without it all.",
        ["backup-*", "tag:agent"],
    )
    max_timeout: Annotated[Duration | None, BeforeValidator(rules.given, json_schema_input_type=Duration)] = _optional(
        "The longest timeout that a job may have with the runner; without it any.", "2h"
    )
    cwd: Annotated[str, AfterValidator(rules.cwd_path), _schema(PATH_PATTERN, maxLength=MAX_LENGTH)] = Field(
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
        int | None, BeforeValidator(rules.given, json_schema_input_type=Annotated[int, Field(ge=10, le=10_000_000)])
    ] = _optional(
        "How many rows of each job's history are kept, skips going first; without it all.", ge=10, le=10_000_000
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
    verbs: Annotated[list[AgentVerb], AfterValidator(rules.not_empty), _SOME] = Field(
        default=["update"],
        description="What they may do beside reading: update, create, delete, mv and rollback edit files; run, cancel, "
        "pause, resume and sync do not.",
        examples=[["update", "rollback"]],
    )
    fields: Annotated[list[AgentField], AfterValidator(rules.not_empty), _SOME] = Field(
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
        str | None, BeforeValidator(rules.given, json_schema_input_type=Annotated[str, Field(min_length=1)])
    ] = _optional(
        "The branch whose files are synced and run. On another one, or on none, slots wait. Default: any.",
        "main",
        min_length=1,
        max_length=MAX_LENGTH,
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

    version: Annotated[Literal[1], BeforeValidator(rules.format_version)] = Field(
        description="Version of this format; 1.", examples=[1]
    )
    jobs: Globs = Field(
        default=list(DEFAULT_JOBS), description="Globs of the job files, relative to the folder of this file."
    )
    timezone: Annotated[str, AfterValidator(rules.zone_name)] = Field(
        default="UTC", description="IANA name of the zone of all schedules that name none.", examples=["Europe/Berlin"]
    )
    defaults: DefaultsShape = Field(
        default_factory=DefaultsShape, description="What a job takes where it does not write it itself."
    )
    runners: dict[RunnerName, RunnerShape] = Field(default={}, description="The ways to run a task, by name.")
    hosts: Annotated[Lines | None, BeforeValidator(rules.given, json_schema_input_type=Lines)] = _optional(
        "Globs of the host names where jobs fire; without it everywhere.", ["prod-*"]
    )
    limits: LimitsShape = Field(default_factory=LimitsShape, description="Sizes beyond which work is refused or cut.")
    prune: PruneShape = Field(
        default_factory=PruneShape, description="How many jobs a sync may archive before a person confirms."
    )
    retention: RetentionShape = Field(
        default_factory=RetentionShape, description="How long outputs and histories are kept."
    )
    agents: Annotated[AgentsShape | None, BeforeValidator(rules.given, json_schema_input_type=AgentsShape)] = _optional(
        "What agents may change, through the tool or from inside a run; without it they only read."
    )
    worktree: WorktreeShape = Field(
        default_factory=WorktreeShape, description="Which branch is synced, and whether what is not committed fires."
    )


AnyShape = TypeVar("AnyShape", bound=Shape)
