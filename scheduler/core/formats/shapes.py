"""The two file formats: which keys exist, what each may hold, and what to say where it does not.

pydantic finds the faults; every message and code is ours. The same models give editors a JSON Schema.
Rules between keys (one task source, a runner that exists) are in `jobfile` and `rootfile`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from scheduler.core.formats.globs import TAG
from scheduler.core.formats.paths import GLOB_PATTERN, MAX_LENGTH, PATH_PATTERN, PathError, check_glob, check_path
from scheduler.core.times.cron import ScheduleError
from scheduler.core.times.fires import MOST_ENTRIES, check_cron, check_timezone
from scheduler.core.values import units
from scheduler.core.values.problems import did_you_mean
from scheduler.core.values.spec import DEFAULT_JOBS, parse_instant
from scheduler.core.values.texts import short

ID_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,127}$"
ENV_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
OWN_ENV_PATTERN = r"^(?!SCHEDULER_)[A-Za-z_][A-Za-z0-9_]*$"
LINE_PATTERN = r"^.*\S.*\n?$"
NOT_BLANK_PATTERN = r"\S"
INSTANT_PATTERN = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})$"
)
RUNNER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
JOBS_PATTERN = r"^(tag:.*\S.*|[a-z0-9._*?\[\]!-]{1,200})$"

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong in plain data, by its path in it."""

    path: Path
    code: str
    message: str
    hint: str = ""
    at_key: bool = False  # blame the key rather than its value
    offset: int = 0  # characters into the value


# -- rules of single values ------------------------------------------------------------------


def _refuse(code: str, message: str, hint: str = "", offset: int = 0) -> PydanticCustomError:
    return PydanticCustomError(code, "{message}", {"message": message, "hint": hint, "offset": offset})


def _one_line(text: str) -> str:
    if not text.strip():
        raise _refuse("value.empty", "the text is blank", "write something, or delete the key")
    if len(text.splitlines()) > 1:
        raise _refuse("value.invalid", "the text has more than one line", "keep it on one line")
    return text


def _job_id(text: str) -> str:
    if re.fullmatch(ID_PATTERN[1:-1], text):
        return text
    near = re.sub(r"[^a-z0-9._-]+", "-", text.lower())[:200].strip("._-")[:128]
    raise _refuse(
        "id.invalid",
        f"id {short(text)} is not valid; allowed are 1-128 of a-z 0-9 . _ -, starting with a letter or digit",
        f"write {near}" if near else "",
    )


def _env_name(name: str) -> str:
    if not re.fullmatch(ENV_PATTERN[1:-1], name):
        raise _refuse(
            "env.name",
            f"{short(name)} is not a variable name; allowed are letters, digits and _, not starting with a digit",
            _env_hint(name[:100]),
        )
    return name


def _env_hint(name: str) -> str:
    before, equals, _ = name.partition("=")
    if equals and re.fullmatch(ENV_PATTERN[1:-1], before):
        return f"a name holds no =; in env write {before}: value"
    near = re.sub(r"[^A-Za-z0-9_]", "_", name)
    near = f"_{near}" if near[:1].isdecimal() else near
    return f"write {near}" if near.strip("_") else ""


def _own_env_name(name: str) -> str:
    _env_name(name)
    if name.startswith("SCHEDULER_"):
        raise _refuse(
            "env.reserved",
            f"variable {short(name)} is reserved: the scheduler sets SCHEDULER_* itself",
            "choose another name",
        )
    return name


def _duration(value: Any) -> timedelta:
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = str(value)
        hint = units.with_units(number) or "write one like 90s, 20m, 2h or 1h30m"
        raise _refuse("duration.invalid", f"duration {short(number)[1:-1]} has no unit", hint)
    if not isinstance(value, str):
        raise _refuse("value.type", f"a duration is text, not {shown(value)}", "write one like 90s, 20m, 2h or 1h30m")
    try:
        return units.parse_duration(value)
    except units.UnitError as error:
        raise _refuse(f"duration.{error.code}", error.message, error.hint) from None


_DURATION = units.DURATION_PATTERN[1:-1]


def _phase(value: Any) -> timedelta:
    if isinstance(value, str) and re.fullmatch(r"0[dhms]", value):
        return timedelta()
    return _duration(value)


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _refuse(
            "value.type", f"a size is text or a number of bytes, not {shown(value)}", "write one like 256KiB or 10MiB"
        )
    try:
        return units.parse_size(value)
    except units.UnitError as error:
        raise _refuse(f"size.{error.code}", error.message, error.hint) from None


