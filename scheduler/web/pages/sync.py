"""Sync: which revision is where, what is wrong, what waits, what the guard holds, and what differs from the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.service.holds import differs
from scheduler.service.root import Root
from scheduler.service.sync import plan_sync, problem_lines

if TYPE_CHECKING:
    from scheduler.core.answers import ProblemJson
    from scheduler.core.changes import PlanJson


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A commit, named by where it is."""

    name: str
    commit: str | None
    at: str | None  # since when that is known
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    problem: ProblemJson
    excerpt: str | None  # the line at which it points


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    revisions: tuple[Revision, ...]
    plan: PlanJson  # what a sync would change now
    waits: bool  # it would change something
    wrong: tuple[Wrong, ...]


def page(root: Root, query: Mapping[str, str]) -> View:
    """Reads the files that have changed since they were applied, as `plan` does."""
    found = plan_sync(root)
    lines = problem_lines(root, found.problems)
    shown = zip(found.json["problems"], lines, strict=True)
    return View(
        revisions=_revisions(root, found.json),
        plan=found.json,
        waits=_waits(found.json),
        wrong=tuple(Wrong(problem=problem, excerpt=line) for problem, line in shown),
    )


def _revisions(root: Root, plan: PlanJson) -> tuple[Revision, ...]:
    note = "with files that are not committed" if differs(root) else ""
    if root.place.followed is None:
        return (Revision(name="checked out", commit=plan["revision"], at=None, note=note),)
    looked = root.looked()
    return (
        Revision(name="in the remote", commit=looked.tip, at=looked.reached_at),
        Revision(name="tried", commit=looked.tip, at=looked.looked_at, note=looked.trouble),
        Revision(name="in force", commit=looked.commit, at=looked.applied_at, note=note),
    )


def _waits(plan: PlanJson) -> bool:
    jobs = (plan["created"], plan["archived"], plan["revived"], plan["moved"], plan["updated"], plan["task_changed"])
    return any(jobs) or bool(plan["root_changed"])
