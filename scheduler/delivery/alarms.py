"""The dead-man's switch of a living daemon: reports each alarm once when it starts, and once when it ends.

It has its own thread, which claims nothing and moves no cursor: it must work even if the firing thread hangs. If the
whole daemon is dead, `list` and `doctor` report the same alarms, from the same rows by the same rule (ADR 23).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scheduler.core.due.expected import Alarm, Kind
from scheduler.core.values.facts import JobSummary
from scheduler.core.values.instants import instant, milliseconds
from scheduler.core.values.runs import AuditRow
from scheduler.ledger import evidence, queries
from scheduler.ledger.audit import append_audit
from scheduler.ledger.pool import Lend
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.log import Log
from scheduler.machine.loop import Loop

LOOK_S = 15.0

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
        self._seen: set[tuple[str, str]] = set()  # at the last look
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
        ringing = {
            (job.id, alarm.kind.value): (job, alarm)
            for job, alarm in store.read(evidence.alarms, now, store.read(queries.summaries))
        }
        # At the second look: after a sleep, the firing thread may not have had its turn yet.
        begun = [ringing[key] for key in sorted((ringing.keys() & self._seen) - self._told)]
        over = sorted(self._told - ringing.keys())
        self._seen = set(ringing)
        if not begun and not over:
            return
        row = functools.partial(AuditRow, at=self.clock.now(), actor="scheduler", cause="expected")
        rows = [
            row(job_id=job.id, action="alarm", field=alarm.kind.value, after=_facts(job, alarm)) for job, alarm in begun
        ]
        rows += [row(job_id=job_id, action="all_clear", field=kind) for job_id, kind in over]
        store.write(append_audit, rows)
        self._told = (self._told & ringing.keys()) | {(job.id, alarm.kind.value) for job, alarm in begun}
        for job, alarm in begun:
            _log.warning("overdue", alarm.text(job), job_id=job.id, kind=alarm.kind.value)
        for job_id, kind in over:
            _log.warning("overdue_no_more", job_id=job_id, kind=kind)


def _facts(job: JobSummary, alarm: Alarm) -> dict[str, object]:
    found: dict[str, object] = {"since": instant(alarm.since), "deadline": instant(alarm.deadline)}
    if alarm.kind is Kind.SUCCESS and job.expect_every is not None:
        found["expect_every_ms"] = milliseconds(job.expect_every)
    return found
