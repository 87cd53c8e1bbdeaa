"""The arguments of a tool call: one flat mapping with `action` and what belongs to it.

The keys of a job are those of job files, and the same shapes define their values. Values of keys are checked where
the edit is made, by reading the result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from scheduler.core.edits.written import value_of
from scheduler.core.formats.base import Line, Shape
from scheduler.core.formats.faults import KeyFault, check
from scheduler.core.formats.shapes import JobId, JobShape
from scheduler.core.messages.samples import SAMPLES
from scheduler.core.times.moments import WrittenMoment, read_moment
from scheduler.core.values.access import Caller
from scheduler.core.values.problems import UsageError, meant
from scheduler.core.values.runs import RunStatus
from scheduler.core.values.texts import InputError, TextError, short
from scheduler.tool.meanings import instead

Json = dict[str, Any]
KEYS = tuple(name for name in JobShape.model_fields if name != "id")  # of a job, as create and update accept them


_WHEN = "2027-03-29T01:00:00Z, 03:00 (in the zone of the job), now, +2h, -1d"


def _when(value: Any, info: ValidationInfo) -> WrittenMoment:
    try:
        return read_moment(value if isinstance(value, str) else short(str(value)))
    except InputError as error:
        told = {"message": f"{info.field_name}: {error.message}", "hint": error.hint}
        raise PydanticCustomError("value.invalid", "{message}", {**told, "offset": 0}) from None


When = Annotated[WrittenMoment, PlainValidator(_when), WithJsonSchema({"type": "string"})]  # a datetime, once resolved


class JobCall(Shape):
    """A call about one job."""

    job: JobId = Field(description="Job id.", examples=["heartbeat"])


class JobOrRunCall(Shape):
    """A call about a job or one of its runs; either identifies the job."""

    job: JobId | None = Field(default=None, description="Job id.", examples=["heartbeat"])
    run: Line | None = Field(default=None, description="Run JOB:N; JOB alone for its newest.", examples=["heartbeat:7"])


class StatusCall(Shape):
    """One screen: daemon, running, failing, overdue, next, channels, what needs a person."""


class ListCall(Shape):
    """Jobs: status, schedule, next and last run."""

    status: Line | None = Field(
        default=None, description="list: paused, stopped, failing, ...; history: succeeded, failed, skipped, ..."
    )
    tag: Line | None = Field(default=None, description="Jobs with this tag.")
    problems: bool = Field(default=False, description="Jobs whose files have problems.")
    n: int | None = Field(default=None, ge=1, le=10_000, description="At most N rows. Default: list 25, history 10.")
    full: bool = Field(default=False, description="All keys of each row.")


class ShowCall(JobOrRunCall):
    """One job: definition, version, state, file, next fires, start of its text. With run: that run."""


class NextCall(Shape):
    """The next fires."""

    job: JobId | None = Field(default=None, description="Job id.", examples=["heartbeat"])
    jobs: list[JobId] = Field(default=[], description="Several job ids.", examples=[["heartbeat", "triage"]])
    n: int | None = Field(default=None, ge=1, le=1_000, description="At most N fires of each job.")
    since: When | None = Field(default=None, description=f"Only after this: {_WHEN}.")
    until: When | None = Field(default=None, description="Only up to this.")


class HistoryCall(Shape):
    """Runs and skips, newest first, and who was told."""

    job: JobId | None = Field(default=None, description="Job id.", examples=["heartbeat"])
    since: When | None = Field(default=None, description=f"Only after this: {_WHEN}.")
    failed: bool = Field(default=False, description="Only failures.")
    n: int | None = Field(default=None, ge=1, le=1_000, description="At most N rows.")
    status: Literal[tuple(each.value for each in RunStatus)] | None = Field(  # type: ignore[valid-type]
        default=None, description="Only runs of this status."
    )
    full: bool = Field(default=False, description="All keys of each row.")


class LogCall(JobCall):
    """Runs and edits on one timeline, with authors."""

    n: int | None = Field(default=None, ge=1, le=1_000, description="At most N rows.")


class DiffCall(Shape):
    """Two runs compared, or a run with now."""

    before: Line = Field(description="Run JOB:N; a job id for its last success.", examples=["heartbeat:7", "heartbeat"])
    after: Line | None = Field(default=None, description="A later run. Default: now.", examples=["heartbeat:9"])


class VersionsCall(JobCall):
    """The texts that ran, and how their runs did."""

    n: int | None = Field(default=None, ge=1, le=1_000, description="At most N rows.")


class OutputCall(JobOrRunCall):
    """The end of a run's captured output."""


class TaskCall(JobOrRunCall):
    """The text of a job now, or of a run."""

    offset: int = Field(default=0, ge=0, le=100_000_000, description="Characters to skip.")


class ExplainCall(JobOrRunCall):
    """Why a job did, did not or will not run. With run: why it started and how it ended."""

    at: When | None = Field(default=None, description="The instant to explain. Default: the newest slot.")
    since: When | None = Field(default=None, description="Sum up the slots from here on.")
    until: When | None = Field(default=None, description="With since: the end. Default: now.")


