"""Jobs with all their history as lines of JSON, portable to other machines: writing and reading.

The first line says what the file is, the last how many lines there are, so a truncated file is detected.
A job's files are included as text, so reading them back restores the files, comments and all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from scheduler import __version__
from scheduler.core.edits.jobedit import document_text
from scheduler.core.formats.frontmatter import is_markdown
from scheduler.core.formats.jobfile import Document, read_job_file
from scheduler.core.formats.paths import PathError, check_path
from scheduler.core.imports.incoming import Incoming, Made, free, problem
from scheduler.core.past.past import Past, check_row
from scheduler.core.values.facts import Fault
from scheduler.core.values.instants import instant, parse_instant
from scheduler.core.values.problems import Problem, SchedulerError, UsageError
from scheduler.core.values.settings import ROOT_FILE, Settings
from scheduler.core.values.texts import decode, names
from scheduler.core.values.units import format_size
from scheduler.core.views import Json
from scheduler.ledger import carried, queries, runs
from scheduler.root.files import WorkingTree
from scheduler.service.edit.trees import EditFiles, is_job_path, open_job
from scheduler.service.root import Root

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFiles:
    """The file of a job and the file of its task, as they are on disk."""

    path: str
    text: str  # of the whole file, or of its document in a file with several
    number: int = 0  # of the document in its file
    task_path: str | None = None
    task: bytes | None = None


def export_jobs(root: Root, job_ids: Sequence[str]) -> Iterator[Json]:
    """The lines of an export of these jobs, or of all jobs, without unfinished runs.

    Raises: UsageError for an unknown job; RefusedError or UnavailableError if a file cannot be read.
    """
    with root.need_store(job_ids[0] if job_ids else "") as store:
        jobs = [root.find_job(store, each) for each in dict.fromkeys(job_ids)] or list(store.read(queries.jobs))
        tree = EditFiles(WorkingTree(root.place))
        files = {job.id: None if job.archived else _job_files(tree, job.id) for job in jobs}
        under_way = {each.run.job_id for each in store.read(runs.active)}
        for job in jobs:
            if job.id in under_way:
                root.tell(f"{job.id} has a run that has not ended; that run was left out")
        found = ((job.id, files[job.id], store.read(carried.past_of, job.id)) for job in jobs)
        yield from _lines(found, now=root.clock.now(), actor=root.actor)


def _job_files(tree: EditFiles, job_id: str) -> JobFiles:
    """The files of a job on disk. Raises: SchedulerError if the job's file or its task file cannot be read."""
    job = open_job(tree, job_id)
    text = decode(job.data) if is_markdown(job.path) or job.alone else document_text(job, head=True)
    task_path, task = job.keys.get("task_source_path"), None
    if not isinstance(task_path, str):
        task_path = None
    elif not isinstance(source := tree.read(task_path), Fault):
        task = source.data
    return JobFiles(path=job.path, text=text, number=job.number, task_path=task_path, task=task)


def _lines(jobs: Iterable[tuple[str, JobFiles | None, Past]], *, now: datetime, actor: str) -> Iterator[Json]:
    """The lines of an export: each job, followed by everything that belongs to it."""
    count = 1
    yield {"kind": "export", "format": FORMAT, "scheduler": __version__, "at": instant(now), "by": actor}
    for job_id, files, past in jobs:
        for line in _job_lines(job_id, files, past):
            count += 1
            yield line
    yield {"kind": "end", "lines": count + 1}


def _job_lines(job_id: str, files: JobFiles | None, past: Past) -> Iterator[Json]:
    told: Json | None = None
    if files is not None:
        told = {"path": files.path, "text": files.text, "number": files.number, "task_path": files.task_path}
        told["task"] = None if files.task is None else _bytes_told(files.task)
    job = {"kind": "job", "id": job_id, "file": told, "archived": past.archived}
    yield {**job, "facts": dict(past.facts), "last_n": past.last_n}
    for definition in past.definitions:
        yield {"kind": "definition", "job_id": job_id, **definition}
    for sha256, data in past.texts.items():
        yield {"kind": "text", "job_id": job_id, "sha256": sha256, **_bytes_told(data)}
    for run in past.runs:
        yield {"kind": "run", "job_id": job_id, **run}
    for row in past.audit:
        yield {"kind": "audit", "job_id": job_id, **row}


