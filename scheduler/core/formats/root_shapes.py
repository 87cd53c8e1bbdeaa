"""What scheduler.yaml may contain, as pydantic models. Job files are in `shapes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from scheduler.core.formats import rules
from scheduler.core.formats.base import Duration, EnvName, Line, Shape, matching, optional_key
from scheduler.core.formats.channel_shapes import AlertsShape, ChannelName, ChannelShape, HttpUrl
from scheduler.core.formats.paths import MAX_LENGTH, PATH_PATTERN
from scheduler.core.formats.shapes import (
    NOT_EMPTY,
    AccountName,
    Amount,
    Currency,
    DefaultsShape,
    Expression,
    Folders,
    Glob,
    Globs,
    JobPatterns,
    Limit,
    Lines,
    Model,
    ModelGlobs,
    Option,
    OwnEnvName,
    QueueName,
    RunnerName,
    Size,
)
from scheduler.core.values.settings import DEFAULT_JOBS


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
    input: Literal["stdin", "file", "arg"] | None = optional_key(
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
    tasks: Annotated[Globs | None, BeforeValidator(rules.given, json_schema_input_type=Globs)] = optional_key(
        "Globs of the files whose text the runner accepts. Default: any file.", ["scripts/**"]
    )
    jobs: Annotated[JobPatterns | None, BeforeValidator(rules.given, json_schema_input_type=JobPatterns)] = (
        optional_key(
            "The jobs that can use the runner: globs of ids, or tag: followed by a glob of tags. Default: all jobs.",
            ["backup-*", "tag:agent"],
        )
    )
    max_timeout: Annotated[Duration | None, BeforeValidator(rules.given, json_schema_input_type=Duration)] = (
        optional_key("The longest timeout that a job with this runner can have. Default: no limit.", "2h")
    )
    cwd: Annotated[str, AfterValidator(rules.cwd_path), matching(PATH_PATTERN, maxLength=MAX_LENGTH)] = Field(
        default="root",
        description="The working directory: root, or a folder below it. scratch, only for workers: a new, empty folder "
        "for each run.",
    )
    result_format: Annotated[
        Literal["text", "claude", "codex", "gemini", "llm", "opencode", "goose"] | None,
        BeforeValidator(
            rules.given, json_schema_input_type=Literal["text", "claude", "codex", "gemini", "llm", "opencode", "goose"]
        ),
    ] = optional_key(
        "What the program prints: text, or the JSON of the agent program of that name. Default: the name of the "
        "program if it is one of these, otherwise text.",
        "claude",
    )
    model: Annotated[Model | None, BeforeValidator(rules.given, json_schema_input_type=Model)] = optional_key(
        "The model of jobs that name none. Requires {model} in the command.", "sonnet"
    )
    job_models: Annotated[ModelGlobs | None, BeforeValidator(rules.given, json_schema_input_type=ModelGlobs)] = (
        optional_key(
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
    workdirs: Annotated[Folders | None, BeforeValidator(rules.given, json_schema_input_type=Folders)] = optional_key(
        "The folders that a job can work in or below with workdir, also outside the root: absolute, ~/..., or relative "
        "to the folder of scheduler.yaml, which is called root. fresh allows new git worktrees. Default: none.",
        ["fresh", "~/src"],
    )
    account: Annotated[AccountName | None, BeforeValidator(rules.given, json_schema_input_type=AccountName)] = (
        optional_key(
            "The account whose limits the runs use up; runners that share one have the same name here. When a run "
            "meets its limit, or its login is refused, the jobs of all its runners wait. Default: the runner's name.",
            "team-plan",
        )
    )
    task_queue: Annotated[QueueName | None, BeforeValidator(rules.given, json_schema_input_type=QueueName)] = (
        optional_key(
            "The queue whose workers run the jobs that name none, on whatever machines they are. local: this machine. "
            "Default: local.",
            "gpu",
        )
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
    ] = optional_key(
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
    "update", "create", "delete", "mv", "rollback", "run", "cancel", "pause", "resume", "sync",
    "test_channel", "retry_delivery",
]  # fmt: skip
AgentField = Literal[
    "task", "task_source_path", "name", "description", "owner", "tags", "schedule", "enabled", "runner", "env",
    "timeout", "concurrency", "catch_up", "failure_limit", "retry", "expires", "expect_every", "model", "args",
    "workdir", "task_queue", "check", "expect", "budget", "deliver", "deliver_on", "ping",
]  # fmt: skip


class AgentsShape(Shape):
    """What agents can do through the tool or from inside a run. They can always read. A guard rail, not a boundary."""

    jobs: JobPatterns = Field(
        description="The jobs that agents can change: globs of ids, or tag: followed by a glob of tags.",
        examples=[["heartbeat", "tag:agent"]],
    )
    verbs: Annotated[list[AgentVerb], AfterValidator(rules.not_empty), NOT_EMPTY] = Field(
        default=["update"],
        description="What agents can do besides reading. update, create, delete, mv and rollback edit files; run, "
        "cancel, pause, resume and sync do not; test_channel and retry_delivery send messages.",
        examples=[["update", "rollback"]],
    )
    fields: Annotated[list[AgentField], AfterValidator(rules.not_empty), NOT_EMPTY] = Field(
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
    ] = optional_key(
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
    cache_read: Annotated[Amount | None, BeforeValidator(rules.given, json_schema_input_type=Amount)] = optional_key(
        "The price of a million input tokens that were read from a cache. Default: the price of input.", 0.125
    )
    cache_write: Annotated[Amount | None, BeforeValidator(rules.given, json_schema_input_type=Amount)] = optional_key(
        "The price of a million input tokens that were written to a cache. Default: the price of input.", 1.5
    )
    currency: Currency = Field(default="USD", description="The currency of these prices: its three-letter code.")
    as_of: Annotated[str, AfterValidator(rules.day), matching(rules.DAY_PATTERN)] = Field(
        description="The day on which these prices were looked up.", examples=["2026-12-01"]
    )


class RootBudgetShape(Shape):
    """What all jobs together may spend. Every job then needs budget.per_run."""

    misplaced: ClassVar[Mapping[str, str]] = {"per_run": "write it in a job file, or under defaults.budget"}

    per_day: Annotated[Limit | None, BeforeValidator(rules.given, json_schema_input_type=Limit)] = optional_key(
        "What they may spend in a day of the time zone of this file.", 20
    )
    per_month: Annotated[Limit | None, BeforeValidator(rules.given, json_schema_input_type=Limit)] = optional_key(
        "What they may spend in a calendar month of that time zone.", 200
    )


class RootShape(Shape):
    """scheduler.yaml: the root of all paths, and the settings for all jobs."""

    model_config = ConfigDict(title="scheduler.yaml")
    misplaced: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(DefaultsShape.model_fields.keys() - {"budget"}, "write it in a job file, or under defaults"),
        "schedule": "write it in a job file",
        "id": "write it in a job file",
    }
    inner: ClassVar[Mapping[str, type[Shape]]] = {
        "defaults": DefaultsShape,
        "limits": LimitsShape,
        "prune": PruneShape,
        "retention": RetentionShape,
        "agents": AgentsShape,
        "worktree": WorktreeShape,
        "runners": type("RunnersShape", (Shape,), {"inner": {"*": RunnerShape}}),
        "prices": type("PricesShape", (Shape,), {"inner": {"*": PriceShape}}),
        "budget": RootBudgetShape,
        "channels": type("ChannelsShape", (Shape,), {"inner": {"*": ChannelShape}}),
        "alerts": AlertsShape,
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
    hosts: Annotated[Lines | None, BeforeValidator(rules.given, json_schema_input_type=Lines)] = optional_key(
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
    agents: Annotated[AgentsShape | None, BeforeValidator(rules.given, json_schema_input_type=AgentsShape)] = (
        optional_key("What agents can change, through the tool or from inside a run. Default: agents can only read.")
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
        optional_key("What all jobs together may spend. Default: any amount.", {"per_month": 200})
    )
    channels: dict[ChannelName, ChannelShape] = Field(
        default={},
        description="Where messages go, by name. Jobs name channels with deliver.",
        examples=[{"owner": {"url": "${env:OWNER_SLACK_URL}"}}],
    )
    alerts: AlertsShape = Field(
        default_factory=AlertsShape, description="Who is told about this file, its folder and the daemon."
    )
    base_url: HttpUrl | None = optional_key(
        "The address at which people reach this scheduler. Messages link to it. Default: messages have no links.",
        "https://scheduler.internal",
    )
