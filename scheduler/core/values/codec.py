"""Frozen dataclasses as JSON and back: one rule per type, so that a new field is declared in one place.

A timedelta is whole milliseconds under a key ending in `_ms`, an instant its text in UTC, an enum its value, a Decimal
its digits as text, a tuple a list. A tuple of pairs is an object, and so is a mapping of values, by their `name`.
A type without a rule stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from operator import attrgetter
from types import UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from scheduler.core.values.instants import instant, milliseconds, parse_instant


def added_later(default: Any) -> Any:
    """A field that earlier versions did not have: data that they stored lacks its key, and means the default."""
    return field(default=default, metadata={"absent": "read"})


def unsaid(default: Any, *, key: str = "") -> Any:
    """A field whose key is written only if its value differs from the default."""
    return field(default=default, metadata={"absent": "written", "key": key})


def unsaid_mapping() -> Any:
    """A mapping whose key is written only if it has entries."""
    return field(default_factory=dict, metadata={"absent": "written", "silent": {}})


class Stored:
    """Base of the dataclasses of this package that are stored as JSON. The keys are in the order of the fields."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        found = {}
        for name, key, encode, silent in (_plans.get(type(self)) or _planned(type(self))).encoding:
            value = getattr(self, name)
            if silent is MISSING or value != silent:
                found[key] = value if encode is None or value is None else encode(value)
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """The value from which `to_json` made this; other keys are ignored.

        Raises: KeyError if a key is missing; ValueError, TypeError, AttributeError for values that the type does not
        allow.
        """
        plan = _plans.get(cls) or _planned(cls)
        decoding, defaults = plan.decoding, plan.later
        values = {}
        for key, value in found.items():
            if key in decoding and (key not in defaults or defaults[key] != value):
                name, decode = decoding[key]
                values[name] = value if decode is None else decode(value)
        if not plan.required <= values.keys():
            raise KeyError(next(key for key, (name, _) in decoding.items() if name in plan.required - values.keys()))
        return cls(**values)


def decoders(kind: type[Any]) -> Mapping[str, tuple[str, Callable[[Any], Any] | None]]:
    """The fields of any dataclass by key: name, and how to read a value back; None means as it is."""
    return _planned(kind).decoding


def later_defaults(kind: type[Stored]) -> Mapping[str, Any]:
    """As JSON, by key: what the `added_later` fields of a class mean if they are absent."""
    return _planned(kind).later


_Code = Callable[[Any], Any]


@dataclass(slots=True)
class _Plan:
    """The rules of a class, looked up once: they are needed for each definition that is read."""

    encoding: list[tuple[str, str, _Code | None, object]]  # name, key, encoder, and the value that is not written
    decoding: dict[str, tuple[str, _Code | None]]  # name and decoder, by key
    required: set[str]  # names
    later: dict[str, Any]


_plans: dict[type, _Plan] = {}


def _planned(kind: type[Any]) -> _Plan:
    if kind in _plans:
        return _plans[kind]
    hints = get_type_hints(kind)
    plan = _Plan([], {}, set(), {})
    for each in fields(kind):
        absent = each.metadata.get("absent")
        suffix, encode, decode = _codes(hints[each.name])
        key = each.metadata.get("key") or each.name + suffix
        plan.encoding.append(
            (each.name, key, encode, each.metadata.get("silent", each.default) if absent == "written" else MISSING)
        )
        plan.decoding[key] = each.name, decode
        if absent is None:
            plan.required.add(each.name)
        elif absent == "read":
            plan.later[key] = each.default if encode is None or each.default is None else encode(each.default)
    _plans[kind] = plan  # stored only when complete: other threads look it up
    return plan


def _codes(hint: Any) -> tuple[str, _Code | None, _Code | None]:
    """What the key of a type ends with, how a value other than None is written, and how one is read."""
    origin, kinds = get_origin(hint) or hint, get_args(hint)
    if origin is UnionType:  # with None
        suffix, encode, read = _codes(kinds[0])
        return suffix, encode, read and (lambda value: None if value is None else read(value))
    if origin is tuple and get_origin(kinds[0]) is tuple:
        return "", dict, lambda value: tuple(sorted(value.items()))
    if origin is tuple:
        _, encode, decode = _codes(kinds[0])
        return (
            "",
            list if encode is None else lambda value: list(map(encode, value)),
            tuple if decode is None else lambda value: tuple(map(decode, value)),
        )
    if origin is Mapping and issubclass(kinds[1], Stored):
        return "", _by_name, lambda value: {name: kinds[1].from_json({**value[name], "name": name}) for name in value}
    if origin is Mapping:
        return "", dict, None
    if isinstance(origin, type):
        if issubclass(origin, Stored):
            return "", origin.to_json, origin.from_json
        if issubclass(origin, Enum):
            return "", attrgetter("value"), origin
        if origin is timedelta:
            return "_ms", milliseconds, lambda value: timedelta(milliseconds=value)
        if origin is Decimal:
            return "", _plain, Decimal
        if origin is datetime:
            return "", instant, parse_instant
    return "", None, None


def _plain(number: Decimal) -> str:
    """Without an exponent and without zeros at its end."""
    return f"{number.normalize():f}"


def _by_name(values: Mapping[str, Stored]) -> dict[str, Any]:
    found = {name: values[name].to_json() for name in sorted(values)}
    return {name: {key: value for key, value in each.items() if key != "name"} for name, each in found.items()}