def _bytes_told(data: bytes) -> Json:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


_AGAIN = "nothing was imported; copy the file again, or export again: `scheduler export JOB > FILE`"
_KINDS = ("definition", "text", "run", "audit")


@dataclass(slots=True, kw_only=True)
class Exported:
    """One job of an export."""

    id: str
    line: int
    files: JobFiles | None
    digest: str | None  # of the definition in force
    archived: Mapping[str, Any] | None  # as of `Past`
    facts: Mapping[str, Any]
    last_n: int
    rows: dict[str, list[Mapping[str, Any]]] = field(default_factory=lambda: {kind: [] for kind in _KINDS})
    texts: dict[str, bytes] = field(default_factory=dict)
    text_lines: dict[str, int] = field(default_factory=dict)  # the line of each text
    slots: set[datetime] = field(default_factory=set)  # the slots that have a row

    @property
    def past(self) -> Past:
        return Past(
            facts=self.facts,
            last_n=self.last_n,
            definitions=tuple(self.rows["definition"]),
            runs=tuple(self.rows["run"]),
            audit=tuple(self.rows["audit"]),
            texts=self.texts,
            archived=self.archived,
        )


def read_export(data: Sequence[bytes] | Iterator[bytes], name: str) -> list[Exported]:
    """data: the lines. Raises: UsageError, naming the line, if it is not a complete export in a known format."""
    jobs: dict[str, Exported] = {}
    number, end = 0, False
    for number, raw in enumerate(data, 1):
        if end:
            raise UsageError(f"{name}:{number}: there is text after the `end` line")
        try:
            found = json.loads(raw)
            if not isinstance(found, dict):
                raise ValueError("it is not a JSON object")
            end = _read_line(found, number, jobs)
        except (SchedulerError, PathError) as error:
            raise UsageError(f"{name}:{number}: {error}", hint=error.hint) from None
        except json.JSONDecodeError as error:
            raise UsageError(
                f"{name}:{number}: not a line of an export: character {error.colno}: {error.msg}", hint=_AGAIN
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"{name}:{number}: not a line of an export: {why}", hint=_AGAIN) from None
    if not end:
        raise UsageError(
            f"{name}:{max(number, 1)}: the export is incomplete: its last line is not the `end` line", hint=_AGAIN
        )
    return list(jobs.values())


def _read_line(found: Mapping[str, Any], number: int, jobs: dict[str, Exported]) -> bool:
    """Read one line. True if it is the last."""
    kind = found["kind"]
    if (number == 1) != (kind == "export"):
        raise ValueError("only the first line may be the `export` line")
    if kind == "export":
        if found["format"] != FORMAT:
            writer = f"{found.get('scheduler')!r:.40}"
            raise UsageError(
                f"it has format {found['format']!r}, written by scheduler {writer}; this version reads {FORMAT}",
                hint="install that version or a newer one",
            )
    elif kind == "end":
        if found["lines"] != number:
            raise ValueError(f"it has {number} lines, but declares {found['lines']}")
        return True
    elif kind == "job":
        job_id = _text(found["id"])
        if job_id in jobs:
            raise ValueError(f"the job {job_id!r} appears twice")
        files = None if found["file"] is None else _files(found["file"])
        if (archived := found.get("archived")) is not None:
            check_row("archived", archived)
            check_path(archived["path"])
        check_row("job", found["facts"])
        last_n = _whole(found["last_n"])
        jobs[job_id] = Exported(
            id=job_id, line=number, files=files, digest=None, archived=archived, facts=found["facts"], last_n=last_n
        )
    elif kind in _KINDS:
        job = jobs.get(_text(found["job_id"]))
        if job is None:
            raise ValueError(f"the line of job {found['job_id']!r} must come before it")
        _read_row(kind, {key: value for key, value in found.items() if key not in ("kind", "job_id")}, job, number)
    else:
        raise ValueError(f"unknown kind {kind!r}")
    return False


