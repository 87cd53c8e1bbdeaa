"""The clock's hand: wakes when a slot is to start, claims all slots of one instant at once, hands the runs over.

A thread on a condition variable wakes ten times closer to the instant than an event loop. Between two instants it
sleeps; whoever changes something in the database pokes it.
"""

from __future__ import annotations

import contextlib
import heapq
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import InitVar, dataclass, replace
from datetime import datetime, timedelta

from scheduler.core.due.due import PACED_AFTER, Due, due, start_of
from scheduler.core.times.fires import next_fire
from scheduler.core.values.facts import Job
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import SchedulerError, UnavailableError
from scheduler.core.values.runs import Run
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import Concurrency
from scheduler.daemon.duties import Duties
from scheduler.ledger import claims, syncs
from scheduler.ledger.cursor import StaleError
from scheduler.ledger.pool import Lend
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.crash import crash_point
from scheduler.machine.log import Log
from scheduler.machine.loop import Loop

LOOK_AGAIN_S = 10.0  # what else there is to do at every turn waits no longer than that
CLOCK_S = 1.0  # the clock may be set, or the machine have slept: it is looked at that often
ASK_S = 0.5
RETRY_S = 1.0  # after a database that could not be used
# Without a turn, until it counts as hung. Many times what the longest honest turn takes, ten seconds and ten more for
# each of a few locks on the database: killing a daemon that is merely slow ends the runs of all its jobs.
LONGEST_S = 180.0

_log = Log(__name__)


class Agenda:
    """Jobs by when they have to be looked at next. Cost of a change: the logarithm of their number.

    Kept by a clockwork, under its lock. Any thread may ring, ask for a job, and whether its runs exclude each other.
    """

    def __init__(self) -> None:
        self.bell = threading.Event()  # rung when something in the database has changed
        self._jobs: dict[str, Job] = {}
        self._starts: dict[str, datetime] = {}
        self._heap: list[tuple[datetime, str]] = []  # with entries that no longer hold: `_starts` decides
        self._aside: set[str] = set()  # jobs that wait for their place

    def put(self, job: Job) -> None:
        if job.archived:  # one that comes back is put again
            self._jobs.pop(job.id, None)
            self._starts.pop(job.id, None)
            return
        self._jobs[job.id] = job
        start = start_of(job)
        if start is None:
            self._starts.pop(job.id, None)
        elif self._starts.get(job.id) != start:
            self._starts[job.id] = start
            heapq.heappush(self._heap, (start, job.id))

    def clear(self) -> None:
        self._jobs.clear()
        self._starts.clear()
        self._heap.clear()

    def poke(self) -> None:
        """Something in the database has changed: look at once."""
        self.bell.set()

    def get(self, job_id: str) -> Job | None:
        """A job as it was seen last; None where it is archived or unknown. Takes no lock."""
        return self._jobs.get(job_id)

    def runs_alone(self, job_id: str) -> bool:
        """Whether the runs of a job exclude each other, as it is known; takes no lock."""
        job = self._jobs.get(job_id)
        return job is None or job.file.spec.concurrency is not Concurrency.ALLOW

    @property
    def next_start(self) -> datetime | None:
        while self._heap:
            start, job_id = self._heap[0]
            if self._starts.get(job_id) == start:
                return start
            heapq.heappop(self._heap)
        return None

    def started(self, now: datetime) -> list[Job]:
        """The jobs whose start has come, the earliest first. They stay until `put` says when they start next."""
        found: list[tuple[datetime, str]] = []
        while (start := self.next_start) is not None and start <= now:
            entry = heapq.heappop(self._heap)
            if not found or found[-1] != entry:
                found.append(entry)
        for entry in found:
            heapq.heappush(self._heap, entry)
        return [self._jobs[job_id] for _, job_id in found]

    def put_aside(self, job_id: str) -> None:
        """Looks at a job again only after `bring_back`, or once it has changed."""
        self._starts.pop(job_id, None)
        self._aside.add(job_id)

    def bring_back(self) -> None:
        """Looks again at all that was put aside."""
        aside, self._aside = self._aside, set()
        for job_id in aside:
            if job_id in self._jobs:
                self.put(self._jobs[job_id])

    def drop(self, job_id: str) -> None:
        self._starts.pop(job_id, None)

    def __len__(self) -> int:
        """How many jobs have a start to come."""
        return len(self._starts)


