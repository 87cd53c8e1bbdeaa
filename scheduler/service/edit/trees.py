"""The files that an edit starts from: those of the working tree, or of a commit that nobody has checked out."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from scheduler.core.edits.jobedit import Opened
from scheduler.core.formats.globs import SUFFIXES, matches_any
from scheduler.core.formats.jobfile import Document
from scheduler.core.formats.paths import is_path
from scheduler.core.plan.desired import Desired
from scheduler.core.values.facts import Fault
from scheduler.core.values.problems import Problem, RefusedError, UsageError, did_you_mean
from scheduler.core.values.settings import ROOT_FILE, Settings
from scheduler.git.tree import Tree
from scheduler.root.committed import CommitFiles
from scheduler.root.desired import read_desired
from scheduler.root.files import Files
from scheduler.root.reading import Source
from scheduler.root.settings import ROOT_FILE_BYTES, settings_in
from scheduler.root.tasks import JOB_FILE_BYTES, check_text


@dataclass
class EditFiles:
    """Job files and task files as an edit finds them. Raises: RefusedError if scheduler.yaml cannot be used."""

    files: Files
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        settings, problems = settings_in(self.files.read(ROOT_FILE, limit=ROOT_FILE_BYTES))
        if settings is None and self.where and any(each.code == "root.missing" for each in problems):
            raise RefusedError(
                f"{self.where} has no {ROOT_FILE} in the root's folder, so it has no jobs",
                hint="choose a branch or commit that contains this root",
            )
        if settings is None:
            raise wrong_settings(problems)
        self.settings = settings

    @property
    def where(self) -> str:
        """The commit, in words; empty for the files on disk."""
        return f"commit {self.files.commit[:12]}" if isinstance(self.files, CommitFiles) else ""

    def documents(self) -> Sequence[Document]:
        """The documents of all job files."""
        return [each.document for each in self._desired.found]

    def problems(self) -> Sequence[Problem]:
        """The problems of the job files."""
        return self._desired.problems

    @functools.cached_property
    def _desired(self) -> Desired:
        return read_desired(self.files, self.settings, Tree())

    def read(self, path: str) -> Source | Fault:
        """A file, by its path relative to the root."""
        found = self.files.read(path, limit=max(JOB_FILE_BYTES, self.settings.limits.task_bytes))
        if not isinstance(found, Fault) or not self.where:
            return found
        if found.reason in ("source_outside_root", "source_unreadable"):
            return replace(found, message=f"{path!r} is a link in {self.where} that cannot be followed")
        return replace(found, message=f"{found.message} in {self.where}")

    def is_free(self, path: str) -> bool:
        return self.files.is_free(path)

    def leads_to(self, path: str) -> str:
        return self.files.leads_to(path)


def is_job_path(path: str, settings: Settings) -> bool:
    """True if a pass would treat a file with this name as a job file."""
    return path.lower().endswith(SUFFIXES) and is_path(path) and path != ROOT_FILE and matches_any(path, settings.jobs)


def wrong_settings(problems: Sequence[Problem]) -> RefusedError:
    first = next(each for each in problems if each.is_error)
    place = f"{first.path}:{first.line}:{first.column}"
    why = f"{place}: {first.message} [{first.code}]; no job can be edited until this is fixed"
    return RefusedError(why, hint=first.hint)


def open_job(files: EditFiles, job_id: str) -> Opened:
    """The one document that names a job. Raises: UsageError if there is none, RefusedError if there are two."""
    found = [document for document in files.documents() if document.id == job_id]
    if not found:
        broken = [p for p in files.problems() if p.is_error and p.job_id is None]
        hint = did_you_mean(job_id, [each.id for each in files.documents() if each.id is not None])
        if not hint and broken:
            hint = f"it may be in {broken[0].path}, which cannot be read: line {broken[0].line}, {broken[0].message}"
        if files.where:
            raise UsageError(
                f"no file in {files.where} defines the job {job_id!r}",
                hint=hint or f"`scheduler list` shows the jobs of the checked-out files, not those of {files.where}",
            )
        raise UsageError(f"no file defines the job {job_id!r}", hint=hint or "`scheduler list` shows all jobs")
    if len(found) > 1:
        places = " and ".join(f"{each.path}:{each.line}" for each in found[:3])
        raise RefusedError(
            f"the job {job_id!r} is defined more than once: {places}", hint="delete all but one of them first"
        )
    return open_document(files, found[0])


def open_document(files: EditFiles, document: Document) -> Opened:
    """Open the file of a document. Raises: RefusedError if it has changed since, or belongs to somebody else."""
    source = files.read(document.path)
    if isinstance(source, Fault):
        raise RefusedError(source.message)
    opened = Opened(source.path, source.data, 0, files.settings)
    numbers = [n for n, each in enumerate(opened.read().documents) if each.id == document.id]
    if len(numbers) != 1:
        raise RefusedError(f"{document.path} changed while it was read; nothing was written", hint="try again")
    return Opened(source.path, source.data, numbers[0], files.settings)


def real_of(files: EditFiles, path: str) -> str:
    """The real path of a file, with links followed: this is the file that is written."""
    source = files.read(path)
    if isinstance(source, Fault):
        raise RefusedError(source.message)
    return source.real


def document_after(
    files: EditFiles,
    job_id: str,
    written: Mapping[str, bytes | None],
    before: Opened | None,
    own: str | None,
    task: str | None,
) -> Opened | None:
    """The job's document as the edit would leave it.

    own, task: its files before the edit. A text may look like a job without being one.
    """
    settings = files.settings
    for path, data in written.items():
        if data is None or path == task or (path != own and not is_job_path(path, settings)):
            continue
        opened = Opened(path, data, 0, settings)
        for number, document in enumerate(opened.read().documents):
            if document.id == job_id:
                return replace(opened, number=number)
    return before


def own_files(files: EditFiles, before: Opened | None) -> tuple[str | None, str | None]:
    """The real paths of the job's file and its task file before the edit."""
    if before is None:
        return None, None
    source = before.keys.get("task_source_path")
    if not isinstance(source, str):
        return real_of(files, before.path), None
    found = files.read(source)
    # A missing file is still the job's own, because the job's file names it.
    return real_of(files, before.path), source if isinstance(found, Fault) else found.real


def sharing(files: EditFiles, path: str, job_id: str) -> Iterator[str]:
    """Other jobs that run the text of this file, also as their check, under any name."""
    real = files.leads_to(path)
    for document in files.documents():
        if document.id in (None, job_id):
            continue
        if any(files.leads_to(source) == real for source in document.task_paths):
            yield str(document.id)


def is_own_check(files: EditFiles, path: str, job_id: str) -> bool:
    """True if this file is the text of the job's check."""
    real = files.leads_to(path)
    own = (each.check_path for each in files.documents() if each.id == job_id)
    return any(each is not None and files.leads_to(each) == real for each in own)


def task_fault(files: EditFiles, path: str) -> Fault | None:
    """Why a task file could not be run, or None if it could."""
    source = files.read(path)
    return source if isinstance(source, Fault) else text_fault(source.data, files.settings)


def text_fault(text: bytes, settings: Settings) -> Fault | None:
    limit = settings.limits.task_bytes
    if len(text) > limit:
        return Fault(
            reason="source_too_large", message=f"the task has {len(text):,} bytes; limits.task_bytes is {limit:,}"
        )
    return check_text(text)
