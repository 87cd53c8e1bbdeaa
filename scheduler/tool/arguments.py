"""What a call of the tool may hold: one flat mapping, `action` and what belongs to it.

The keys of a job are those of job files, and what each may hold is said by the same shapes. Values of keys are judged
where the edit is made, by reading what it would write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from scheduler.core.edits.written import value_of
from scheduler.core.formats.faults import KeyFault, check
from scheduler.core.formats.json_schema import DIALECT, job_schema, schema_of
from scheduler.core.formats.shapes import JobId, JobShape, Line, Shape
from scheduler.core.times.moments import Spoken, read_moment
from scheduler.core.values.facts import Status
from scheduler.core.values.problems import UsageError, did_you_mean, meant
from scheduler.core.values.runs import RunStatus
from scheduler.core.values.texts import InputError, TextError, short

Json = dict[str, Any]
KEYS = tuple(name for name in JobShape.model_fields if name != "id")  # of a job, as create and update take them
_WHEN = "2027-03-29T01:00:00Z, 03:00 (in the zone of the job), now, +2h, -1d"


def _when(value: Any, info: ValidationInfo) -> Spoken:
    try:
        return read_moment(value if isinstance(value, str) else short(str(value)))
    except InputError as error:
        told = {"message": f"{info.field_name}: {error.message}", "hint": error.hint}
        raise PydanticCustomError("value.invalid", "{message}", {**told, "offset": 0}) from None


When = Annotated[Spoken, PlainValidator(_when), WithJsonSchema({"type": "string"})]  # a datetime, once it is `meant`


class JobCall(Shape):
    """What is asked of one job."""

    job: JobId = Field(description="The id of the job.", examples=["heartbeat"])


class OfRunCall(Shape):
    """What is asked of one run."""

    run: Line = Field(description="The run, JOB:N, as history names it.", examples=["heartbeat:7"])


class ListCall(Shape):
    """Jobs with their state, and what is wrong with files."""

    status: Literal[tuple(each.value for each in Status)] | None = Field(  # type: ignore[valid-type]
        default=None, description="Only jobs of this status."
    )
    tag: Line | None = Field(default=None, description="Only jobs with this tag.")
    problems: bool = Field(default=False, description="Only jobs whose files have problems.")
    n: int | None = Field(default=None, ge=1, le=10_000, description="At most so many; 100 unless given.")


class ShowCall(JobCall):
    """One job: definition, state, version, file and line, next fires."""


class NextCall(Shape):
    """Coming fires."""

    jobs: list[JobId] = Field(default=[], description="Of these jobs; of all unless given.")
    n: int | None = Field(default=None, ge=1, le=1_000, description="At most so many of each job.")
    since: When | None = Field(default=None, description=f"Fires after this: {_WHEN}.")
    until: When | None = Field(default=None, description=f"Fires up to this: {_WHEN}.")


class HistoryCall(JobCall):
    """Runs and skips of a job, newest first."""

    n: int | None = Field(default=None, ge=1, le=1_000, description="At most so many; 10 unless given.")
    run_status: Literal[tuple(each.value for each in RunStatus)] | None = Field(  # type: ignore[valid-type]
        default=None, description="Only runs of this status."
    )


class LogCall(JobCall):
    """Runs and changes of a job on one timeline, newest first, with commits and authors."""

    n: int | None = Field(default=None, ge=1, le=1_000, description="At most so many; 20 unless given.")


class DiffCall(Shape):
    """What differs in text and definition between two runs, or since one."""

    before: Line = Field(
        description="A run JOB:N, or a job: since its last success.", examples=["heartbeat:7", "heartbeat"]
    )
    after: Line | None = Field(
        default=None, description="A later run, JOB:N; what the files say now unless given.", examples=["heartbeat:9"]
    )


class VersionsCall(JobCall):
    """The texts that a job's runs had, and how their runs did."""

    n: int | None = Field(default=None, ge=1, le=1_000, description="At most so many; 20 unless given.")


class OutputCall(OfRunCall):
    """What a run wrote, the end of it."""


class TaskCall(OfRunCall):
    """The exact text that a run was given."""


class ExplainCall(Shape):
    """Why a job did, did not or will not fire, or why a run was started and how it ended."""

    job: JobId | None = Field(default=None, description="The id of the job; or give run.")
    run: Line | None = Field(default=None, description="Of this run instead, JOB:N.")
    at: When | None = Field(default=None, description=f"At this instant: {_WHEN}; the newest slot unless given.")
    since: When | None = Field(default=None, description="Sum up the slots from this instant on.")
    until: When | None = Field(default=None, description="With since: the slots before this; now unless given.")


