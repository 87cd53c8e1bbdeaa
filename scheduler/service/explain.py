"""The verb that says why a job did or did not fire: explain."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from scheduler.core import views
from scheduler.ledger import lives, queries
from scheduler.ledger.audit import read_audit
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import ExplainJson


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
