"""Files as desired state: every job file read and parsed, and its task checked.

Complete or an error, never silently partial: the result names what cannot be listed or read, so that a plan can tell
"cannot read" from "deleted" (S2-S4).
"""

from __future__ import annotations

import hashlib
import itertools
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from scheduler.core.formats.queues import MOST_TASK_BYTES, queue_of
from scheduler.core.plan.desired import Desired, Found, Read
from scheduler.core.values.facts import Fault, Provenance
from scheduler.core.values.hidden import HIDDEN_HINT, find_hidden, names_of
from scheduler.core.values.lookalikes import plain_hint
from scheduler.core.values.problems import Problem, Severity, did_you_mean, nearest
from scheduler.core.values.settings import RunnerSpec, Settings
from scheduler.core.values.spec import FRESH
from scheduler.core.values.texts import BOM, Lines
from scheduler.git.folder import git_folder, is_unborn
from scheduler.git.tree import Tree
from scheduler.root.files import Files, WorkingTree
from scheduler.root.listing import Listing, is_text, list_job_files
from scheduler.root.parsed import Parsed
from scheduler.root.reading import Source
from scheduler.root.tasks import JOB_FILE_BYTES, check_text, unmerged

if TYPE_CHECKING:
    from scheduler.core.formats.jobfile import Document, JobFile

_HINT = "make it readable"
# Hints for unreadable job files, each with the code of its problem, and for unreadable tasks.
_FILE_CODES = {
    "source_missing": ("file.missing", "correct the link, or delete it"),
    "source_not_regular": ("file.not-regular", "rename it, or put a file in its place"),
    "source_outside_root": ("file.outside-root", "put a copy of the file here"),
    "source_denied": ("file.denied", "make it readable for the user that runs the scheduler"),
    "source_too_large": (
        "file.too-large",
        "split it, or move long texts into files of their own with task_source_path",
    ),
}
_TASK_HINTS = {
    "source_missing": "create the file, or correct the path",
    "source_not_regular": "give a regular file",
    "source_outside_root": "put a copy of the file in the root",
    "source_denied": "make it readable for the user that runs the scheduler",
    "source_too_large": "shorten it, or raise limits.task_bytes in scheduler.yaml",
    "source_not_utf8": "save the file as UTF-8",
    "source_empty": "write the task into it",
    "source_conflict_markers": "resolve the conflict and delete its markers",
}
_MANY_FILES = 1_000  # from so many on, a second process pays
_MOST_NAMES = 1_000  # names of a folder searched for the one that was meant


