"""What clients are told about the two tools: names, descriptions and schemas. Short, because a model reads them at
every turn.

A schema is one flat mapping, because models seldom understand a choice of mappings. It has names, types and
meanings. Values are checked when a call arrives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scheduler.core.formats.json_schema import job_schema, schema_of
from scheduler.core.formats.shapes import JobShape
from scheduler.tool.arguments import EDIT_TOOL, KEYS, READ_TOOL, TOOLS, WITH_KEYS, EditCall, JobOrRunCall

Json = dict[str, Any]
_LONGEST = 80  # characters of a key's meaning, if there is no shorter one here
# The keys of a job, in fewer words than in the reference.
_BRIEF = {
    "name": "What people call it.",
    "description": "What it is for.",
    "owner": "Who is responsible.",
    "tags": "Labels.",
    "enabled": "false: never due.",
    "schedule": 'Cron text, {"cron", "timezone"}, {"every": "2h"}, {"at": "2027-01-31T09:00:00+01:00"}, "manual", '
    "or a list.",
    "task": "The whole text.",
    "task_source_path": "File of the text, instead of task.",
    "runner": "A runner in scheduler.yaml.",
    "env": "Text values.",
    "timeout": "Duration.",
    "concurrency": "If due while it is running.",
    "catch_up": "Slots missed in downtime: none, latest, all.",
    "failure_limit": "Consecutive errors that stop it.",
    "retry": "attempts, delay, backoff, max_delay, on.",
    "expires": "Not due after it.",
    "expect_every": "Alarm without a success for this long.",
    "model": "One it allows.",
    "args": "Options it allows.",
    "workdir": "A folder it allows, or fresh.",
    "task_queue": "Of workers; or local.",
    "expect": "result: nonempty or /regex/; file: PATH.",
    "check": "runner, task or task_source_path, output: exit 0 runs, 10 skips.",
    "budget": "per_run, per_day, per_month.",
    "deliver": "Channels to tell.",
    "deliver_on": "success, failure, every_failure, recovery, skip.",
    "ping": "URL called at start and end.",
}


def input_schema(tool: str) -> Json:
    """The input schema of a tool."""
    calls = TOOLS[tool]
    properties: Json = {"action": {"type": "string", "enum": [*calls], "description": " ".join(_actions(tool))}}
    for shape in calls.values():
        for name, found in schema_of(shape).get("properties", {}).items():
            properties.setdefault(name, {**_plain(found, {}), "description": found["description"]})
    if tool == EDIT_TOOL:
        jobs = job_schema()
        properties |= {name: _key(name, jobs["properties"][name], jobs["$defs"]) for name in KEYS}
    return {"type": "object", "properties": properties, "required": ["action"], "additionalProperties": False}


def _actions(tool: str) -> Iterator[str]:
    """Each action with its arguments; a `?` marks optional ones."""
    common = {*EditCall.model_fields, "if_version"} - {"job"}  # arguments of every edit: described once
    for action, shape in TOOLS[tool].items():
        fields = {name: field for name, field in shape.model_fields.items() if name not in common}
        if issubclass(shape, JobOrRunCall):
            told = ["job or run", *(f"{name}?" for name in fields if name not in ("job", "run"))]
        else:
            told = [f"{name}{'' if field.is_required() else '?'}" for name, field in fields.items()]
        told += ["keys of the job"] if action in WITH_KEYS else []
        yield f"{action}({', '.join(told)}): {' '.join((shape.__doc__ or '').split())}"


def _key(name: str, found: Json, definitions: Json) -> Json:
    meaning = _BRIEF.get(name) or str(JobShape.model_fields[name].description)
    if len(meaning) > _LONGEST and name not in _BRIEF:
        meaning = meaning[:_LONGEST].rpartition(" ")[0] + " ..."
    return {**_plain(found, definitions), "description": meaning}


def _plain(found: Json, definitions: Json) -> Json:
    """Only type and choices, without null: optional arguments are simply left out."""
    kinds = [kind for kind in _types(found, definitions) if kind != "null"]
    plain: Json = {"type": kinds[0] if len(kinds) == 1 else kinds}
    if "enum" in found:
        plain["enum"] = [each for each in found["enum"] if each is not None]
    if "array" in kinds:
        items = found.get("items", {})
        plain["items"] = {"type": items["type"]} if isinstance(items.get("type"), str) else {}
    return plain


def _types(found: Json, definitions: Json) -> list[str]:
    """The types that the schema allows for a value."""
    if "$ref" in found:
        return _types(definitions[found["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in found:
        return list(dict.fromkeys(kind for each in found["anyOf"] for kind in _types(each, definitions)))
    kinds = found.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


TITLES = {READ_TOOL: "Read scheduled jobs", EDIT_TOOL: "Edit and run scheduled jobs"}
DESCRIPTIONS: Mapping[str, str] = {
    READ_TOOL: """\
Reads the jobs of a scheduler: what they are, when they run, what they did and why. Jobs are files in a git repository.
Changes nothing. Answers are short and leave out keys without a value; full: true gives all keys of a list.

Examples:
    {"action": "show", "job": "heartbeat"}
    {"action": "history", "job": "heartbeat", "n": 5}
    {"action": "output", "run": "heartbeat:7"}
""",
    EDIT_TOOL: """\
Edits the jobs of a scheduler in their files, and runs, pauses, resumes and cancels them. An edit changes only what it
names; the job keeps its id, counters and history, so never delete and recreate one. A new schedule keeps the timezone,
jitter, starts and ends that it does not name; null removes one. Edits take commit, branch, message and (except
create) if_version.

A job is a file: Markdown with the task as the body,

    ---
    id: heartbeat
    schedule: "0 * * * *"
    ---
    You are woken once an hour. Look at the inbox.

or YAML with task or task_source_path. Cron uses the local time of its timezone, or of the one in scheduler.yaml.
Durations are text: 90s, 20m, 1h30m.

Examples:
    {"action": "update", "job": "heartbeat", "schedule": {"every": "2h"}}
    {"action": "update", "job": "heartbeat", "task": "Look at the inbox first.\\n", "if_version": "3-0a1b2c3d"}
    {"action": "update", "job": "heartbeat", "set": {"retry.attempts": 3}, "unset": ["description"]}
    {"action": "create", "job": "digest", "schedule": {"cron": "0 18 * * *", "timezone": "Europe/Berlin"},
     "task": "Sum up the day.\\n"}
    {"action": "run", "job": "heartbeat", "wait": true}

task is the whole text: read it first (schedule_read task). An edit answers with its diff, what it proposes
(schedule, next fires) and when it takes effect: now, next_sync, or pending_branch, which a person has to merge. agents
in scheduler.yaml says what you can change. An error says what to do instead, and means that nothing was changed.
""",
}