@dataclass(eq=False, kw_only=True)
class Clockwork:
    """Claims what is due. `dispatch` may be called by any thread, with a store of its own."""

    clock: Clock
    owner: str
    since: datetime | None  # from when on this process has been there to serve slots; None: `serve --once`
    agenda: Agenda
    lend: Lend
    duties: Duties
    away_from: InitVar[datetime | None] = None  # when a process was last there, before this one; None: none is known

    def __post_init__(self, away_from: datetime | None) -> None:
        self._seen = -1
        self._fires: bool | None = None  # None: nothing is known yet
        self._elsewhere_until: datetime | None = None
        self._turned_at = away_from  # when somebody could have claimed last
        self._back_at: datetime | None = None  # the end of the last long outage
        self._prepared: datetime | None = None
        self._places_seen = 0
        self._claiming = threading.RLock()
        self._next_start: datetime | None = None
        self.glance: tuple[int, datetime | None] = 0, None  # jobs that will fire, and when next; takes no lock
        self.agenda.poke()  # nothing is read yet
        self.loop = Loop(
            "clockwork",
            self._turns,
            _log,
            "firing_stopped",
            "firing_resumed",
            bell=self.agenda.bell,
            retry_s=RETRY_S,
            longest_s=LONGEST_S,
        )

    def stop(self) -> None:
        """No new fires from now on; a claim under way is completed."""
        with self._claiming:
            self.loop.stop()

    @property
    def next_start(self) -> datetime | None:
        """As it was last, while a claim waits for the database: who asks how it is must not wait with it."""
        if self._claiming.acquire(timeout=ASK_S):
            try:
                self._next_start = self.agenda.next_start if self._fires else None
            finally:
                self._claiming.release()
        return self._next_start

    def reload(self, store: Store, *, whole: bool = False) -> None:
        """Takes in what has changed in the database since the last look; with `whole`, all that it holds."""
        with self._claiming:
            if whole:
                self._seen = -1
                self.agenda.clear()
            observed = store.read(syncs.observed, since=self._seen)
            for job in observed.jobs.values():
                self.agenda.put(job)
            self._seen = observed.ticket
            fires = self.duties.may_fire(observed.settings or Settings())
            if fires and self._fires is False and self.since is not None:
                self.since = self._elsewhere_until = self.clock.now()  # what came meanwhile was another host's
            self._fires = fires

    def dispatch(
        self, store: Store, *, only: Collection[str] | None = None, until: datetime | None = None
    ) -> list[Run]:
        """Claims what is due now, in one transaction, and hands it over.

        only, until: no more than these jobs, and their slots up to then even if their start has not come: their
        schedules are about to be replaced (S6).
        Raises: UnavailableError.
        """
        stale = False
        with self._claiming:
            while not self.loop.stopping.is_set():
                now = self.clock.now()
                if only is None:
                    jobs = self._started(now)
                else:
                    jobs = [job for job in map(self.agenda.get, sorted(only)) if job is not None]
                    jobs = [job for job in jobs if not self.duties.holds(job)]
                if not self._fires:
                    return []
                if jobs and (trouble := self.duties.unusable()):
                    raise UnavailableError(trouble)
                if self._turned_at is not None and now - self._turned_at > PACED_AFTER:
                    self._back_at = now  # slots missed a moment ago may end a long night: a herd, though none is old
                if not jobs:
                    self._turned_at = now if only is None else self._turned_at
                    return []
                dues = [found for job in jobs if (found := self._due(job, now, until)) is not None]
                runs = self._claim(store, dues, now)
                if runs is not None:
                    self._turned_at = now if only is None else self._turned_at
                    return runs
                # A second time: the database is not what this agenda was read from, and no ticket tells.
                self.reload(store, whole=stale)
                stale = True
        return []

    def _started(self, now: datetime) -> list[Job]:
        """The jobs whose start has come, but for those that wait for their place."""
        places = self.duties.places
        if places is None:
            return self.agenda.started(now)
        if places.ends != self._places_seen:
            self._places_seen = places.ends
            self.agenda.bring_back()
        found = []
        for job in self.agenda.started(now):
            if places.holds(job):
                self.agenda.put_aside(job.id)
            else:
                found.append(job)
        return found

    def _due(self, job: Job, now: datetime, until: datetime | None) -> Due | None:
        try:
            back_at = self.duties.back_at(job)
            return due(
                job, now=now, since=self.since, until=until, elsewhere_until=self._elsewhere_until, back_at=back_at
            )
        except Exception:  # such as a zone that this machine no longer knows: no other job may wait for it
            self._drop(job)
            return None

    def _drop(self, job: Job) -> None:
        _log.exception("job_not_fired", "looked at again once its file changes", job_id=job.id)
        self.agenda.drop(job.id)

    def _claim(self, store: Store, dues: list[Due], now: datetime) -> list[Run] | None:
        """The runs, handed over at once: whatever fails after a claim, what it has taken runs. None: stale agenda."""
        dues.sort(key=lambda each: (each.last, each.job.id))
        back_at = self._back_at
        paced = any(
            each.after_outage(now) or (back_at is not None and any(slot <= back_at for slot in each.catch_up))
            for each in dues
        )
        try:
            with store.writing() as sql:
                places = self.duties.engine.places
                claim = claims.claim_due(
                    sql, dues, seen=self._seen, owner=self.owner, max_running=places, now=now, paced=paced
                )
                self.duties.engine.begin(sql, claim.runs)
                crash_point("before_claim_commit")
        except StaleError:
            return None
        except SchedulerError:
            raise
        except Exception:
            if len(dues) == 1:
                self._drop(dues[0].job)
                return []
            # One job that cannot be claimed must not keep the others from it.
            found = [self._claim(store, [each], now) for each in dues]
            return None if None in found else [run for each in found if each is not None for run in each]
        crash_point("after_claim_commit")
        for each in dues:
            self.agenda.put(replace(each.job, next_run_at=each.next_run_at, last_slot=each.last))
            _tell(each)
        self.duties.hand_over(claim)
        return list(claim.runs)

    def _turns(self) -> Iterator[float]:
        with self.lend() as store:
            self.agenda.poke()  # what it was poked for before an error may not have been taken in
            while True:
                self.turn(store)
                self.loop.succeed()
                self._prepare()
                yield 0.0  # a sign of life
                yield from self._waits()

    def turn(self, store: Store) -> None:
        """Takes in what has changed, claims what is due, and does what else there is to do."""
        if self.agenda.bell.is_set():
            self.agenda.bell.clear()
            self.reload(store)
        self.repair_clock(store)
        self.dispatch(store)
        self.duties.between(store)

    def repair_clock(self, store: Store) -> None:
        """Repairs what a clock that has gone back has left, if it has."""
        found = self.duties.timekeeper.look(store)
        if found is None:
            return
        with self._claiming:  # this process was there before, and is there now
            if self.since is not None:
                self.since = min(self.since, self.clock.now())
            if self._elsewhere_until is not None:
                self._elsewhere_until = min(self._elsewhere_until, self.clock.now())
            self._prepared = None
        self.duties.engine.hasten(found.retries)
        if not found.nothing:
            self.reload(store, whole=True)

    def _prepare(self) -> None:
        """Computes beforehand what the next claim needs: where each cursor goes then."""
        with self._claiming:
            start = self.agenda.next_start
            if start is None or start == self._prepared:
                return
            self._prepared = start
            for job in self.agenda.started(start):
                if job.next_run_at is not None:
                    with contextlib.suppress(Exception):  # `_due` meets it again, and says so
                        next_fire(job.file.spec.due_by, after=job.next_run_at)

    def _waits(self) -> Iterator[float]:
        """Until the next start, a ring, or a step of the clock; at most until there is something else to do."""
        with self._claiming:
            start = self.next_start
            self.glance = len(self.agenda), start
        start = min((at for at in (start, self.duties.engine.next_at) if at is not None), default=None)
        until = time.monotonic() + LOOK_AGAIN_S
        while not self.agenda.bell.is_set() and not self.duties.timekeeper.needs_repair:
            left = until - time.monotonic()
            if start is not None:
                left = min(left, (start - self.clock.now()) / timedelta(seconds=1))
            if left <= 0:
                return
            yield min(left, CLOCK_S)


def _tell(due: Due) -> None:
    missed = [skip for skip in due.skips if skip.reason == "missed"]
    if missed:
        slots, last = sum(skip.slots for skip in missed), instant(missed[-1].last)
        _log.warning("slots_missed", job_id=due.job.id, slots=slots, last=last)
    if due.catch_up:
        slots, last = len(due.catch_up), instant(due.catch_up[-1])
        _log.warning("catching_up", job_id=due.job.id, slots=slots, last=last)