def read_desired(
    files: Files,
    settings: Settings,
    tree: Tree,
    *,
    only: str | None = None,
    listed: Listing | None = None,
    parsed: Parsed | None = None,
    shared: bool = False,
) -> Desired:
    """The desired state from the files as they are now.

    only: one root-relative job file instead of all that `jobs` matches (the partial pass of F1).
    listed: the job files to read, and what was found on the way to them, instead of listing them here.
    shared: a second process reads half of many files: only where nothing else needs the processor.
    Raises: UnavailableError if the root itself cannot be listed.
    """
    parsed = parsed if parsed is not None else Parsed()
    parsed.start(settings)
    if only is not None:
        listed = Listing(paths=[only])
    listing = list_job_files(files, settings.jobs) if listed is None else listed
    problems = list(listing.problems)
    read: list[tuple[JobFile, Provenance, str]] = []
    broken: set[str] = set()
    empty: set[str] = set()
    sources: dict[str, Read] = {}

    def judge(source: Source | Fault) -> _Judged | Fault:
        if isinstance(source, Fault):
            return source
        sha256 = source.sha256
        provenance = tree.provenance(source.real, source.data)
        return _Judged(parsed.read(source, sha256, settings), Read(source.real, provenance, sha256))

    for name, judged in zip(listing.paths, _judge_all(judge, files, listing.paths, shared=shared), strict=True):
        if isinstance(judged, Fault):
            if only is None or judged.reason != "source_missing":
                # Its jobs are known under one of the two: a file that a link replaced held them under its own name.
                broken |= {name, files.leads_to(name)}
                problems.append(_file_problem(name, judged))
            continue
        job_file = judged.job_file
        if job_file.path in sources:
            continue  # a symlink beside its target: one file, counted once
        sources[job_file.path] = judged.read
        problems.extend(job_file.problems)
        if job_file.broken:
            broken.add(job_file.path)
        if job_file.empty:
            empty.add(job_file.path)
        read.append((job_file, judged.read.provenance, judged.read.sha256))
    texts = _texts(files, settings, tree, [document for job_file, *_ in read for document in job_file.documents])
    found: list[Found] = []
    for job_file, provenance, file_sha256 in read:
        for document in job_file.documents:
            path, text = document.task_source_path, document.text
            task = texts[path] if path is not None else None if text is None else _inline(text, settings)
            if isinstance(task, Fault):
                near = _near_file(files, path) if path is not None and task.reason == "source_missing" else ""
                problems.append(_task_problem(document, task, near))
            elif task is not None and task.hidden:
                message = f"{path} holds {task.hidden}"
                problem = Problem(document.path, *document.task_place, "text.hidden", message, HIDDEN_HINT)
                problems.append(replace(problem, severity=Severity.WARNING, job_id=document.id))
            runner = None if document.spec is None else settings.runners.get(document.spec.runner)
            if isinstance(task, _Text) and runner is not None and runner.takes_for_option(task.start):
                problems.append(_option_problem(document, runner.name))
                task = None
            if (
                isinstance(task, _Text)
                and task.size > MOST_TASK_BYTES
                and (too_long := _queue_problem(document, runner))
            ):
                problems.append(too_long)
                task = None
            if document.spec is not None and document.spec.workdir == FRESH and (why := _no_repository(files)):
                place, message = document.workdir_place, f"workdir is fresh, but {why[0]}"
                problems.append(
                    Problem(document.path, *place, "workdir.no-repository", message, why[1], job_id=document.id)
                )
                task = None
            checked = _check_text(files, settings, document, texts)
            if isinstance(checked, Problem):
                problems.append(checked)
            elif checked is not None and checked.read is not None:
                sources[checked.path] = checked.read
            known = None if document.spec is None or isinstance(task, Fault) else task
            if known is not None and known.read is not None:
                sources[known.path] = known.read
            found.append(
                Found(
                    document=document,
                    task_sha256=None if known is None else known.sha256,
                    provenance=provenance,
                    file_sha256=file_sha256,
                    task_dirty=None if known is None or known.read is None else known.read.provenance.dirty,
                    check_fault=isinstance(checked, Problem),
                )
            )
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


class _Judged(NamedTuple):
    """What is kept of a job file. A tuple: thousands of them may come from another process."""

    job_file: JobFile
    read: Read


def _judge_all(
    judge: Callable[[Source | Fault], _Judged | Fault], files: Files, paths: Sequence[str], *, shared: bool
) -> Iterable[_Judged | Fault]:
    if shared and len(paths) >= _MANY_FILES:
        from scheduler.core.formats import jobfile  # noqa: F401 - slow to import: once, for both
        from scheduler.machine.forks import in_two

        return in_two(lambda path: judge(files.read(path, limit=JOB_FILE_BYTES)), paths)
    return map(judge, files.read_all(paths, limit=JOB_FILE_BYTES))


@dataclass(frozen=True, slots=True)
class _Text:
    """What is kept of a task that could run."""

    sha256: str
    path: str = ""
    read: Read | None = None  # its place, if it has its own file
    hidden: str = ""  # the invisible characters of that file, in words
    start: bytes = b""  # its first byte
    size: int = 0  # bytes


def _texts(files: Files, settings: Settings, tree: Tree, documents: Sequence[Document]) -> Mapping[str, _Text | Fault]:
    """The files that are a whole task, by the path that documents name them by. Each is read once."""
    paths = list(dict.fromkeys(path for each in documents for path in each.task_paths))
    found: dict[str, _Text | Fault] = {}
    for path, source in zip(paths, files.read_all(paths, limit=settings.limits.task_bytes), strict=True):
        if isinstance(source, Fault):
            found[path] = source
        elif fault := check_text(source.data) or unmerged(source.real, source.data, tree):
            found[path] = fault
        else:
            read = Read(source.real, tree.provenance(source.real, source.data), source.sha256)
            text = source.data.decode().removeprefix(BOM)
            hidden = find_hidden(text)
            words = "" if hidden is None else names_of(hidden, Lines(text))
            found[path] = _Text(
                source.stands_for or source.sha256, source.path, read, words, source.data[:1], len(source.data)
            )
    return found


