"""How many things need a person: the lines that Now has for them, told by the jobs that may need one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler.core.due.place import holding
from scheduler.core.values.facts import JobSummary
from scheduler.ledger import attention, places, queries, syncs
from scheduler.ledger.reach import dead_channels
from scheduler.ledger.store import Store
from scheduler.service import needs
from scheduler.service.jobs import held_in
from scheduler.service.presence import FoundDaemon
from scheduler.service.root import Root
from scheduler.service.status import failing_json, overdue_json

MOST = 200  # jobs that are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    count: int
    more: bool  # things than that


def count_needs(root: Root, store: Store, suspects: Sequence[str], daemon: FoundDaemon, now: datetime) -> Attention:
    """suspects: at least the jobs that may need a person, but for overdue ones. daemon: as it was found for no jobs."""
    lost = store.read(places.open_faults)
    jobs = _jobs(store, suspects[:MOST], every=bool(lost))
    late = jobs if root.kept is not None else store.read(queries.summaries)
    seen = needs.Evidence(
        daemon=daemon,
        expected=store.read(attention.expects_daemon),
        jobs=jobs,
        statuses=[job.status(now, waits=bool(lost) and holding(lost, job) is not None) for job in jobs],
        held=held_in(root, store),
        troubles=[*daemon.troubles, *([store.read_only] if store.read_only else [])],
        failing=failing_json(store, jobs, traced=0),
        overdue=overdue_json(root, store, late, daemon, now),
        lost=lost,
        problems=store.read(syncs.problems),
        channels=store.read(dead_channels),
    )
    count = sum(each["count"] for each in needs.listed(store, seen, now) if each["urgent"])
    return Attention(count=count, more=len(suspects) > MOST)


def _jobs(store: Store, suspects: Sequence[str], *, every: bool) -> list[JobSummary]:
    """every: any job may wait for a place that is gone."""
    if every:
        return [job for job in store.read(queries.sketches) if not job.archived]
    ids = list(dict.fromkeys([*suspects, *store.read(attention.paused, most=MOST)]))
    return [job for job in store.read(queries.summaries, ids) if not job.archived] if ids else []
