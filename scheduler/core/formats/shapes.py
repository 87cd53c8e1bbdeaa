"""The file formats: which keys exist, what values they take, and what to say about an invalid value.

pydantic finds the faults; every message and code is ours. The JSON Schemas for editors come from the same models.
Rules that involve several keys (one task source, a runner that exists) are in `jobfile` and `rootfile`. The shapes of
scheduler.yaml are in `root_shapes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from scheduler.core.formats import channel_rules, rules
from scheduler.core.formats.base import Duration, Line, Shape, matching, optional_key
from scheduler.core.formats.channel_shapes import ChannelNames, PingUrl
from scheduler.core.formats.paths import GLOB_PATTERN, MAX_LENGTH, PATH_PATTERN
from scheduler.core.times.cron import CRON_PATTERN
from scheduler.core.times.valid import MOST_ENTRIES
from scheduler.core.values import units
from scheduler.core.values.spec import MANUAL

JobId = Annotated[str, AfterValidator(rules.job_id), matching(rules.ID_PATTERN)]
OwnEnvName = Annotated[str, AfterValidator(rules.own_env_name), matching(rules.OWN_ENV_PATTERN)]
RunnerName = Annotated[str, AfterValidator(rules.runner_name), matching(rules.RUNNER_PATTERN)]
QueueName = Annotated[str, AfterValidator(rules.queue_name), matching(rules.RUNNER_PATTERN)]
AccountName = Annotated[str, AfterValidator(rules.account_name), matching(rules.RUNNER_PATTERN)]
Glob = Annotated[str, AfterValidator(rules.glob), matching(GLOB_PATTERN, maxLength=MAX_LENGTH)]
JobPattern = Annotated[str, AfterValidator(rules.job_pattern), matching(rules.JOBS_PATTERN)]
Model = Annotated[str, AfterValidator(rules.model_name), matching(rules.MODEL_PATTERN)]
ModelGlob = Annotated[str, AfterValidator(rules.model_glob), matching(rules.MODELS_PATTERN)]
Argument = Annotated[
    str, AfterValidator(rules.argument), matching(rules.ARGUMENT_PATTERN, maxLength=rules.LONGEST_ARGUMENT)
]
Option = Annotated[str, AfterValidator(rules.option), matching(rules.OPTION_PATTERN)]
Expression = Annotated[str, AfterValidator(rules.expression), matching(rules.NOT_BLANK_PATTERN)]
Folder = Annotated[str, AfterValidator(rules.folder), matching(rules.FOLDER_PATTERN, maxLength=MAX_LENGTH)]
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
Currency = Annotated[str, AfterValidator(rules.currency), matching(rules.CURRENCY_PATTERN)]
Size = Annotated[
    int,
    BeforeValidator(rules.size),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": units.SIZE_PATTERN}, {"type": "integer", "minimum": 1}]}),
]


NOT_EMPTY = Field(json_schema_extra={"minItems": 1})
Globs = Annotated[list[Glob], AfterValidator(rules.not_empty), NOT_EMPTY]
JobPatterns = Annotated[list[JobPattern], AfterValidator(rules.not_empty), NOT_EMPTY]
Lines = Annotated[list[Line], AfterValidator(rules.not_empty), NOT_EMPTY]
ModelGlobs = Annotated[list[ModelGlob], AfterValidator(rules.not_empty), NOT_EMPTY]
Folders = Annotated[list[Folder], AfterValidator(rules.not_empty), NOT_EMPTY]


# VS Code and yaml-language-server show this message instead of the pattern.
_WRITE_CRON = "write five fields (minute hour day month weekday) such as 0 9 * * 1-5, or a macro such as @daily"
_CRON = matching(CRON_PATTERN, patternErrorMessage=_WRITE_CRON)
CronText = Annotated[str, _CRON]
CronTextOrManual = Annotated[
    str, matching(f"^{MANUAL}$|{CRON_PATTERN}", patternErrorMessage=f"{_WRITE_CRON}; or {MANUAL}")
]


class ScheduleShape(Shape):
    """When a job is due: exactly one of cron, every and at."""

    cron: Annotated[str, AfterValidator(rules.cron_text), _CRON] | None = optional_key(
        "A cron expression: five fields (minute hour day month weekday), six fields (the first is the second), or a "
        "macro from @hourly to @yearly. It follows the local time of timezone.",
        "0 9 * * mon-fri",
        "@daily",
    )
    every: Duration | None = optional_key(
        "An interval of at least 1s. The job is due at whole multiples of it, counted from 1970-01-01T00:00Z.", "15m"
    )
    phase: Phase | None = optional_key(
        "An offset added to the multiples of every. Must be shorter than every. Default: 0s.", "5m"
    )
    at: Instant | None = optional_key("A single instant with an explicit UTC offset.", "2027-01-31T09:00:00+01:00")
    starts: Instant | None = optional_key(
        "The first instant at which the job can be due (inclusive).", "2027-01-01T00:00:00+01:00"
    )
    ends: Instant | None = optional_key(
        "The last instant at which the job can be due (inclusive).", "2027-06-30T23:59:59+02:00"
    )
    timezone: Annotated[str, AfterValidator(rules.zone_name)] | None = optional_key(
        "IANA name of the time zone. Default: the timezone of scheduler.yaml, otherwise UTC.", "Europe/Berlin"
    )
    jitter: Duration | None = optional_key(
        "Delays the start of each run by a fixed time per job, shorter than this value. Must be less than half the "
        "shortest time between two fires. All entries of a list must have the same jitter. Default: no delay.",
        "30s",
    )


Entry = Annotated[ScheduleShape, BeforeValidator(rules.shorthand, json_schema_input_type=CronText | ScheduleShape)]
Entries = Annotated[list[Entry], Field(min_length=1, max_length=MOST_ENTRIES)]


Outcome = Annotated[
    Literal["failed", "timed_out", "interrupted", "task", "transient", "refused", "budget", "timeout"],
    BeforeValidator(
        rules.outcome,
        json_schema_input_type=Literal[
            "failed", "timed_out", "interrupted", "task", "transient", "refused", "budget", "timeout"
        ],
    ),
]


class RetryShape(Shape):
    """Whether and when to retry a run that did not succeed. Retries use the text of the first attempt."""

    attempts: int = Field(
        default=1, ge=1, le=100, description="The largest number of attempts, including the first one."
    )
    delay: Duration | None = optional_key("How long to wait before the second attempt. Default: 30s.", "30s")
    backoff: float = Field(default=2.0, ge=1, le=100, description="The factor by which each further delay grows.")
    max_delay: Duration | None = optional_key("The longest delay. Default: 1h.", "1h")
    on: Annotated[list[Outcome], AfterValidator(rules.not_empty)] = Field(
        default=["failed", "timed_out"],
        description="Which outcomes are retried: statuses, or classes of an end. interrupted: the scheduler died or "
        "was stopped during the run. failed includes task, transient and refused, but not budget, the program's own "
        "cap. A quota and a credential are waited out instead, whatever this says.",
    )


_Policy = Literal["none", "latest", "all"]


class CatchUpShape(Shape):
    """What to do with slots that passed while the scheduler was down or the machine was asleep."""

    policy: _Policy = Field(
        default="latest",
        description="Which of the slots still run. none: no slot; latest: the newest slot; all: every slot, oldest "
        "first, up to the newest 100. The others are skipped as missed.",
    )
    within: Duration | None = optional_key(
        "How late such a run may start. Default: half the time to the next slot, at most 2h; with all, no limit.", "2h"
    )


class CheckOfAllShape(Shape):
    """The keys of a check that all jobs can share."""

    model_config = ConfigDict(title="Check")
    misplaced: ClassVar[Mapping[str, str]] = {"task": "write it in each job file, or name a file with task_source_path"}

    runner: str | None = optional_key("The name of the runner that carries out the check. Required.", "shell")
    task_source_path: (
        Annotated[str, AfterValidator(rules.task_path), matching(PATH_PATTERN, maxLength=MAX_LENGTH)] | None
    ) = optional_key(
        "The file that contains the text of the check, relative to the folder of scheduler.yaml. It is read at each "
        "fire.",
        "checks/inbox.sh",
    )
    timeout: Duration | None = optional_key("How long the check may take. Default: 30s.", "30s")
    output: Literal["ignore", "append"] | None = optional_key(
        "append: what the check prints is added to the task, marked as foreign. At most 64 KiB. Default: ignore."
    )


class CheckShape(CheckOfAllShape):
    """Decides at each slot whether there is work: exit code 0 runs the job, 10 skips the slot."""

    misplaced: ClassVar[Mapping[str, str]] = {}

    task: Annotated[str, AfterValidator(rules.inline_task), matching(rules.NOT_BLANK_PATTERN)] | None = optional_key(
        "The text of the check. Use exactly one of task and task_source_path."
    )


class ExpectShape(Shape):
    """What a success must leave. A run that ends with exit code 0 without it has failed."""

    result: Annotated[str, AfterValidator(rules.expected_result), matching(rules.RESULT_PATTERN)] | None = optional_key(
        "nonempty: the result is not blank. Or a regular expression of Python between slashes that is found in it. The "
        "result is the answer of an agent, otherwise the first 64 KiB of stdout.",
        "nonempty",
        "/(?m)^DONE$/",
    )
    file: Annotated[str, AfterValidator(rules.expected_file), matching(PATH_PATTERN, maxLength=MAX_LENGTH)] | None = (
        optional_key(
            "A file that is written since the run started, relative to the job's workdir, or else to the folder of "
            "scheduler.yaml.",
            "reports/daily.md",
        )
    )


class BudgetShape(Shape):
    """What a job may spend, in the currency of scheduler.yaml. A run that would exceed it is skipped."""

    per_run: Spending | None = optional_key(
        "What one run may spend, with all its attempts. Reserved while the run is under way, and counted if its cost "
        "is unknown. 0: its program spends nothing. A runner can pass it to its program as {budget}.",
        0.5,
    )
    per_day: Limit | None = optional_key(
        "What the job may spend in a day of the time zone of scheduler.yaml. Requires per_run.", 5
    )
    per_month: Limit | None = optional_key(
        "What the job may spend in a calendar month of that time zone. Requires per_run.", 50
    )


News = Literal["success", "failure", "every_failure", "recovery", "skip"]


class SharedShape(Shape):
    """The keys that a job can set itself or inherit from scheduler.yaml."""

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

    name: Line | None = optional_key("A name for people. Default: the id.")
    description: str | None = optional_key("What the job is for.")
    owner: Line | None = optional_key("Who is responsible for the job.", "platform@example.com")
    tags: list[Line] | None = optional_key("Labels for finding and grouping jobs.", ["agent", "hourly"])
    enabled: bool | None = optional_key(
        "If false, the job is never due. Default: true. An operator's pause is independent of this key."
    )
    runner: str | None = optional_key(
        "The name of a runner in scheduler.yaml. Required here or in defaults of scheduler.yaml.", "shell"
    )
    env: dict[OwnEnvName, str | None] | None = optional_key(
        "Environment variables. Only names that the runner's job_env lists are allowed, and values must be text. "
        "Merged by name with the defaults; null removes a variable.",
        {"MODE": "nightly"},
    )
    timeout: Duration | None = optional_key("How long a run may take before it is stopped. Default: 30m.", "20m")
    concurrency: Literal["forbid", "queue", "replace", "allow"] | None = optional_key(
        "What to do if the job is due while it is still running. forbid: skip the slot; queue: wait for the end of "
        "that run, where a newer slot replaces a waiting one; replace: stop that run first; allow: run both. "
        "Default: forbid."
    )
    catch_up: (
        Annotated[CatchUpShape, BeforeValidator(rules.catch_up_policy, json_schema_input_type=_Policy | CatchUpShape)]
        | None
    ) = optional_key(
        "What to do with slots that passed while the scheduler was down or the machine was asleep. Can also be the "
        "policy alone. Default: latest.",
        "none",
        {"policy": "all", "within": "1d"},
    )
    failure_limit: int | None = optional_key(
        "Stop the job after this many consecutive errors, until its definition or task is edited or somebody resumes "
        "it. 0: never stop it. Default: 10.",
        ge=0,
        le=1_000_000,
    )
    retry: RetryShape | None = optional_key("When to retry a run that did not succeed. Default: no retries.")
    expires: Instant | None = optional_key(
        "The job is not due after this instant, whatever its schedule says. It is then completed.",
        "2027-06-30T23:59:59+02:00",
    )
    expect_every: Duration | None = optional_key(
        "Raise an alarm in list, doctor and the log if the job has not succeeded for this long. No alarm is raised "
        "while the job is paused or disabled.",
        "26h",
    )
    model: Model | None = optional_key(
        "The model to ask for, one that job_models of the runner allows. It replaces {model} in the runner's command. "
        "Default: the model of the runner.",
        "sonnet",
    )
    args: Annotated[list[Argument], Field(max_length=rules.MOST_ARGUMENTS)] | None = optional_key(
        "Words for {args} in the runner's command: options that its job_args allows, each with its value as the next "
        "word or after =. Default: none.",
        '[--max-turns, "5"]',
    )
    workdir: Folder | None = optional_key(
        "The working directory, in or below a folder that workdirs of the runner allows: absolute, ~/..., or relative "
        "to the folder of scheduler.yaml, which is called root. fresh: a new git worktree for each run, on a branch "
        "run/ID/N. Default: the cwd of the runner.",
        "fresh",
        "~/src/site",
    )
    task_queue: QueueName | None = optional_key(
        "The queue whose workers run the job, on whatever machines they are; see `scheduler worker`. local: this "
        "machine. Default: the task_queue of the runner, otherwise local.",
        "gpu",
    )
    check: CheckOfAllShape | None = optional_key(
        "A program that decides at each slot whether there is work, before the job itself starts. Exit code 0: run; "
        "10: skip the slot as nothing_to_do; anything else: check_failed, which counts as an error. "
        "Default: every slot runs.",
        {"runner": "shell", "task_source_path": "checks/inbox.sh"},
    )
    expect: ExpectShape | None = optional_key(
        "What a run that ends with exit code 0 must leave to count as a success. Default: nothing.",
        {"result": "nonempty"},
    )
    budget: BudgetShape | None = optional_key(
        "What the job may spend. Merged by key with the defaults; null removes a limit. Default: any amount.",
        {"per_run": 0.5, "per_day": 5},
    )
    deliver: ChannelNames | None = optional_key(
        "The channels of scheduler.yaml that are told what deliver_on names. []: none, whatever the defaults say. "
        "Default: none.",
        ["owner"],
    )
    deliver_on: Annotated[list[News], AfterValidator(channel_rules.not_nothing), NOT_EMPTY] | None = optional_key(
        "What the channels are told. success: each success, with the result; failure: the first of several in a row, "
        "then one a day, also a skip for a fault; every_failure: each; recovery: the first success after a failure; "
        "skip: slots that did not run for another reason, such as overlap. Default: failure and recovery.",
        ["success", "failure"],
    )
    ping: PingUrl | None = optional_key(
        "An http or https URL that is called when a run starts and ends, for a service that notices when the calls "
        "stop: with /start, as it is for a success, with the exit code or /fail otherwise.",
        '"${env:HC_HEARTBEAT}"',
    )


class DefaultsShape(SharedShape):
    """The keys that a job inherits from scheduler.yaml unless it sets them itself."""

    model_config = ConfigDict(title="Defaults of all jobs")

    jitter: Duration | None = optional_key(
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
    task: Annotated[str, AfterValidator(rules.inline_task), matching(rules.NOT_BLANK_PATTERN)] | None = optional_key(
        "The text of the task. Use exactly one of task, task_source_path and the body of a Markdown file."
    )
    task_source_path: (
        Annotated[str, AfterValidator(rules.task_path), matching(PATH_PATTERN, maxLength=MAX_LENGTH)] | None
    ) = optional_key(
        "The file that contains the task, relative to the folder of scheduler.yaml. It is read at each fire.",
        "prompts/heartbeat.md",
    )
    check: CheckShape | None = optional_key(
        SharedShape.model_fields["check"].description or "", {"runner": "shell", "task_source_path": "checks/inbox.sh"}
    )


AnyShape = TypeVar("AnyShape", bound=Shape)
