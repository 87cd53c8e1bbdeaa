"""The threads that carry out a daemon's runs: one per run, at most `max_running`. Other runs wait their turn."""

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
FILES_OF_A_RUN = 16  # pipes, outputs, a connection, and the descriptors that wait for them

LOOK_AGAIN = timedelta(seconds=1)  # for the end of a run that another process carries out
PLACE_AGAIN = timedelta(seconds=5)  # for a run's lost place; longer than claiming what came due meanwhile takes

_log = Log(__name__)


@dataclass(eq=False, kw_only=True)
class LocalEngine:
    """Starts each claimed run in its own thread. Knows the running and waiting runs, and ends them on request."""

    attempts: Callable[[Store], Attempts]
    lend: Lend
    clock: Clock
    scratch: Path
    delayed: Callable[[], None] = lambda: None  # called when a run is put off: somebody must call `release` then
    alone: Callable[[str], bool] = lambda _: True  # True if the runs of a job exclude each other
    holds: Callable[[Job], bool] = lambda _: False  # True if a job is known to wait for its place
    back_at: Callable[[Job], datetime | None] = lambda _: None  # when the job's place came back, if it was gone
    known: Callable[[str], Job | None] | None = None  # a job as last seen, without asking the database

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
        """The concurrency limit: `limits.max_running`, or fewer if this process cannot open enough files."""
        return min(self.max_running, self._room)

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of running and of waiting runs."""
        return len(self._seats), len(self._waiting)

    @property
    def next_at(self) -> datetime | None:
        """When to call `release` next: a run is due for a retry, or may start a second after another one."""
        with self._lock:
            return self._waiting.next_at(free=len(self._seats) < self.places)

    @property
    def put_off(self) -> int:
        """The number of runs that wait for a retry."""
        return self._waiting.later

    def release(self, now: datetime) -> None:
        """Let runs whose retry is due wait for capacity."""
        with self._lock:
            self._waiting.release(now)
        self._fill()

    def skip_overdue(self, store: Store) -> None:
        """Skip runs that have waited too long for capacity, even if none becomes free. Raises: UnavailableError."""
        while True:
            with self._lock:
                if self._stopping or len(self._seats) < self.places:
                    return  # their turn is now and judges the same
                lacking = self._waiting.lacking()
            overdue = [each for each in lacking if self._seems_overdue(*each)]
            if not [entry for entry, since in overdue if self._skip_waiting(store, entry, since)]:
                return

    def _seems_overdue(self, entry: WaitingRun, since: datetime) -> bool:
        if self.known is None or (job := self.known(entry.run.job_id)) is None:
            return self.known is None
        return _is_of_a_slot(entry.run) and self._lacks_too_long(job, entry.run, since)

    def _skip_waiting(self, store: Store, entry: WaitingRun, since: datetime) -> bool:
        """Skip a waiting run. False if its turn has come meanwhile, or its job has changed."""
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
        """Retry these at the times they now name: the clock that put them off went back."""
        for run in runs:
            with self._lock:
                entry = self._waiting.pop(run.id, now=self.clock.now())
            if entry is not None and run.retry_at is not None:
                self._put_off(replace(entry, run=run), run.retry_at)

    def begin(self, sql: Connection, batch: Sequence[Run]) -> None:
        """Add nothing: the claim's own rows are all that a process on this machine needs."""

    def start(self, batch: Iterable[Run], *, ended: Done | None = None) -> None:
        """Start claimed runs and let queued ones wait, oldest slot first. Ignores runs that are already here."""
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
        """Remove runs that waited here and that another process has ended."""
        for run in runs:
            with self._lock:
                entry = self._waiting.pop(run.id, now=self.clock.now())
            if entry is not None and entry.done is not None:
                entry.done(run)

    def replace(self, run_id: str) -> None:
        """End a run of this process because a newer run of its job takes its place."""
        self._end_it(run_id, "replaced")

    def cancel(self, run_id: str, *, why: Literal["cancelled", "replaced"] = "cancelled") -> bool:
        """End a run of this process, or one that waits here. False if it is neither."""
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
                self.start([waiting.run], ended=waiting.done)  # keep it waiting
                raise
            if waiting.done is not None:
                waiting.done(ended)
            self._fill()
        return seat is not None or waiting is not None

    @property
    def under_way(self) -> tuple[str, ...]:
        """The runs that have not ended."""
        return tuple(self._seats)

    @property
    def unwritten(self) -> tuple[str, ...]:
        """The runs that have ended but whose end is not in the database yet."""
        return tuple(self._unwritten)

    def write_ends(self, store: Store) -> None:
        """Retry the ends that could not be written. Raises: UnavailableError while they cannot be written."""
        for run_id, (write_end, done) in list(self._unwritten.items()):
            try:
                finished = write_end(store)
            except SchedulerError:
                raise
            except Exception:  # the database refuses it permanently: the next daemon ends the run
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
        """Stop writing ends and starting waiting runs, and tell those who wait for such a run."""
        with self._lock:
            left = [done for _, done in self._unwritten.values()]
            left += [entry.done for entry in self._waiting.drain()]
            self._unwritten = {}
        for done in left:
            if done is not None:
                done(None)

    def start_no_more(self) -> None:
        """Leave the runs that wait for capacity to the next daemon."""
        with self._lock:
            self._stopping = True

    def stop(self, grace: timedelta) -> None:
        """Start no more runs, give running ones `grace` to finish, then end them. Returns when all have ended."""
        self.start_no_more()
        if not self._await_empty(grace.total_seconds()):
            self.interrupt(GRACE)
        self._await_empty(None)

    def interrupt(self, grace: timedelta = timedelta(0)) -> None:
        """Send TERM to all running runs, KILL after `grace`. Signal handlers call it too."""
        self._stopping = True
        for seat in list(self._seats.values()):
            seat.request("interrupted", grace=grace)

    def wait(self) -> None:
        """Return when nothing runs, and waiting runs wait only for a retry."""
        while True:
            with self._changed:
                if not self._seats and (self._stopping or not self._waiting.moves):
                    return
                self._changed.wait(1)  # in short waits, as below
            self._fill()  # runs that start a second apart

    def _await_empty(self, timeout: float | None) -> bool:
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while self._seats:
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return False
                # In short waits: a signal handler cannot notify a condition that its own thread waits for.
                self._changed.wait(1 if left is None else min(left, 1))
        return True

    def _start(self, run: Run, done: Done | None, since: datetime | None = None) -> None:
        """since: from when on a waiting run has lacked only capacity. None if it did not wait."""
        cancel = Cancel()
        thread = threading.Thread(target=self._carry_out, args=(run, cancel, done, since), name=run.id, daemon=True)
        with self._lock:
            self._seats[run.id] = cancel
            if since is None:  # otherwise it was counted when its turn came
                self._waiting.took(run.job_id)
            if self._stopping:
                cancel.request("interrupted", grace=timedelta(0))
        try:
            thread.start()
        except RuntimeError as error:  # no thread is left: the claim holds, so it waits for one
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
                    if cancel.why == "cancelled" or cancel.why == "replaced":  # just after its try ended
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
        """Give free capacity to waiting runs."""
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
        """Carry out a run whose turn has come, or skip it because of what happened while it waited.

        Returns the run unchanged while another process has a run of the job, if the job's runs exclude each other.
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
        """Why a waiting run is not started any more, as a reason and a sentence. None if it is started."""
        now = self.clock.now()
        if job.archived:  # its file was removed on purpose: no fault, and no error once it is back
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
            return "capacity", "the limit of concurrent runs (limits.max_running) was reached for too long"
        return None

    def _lacks_too_long(self, job: Job, run: Run, since: datetime) -> bool:
        """since: from when on it has lacked only capacity, as far as this process has seen it wait."""
        assert run.fire_time is not None
        if run.reason in (OUTAGE, PLACE):
            return False
        since = max(since, run.requested_at)  # not its slot: jitter and the outage before a catch-up are not waiting
        last = job.runtime
        if self.alone(job.id) and last.last_run_at is not None:  # it may have waited for that run in an earlier daemon
            since = max(since, last.last_run_at + timedelta(milliseconds=last.last_run_duration_ms or 0))
        following = next_fire(job.file.spec.due_by, after=run.fire_time)
        return self.clock.now() - since > patience(job.file.spec, run.fire_time, following)


def _is_of_a_slot(run: Run) -> bool:
    """True for a run of a slot that has not begun: if it waits, it may be skipped."""
    return not run.attempts and run.fire_time is not None
