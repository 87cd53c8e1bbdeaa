"""The two file formats: which keys exist, what values they take, and what to say about an invalid value.

pydantic finds the faults; every message and code is ours. The JSON Schemas for editors come from the same models.
Rules that involve several keys (one task source, a runner that exists) are in `jobfile` and `rootfile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
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
    """An optional key. It is None if the file leaves it out."""
    return Field(default=None, description=description, examples=list(examples) or None, **limits)


Line = Annotated[str, AfterValidator(rules.one_line), _schema(rules.LINE_PATTERN)]
JobId = Annotated[str, AfterValidator(rules.job_id), _schema(rules.ID_PATTERN)]
EnvName = Annotated[str, AfterValidator(rules.env_name), _schema(rules.ENV_PATTERN)]
OwnEnvName = Annotated[str, AfterValidator(rules.own_env_name), _schema(rules.OWN_ENV_PATTERN)]
RunnerName = Annotated[str, AfterValidator(rules.runner_name), _schema(rules.RUNNER_PATTERN)]
Glob = Annotated[str, AfterValidator(rules.glob), _schema(GLOB_PATTERN, maxLength=MAX_LENGTH)]
JobPattern = Annotated[str, AfterValidator(rules.job_pattern), _schema(rules.JOBS_PATTERN)]
Model = Annotated[str, AfterValidator(rules.model_name), _schema(rules.MODEL_PATTERN)]
ModelGlob = Annotated[str, AfterValidator(rules.model_glob), _schema(rules.MODELS_PATTERN)]
Argument = Annotated[
    str, AfterValidator(rules.argument), _schema(rules.ARGUMENT_PATTERN, maxLength=rules.LONGEST_ARGUMENT)
]
Option = Annotated[str, AfterValidator(rules.option), _schema(rules.OPTION_PATTERN)]
Expression = Annotated[str, AfterValidator(rules.expression), _schema(rules.NOT_BLANK_PATTERN)]
Folder = Annotated[str, AfterValidator(rules.folder), _schema(rules.FOLDER_PATTERN, maxLength=MAX_LENGTH)]
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
Amount = Annotated[
    Decimal,
    BeforeValidator(rules.amount),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": rules.MOST_PRICE}),
]
_Spent = WithJsonSchema({"type": "number", "minimum": 0, "maximum": rules.MOST_SPENT})
Spending = Annotated[Decimal, BeforeValidator(rules.spending), _Spent]
Limit = Annotated[
    Decimal,
    BeforeValidator(rules.limit),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": rules.MOST_SPENT}),
]
Currency = Annotated[str, AfterValidator(rules.currency), _schema(rules.CURRENCY_PATTERN)]
Size = Annotated[
    int,
    BeforeValidator(rules.size),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": units.SIZE_PATTERN}, {"type": "integer", "minimum": 1}]}),
]


_SOME = Field(json_schema_extra={"minItems": 1})
Globs = Annotated[list[Glob], AfterValidator(rules.not_empty), _SOME]
JobPatterns = Annotated[list[JobPattern], AfterValidator(rules.not_empty), _SOME]
Lines = Annotated[list[Line], AfterValidator(rules.not_empty), _SOME]
ModelGlobs = Annotated[list[ModelGlob], AfterValidator(rules.not_empty), _SOME]
Folders = Annotated[list[Folder], AfterValidator(rules.not_empty), _SOME]


class Shape(BaseModel):
    """Base of all shapes: nothing is converted, and unknown keys are rejected."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    not_yet: ClassVar[frozenset[str]] = frozenset()  # planned keys that are not implemented yet
    misplaced: ClassVar[Mapping[str, str]] = {}  # keys that belong elsewhere, with a hint that says where
    inner: ClassVar[Mapping[str, type[Shape]]] = {}  # shapes one level down; "*" for any key


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