def _read_row(kind: str, row: dict[str, Any], job: Exported, number: int) -> None:
    if kind == "text":
        data = _bytes(row)
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise ValueError("the text does not match its sha256")
        job.texts[row["sha256"]] = data
        job.text_lines[row["sha256"]] = number
        return
    check_row(kind, row)
    if kind == "run":
        if row["n"] > job.last_n or any(row["n"] <= each["n"] for each in job.rows["run"][-1:]):
            raise ValueError(f"run {row['n']} is out of order, or above the last number, {job.last_n}")
        if row["trigger"] in ("schedule", "catch_up") and row["reason"] != "void":
            slot = None if row["fire_time"] is None else parse_instant(row["fire_time"])
            if slot in job.slots:
                raise ValueError(f"the slot of run {row['n']} appears twice")
            job.slots |= set() if slot is None else {slot}
        if not {row["task_sha256"], row.get("check_sha256")} - {None} <= job.texts.keys():
            raise ValueError(f"the text of run {row['n']} is missing")
        if all(row["generation"] != each["generation"] for each in job.rows["definition"]):
            raise ValueError(f"the definition of run {row['n']} is missing")
    if kind == "definition":
        if any(row["generation"] <= each["generation"] for each in job.rows["definition"]):
            raise ValueError(f"generation {row['generation']} is out of order")
        job.digest = row["digest"]
    job.rows[kind].append(row)


def _files(found: Mapping[str, Any]) -> JobFiles:
    path, task_path = _text(found["path"]), found["task_path"]
    check_path(path)
    if task_path is not None:
        check_path(_text(task_path))
    task = None if found["task"] is None else _bytes(found["task"])
    return JobFiles(
        path=path, text=_text(found["text"]), number=_whole(found["number"]), task_path=task_path, task=task
    )


def _bytes(found: Mapping[str, Any]) -> bytes:
    return _text(found["text"]).encode() if "text" in found else base64.b64decode(found["base64"], validate=True)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is not text")
    value.encode()  # no file can contain a lone surrogate
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r:.40} is not a non-negative whole number")
    return value


def made_from_export(
    found: Sequence[Exported], tree: EditFiles, folder: str | None, problems: list[Problem]
) -> list[Made]:
    """The files of the jobs, at their own paths or in a folder. Documents that shared a file share one again."""
    here = {each.id: each.path for each in tree.documents() if each.id is not None}
    made: list[Made] = []
    for each in found:
        if each.files is None and not is_buried(each):
            why = f"{each.id!r} has no file, and the export does not say which one it had; its history was left out"
            problems.append(problem(each.line, "archived", why, error=False, job_id=each.id))
    for path, jobs in _together(found, folder).items():
        # A job that has another file here keeps it: in two files it would be a conflict, and not in force at all.
        made += [
            Made(job=Incoming(id=each.id, stem="", keys={}, line=each.line), path=path, data=b"")
            for each in jobs
            if here.get(each.id, path) != path
        ]
        jobs = [each for each in jobs if here.get(each.id, path) == path]
        if not jobs:
            continue
        jobs.sort(key=lambda each: 0 if each.files is None else each.files.number)
        texts = [each.files.text for each in jobs if each.files is not None]
        data = "---\n".join(texts).encode()
        bad = _wrong(path, data, jobs, tree.settings)
        if bad:
            problems += bad
            continue
        documents = {each.id: each for each in read_job_file(path, data, tree.settings).documents}
        if bad := [each for job in jobs for each in _wrong_task(job, documents[job.id], tree.settings)]:
            problems += bad
            continue
        for each in jobs:
            spec = documents[each.id].spec
            if spec is not None and each.digest is not None and spec.digest != each.digest:
                why = f"{each.id}: the `defaults` of this root change its definition"
                hint = f"compare `defaults` in {ROOT_FILE} of both roots; see `scheduler show {each.id}`"
                problems.append(problem(each.line, "definition", why, hint, error=False, job_id=each.id))
            keys = {} if spec is None else {"name": spec.name, "tags": spec.tags, "runner": spec.runner}
            incoming = Incoming(id=each.id, stem="", keys=keys, line=each.line)
            files = each.files
            assert files is not None
            if files.task_path is not None and files.task is None and tree.is_free(files.task_path):
                why = f"{each.id}: its task {files.task_path} was missing when it was exported, and is missing here"
                problems.append(problem(each.line, "task", why, "write that file", job_id=each.id))
            made.append(_exported(incoming, path, data, files, here, tree))
    return made


