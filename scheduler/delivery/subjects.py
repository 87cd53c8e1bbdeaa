"""What a message says of an event: gathered when it is sent, so that it tells how things stand then."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from scheduler.core import views
from scheduler.core.messages.samples import as_sample
from scheduler.core.values.events import Event, EventKind, Subject
from scheduler.core.values.last_lines import last_lines
from scheduler.core.values.runs import Run
from scheduler.core.values.settings import ROOT_JOB_ID, Settings
from scheduler.ledger import queries, runs
from scheduler.ledger.standing import change_since_success, job_row
from scheduler.ledger.store import Store
from scheduler.machine.ends_of_files import end_of
from scheduler.root.place import Place

if TYPE_CHECKING:
    from scheduler.core.answers import JobJson

_SHOWN_LINES = 10


def subject_of(store: Store, place: Place, settings: Settings, event: Event) -> Subject:
    """Raises: UnavailableError."""
    found = subject_of_root(place, settings, event)
    if event.job_id == ROOT_JOB_ID:
        return found
    job = store.read(queries.job, event.job_id)
    run = None if event.run_n is None else store.read(runs.find_run, event.job_id, event.run_n)
    link = None
    if settings.base_url is not None:
        link = f"{settings.base_url}/{f'jobs/{event.job_id}' if run is None else f'runs/{run.id}'}"
    return replace(
        found,
        timezone=settings.timezone if job is None else job.due_by.timezone,
        job_name=None if job is None else job.file.spec.name,
        tries=1 if job is None else job.file.spec.retry.attempts,
        run=run,
        stderr=_stderr(place, event, run),
        change=None if run is None else store.read(change_since_success, run),
        link=link,
    )


def subject_of_root(place: Place, settings: Settings, event: Event) -> Subject:
    """An event of the root, or the sample that a test asks for."""
    root, host = place.label.name, socket.gethostname()
    return as_sample(Subject(event=event, root=root, host=host, timezone=settings.timezone))


def _stderr(place: Place, event: Event, run: Run | None) -> tuple[str, ...]:
    if run is None or not run.attempts or event.kind is EventKind.STARTED:
        return ()
    path = place.output(run.job_id, run.n, run.attempts[-1].n, "stderr")
    return tuple(last_lines(end_of(path), _SHOWN_LINES))


def job_json_of(store: Store, event: Event, now: datetime) -> JobJson | None:
    """The job of an event, with the text that the last sync saw. None for an event of the root."""
    job = None if event.job_id == ROOT_JOB_ID else store.read(queries.job, event.job_id)
    if job is None:
        return None
    return views.job_json(job, store.read(job_row, job, now), task_sha256=job.file.task_sha256)