def _check_text(
    files: Files, settings: Settings, document: Document, texts: Mapping[str, _Text | Fault]
) -> _Text | Problem | None:
    """The text of a document's check, or what is wrong with it. None if it has none."""
    path, inline = document.check_path, document.check_text
    if path is None and inline is None:
        return None
    text = texts[path] if path is not None else _inline(inline or b"", settings)
    if isinstance(text, Fault):
        near = _near_file(files, path) if path is not None and text.reason == "source_missing" else ""
        return _task_problem(document, text, near, of_check=True)
    spec = document.spec
    runner = None if spec is None or spec.check is None else settings.runners.get(spec.check.runner)
    if runner is not None and runner.takes_for_option(text.start):
        return _option_problem(document, runner.name, of_check=True)
    return text


def _inline(text: bytes, settings: Settings) -> _Text | Fault:
    limit = settings.limits.task_bytes
    if len(text) > limit:
        return Fault(reason="source_too_large", message=f"the task has {len(text):,} bytes; the limit is {limit:,}")
    return check_text(text) or _Text(hashlib.sha256(text).hexdigest(), start=text[:1], size=len(text))


def _near_file(files: Files, path: str) -> str:
    """A hint with the file in the same folder that was probably meant."""
    folder, _, name = path.rpartition("/")
    if files.leads_to(folder or ".") != (folder or "."):
        return ""  # reached by a link: do not list what is there
    try:
        some = list(itertools.islice(files.scan(folder), _MOST_NAMES))
    except OSError:
        return ""
    near = nearest(name, [each for each, kind in some if kind == "file" and is_text(each) and not each.startswith(".")])
    return "" if near is None else did_you_mean(path, [posixpath.join(folder, near)])


def _option_problem(document: Document, runner: str, *, of_check: bool = False) -> Problem:
    place = document.check_place if of_check else document.task_place
    message = f"the {'check' if of_check else 'task'} starts with -, so runner {runner!r} would pass it as an option"
    hint = 'start it with another character, or write "--" before "{task}" in the command of the runner'
    return Problem(document.path, *place, "runner.task-option", message, hint, job_id=document.id)


def _queue_problem(document: Document, runner: RunnerSpec | None) -> Problem | None:
    """What is wrong with a task of more than MOST_TASK_BYTES, if it is sent to a queue."""
    if document.spec is None or (queue := queue_of(document.spec, runner)) is None:
        return None
    message = f"the task has more than {MOST_TASK_BYTES:,} bytes, which is the most that is sent to queue {queue!r}"
    hint = "shorten it, or write task_queue: local to run it here"
    return Problem(document.path, *document.task_place, "queue.task-bytes", message, hint, job_id=document.id)


def _no_repository(files: Files) -> tuple[str, str] | None:
    """Why no worktree can be made of the files' repository, and what to do about it. None if one can."""
    if not isinstance(files, WorkingTree):
        return None  # they are in a commit
    if git_folder(files.root) is None:
        return "the root is not in a git repository", "run: git init, or name a folder"
    return ("the repository has no commit yet", "make a first commit") if is_unborn(files.root) else None


def _task_problem(document: Document, fault: Fault, near: str = "", *, of_check: bool = False) -> Problem:
    path, place = document.task_source_path, document.task_place
    if of_check:
        path, place = document.check_path, document.check_place
    code = "task.missing" if fault.reason == "source_missing" else "task.unreadable"
    odd = plain_hint(path or "") if code == "task.missing" else ""
    hint = near or odd or _TASK_HINTS.get(fault.reason, _HINT)
    return Problem(document.path, *place, code, fault.message, hint, job_id=document.id)


def _file_problem(path: str, fault: Fault) -> Problem:
    code, hint = _FILE_CODES.get(fault.reason, ("file.unreadable", _HINT))
    hint += "; the jobs it held keep their last good definition"
    return Problem(path, 1, 1, code, fault.message, hint)
