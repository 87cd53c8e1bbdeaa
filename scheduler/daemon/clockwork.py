"""The clock's hand: wakes when a slot is to start, claims all slots of one instant at once, hands the runs over.

A thread on a condition variable wakes ten times closer to the instant than an event loop. Between two instants it
sleeps; whoever changes something in the database pokes it.
"""

from __future__ import annotations

import contextlib
import heapq
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta

from scheduler.core.due.due import PACED_AFTER, Due, due_around, start_of
from scheduler.core.times.fires import next_fire
from scheduler.core.values.facts import Job
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import SchedulerError, UnavailableError
from scheduler.core.values.runs import Run
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import Concurrency
from scheduler.daemon.loop import CLOCKWORK_S, Heartbeat
from scheduler.ledger import claims, syncs
from scheduler.ledger.claims import Claimed
from scheduler.ledger.cursor import StaleError
from scheduler.ledger.pool import Lend
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.crash import crash_point
from scheduler.machine.log import Log

LOOK_AGAIN_S = 10.0  # what else there is to do at every turn waits no longer than that
CLOCK_S = 1.0  # the clock may be set, or the machine have slept: it is looked at that often
ASK_S = 0.5
RETRY_S = 1.0  # after a database that could not be used

_log = Log(__name__)


class Agenda:
    """Jobs by when they have to be looked at next. Cost of a change: the logarithm of their number."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._starts: dict[str, datetime] = {}
        self._heap: list[tuple[datetime, str]] = []  # with entries that no longer hold: `_starts` decides

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

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

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

    def drop(self, job_id: str) -> None:
        self._starts.pop(job_id, None)

    def __len__(self) -> int:
        """How many jobs have a start to come."""
        return len(self._starts)


class Clockwork:
    """Claims what is due. `dispatch` may be called by any thread, with a store of its own."""

    def __init__(
        self,
        *,
        clock: Clock,
        owner: str,
        since: datetime | None,
        submit: Callable[[Claimed], None],
        places: Callable[[], int],
        may_fire: Callable[[Settings], bool] = lambda _: True,
        usable: Callable[[], str] = lambda: "",
        between: Callable[[Store], None] = lambda _: None,
        wake_at: Callable[[], datetime | None] = lambda: None,
        set_right: Callable[[Store], bool] = lambda _: False,
        clock_was_set: Callable[[], bool] = lambda: False,
        away_from: datetime | None = None,
    ) -> None:
        """
        since: from when on this process has been there to serve slots; None: `serve --once`.
        away_from: when a process was last there, before this one; None: none is known.
        submit: takes what was claimed, and what is to wait. places: how many may run at once.
        may_fire: whether these settings let this host fire.
        between: what else is to be done at every turn, at least every ten seconds, and at `wake_at`.
        set_right: what is to be done at every turn before anything is claimed; whether it has moved cursors.
        clock_was_set: whether it has to be called at once, instead of waiting on.
        usable: why nothing may be claimed at present, such as a database that is gone; empty if all is well.
        """
        self._clock = clock
        self._owner = owner
        self._since = since
        self._submit = submit
        self._places = places
        self._may_fire = may_fire
        self._usable = usable
        self._between = between
        self._wake_at = wake_at
        self._set_right = set_right
        self._clock_was_set = clock_was_set
        self._agenda = Agenda()
        self._seen = -1
        self._fires: bool | None = None  # None: nothing is known yet
        self._elsewhere_until: datetime | None = None
        self._turned_at = away_from  # when somebody could have claimed last
        self._back_at: datetime | None = None  # the end of the last long outage
        self._prepared: datetime | None = None
        self._claiming = threading.RLock()
        self._bell = threading.Condition()
        self._poked = True
        self._stopping = False
        self.trouble = ""  # why nothing fires, for doctor and the log
        self.heart = Heartbeat("clockwork", CLOCKWORK_S)
        self.glance: tuple[int, datetime | None] = 0, None  # jobs that will fire, and when next; takes no lock
        self._next_start: datetime | None = None
        self._told: set[str] = set()  # of this trouble

    # -- what others call ------------------------------------------------------------------------

    def poke(self) -> None:
        """Something in the database has changed: look at once."""
        with self._bell:
            self._poked = True
            self._bell.notify()

    def turned_back(self) -> None:
        """The clock may have gone back: this process was there before, and is there now."""
        with self._claiming:
            if self._since is not None:
                self._since = min(self._since, self._clock.now())
            if self._elsewhere_until is not None:
                self._elsewhere_until = min(self._elsewhere_until, self._clock.now())
            self._prepared = None

    def stop(self) -> None:
        """No new fires from now on; a claim under way is completed."""
        with self._claiming:
            self._stopping = True
        self.poke()

    @property
    def next_start(self) -> datetime | None:
        """As it was last, while a claim waits for the database: who asks how it is must not wait with it."""
        if self._claiming.acquire(timeout=ASK_S):
            try:
                self._next_start = self._agenda.next_start if self._fires else None
            finally:
                self._claiming.release()
        return self._next_start

    def runs_alone(self, job_id: str) -> bool:
        """Whether the runs of a job exclude each other, as it is known; takes no lock."""
        job = self._agenda.get(job_id)
        return job is None or job.file.spec.concurrency is not Concurrency.ALLOW

    def known(self, job_id: str) -> Job | None:
        """A job as it was seen last; None where it is archived or unknown. Takes no lock."""
        return self._agenda.get(job_id)

    def reload(self, store: Store, *, whole: bool = False) -> None:
        """Takes in what has changed in the database since the last look; with `whole`, all that it holds."""
        with self._claiming:
            if whole:
                self._seen, self._agenda = -1, Agenda()
            observed = store.read(syncs.observed, since=self._seen)
            for job in observed.jobs.values():
                self._agenda.put(job)
            self._seen = observed.ticket
            fires = self._may_fire(observed.settings or Settings())
            if fires and self._fires is False and self._since is not None:
                self._since = self._elsewhere_until = self._clock.now()  # what came meanwhile was another host's
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
            while not self._stopping:
                now = self._clock.now()
                if only is None:
                    jobs = self._agenda.started(now)
                else:
                    jobs = [job for job in map(self._agenda.get, sorted(only)) if job is not None]
                if not self._fires:
                    return []
                if jobs and (trouble := self._usable()):
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

    def _due(self, job: Job, now: datetime, until: datetime | None) -> Due | None:
        try:
            return due_around(job, now=now, since=self._since, until=until, elsewhere_until=self._elsewhere_until)
        except Exception:  # such as a zone that this machine no longer knows: no other job may wait for it
            self._drop(job)
            return None

    def _drop(self, job: Job) -> None:
        _log.exception("job_not_fired", "looked at again once its file changes", job_id=job.id)
        self._agenda.drop(job.id)

    def _claim(self, store: Store, dues: list[Due], now: datetime) -> list[Run] | None:
        """The runs, handed over at once: whatever fails after a claim, what it has taken runs. None: stale agenda."""
        dues.sort(key=lambda each: (each.last, each.job.id))
        back_at = self._back_at
        paced = any(
            each.after_outage(now) or (back_at is not None and any(slot <= back_at for slot in each.catch_up))
            for each in dues
        )
        try:
            claim = store.write(
                claims.claim_due,
                dues,
                seen=self._seen,
                owner=self._owner,
                max_running=self._places(),
                now=now,
                paced=paced,
            )
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
            self._agenda.put(replace(each.job, next_run_at=each.next_run_at, last_slot=each.last))
            _tell(each)
        self._submit(claim)
        return list(claim.runs)

    # -- the thread ------------------------------------------------------------------------------

    def run(self, lend: Lend) -> None:
        """Until `stop`: waits for the next start, claims, hands over."""
        while not self._stopping:
            try:
                with lend() as store:
                    while not self._stopping:
                        if self._take_poke():
                            self.reload(store)
                        if self._set_right(store):
                            self.reload(store, whole=True)
                        self.dispatch(store)
                        self._between(store)
                        self._say("")
                        self._prepare()
                        self._wait()
            except Exception as error:  # nothing may end this thread but `stop`
                ours = isinstance(error, SchedulerError)
                self._say(str(error) if ours else f"{type(error).__name__}: {error}", unexpected=not ours)
                self._wait_to_retry()

    def _say(self, trouble: str, *, unexpected: bool = False) -> None:
        if not trouble and self.trouble:
            _log.warning("firing_resumed")
            self._told.clear()
        if trouble and trouble not in self._told:  # once, not once a second; two that take turns are told once each
            _log.error("firing_stopped", reason=trouble, exc_info=unexpected)
            self._told.add(trouble)
        self.trouble = trouble

    def _take_poke(self) -> bool:
        with self._bell:
            poked, self._poked = self._poked, False
            return poked

    def _prepare(self) -> None:
        """Computes beforehand what the next claim needs: where each cursor goes then."""
        with self._claiming:
            start = self._agenda.next_start
            if start is None or start == self._prepared:
                return
            self._prepared = start
            for job in self._agenda.started(start):
                if job.next_run_at is not None:
                    with contextlib.suppress(Exception):  # `_due` meets it again, and says so
                        next_fire(job.file.spec.due_by, after=job.next_run_at)

    def _wait(self) -> None:
        with self._claiming:
            start = self.next_start
            self.glance = len(self._agenda), start
        self.heart.beat()
        start = min((at for at in (start, self._wake_at()) if at is not None), default=None)
        until = time.monotonic() + LOOK_AGAIN_S
        with self._bell:
            while not self._stopping and not self._poked and not self._clock_was_set():
                left = until - time.monotonic()
                if start is not None:
                    left = min(left, (start - self._clock.now()) / timedelta(seconds=1))
                if left <= 0:
                    return
                self._bell.wait(min(left, CLOCK_S))

    def _wait_to_retry(self) -> None:
        self.heart.beat()  # a database that is locked or full is waited out: this thread turns
        with self._bell:
            self._poked = True  # what it was poked for may not have been taken in
            if not self._stopping:
                self._bell.wait(RETRY_S)


def _tell(due: Due) -> None:
    missed = [skip for skip in due.skips if skip.reason == "missed"]
    if missed:
        slots, last = sum(skip.slots for skip in missed), instant(missed[-1].last)
        _log.warning("slots_missed", job_id=due.job.id, slots=slots, last=last)
    if due.catch_up:
        slots, last = len(due.catch_up), instant(due.catch_up[-1])
        _log.warning("catching_up", job_id=due.job.id, slots=slots, last=last)
