"""How many things need a person: what `needs` has a line for, counted without looking at each job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler.core.access.tokens import ends_soon
from scheduler.core.due.expected import Kind
from scheduler.core.past.presence import DaemonState
from scheduler.core.values.facts import JobSummary, Status, SyncState
from scheduler.ledger import access, attention, evidence, places, queries, syncs
from scheduler.ledger.reach import dead_channels
from scheduler.ledger.standing import ProblemsByJob
from scheduler.ledger.store import Store
from scheduler.service.needs import TOKEN_ENDS, outlasts
from scheduler.service.presence import FoundDaemon

MOST = 200  # jobs that are looked at
_GONE = (DaemonState.DEAD, DaemonState.STOPPED, DaemonState.NEVER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    count: int
    more: bool  # things than that


def count_needs(store: Store, suspects: Sequence[str], daemon: FoundDaemon, now: datetime) -> Attention:
    """suspects: at least the jobs that may need a person. daemon: as it was found for no jobs."""
    jobs = _jobs(store, suspects[:MOST])
    stopped = {job.id for job in jobs if job.status(now) is Status.STOPPED}
    failing = {job.id for job in jobs if job.consecutive_errors}
    overdue = store.read(evidence.alarms, now, jobs) if jobs else []
    faults = [each for each in store.read(places.open_faults) if each.needs_a_person]
    tokens = [each for each in store.read(access.tokens) if ends_soon(each, now, within=TOKEN_ENDS)]
    count = (
        _of_daemon(store, daemon)
        + len(stopped | failing)
        + sum(alarm.kind is not Kind.ROW or not daemon.observes for _, alarm in overdue)
        + len(faults)
        + _of_files(store, jobs)
        + sum(outlasts(job, now) for job in _jobs(store, store.read(attention.paused, most=MOST)))
        + len(store.read(dead_channels))
        + len(tokens)
    )
    return Attention(count=count, more=len(suspects) > MOST)


def _jobs(store: Store, ids: Sequence[str]) -> list[JobSummary]:
    return [job for job in store.read(queries.summaries, ids) if not job.archived] if ids else []


def _of_daemon(store: Store, daemon: FoundDaemon) -> int:
    """Its own absence; otherwise what it reports. A held sync counts besides."""
    state = daemon.presence.state
    gone = state is DaemonState.SILENT or (state in _GONE and store.read(attention.expects_daemon))
    troubles = len(daemon.troubles) + bool(store.read_only)
    return (1 if gone else troubles) + bool(daemon.says.get("held_long"))


def _of_files(store: Store, jobs: list[JobSummary]) -> int:
    """Each job on its last good definition, each other error in the files, and the guard."""
    errors = [each for each in store.read(syncs.problems) if each.is_error]
    wrong = [job for job in jobs if job.sync_state in (SyncState.INVALID, SyncState.CONFLICT)]
    of_jobs = ProblemsByJob(errors)
    told = {each for job in wrong for each in of_jobs.of(job)}
    held = any(job.sync_state is SyncState.HELD for job in jobs)
    return len(wrong) + sum(each not in told for each in errors) + held