class ValidateCall(Shape):
    """Every problem of the files."""

    paths: list[Line] = Field(default=[], description="Only these files or folders, relative to the root.")


class PlanCall(Shape):
    """What a sync would change."""

    base: Line | None = Field(default=None, description="Compare with this commit instead of the database.")
    head: Line | None = Field(default=None, description="With base: the commit or branch that is compared.")


class RunCall(JobCall):
    """Runs a job now."""

    task_of: Line | None = Field(default=None, description="Give it the text that this run of it had, JOB:N.")
    wait: bool = Field(default=False, description="Answer when the run has ended.")
    dry_run: bool = Field(default=False, description="Only say what would be started, with which text.")


class PauseCall(JobCall):
    """Holds a job back; no edit of its file."""

    reason: Line | None = Field(default=None, description="Why, for those who wonder.")
    until: When | None = Field(default=None, description=f"When it goes on by itself: {_WHEN}.")
    next: bool = Field(default=False, description="Skip the next slot only.")


class ResumeCall(JobCall):
    """Lifts a pause, and starts a stopped job anew."""


class CancelCall(OfRunCall):
    """Ends a run."""


class SyncCall(Shape):
    """Takes the files over now; a daemon does so by itself."""


class EditCall(JobCall):
    """What every edit takes."""

    commit: bool = Field(default=False, description="Commit the edit. Where agents.edits asks for it, it is anyway.")
    branch: Line | None = Field(
        default=None,
        description="Commit on this branch, agents/..., for a person to merge; the files stay as they are.",
        examples=["agents/heartbeat"],
    )
    message: str | None = Field(default=None, description="The message of the commit; say why.")


class VersionedEdit(EditCall):
    """An edit of a job that is there."""

    if_version: Line | None = Field(
        default=None, description="Refuse unless this is the job's version, as show tells it: nobody is overwritten."
    )


class UpdateCall(VersionedEdit):
    """Changes keys of a job, or the text of its task."""

    set: dict[str, Any] = Field(
        default={}, description="Keys below keys, with dots, and their values.", examples=[{"retry.attempts": 3}]
    )
    unset: list[Line] = Field(default=[], description="Keys to delete.", examples=[["description"]])


class CreateCall(EditCall):
    """Writes the file of a new job."""

    path: Line | None = Field(default=None, description="The file, .md or .yaml; jobs/JOB.md or .yaml unless given.")


class DeleteCall(VersionedEdit):
    """Deletes a job from its file; its history stays."""

    with_task: bool = Field(default=False, description="Delete the file of task_source_path too.")


class MvCall(VersionedEdit):
    """Moves a job to another file; id, counters and history stay."""

    path: Line = Field(description="The file to move it to.", examples=["jobs/agents/heartbeat.md"])


class RollbackCall(VersionedEdit):
    """Puts back the text of an earlier run, or the job as a commit had it."""

    to: Line = Field(
        description="A run JOB:N, text:SHA or commit:SHA.", examples=["heartbeat:7", "text:0a1b2c3d", "commit:0a1b2c3d"]
    )


CALLS: Mapping[str, type[Shape]] = {
    "list": ListCall,
    "show": ShowCall,
    "next": NextCall,
    "history": HistoryCall,
    "log": LogCall,
    "diff": DiffCall,
    "versions": VersionsCall,
    "output": OutputCall,
    "task": TaskCall,
    "explain": ExplainCall,
    "validate": ValidateCall,
    "plan": PlanCall,
    "run": RunCall,
    "pause": PauseCall,
    "resume": ResumeCall,
    "cancel": CancelCall,
    "sync": SyncCall,
    "update": UpdateCall,
    "create": CreateCall,
    "delete": DeleteCall,
    "mv": MvCall,
    "rollback": RollbackCall,
}
WITH_KEYS = ("update", "create")
_COLLECTIONS = ("set", "unset", "jobs", "paths")  # arguments that are no text
_STRUCTURED = ("schedule", "tags", "env", "catch_up", "retry", "deliver", "deliver_on")  # so are these keys


