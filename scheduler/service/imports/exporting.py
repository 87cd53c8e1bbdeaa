"""Jobs with all their history as lines of JSON, for another machine too; `unpacking` reads them back.

The first line says what it is, the last how many there are: a file that was cut off is not taken for a whole one.
A job's files stand in it as text, so that whoever reads them back gets the files, comments and all.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler import __version__
from scheduler.core.edits.jobedit import document_text
from scheduler.core.formats.jobfile import is_markdown
from scheduler.core.past.past import Past
from scheduler.core.values.facts import Fault
from scheduler.core.values.instants import instant
from scheduler.core.values.texts import decode
from scheduler.core.views import Json
from scheduler.ledger import carried, queries, runs
from scheduler.root.files import WorkingTree
from scheduler.service.edit.trees import EditFiles, open_job
from scheduler.service.root import Root

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFiles:
    """The file that a job stands in, and the one its task stands in, as they are on disk."""

    path: str
    text: str  # of the whole file, or of its document in a file of several
    number: int = 0  # of the document in its file
    task_path: str | None = None
    task: bytes | None = None


def export_jobs(root: Root, job_ids: Sequence[str]) -> Iterator[Json]:
    """The lines of an export of these jobs, or of all; their unfinished runs are left out.

    Raises: UsageError for an unknown job; RefusedError, UnavailableError for one whose file cannot be read.
    """
    with root.need_store(job_ids[0] if job_ids else "") as store:
        jobs = [root.find_job(store, each) for each in dict.fromkeys(job_ids)] or list(store.read(queries.jobs))
        tree = EditFiles(WorkingTree(root.place))
        files = {job.id: None if job.archived else _job_files(tree, job.id) for job in jobs}
        under_way = {each.run.job_id for each in store.read(runs.active)}
        for job in jobs:
            if job.id in under_way:
                root.tell(f"{job.id} has a run that has not ended: it is left out")
        found = ((job.id, files[job.id], store.read(carried.past_of, job.id)) for job in jobs)
        yield from _lines(found, now=root.clock.now(), actor=root.actor)


def _job_files(tree: EditFiles, job_id: str) -> JobFiles:
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


def _lines(jobs: Iterable[tuple[str, JobFiles | None, Past]], *, now: datetime, actor: str) -> Iterator[Json]:
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
