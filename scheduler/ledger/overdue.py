"""The overdue jobs, kept from one look to the next: a look costs what has changed since the last one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from scheduler.core.due.expected import Alarm, Kind
from scheduler.core.values.facts import JobSummary
from scheduler.ledger import evidence, queries
from scheduler.ledger.cursor import current_ticket
from scheduler.ledger.store import Store

WHOLE = timedelta(hours=1)  # then every job is looked at, whatever an earlier look said
SLICE = 100  # jobs at a time: some milliseconds, for which a firing thread may have to wait
_NEVER = datetime.max.replace(tzinfo=UTC)


class Watch:
    """Judges jobs by schedules and rows alone, as `evidence.alarms` does. For one thread at a time."""

    def __init__(self) -> None:
        self.ringing: dict[tuple[str, str], tuple[JobSummary, Alarm]] = {}  # at the last look, by job and kind
        self._again: dict[str, datetime] = {}  # when each job must be looked at again, unless it changes
        self._soonest = _NEVER  # the first of these
        self._ticket = 0  # of the newest change of a job that a look has seen
        self._looked_at = _NEVER
        self._whole_at: datetime | None = None  # when all jobs were looked at

    def look(self, store: Store, now: datetime, *, stop: Callable[[], bool] = lambda: False) -> bool:
        """Look at the jobs that have changed or can have become overdue; at all of them once an hour.

        New rows only end alarms; a clock that has gone back may begin some, and so may a database that was restored.
        stop: called between two slices of jobs. False if it said so, and nothing has changed then.
        """
        ticket = store.read(current_ticket)
        last = self._whole_at
        whole = last is None or not last <= self._looked_at <= now < last + WHOLE or ticket < self._ticket
        if whole:
            ids = store.read(queries.job_ids)
        else:
            due = {job_id for job_id, at in self._again.items() if at <= now} if self._soonest <= now else set[str]()
            changed = () if ticket == self._ticket else store.read(queries.job_ids, since=self._ticket)
            ids = sorted(due.union(changed))
        ringing = dict(self.ringing)
        for first in range(0, len(ids), SLICE):
            if first and stop():
                return False
            for job, overdue, again in store.read(evidence.look, now, ids[first : first + SLICE]):
                for kind in Kind:
                    ringing.pop((job.id, kind.value), None)
                ringing |= {(job.id, alarm.kind.value): (job, alarm) for alarm in overdue}
                self._again[job.id] = _NEVER if again is None else again
        if ids:
            self._soonest = min(self._again.values(), default=_NEVER)
        if whole:
            self._whole_at = now
        self.ringing, self._ticket, self._looked_at = ringing, ticket, now
        return True
