"""The threads that carry out a daemon's runs: one for each, at most `max_running`; what finds no place waits."""

from __future__ import annotations

import functools
import heapq
import logging
import resource
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from scheduler.clock import Clock
from scheduler.core.due import window
from scheduler.core.models import Run, RunStatus
from scheduler.core.problems import SchedulerError
from scheduler.core.schedule import next_fire
from scheduler.engine import EndNotWrittenError, give_up
from scheduler.pool import Lend
from scheduler.runners.cancel import GRACE, Cancel, Why
from scheduler.store import Store

FILES_OF_OURS = 100
FILES_OF_A_RUN = 16  # pipes, outputs, a connection and what waits for all of them

Done = Callable[[Run | None], None]
_Entry = tuple[datetime, str, Run, Done | None]

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """Where attempts run; `store` belongs to the thread it was made for."""

    def carry_out(self, run: Run, *, scratch: Path, cancel: Cancel) -> Run: ...

    def end_unstarted(self, run: Run, why: Why) -> Run: ...


class Workers:
    """Starts each claimed run in a thread of its own. Knows what runs and what waits, and ends them when asked."""

    def __init__(
        self,
        *,
        engine: Callable[[Store], Engine],
        lend: Lend,
        clock: Clock,
        scratch: Path,
        delayed: Callable[[], None] = lambda: None,
    ) -> None:
        """delayed: told when a run has been put off until it is tried again, so that somebody calls `release` then."""
        self._engine = engine
        self._lend = lend
        self._clock = clock
        self._scratch = scratch
        self._told_of_delay = delayed
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._seats: dict[str, Cancel] = {}  # of the runs under way
        self._waiting: list[_Entry] = []  # for a place, by their slots
        self._delayed: list[_Entry] = []  # until they are tried again, by when that is
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
        """How many run, and how many wait for a place or to be tried again."""
        return len(self._seats), len(self._waiting) + len(self._delayed)

    @property
    def next_retry(self) -> datetime | None:
        """When the next run is to be tried again."""
        with self._lock:
            return self._delayed[0][0] if self._delayed else None

    @property
    def put_off(self) -> int:
        """How many runs wait to be tried again."""
        return len(self._delayed)

    def release(self, now: datetime) -> None:
        """Lets runs whose time to be tried again has come wait for a place."""
        with self._lock:
            while self._delayed and self._delayed[0][0] <= now:
                _, _, run, done = heapq.heappop(self._delayed)
                self._wait_for_place(run, done)
        self._fill()

    def hasten(self, runs: Iterable[Run]) -> None:
        """Tries these again when they say now: the clock by which they were put off has gone back."""
        earlier = {run.id: run for run in runs}
        with self._lock:
            for i, (_, run_id, _, done) in enumerate(self._delayed):
                run = earlier.get(run_id)
                if run is not None and run.retry_at is not None:
                    self._delayed[i] = run.retry_at, run_id, run, done
            heapq.heapify(self._delayed)

    def submit(self, runs: Iterable[Run], *, done: Done | None = None) -> None:
        """Starts claimed runs, lets queued ones wait for a place: the oldest slot first.

        One that is here already is passed over. done: told of each finished run, or None where it could not be
        brought to an end.
        """
        for run in runs:
            if self._is_here(run.id):
                continue
            if run.retry_at is not None:
                self._put_off(run, done)
            elif run.status is RunStatus.QUEUED:
                self._wait_for_place(run, done)
            else:
                self._start(run, done)
        self._fill()

    def _is_here(self, run_id: str) -> bool:
        with self._lock:
            waits = any(run_id == each[1] for each in (*self._waiting, *self._delayed))
            return waits or run_id in self._seats or run_id in self._unwritten

    def _put_off(self, run: Run, done: Done | None) -> None:
        assert run.retry_at is not None
        with self._lock:
            heapq.heappush(self._delayed, (run.retry_at, run.id, run, done))
        self._told_of_delay()

    def _wait_for_place(self, run: Run, done: Done | None) -> None:
        with self._lock:
            heapq.heappush(self._waiting, (run.fire_time or run.requested_at, run.id, run, done))

    def resize(self, max_running: int) -> None:
        self.max_running = max_running
        self._fill()

    def cancel(self, run_id: str) -> bool:
        """Ends a run of this process, or one that waits here; False where it is none of them."""
        with self._lock:
            seat = self._seats.get(run_id)
            waiting = None
            for queue in (self._waiting, self._delayed):
                found = next((each for each in queue if each[1] == run_id), None)
                if found is not None:  # from here on nobody starts it
                    waiting = found
                    queue.remove(found)
                    heapq.heapify(queue)
        if seat is not None:
            seat.request("cancelled")
        elif waiting is not None:
            _, _, run, done = waiting
            try:
                with self._lend() as store:
                    ended = self._engine(store).end_unstarted(run, "cancelled")
            except SchedulerError:
                self.submit([run], done=done)  # it waits on
                raise
            if done is not None:
                done(ended)
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
                _log.exception("end_lost run_id=%s", run_id)
                del self._unwritten[run_id]
                if done is not None:
                    done(None)
                continue
            _log.warning("end_written run_id=%s status=%s", run_id, finished.status.value)
            with self._lock:
                del self._unwritten[run_id]
                if finished.retry_at is not None:  # the end of a try, not of the run
                    self._put_off(finished, done)
                    continue
            if done is not None:
                done(finished)

    def let_go(self) -> None:
        """Nobody here writes an end or starts what waits any more: who waits for such a run is told so."""
        with self._lock:
            left = [done for _, done in self._unwritten.values()]
            left += [done for _, _, _, done in (*self._waiting, *self._delayed)]
            self._unwritten, self._waiting, self._delayed = {}, [], []
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
        """Returns when nothing runs and nothing waits."""
        with self._changed:
            while self._seats or (self._waiting and not self._stopping):
                self._changed.wait(1)  # in turns, as below

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

    # -- one run ---------------------------------------------------------------------------------

    def _start(self, run: Run, done: Done | None) -> None:
        cancel = Cancel()
        thread = threading.Thread(target=self._carry_out, args=(run, cancel, done), name=run.id, daemon=True)
        with self._lock:
            self._seats[run.id] = cancel
            if self._stopping:
                cancel.request("interrupted", grace=timedelta(0))
        try:
            thread.start()
        except RuntimeError as error:  # no thread is left: the claim stands, so it waits for one
            _log.error("no_thread run_id=%s error=%r", run.id, str(error))
            with self._lock:
                del self._seats[run.id]
            self._wait_for_place(run, done)

    def _carry_out(self, run: Run, cancel: Cancel, done: Done | None) -> None:
        finished = None
        lent = False
        try:
            with self._lend() as store:
                lent = True
                if run.status is RunStatus.QUEUED:
                    finished = self._carry_out_queued(store, run, cancel)
                else:
                    finished = self._engine(store).carry_out(run, scratch=self._scratch, cancel=cancel)
        except EndNotWrittenError as error:
            _log.error("end_not_written run_id=%s error=%r", run.id, str(error))
            self._unwritten[run.id] = error.write_end, done
            done = None
        except SchedulerError as error:
            _log.error("run_abandoned run_id=%s error=%r hint=%r", run.id, str(error), error.hint)
            if not lent:  # nothing of it has begun
                self._unwritten[run.id] = functools.partial(self._give_up, run, error), done
                done = None
        except Exception:
            _log.exception("run_abandoned run_id=%s", run.id)
        finally:
            cancelled = False
            with self._changed:
                del self._seats[run.id]
                if finished is not None and finished.retry_at is not None:
                    cancelled = cancel.why == "cancelled"  # just after the end of its try
                    self._put_off(finished, done)
                    done = None
                self._changed.notify_all()
            if cancelled:
                self._cancel_put_off(run.id)
            if done is not None:
                done(finished)
            self._fill()

    def _cancel_put_off(self, run_id: str) -> None:
        try:
            self.cancel(run_id)
        except SchedulerError as error:
            _log.error("not_cancelled run_id=%s error=%r hint=%r", run_id, str(error), error.hint)

    def _give_up(self, run: Run, error: SchedulerError, store: Store) -> Run:
        return give_up(store, run, error, now=self._clock.now())

    def _fill(self) -> None:
        """Gives free places to those that wait longest; who has waited beyond its window is a skip, `capacity`."""
        while True:
            with self._changed:
                if self._stopping or not self._waiting or len(self._seats) >= self.places:
                    self._changed.notify_all()
                    return
                _, _, run, done = heapq.heappop(self._waiting)
                self._start(run, done)
                if run.id not in self._seats:
                    return

    def _too_late(self, store: Store, run: Run) -> bool:
        job = store.job(run.job_id)
        assert job is not None
        assert run.fire_time is not None
        following = next_fire(job.file.spec.due_by, after=run.fire_time)
        return self._clock.now() > run.fire_time + window(run.fire_time, following)

    def _carry_out_queued(self, store: Store, run: Run, cancel: Cancel) -> Run:
        """A run that has waited for its place. One that is tried again comes too late for nothing."""
        if not run.attempts and self._too_late(store, run):
            _log.info("run_skipped run_id=%s reason=capacity", run.id)
            return store.skip(
                run,
                reason="capacity",
                message="no place became free in time (limits.max_running)",
                fault=False,
                now=self._clock.now(),
            )
        return self._engine(store).carry_out(run, scratch=self._scratch, cancel=cancel)
