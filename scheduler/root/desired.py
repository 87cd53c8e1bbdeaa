"""The working tree as desired state: every job file read, parsed, and its task looked at.

Complete or an error, never quietly partial: what cannot be listed or read is named in the result, so that a
plan can tell "cannot read" from "deleted" (S2-S4).
"""

from __future__ import annotations

import hashlib
import itertools
import os
import posixpath
from collections.abc import Iterator

from scheduler.core.formats.jobfile import Document, JobFile
from scheduler.core.plan.desired import Desired, Found, Read
from scheduler.core.values.facts import Fault, Task
from scheduler.core.values.problems import Problem, nearest
from scheduler.core.values.settings import Settings
from scheduler.git.tree import Tree
from scheduler.root.listing import Listing, is_text, list_job_files
from scheduler.root.parsed import Parsed
from scheduler.root.place import Place
from scheduler.root.reading import Identities, known_as, read_source, real_path
from scheduler.root.tasks import JOB_FILE_BYTES, check_text, read_task_file

_FILE_CODES = {
    "source_missing": "file.missing",
    "source_not_regular": "file.not-regular",
    "source_outside_root": "file.outside-root",
    "source_denied": "file.denied",
    "source_too_large": "file.too-large",
}
# What to do about a job file, and about a task, that cannot be read.
_FILE_HINTS = {
    "source_missing": "correct the link, or delete it",
    "source_not_regular": "rename it, or put a file in its place",
    "source_outside_root": "put a copy of the file here",
    "source_denied": "let the user that runs the scheduler read it",
    "source_too_large": "split it, or move long texts into files of their own with task_source_path",
}
_TASK_HINTS = {
    "source_missing": "create the file, or correct the path",
    "source_not_regular": "name a file",
    "source_outside_root": "put a copy of the file into the root",
    "source_denied": "let the user that runs the scheduler read it",
    "source_too_large": "shorten it, or raise limits.task_bytes in scheduler.yaml",
    "source_not_utf8": "save the file as UTF-8",
    "source_empty": "write the task into it",
    "source_conflict_markers": "settle the conflict and delete its markers",
}
_MOST_NAMES = 1_000  # of a folder, in which to look for the one that was meant
_HINT = "see to it that it can be read"


def read_desired(
    place: Place, settings: Settings, tree: Tree, *, only: str | None = None, parsed: Parsed | None = None
) -> Desired:
    """What the files say now.

    only: one root-relative job file instead of all that `jobs` matches (the partial pass of F1).
    Raises: UnavailableError where the root itself cannot be listed.
    """
    parsed = parsed if parsed is not None else Parsed()
    parsed.start(settings)
    listing = Listing(paths=[only]) if only is not None else list_job_files(place, settings.jobs)
    problems = listing.problems
    found: list[Found] = []
    broken: set[str] = set()
    empty: set[str] = set()
    seen: set[str] = set()
    sources: dict[str, Read] = {}
    closed = place.closed
    for listed in listing.paths:
        source = read_source(place.root, listed, limit=JOB_FILE_BYTES, forbidden=closed)
        if isinstance(source, Fault):
            if only is None or source.reason != "source_missing":
                # Its jobs are known by one of the two: a file that a link replaced held them under its own name.
                broken |= {listed, known_as(real_path(place.root, listed))}
                problems.append(_file_problem(listed, source))
            continue
        if source.path in seen:
            continue  # a symlink beside the file it leads to: one file, counted once
        seen.add(source.path)
        file_sha256 = source.sha256
        job_file = parsed.read(source, file_sha256, settings)
        problems.extend(job_file.problems)
        if job_file.broken:
            broken.add(source.path)
        if job_file.empty:
            empty.add(source.path)
        provenance = tree.provenance(source.real, source.data)
        sources[source.path] = Read(source.real, provenance)
        for document, task, problem in _with_tasks(place, settings, job_file, closed):
            if problem is not None:
                problems.append(problem)
            read = None
            if isinstance(task, Task):
                real = task.real_path or task.source_path
                read = sources[task.source_path] = Read(real, tree.provenance(real, task.source))
            found.append(
                Found(
                    document=document,
                    task_sha256=task.sha256 if isinstance(task, Task) else task,
                    provenance=provenance,
                    file_sha256=file_sha256,
                    task_dirty=None if read is None else read.provenance.dirty,
                )
            )
    if only is None:
        parsed.keep(seen)
    return Desired(
        settings=settings,
        found=tuple(found),
        broken=frozenset(broken),
        empty=frozenset(empty),
        unlistable=frozenset(listing.unlistable),
        revision=tree.revision,
        problems=tuple(sorted(set(problems))),
        sources=sources,
    )


def _with_tasks(
    place: Place, settings: Settings, job_file: JobFile, closed: Identities
) -> Iterator[tuple[Document, Task | str | None, Problem | None]]:
    """Each document with its task: read from a file of its own, or the sha256 of a text that stands in the job file."""
    for document in job_file.documents:
        found = _task_of(place, settings, document, closed)
        if isinstance(found, Fault):
            path = document.task_source_path
            near = _near_file(place, path) if path is not None and found.reason == "source_missing" else ""
            yield document, None, _task_problem(document, found, near)
        else:
            yield document, found if document.spec is not None else None, None


def _task_of(place: Place, settings: Settings, document: Document, closed: Identities) -> Task | str | Fault | None:
    """A document's task as of `_with_tasks`, or why it could not run; None where the document is wrong itself."""
    limit = settings.limits.task_bytes
    if document.task_source_path is not None:
        return read_task_file(place.root, document.task_source_path, limit=limit, forbidden=closed)
    if document.text is not None:
        return _text_fault(document.text, limit) or hashlib.sha256(document.text).hexdigest()
    return None


def _text_fault(text: bytes, limit: int) -> Fault | None:
    if len(text) > limit:
        return Fault(reason="source_too_large", message=f"the task has {len(text):,} bytes; {limit:,} are allowed")
    return check_text(text)


def _near_file(place: Place, path: str) -> str:
    """The hint naming the file of the same folder that was probably meant."""
    folder, _, name = path.rpartition("/")
    if real_path(place.root, folder or ".") != (folder or "."):
        return ""  # reached by a link: what lies there is nobody's to list
    try:
        with os.scandir(place.root / folder) as entries:
            names = [
                each.name for each in itertools.islice(entries, _MOST_NAMES) if each.is_file(follow_symlinks=False)
            ]
    except OSError:
        return ""
    near = nearest(name, [each for each in names if is_text(each) and not each.startswith(".")])
    return "" if near is None else f"did you mean {posixpath.join(folder, near)!r}?"


def _task_problem(document: Document, fault: Fault, near: str = "") -> Problem:
    return Problem(
        path=document.path,
        line=document.task_line,
        column=document.task_column,
        code="task.missing" if fault.reason == "source_missing" else "task.unreadable",
        message=fault.message,
        hint=near or _TASK_HINTS.get(fault.reason, _HINT),
        job_id=document.id,
    )


def _file_problem(path: str, fault: Fault) -> Problem:
    return Problem(
        path=path,
        line=1,
        column=1,
        code=_FILE_CODES.get(fault.reason, "file.unreadable"),
        message=fault.message,
        hint=f"{_FILE_HINTS.get(fault.reason, _HINT)}; the jobs it held keep their last good definition",
    )


# -- listing ---------------------------------------------------------------------------------
