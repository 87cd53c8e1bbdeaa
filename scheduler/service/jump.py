"""Where a word that somebody typed leads: to a job, to a run, or to the jobs whose ids contain it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from scheduler.ledger import queries, runs
from scheduler.service.root import Root

MOST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """job, run: what has exactly this name. jobs: at most MOST, those that begin with it first."""

    job: str | None = None
    run: str | None = None
    jobs: tuple[str, ...] = ()
    more: bool = False  # jobs than these


def find(root: Root, text: str) -> Found:
    """What is in the database; nothing for a root that was never synced. Reads the ids only."""
    with root.store() or contextlib.nullcontext() as store:
        if store is None or not text:
            return Found()
        if (job := store.read(queries.job, text)) is not None:
            return Found(job=job.id)
        job_id, _, number = text.rpartition(":")
        if number.isascii() and number.isdigit() and len(number) <= 15:
            run = store.read(runs.find_run, job_id, int(number))
            if run is not None:
                return Found(run=run.id)
        found = store.read(queries.job_ids_with, text, most=MOST + 1)
    return Found(jobs=tuple(found[:MOST]), more=len(found) > MOST)