@dataclass(frozen=True, slots=True)
class Call:
    """A call that makes sense."""

    action: str
    given: Any  # the shape of the action
    keys: Mapping[str, Any]  # of a job, and their new values


def read_call(arguments: Mapping[str, Any]) -> Call:
    """Raises: UsageError, with all that is wrong."""
    action = arguments.get("action")
    shape = CALLS.get(action) if isinstance(action, str) else None
    if not isinstance(action, str) or shape is None:
        what = "action is missing" if action is None else f"there is no action {short(str(action))}"
        near = meant(action, CALLS) if isinstance(action, str) else ""
        raise UsageError(what, hint=near or f"it is one of {', '.join(CALLS)}")
    rest = {name: value for name, value in arguments.items() if name != "action"}
    keys = {}
    if action in WITH_KEYS:
        keys = {name: rest.pop(name) for name in [*rest] if name in KEYS}
        empty = [name for name, value in keys.items() if value is None]
        if empty:
            raise UsageError(
                f"{empty[0]} is null", hint=f"leave it out to keep it; unset: [{empty[0]}] deletes the key of a job"
            )
        keys = {name: _meant(name, value) for name, value in keys.items()}
    rest = {name: value for name, value in rest.items() if value is not None or name not in shape.model_fields}
    rest = {name: _object(name, value) if name in _COLLECTIONS else value for name, value in rest.items()}
    if isinstance(rest.get("set"), dict):
        rest["set"] = {name: _meant(name, value) for name, value in rest["set"].items()}
    unknown = [name for name in rest if name not in shape.model_fields]
    if unknown:
        raise UsageError(f"{action} takes no {short(unknown[0])}", hint=_instead(action, shape, unknown[0]))
    found, faults = check(shape, rest)
    if found is None:
        wrong = "; ".join(fault.message for fault in faults)
        hint = next((told for fault in faults if (told := _example(shape, fault) or fault.hint)), "")
        raise UsageError(f"{action}: {wrong}", hint=hint)
    return Call(action, found, keys)


def _meant(name: str, value: Any) -> Any:
    """The value of a key of a job; models often send the JSON text of an object where the object is meant."""
    key, _, position = name.partition(".")
    if key not in _STRUCTURED or (position and not (key == "schedule" and position.isdigit())):
        return value  # below these, text is text: a variable of env may hold JSON
    if key == "schedule" and isinstance(value, list):
        return [_object(name, each) for each in value]
    return _object(name, value)


def _object(name: str, value: Any) -> Any:
    """The object or list that a text is, where it is one."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return value_of(value)
    except TextError as error:
        raise UsageError(
            f"{name} is text that looks like JSON and cannot be read: {error.message}",
            hint="give an object or a list itself, not its text",
        ) from None


def _example(shape: type[Shape], fault: KeyFault) -> str:
    """What to write for an argument that is no text; the hint of a file would show the value alone."""
    field = shape.model_fields.get(str(fault.path[0])) if fault.path and fault.path[0] in _COLLECTIONS else None
    if field is None or not field.examples or fault.code != "value.type":
        return ""
    return f"write {fault.path[0]}: {json.dumps(field.examples[0], ensure_ascii=False)}"


def _instead(action: str, shape: type[Shape], name: str) -> str:
    known = [*shape.model_fields, *(KEYS if action in WITH_KEYS else ())]
    if name == "id":
        return "the job is named by job; an id never changes"
    if name in KEYS:
        return "a key of a job is changed by update"
    if "." in name and action == "update":
        return f"write set: {{{name}: ...}}"
    return did_you_mean(name[:200], known) or f"it takes {', '.join(known) or 'nothing else'}"


def input_schema() -> Json:
    """Of a call. One flat mapping: what models are given is seldom understood below a choice of mappings."""
    jobs = job_schema()
    properties: Json = {
        "action": {"type": "string", "enum": [*CALLS], "description": "What to do: " + " ".join(_actions())}
    }
    told: dict[str, dict[str, list[str]]] = {}
    for action, shape in CALLS.items():
        for name, found in schema_of(shape).get("properties", {}).items():
            about = found.pop("description")
            properties.setdefault(name, _not_null(found))
            told.setdefault(name, {}).setdefault(about, []).append(action)
    for name, each in told.items():
        texts = (f"{', '.join(actions)}: {about}" for about, actions in each.items())
        properties[name] = {**properties[name], "description": " ".join(texts)}
    for name in KEYS:
        found = _not_null(jobs["properties"][name])
        properties[name] = {**found, "description": f"{', '.join(WITH_KEYS)}: {found['description']}"}
        if kinds := _types(found, jobs["$defs"]):  # also beside a choice: some clients read nothing but the type
            properties[name]["type"] = kinds[0] if len(kinds) == 1 else kinds
    schema: Json = {
        "$schema": DIALECT,
        "type": "object",
        "properties": properties,
        "required": ["action"],
        "additionalProperties": False,
        "$defs": jobs["$defs"],
    }
    plain: Json = _plain(schema)
    return plain


def _types(found: Json, definitions: Json) -> list[str]:
    """The types that a value may have by this schema."""
    if "$ref" in found:
        return _types(definitions[found["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in found:
        return list(dict.fromkeys(kind for each in found["anyOf"] for kind in _types(each, definitions)))
    kinds = found.get("type", [])
    return [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]


def _plain(found: Any) -> Any:
    """Without patterns that look around, which the schemas of several models' APIs refuse; every value is read here."""
    if isinstance(found, list):
        return [_plain(each) for each in found]
    if not isinstance(found, dict):
        return found
    plain = {
        name: _plain(value)
        for name, value in found.items()
        if not (name == "pattern" and isinstance(value, str) and "(?" in value) and name != "patternProperties"
    }
    for value in found.get("patternProperties", {}).values():
        plain["additionalProperties"] = _plain(value)
    return plain


