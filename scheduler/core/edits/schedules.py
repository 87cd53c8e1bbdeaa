"""Replace the schedule in a file. Keys that the new schedule does not name are kept if they still have a meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scheduler.core.values.spec import MANUAL

KINDS = ("cron", "every", "at")
# The keys that have a meaning with each kind. A manual schedule has none.
_BESIDE = {
    "cron": ("timezone", "jitter", "starts", "ends"),
    "every": ("phase", "jitter", "starts", "ends"),
    "at": ("jitter",),
}
PARTS = ("timezone", "phase", "jitter", "starts", "ends")
_WHOLE = "schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescheduled:
    """A schedule to write, and which keys that the new value does not name were kept or dropped."""

    value: Any
    kept: Mapping[str, Any] = field(default_factory=dict)
    dropped: Mapping[str, Any] = field(default_factory=dict)


def rescheduled(old: Any, new: Any) -> Rescheduled:
    """Apply `new` to `old`, both as written in a job file.

    A null removes a key. From a list of entries, only keys with the same value in all of them are kept. A value that
    is not a schedule is passed on unchanged, for the reader to reject.
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
        # A bare expression stays bare if no key is added to it.
        bare = [
            entry if isinstance(entry, str) and len(each) == 1 else each for entry, each in zip(new, told, strict=True)
        ]
        return Rescheduled(value=bare, kept=kept, dropped=dropped)
    stays_bare = isinstance(new, str) and not kept and not isinstance(old, dict)
    return Rescheduled(value=new if stays_bare else told[0], kept=kept, dropped=dropped)


def _siblings(old: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys besides the kind: those with the same value in all entries that have them, and the others."""
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
    """One entry with the keys that it keeps. Adds these to `kept`."""
    kinds = [key for key in KINDS if entry.get(key) is not None] or [key for key in KINDS if key in beside]
    wanted = (*kinds, *_BESIDE[kinds[0]]) if len(kinds) == 1 else ()
    stays = {
        key: beside[key]
        for key in wanted
        # All entries share one jitter: if one of them names it, it applies to all.
        if key in beside and key not in (named if key == "jitter" else entry)
    }
    kept |= stays
    given = {key: value for key, value in entry.items() if value is not None}
    if len(kinds) == 1 and kinds[0] in stays:  # the kind comes first, as usual
        return {kinds[0]: stays[kinds[0]], **given, **stays}
    return {**given, **stays}


def reschedule(
    old: Any, changes: Mapping[str, Any], unset: Sequence[str]
) -> tuple[Mapping[str, Any], Sequence[str], Rescheduled | None]:
    """The changes of an edit, the keys to unset, and the schedule to write; None if its kind does not change.

    A new kind set by its own key, such as schedule.every, replaces the current kind. A part of the schedule that is
    unset together with a new schedule is not kept.
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
    """Keys and their values, as text for people."""
    return ", ".join(
        f"{key} {' and '.join(value) if isinstance(value, list) else value}" for key, value in keys.items()
    )
