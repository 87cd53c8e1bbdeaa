"""The read at fire time: a job's task as it is on disk at that moment, or the reason why it cannot run (F2)."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from scheduler.core.values.facts import Fault, Provenance, RunnerFile, Task
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import JobSpec
from scheduler.core.values.texts import conflict_line, example_line
from scheduler.root.reading import Source

if TYPE_CHECKING:  # it starts processes, which `list` never does
    from scheduler.git.tree import Tree
    from scheduler.root.files import Files
    from scheduler.root.parsed import Parsed

JOB_FILE_BYTES = 1024 * 1024  # design section 3, Strictness


def read_task(
    files: Files,
    spec: JobSpec,
    job_path: str,
    settings: Settings,
    *,
    parsed: Parsed | None = None,
    of_check: bool = False,
) -> Task | Fault:
    """The text to run and the file it came from, or a Fault whose reason starts with `source_`.

    of_check: the text of its check; `spec` is then `JobSpec.of_check`.
    job_path: root-relative path of the job file, read only if it contains the text.
    parsed: saves parsing a file that is byte for byte what the last pass parsed.

    A task file is the task as a whole, front matter included. An older text is never returned in its place.
    """
    limit, path = settings.limits.task_bytes, spec.task_source_path
    found = files.read(job_path, limit=JOB_FILE_BYTES) if path is None else files.read(path, limit=limit)
    if isinstance(found, Fault):
        return found
    if path is not None:
        return check_text(found.data) or _task(found.data, found)
    # Markers anywhere in the file count: which side of a conflict a text is on would be a guess.
    if fault := _not_text(found.data) or _conflict(found.data):
        return fault
    text = inline_text(spec.id, found, settings, parsed, of_check=of_check)
    if isinstance(text, Fault):
        return text
    if len(text) > limit:
        return Fault(reason="source_too_large", message=f"the task in {job_path!r} is larger than {limit:,} bytes")
    return check_text(text) or _task(text, found)


def _task(text: bytes, source: Source) -> Task:
    real = None if source.real == source.path else source.real
    return Task(text=text, source_path=source.path, source=source.data, real_path=real)


def inline_text(
    job_id: str, source: Source, settings: Settings, parsed: Parsed | None, *, of_check: bool = False
) -> bytes | Fault:
    """The text of a job, or of its check, that stands in its job file; or a Fault, `source_invalid`."""
    job_file = None if parsed is None else parsed.look_up(source, settings)
    if job_file is None:
        from scheduler.core.formats.jobfile import read_job_file

        job_file = read_job_file(source.path, source.data, settings)
    documents = [each for each in job_file.documents if each.id == job_id]
    match documents:
        case [document]:
            inline = document.check_text if of_check else document.text
            if inline is not None:
                return inline
            why = f"has no usable {'check' if of_check else 'task'} for {job_id!r}"
        case []:
            why = f"no longer defines {job_id!r}, or cannot be parsed"
        case _:
            why = f"defines {job_id!r} {len(documents)} times"
    return Fault(reason="source_invalid", message=f"{source.path!r} {why}")


_TASK_LINE = re.compile(rb"^task:[ \t]*([^\n]*)\n?", re.MULTILINE)
_MOST_GUESSES, _MOST_GUESSED_BYTES = 8, 64 * 1024


def guessed_text(data: bytes, sha256: str) -> bytes | None:
    """The text with this sha256 in a job file, as most of them are written. None: only the parser can find it.

    Nothing depends on how YAML is read here: another text has another sha256.
    """
    for text in itertools.islice(_guesses(data) if len(data) <= _MOST_GUESSED_BYTES else (), _MOST_GUESSES):
        if hashlib.sha256(text).hexdigest() == sha256:
            return text
    return None


def _guesses(data: bytes) -> Iterator[bytes]:
    if data.startswith(b"---\n") and (end := data.find(b"\n---\n", 3)) >= 0:
        yield data[end + 5 :]  # Markdown
    for found in _TASK_LINE.finditer(data):
        value = found[1].strip()
        if value in (b"|", b"|-"):
            yield _block(data, found.end()) + b"\n" * (value == b"|")
        elif value[:1] in (b"'", b'"'):
            yield value[1:-1]
        else:
            yield value


def _block(data: bytes, start: int) -> bytes:
    """The lines from there on that are indented like the first one, or empty, without their indentation."""
    first = data[start : data.find(b"\n", start) + 1]
    indent = first[: len(first) - len(first.lstrip(b" "))]
    lines = []
    for line in data[start:].split(b"\n"):
        if line and not line.startswith(indent):
            break
        lines.append(line[len(indent) :])
    return b"\n".join(lines).rstrip(b"\n")


def check_text(data: bytes) -> Fault | None:
    """Why these bytes cannot be a task: source_not_utf8, source_conflict_markers, source_empty. None if they can."""
    if fault := _not_text(data) or _conflict(data):
        return fault
    if not data.decode("utf-8").removeprefix("\ufeff").strip():
        return Fault(reason="source_empty", message="the task is empty or only whitespace")
    return None


def not_committed(path: str, tree: Tree, source: Provenance) -> Fault | None:
    """Why a task from this file is not known to be committed, as `worktree.dirty: skip` requires. None if it is.

    A file that differs only by git's own conversions is the committed one. If git cannot tell, nothing is committed.
    """
    rule = "worktree.dirty is skip"
    if not tree.in_repository:
        return Fault(reason="source_dirty", message=f"{rule}, and the commit is unknown: {tree.why_unavailable}")
    if source.dirty == "untracked" or source.revision is None:
        return Fault(reason="source_dirty", message=f"{path!r} is not committed, and {rule}")
    if source.dirty == "modified":
        return Fault(reason="source_dirty", message=f"{path!r} has uncommitted changes, and {rule}")
    return None


def not_committed_files(found: Sequence[RunnerFile], tree: Tree) -> Fault | None:
    """Why a file that a runner names is not known to be committed. Ignored files are not meant to be, and may run."""
    for each in found:
        if each.dirty in (None, "converted") or (each.dirty == "untracked" and tree.ignores(each.path)):
            continue
        what = {"modified": "has uncommitted changes", "untracked": "is not committed"}.get(
            each.dirty, "is not readable"
        )
        return Fault(
            reason="source_dirty", message=f"{each.path!r}, which the runner names, {what}, and worktree.dirty is skip"
        )
    return None


def unmerged(path: str, data: bytes, tree: Tree) -> Fault | None:
    """Why a file with conflict markers in a fence has a real conflict: git does not have it as resolved."""
    line = example_line(data)
    return _marked(line) if line is not None and tree.is_unmerged(path) else None


def _not_text(data: bytes) -> Fault | None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return Fault(reason="source_not_utf8", message=f"not valid UTF-8 at byte offset {error.start}")
    return None


def _conflict(data: bytes) -> Fault | None:
    line = conflict_line(data)
    return None if line is None else _marked(line)


def _marked(line: int) -> Fault:
    return Fault(reason="source_conflict_markers", message=f"merge-conflict markers from line {line}")
