"""Repair of what was written before the clock went back (F6)."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from scheduler.core.due.accounts import is_interrupted
from scheduler.core.times.clocks import NOT_BEFORE, Righted, cut_skip, definition_zones, righted
from scheduler.core.values.facts import Job
from scheduler.core.values.instants import instant
from scheduler.core.values.runs import AuditRow, Run
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.core.values.spec import JobSpec
from scheduler.ledger import claims, clock_steps, syncs
from scheduler.ledger.clock_steps import Clocked
from scheduler.ledger.cursor import until_fresh
from scheduler.ledger.store import Store
from scheduler.machine.log import Log
from scheduler.machine.zones import rules_digest

_log = Log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRepair:
    """The repairs made because the clock went back or the rules of a zone changed."""

    jobs: tuple[Righted, ...]
    void: int  # slots whose skips were undone
    retries: tuple[Run, ...]  # runs that will be retried sooner than planned

    @property
    def nothing(self) -> bool:
        return not (self.jobs or self.void or self.retries)


def repair_after_clock_change(store: Store, *, now: datetime, whole: bool, actor: str = "scheduler") -> ClockRepair:
    """Make the database consistent with `now`, so that no slot runs twice and none is lost (F6).

    Skips of slots in the future are undone, and those slots are due again. Rows of runs stay and block their slots.
    A cursor moves to the first slot without a row.
    whole: check every job, not only those with rows in the future.
    """

    def turn() -> ClockRepair:
        queued = [run for run in store.read(claims.queued) if run.retry_at is not None]
        if whole:
            observed = store.read(syncs.observed)
            ahead = {job.id for job in observed.jobs.values() if _lies_ahead(job, now)}
        else:
            ahead = store.read(clock_steps.ahead, now, not_before=NOT_BEFORE)
            observed, _ = store.read(syncs.observed_of, {*ahead, *(run.job_id for run in queued)}, ())
        jobs = observed.jobs
        later = store.read(clock_steps.later, sorted(ahead), now)
        cuts = [cut_skip(each, now) for each in later.skips]
        found = [
            each
            for job in jobs.values()
            if (whole or job.id in ahead) and (each := _righted(store, job, now, later.taken.get(job.id, ()))).changes
        ]
        retries = [
            replace(run, retry_at=latest)
            for run in queued
            if run.retry_at is not None
            and not is_interrupted(run)  # its account decides
            and run.retry_at > (latest := now + jobs[run.job_id].file.spec.retry.max_delay)
        ]
        specs = (job.file.spec for job in jobs.values() if not job.archived)
        zones = frozenset(definition_zones(specs)) if whole else None
        rules = None if zones is None else rules_digest(zones)
        told = ClockRepair(jobs=tuple(found), void=sum(each.void for each in cuts), retries=tuple(retries))
        left = store.read(clock_steps.last_clock)
        if told.nothing and (zones is None or (rules, zones) == (left.zone_rules, left.zones)):
            return told
        store.write(
            clock_steps.repair_clock,
            found,
            cuts=cuts,
            retries=retries,
            zones=zones,
            zone_rules=rules,
            ticket=observed.ticket,
            audit=[] if told.nothing else _audit(told, now, actor),
            now=now,
        )
        if not told.nothing:
            why = "the clock or the rules of a time zone changed"
            _log.warning("set_right", why, jobs=len(found), void=told.void, retries=len(retries))
        return told

    return until_fresh(turn, "nothing was done")


def _righted(store: Store, job: Job, now: datetime, taken: Collection[datetime]) -> Righted:
    try:
        return righted(job, now=now, taken=taken, since=lambda: store.read(clock_steps.armed_at, job.id))
    except Exception:  # such as a zone that this machine no longer has: it must not block other jobs
        _log.exception("cursor_not_checked", job_id=job.id)
        pause, file = job.pause, job.file
        return Righted(
            job=job,
            next_run_at=job.next_run_at,
            activated_at=file.activated_at,
            paused_at=None if pause is None else pause.at,
            stopped_at=job.runtime.stopped_at,
        )


def _lies_ahead(job: Job, now: datetime) -> bool:
    paused_at = None if job.pause is None else job.pause.at
    moments = job.file.activated_at, job.last_slot, job.runtime.stopped_at, paused_at
    unset = job.file.activated_at < NOT_BEFORE <= now
    return unset or any(moment is not None and moment > now for moment in moments)


def zone_rules(left: Clocked) -> str:
    """A digest of the present rules of the zones that were recorded. Empty if none were."""
    return "" if left.zones is None else rules_digest(left.zones)


def with_zones(left: Clocked, specs: Iterable[JobSpec], *, first: bool) -> tuple[frozenset[str], str | None] | None:
    """The zones and the digest of their rules to record before these definitions are applied. None: as they are.

    New cursors go by the present rules. Without a digest here, the recorded one stays: the others do not yet.
    first: there are no others.
    """
    new = frozenset(definition_zones(specs))
    if left.zones is None:
        return (new, rules_digest(new)) if first else None
    if new <= left.zones:
        return None
    zones = left.zones | new
    return zones, rules_digest(zones) if rules_digest(left.zones) == left.zone_rules else None


def _audit(told: ClockRepair, now: datetime, actor: str) -> list[AuditRow]:
    row = functools.partial(AuditRow, action="set_right", at=now, actor=actor, cause="clock")
    counts = {"jobs": len(told.jobs), "void_slots": told.void, "retries": len(told.retries)}
    return [row(job_id=ROOT_JOB_ID, after=counts)] + [
        row(job_id=each.job.id, field=field, before=before and instant(before), after=after and instant(after))
        for each in told.jobs
        for field, (before, after) in each.changes.items()
    ]
