"""Watches the clock for a daemon (F6): what it has done, whether it may be fired by, and what has to be set right.

Nothing here needs to have seen a step: a database whose rows lie ahead is set right by whoever starts on it next.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scheduler.core.times.clocks import (
    NOT_BEFORE,
    PATIENCE,
    Boot,
    Righted,
    Trust,
    cut,
    definition_zones,
    first_trust,
    judged,
    righted,
)
from scheduler.core.values.facts import Job
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.runs import AuditRow, Run
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.timesync import is_synchronized
from scheduler.machine.zones import digest
from scheduler.sync.passes import tries

DRIFT = timedelta(seconds=1)  # of the boot's wall time, until it is noted anew
LOOK_S = 0.2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRight:
    """What was changed, because the clock had gone back or a zone has other rules."""

    jobs: tuple[Righted, ...]
    void: int  # slots whose skips were taken back
    retries: tuple[Run, ...]  # tried again sooner than they were to be

    @property
    def nothing(self) -> bool:
        return not (self.jobs or self.void or self.retries)


class Timekeeper:
    """One clock, as one daemon goes by it. `doubt` may be asked by any thread."""

    def __init__(
        self,
        clock: Clock,
        *,
        good: Callable[[], bool | None] = is_synchronized,
        turned: Callable[[SetRight], None] = lambda _: None,
    ) -> None:
        """good: whether something vouches for the clock. turned: told of what was set right."""
        self._clock = clock
        self._good = good
        self._turned = turned
        self._lock = threading.Lock()
        self._trust: Trust | None = None
        self._kept: Boot | None = None
        self._to_set_right = False

    def begin(self, store: Store) -> None:
        """Before anything is synced or fired: what an earlier clock has left is set right, if this one is believed."""
        left = store.clock()
        reading = self._clock.read()
        with self._lock:
            self._trust = first_trust(reading, stored=left.boot, newest=left.newest, good=self._vouched)
            self._kept = left.boot
            self._tell(None, self._trust)
        whole = self._trust.went_back or self._trust.gained or left.zone_rules != _zone_rules(store)
        whole = whole or (left.newest is not None and left.newest > reading.wall)
        if not self.doubt():
            self._set_right(store, whole=whole)

    def doubt(self) -> str:
        """Why nothing may fire by this clock at present; empty if it may."""
        with self._lock:
            before = self._trust
            if before is None:
                return ""
            self._trust = judged(before, self._clock.read(), good=self._vouched)
            self._to_set_right |= self._trust.went_back or self._trust.gained
            self._tell(before, self._trust)
            if not self._trust.doubt:
                return ""
            until = "until it is set" if self._clock.now() < NOT_BEFORE else _UNTIL
            return f"the clock is not believed: {self._trust.doubt}; nothing fires {until}"

    @property
    def to_set_right(self) -> bool:
        """Whether the clock has been set so that `look` has something to do."""
        return not self.doubt() and self._to_set_right

    def look(self, store: Store) -> SetRight | None:
        """Sets right what a clock that went back has left; None where there was nothing to do, or it is doubted."""
        if self.doubt():
            return None
        found = self._set_right(store, whole=True) if self._to_set_right else None
        self._keep(store)
        return found

    def _set_right(self, store: Store, *, whole: bool) -> SetRight:
        self._to_set_right = False
        try:
            found = set_right(store, now=self._clock.now(), whole=whole)
        except BaseException:
            self._to_set_right = True
            raise
        self._turned(found)
        self._keep(store)
        return found

    def _keep(self, store: Store) -> None:
        assert self._trust is not None
        boot, kept = self._trust.boot, self._kept
        if kept is None or kept.boot_id != boot.boot_id or abs(kept.booted_at - boot.booted_at) > DRIFT:
            store.keep_boot(boot)
            self._kept = boot

    def wait(self, stopped: Callable[[], bool]) -> None:
        """Until the clock is believed. Raises: UnavailableError, as long as it says what cannot be."""
        while (doubt := self.doubt()) and not stopped():
            if self._clock.now() < NOT_BEFORE:
                raise UnavailableError(doubt, hint="set the clock")
            time.sleep(LOOK_S)

    def _vouched(self) -> bool:
        return self._good() is True

    def _tell(self, before: Trust | None, after: Trust) -> None:
        if after.doubt and (before is None or before.doubt != after.doubt):
            _log.warning(
                "clock_doubted reason=%r: nothing fires until it is known good, or for two minutes", after.doubt
            )
        elif before is not None and before.doubt and not after.doubt:
            _log.warning("clock_believed now=%s", instant(self._clock.now()))
        if after.went_back and before is not None:
            by = before.boot.booted_at - after.boot.booted_at
            _log.warning("clock_went_back by_s=%.1f now=%s", by.total_seconds(), instant(self._clock.now()))


_UNTIL = f"until it is known to be right, or for {PATIENCE // timedelta(minutes=1)} minutes"


def set_right(store: Store, *, now: datetime, whole: bool, actor: str = "scheduler") -> SetRight:
    """Makes a database fit to go on from `now`: no slot runs twice, none is lost (F6).

    Skips of slots that lie ahead are void, and the slots due again; rows that ran stay, and block. A cursor is the
    first slot without a row.
    whole: look at every job, not only at those that something of lies ahead.
    """
    for _ in tries():
        observed = store.observed()
        jobs = list(observed.jobs.values())
        ahead = {job.id for job in jobs if _lies_ahead(job, now)}
        later = store.later(sorted(ahead), now)
        cuts = [cut(each, now) for each in later.skips]
        found = [
            each
            for job in jobs
            if (whole or job.id in ahead) and (each := _righted(store, job, now, later.taken.get(job.id, ()))).changes
        ]
        delays = {job.id: job.file.spec.retry.max_delay for job in jobs}
        retries = [
            replace(run, retry_at=now + delays[run.job_id])
            for run in store.queued()
            if run.retry_at is not None and run.retry_at > now + delays[run.job_id]
        ]
        rules = _digest(jobs) if whole else None
        told = SetRight(jobs=tuple(found), void=sum(each.void for each in cuts), retries=tuple(retries))
        if told.nothing and rules in (None, store.clock().zone_rules):
            return told
        audit = [] if told.nothing else [_audit_root(told, now, actor)]
        audit += [row for each in found for row in _audit(each, now, actor)]
        if store.set_right(
            found, cuts=cuts, retries=retries, zone_rules=rules, ticket=observed.ticket, audit=audit, now=now
        ):
            if not told.nothing:
                _log.warning(
                    "set_right jobs=%d void=%d retries=%d: the clock or a zone's rules have changed",
                    len(found),
                    told.void,
                    len(retries),
                )
            return told
    raise UnavailableError("other processes kept changing the database; nothing was done", hint="try again")


def _righted(store: Store, job: Job, now: datetime, taken: Collection[datetime]) -> Righted:
    try:
        return righted(job, now=now, taken=taken, since=lambda: store.armed_at(job.id))
    except Exception:  # such as a zone that this machine no longer knows: no other job may wait for it
        _log.exception("cursor_not_checked job_id=%s", job.id)
        pause, file = job.pause, job.file
        return Righted(
            job=job,
            next_run_at=job.next_run_at,
            activated_at=file.activated_at,
            paused_at=None if pause is None else pause.at,
            stopped_at=job.runtime.stopped_at,
        )


def _lies_ahead(job: Job, now: datetime) -> bool:
    moments = [
        job.file.activated_at,
        job.last_slot,
        job.runtime.stopped_at,
        None if job.pause is None else job.pause.at,
    ]
    unset = job.file.activated_at < NOT_BEFORE <= now
    return unset or any(moment is not None and moment > now for moment in moments)


def _zone_rules(store: Store) -> str:
    return _digest(store.observed().jobs.values())


def _digest(jobs: Collection[Job]) -> str:
    return digest(definition_zones(job.file.spec for job in jobs if not job.archived))


def _audit_root(told: SetRight, now: datetime, actor: str) -> AuditRow:
    after = {"jobs": len(told.jobs), "void_slots": told.void, "retries": len(told.retries)}
    return AuditRow(job_id=ROOT_JOB_ID, action="set_right", after=after, at=now, actor=actor, cause="clock")


def _audit(found: Righted, now: datetime, actor: str) -> list[AuditRow]:
    return [
        AuditRow(
            job_id=found.job.id,
            action="set_right",
            field=field,
            before=None if before is None else instant(before),
            after=None if after is None else instant(after),
            at=now,
            actor=actor,
            cause="clock",
        )
        for field, (before, after) in found.changes.items()
    ]
