"""What a caller who is limited to some jobs may see."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from scheduler.core.formats.globs import matches_job
from scheduler.ledger import queries
from scheduler.service.root import Root


def visible_jobs(root: Root, patterns: Sequence[str]) -> frozenset[str]:
    """The ids of the jobs in the database that match one of the patterns."""
    with root.store() or contextlib.nullcontext() as store:
        found = [] if store is None else store.read(queries.summaries)
    return frozenset(job.id for job in found if matches_job(job.id, job.tags, patterns))