_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(?P<offset>Z|[+-]\d\d:\d\d)?", re.ASCII)
_INSTANT_EXAMPLE = "write one like 2027-01-31T09:00:00+01:00, or ...T08:00:00Z for UTC"


_INSTANT_CODES = {
    "at": "schedule.at",
    "starts": "schedule.starts",
    "ends": "schedule.ends",
    "expires": "expires.invalid",
}


def _instant(value: Any, info: ValidationInfo) -> datetime:
    if not isinstance(value, str):
        raise _refuse("value.type", f"an instant is text, not {shown(value)}", _INSTANT_EXAMPLE)
    code = _INSTANT_CODES[info.field_name or "at"]
    found = _INSTANT.fullmatch(value)
    if found is None:
        raise _refuse(code, f"{short(value)} is not an instant", _INSTANT_EXAMPLE)
    if found["offset"] is None:
        raise _refuse(
            code,
            f"instant {short(value)} has no UTC offset",
            f"write {value}Z for UTC, or the offset of your zone instead of Z",
        )
    try:
        return parse_instant(value)
    except (ValueError, OverflowError):
        raise _refuse(code, f"{short(value)} names no instant of the calendar", _INSTANT_EXAMPLE) from None


_LONGEST_CRON = 500  # beyond any use, and short enough to be checked at once


def _cron(text: str) -> str:
    if len(text) > _LONGEST_CRON:
        raise _refuse("schedule.cron", f"cron has {len(text)} characters; at most {_LONGEST_CRON} are read")
    try:
        check_cron(text)
    except ScheduleError as error:
        hint = error.hint
        if re.fullmatch(_DURATION, text):
            hint = f"for an interval write schedule: {{every: {text}}}"
        elif _INSTANT.fullmatch(text):
            hint = f'for a single run write schedule: {{at: "{text}"}}'
        raise _refuse(error.code, error.message, hint, error.offset or 0) from None
    return text


def _timezone(text: str) -> str:
    try:
        check_timezone(text)
    except ScheduleError as error:
        raise _refuse(error.code, error.message, error.hint, error.offset or 0) from None
    return text


def _shorthand(value: Any) -> Any:
    if isinstance(value, str):
        return {"cron": value}
    return value


def _entries(value: Any) -> Any:
    if isinstance(value, list) and not 1 <= len(value) <= MOST_ENTRIES:
        raise _refuse(
            "schedule.entries",
            f"schedule has {len(value)} entries; allowed are 1-{MOST_ENTRIES}",
            "spread them over several jobs" if value else 'write for example [{cron: "0 9 * * *"}]',
        )
    return value


def _one_or_many(value: Any) -> str:
    return _MANY if isinstance(value, list) else _ONE


def _policy(value: Any) -> Any:
    return {"policy": value} if isinstance(value, str) else value


def _task_path(text: str, info: ValidationInfo) -> str:
    try:
        check_path(text, folder=(info.context or {}).get("folder", ""), what="task_source_path")
    except PathError as error:
        raise _refuse("task.path", error.message, error.hint) from None
    return text


def _inline_task(text: str) -> str:
    if not text.strip():
        raise _refuse("task.empty", "the task is blank", "write the task, or name its file with task_source_path")
    return text


def _glob(text: str) -> str:
    try:
        check_glob(text)
    except PathError as error:
        raise _refuse("glob.invalid", error.message, error.hint) from None
    return text


def _job_pattern(text: str) -> str:
    if re.fullmatch(JOBS_PATTERN[1:-1], text):
        return text
    if text.strip().lower().startswith(TAG):
        hint = (
            f"write {TAG}agent" if not text.strip()[len(TAG) :].strip() else f"write {TAG} in front, in small letters"
        )
        raise _refuse("runner.jobs", f"pattern {short(text)} names no tag", hint)
    near = text.strip().lower()
    right = re.fullmatch(JOBS_PATTERN[1:-1], near)
    raise _refuse(
        "runner.jobs",
        f"no id can match {short(text)}; allowed are a-z 0-9 . _ - and the wildcards * ? [...]",
        f"write {short(near)}" if right else f"for the jobs with a tag write {TAG}agent",
    )