class ValidateCall(Shape):
    """Problems in the files."""

    paths: list[Line] = Field(default=[], description="Only these files or folders.")


class PlanCall(Shape):
    """What a sync would change."""

    base: Line | None = Field(default=None, description="Compare with this commit.")
    head: Line | None = Field(default=None, description="With base: commit or branch to compare.")


class ChannelsCall(Shape):
    """Channels, and which are dead."""


class DeliveriesCall(Shape):
    """Messages, sent and waiting."""

    job: JobId | None = Field(default=None, description="Job id.", examples=["heartbeat"])
    channel: Line | None = Field(default=None, description="Name of a channel.")
    failed: bool = Field(default=False, description="Only failures.")
    n: int | None = Field(default=None, ge=1, le=1_000, description="At most N rows.")


class RunCall(JobCall):
    """Run a job now."""

    task_of: Line | None = Field(default=None, description="Use the text of this run, JOB:N.")
    wait: bool = Field(default=False, description="Answer when it has ended.")
    dry_run: bool = Field(default=False, description="Only show what would happen.")


class PauseCall(JobCall):
    """Pause a job; its file does not change."""

    reason: Line | None = Field(default=None, description="Why.")
    until: When | None = Field(default=None, description="When it resumes, such as +2h.")
    next: bool = Field(default=False, description="Skip only the next slot.")


class ResumeCall(Shape):
    """End a pause, or restart a stopped job."""

    job: JobId | None = Field(default=None, description="Job id.", examples=["heartbeat"])
    account: Line | None = Field(default=None, description="Or probe this parked account.")


class CancelCall(Shape):
    """Stop a run."""

    run: Line = Field(description="cancel: the run to stop.", examples=["heartbeat:7"])


class SyncCall(Shape):
    """Apply the files now, as a daemon does."""


class TestChannelCall(Shape):
    """Send a test message."""

    channel: Line = Field(description="Name of a channel.", examples=["owner"])
    kind: Annotated[
        Literal[tuple(each.value for each in SAMPLES)],  # type: ignore[valid-type]
        WithJsonSchema({"type": "string"}),
    ] = Field(default="test", description="Sample of an event: failure, success, ...")
    dry_run: bool = Field(default=False, description="Only show what would happen.")


class RetryDeliveryCall(Shape):
    """Send a message that was given up."""

    id: int = Field(ge=1, description="Of the delivery.", examples=[7])


class EditCall(JobCall):
    """The arguments of every edit."""

    commit: bool = Field(default=False, description="Commit the edit.")
    branch: Line | None = Field(
        default=None,
        description="Commit to this branch, agents/..., for a person to merge.",
        examples=["agents/heartbeat"],
    )
    message: str | None = Field(default=None, description="Commit message; say why.")


class VersionedEdit(EditCall):
    """An edit of an existing job."""

    if_version: Line | None = Field(default=None, description="Refuse if the job has another version (see show).")


class UpdateCall(VersionedEdit):
    """Change keys of a job or its text."""

    set: dict[str, Any] = Field(default={}, description="Nested keys.", examples=[{"retry.attempts": 3}])
    unset: list[Line] = Field(default=[], description="Keys to delete.", examples=[["description"]])


class CreateCall(EditCall):
    """Write a new job file."""

    path: Line | None = Field(default=None, description="File. Default for create: jobs/JOB.md or .yaml.")


class DeleteCall(VersionedEdit):
    """Delete a job from its file; its history stays."""

    with_task: bool = Field(default=False, description="Delete its task file too.")


class MvCall(VersionedEdit):
    """Move a job to another file."""

    path: Line = Field(description="New file.", examples=["jobs/agents/heartbeat.md"])


class RollbackCall(VersionedEdit):
    """Restore the text of a run, or the job of a commit."""

    to: Line = Field(
        description="JOB:N, text:SHA or commit:SHA.", examples=["heartbeat:7", "text:0a1b2c3d", "commit:0a1b2c3d"]
    )


READS: Mapping[str, type[Shape]] = {
    "status": StatusCall,
    "list": ListCall,
    "show": ShowCall,
    "task": TaskCall,
    "next": NextCall,
    "history": HistoryCall,
    "output": OutputCall,
    "explain": ExplainCall,
    "log": LogCall,
    "diff": DiffCall,
    "versions": VersionsCall,
    "validate": ValidateCall,
    "plan": PlanCall,
    "channels": ChannelsCall,
    "deliveries": DeliveriesCall,
}
ACTS: Mapping[str, type[Shape]] = {
    "update": UpdateCall,
    "create": CreateCall,
    "delete": DeleteCall,
    "mv": MvCall,
    "rollback": RollbackCall,
    "run": RunCall,
    "pause": PauseCall,
    "resume": ResumeCall,
    "cancel": CancelCall,
    "sync": SyncCall,
    "test_channel": TestChannelCall,
    "retry_delivery": RetryDeliveryCall,
}
CALLS: Mapping[str, type[Shape]] = {**READS, **ACTS}
READ_TOOL, EDIT_TOOL = "schedule_read", "schedule"
TOOLS: Mapping[str, Mapping[str, type[Shape]]] = {READ_TOOL: READS, EDIT_TOOL: ACTS}
WITH_KEYS = ("update", "create")
_COLLECTIONS = ("set", "unset", "jobs", "paths")  # arguments that are not text
# Keys that are not text.
_STRUCTURED = ("schedule", "tags", "env", "catch_up", "retry", "check", "expect", "budget", "deliver", "deliver_on")
_EARLIER = {"history": {"run_status": "status"}}  # former names of arguments


