"""JSON Schema of the two file formats, for editors: the shapes, less what only pydantic needs, plus rules between keys.

It accepts every file that the reader accepts. Only the reader rejects what a schema cannot express, such as a cron that
never fires.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scheduler.core.formats.base import Shape
from scheduler.core.formats.root_shapes import RootShape
from scheduler.core.formats.rootfile import SECTIONS
from scheduler.core.formats.shapes import JobShape
from scheduler.core.formats.yamlfile import read_yaml

Json = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NOTHING = {"type": "null"}
_TEXTS = ("task", "task_source_path")  # at most one of them


def job_schema() -> Json:
    """The schema of one document of a YAML job file, or of the front matter of a Markdown one."""
    found = schema_of(JobShape)
    # A Markdown job has its task in the body, so no rule here can require one.
    found["not"] = _with_values(_TEXTS)
    return found


def root_schema() -> Json:
    """The schema of scheduler.yaml."""
    found = schema_of(RootShape)
    for name in SECTIONS:  # may be left empty
        section = found["properties"][name]
        about = {key: section.pop(key) for key in ("description", "default") if key in section}
        about["description"] = RootShape.model_fields[name].description  # omitted if it is the section's own
        found["properties"][name] = {**about, "anyOf": [section, _NOTHING]}
    return found


SCHEMAS: Mapping[str, Callable[[], Json]] = {"job": job_schema, "root": root_schema}


def schema_of(shape: type[Shape]) -> Json:
    """The schema of any shape."""
    found = _tidied(shape.model_json_schema(ref_template="#/$defs/{model}"))
    definitions = {_short(name): each for name, each in found.pop("$defs", {}).items()}
    if "Schedule" in definitions:
        kinds = [_with_values((kind,)) for kind in ("cron", "every", "at")]
        definitions["Schedule"]["oneOf"] = kinds
    if "Check" in definitions:
        definitions["Check"]["not"] = _with_values(_TEXTS)
    return {"$schema": DIALECT, **found, "$defs": definitions}


def _with_values(keys: Sequence[str]) -> Json:
    """Matches a mapping in which all of these keys have a value other than null."""
    return {"required": list(keys), "properties": {key: {"not": _NOTHING} for key in keys}}


def _short(name: str) -> str:
    return name.removesuffix("Shape")


def _tidied(found: Any, *, names: bool = False) -> Any:
    """Without titles, which repeat the keys, and without defaults of null. names: the keys are names of properties."""
    if isinstance(found, list):
        return [_tidied(each) for each in found]
    if not isinstance(found, dict):
        return found
    if names:
        return {name: _tidied(each) for name, each in found.items()}
    tidy: Json = {}
    for key, value in found.items():
        if key in ("properties", "patternProperties", "$defs"):
            tidy[key] = _tidied(value, names=True)
        elif key == "$ref":
            tidy[key] = _short(value)
        elif key == "examples":
            tidy[key] = [_example(each) for each in value]
        elif key == "default":
            tidy |= {} if value is None else {key: value}
        elif key != "title" or "$defs" in found:
            tidy[key] = _tidied(value)
    if "patternProperties" in tidy:
        tidy["additionalProperties"] = False
    return _nullable(tidy)


def _nullable(found: Json) -> Json:
    """`X or null` as one schema with two types, which editors explain better than a choice between two schemas."""
    choices = found.get("anyOf", [])
    if len(choices) != 2 or choices[1] != _NOTHING or not isinstance(choices[0].get("type"), str):
        return found
    given: Json = {**choices[0]}
    given["type"] = [given["type"], "null"]
    if "const" in given:
        given["enum"] = [given.pop("const")]
    if "enum" in given:
        given["enum"] = [*given["enum"], None]
    return {**{key: value for key, value in found.items() if key != "anyOf"}, **given}


def _example(value: Any) -> Any:
    """An example as a value, if the shape holds it as people write it in YAML."""
    if isinstance(value, str) and value[:1] in ('"', "[", "{"):
        return read_yaml(value)[0].data
    return value
