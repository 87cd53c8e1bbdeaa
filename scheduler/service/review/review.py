"""What a merge would change: two commits, or a commit and the files on disk, compared by the plan of every pass (S5).

Uses no database, runs nothing, resolves no secrets. A first pass over the base takes the place of the database.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from scheduler.core import views
from scheduler.core.formats.checkout import conversion_problems
from scheduler.core.plan.action import Change
from scheduler.core.plan.clocks import Clocks, clocks
from scheduler.core.plan.costs import changed_costs, costs_json
from scheduler.core.plan.desired import Rest
from scheduler.core.plan.marks import Marks
from scheduler.core.plan.plan import Plan, plan
from scheduler.core.plan.review import (
    TaskDiff,
    Text,
    changed_programs,
    changed_texts,
    program_diffs,
    review_json,
    task_diffs,
)
from scheduler.core.values.facts import Fault, FileFacts, Job
from scheduler.core.values.instants import milliseconds
from scheduler.core.values.problems import Problem
from scheduler.core.values.settings import ROOT_FILE, Settings
from scheduler.git.objects import pointed_at
from scheduler.git.run import GitError
from scheduler.git.tree import head as head_of
from scheduler.git.tree import read_tree
from scheduler.root.committed import CommitFiles
from scheduler.root.excerpts import source_lines
from scheduler.root.files import WorkingTree
from scheduler.root.place import Place
from scheduler.root.runner_files import RUNNER_FILE_BYTES
from scheduler.root.tasks import read_task
from scheduler.service.review.marking import marked
from scheduler.service.review.revisions import Compared, compare, folder_in_repository
from scheduler.service.review.sides import Snapshot, read_sides
from scheduler.service.root import Root
from scheduler.service.sync import cost_changes
from scheduler.sync.synced import Synced, SyncReport

if TYPE_CHECKING:
    from scheduler.core.changes import CostChangeJson, ReviewJson


MOST_COMPARED = 1024 * 1024  # size of a program
_NOT_KEPT = Text(None, "the database has no text until it runs; compare two commits with --base")


@dataclass(frozen=True, slots=True, kw_only=True)
class Review(SyncReport):
    """A plan with what a person needs to decide."""

    json: ReviewJson
    diffs: tuple[TaskDiff, ...] = ()
    folder: str = ""  # the root, relative to the top of its repository; for the places of files
    sources: Sequence[str | None] = ()  # the line at which each problem points
    marks: Marks = field(default_factory=Marks)  # empty unless requested
    clocks: Clocks = field(default_factory=Clocks)  # the same


def review(
    root: Root,
    *,
    base: str | None = None,
    head: str | None = None,
    direct: bool = False,
    marks: bool = False,
    priced: bool = False,
    drawn: int = 0,
) -> Review:
    """What a sync would change, with everything that a person needs to decide. Writes nothing.

    base: a revision to compare with; the database is then not used, unless `priced`.
    head: the revision to compare. None: the files on disk.
    direct: compare with `base` itself, not with the commit where `head` left it.
    marks: also find the lines to mark in the files.
    priced: compute costs with what recent runs in the database have cost, and read no file of two commits that both
        have as it is in force.
    drawn: also count the slots ahead of this many jobs that run at other times. Only with `base`.
    Raises: UsageError for an unknown revision, UnavailableError if git or the root cannot be used.
    """
    if base is None:
        synced = root.passes().plan(root.observed())
        costs = cost_changes(root, synced.plan)
        return _with_review(synced, root.place, costs, now=root.clock.now(), marks=marks)
    place, clock = root.place, root.clock
    started = clock.now()
    ends = compare(place.root, base, head, direct=direct)
    revision = ends.head or head_of(place.root)
    checked_out = place.followed is None
    files = WorkingTree(place) if ends.head is None else CommitFiles(place.root, ends.head)
    known = root if priced else None
    sides = read_sides(CommitFiles(place.root, ends.base), files, revision, checked_out=checked_out, known=known)
    before, after = sides.before, sides.after
    observed = _observed(before, started, rest=sides.rest)
    notes = _notes(ends, base, before, after)
    found: Plan | None = None
    diffs: tuple[TaskDiff, ...] = ()
    problems = tuple(sorted({*after.problems, *_conversion_problems(before, after)}))
    if after.desired is not None:
        desired = replace(after.desired, problems=tuple(sorted({*problems, *after.desired.problems})))
        found = plan(desired, observed, previous=before.settings, now=started, rest=sides.rest)
        changes: dict[str, Change] = {"state.tracked": (before.state, after.state)} if after.state else {}
        changes |= _changed_conversions(before, after)
        found = replace(found, root_changes={**changes, **found.root_changes})
        problems = found.problems
        texts = {a.job_id: (_text(before, a.before), _text(after, a.after)) for a in changed_texts(found)}
        programs = {path: (_program(before, path), _program(after, path)) for path in changed_programs(found)}
        diffs = tuple(_noted(each, after) for each in (*task_diffs(found, texts), *program_diffs(found, programs)))
    sources = source_lines(files, problems)
    shown = found or Plan(settings=Settings(), problems=problems, revision=revision)
    now = clock.now()
    told: ReviewJson = {
        **views.plan_json(shown, now=started, duration_ms=max(0, milliseconds(now - started))),
        **costs_json(cost_changes(root, shown) if priced else changed_costs(shown, {}, now=started)),
        "base": {"name": base, "revision": ends.base, "tip": ends.base_tip},
        "head": {"name": head, "revision": ends.head},
        "notes": notes,
        **review_json(shown, diffs, now=started),
    }
    return Review(
        json=told,
        problems=problems,
        read=found is not None,
        left=shown.states,
        diffs=diffs,
        folder=folder_in_repository(place.root),
        sources=sources,
        marks=marked(told, diffs, before.files, files) if marks else Marks(),
        clocks=clocks(shown, now=started, most=drawn) if drawn else Clocks(),
    )


def _observed(before: Snapshot, now: datetime, *, rest: Rest) -> Mapping[str, Job]:
    """The jobs that a first pass over the base creates, as a database that has followed it would contain them."""
    if before.desired is None:
        return {}
    # A slot before now would be due; this database has nothing due.
    made = plan(before.desired, {}, previous=None, now=now - timedelta(microseconds=1), rest=rest)
    return {
        action.job_id: Job(
            id=action.job_id,
            file=action.after,
            next_run_at=action.next_run_at,
            created_at=now,
            created_by="",
            updated_at=now,
        )
        for action in made.actions
    }


def _changed_conversions(before: Snapshot, after: Snapshot) -> dict[str, Change]:
    """The files that checkouts of the two sides convert differently."""
    found = {}
    for path in sorted(before.conversions.keys() | after.conversions.keys()):
        old, new = (None if (each := side.conversions.get(path)) is None else each.words for side in (before, after))
        if old != new and not after.files.is_free(path):
            found[f"attributes.{path}"] = (old, new)
    return found


def _conversion_problems(before: Snapshot, after: Snapshot) -> list[Problem]:
    """An error for conversions that this change adds: its text does not show what would run. Otherwise a warning."""
    if not after.conversions:
        return []
    old, new = _blobs(before), _blobs(after)
    news = {
        path
        for path, each in after.conversions.items()
        if before.conversions.get(path) != each
        or old.get(before.files.leads_to(path)) != new.get(after.files.leads_to(path))
    }
    return conversion_problems(after.conversions, errors=news)


def _blobs(side: Snapshot) -> Mapping[str, str]:
    """The blobs of the commit, by path; for the files on disk, of the commit that was checked out."""
    if isinstance(side.files, CommitFiles):
        return {path: each.id for path, each in side.files.entries.items()}
    return read_tree(side.files.root).blobs


def _noted(diff: TaskDiff, after: Snapshot) -> TaskDiff:
    conversion = after.conversions.get(diff.path)
    if conversion is None or not conversion.hides or diff.note:
        return diff
    return replace(diff, note=f"a different text would run: git converts it on checkout ({conversion.words})")


def _text(side: Snapshot, facts: FileFacts | None) -> Text | None:
    if facts is None:
        return None
    assert side.settings is not None
    found = read_task(side.files, facts.spec, facts.path, side.settings)
    if isinstance(found, Fault):
        return Text(None, found.message)
    if isinstance(side.files, CommitFiles) and pointed_at(found.source):
        return Text(None, "the text is in Git LFS; the repository has only a pointer to it")
    return Text(found.text.decode("utf-8", "replace"))


def _program(side: Snapshot, path: str) -> Text | None:
    found = side.files.read(path, limit=RUNNER_FILE_BYTES, hidden=True)
    if isinstance(found, Fault):
        return None if found.reason == "source_missing" else Text(None, found.message)
    if len(found.data) > MOST_COMPARED or b"\0" in found.data or pointed_at(found.data):
        return Text(None, "it is not text, or it is too large")
    return Text(found.data.decode("utf-8", "replace"))


def _notes(ends: Compared, base: str, before: Snapshot, after: Snapshot) -> list[str]:
    """What a reader must know to judge the review, in whole sentences."""
    notes = []
    if ends.nothing_new:
        notes.append(f"{base} already contains all of it; to compare with {base} itself, add --direct")
    if any(each.code == "root.missing" for each in before.problems):
        notes.append(f"the base has no {ROOT_FILE}: everything is new")
    elif before.settings is None:
        notes.append(f"{ROOT_FILE} of the base has errors: its jobs are shown as added")
    elif before.desired is not None:
        bad = sorted({problem.path for problem in before.desired.problems if problem.is_error})
        if bad:
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            notes.append(
                f"the base has errors in {', '.join(map(repr, bad[:5]))}{more}: jobs there may be shown as added"
            )
    for path in sorted({*before.submodules, *after.submodules}):
        notes.append(f"{path!r} is a submodule: its files are not read from a commit")
    return notes


def _with_review(found: Synced, place: Place, costs: list[CostChangeJson], *, now: datetime, marks: bool) -> Review:
    """The plan against a database, for the formats of a review. Earlier texts are not looked up."""
    files, planned, report = WorkingTree(place), found.plan, found.report()
    disk = Snapshot(files=files, settings=planned.settings, desired=None, problems=())
    texts = {a.job_id: (None if a.before is None else _NOT_KEPT, _text(disk, a.after)) for a in changed_texts(planned)}
    programs = {path: (_NOT_KEPT, _program(disk, path)) for path in changed_programs(planned)}
    diffs = (*task_diffs(planned, texts), *program_diffs(planned, programs))
    folder = ""
    with contextlib.suppress(GitError):
        folder = folder_in_repository(place.root)
    told: ReviewJson = {
        **report.json,
        **costs_json(costs),
        "base": None,
        "head": None,
        "notes": [],
        **review_json(planned, diffs, now=now),
    }
    return Review(
        json=told,
        problems=report.problems,
        read=report.read,
        left=report.left,
        no_provenance=report.no_provenance,
        diffs=diffs,
        folder=folder,
        sources=source_lines(files, report.problems),
        marks=marked(told, diffs, None, files) if marks else Marks(),
    )
