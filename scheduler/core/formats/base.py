"""What all shapes of keys share: their base class, how a key is described, and the values that several of them have."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from scheduler.core.formats import rules
from scheduler.core.values import units


def matching(pattern: str, **more: int | str) -> Any:
    """What the JSON Schema says of a text that a rule checks."""
    return Field(json_schema_extra={"pattern": pattern, **more})


def optional_key(description: str, *examples: Any, **limits: Any) -> Any:
    """An optional key. It is None if the file leaves it out."""
    return Field(default=None, description=description, examples=list(examples) or None, **limits)


Line = Annotated[str, AfterValidator(rules.one_line), matching(rules.LINE_PATTERN)]
EnvName = Annotated[str, AfterValidator(rules.env_name), matching(rules.ENV_PATTERN)]
Duration = Annotated[
    timedelta,
    BeforeValidator(rules.duration_value),
    WithJsonSchema({"type": "string", "pattern": units.DURATION_PATTERN}),
]


class Shape(BaseModel):
    """Base of all shapes: nothing is converted, and unknown keys are rejected."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    misplaced: ClassVar[Mapping[str, str]] = {}  # keys that belong elsewhere, with a hint that says where
    inner: ClassVar[Mapping[str, type[Shape]]] = {}  # shapes one level down; "*" for any key
