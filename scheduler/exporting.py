"""Jobs with all their history as lines of JSON, written and read back; on another machine too.

The first line says what it is, the last how many there are: a file that was cut off is not taken for a whole one.
A job's files stand in it as text, so that whoever reads them back gets the files, comments and all.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from scheduler import __version__
from scheduler.core.jobedit import document_text
from scheduler.core.jobfile import is_markdown
from scheduler.core.models import Fault, instant, parse_instant
from scheduler.core.past import Past, check_row
from scheduler.core.paths import PathError, check_path
from scheduler.core.problems import SchedulerError, UsageError
from scheduler.core.texts import decode
from scheduler.trees import WorkingTree, open_job
from scheduler.views import Json

FORMAT = 1
_AGAIN = "nothing was read; copy the file again, or make it anew with `scheduler export JOB > FILE`"
_KINDS = ("definition", "text", "run", "audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFiles:
    """The file that a job stands in, and the one its task stands in, as they are on disk."""

    path: str
    text: str  # of the whole file, or of its document in a file of several
    number: int = 0  # of the document in its file
    task_path: str | None = None
    task: bytes | None = None


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
    slots: set[datetime] = field(default_factory=set)  # that have a row

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


# -- out ---------------------------------------------------------------------------------------


def files_of(tree: WorkingTree, job_id: str) -> JobFiles:
    """What the disk says of a job. Raises: SchedulerError where its file or its task's cannot be read."""
    job = open_job(tree, job_id)
    text = decode(job.data) if is_markdown(job.path) or job.alone else document_text(job, head=True)
    task_path = job.keys.get("task_source_path")
    if not isinstance(task_path, str):
        return JobFiles(path=job.path, text=text, number=job.number)
    source = tree.read(task_path)
    return JobFiles(
        path=job.path,
        text=text,
        number=job.number,
        task_path=task_path,
        task=None if isinstance(source, Fault) else source.data,
    )


def lines(jobs: Iterable[tuple[str, JobFiles | None, Past]], *, now: datetime, actor: str) -> Iterator[Json]:
    """The lines of an export: a job, and behind it all that belongs to it."""
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


# -- in ----------------------------------------------------------------------------------------


def read_export(data: Sequence[bytes] | Iterator[bytes], name: str) -> list[Exported]:
    """data: the lines. Raises: UsageError, naming the line, where it is no whole export of a format that is known."""
    jobs: dict[str, Exported] = {}
    number, end = 0, False
    for number, raw in enumerate(data, 1):
        if end:
            raise UsageError(f"{name}:{number}: there is more behind the line that says `end`")
        try:
            found = json.loads(raw)
            if not isinstance(found, dict):
                raise ValueError("it is no JSON object")
            end = _read_line(found, number, jobs)
        except (SchedulerError, PathError) as error:
            raise UsageError(f"{name}:{number}: {error}", hint=error.hint) from None
        except json.JSONDecodeError as error:
            raise UsageError(
                f"{name}:{number}: this is no line of an export: at character {error.colno}: {error.msg}", hint=_AGAIN
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"{name}:{number}: this is no line of an export: {why}", hint=_AGAIN) from None
    if not end:
        raise UsageError(
            f"{name}:{max(number, 1)}: the export ends in its middle: its last line does not say `end`",
            hint=_AGAIN,
        )
    return list(jobs.values())


def _read_line(found: Mapping[str, Any], number: int, jobs: dict[str, Exported]) -> bool:
    """Whether it is the last one."""
    kind = found["kind"]
    if (number == 1) != (kind == "export"):
        raise ValueError("the first line says `export`, and no other")
    if kind == "export":
        if found["format"] != FORMAT:
            why = f"it has format {found['format']!r}, of scheduler {found.get('scheduler')!r:.40}; this reads {FORMAT}"
            raise UsageError(why, hint="install that version here, or a newer one")
    elif kind == "end":
        if found["lines"] != number:
            raise ValueError(f"there are {number} lines, and it says {found['lines']}")
        return True
    elif kind == "job":
        job_id = _text(found["id"])
        if job_id in jobs:
            raise ValueError(f"the job {job_id!r} is here twice")
        jobs[job_id] = Exported(
            id=job_id,
            line=number,
            files=None if found["file"] is None else _files(found["file"]),
            digest=None,
            archived=_archived(found.get("archived")),
            facts=_facts(found["facts"]),
            last_n=_whole(found["last_n"]),
        )
    elif kind in _KINDS:
        job = jobs.get(_text(found["job_id"]))
        if job is None:
            raise ValueError(f"the job {found['job_id']!r} does not stand above it")
        _read_row(kind, {key: value for key, value in found.items() if key not in ("kind", "job_id")}, job)
    else:
        raise ValueError(f"kind {kind!r} is not known")
    return False


def _read_row(kind: str, row: dict[str, Any], job: Exported) -> None:
    if kind == "text":
        data = _bytes(row)
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise ValueError("the text is not the one that its sha256 names")
        job.texts[row["sha256"]] = data
        return
    check_row(kind, row)
    if kind == "run":
        if row["n"] > job.last_n or any(row["n"] <= each["n"] for each in job.rows["run"][-1:]):
            raise ValueError(f"run {row['n']} is not in order, or beyond the last number {job.last_n}")
        if row["trigger"] in ("schedule", "catch_up") and row["reason"] != "void":
            slot = None if row["fire_time"] is None else parse_instant(row["fire_time"])
            if slot in job.slots:
                raise ValueError(f"the slot of run {row['n']} has a row already")
            job.slots |= set() if slot is None else {slot}
        if row["task_sha256"] is not None and row["task_sha256"] not in job.texts:
            raise ValueError(f"the text of run {row['n']} is missing")
        if all(row["generation"] != each["generation"] for each in job.rows["definition"]):
            raise ValueError(f"the definition of run {row['n']} is missing")
    if kind == "definition":
        if any(row["generation"] <= each["generation"] for each in job.rows["definition"]):
            raise ValueError(f"generation {row['generation']} is not in order")
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


def _archived(found: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if found is not None:
        check_row("archived", found)
        check_path(found["path"])
    return found


def _facts(found: Mapping[str, Any]) -> Mapping[str, Any]:
    check_row("job", found)
    return found


def _bytes(found: Mapping[str, Any]) -> bytes:
    return _text(found["text"]).encode() if "text" in found else base64.b64decode(found["base64"], validate=True)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is no text")
    value.encode()  # a lone surrogate can stand in no file
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r:.40} is no number that counts")
    return value
