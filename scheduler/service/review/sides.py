"""What the two sides of a review contain. Files that are alike on both sides and in force need not be read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from scheduler.core.formats.checkout import Conversion
from scheduler.core.formats.globs import may_hold
from scheduler.core.plan.claimants import Name, lookalikes, names_in
from scheduler.core.plan.desired import NO_REST, Desired, Rest
from scheduler.core.values.problems import Problem
from scheduler.core.values.settings import Settings
from scheduler.git.tree import Tree
from scheduler.ledger import files as ledger
from scheduler.root.committed import CommitFiles
from scheduler.root.converted import conversions_of
from scheduler.root.desired import read_desired
from scheduler.root.files import Files
from scheduler.root.listing import Listing, list_job_files
from scheduler.root.parsed import Parsed
from scheduler.root.runner_files import runner_paths
from scheduler.root.settings import settings_of
from scheduler.root.trusted import state_problems, tracked_here
from scheduler.service.root import Root
from scheduler.sync.index import digest_of

_MOST_IMPOSSIBLE = 20  # files per commit
_MOST_PARSED = 100_000  # files, as many as jobs are allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The contents of a root."""

    files: Files
    settings: Settings | None  # None: scheduler.yaml is missing or invalid
    desired: Desired | None
    problems: tuple[Problem, ...]  # of scheduler.yaml, and of the repository as a whole
    state: Sequence[str] = ()  # paths where the scheduler keeps its state
    conversions: Mapping[str, Conversion] = field(default_factory=dict)  # what a checkout does to files, by path

    @property
    def submodules(self) -> Sequence[str]:
        """The submodules of a commit that could contain a job or a task."""
        if self.desired is None or not isinstance(self.files, CommitFiles):
            return ()
        settings = self.desired.settings
        globs, tasks = settings.jobs, [each.document.task_source_path or "" for each in self.desired.found]
        tasks += [path for runner in settings.runners.values() for path in runner_paths(self.files, runner)]
        return [
            path
            for path, entry in self.files.entries.items()
            if entry.is_submodule
            and (any(may_hold(path, glob) for glob in globs) or any(task.startswith(path + "/") for task in tasks))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    before: Snapshot
    after: Snapshot
    rest: Rest = NO_REST  # what a plan of either side leaves out


def read_sides(
    before: CommitFiles, after: Files, revision: str | None, *, checked_out: bool, known: Root | None = None
) -> Sides:
    """Both sides, each file that does not differ parsed once.

    revision: of the second side.
    checked_out: by git, which converts files by their attributes. A followed root has the bytes of the commit.
    known: the root whose database tells what is in force: such files are read only if they differ, or if another file
        names one of their jobs. None: all files are read.
    Raises: UnavailableError.
    """
    parsed = Parsed(most=_MOST_PARSED)
    sides = [(files, *settings_of(files)) for files in (before, after)]
    listings = _listings([(files, None if settings is None else settings.jobs) for files, settings, _ in sides])
    alike = _Alike() if known is None else _alike(known, before, after, sides[0][1], sides[1][1])
    while True:
        found = [
            None
            if settings is None or listing is None
            else read_desired(files, settings, Tree(revision=name), listed=alike.without(listing), parsed=parsed)
            for (files, settings, _), listing, name in zip(sides, listings, (before.commit, revision), strict=True)
        ]
        if alike.read_too(found):
            continue
        converted = [
            conversions_of(files, desired, others=alike.paths) if checked_out else {}
            for (files, *_), desired in zip(sides, found, strict=True)
        ]
        if not alike.names or converted[0] == converted[1]:
            break
        alike.names.clear()  # a change of conversions names the jobs of each file
    snapshots = [
        Snapshot(
            files=files,
            settings=settings,
            desired=desired,
            problems=tuple(sorted({*problems, *state_problems(state := _state(files)), *_impossible(files)})),
            state=state,
            conversions=conversions,
        )
        for (files, settings, problems), desired, conversions in zip(sides, found, converted, strict=True)
    ]
    return Sides(before=snapshots[0], after=snapshots[1], rest=alike.rest(listings[1], found[1]))


def _listings(sides: Sequence[tuple[Files, Sequence[str] | None]]) -> Sequence[Listing | None]:
    """The job files of each side, by its globs."""
    (before, old), (after, new) = sides
    first = None if old is None else list_job_files(before, old)
    if old == new and isinstance(before, CommitFiles) and isinstance(after, CommitFiles) and after.is_laid_out(before):
        return first, first
    return first, None if new is None else list_job_files(after, new)


def _state(files: Files) -> Sequence[str]:
    return files.state_paths() if isinstance(files, CommitFiles) else tracked_here(files.root)


def _impossible(files: Files) -> Iterator[Problem]:
    found = files.impossible if isinstance(files, CommitFiles) else {}
    for path, why in sorted(found.items())[:_MOST_IMPOSSIBLE]:
        shown = path[:100].encode("utf-8", "replace").decode()
        message = f"the commit {why}: it cannot be checked out, and a root that follows the branch does not apply it"
        yield Problem(shown, 1, 1, "file.impossible", message, "remove it from the commit")


@dataclass(slots=True)
class _Alike:
    """Job files that both sides have as they are in force: nothing is wrong with them or with their tasks."""

    names: dict[str, list[Name]] = field(default_factory=dict)  # of their jobs, by path
    tasks: Mapping[str, Sequence[str]] = field(default_factory=dict)  # the files of their tasks, by path
    at: Mapping[str, str] = field(default_factory=dict)  # the path of each job that is in force, by id

    @property
    def paths(self) -> set[str]:
        """These files, and those of their tasks."""
        return {*self.names, *(task for path in self.names for task in self.tasks.get(path, ()))}

    def without(self, listing: Listing) -> Listing:
        return replace(listing, paths=[path for path in listing.paths if path not in self.names])

    def read_too(self, found: Sequence[Desired | None]) -> bool:
        """Drop the files with a job that a file which was read names as well. False if there are none."""
        ids = {each.document.id for desired in found if desired is not None for each in desired.found}
        again = {path for job_id in ids if job_id is not None and (path := self.at.get(job_id)) in self.names}
        jobs = sum(map(len, self.names.values())) + max(len(desired.found) for desired in found if desired is not None)
        if any(jobs > desired.settings.limits.max_jobs for desired in found if desired is not None):
            again = set(self.names)  # which ones are too many depends on all of them
        for path in again:
            del self.names[path]
        return bool(again)

    def rest(self, listing: Listing | None, after: Desired | None) -> Rest:
        if not self.names or listing is None or after is None:
            return NO_REST
        names, paths = names_in(after)
        order = {path: number for number, path in enumerate(listing.paths)}
        names += [name for each in self.names.values() for name in each]
        names.sort(key=lambda name: order.get(name.path, len(order)))  # as if all files had been read
        similar = tuple(lookalikes(names, paths | self.names.keys()))
        return Rest(jobs=sum(map(len, self.names.values())), similar=similar)


def _alike(root: Root, before: CommitFiles, after: Files, old: Settings | None, new: Settings | None) -> _Alike:
    if new is None or old != new or not isinstance(after, CommitFiles):
        return _Alike()
    with root.store() or contextlib.nullcontext() as store:
        known = None if store is None else store.read(ledger.applied_files)
    if known is None or known.by != digest_of(new):
        return _Alike()

    def is_alike(path: str, blob: str) -> bool:
        entries = before.entries.get(path), after.entries.get(path)
        return all(each is not None and each.id == blob and not each.is_link for each in entries)

    same = {path for path, blob in known.tasks.items() if is_alike(path, blob)}
    names: dict[str, list[Name]] = {
        path: []
        for path, blob in known.jobs.items()
        if is_alike(path, blob) and same.issuperset(known.users.get(path, ()))
    }
    at: dict[str, str] = {}
    for path, line, job_id in known.names:
        at[job_id] = path
        if path in names:
            names[path].append(Name(path, line, job_id))
    return _Alike(names, known.users, at)
