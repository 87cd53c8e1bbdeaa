"""The verbs that show what ran, what was changed, and why a job did or did not fire: history, task, audit, explain."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from scheduler.core import views
from scheduler.core.values.problems import UsageError
from scheduler.core.values.runs import Run, RunStatus
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.ledger import lives, queries, runs
from scheduler.ledger.audit import read_audit
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import AuditJson, ExplainJson, HistoryJson


def history(
    root: Root, job_id: str, *, count: int | None = None, status: RunStatus | None = None, prefix: bool = False
) -> HistoryJson:
    """A job's runs and skips, newest first."""
    with root.job(job_id, prefix=prefix) as (store, job):
        return {"runs": [views.run_json(run) for run in store.read(queries.runs, job.id, limit=count, status=status)]}


def run_of(root: Root, run_id: str, *, prefix: bool = False) -> Run:
    """The run that `JOB:N` names. Raises: UsageError."""
    job_id, _, number = run_id.rpartition(":")
    if not job_id or not number.isascii() or not number.isdigit() or len(number) > 15:
        raise UsageError(f"{run_id!r} does not name a run", hint="a run is JOB:N, such as heartbeat:12")
    with root.job(job_id, prefix=prefix) as (store, job):
        run = store.read(runs.find_run, job.id, int(number))
        if run is None:
            newest = store.read(queries.runs, job.id, limit=1)
            hint = f"its newest is {newest[0].id}" if newest else "it has not run yet"
            raise UsageError(f"job {job.id!r} has no run {number}", hint=hint)
        return run


def task(root: Root, run_id: str, *, prefix: bool = False) -> tuple[Run, bytes]:
    """The exact text that a run was given. Raises: UsageError where it never got one."""
    run = run_of(root, run_id, prefix=prefix)
    if run.task_sha256 is None:
        raise UsageError(f"{run.id} was given no text: it is {run.status.value}, {run.reason}")
    with root.open() as store:
        return run, store.read(queries.text_of, run.task_sha256, store.path)


def audit(root: Root, job_id: str | None = None, *, count: int | None = None, prefix: bool = False) -> AuditJson:
    store = root.store() if job_id is None or job_id == ROOT_JOB_ID else root.need_store(job_id)
    if store is None:
        return {"audit": []}
    with store:
        known = job_id if job_id is None or job_id == ROOT_JOB_ID else root.find_job(store, job_id, prefix=prefix).id
        return {"audit": [views.audit_json(row) for row in store.read(read_audit, known, limit=count)]}


def explain_job(root: Root, job_id: str, *, at: datetime | None = None, prefix: bool = False) -> ExplainJson:
    """Why the job did, did not or will not fire at an instant; without one, at the newest slot that was due."""
    from scheduler.core.past.explain import MOST_EVIDENCE, Ledger, explain, newest_slot

    now = root.clock.now()
    with root.job(job_id, prefix=prefix) as (store, job):
        moment = newest_slot(job, now) if at is None else at
        runs, kept_from = store.read(queries.slots_around, job.id, moment)
        ledger = Ledger(
            job=job,
            definitions=store.read(queries.definitions, job.id),
            audit=store.read(read_audit, job.id),
            runs=runs,
            beside=store.read(queries.under_way_at, moment, most=MOST_EVIDENCE + 1),
            lives=store.read(lives.lives, now),
            daemon=root.daemon(of_any_root=True) is not None,
            kept_from=kept_from,
        )
    return views.explain_json(job.id, moment, explain(ledger, moment, now=now))
