"""What a pass found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scheduler.core.values.problems import Problem

if TYPE_CHECKING:
    from scheduler.core.answers import PlanJson


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What a pass, or the plan of one, found. `to_json` carries it from a daemon to the command that asked."""

    json: PlanJson
    problems: tuple[Problem, ...]
    read: bool = True  # False: scheduler.yaml could not be, and nothing was applied
    left: Mapping[str, int] = field(default_factory=dict)  # unarchived jobs by sync state
    token_refused: bool = False
    recovered: tuple[str, ...] = ()  # runs of dead processes that were ended on the way
    no_provenance: str = ""  # why git, though there is a repository, could not say where the files stand
    nothing_to_do: bool = True

    @property
    def guarded(self) -> bool:
        return self.json["guard"] is not None

    @property
    def held(self) -> str:
        """Why nothing of the files is carried into the database at present (S8); empty if nothing holds it."""
        return self.json["held"] or ""

    def to_json(self) -> dict[str, Any]:
        return {
            "json": self.json,
            "read": self.read,
            "left": dict(self.left),
            "token_refused": self.token_refused,
            "recovered": list(self.recovered),
            "no_provenance": self.no_provenance,
            "nothing_to_do": self.nothing_to_do,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Synced:
        problems = tuple(Problem.from_json(each) for each in found["json"]["problems"])
        return cls(**{**found, "problems": problems, "recovered": tuple(found["recovered"])})
