"""The threads that carry out a daemon's runs: one for each, at most `max_running`; what may not start yet waits."""

from __future__ import annotations

import functools
import resource
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scheduler.core.due.due import patience
from scheduler.core.due.place import PLACE, missed_meanwhile
from scheduler.core.due.waiting import OUTAGE, Done, Waiting, WaitingRun
from scheduler.core.times.fires import next_fire
from scheduler.core.values.facts import Job
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.runs import Run, RunStatus
from scheduler.ledger import claims, places, queries, runs
from scheduler.ledger.pool import Lend
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.log import Log
from scheduler.run.ends import EndNotWrittenError, give_up
from scheduler.run.local.attempts import Attempts
from scheduler.run.local.cancel import GRACE, Cancel

if TYPE_CHECKING:
    from sqlite3 import Connection

FILES_OF_OURS = 100
FILES_OF_A_RUN = 16  # pipes, outputs, a connection and what waits for all of them

LOOK_AGAIN = timedelta(seconds=1)  # for the end of a run that another process carries out
PLACE_AGAIN = timedelta(seconds=5)  # for the place of a run; longer than it takes to claim what came due meanwhile

_log = Log(__name__)


@dataclass(eq=False, kw_only=True)
class LocalEngine:
    """Starts each claimed run in a thread of its own. Knows what runs and what waits, and ends them when asked."""

    attempts: Callable[[Store], Attempts]
    lend: Lend
    clock: Clock
    scratch: Path
    delayed: Callable[[], None] = lambda: None  # told of a run that was put off, so that somebody calls `release` then
    alone: Callable[[str], bool] = lambda _: True  # whether the runs of a job exclude each other
    holds: Callable[[Job], bool] = lambda _: False  # whether a job is known to wait for its place
    back_at: Callable[[Job], datetime | None] = lambda _: None  # when its place was there again, if it was gone
    known: Callable[[str], Job | None] | None = None  # a job as it was seen last, without a look at the database

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._seats: dict[str, Cancel] = {}  # of the runs under way
        self._waiting = Waiting(alone=self.alone)
        self._room = max(1, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - FILES_OF_OURS) // FILES_OF_A_RUN)
        self._unwritten: dict[str, tuple[Callable[[Store], Run], Done | None]] = {}
        self._stopping = False
        self.max_running = 1

    @property
    def places(self) -> int:
        """How many may run at once: `limits.max_running`, or as many as this process can open files for."""
        return min(self.max_running, self._room)

    @property
    def counts(self) -> tuple[int, int]:
        """How many run, and how many wait."""
        return len(self._seats), len(self._waiting)

    @property
    def next_at(self) -> datetime | None:
        """When `release` is to be called next: a run is tried again then, or may start a second after another."""
        with self._lock:
            return self._waiting.next_at(free=len(self._seats) < self.places)

    @property
    def put_off(self) -> int:
        """How many runs wait to be tried again."""
        return self._waiting.later

    def release(self, now: datetime) -> None:
        """Lets runs whose time to be tried again has come wait for a place."""
        with self._lock:
            self._waiting.release(now)
        self._fill()

    def skip_overdue(self, store: Store) -> None:
        """Skips what has lacked a place for too long, also where none becomes free. Raises: UnavailableError."""
        while True:
            with self._lock:
                if self._stopping or len(self._seats) < self.places:
                    return  # their turn is now, and says the same
                lacking = self._waiting.lacking()
            overdue = [each for each in lacking if self._seems_overdue(*each)]
            if not [entry for entry, since in overdue if self._skip_waiting(store, entry, since)]:
                return

    def _seems_overdue(self, entry: WaitingRun, since: datetime) -> bool:
        if self.known is None or (job := self.known(entry.run.job_id)) is None:
            return self.known is None
        return _is_of_a_slot(entry.run) and self._lacks_too_long(job, entry.run, since)

    def _skip_waiting(self, store: Store, entry: WaitingRun, since: datetime) -> bool:
        """Whether it was skipped: its turn may have come meanwhile, or its job have changed."""
        run = entry.run
        job = store.read(queries.job, run.job_id)
        if job is None or not _is_of_a_slot(run) or not self._lacks_too_long(job, run, since):
            return False
        reason = self._skipped(job, run, since)
        assert reason is not None
        with self._lock:
            if self._waiting.pop(run.id, now=self.clock.now()) is None:
                return False
        try:
            skipped = self._skip(store, run, *reason)
        except SchedulerError:
            with self._lock:
                self._waiting.add(entry)
            raise
        if entry.done is not None:
            entry.done(skipped)
        return True

    def _skip(self, store: Store, run: Run, reason: str, message: str) -> Run:
        _log.info("run_skipped", run_id=run.id, reason=reason)
        return store.write(runs.skip, run, reason=reason, message=message, fault=False, now=self.clock.now())

    def hasten(self, runs: Iterable[Run]) -> None:
        """Tries these again when they say now: the clock by which they were put off has gone back."""
        for run in runs:
            with self._lock:
                entry = self._waiting.pop(run.id, now=self.clock.now())
            if entry is not None and run.retry_at is not None:
                self._put_off(replace(entry, run=run), run.retry_at)

    def begin(self, sql: Connection, batch: Sequence[Run]) -> None:
        """The rows of a claim say all that a process of this machine needs."""

    def start(self, batch: Iterable[Run], *, ended: Done | None = None) -> None:
        """Starts claimed runs, lets queued ones wait, the oldest slot first. Those that are here are passed over."""
        for run in batch:
            if self._is_here(run.id):
                continue
            if run.retry_at is not None:
                self._put_off(WaitingRun(run=run, done=ended), run.retry_at)
            elif run.status is RunStatus.QUEUED:
                with self._lock:
                    self._waiting.add(WaitingRun(run=run, done=ended))
            else:
                self._start(run, ended)
        self._fill()

    def _is_here(self, run_id: str) -> bool:
        with self._lock:
            return run_id in self._waiting or run_id in self._seats or run_id in self._unwritten

    def _put_off(self, entry: WaitingRun, until: datetime) -> None:
        with self._lock:
            self._waiting.put_off(entry, until)
        self.delayed()

    def resize(self, max_running: int) -> None:
        self.max_running = max_running
        self._fill()

    def forget(self, runs: Iterable[Run]) -> None:
        """Takes out runs that waited here, and have been ended by somebody else."""
        for run in runs:
            with self._lock:
                entry = self._waiting.pop(run.id, now=self.clock.now())
            if entry is not None and entry.done is not None:
                entry.done(run)

    def replace(self, run_id: str) -> None:
        """Ends a run of this process, because a newer one of its job is to have its place."""
        self._end_it(run_id, "replaced")

    def cancel(self, run_id: str, *, why: Literal["cancelled", "replaced"] = "cancelled") -> bool:
        """Ends a run of this process, or one that waits here; False where it is none of them."""
        with self._lock:
            seat = self._seats.get(run_id)
            waiting = self._waiting.pop(run_id, now=self.clock.now())  # from here on nobody starts it
        if seat is not None:
            seat.request(why)
        elif waiting is not None:
            try:
                with self.lend() as store:
                    ended = self.attempts(store).end_unstarted(waiting.run, why)
            except SchedulerError:
                self.start([waiting.run], ended=waiting.done)  # it waits on
                raise
            if waiting.done is not None:
                waiting.done(ended)
            self._fill()
        return seat is not None or waiting is not None

    @property
    def under_way(self) -> tuple[str, ...]:
        """Runs that have not ended."""
        return tuple(self._seats)

    @property
    def unwritten(self) -> tuple[str, ...]:
        """Runs that have ended, and whose end the database has not taken yet."""
        return tuple(self._unwritten)

    def write_ends(self, store: Store) -> None:
        """Tries again to write the ends that could not be written. Raises: UnavailableError, as long as they cannot."""
        for run_id, (write_end, done) in list(self._unwritten.items()):
            try:
                finished = write_end(store)
            except SchedulerError:
                raise
            except Exception:  # a rule of the database says no, now and ever: the next daemon ends it
                _log.exception("end_lost", run_id=run_id)
                del self._unwritten[run_id]
                if done is not None:
                    done(None)
                continue
            _log.warning("end_written", run_id=run_id, status=finished.status.value)
            with self._lock:
                del self._unwritten[run_id]
                if finished.retry_at is not None:  # the end of a try, not of the run
                    self._put_off(WaitingRun(run=finished, done=done), finished.retry_at)
                    continue
            if done is not None:
                done(finished)

    def let_go(self) -> None:
        """Nobody here writes an end or starts what waits any more: who waits for such a run is told so."""
        with self._lock:
            left = [done for _, done in self._unwritten.values()]
            left += [entry.done for entry in self._waiting.drain()]
            self._unwritten = {}
        for done in left:
            if done is not None:
                done(None)

    def start_no_more(self) -> None:
        """What waits for a place is left to the next daemon."""
        with self._lock:
            self._stopping = True

    def stop(self, grace: timedelta) -> None:
        """Starts nothing more, lets what runs go on for `grace`, then ends it; returns when all of it has ended."""
        self.start_no_more()
        if not self._await_empty(grace.total_seconds()):
            self.interrupt(GRACE)
        self._await_empty(None)

    def interrupt(self, grace: timedelta = timedelta(0)) -> None:
        """TERM for all that runs, KILL after `grace`. Called from a signal handler too."""
        self._stopping = True
        for seat in list(self._seats.values()):
            seat.request("interrupted", grace=grace)

    def wait(self) -> None:
        """Returns when nothing runs, and what waits does so for a run that is to be tried again."""
        while True:
            with self._changed:
                if not self._seats and (self._stopping or not self._waiting.moves):
                    return
                self._changed.wait(1)  # in turns, as below
            self._fill()  # what starts a second apart

    def _await_empty(self, timeout: float | None) -> bool:
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while self._seats:
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return False
                # In short turns: a signal handler cannot notify a condition that its own thread waits for.
                self._changed.wait(1 if left is None else min(left, 1))
        return True

    def _start(self, run: Run, done: Done | None, since: datetime | None = None) -> None:
        """since: from when on a run that waited has lacked nothing but a place; None: it did not wait."""
        cancel = Cancel()
        thread = threading.Thread(target=self._carry_out, args=(run, cancel, done, since), name=run.id, daemon=True)
        with self._lock:
            self._seats[run.id] = cancel
            if since is None:  # else it took its place when its turn came
                self._waiting.took(run.job_id)
            if self._stopping:
                cancel.request("interrupted", grace=timedelta(0))
        try:
            thread.start()
        except RuntimeError as error:  # no thread is left: the claim stands, so it waits for one
            _log.error("no_thread", run_id=run.id, error=str(error))
            with self._lock:
                del self._seats[run.id]
                self._waiting.left(run.job_id, now=self.clock.now())
                self._waiting.add(WaitingRun(run=run, done=done))

    def _carry_out(self, run: Run, cancel: Cancel, done: Done | None, since: datetime | None) -> None:
        finished = None
        lent = False
        try:
            with self.lend() as store:
                lent = True
                if run.status is RunStatus.QUEUED:
                    finished = self._carry_out_queued(store, run, cancel, since or run.requested_at)
                else:
                    finished = self.attempts(store).carry_out(run, scratch=self.scratch, cancel=cancel)
        except EndNotWrittenError as error:
            _log.error("end_not_written", run_id=run.id, error=str(error))
            self._unwritten[run.id] = error.write_end, done
            done = None
        except SchedulerError as error:
            _log.error("run_abandoned", run_id=run.id, error=str(error), hint=error.hint)
            if not lent:  # nothing of it has begun
                self._unwritten[run.id] = functools.partial(self._give_up, run, error), done
                done = None
        except Exception:
            _log.exception("run_abandoned", run_id=run.id)
        finally:
            ended_late: Literal["cancelled", "replaced"] | None = None
            with self._changed:
                del self._seats[run.id]
                if finished is not None and not finished.status.finished and finished.id == run.id:
                    if cancel.why == "cancelled" or cancel.why == "replaced":  # just after the end of its try
                        ended_late = cancel.why
                    again = PLACE_AGAIN if finished.reason == PLACE else LOOK_AGAIN
                    later = finished.retry_at or self.clock.now() + again
                    if finished.retry_at is not None and finished.retry_at == run.retry_at:  # not tried: place is gone
                        later = max(later, self.clock.now() + PLACE_AGAIN)
                    self._put_off(WaitingRun(run=finished, done=done), later)
                    done = None
                if finished is not None and finished.status is RunStatus.SKIPPED:
                    self._waiting.passed(run.job_id)
                else:
                    self._waiting.left(run.job_id, now=self.clock.now())
                self._changed.notify_all()
            if ended_late is not None:
                self._end_it(run.id, ended_late)
            if done is not None:
                done(finished)
            self._fill()

    def _end_it(self, run_id: str, why: Literal["cancelled", "replaced"]) -> None:
        try:
            self.cancel(run_id, why=why)
        except SchedulerError as error:
            _log.error("not_ended", run_id=run_id, why=why, error=str(error), hint=error.hint)

    def _give_up(self, run: Run, error: SchedulerError, store: Store) -> Run:
        return give_up(store, run, error, now=self.clock.now())

    def _fill(self) -> None:
        """Gives free places to those that wait."""
        while True:
            with self._changed:
                if self._stopping or len(self._seats) >= self.places:
                    found = None
                else:
                    found = self._waiting.next(self.clock.now())
                if found is None:
                    self._changed.notify_all()
                    return
                entry, since = found
                self._start(entry.run, entry.done, since)
                if entry.run.id not in self._seats:
                    return

    def _carry_out_queued(self, store: Store, run: Run, cancel: Cancel, since: datetime) -> Run:
        """A run that has waited for its turn: what has happened since may have made it a skip.

        Returned as it is, while another process has a run of a job whose runs exclude each other.
        """
        job = store.read(queries.job, run.job_id)
        assert job is not None
        if _is_of_a_slot(run) and (skip := self._skipped(job, run, since)):
            return self._skip(store, run, *skip)
        if _is_of_a_slot(run) and self.holds(job):
            return run if run.reason == PLACE else store.write(places.keep_waiting, run)
        if self.alone(run.job_id) and store.read(claims.runs_beside, run):
            return run
        return self.attempts(store).carry_out(run, scratch=self.scratch, cancel=cancel)

    def _skipped(self, job: Job, run: Run, since: datetime) -> tuple[str, str] | None:
        """Why a run that waited is not started any more, as a reason and a sentence; None: it is."""
        now = self.clock.now()
        if job.archived:  # its file is gone on purpose: no fault, and no error when it comes back
            return "superseded", "its job was archived while it waited"
        if job.runtime.stopped_at is not None:
            return "missed", "its job was stopped while it waited, after too many errors"
        if job.pause is not None and job.pause.covers(now):
            return "paused", "its job was paused while it waited"
        if (
            run.reason == PLACE
            and not self.holds(job)
            and (why := missed_meanwhile(job, run, now, back_at=self.back_at(job)))
        ):
            return "missed", why
        if self._lacks_too_long(job, run, since):
            return "capacity", "no place became free in time (limits.max_running)"
        return None

    def _lacks_too_long(self, job: Job, run: Run, since: datetime) -> bool:
        """since: from when on it has lacked nothing but a place, as far as this process has seen it wait."""
        assert run.fire_time is not None
        if run.reason in (OUTAGE, PLACE):
            return False
        since = max(since, run.requested_at)  # not its slot: jitter and the outage before a catch-up are no wait
        last = job.runtime
        if self.alone(job.id) and last.last_run_at is not None:  # it may have waited for that in an earlier daemon
            since = max(since, last.last_run_at + timedelta(milliseconds=last.last_run_duration_ms or 0))
        following = next_fire(job.file.spec.due_by, after=run.fire_time)
        return self.clock.now() - since > patience(job.file.spec, run.fire_time, following)


def _is_of_a_slot(run: Run) -> bool:
    """And has not begun: what has waited as that may be skipped."""
    return not run.attempts and run.fire_time is not None
