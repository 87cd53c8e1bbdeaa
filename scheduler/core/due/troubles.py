"""What can be wrong with a root, as somebody is told it: one streak for each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler.core.due.place import PlaceFault
from scheduler.core.values.events import EventKind
from scheduler.core.values.problems import Problem

ROOT_STREAKS = "root/"
MOST_MEMBERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that is wrong."""

    kind: EventKind
    name: str = ""  # which of that kind
    text: str  # one sentence
    hint: str = ""
    members: tuple[str, ...] = ()  # its parts, one line each: a new one is news

    @property
    def key(self) -> str:
        """The key of its streak."""
        return f"{ROOT_STREAKS}{self.kind}/{self.name}" if self.name else f"{ROOT_STREAKS}{self.kind}"

    @property
    def channel(self) -> str | None:
        """The channel that cannot tell it."""
        return channel_of_key(self.key)


def kind_of_key(key: str) -> EventKind:
    return EventKind(key.removeprefix(ROOT_STREAKS).partition("/")[0])


def channel_of_key(key: str) -> str | None:
    return key.partition(f"{EventKind.CHANNEL}/")[2] if kind_of_key(key) is EventKind.CHANNEL else None


def trouble_of_place(fault: PlaceFault) -> Trouble:
    hint = "firing resumes by itself; these slots count as no errors"
    return Trouble(kind=EventKind.PLACE, name=fault.key, text=fault.message, hint=hint)


def trouble_of_files(problems: Iterable[Problem]) -> list[Trouble]:
    """The errors in files, as one trouble. Warnings are none."""
    lines = sorted(f"{each.path}:{each.line}: {each.message}" for each in problems if each.is_error)
    if not lines:
        return []
    text = "files have errors; their jobs keep the last good definition"
    members = tuple(lines[:MOST_MEMBERS])
    return [Trouble(kind=EventKind.PROBLEMS, text=text, hint="`scheduler validate` shows all of them", members=members)]
