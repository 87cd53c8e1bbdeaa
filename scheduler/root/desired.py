"""The working tree as desired state: every job file read, parsed, and its task looked at.

Complete or an error, never quietly partial: what cannot be listed or read is named in the result, so that a
plan can tell "cannot read" from "deleted" (S2-S4).
"""

from __future__ import annotations

import hashlib
import itertools
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field

from scheduler.core.formats.globs import matches_any, may_hold
from scheduler.core.formats.jobfile import SUFFIXES, Document, JobFile, read_job_file
from scheduler.core.plan.plan import Desired, Found, Read
from scheduler.core.values.problems import Problem, UnavailableError, nearest
from scheduler.core.values.spec import ROOT_FILE, Fault, Settings, Task
from scheduler.git.tree import Tree
from scheduler.root.place import Place
from scheduler.root.reading import Identities, Source, known_as, read_source, real_path
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


@dataclass(slots=True)
class _Listing:
    paths: list[str] = field(default_factory=list)
    unlistable: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


class Parsed:
    """Job files as they were last parsed, for passes that come again and again: only what differs is parsed anew."""

    def __init__(self) -> None:
        # With the settings that every definition depends on; one value, since other threads look things up.
        self._known: tuple[Settings | None, dict[str, tuple[str, JobFile]]] = None, {}

    def read(self, source: Source, sha256: str, settings: Settings) -> JobFile:
        _, files = self._known
        known = files.get(source.path)
        if known is None or known[0] != sha256:
            known = files[source.path] = sha256, read_job_file(source.path, source.data, settings)
        return known[1]

    def look_up(self, source: Source, settings: Settings) -> JobFile | None:
        """What these very bytes were parsed to, if they were; for any thread."""
        at, files = self._known
        known = files.get(source.path)
        return known[1] if known is not None and known[0] == source.sha256 and at == settings else None

    def start(self, settings: Settings) -> None:
        """Forgets everything where the settings are others."""
        if settings != self._known[0]:
            self._known = settings, {}

    def task_paths(self) -> set[str]:
        """The task files that the job files name, also in documents that are no job for now."""
        documents = [each for _, job_file in list(self._known[1].values()) for each in job_file.documents]
        return {each.task_source_path for each in documents if each.task_source_path is not None}

    def keep(self, paths: Set[str]) -> None:
        settings, files = self._known
        self._known = settings, {path: known for path, known in files.items() if path in paths}


def read_desired(
    place: Place, settings: Settings, tree: Tree, *, only: str | None = None, parsed: Parsed | None = None
) -> Desired:
    """What the files say now.

    only: one root-relative job file instead of all that `jobs` matches (the partial pass of F1).
    Raises: UnavailableError where the root itself cannot be listed.
    """
    parsed = parsed if parsed is not None else Parsed()
    parsed.start(settings)
    listing = _Listing(paths=[only]) if only is not None else _list(place, settings.jobs)
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
    near = nearest(name, [each for each in names if _is_text(each) and not each.startswith(".")])
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


class Own:
    """What in a root is the scheduler's, wherever `--state` and `--db` have put it: no job file, and no news."""

    def __init__(self, place: Place) -> None:
        self._folder = os.path.realpath(place.db.parent)
        self._db = place.db.name
        self._closed = place.closed

    def is_file(self, folder: str, name: str) -> bool:
        """Whether a file is part of the database, or stands beside it for it (its WAL, its lock, its socket).

        folder: a real path.
        """
        if not name.startswith(self._db) or folder != self._folder:
            return False
        return name == self._db or (name[len(self._db)] in "-." and not name.endswith(SUFFIXES))

    def is_folder(self, path: str) -> bool:
        """The state folder, or the one of the locks."""
        try:
            found = os.stat(path)  # noqa: PTH116 - for every folder of a root, in every pass
        except OSError:
            return False
        return (found.st_dev, found.st_ino) in self._closed


def is_leftover(name: str) -> bool:
    """Whether an editor has put this aside while it saves, or forgotten it: the copy of a job file is not a job file.

    Other such names start with a dot, and the default globs match none of them.
    """
    return name == "4913" or name.endswith(("~", "___jb_tmp___", "___jb_old___")) or name[0] == name[-1] == "#"


def _list(place: Place, globs: Sequence[str]) -> _Listing:
    listing = _Listing()
    try:
        with os.scandir(place.root) as entries:
            children = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UnavailableError(
            f"the root {place.root} cannot be read: {error.strerror}; nothing was applied"
        ) from error
    _walk(Own(place), children, "", globs, listing)
    return listing


def _walk(own: Own, entries: Iterable[os.DirEntry[str]], folder: str, globs: Sequence[str], listing: _Listing) -> None:
    """Collects what the globs match below a folder; never enters dot-folders or symlinked folders."""
    for entry in entries:
        path = folder + entry.name
        if entry.name.startswith(".") or is_leftover(entry.name):
            continue
        if path == ROOT_FILE:
            continue  # a glob as wide as **/*.yaml does not make it a job file
        if own.is_file(entry.path[: -len(entry.name) - 1], entry.name):
            continue
        if not _is_text(path):
            enters = entry.is_dir(follow_symlinks=False) and any(may_hold(path, glob) for glob in globs)
            if matches_any(path, globs) or enters:
                listing.problems.append(_name_problem(path))
            continue
        if matches_any(path, globs) and not _is_mere_folder(entry):
            listing.paths.append(path)
        if not entry.is_dir(follow_symlinks=False) or not may_enter(own, entry, path, globs):
            continue
        try:
            with os.scandir(entry.path) as found:
                children = sorted(found, key=lambda each: each.name)
        except FileNotFoundError:
            continue  # gone since its parent was listed: as if it had never been there
        except OSError as error:
            listing.unlistable.add(path)
            listing.problems.append(
                Problem(
                    path=path,
                    line=1,
                    column=1,
                    code="folder.unreadable",
                    message=f"the folder cannot be listed: {error.strerror}",
                    hint="the jobs last held below it keep their last good definition",
                )
            )
            continue
        _walk(own, children, path + "/", globs, listing)


def _is_mere_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one, that a glob as wide as jobs/** names only in passing.

    One that is named like a job file was meant to be one: reading it says what is wrong.
    """
    if posixpath.splitext(entry.name)[1].lower() in SUFFIXES:
        return False
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself, say: reading it says so


def may_enter(own: Own, entry: os.DirEntry[str], path: str, globs: Iterable[str]) -> bool:
    """Whether a pass looks into this folder for job files: what is hidden and the state folder it leaves alone."""
    return not entry.name.startswith(".") and any(may_hold(path, g) for g in globs) and not own.is_folder(entry.path)


def _is_text(path: str) -> bool:
    """Whether a name is UTF-8: any other can stand in no database, no JSON and no terminal."""
    return not any("\ud800" <= c <= "\udfff" for c in path)


def _name_problem(path: str) -> Problem:
    return Problem(
        path=path.encode("utf-8", "backslashreplace").decode(),
        line=1,
        column=1,
        code="file.name",
        message="the name is not valid UTF-8; nothing of that name is read",
        hint="rename it",
    )