def _given(value: Any) -> Any:
    """For keys that restrict: one left blank by mistake must not count as no restriction."""
    if value is None:
        raise _refuse("value.missing", "the key has no value", "write one, or delete the key")
    return value


def _not_empty(items: list[str]) -> list[str]:
    if not items:
        raise _refuse("value.empty", "the list is empty: nothing could ever match", "list something, or delete the key")
    return items


def _version(value: Any) -> Any:
    if type(value) is not int or value != 1:
        written = short(str(value))[1:-1] if isinstance(value, int | float) and value is not True else shown(value)
        raise _refuse("version.unknown", f"version {written} is not known; allowed is 1", "write version: 1")
    return value


def _shell_line(value: Any) -> Any:
    if isinstance(value, str):
        try:
            words = shlex.split(value) if len(value) <= 200 else []
        except ValueError:
            words = []
        hint = f"write command: {flow_list(words)}" if words else "write a list of words, the program first"
        raise _refuse("runner.command", "a command is a list of words, never a shell line", hint)
    return value


_BRACED = re.compile(r"\{[a-z_-]*\}", re.IGNORECASE)


def _command(words: list[str]) -> list[str]:
    if not words or not words[0].strip():
        raise _refuse("runner.command", "the command names no program", 'write one like [sh, "{task_file}"]')
    program = words[0]
    if "{task" in program:
        raise _refuse(
            "runner.command",
            "the program itself cannot be the task",
            'name the program that reads it: command: [sh, "{task_file}"]',
        )
    if "/" in program and not program.startswith("/"):
        try:
            check_path(program.removeprefix("./"), what="program")
        except PathError as error:
            raise _refuse("runner.command", error.message, "write ./ and a path below the root") from None
        if not program.startswith("./"):
            raise _refuse(
                "runner.command",
                f"program {short(program)} is neither absolute, nor on PATH, nor marked as under the root",
                f"write ./{program}",
            )
    for word in words[1:]:
        for found in _BRACED.findall(word):
            if "task" in found.lower() and found not in ("{task}", "{task_file}"):
                raise _refuse(
                    "runner.command",
                    f"placeholder {short(found)} is not known; allowed are {{task_file}} and {{task}}",
                    did_you_mean(found[:100], ("{task}", "{task_file}")),
                )
    return words


def _runner_name(text: str) -> str:
    if not re.fullmatch(RUNNER_PATTERN[1:-1], text):
        near = re.sub(r"[^A-Za-z0-9._-]+", "-", text[:200]).strip("._-")[:64]
        raise _refuse(
            "runner.name",
            f"runner name {short(text)} is not valid; allowed are 1-64 letters, digits and . _ -, starting with a "
            "letter or digit",
            f"write {near}" if near else "",
        )
    return text


def _cwd(text: str) -> str:
    if text == ".":
        raise _refuse("runner.cwd", "cwd '.' is written as root", "write cwd: root")
    if text != "root":
        try:
            check_path(text, what="cwd")
        except PathError as error:
            raise _refuse("runner.cwd", error.message, error.hint) from None
    return text


def _schema(pattern: str, **more: int) -> Any:
    return Field(json_schema_extra={"pattern": pattern, **more})


Line = Annotated[str, AfterValidator(_one_line), _schema(LINE_PATTERN)]
JobId = Annotated[str, AfterValidator(_job_id), _schema(ID_PATTERN)]
EnvName = Annotated[str, AfterValidator(_env_name), _schema(ENV_PATTERN)]
OwnEnvName = Annotated[str, AfterValidator(_own_env_name), _schema(OWN_ENV_PATTERN)]
RunnerName = Annotated[str, AfterValidator(_runner_name), _schema(RUNNER_PATTERN)]
Glob = Annotated[str, AfterValidator(_glob), _schema(GLOB_PATTERN, maxLength=MAX_LENGTH)]
JobPattern = Annotated[str, AfterValidator(_job_pattern), _schema(JOBS_PATTERN)]
Duration = Annotated[
    timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string", "pattern": units.DURATION_PATTERN})
]
Phase = Annotated[
    timedelta,
    BeforeValidator(_phase),
    WithJsonSchema({"type": "string", "anyOf": [{"pattern": units.DURATION_PATTERN}, {"pattern": "^0[dhms]$"}]}),
]
Instant = Annotated[datetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "pattern": INSTANT_PATTERN})]
Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": units.SIZE_PATTERN}, {"type": "integer", "minimum": 1}]}),
]


