"""A new schedule in place of the one that is written: what it does not name stays where it still has a meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scheduler.core.values.spec import MANUAL

KINDS = ("cron", "every", "at")
# What has a meaning beside each kind; a schedule by hand has nothing beside it.
_BESIDE = {
    "cron": ("timezone", "jitter", "starts", "ends"),
    "every": ("phase", "jitter", "starts", "ends"),
    "at": ("jitter",),
}
PARTS = ("timezone", "phase", "jitter", "starts", "ends")
_WHOLE = "schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescheduled:
    """A schedule to write, and what became of the keys that the new value does not name."""

    value: Any
    kept: Mapping[str, Any] = field(default_factory=dict)
    dropped: Mapping[str, Any] = field(default_factory=dict)


def rescheduled(old: Any, new: Any) -> Rescheduled:
    """`new` over `old`, both as a job file has them.

    A key with null goes. Of a list of entries only what all of them have alike is kept. What is no schedule at all
    is handed on as it is, for the reader to refuse.
    """
    if not isinstance(new, str | dict | list) or not new:
        return Rescheduled(value=new)
    beside, unlike = _siblings(old)
    if new == MANUAL:
        return Rescheduled(value=new, dropped={**beside, **unlike})
    entries = new if isinstance(new, list) else [new]
    written = [{"cron": each} if isinstance(each, str) else each for each in entries]
    if not all(isinstance(each, dict) for each in written):
        return Rescheduled(value=new)
    named = {key for each in written for key in each}
    if not isinstance(new, list) and not named & set(KINDS):
        beside |= _kind_of(old)
    kept: dict[str, Any] = {}
    told = [_with_siblings(each, beside, named, kept) for each in written]
    dropped = {key: value for key, value in {**beside, **unlike}.items() if key not in kept and key not in named}
    if isinstance(new, list):
        # A bare expression that gets nothing beside it stays bare.
        bare = [
            entry if isinstance(entry, str) and len(each) == 1 else each for entry, each in zip(new, told, strict=True)
        ]
        return Rescheduled(value=bare, kept=kept, dropped=dropped)
    stays_bare = isinstance(new, str) and not kept and not isinstance(old, dict)
    return Rescheduled(value=new if stays_bare else told[0], kept=kept, dropped=dropped)


def _siblings(old: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What stands beside the kind: alike in all entries, and not."""
    entries = [each if isinstance(each, dict) else {} for each in (old if isinstance(old, list) else [old])]
    alike: dict[str, Any] = {}
    unlike: dict[str, Any] = {}
    for key in PARTS:
        values = [each.get(key) for each in entries]
        given = [value for value in values if value is not None]
        if given and all(value == given[0] for value in values):
            alike[key] = given[0]
        elif given:
            unlike[key] = list(dict.fromkeys(map(str, given)))
    return alike, unlike


def _without(old: Any, keys: set[str]) -> Any:
    if isinstance(old, list):
        return [_without(each, keys) for each in old]
    return {key: value for key, value in old.items() if key not in keys} if isinstance(old, dict) else old


def _kind_of(old: Any) -> dict[str, Any]:
    if isinstance(old, str):
        return {} if old == MANUAL else {"cron": old}
    return {key: old[key] for key in KINDS if old.get(key) is not None} if isinstance(old, dict) else {}


def _with_siblings(
    entry: Mapping[str, Any], beside: Mapping[str, Any], named: set[str], kept: dict[str, Any]
) -> dict[str, Any]:
    """One entry with what it keeps, which is noted in `kept`."""
    kinds = [key for key in KINDS if entry.get(key) is not None] or [key for key in KINDS if key in beside]
    wanted = (*kinds, *_BESIDE[kinds[0]]) if len(kinds) == 1 else ()
    stays = {
        key: beside[key]
        for key in wanted
        # All entries have one jitter: where one of them names it, that is meant for all.
        if key in beside and key not in (named if key == "jitter" else entry)
    }
    kept |= stays
    given = {key: value for key, value in entry.items() if value is not None}
    if len(kinds) == 1 and kinds[0] in stays:  # in its usual place, in front
        return {kinds[0]: stays[kinds[0]], **given, **stays}
    return {**given, **stays}


def reschedule(
    old: Any, changes: Mapping[str, Any], unset: Sequence[str]
) -> tuple[Mapping[str, Any], Sequence[str], Rescheduled | None]:
    """The changes of an edit with the schedule as it shall be written; None where they leave its kind alone.

    A new kind by its own key, as in schedule.every, takes the place of the one that is there. A part of the schedule
    that is unset beside a new one is not kept.
    """
    if _WHOLE in changes:
        if changes[_WHOLE] is None:
            return changes, unset, None
        gone = {key for name in unset if (key := name.removeprefix(f"{_WHOLE}.")) in PARTS and name != key}
        gone &= {key for told in _siblings(old) for key in told}
        found = rescheduled(_without(old, gone), changes[_WHOLE])
        left = [name for name in unset if name.removeprefix(f"{_WHOLE}.") not in gone or name in gone]
        return {**changes, _WHOLE: found.value}, left, found
    parts = {name: name.partition(".")[2] for name in [*changes, *unset] if name.startswith(f"{_WHOLE}.")}
    kinds = {key for name, key in parts.items() if key in KINDS and changes.get(name) is not None}
    present = set(_kind_of(old))
    if not present or not kinds or kinds & present or any(key not in (*KINDS, *PARTS) for key in parts.values()):
        return changes, unset, None
    found = rescheduled(old, {key: changes.get(name) for name, key in parts.items()})
    rest = {name: value for name, value in changes.items() if name not in parts}
    return {**rest, _WHOLE: found.value}, [name for name in unset if name not in parts], found


def schedule_words(keys: Mapping[str, Any]) -> str:
    """Keys and their values, for a person."""
    return ", ".join(
        f"{key} {' and '.join(value) if isinstance(value, list) else value}" for key, value in keys.items()
    )
