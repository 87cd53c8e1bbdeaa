"""The two file formats: which keys exist, what values they take, and what to say about an invalid value.

pydantic finds the faults; every message and code is ours. The JSON Schemas for editors come from the same models.
Rules that involve several keys (one task source, a runner that exists) are in `jobfile` and `rootfile`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from scheduler.core.formats import rules
from scheduler.core.formats.base import Duration, EnvName
from scheduler.core.formats.base import Line as Line
from scheduler.core.formats.base import Shape as Shape
from scheduler.core.formats.base import optional as _optional
from scheduler.core.formats.base import schema as _schema
from scheduler.core.formats.paths import GLOB_PATTERN, MAX_LENGTH, PATH_PATTERN
from scheduler.core.times.cron import CRON_PATTERN
from scheduler.core.times.valid import MOST_ENTRIES
from scheduler.core.values import units
from scheduler.core.values.settings import DEFAULT_JOBS
from scheduler.core.values.spec import MANUAL

JobId = Annotated[str, AfterValidator(rules.job_id), _schema(rules.ID_PATTERN)]
OwnEnvName = Annotated[str, AfterValidator(rules.own_env_name), _schema(rules.OWN_ENV_PATTERN)]
RunnerName = Annotated[str, AfterValidator(rules.runner_name), _schema(rules.RUNNER_PATTERN)]
Glob = Annotated[str, AfterValidator(rules.glob), _schema(GLOB_PATTERN, maxLength=MAX_LENGTH)]
JobPattern = Annotated[str, AfterValidator(rules.job_pattern), _schema(rules.JOBS_PATTERN)]
Phase = Annotated[
    timedelta,
    BeforeValidator(rules.phase_duration),
    WithJsonSchema({"type": "string", "anyOf": [{"pattern": units.DURATION_PATTERN}, {"pattern": "^0[dhms]$"}]}),
]
Instant = Annotated[
    datetime, BeforeValidator(rules.instant_value), WithJsonSchema({"type": "string", "pattern": rules.INSTANT_PATTERN})
]
Amount = Annotated[
    Decimal,
    BeforeValidator(rules.amount),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": rules.MOST_PRICE}),
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


# VS Code and yaml-language-server show this message instead of the pattern.
_WRITE_CRON = "write five fields (minute hour day month weekday) such as 0 9 * * 1-5, or a macro such as @daily"
_CRON = _schema(CRON_PATTERN, patternErrorMessage=_WRITE_CRON)
CronText = Annotated[str, _CRON]
CronTextOrManual = Annotated[
    str, _schema(f"^{MANUAL}$|{CRON_PATTERN}", patternErrorMessage=f"{_WRITE_CRON}; or {MANUAL}")
]


class ScheduleShape(Shape):
    """When a job is due: exactly one of cron, every and at."""

    cron: Annotated[str, AfterValidator(rules.cron_text), _CRON] | None = _optional(
        "A cron expression: five fields (minute hour day month weekday), six fields (the first is the second), or a "
        "macro from @hourly to @yearly. It follows the local time of timezone.",
        "0 9 * * mon-fri",
        "@daily",
    )
    every: Duration | None = _optional(
        "An interval of at least 1s. The job is due at whole multiples of it, counted from 1970-01-01T00:00Z.", "15m"
    )
    phase: Phase | None = _optional(
        "An offset added to the multiples of every. Must be shorter than every. Default: 0s.", "5m"
    )
    at: Instant | None = _optional("A single instant with an explicit UTC offset.", "2027-01-31T09:00:00+01:00")
    starts: Instant | None = _optional(
        "The first instant at which the job can be due (inclusive).", "2027-01-01T00:00:00+01:00"
    )
    ends: Instant | None = _optional(
        "The last instant at which the job can be due (inclusive).", "2027-06-30T23:59:59+02:00"
    )
    timezone: Annotated[str, AfterValidator(rules.zone_name)] | None = _optional(
        "IANA name of the time zone. Default: the timezone of scheduler.yaml, otherwise UTC.", "Europe/Berlin"
    )
    jitter: Duration | None = _optional(
        "Delays the start of each run by a fixed time per job, shorter than this value. Must be less than half the "
        "shortest time between two fires. All entries of a list must have the same jitter. Default: no delay.",
        "30s",
    )


Entry = Annotated[ScheduleShape, BeforeValidator(rules.shorthand, json_schema_input_type=CronText | ScheduleShape)]
Entries = Annotated[list[Entry], Field(min_length=1, max_length=MOST_ENTRIES)]


class RetryShape(Shape):
    """Whether and when to retry a run that did not succeed. Retries use the text of the first attempt."""

    attempts: int = Field(
        default=1, ge=1, le=100, description="The largest number of attempts, including the first one."
    )
    delay: Duration | None = _optional("How long to wait before the second attempt. Default: 30s.", "30s")
    backoff: float = Field(default=2.0, ge=1, le=100, description="The factor by which each further delay grows.")
    max_delay: Duration | None = _optional("The longest delay. Default: 1h.", "1h")
    on: Annotated[list[Literal["failed", "timed_out", "interrupted"]], AfterValidator(rules.not_empty)] = Field(
        default=["failed", "timed_out"],
        description="Which outcomes are retried. interrupted: the scheduler died or was stopped during the run.",
    )


_Policy = Literal["none", "latest", "all"]


class CatchUpShape(Shape):
    """What to do with slots that passed while the scheduler was down or the machine was asleep."""

    policy: _Policy = Field(
        default="latest",
        description="Which of the slots still run. none: no slot; latest: the newest slot; all: every slot, oldest "
        "first, up to the newest 100. The others are skipped as missed.",
    )
    within: Duration | None = _optional(
        "How late such a run may start. Default: half the time to the next slot, at most 2h; with all, no limit.", "2h"
    )


class SharedShape(Shape):
    """The keys that a job can set itself or inherit from scheduler.yaml."""

    not_yet = frozenset({"deliver", "deliver_on"})
    misplaced = {
        **dict.fromkeys(("id", "task", "task_source_path", "schedule"), "write it in each job file; it has no default"),
        "timezone": "write timezone at the top level of scheduler.yaml",
    }

    inner = {"retry": RetryShape, "catch_up": CatchUpShape}

    name: Line | None = _optional("A name for people. Default: the id.")
    description: str | None = _optional("What the job is for.")
    owner: Line | None = _optional("Who is responsible for the job.", "platform@example.com")
    tags: list[Line] | None = _optional("Labels for finding and grouping jobs.", ["agent", "hourly"])
    enabled: bool | None = _optional(
        "If false, the job is never due. Default: true. An operator's pause is independent of this key."
    )
    runner: str | None = _optional(
        "The name of a runner in scheduler.yaml. Required here or in defaults of scheduler.yaml.", "shell"
    )
    env: dict[OwnEnvName, str | None] | None = _optional(
        "Environment variables. Only names that the runner's job_env lists are allowed, and values must be text. "
        "Merged by name with the defaults; null removes a variable.",
        {"MODE": "nightly"},
    )
    timeout: Duration | None = _optional("How long a run may take before it is stopped. Default: 30m.", "20m")
    concurrency: Literal["forbid", "queue", "replace", "allow"] | None = _optional(
        "What to do if the job is due while it is still running. forbid: skip the slot; queue: wait for the end of "
        "that run, where a newer slot replaces a waiting one; replace: stop that run first; allow: run both. "
        "Default: forbid."
    )
    catch_up: (
        Annotated[CatchUpShape, BeforeValidator(rules.catch_up_policy, json_schema_input_type=_Policy | CatchUpShape)]
        | None
    ) = _optional(
        "What to do with slots that passed while the scheduler was down or the machine was asleep. Can also be the "
        "policy alone. Default: latest.",
        "none",
        {"policy": "all", "within": "1d"},
    )
    failure_limit: int | None = _optional(
        "Stop the job after this many consecutive errors, until its definition or task is edited or somebody resumes "
        "it. 0: never stop it. Default: 10.",
        ge=0,
        le=1_000_000,
    )
    retry: RetryShape | None = _optional("When to retry a run that did not succeed. Default: no retries.")
    expires: Instant | None = _optional(
        "The job is not due after this instant, whatever its schedule says. It is then completed.",
        "2027-06-30T23:59:59+02:00",
    )
    expect_every: Duration | None = _optional(
        "Raise an alarm in list, doctor and the log if the job has not succeeded for this long. No alarm is raised "
        "while the job is paused or disabled.",
        "26h",
    )


class DefaultsShape(SharedShape):
    """The keys that a job inherits from scheduler.yaml unless it sets them itself."""

    model_config = ConfigDict(title="Defaults of all jobs")

    jitter: Duration | None = _optional(
        "The jitter of every schedule that sets none. If fires are too close together, it is reduced to fit.", "5m"
    )


class JobShape(SharedShape):
    """One job: a document of a YAML job file, or the front matter of a Markdown job file."""

    model_config = ConfigDict(title="Job")
    misplaced = {
        **dict.fromkeys(
            ("cron", "every", "at", "timezone", "jitter"),
            'write it under schedule, as in schedule: {cron: "0 9 * * *"}',
        ),
        "prompt": "write the text as task, or the path of its file as task_source_path",
        "command": "write runner: NAME; the command belongs to that runner in scheduler.yaml",
    }
    inner = {**SharedShape.inner, "schedule": ScheduleShape}

    id: JobId = Field(
        description="The permanent identity of the job: it stays the same when the file is moved or renamed. "
        "1 to 128 characters of a-z 0-9 . _ -, starting with a letter or digit.",
        examples=["heartbeat"],
    )
    schedule: Annotated[
        Annotated[Entry, Tag(rules.ONE)]
        | Annotated[Entries, Tag(rules.MANY)]
        | Annotated[Literal["manual"], Tag(rules.BY_HAND)],
        Discriminator(rules.one_or_many),
        BeforeValidator(rules.entries, json_schema_input_type=CronTextOrManual | ScheduleShape | Entries),
    ] = Field(
        description="When the job is due: a mapping, a bare cron expression, or a list of 1 to 32 of these, which "
        "are combined. manual: the job is never due and runs only when somebody starts it.",
        examples=['"0 9 * * *"', "manual"],
    )
    task: Annotated[str, AfterValidator(rules.inline_task), _schema(rules.NOT_BLANK_PATTERN)] | None = _optional(
        "The text of the task. Use exactly one of task, task_source_path and the body of a Markdown file."
    )
    task_source_path: (
        Annotated[str, AfterValidator(rules.task_path), _schema(PATH_PATTERN, maxLength=MAX_LENGTH)] | None
    ) = _optional(
        "The file that contains the task, relative to the folder of scheduler.yaml. It is read at each fire.",
        "prompts/heartbeat.md",
    )


class RunnerShape(Shape):
    """One way to turn a task into a process."""

    command: Annotated[
        list[str],
        BeforeValidator(rules.shell_line, json_schema_input_type=Annotated[list[str], Field(min_length=1)]),
        AfterValidator(rules.runner_command),
    ] = Field(
        description="The program and its arguments, never a shell line. The program is an absolute path, a name found "
        "on PATH, or a path in the root that starts with ./. An argument may contain {task_file}, the path of a "
        "private copy of the task, or {task}, its text.",
        examples=['[sh, "{task_file}"]'],
    )
    input: Literal["stdin", "file", "arg"] | None = _optional(
        "How the program receives the task. file requires {task_file} in the command, arg requires {task}, stdin "
        "neither. Default: whichever fits the command."
    )
    env: dict[OwnEnvName, str] = Field(
        default={}, description="Environment variables with fixed values.", examples=[{"LANG": "C.UTF-8"}]
    )
    env_from: list[EnvName] = Field(
        default=[], description="Names of variables to pass on from the scheduler's own environment."
    )
    job_env: list[OwnEnvName] = Field(default=[], description="Names of variables that a job can set with env.")
    tasks: Annotated[Globs | None, BeforeValidator(rules.given, json_schema_input_type=Globs)] = _optional(
        "Globs of the files whose text the runner accepts. Default: any file.", ["scripts/**"]
    )
    jobs: Annotated[JobPatterns | None, BeforeValidator(rules.given, json_schema_input_type=JobPatterns)] = _optional(
        "The jobs that can use the runner: globs of ids, or tag: followed by a glob of tags. Default: all jobs.",
        ["backup-*", "tag:agent"],
    )
    max_timeout: Annotated[Duration | None, BeforeValidator(rules.given, json_schema_input_type=Duration)] = _optional(
        "The longest timeout that a job with this runner can have. Default: no limit.", "2h"
    )
    cwd: Annotated[str, AfterValidator(rules.cwd_path), _schema(PATH_PATTERN, maxLength=MAX_LENGTH)] = Field(
        default="root", description="The working directory: root, or a folder below it."
    )
    result_format: Annotated[
        Literal["text", "claude", "codex", "gemini", "llm", "opencode", "goose"] | None,
        BeforeValidator(
            rules.given, json_schema_input_type=Literal["text", "claude", "codex", "gemini", "llm", "opencode", "goose"]
        ),
    ] = _optional(
        "What the program prints: text, or the JSON of the agent program of that name. Default: the name of the "
        "program if it is one of these, otherwise text.",
        "claude",
    )


MOST_JOBS = 100_000
MOST_TASK_BYTES = 16 * 2**20


class LimitsShape(Shape):
    """Limits beyond which work is refused, queued or cut."""

    max_jobs: int = Field(default=10_000, ge=1, le=MOST_JOBS, description="The largest number of jobs.")
    task_bytes: Size = Field(default=256 * 2**10, ge=1, le=MOST_TASK_BYTES, description="The largest size of a task.")
    output_bytes: Size = Field(
        default=10 * 2**20,
        ge=1,
        le=2**30,
        description="How much output is captured for each run. Of longer output, the head and the tail are kept.",
    )
    max_running: int = Field(default=16, ge=1, le=10_000, description="The limit of concurrent runs.")


class PruneShape(Shape):
    """The guard: a sync that would archive more jobs than this waits until a person confirms it."""

    max_percent: int = Field(
        default=50, ge=0, le=100, description="The largest share of all jobs. Up to three jobs are always allowed."
    )
    max_jobs: int = Field(default=20, ge=0, le=100_000, description="The largest number of jobs.")


class RetentionShape(Shape):
    """How long to keep outputs and history. The daemon cleans up once a day; `scheduler gc` does so at once."""

    output_days: int = Field(
        default=90, ge=0, le=36_500, description="How many days to keep captured output. 0: forever."
    )
    runs: Annotated[
        int | None, BeforeValidator(rules.given, json_schema_input_type=Annotated[int, Field(ge=10, le=10_000_000)])
    ] = _optional(
        "How many history rows to keep for each job. Skips are deleted first. Default: all.", ge=10, le=10_000_000
    )


AgentVerb = Literal[
    "update", "create", "delete", "mv", "rollback", "run", "cancel", "pause", "resume", "sync"
]  # fmt: skip
AgentField = Literal[
    "task", "task_source_path", "name", "description", "owner", "tags", "schedule", "enabled", "runner", "env",
    "timeout", "concurrency", "catch_up", "failure_limit", "retry", "expires", "expect_every",
]  # fmt: skip


class AgentsShape(Shape):
    """What agents can do through the tool or from inside a run. They can always read. A guard rail, not a boundary."""

    jobs: JobPatterns = Field(
        description="The jobs that agents can change: globs of ids, or tag: followed by a glob of tags.",
        examples=[["heartbeat", "tag:agent"]],
    )
    verbs: Annotated[list[AgentVerb], AfterValidator(rules.not_empty), _SOME] = Field(
        default=["update"],
        description="What agents can do besides reading. update, create, delete, mv and rollback edit files; run, "
        "cancel, pause, resume and sync do not.",
        examples=[["update", "rollback"]],
    )
    fields: Annotated[list[AgentField], AfterValidator(rules.not_empty), _SOME] = Field(
        default=["task", "name", "description", "tags", "schedule", "enabled"],
        description="The keys of a job that agents can change. task is the text, whichever file contains it.",
    )
    paths: list[Glob] = Field(
        default=[],
        description="Globs of the files that agents can create, as job files or tasks, or name as a task. "
        "Default: none.",
        examples=[["jobs/agents/**"]],
    )
    edits: Literal["commit", "branch", "working-tree"] = Field(
        default="branch",
        description="What an edit produces. branch: a commit on a branch agents/..., to be reviewed; commit: a commit "
        "on the current branch; working-tree: a changed file without a commit. An edit can always ask for a stricter "
        "mode; branch is the strictest, then commit.",
    )


class WorktreeShape(Shape):
    """Which state of the git repository counts: the branch, and whether uncommitted files run."""

    branch: Annotated[
        str | None, BeforeValidator(rules.given, json_schema_input_type=Annotated[str, Field(min_length=1)])
    ] = _optional(
        "The branch whose files are synced and run. While another branch or none is checked out, slots wait. "
        "Default: any branch.",
        "main",
        min_length=1,
        max_length=MAX_LENGTH,
    )
    dirty: Literal["run", "skip"] = Field(
        default="run", description="Whether to run or skip a slot whose task differs from the committed file."
    )


class PriceShape(Shape):
    """What a model costs, per million tokens. For programs that report tokens and no price."""

    input: Amount = Field(description="The price of a million input tokens.", examples=[1.25])
    output: Amount = Field(description="The price of a million output tokens, reasoning included.", examples=[10])
    cache_read: Annotated[Amount | None, BeforeValidator(rules.given, json_schema_input_type=Amount)] = _optional(
        "The price of a million input tokens that were read from a cache. Default: the price of input.", 0.125
    )
    cache_write: Annotated[Amount | None, BeforeValidator(rules.given, json_schema_input_type=Amount)] = _optional(
        "The price of a million input tokens that were written to a cache. Default: the price of input.", 1.5
    )
    currency: Annotated[str, AfterValidator(rules.currency), _schema(rules.CURRENCY_PATTERN)] = Field(
        default="USD", description="The currency of these prices: its three-letter code."
    )
    as_of: Annotated[str, AfterValidator(rules.day), _schema(rules.DAY_PATTERN)] = Field(
        description="The day on which these prices were looked up.", examples=["2026-12-01"]
    )


class RootShape(Shape):
    """scheduler.yaml: the root of all paths, and the settings for all jobs."""

    model_config = ConfigDict(title="scheduler.yaml")
    not_yet = frozenset({"channels"})
    misplaced = {
        **dict.fromkeys(DefaultsShape.model_fields, "write it in a job file, or under defaults"),
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
        "prices": type("PricesShape", (Shape,), {"inner": {"*": PriceShape}}),
    }

    version: Annotated[Literal[1], BeforeValidator(rules.format_version)] = Field(
        description="The version of this format. Always 1.", examples=[1]
    )
    jobs: Globs = Field(
        default=list(DEFAULT_JOBS), description="Globs of the job files, relative to the folder of this file."
    )
    timezone: Annotated[str, AfterValidator(rules.zone_name)] = Field(
        default="UTC",
        description="IANA name of the time zone for all schedules that set none.",
        examples=["Europe/Berlin"],
    )
    defaults: DefaultsShape = Field(
        default_factory=DefaultsShape, description="Values for keys that a job does not set itself."
    )
    runners: dict[RunnerName, RunnerShape] = Field(default={}, description="The runners, by name.")
    hosts: Annotated[Lines | None, BeforeValidator(rules.given, json_schema_input_type=Lines)] = _optional(
        "Globs of the host names on which jobs fire. Default: all hosts.", ["prod-*"]
    )
    limits: LimitsShape = Field(
        default_factory=LimitsShape, description="Limits beyond which work is refused, queued or cut."
    )
    prune: PruneShape = Field(
        default_factory=PruneShape, description="How many jobs a sync can archive without confirmation."
    )
    retention: RetentionShape = Field(
        default_factory=RetentionShape, description="How long to keep outputs and history."
    )
    agents: Annotated[AgentsShape | None, BeforeValidator(rules.given, json_schema_input_type=AgentsShape)] = _optional(
        "What agents can change, through the tool or from inside a run. Default: agents can only read."
    )
    worktree: WorktreeShape = Field(
        default_factory=WorktreeShape, description="Which branch is synced, and whether uncommitted tasks run."
    )
    prices: dict[Line, PriceShape] = Field(
        default={},
        description="What models cost, by name as their program prints it. Used for programs that report no price.",
        examples=[{"gpt-5": {"input": 1.25, "output": 10, "as_of": "2026-12-01"}}],
    )


AnyShape = TypeVar("AnyShape", bound=Shape)