@dataclass(frozen=True, slots=True)
class Call:
    """A valid call."""

    action: str
    given: Any  # the shape of the action
    keys: Mapping[str, Any]  # of a job, with their new values
    caller: Caller | None = None  # who asks over HTTP


def read_call(arguments: Mapping[str, Any], tool: str = EDIT_TOOL) -> Call:
    """Read and check a call.

    tool: the tool that was called. The editing tool also accepts reading actions: it can do more, not less.
    Raises: UsageError that lists everything wrong.
    """
    action = arguments.get("action")
    shape = CALLS.get(action) if isinstance(action, str) else None
    if not isinstance(action, str) or shape is None:
        what = "action is missing" if action is None else f"there is no action {short(str(action))}"
        near = meant(action, CALLS) if isinstance(action, str) else ""
        raise UsageError(what, hint=near or f"it is one of {', '.join(TOOLS[tool])}")
    if tool == READ_TOOL and action in ACTS:
        raise UsageError(f"{READ_TOOL} changes nothing, so it has no {action}", hint=f"call {EDIT_TOOL} with the same")
    rest = {name: value for name, value in arguments.items() if name != "action"}
    keys = {}
    if action in WITH_KEYS:
        keys = {name: rest.pop(name) for name in [*rest] if name in KEYS}
        empty = [name for name, value in keys.items() if value is None]
        if empty:
            raise UsageError(
                f"{empty[0]} is null", hint=f"leave it out to keep it; to delete a key of a job: unset: [{empty[0]}]"
            )
        keys = {name: _meant(name, value) for name, value in keys.items()}
    rest = {_EARLIER.get(action, {}).get(name, name): value for name, value in rest.items()}
    rest = {name: value for name, value in rest.items() if value is not None or name not in shape.model_fields}
    rest = {name: _object(name, value) if name in _COLLECTIONS else value for name, value in rest.items()}
    if isinstance(rest.get("set"), dict):
        rest["set"] = {name: _meant(name, value) for name, value in rest["set"].items()}
    unknown = [name for name in rest if name not in shape.model_fields]
    if unknown:
        known = (*shape.model_fields, *(KEYS if action in WITH_KEYS else ()))
        hint = instead(action, unknown[0], rest[unknown[0]], known, keys=KEYS)
        raise UsageError(f"{action} takes no {short(unknown[0])}", hint=hint)
    found, faults = check(shape, rest)
    if found is None:
        wrong = "; ".join(fault.message for fault in faults)
        hint = next((told for fault in faults if (told := _example(shape, fault) or fault.hint)), "")
        raise UsageError(f"{action}: {wrong}", hint=hint)
    if isinstance(found, JobOrRunCall):
        _check_one(action, found)
    return Call(action, found, keys)


def _check_one(action: str, given: JobOrRunCall) -> None:
    """Check that exactly one of job and run is given. Raises: UsageError."""
    if given.job is None and given.run is None:
        raise UsageError(f"{action}: job or run is missing", hint="write job: heartbeat, or run: heartbeat:7")
    if given.job is not None and given.run is not None:
        raise UsageError(f"{action}: job and run are both given", hint="give one of them; a run already names its job")


def _meant(name: str, value: Any) -> Any:
    """The value of a job key. Models often send an object as its JSON text."""
    key, _, position = name.partition(".")
    if key not in _STRUCTURED or (position and not (key == "schedule" and position.isdigit())):
        return value  # below these keys, text stays text: an env variable may contain JSON
    if key == "schedule" and isinstance(value, list):
        return [_object(name, each) for each in value]
    return _object(name, value)


def _object(name: str, value: Any) -> Any:
    """The object or list that a text encodes; other values unchanged."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return value_of(value)
    except TextError as error:
        raise UsageError(
            f"{name} looks like JSON text but is not valid: {error.message}",
            hint="give the object or list itself, not as text",
        ) from None


def _example(shape: type[Shape], fault: KeyFault) -> str:
    """An example for an argument that is not text. The hint for files would show only the value."""
    field = shape.model_fields.get(str(fault.path[0])) if fault.path and fault.path[0] in _COLLECTIONS else None
    if field is None or not field.examples or fault.code != "value.type":
        return ""
    return f"write {fault.path[0]}: {json.dumps(field.examples[0], ensure_ascii=False)}"