class CheckOfAllShape(Shape):
    """The keys of a check that all jobs can share."""

    model_config = ConfigDict(title="Check")
    misplaced: ClassVar[Mapping[str, str]] = {"task": "write it in each job file, or name a file with task_source_path"}

    runner: str | None = _optional("The name of the runner that carries out the check. Required.", "shell")
    task_source_path: (
        Annotated[str, AfterValidator(rules.task_path), _schema(PATH_PATTERN, maxLength=MAX_LENGTH)] | None
    ) = _optional(
        "The file that contains the text of the check, relative to the folder of scheduler.yaml. It is read at each "
        "fire.",
        "checks/inbox.sh",
    )
    timeout: Duration | None = _optional("How long the check may take. Default: 30s.", "30s")
    output: Literal["ignore", "append"] | None = _optional(
        "append: what the check prints is added to the task, marked as foreign. At most 64 KiB. Default: ignore."
    )


class CheckShape(CheckOfAllShape):
    """Decides at each slot whether there is work: exit code 0 runs the job, 10 skips the slot."""

    misplaced: ClassVar[Mapping[str, str]] = {}

    task: Annotated[str, AfterValidator(rules.inline_task), _schema(rules.NOT_BLANK_PATTERN)] | None = _optional(
        "The text of the check. Use exactly one of task and task_source_path."
    )


class ExpectShape(Shape):
    """What a success must leave. A run that ends with exit code 0 without it has failed."""

    result: Annotated[str, AfterValidator(rules.expected_result), _schema(rules.RESULT_PATTERN)] | None = _optional(
        "nonempty: the result is not blank. Or a regular expression of Python between slashes that is found in it. The "
        "result is the answer of an agent, otherwise the first 64 KiB of stdout.",
        "nonempty",
        "/(?m)^DONE$/",
    )
    file: Annotated[str, AfterValidator(rules.expected_file), _schema(PATH_PATTERN, maxLength=MAX_LENGTH)] | None = (
        _optional(
            "A file, relative to the folder of scheduler.yaml, that is written since the run started.",
            "reports/daily.md",
        )
    )


class BudgetShape(Shape):
    """What a job may spend, in the currency of scheduler.yaml. A run that would exceed it is skipped."""

    per_run: Spending | None = _optional(
        "What one run may spend, with all its attempts. Reserved while the run is under way, and counted if its cost "
        "is unknown. 0: its program spends nothing. A runner can pass it to its program as {budget}.",
        0.5,
    )
    per_day: Limit | None = _optional(
        "What the job may spend in a day of the time zone of scheduler.yaml. Requires per_run.", 5
    )
    per_month: Limit | None = _optional(
        "What the job may spend in a calendar month of that time zone. Requires per_run.", 50
    )


