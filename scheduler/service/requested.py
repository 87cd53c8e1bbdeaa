"""Runs that a face asks the daemon for, and never carries out itself; and what a caller with patterns may see."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence

from scheduler.core.formats.globs import matches_job
from scheduler.core.values.problems import RefusedError, UnavailableError, UsageError
from scheduler.core.values.runs import Run
from scheduler.ledger import queries, requested, runs
from scheduler.service.root import Root


def request_run(root: Root, job_id: str, *, task_of: str | None = None, key: str | None = None) -> Run:
    """Let the daemon start a run, and return it as it is then.

    key: of the request. A repeated one gets the first run, even after a crash; keys of two callers never meet.
    Raises: UnavailableError without a daemon; RefusedError as `run_job`, or if an earlier request with this key is
    under way, or was cut off before its run was known.
    """
    from scheduler.run.local.cancel import Cancel
    from scheduler.service.run import run_job

    if key is None:
        _need_daemon(root)
        return run_job(root, job_id, cancel=Cancel(), wait=False, task_of=task_of)
    named = hashlib.sha256("\0".join((root.actor, job_id, task_of or "", key)).encode()).hexdigest()
    with root.job(job_id, to_write=True) as (store, job):
        if not store.write(requested.take_key, named, job.id, now=root.clock.now()):
            n = store.read(requested.run_of_key, named)
            run = None if n is None else store.read(runs.find_run, job.id, n)
            if run is None:
                raise RefusedError(
                    "an earlier request with this Idempotency-Key has no known run",
                    hint=f"GET /api/jobs/{job.id}/runs shows whether it started one; use a new key for another run",
                )
            return run
        try:
            _need_daemon(root)
        except UnavailableError:
            store.write(requested.free_key, named)
            raise
        try:
            run = run_job(root, job_id, cancel=Cancel(), wait=False, task_of=task_of)
        except (RefusedError, UsageError):  # without a row; after any other error the daemon may still start it
            store.write(requested.free_key, named)
            raise
        store.write(requested.keep_run, named, run.n)
        return run


def _need_daemon(root: Root) -> None:
    if root.daemon() is None:
        raise UnavailableError("no daemon is running, so nothing was started", hint="start it with `scheduler serve`")


def visible_jobs(root: Root, patterns: Sequence[str]) -> frozenset[str]:
    """The ids of the jobs in the database that match one of the patterns."""
    with root.store() or contextlib.nullcontext() as store:
        found = [] if store is None else store.read(queries.summaries)
    return frozenset(job.id for job in found if matches_job(job.id, job.tags, patterns))
