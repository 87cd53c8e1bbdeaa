"""The result of a pass, and the report about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from scheduler.core import views
from scheduler.core.plan.plan import Plan
from scheduler.core.values.facts import Job
from scheduler.core.values.instants import milliseconds
from scheduler.core.values.problems import Problem

if TYPE_CHECKING:
    from scheduler.core.changes import PlanJson


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """The result of a pass, or of planning one."""

    plan: Plan  # empty if nothing could be read
    at: datetime
    took: timedelta
    read: bool = True  # False: scheduler.yaml could not be, and nothing was applied
    held: str = ""  # why the files are not applied to the database now (S8)
    jobs: tuple[Job, ...] = ()  # as they were before the pass, which pauses and resumes none
    token_refused: bool = False
    recovered: tuple[str, ...] = ()  # runs of dead processes that were ended on the way
    no_provenance: str = ""  # why git, though there is a repository, could not give the files' provenance
    dropped: int = 0  # messages that waited for channels which are gone
    told: SyncReport | None = None  # of a pass in another process, whose plan is not here

    def report(self) -> SyncReport:
        if self.told is not None:
            return replace(self.told, recovered=self.recovered)
        done = {action.job_id for action in self.plan.actions if action.verb == "archive" or action.arms}
        took = max(0, milliseconds(self.took))
        json = views.plan_json(self.plan, now=self.at, duration_ms=took, held=self.held or None)
        json["drift"] = views.drift_json((job for job in self.jobs if job.id not in done), self.at)
        if self.dropped:
            json["dropped_deliveries"] = self.dropped
        return SyncReport(
            json=json,
            problems=self.plan.problems,
            read=self.read,
            left=self.plan.states,
            token_refused=self.token_refused,
            recovered=self.recovered,
            no_provenance=self.no_provenance,
            nothing_to_do=self.plan.nothing_to_do,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """The report about a pass. `to_json` carries it from a daemon to the command that asked."""

    json: PlanJson
    problems: tuple[Problem, ...]
    read: bool  # from here on as in `Synced`
    left: Mapping[str, int]  # unarchived jobs by sync state
    token_refused: bool = False
    recovered: tuple[str, ...] = ()
    no_provenance: str = ""
    nothing_to_do: bool = True

    def to_json(self) -> dict[str, Any]:
        """Without the problems, which are in `json` too."""
        found = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "problems"}
        return {**found, "left": dict(self.left), "recovered": list(self.recovered)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> SyncReport:
        problems = tuple(Problem.from_json(each) for each in found["json"]["problems"])
        return cls(**{**found, "problems": problems, "recovered": tuple(found["recovered"])})