class SharedShape(Shape):
    """The keys that a job can set itself or inherit from scheduler.yaml."""

    not_yet = frozenset({"deliver", "deliver_on"})
    misplaced = {
        **dict.fromkeys(("id", "task", "task_source_path", "schedule"), "write it in each job file; it has no default"),
        "timezone": "write timezone at the top level of scheduler.yaml",
    }

    inner = {
        "retry": RetryShape,
        "catch_up": CatchUpShape,
        "check": CheckOfAllShape,
        "expect": ExpectShape,
        "budget": BudgetShape,
    }

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
    model: Model | None = _optional(
        "The model to ask for, one that job_models of the runner allows. It replaces {model} in the runner's command. "
        "Default: the model of the runner.",
        "sonnet",
    )
    args: Annotated[list[Argument], Field(max_length=rules.MOST_ARGUMENTS)] | None = _optional(
        "Words for {args} in the runner's command: options that its job_args allows, each with its value as the next "
        "word or after =. Default: none.",
        '[--max-turns, "5"]',
    )
    workdir: Folder | None = _optional(
        "The working directory, in or below a folder that workdirs of the runner allows: absolute, ~/..., or relative "
        "to the folder of scheduler.yaml, which is called root. fresh: a new git worktree for each run, on a branch "
        "run/ID/N. Default: the cwd of the runner.",
        "fresh",
        "~/src/site",
    )
    check: CheckOfAllShape | None = _optional(
        "A program that decides at each slot whether there is work, before the job itself starts. Exit code 0: run; "
        "10: skip the slot as nothing_to_do; anything else: check_failed, which counts as an error. "
        "Default: every slot runs.",
        {"runner": "shell", "task_source_path": "checks/inbox.sh"},
    )
    expect: ExpectShape | None = _optional(
        "What a run that ends with exit code 0 must leave to count as a success. Default: nothing.",
        {"result": "nonempty"},
    )
    budget: BudgetShape | None = _optional(
        "What the job may spend. Merged by key with the defaults; null removes a limit. Default: any amount.",
        {"per_run": 0.5, "per_day": 5},
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
    inner = {**SharedShape.inner, "schedule": ScheduleShape, "check": CheckShape}

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
    check: CheckShape | None = _optional(
        SharedShape.model_fields["check"].description or "", {"runner": "shell", "task_source_path": "checks/inbox.sh"}
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
        "private copy of the task, or {task}, its text; {model}, the model to ask for; and {budget}, what the run may "
        "spend. {args} as a whole argument stands for the args of the job.",
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
    model: Annotated[Model | None, BeforeValidator(rules.given, json_schema_input_type=Model)] = _optional(
        "The model of jobs that name none. Requires {model} in the command.", "sonnet"
    )
    job_models: Annotated[ModelGlobs | None, BeforeValidator(rules.given, json_schema_input_type=ModelGlobs)] = (
        _optional(
            "Names or globs of the models that a job can ask for with model. Requires {model} in the command. Default: "
            "none.",
            '[sonnet, "claude-haiku-*"]',
        )
    )
    job_args: dict[Option, Expression | Literal[True] | None] = Field(
        default={},
        description="The options that a job can pass with args, each with a regular expression that its whole value "
        "must match. null or true: the option takes no value. Requires {args} in the command.",
        examples=[{"--max-turns": "[0-9]{1,2}", "--verbose": None}],
    )
    workdirs: Annotated[Folders | None, BeforeValidator(rules.given, json_schema_input_type=Folders)] = _optional(
        "The folders that a job can work in or below with workdir, also outside the root: absolute, ~/..., or relative "
        "to the folder of scheduler.yaml, which is called root. fresh allows new git worktrees. Default: none.",
        ["fresh", "~/src"],
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
    worktree_days: int = Field(
        default=14,
        ge=0,
        le=36_500,
        description="How many days to keep the worktree of a run with workdir: fresh that failed or left changes. "
        "0: forever.",
    )
    worktrees: int = Field(
        default=20, ge=0, le=100_000, description="How many of these to keep for each job, newest first. 0: all."
    )


AgentVerb = Literal[
    "update", "create", "delete", "mv", "rollback", "run", "cancel", "pause", "resume", "sync"
]  # fmt: skip
AgentField = Literal[
    "task", "task_source_path", "name", "description", "owner", "tags", "schedule", "enabled", "runner", "env",
    "timeout", "concurrency", "catch_up", "failure_limit", "retry", "expires", "expect_every", "model", "args",
    "workdir", "check", "expect", "budget",
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
    currency: Currency = Field(default="USD", description="The currency of these prices: its three-letter code.")
    as_of: Annotated[str, AfterValidator(rules.day), _schema(rules.DAY_PATTERN)] = Field(
        description="The day on which these prices were looked up.", examples=["2026-12-01"]
    )


class RootBudgetShape(Shape):
    """What all jobs together may spend. Every job then needs budget.per_run."""

    misplaced = {"per_run": "write it in a job file, or under defaults.budget"}

    per_day: Annotated[Limit | None, BeforeValidator(rules.given, json_schema_input_type=Limit)] = _optional(
        "What they may spend in a day of the time zone of this file.", 20
    )
    per_month: Annotated[Limit | None, BeforeValidator(rules.given, json_schema_input_type=Limit)] = _optional(
        "What they may spend in a calendar month of that time zone.", 200
    )


class RootShape(Shape):
    """scheduler.yaml: the root of all paths, and the settings for all jobs."""

    model_config = ConfigDict(title="scheduler.yaml")
    not_yet = frozenset({"channels"})
    misplaced = {
        **dict.fromkeys(DefaultsShape.model_fields.keys() - {"budget"}, "write it in a job file, or under defaults"),
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
        "budget": RootBudgetShape,
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
    currency: Currency = Field(
        default="USD",
        description="The currency of all budgets: its three-letter code. A cost in another currency counts as unknown.",
    )
    budget: Annotated[RootBudgetShape | None, BeforeValidator(rules.given, json_schema_input_type=RootBudgetShape)] = (
        _optional("What all jobs together may spend. Default: any amount.", {"per_month": 200})
    )


AnyShape = TypeVar("AnyShape", bound=Shape)