def is_buried(job: Exported) -> bool:
    """True if it is an archived job without a file."""
    return job.files is None and job.archived is not None and bool(job.rows["definition"])


def _together(found: Sequence[Exported], folder: str | None) -> dict[str, list[Exported]]:
    """The jobs that have a file, by its future path."""
    paths: dict[str, list[Exported]] = {}
    for each in found:
        if each.files is not None:
            paths.setdefault(each.files.path, []).append(each)
    if folder is None:
        return paths
    placed: dict[str, list[Exported]] = {}
    taken: set[str] = set()
    for path, jobs in paths.items():
        stem, suffix = posixpath.splitext(posixpath.basename(path))
        name = free(stem.lower(), taken, path)  # files of different folders can have the same name
        taken.add(name)
        placed[f"{folder}/{stem if name == stem.lower() else name}{suffix}"] = jobs
    return placed


def _exported(job: Incoming, path: str, data: bytes, files: JobFiles, here: Mapping[str, str], tree: EditFiles) -> Made:
    """The files of an exported job. A file here that already contains the exported text stays as it is."""
    if here.get(job.id) == path:
        source = tree.read(path)
        if not isinstance(source, Fault) and files.text.encode() in source.data:
            data = source.data
    return Made(job=job, path=path, data=data, task_path=files.task_path, task=files.task)


def _wrong_task(job: Exported, document: Document, settings: Settings) -> Iterator[Problem]:
    """Problems with the task in an export: only the job's own document says where it is written."""
    assert job.files is not None
    named, told, task = document.task_source_path, job.files.task_path, job.files.task
    if told != named and (told is not None or task is not None):
        why = f"{job.id}: the export has a task for {told!r}, but its job file names {named!r}; it was left out"
        yield problem(job.line, "task", why, "nothing was written for it; export the job again", job_id=job.id)
    elif task is not None and len(task) > settings.limits.task_bytes:
        why = (
            f"{job.id}: its task has {len(task):,} bytes; the limit is {settings.limits.task_bytes:,}; it was left out"
        )
        yield problem(job.line, "task", why, f"raise limits.task_bytes in {ROOT_FILE}, or shorten it", job_id=job.id)
    yield from texts_too_long(job, settings)


def texts_too_long(job: Exported, settings: Settings) -> Iterator[Problem]:
    """Earlier texts longer than a run could get here: without them, the history would have a gap."""
    allowed = settings.limits.task_bytes
    for sha256, data in job.texts.items():
        if len(data) > allowed:
            runs = [f"{job.id}:{each['n']}" for each in job.rows["run"] if each["task_sha256"] == sha256]
            why = f"the task text of {names(runs) or job.id} has {len(data):,} bytes; the limit is {allowed:,}"
            hint = f"raise limits.task_bytes in {ROOT_FILE} to {format_size(len(data))} or more, and import again"
            line = job.text_lines[sha256]
            yield problem(line, "task", f"{why}; {job.id} was left out, with its history", hint, job_id=job.id)


def _wrong(path: str, data: bytes, jobs: Sequence[Exported], settings: Settings) -> list[Problem]:
    line, ids = jobs[0].line, [each.id for each in jobs]
    if not is_job_path(path, settings):
        why = f"{path} is not a job file of this root; left out: {', '.join(ids)}"
        hint = f"choose a folder with --to that a glob of `jobs` in {ROOT_FILE} matches: {', '.join(settings.jobs)}"
        return [problem(line, "path", why, hint, job_id=ids[0])]
    file = read_job_file(path, data, settings)
    found = [each for each in file.problems if each.is_error]
    if not found and [each.id for each in file.documents] != ids:
        return [problem(line, "path", f"{path} differs from what the export says; left out: {', '.join(ids)}")]
    return [
        replace(
            problem(
                line, "", f"{path}:{each.line}: {each.message}; left out: {', '.join(ids)}", each.hint, job_id=ids[0]
            ),
            code=each.code,
        )
        for each in found
    ]
