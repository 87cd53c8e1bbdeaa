"""Writes the generated parts of docs/reference, tables of keys from the shapes and commands from click, and the JSON
Schemas in scheduler/schemas.

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`; everything else on a page is
written by hand and left alone. `--check` writes nothing and fails where a page is out of date.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from pydantic.fields import FieldInfo

from scheduler import schemas
from scheduler.cli.group import cli
from scheduler.cli.helping import GLOBAL
from scheduler.core.formats import rules
from scheduler.core.formats.base import Shape
from scheduler.core.formats.channel_shapes import AlertsShape, ChannelShape, HeartbeatShape
from scheduler.core.formats.json_schema import SCHEMAS
from scheduler.core.formats.root_shapes import (
    AgentsShape,
    LimitsShape,
    PriceShape,
    PruneShape,
    RetentionShape,
    RootBudgetShape,
    RootShape,
    RunnerShape,
    WorktreeShape,
)
from scheduler.core.formats.shapes import (
    BudgetShape,
    CatchUpShape,
    CheckShape,
    DefaultsShape,
    ExpectShape,
    JobShape,
    RetryShape,
    ScheduleShape,
)
from scheduler.core.values import units
from scheduler.core.values.access import AccessSettings
from scheduler.root.place import Place
from scheduler.service.root import Root
from scheduler.tool.arguments import CALLS, EDIT_TOOL, READ_TOOL, TOOLS, WITH_KEYS
from scheduler.tool.schema import DESCRIPTIONS, input_schema
from scheduler.web.app import build_app
from scheduler.web.guard import AccessGuard

REFERENCE = Path(__file__).parent / "reference"
_PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> dict[str, dict[str, str]]:
    """The generated parts of every page, by file name and name of the part."""
    return {
        "job-file.md": {
            "job-keys": key_table(JobShape),
            "schedule-keys": key_table(ScheduleShape),
            "retry-keys": key_table(RetryShape),
            "catch-up-keys": key_table(CatchUpShape),
            "check-keys": key_table(CheckShape),
            "expect-keys": key_table(ExpectShape),
            "budget-keys": key_table(BudgetShape),
        },
        "scheduler-yaml.md": {
            "root-keys": key_table(RootShape),
            "defaults-keys": key_table(DefaultsShape),
            "runner-keys": key_table(RunnerShape),
            "limits-keys": key_table(LimitsShape),
            "prune-keys": key_table(PruneShape),
            "retention-keys": key_table(RetentionShape),
            "agents-keys": key_table(AgentsShape),
            "worktree-keys": key_table(WorktreeShape),
            "price-keys": key_table(PriceShape),
            "root-budget-keys": key_table(RootBudgetShape),
            "channel-keys": key_table(ChannelShape),
            "alerts-keys": key_table(AlertsShape),
            "heartbeat-keys": key_table(HeartbeatShape),
        },
        "tool.md": {
            "tool-reads": table(("action", "does", "arguments"), _actions(READ_TOOL)),
            "tool-edits": table(("action", "does", "arguments"), _actions(EDIT_TOOL)),
            "tool-arguments": table(("argument", "value", "meaning"), _arguments()),
            "tool-read-description": f"```text\n{DESCRIPTIONS[READ_TOOL]}```\n",
            "tool-edit-description": f"```text\n{DESCRIPTIONS[EDIT_TOOL]}```\n",
        },
        "commands.md": {
            "global-options": option_table(param for param in cli.params if param.name in (*GLOBAL, "version")),
            **{f"command-{name}": command_text(name, command) for name, command in sorted(cli.commands.items())},
        },
        "api.md": {f"routes-{tag}": route_table(tag) for tag in ("jobs", "edits", "runs", "root", "rest")},
    }


# -- keys ------------------------------------------------------------------------------------


def key_table(shape: type[Shape]) -> str:
    """One row per key, the required ones first."""
    schema = shape.model_json_schema()
    required = schema.get("required", [])
    names = sorted(schema["properties"], key=lambda name: name not in required)
    rows = []
    for name in names:
        found = schema["properties"][name]
        default = "required" if name in required else _default(name, found.get("default"))
        rows.append((f"`{name}`", _value(found), default, _meaning(shape.model_fields[name])))
    return table(("key", "value", "default", "meaning"), rows)


def _default(name: str, value: Any) -> str:
    if value in (None, [], {}):
        return "–"
    if isinstance(value, list):
        return ", ".join(f"`{each}`" for each in value)
    return f"`{units.format_size(value) if name.endswith('_bytes') else value}`"


def _meaning(field: FieldInfo) -> str:
    assert field.description, "every key has a description"
    examples = [f"`{_flow(each)}`" for each in field.examples or ()]
    return f"{field.description} Example: {', '.join(examples)}" if examples else field.description


def _flow(value: Any) -> str:
    """A value as one writes it in YAML on one line."""
    match value:
        case list():
            return f"[{', '.join(_flow(each) for each in value)}]"
        case dict():
            return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
        case str() if value.startswith("@") or ("*" in value and not value.startswith('"')):
            return f'"{value}"'
        case _:
            return str(value)


def _value(found: Mapping[str, Any]) -> str:
    """What a key may hold, in the words of the pages."""
    kinds = [each for each in found.get("anyOf", [found]) if each.get("type") != "null"]
    return " or ".join(dict.fromkeys(_kind(each) for each in kinds))


def _kind(found: Mapping[str, Any]) -> str:
    match found:
        case {"const": value}:
            return f"`{value}`"
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"anyOf": [first, *_], "type": "string"}:
            return _kind(first)
        case {"pattern": units.DURATION_PATTERN}:
            return "duration"
        case {"pattern": units.SIZE_PATTERN}:
            return "size"
        case {"pattern": rules.INSTANT_PATTERN}:
            return "instant"
        case {"type": "string"}:
            return "text"
        case {"type": "boolean"}:
            return "`true`, `false`"
        case {"type": "integer" | "number", "minimum": low, "maximum": high}:
            return f"{low} to {high}"
        case {"type": "number", "exclusiveMinimum": low, "maximum": high}:
            return f"above {low}, to {high}"
        case {"type": "integer"}:
            return "number"
        case {"type": "array", "items": items}:
            return f"list of {_value(items)}"
        case _:
            return "mapping"


# -- the tool --------------------------------------------------------------------------------


def _actions(tool: str) -> Iterable[Iterable[str]]:
    for action, shape in TOOLS[tool].items():
        required = [f"**`{name}`**" for name, field in shape.model_fields.items() if field.is_required()]
        others = [f"`{name}`" for name, field in shape.model_fields.items() if not field.is_required()]
        keys = ["keys of the job"] if action in WITH_KEYS else []
        yield f"`{action}`", _one_line(shape.__doc__), ", ".join([*required, *others, *keys]) or "–"


def _arguments() -> Iterable[Iterable[str]]:
    """Those of both tools, but for the keys of a job; one that means two things has a line for each."""
    found: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for tool in TOOLS:
        for name, about in input_schema(tool)["properties"].items():
            if name != "action" and any(name in shape.model_fields for shape in CALLS.values()):
                found.setdefault(name, []).append((tool, about))
    for name, each in found.items():
        meanings = dict.fromkeys(about["description"] for _, about in each)
        yield f"`{name}`", _value(each[0][1]), " ".join(meanings)


# -- commands --------------------------------------------------------------------------------


def command_text(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"scheduler {name}")
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
    own = [
        param
        for param in command.params
        if isinstance(param, click.Option) and param.name not in GLOBAL and not param.hidden
    ]
    text = f"```text\n{usage}\n```\n\n{_one_line(command.help)}\n"
    return f"{text}\n{option_table(own)}" if own else text


def option_table(options: Iterable[click.Parameter]) -> str:
    rows = []
    for option in options:
        assert isinstance(option, click.Option)
        rows.append((", ".join(f"`{name}`" for name in option.opts) + _metavar(option), _one_line(option.help)))
    return table(("option", "meaning"), rows)


def _metavar(option: click.Option) -> str:
    if option.is_flag or option.count:
        return ""
    if isinstance(option.type, click.Choice):
        return " " + ", ".join(f"`{choice}`" for choice in option.type.choices)
    return f" {option.metavar or (option.type.name or 'value').upper().removesuffix(' RANGE')}"


# -- the API ---------------------------------------------------------------------------------


def route_table(tag: str) -> str:
    """The routes with this tag in the OpenAPI document; `rest`: all that have none of those with a table."""
    rows = []
    for path, operations in openapi()["paths"].items():
        for method, about in operations.items():
            tags = {"jobs", "edits", "runs", "root"}.intersection(about.get("tags", ()))
            if tag in tags or (tag == "rest" and not tags):
                does = _one_line(about["description"])
                given = ", ".join(_parameters(about)) or "–"
                rows.append((f"`{method.upper()} {path}`", does, about.get("x-role", "–"), given))
    return table(("route", "does", "role", "parameters and keys"), rows)


@functools.cache
def openapi() -> Mapping[str, Any]:
    place = Place(root=Path("/"), state=Path("/"), db=Path("/none"))  # nothing is read
    root = Root(place=place, actor="nobody", environ={})
    return build_app(root, AccessGuard(root, AccessSettings())).openapi()


def _parameters(about: Mapping[str, Any]) -> Iterable[str]:
    """The names of parameters that are not in the path, of headers, and of the keys of a body."""
    for each in about.get("parameters", ()):
        if each["in"] != "path":
            name = each["name"].title().replace("-Id", "-ID") if each["in"] == "header" else each["name"]
            yield f"`{name}`"
    content = about.get("requestBody", {}).get("content", {}).get("application/json", {})
    for each in (content.get("schema", {}), *content.get("schema", {}).get("anyOf", ())):
        if "$ref" in each:
            shape = openapi()["components"]["schemas"][each["$ref"].rpartition("/")[2]]
            required = shape.get("required", ())
            yield from (f"**`{name}`**" if name in required else f"`{name}`" for name in shape["properties"])


# -- pages -----------------------------------------------------------------------------------


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = tuple(columns)
    lines = [columns, ("---",) * len(columns), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def filled(text: str, parts: Mapping[str, str]) -> str:
    """A page with its generated parts as they should be. Raises: ValueError where page and parts do not match."""
    found = [name for _, name, _ in _PART.findall(text)]
    if sorted(found) != sorted(parts):
        raise ValueError(f"the page has {sorted(found)}, generated are {sorted(parts)}")
    return _PART.sub(lambda part: f"{part[1]}\n{parts[part[2]]}\n{part[3]}", text)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="write nothing; fail where a page is out of date")
    check = options.parse_args().check
    stale = []
    for name, parts in pages().items():
        page = REFERENCE / name
        before = page.read_text(encoding="utf-8")
        try:
            after = filled(before, parts)
        except ValueError as error:
            sys.exit(f"{page}: {error}")
        if after != before:
            stale.append(name)
            if not check:
                page.write_text(after, encoding="utf-8")
    for schema in SCHEMAS:
        file = schemas.path(schema)
        if not file.exists() or file.read_text(encoding="utf-8") != schemas.written(SCHEMAS[schema]()):
            stale.append(file.name)
            if not check:
                file.write_text(schemas.written(SCHEMAS[schema]()), encoding="utf-8")
    for name in stale:
        print(f"{'out of date' if check else 'wrote'}: {name}", file=sys.stderr)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
