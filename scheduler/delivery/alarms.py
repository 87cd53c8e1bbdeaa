"""The dead-man's switch of a living daemon: reports each alarm once when it starts, and once when it ends.

It has its own thread, which claims nothing and moves no cursor: it must work even if the firing thread hangs. If the
whole daemon is dead, `list` and `doctor` report the same alarms, from the same rows by the same rule (ADR 23).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scheduler.core.due.expected import Alarm, Kind
from scheduler.core.values.facts import JobSummary
from scheduler.core.values.instants import instant, milliseconds
from scheduler.core.values.runs import AuditRow
from scheduler.ledger import evidence, queries
from scheduler.ledger.audit import append_audit
from scheduler.ledger.cursor import current_ticket
from scheduler.ledger.pool import Lend
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.log import Log
from scheduler.machine.loop import Loop

LOOK_S = 15.0
WHOLE = timedelta(hours=1)  # then every job is looked at, whatever an earlier look said
SLICE = 100  # jobs at a time: some milliseconds, for which the firing thread may have to wait
REST_S = 0.02  # after each
BATCH = 500  # audit rows in one transaction: a claim never waits for more

_log = Log(__name__)


@dataclass(eq=False, kw_only=True)
class Alarms:
    """Watches what should happen, beside a daemon's other work. Its failures stop nothing."""

    clock: Clock
    lend: Lend
    fires: Callable[[], bool]  # True if this daemon may fire at all
    doubt: Callable[[], str] = lambda: ""  # why the clock is not trusted; by such a clock nothing is late

    def __post_init__(self) -> None:
        self._told: set[tuple[str, str]] | None = None  # None: not read yet
        self._ringing: dict[tuple[str, str], tuple[JobSummary, Alarm]] = {}  # at the last look
        self._again: dict[str, datetime] = {}  # when each job must be looked at again, unless it changes
        self._soonest = _NEVER  # the first of these
        self._ticket = 0  # of the newest change of a job that a look has seen
        self._looked_at = _NEVER
        self._whole_at: datetime | None = None  # when all jobs were looked at
        self.loop = Loop("alarms", self._turns, _log, "alarms_not_looked_at", level=logging.WARNING)

    def _turns(self) -> Iterator[float]:
        while True:
            yield LOOK_S
            with self.lend() as store:
                self.look(store)
            self.loop.succeed()

    def look(self, store: Store) -> None:
        """Report what has become overdue, and what no longer is. Raises: UnavailableError."""
        if self.doubt() or not self.fires():
            return
        now = self.clock.now()
        if self._told is None:
            self._told = store.read(evidence.told_alarms)
        before = self._ringing.keys()
        if not self._judge(store, now):
            return
        ringing = self._ringing
        # At the second look: after a sleep, the firing thread may not have had its turn yet.
        begun = [ringing[key] for key in sorted((ringing.keys() & before) - self._told)]
        over = sorted(self._told - ringing.keys())
        if not begun and not over:
            return
        row = functools.partial(AuditRow, at=self.clock.now(), actor="scheduler", cause="expected")
        rows = [
            row(job_id=job.id, action="alarm", field=alarm.kind.value, after=_facts(job, alarm)) for job, alarm in begun
        ]
        rows += [row(job_id=job_id, action="all_clear", field=kind) for job_id, kind in over]
        for first in range(0, len(rows), BATCH):
            store.write(append_audit, rows[first : first + BATCH])
        self._told = (self._told & ringing.keys()) | {(job.id, alarm.kind.value) for job, alarm in begun}
        for job, alarm in begun:
            _log.warning("overdue", alarm.text(job), job_id=job.id, kind=alarm.kind.value)
        for job_id, kind in over:
            _log.warning("overdue_no_more", job_id=job_id, kind=kind)

    def _judge(self, store: Store, now: datetime) -> bool:
        """Look at the jobs that have changed or can have become overdue; at all of them once an hour.

        New rows only end alarms; a clock that has gone back may begin some. False if told to stop meanwhile.
        """
        ticket = store.read(current_ticket)
        whole = self._whole_at is None or not self._whole_at <= self._looked_at <= now < self._whole_at + WHOLE
        if whole:
            ids = store.read(queries.job_ids)
        else:
            due = {job_id for job_id, at in self._again.items() if at <= now} if self._soonest <= now else set[str]()
            changed = () if ticket == self._ticket else store.read(queries.job_ids, since=self._ticket)
            ids = sorted(due.union(changed))
        ringing = dict(self._ringing)
        for first in range(0, len(ids), SLICE):
            if first and self.loop.stopping.wait(REST_S):
                return False
            for job, overdue, again in store.read(evidence.look, now, ids[first : first + SLICE]):
                for kind in Kind:
                    ringing.pop((job.id, kind.value), None)
                ringing |= {(job.id, alarm.kind.value): (job, alarm) for alarm in overdue}
                self._again[job.id] = _NEVER if again is None else again
        if ids:
            self._soonest = min(self._again.values())
        if whole:
            self._whole_at = now
        self._ringing, self._ticket, self._looked_at = ringing, ticket, now
        return True


_NEVER = datetime.max.replace(tzinfo=UTC)


def _facts(job: JobSummary, alarm: Alarm) -> dict[str, object]:
    found: dict[str, object] = {"since": instant(alarm.since), "deadline": instant(alarm.deadline)}
    if alarm.kind is Kind.SUCCESS and job.expect_every is not None:
        found["expect_every_ms"] = milliseconds(job.expect_every)
    return found
