"""What a monitor reads: whether the root is served, and gauges of its jobs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

from scheduler.core.formats.globs import matches_job
from scheduler.core.past.presence import DaemonState
from scheduler.core.values.facts import JobSummary
from scheduler.core.values.problems import SchedulerError
from scheduler.ledger import queries, syncs
from scheduler.service.jobs import held_in
from scheduler.service.presence import find_daemon
from scheduler.service.root import Root

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def readiness(root: Root) -> str:
    """Why this root is not served now, in general words, because anybody may ask; empty if it is."""
    try:
        with root.store() or contextlib.nullcontext() as store:
            if store is None:
                return "the root was never synced"
            store.read(queries.job_ids, since=2**62)
            found = find_daemon(root, store, [], root.clock.now())
    except SchedulerError:
        return "the database cannot be read"
    fine = found.presence.state in (DaemonState.SERVING, DaemonState.OBSERVING)
    return "" if fine else "no daemon answers"


def metrics(root: Root, *, jobs: bool = True, patterns: Sequence[str] = ()) -> str:
    """Gauges in the text format of Prometheus, of jobs that match the patterns. jobs: also the ones of each job."""
    with root.store() or contextlib.nullcontext() as store:
        found = [] if store is None else store.read(queries.summaries)
        problems = [] if store is None else store.read(syncs.problems)
        active = [] if store is None else store.read(queries.active_runs)
        held = held_in(root, store)
    seen = [job for job in found if not patterns or matches_job(job.id, job.tags, patterns)]
    ids = {job.id for job in seen}
    lines = [
        *_gauge("scheduler_held", "1 while syncs are held.", [("", int(bool(held)))]),
        *_gauge(
            "scheduler_problems",
            "Problems in the files.",
            [("", sum(not patterns or each.job_id in ids for each in problems))],
        ),
        *_gauge("scheduler_active_runs", "Runs that have not ended.", [("", sum(run.job_id in ids for run in active))]),
    ]
    if jobs:
        lines += _of_jobs([job for job in seen if not job.archived])
    return "".join(f"{line}\n" for line in lines)


def _of_jobs(jobs: Sequence[JobSummary]) -> Iterator[str]:
    labels = [(job, f'{{job="{job.id.translate(_ESCAPES)}"}}') for job in jobs]
    yield from _gauge(
        "scheduler_next_fire_timestamp_seconds",
        "The next slot.",
        [(label, job.next_run_at.timestamp()) for job, label in labels if job.next_run_at is not None],
    )
    yield from _gauge(
        "scheduler_consecutive_errors",
        "Failures since the last success.",
        [(label, job.consecutive_errors) for job, label in labels],
    )


def _gauge(name: str, words: str, values: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} gauge"
    yield from (f"{name}{label} {value}" for label, value in values)