_SOME = Field(json_schema_extra={"minItems": 1})
Globs = Annotated[list[Glob], AfterValidator(_not_empty), _SOME]
JobPatterns = Annotated[list[JobPattern], AfterValidator(_not_empty), _SOME]
Lines = Annotated[list[Line], AfterValidator(_not_empty), _SOME]


# -- the formats -----------------------------------------------------------------------------


class Shape(BaseModel):
    """Base of all: nothing is converted, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    not_yet: ClassVar[frozenset[str]] = frozenset()  # keys of the design that no code honours so far
    misplaced: ClassVar[Mapping[str, str]] = {}  # keys that belong elsewhere, and the hint that says where
    inner: ClassVar[Mapping[str, type[Shape]]] = {}  # shapes below; "*" for any key


class ScheduleShape(Shape):
    """When a job is due: exactly one of cron, every and at."""

    cron: Annotated[str, AfterValidator(_cron)] | None = Field(
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
    timezone: Annotated[str, AfterValidator(_timezone)] | None = Field(
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


_ONE, _MANY = "<one>", "<many>"  # which way a schedule is written; pydantic puts it into the path of a fault
Entry = Annotated[ScheduleShape, BeforeValidator(_shorthand, json_schema_input_type=str | ScheduleShape)]
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
    on: Annotated[list[Literal["failed", "timed_out", "interrupted"]], AfterValidator(_not_empty)] = Field(
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
        Annotated[CatchUpShape, BeforeValidator(_policy, json_schema_input_type=_Policy | CatchUpShape)] | None
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
        Annotated[Entry, Tag(_ONE)] | Annotated[Entries, Tag(_MANY)],
        Discriminator(_one_or_many),
        BeforeValidator(_entries, json_schema_input_type=str | ScheduleShape | Entries),
    ] = Field(
        description="When the job is due: a mapping, a bare cron expression, or a list of 1-32 of these, whose "
        "instants are united.",
        examples=['"0 9 * * *"'],
    )
    task: Annotated[str, AfterValidator(_inline_task), _schema(NOT_BLANK_PATTERN)] | None = Field(
        default=None,
        description="The task itself. Exactly one of this, task_source_path and the body of a Markdown file.",
    )
    task_source_path: Annotated[str, AfterValidator(_task_path), _schema(PATH_PATTERN, maxLength=MAX_LENGTH)] | None = (
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
        BeforeValidator(_shell_line, json_schema_input_type=Annotated[list[str], Field(min_length=1)]),
        AfterValidator(_command),
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
    tasks: Annotated[Globs | None, BeforeValidator(_given, json_schema_input_type=Globs)] = Field(
        default=None,
        description="Globs of the files whose text the runner may be given; without it any.",
        examples=[["scripts/**"]],
    )
    jobs: Annotated[JobPatterns | None, BeforeValidator(_given, json_schema_input_type=JobPatterns)] = Field(
        default=None,
        description="The jobs that may use the runner, by globs of their ids, or tag: and a glob of a tag; "
        "without it all.",
        examples=[["backup-*", "tag:agent"]],
    )
    max_timeout: Annotated[Duration | None, BeforeValidator(_given, json_schema_input_type=Duration)] = Field(
        default=None,
        description="The longest timeout that a job may have with the runner; without it any.",
        examples=["2h"],
    )
    cwd: Annotated[str, AfterValidator(_cwd), _schema(PATH_PATTERN, maxLength=MAX_LENGTH)] = Field(
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
        int | None, BeforeValidator(_given, json_schema_input_type=Annotated[int, Field(ge=10, le=10_000_000)])
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
    verbs: Annotated[list[AgentVerb], AfterValidator(_not_empty), _SOME] = Field(
        default=["update"],
        description="What they may do beside reading: update, create, delete, mv and rollback edit files; run, cancel, "
        "pause, resume and sync do not.",
        examples=[["update", "rollback"]],
    )
    fields: Annotated[list[AgentField], AfterValidator(_not_empty), _SOME] = Field(
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
        str | None, BeforeValidator(_given, json_schema_input_type=Annotated[str, Field(min_length=1)])
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

    version: Annotated[Literal[1], BeforeValidator(_version)] = Field(
        description="Version of this format; 1.", examples=[1]
    )
    jobs: Globs = Field(
        default=list(DEFAULT_JOBS), description="Globs of the job files, relative to the folder of this file."
    )
    timezone: Annotated[str, AfterValidator(_timezone)] = Field(
        default="UTC", description="IANA name of the zone of all schedules that name none.", examples=["Europe/Berlin"]
    )
    defaults: DefaultsShape = Field(
        default_factory=DefaultsShape, description="What a job takes where it does not write it itself."
    )
    runners: dict[RunnerName, RunnerShape] = Field(default={}, description="The ways to run a task, by name.")
    hosts: Annotated[Lines | None, BeforeValidator(_given, json_schema_input_type=Lines)] = Field(
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
    agents: Annotated[AgentsShape | None, BeforeValidator(_given, json_schema_input_type=AgentsShape)] = Field(
        default=None,
        description="What agents may change, through the tool or from inside a run; without it they only read.",
    )
    worktree: WorktreeShape = Field(
        default_factory=WorktreeShape, description="Which branch is synced, and whether what is not committed fires."
    )


# -- from pydantic's errors to ours ----------------------------------------------------------

AnyShape = TypeVar("AnyShape", bound=Shape)


def check(
    shape: type[AnyShape],
    data: Any,
    *,
    raw: Callable[[Path], str | None] = lambda path: None,
    folder: str = "",
) -> tuple[AnyShape | None, tuple[Fault, ...]]:
    """The shape of plain data, or everything that is wrong with it.

    raw: the text of a value as written, for hints.
    folder: root-relative folder of the file, for hints on paths.
    """
    try:
        return shape.model_validate(data, context={"folder": folder}), ()
    except ValidationError as error:
        details = error.errors(include_url=False)
    return None, tuple(_fault(shape, detail, raw) for detail in details)


def fitting(shape: type[AnyShape], data: Any) -> AnyShape | None:
    """The shape of plain data, or None where anything is wrong with it."""
    try:
        return shape.model_validate(data)
    except ValidationError:
        return None


def _fault(shape: type[Shape], detail: ErrorDetails, raw: Callable[[Path], str | None]) -> Fault:
    kind = detail["type"]
    path: Path = detail["loc"]
    if path[:1] == ("schedule",) and path[1:2] in ((_ONE,), (_MANY,)) and shape is JobShape:
        path = path[:1] + path[2:]
    if kind == "extra_forbidden":
        return _unknown(shape, path)
    at_key = len(path) > 1 and path[-1] == "[key]"
    if at_key:
        path = path[:-1]
    context = detail.get("ctx", {})
    value = detail["input"]
    if kind == "size.range":
        return _out_of_range(shape, path, value, raw(path), code=kind)
    if kind == "missing":
        examples = _owner(shape, path).model_fields[str(path[-1])].examples
        hint = f"write {path[-1]}: {examples[0]}" if examples else ""
        return Fault(path=path, code="key.missing", message=f"key {path[-1]!r} is missing", hint=hint)
    if "message" in context:  # one of our own
        return Fault(
            path=path,
            code=kind,
            message=context["message"],
            hint=context["hint"],
            at_key=at_key,
            offset=context["offset"],
        )
    if value is None:
        return Fault(
            path=path, code="value.missing", message=f"{_name(path)} has no value", hint="write one, or delete the key"
        )
    if kind in ("greater_than_equal", "less_than_equal"):
        return _out_of_range(shape, path, value, raw(path))
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        hint = did_you_mean(value[:100], allowed) if isinstance(value, str) else ""
        message = f"{_name(path)} {shown(value)} is not known; allowed: {', '.join(allowed)}"
        return Fault(path=path, code="value.choice", message=message, hint=hint)
    expected, hint = _EXPECTED.get(kind, "something else"), _type_hint(kind, value, raw(path))
    if shape is JobShape and path[0] == "schedule" and kind in ("model_type", "model_attributes_type"):
        expected = (
            "a cron expression, a mapping or a list of these" if len(path) == 1 else "a cron expression or a mapping"
        )
        hint = 'write "0 9 * * *" or {every: 15m}'
    elif shape is RootShape and path[0] == "runners" and len(path) == 2 and isinstance(value, str):
        hint = f"write {{command: {flow_list(value[:100].split())}}}"
    message = f"{_name(path)} must be {expected}, not {shown(value, raw(path))}"
    return Fault(path=path, code="value.type", message=message, hint=hint, at_key=at_key)


def _out_of_range(shape: type[Shape], path: Path, value: Any, raw: str | None, code: str = "value.range") -> Fault:
    bounds = _owner(shape, path).model_fields[str(path[-1])].metadata
    low = next(bound.ge for bound in bounds if isinstance(bound, Ge))
    high = next(bound.le for bound in bounds if isinstance(bound, Le))
    show: Callable[[Any], str] = units.format_size if str(path[-1]).endswith("_bytes") else str
    message = f"{_name(path)} {short(raw or str(value))[1:-1]} is outside {show(low)}-{show(high)}"
    return Fault(path=path, code=code, message=message)


_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def _type_hint(kind: str, value: Any, raw: str | None) -> str:
    if kind == "string_type":
        if isinstance(value, bool | int | float):
            return f'quote it: "{raw or value}"'
        if isinstance(value, dict) and len(value) == 1 and [*value.values()] == [None]:
            return f'quote text in braces: "{{{next(iter(value))}}}"'
    if kind == "bool_type" and value in (0, 1):
        return f"write {str(bool(value)).lower()}"
    if kind == "bool_type" and isinstance(value, str):
        if value.lower() in ("yes", "on", "y", "true"):
            return "write true"
        if value.lower() in ("no", "off", "n", "false"):
            return "write false"
    if kind == "int_type" and isinstance(value, str) and value.isdecimal():
        return "write it without quotes"
    if kind == "int_type" and isinstance(value, str) and re.fullmatch(r"[0-9]{1,9} ?%", value):
        return f"write {value.rstrip(' %')}"
    if kind == "list_type" and isinstance(value, str):
        words = [word.strip() for word in value.split(",")] if len(value) <= 200 else [value]
        return f"write {flow_list(words if all(words) else [value])}"
    if kind == "list_type" and isinstance(value, dict):
        bare = bool(value) and len(value) <= 20 and all(each is None for each in value.values())
        return f"write {flow_list([*value])}" if bare else "write one item a line, each after '- '"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        if isinstance(value, list):
            return "write key: value lines without the leading dash"
        name, equals, rest = value.partition("=") if isinstance(value, str) and len(value) <= 200 else ("", "", "")
        if equals and re.fullmatch(ENV_PATTERN[1:-1], name):
            return f"write {{{name}: {json.dumps(rest, ensure_ascii=False)}}}"
    return ""


def _unknown(shape: type[Shape], path: Path) -> Fault:
    owner = _owner(shape, path)
    key = str(path[-1])
    if key in owner.not_yet:
        return Fault(
            path=path,
            code="key.not-supported-yet",
            message=f"key {key!r} is not supported yet; it is refused rather than ignored",
            hint="delete it",
            at_key=True,
        )
    known = sorted(owner.model_fields, key=lambda name: not owner.model_fields[name].is_required())
    near = did_you_mean(key[:100], known)
    hint = owner.misplaced.get(key) or near or f"allowed: {', '.join(known)}"
    message = f"key {short(key)} is not known here"
    return Fault(path=path, code="key.unknown", message=message, hint=hint, at_key=True)


def _owner(shape: type[Shape], path: Path) -> type[Shape]:
    """The shape that decides about the last key of `path`."""
    for part in path[:-1]:
        if isinstance(part, int):
            continue  # the items of a list have one shape
        shape = shape.inner.get(str(part)) or shape.inner["*"]
    return shape


def _name(path: Path) -> str:
    last = path[-1]
    if isinstance(last, int):
        return f"item {last + 1} of {path[-2]}" if len(path) > 1 else f"item {last + 1}"
    return short(last)[1:-1]


def shown(value: Any, raw: str | None = None) -> str:
    """A value as a message names it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            return short(value)
        case int() | float():
            return f"the number {short(raw or str(value))[1:-1]}"
        case list():
            return "a list"
        case _:
            return "a mapping"


def flow_list(words: list[str]) -> str:
    """A YAML list on one line."""
    plain = re.compile(r"[A-Za-z./_][A-Za-z0-9./_-]*|-[A-Za-z-][A-Za-z-]*")
    written = (word if plain.fullmatch(word) else json.dumps(word, ensure_ascii=False) for word in words)
    return f"[{', '.join(written)}]"
