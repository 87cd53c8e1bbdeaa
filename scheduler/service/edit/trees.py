"""The files that an edit starts from: those of the working tree, or those of a commit nobody has checked out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from scheduler.core.edits.jobedit import Opened
from scheduler.core.formats.globs import matches_any
from scheduler.core.formats.jobfile import SUFFIXES, Document, read_job_file
from scheduler.core.formats.paths import is_path
from scheduler.core.values.facts import Fault
from scheduler.core.values.problems import Problem, RefusedError, UsageError, did_you_mean
from scheduler.core.values.settings import ROOT_FILE, Settings
from scheduler.git.objects import Blob, files_of, followed, read_blobs
from scheduler.git.tree import Tree as GitTree
from scheduler.root.desired import read_desired
from scheduler.root.place import Place
from scheduler.root.reading import Source, known_as, read_source, real_path
from scheduler.root.settings import read_settings
from scheduler.root.tasks import JOB_FILE_BYTES, check_text


class Files(Protocol):
    """Job files and task files as an edit finds them."""

    settings: Settings

    def documents(self) -> Sequence[Document]:
        """Those of all job files."""

    def problems(self) -> Sequence[Problem]:
        """What is wrong with the job files."""

    def read(self, path: str) -> Source | Fault:
        """A file, by its root-relative path."""

    def is_free(self, path: str) -> bool:
        """Whether nothing at all has this name, and it could be made without taking anything's place."""

    def leads_to(self, path: str) -> str:
        """Where a path leads, links followed: two paths are one file where this is the same."""


@dataclass(slots=True)
class WorkingTree:
    """The files on disk."""

    place: Place
    settings: Settings = field(init=False)
    _found: tuple[Sequence[Document], Sequence[Problem]] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        settings, problems = read_settings(self.place)
        if settings is None:
            raise wrong_settings(problems)
        self.settings = settings

    def documents(self) -> Sequence[Document]:
        return self._read()[0]

    def problems(self) -> Sequence[Problem]:
        return self._read()[1]

    def _read(self) -> tuple[Sequence[Document], Sequence[Problem]]:
        if self._found is None:
            desired = read_desired(self.place, self.settings, GitTree())
            self._found = [each.document for each in desired.found], desired.problems
        return self._found

    def read(self, path: str) -> Source | Fault:
        limit = max(JOB_FILE_BYTES, self.settings.limits.task_bytes)
        return read_source(self.place.root, path, limit=limit, forbidden=self.place.closed)

    def is_free(self, path: str) -> bool:
        return not os.path.lexists(self.place.root / path)

    def leads_to(self, path: str) -> str:
        return known_as(real_path(self.place.root, path))


@dataclass(slots=True)
class CommitTree:
    """The files of a commit, as git keeps them."""

    root: Path
    commit: str
    settings: Settings = field(init=False)
    blobs: Mapping[str, Blob] = field(init=False)
    links: Mapping[str, str] = field(init=False)
    _known: dict[str, bytes] = field(default_factory=dict, init=False)
    _found: tuple[Sequence[Document], Sequence[Problem]] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        from scheduler.core.formats.rootfile import read_root_file

        entries = files_of(self.root, self.commit)
        self.blobs = {path: each for path, each in entries.items() if not each.is_link}
        links = {path: each.id for path, each in entries.items() if each.is_link}
        targets = read_blobs(self.root, list(links.values()))
        self.links = {path: os.fsdecode(targets[each]) for path, each in links.items()}
        source = self.read(ROOT_FILE)
        if isinstance(source, Fault):
            raise RefusedError(
                f"commit {self.commit[:12]} holds no {ROOT_FILE} at this root, so nothing there is a job",
                hint="name a branch or commit of this root",
            )
        settings, problems = read_root_file(source.data, path=ROOT_FILE)
        if settings is None:
            raise wrong_settings(problems)
        self.settings = settings

    def documents(self) -> Sequence[Document]:
        return self._read()[0]

    def problems(self) -> Sequence[Problem]:
        return self._read()[1]

    def _read(self) -> tuple[Sequence[Document], Sequence[Problem]]:
        if self._found is None:
            paths = [path for path in self.blobs if is_job_path(path, self.settings)]
            contents = read_blobs(self.root, [self.blobs[path].id for path in paths])
            self._known.update(contents)
            files = [read_job_file(path, contents[self.blobs[path].id], self.settings) for path in paths]
            documents = [document for file in files for document in file.documents]
            self._found = documents, [problem for file in files for problem in file.problems]
        return self._found

    def read(self, path: str) -> Source | Fault:
        real = followed(path, self.links)
        if real is None or (real != path and not is_path(real)):
            where = f"in commit {self.commit[:12]}"
            return Fault(reason="source_outside_root", message=f"{path!r} is a link {where} that cannot be followed")
        blob = self.blobs.get(real)
        if blob is None:
            return Fault(reason="source_missing", message=f"{path!r} does not exist in commit {self.commit[:12]}")
        if blob.id not in self._known:
            self._known.update(read_blobs(self.root, [blob.id]))
        return Source(path=real, data=self._known[blob.id], real=real)

    def is_free(self, path: str) -> bool:
        if any(each == path or each.startswith(path + "/") for each in (*self.blobs, *self.links)):
            return False
        # Below a file or a link git would write it in the place of that, without a word.
        return not any(above in self.blobs or above in self.links for above in _above(path))

    def leads_to(self, path: str) -> str:
        return followed(path, self.links) or path


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def is_job_path(path: str, settings: Settings) -> bool:
    """Whether a pass would take a file of this name for a job file."""
    return path.lower().endswith(SUFFIXES) and is_path(path) and path != ROOT_FILE and matches_any(path, settings.jobs)


