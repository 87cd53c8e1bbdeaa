"""Which documents claim an id (S2, S3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from scheduler.core.plan.desired import Desired, Found
from scheduler.core.values.facts import Job
from scheduler.core.values.problems import Problem, Severity
from scheduler.core.values.settings import ROOT_FILE
from scheduler.core.values.texts import listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim on an id: a document that names it, or an unreadable file that last held it."""

    path: str
    line: int
    found: Found | None  # None if the file or the document cannot be read

    @property
    def readable(self) -> bool:
        return self.found is not None and self.found.document.spec is not None


def claims_by_id(desired: Desired, observed: Mapping[str, Job]) -> dict[str, list[Claim]]:
    claims: defaultdict[str, list[Claim]] = defaultdict(list)
    nameless: set[str] = set()
    for found in desired.found:
        document = found.document
        if document.id is None:
            nameless.add(document.path)
        else:
            claims[document.id].append(Claim(path=document.path, line=document.line, found=found))
    for job_id, named in claims.items():
        # A document with an error claims only an id that it last held, or that nothing else claims (S2).
        held_at = {observed[job_id].file.path} if job_id in observed else set()
        readable = {claim.path for claim in named if claim.readable}
        if readable:
            # Also a claim in the file that would hold the job from now on, or else the next pass would decide
            # differently.
            claims[job_id] = [claim for claim in named if claim.readable or claim.path in held_at | readable]
    for job in observed.values():
        if job.archived:
            continue
        path = job.file.path
        unlistable = any(folder in ("", ".") or path.startswith(folder + "/") for folder in desired.unlistable)
        unreadable = path in desired.broken or unlistable
        named_here = any(claim.path == path for claim in claims[job.id])
        if unreadable or (path in nameless and not named_here):
            claims[job.id].append(Claim(path=path, line=job.file.line, found=None))
        elif path in desired.empty and not claims[job.id]:
            # A truncating save empties a file for a moment. If the job is in another file, it has moved there.
            claims[job.id].append(Claim(path=path, line=1, found=None))
    return {job_id: sorted(named, key=lambda c: (c.path, c.line)) for job_id, named in claims.items() if named}


def emptied(desired: Desired, observed: Mapping[str, Job], claims: Mapping[str, Sequence[Claim]]) -> Iterable[Problem]:
    for path in sorted(desired.empty):
        held = [
            job.id
            for job in observed.values()
            if job.file.path == path and not job.archived and any(c.path == path for c in claims.get(job.id, ()))
        ]
        if held:
            names = ", ".join(repr(job_id) for job_id in sorted(held))
            message = f"the file held {names} and now holds no job; the last good definition stays in force"
            hint = "to archive its jobs, delete the file; to keep them, restore its text"
            yield Problem(path, 1, 1, "file.emptied", message, hint)


def conflicts(job_id: str, claims: Sequence[Claim]) -> Iterable[Problem]:
    for claim in claims:
        others = ", ".join(f"{c.path}:{c.line}" for c in claims if c is not claim)
        message = f"id {job_id!r} is also used by {others}; none of them is applied"
        hint = "keep the id in one place, and give the other document its own id"
        yield Problem(claim.path, claim.line, 1, "id.duplicate", message, hint, job_id=job_id)


def across_files(desired: Desired) -> list[Problem]:
    """The problems that only several files have together, visible from the files alone."""
    claims = claims_by_id(desired, {})
    found = [problem for job_id, named in claims.items() if len(named) > 1 for problem in conflicts(job_id, named)]
    return [*found, *lookalikes(*names_in(desired))]


def no_job(desired: Desired) -> Iterator[Problem]:
    """A warning for a root in which no file holds a job, although every file could be read."""
    if not (desired.found or desired.broken or desired.unlistable):
        message = f"no jobs found: no file that matches {listed(desired.settings.jobs)} contains one"
        hint = "write one such as jobs/heartbeat.yaml, or correct jobs in scheduler.yaml"
        yield Problem(ROOT_FILE, 1, 1, "jobs.none", message, hint, Severity.WARNING)


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """Where an id is written."""

    path: str
    line: int
    id: str


def names_in(desired: Desired) -> tuple[list[Name], set[str]]:
    """The ids in the files, in the order of the files, and the paths of all files."""
    documents = [found.document for found in desired.found]
    names = [Name(each.path, each.line, each.id) for each in documents if each.id is not None]
    return names, {document.path for document in documents} | desired.broken | desired.empty


def lookalikes(names: Sequence[Name], paths: Collection[str]) -> Iterator[Problem]:
    """Warnings for ids and file names that differ to the scheduler, but not to a person or another system."""
    ids = {name.id for name in names}
    if len({job_id.translate(_NO_SEPARATORS) for job_id in ids}) < len(ids):
        yield from _alike_ids(names)
    if len({path.casefold() for path in paths}) < len(paths):
        yield from _alike_paths(paths)


def _alike_ids(names: Sequence[Name]) -> Iterator[Problem]:
    ids: defaultdict[str, dict[str, Name]] = defaultdict(dict)
    for name in names:
        ids[name.id.translate(_NO_SEPARATORS)].setdefault(name.id, name)
    for alike in ids.values():
        for job_id, name in alike.items() if len(alike) > 1 else ():
            other = next(each for each in alike.values() if each.id != job_id)
            message = f"id {job_id!r} differs from {other.id!r} in {other.path}:{other.line} only in . _ and -"
            hint = "keep both if they are two jobs; if you changed the id of one job, restore the old id"
            yield Problem(name.path, name.line, 1, "id.similar", message, hint, Severity.WARNING, job_id)


def _alike_paths(paths: Collection[str]) -> Iterator[Problem]:
    folded: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(paths):
        folded[path.casefold()].append(path)
    for same in folded.values():
        for path in same if len(same) > 1 else ():
            other_path = next(each for each in same if each != path)
            message = f"its path differs from {other_path!r} only in upper and lower case"
            hint = "rename one: on a case-insensitive file system, as on macOS, a checkout has only one of them"
            yield Problem(path, 1, 1, "file.case", message, hint, Severity.WARNING)


_NO_SEPARATORS = str.maketrans("", "", "._-")