def _actions() -> Iterator[str]:
    for action, shape in CALLS.items():
        yield f"{action}: {' '.join((shape.__doc__ or '').split())}"


def _not_null(found: Json) -> Json:
    """Without null, which no argument needs: what is not wanted is left out."""
    found = {name: value for name, value in found.items() if name != "default"}
    if isinstance(found.get("type"), list):
        kinds: Sequence[str] = [kind for kind in found["type"] if kind != "null"]
        found["type"] = kinds[0] if len(kinds) == 1 else list(kinds)
    for name in ("enum", "anyOf"):
        if name in found:
            found[name] = [each for each in found[name] if each not in (None, {"type": "null"})]
    return found


DESCRIPTION = """\
Reads and changes the jobs of a scheduler whose jobs are files of a git repository. The files own the truth: an edit
here is an edit of the job's file, as small as can be. A job keeps its id, its counters and its history through every
edit; nothing has to be deleted and made anew to be changed.

A job is woken by its schedule and runs its task, the text that its file holds at that moment. Its file is Markdown,
with the task as the body:

    ---
    id: heartbeat
    name: Hourly heartbeat
    tags: [agent]
    schedule: "0 * * * *"
    ---
    You are woken once an hour. Look at the inbox.

or YAML, with the task inside (task) or in a file of its own (task_source_path). schedule is one of
    "0 9 * * mon-fri"                                   cron, on the wall clock of the zone in scheduler.yaml
    {"cron": "0 9 * * *", "timezone": "Europe/Berlin"}
    {"every": "15m"}
    {"at": "2027-01-31T09:00:00+01:00"}                 once
or a list of these. Durations are text: 90s, 20m, 1h30m, 2d.

Examples:
    {"action": "list", "tag": "agent"}
    {"action": "show", "job": "heartbeat"}
    {"action": "update", "job": "heartbeat", "task": "You are woken once an hour. Look at the inbox first.\\n",
     "if_version": "3-0a1b2c3d", "message": "Look at the inbox first"}
    {"action": "update", "job": "heartbeat", "schedule": {"every": "2h"}, "name": "Two-hourly heartbeat"}
    {"action": "update", "job": "heartbeat", "enabled": false}
    {"action": "update", "job": "heartbeat", "set": {"retry.attempts": 3}, "unset": ["description"]}
    {"action": "create", "job": "digest", "schedule": "0 18 * * *", "task": "Sum up the day.\\n", "tags": ["agent"]}
    {"action": "rollback", "job": "heartbeat", "to": "heartbeat:7"}
    {"action": "explain", "job": "heartbeat"}
    {"action": "history", "job": "heartbeat", "n": 5}

task is the whole text, not a part of it: read it first (show names its file; task gives the text of a run). An edit
answers with its diff, its commit, and when it counts: applied now, next_sync, or pending_branch, which a person has to
merge. What you may change is said by agents in scheduler.yaml, which you cannot edit; reading is always allowed.
An error says what to do instead; with one, nothing was changed.
"""