def wrong_settings(problems: Sequence[Problem]) -> RefusedError:
    first = problems[0]
    place = f"{first.path}:{first.line}:{first.column}"
    why = f"{place}: {first.message} [{first.code}]; until that is right no job is edited"
    return RefusedError(why, hint=first.hint)


def open_job(files: Files, job_id: str) -> Opened:
    """The one document that names a job. Raises: UsageError where none does, RefusedError where two do."""
    found = [document for document in files.documents() if document.id == job_id]
    if not found:
        broken = [p for p in files.problems() if p.is_error and p.job_id is None]
        hint = did_you_mean(job_id, [each.id for each in files.documents() if each.id is not None])
        if not hint and broken:
            hint = f"it may stand in {broken[0].path}, which cannot be read: line {broken[0].line}, {broken[0].message}"
        if isinstance(files, CommitTree):
            where = f"commit {files.commit[:12]}"
            raise UsageError(
                f"no file in {where} names the job {job_id!r}",
                hint=hint or f"`scheduler list` shows what is checked out, not what {where} holds",
            )
        raise UsageError(f"no file names the job {job_id!r}", hint=hint or "`scheduler list` shows all jobs")
    if len(found) > 1:
        places = " and ".join(f"{each.path}:{each.line}" for each in found[:3])
        raise RefusedError(f"{places} both name the job {job_id!r}", hint="delete one of them first")
    return open_document(files, found[0])


def open_document(files: Files, document: Document) -> Opened:
    """Raises: RefusedError where the file has changed since, or is somebody else's."""
    source = files.read(document.path)
    if isinstance(source, Fault):
        raise RefusedError(source.message)
    opened = Opened(source.path, source.data, 0, files.settings)
    numbers = [n for n, each in enumerate(opened.read().documents) if each.id == document.id]
    if len(numbers) != 1:
        raise RefusedError(f"{document.path} is being changed by somebody else", hint="try again")
    return Opened(source.path, source.data, numbers[0], files.settings)


def real_of(files: Files, path: str) -> str:
    """Where a file really stands, links followed: that is what is written."""
    source = files.read(path)
    if isinstance(source, Fault):
        raise RefusedError(source.message)
    return source.real


def sharing(files: Files, path: str, job_id: str) -> Iterator[str]:
    """Other jobs that run the text of this file, under whatever name."""
    real = files.leads_to(path)
    for document in files.documents():
        source = document.task_source_path
        if source is not None and document.id not in (None, job_id) and files.leads_to(source) == real:
            yield str(document.id)


def task_fault(files: Files, path: str) -> Fault | None:
    """Why a task file could not be run; None where it could."""
    source = files.read(path)
    return source if isinstance(source, Fault) else text_fault(source.data, files.settings)


def text_fault(text: bytes, settings: Settings) -> Fault | None:
    limit = settings.limits.task_bytes
    if len(text) > limit:
        return Fault(
            reason="source_too_large", message=f"the task has {len(text):,} bytes; limits.task_bytes allows {limit:,}"
        )
    return check_text(text)
