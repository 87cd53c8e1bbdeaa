"""From an attempt that may be opened to its end on disk: many runs share each transaction, and none waits for another.

All of it happens in the reactor's thread. Per chunk: one durable transaction opens the attempts; a second one, which
only a power loss can undo, marks those that are about to start; then they start. Ends are collected for a moment, and
written in one durable transaction.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.core.due.waiting import Done
from scheduler.core.values.facts import Fault, Job
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.runs import Ending, Run, RunStatus
from scheduler.ledger import batches, runs
from scheduler.ledger.database import LockedError
from scheduler.ledger.pool import Lend
from scheduler.ledger.store import Store
from scheduler.machine import processes
from scheduler.machine.clock import Clock
from scheduler.machine.crash import crash_point
from scheduler.machine.log import Log
from scheduler.machine.reactor import Reactor, Timer
from scheduler.root.place import Place
from scheduler.run import ends
from scheduler.run.local.agent import as_told, speaks
from scheduler.run.local.attempts import Opening
from scheduler.run.local.cancel import Cancel
from scheduler.run.local.census import Census
from scheduler.run.local.checks import Checked
from scheduler.run.local.command import Execution
from scheduler.run.local.prepare import Invocation

if TYPE_CHECKING:
    from sqlite3 import Connection

FIRST_CHUNK, CHUNK = 16, 64  # runs in a transaction: the first one is small, so that its runs start sooner
_BATCH = 16  # processes started before other events have their turn
_ENDS_S = 0.005  # so long, ends wait for company,
_ENDS_LATE_S = 0.1  # and so long while something waits to start
_PIDS_S = 0.05  # so long, a pid waits for another transaction to take it along
_BUSY_S = 0.05  # between two tries while the database is locked
_STUCK_S = 1.0  # for a helper thread to notice that its run was to end
LOCK = timedelta(milliseconds=20)  # a try itself: everything else in this thread waits meanwhile
PATIENCE_S = 60.0  # so long, a locked database is tried again. Then an attempt is given up, and an end handed on

_log = Log(__name__)


@dataclass(eq=False, slots=True, kw_only=True)
class Seat:
    """A run under way, and how far it has come."""

    run: Run
    tried: Run  # as it was when its turn came
    cancel: Cancel
    done: Done | None = None
    since: datetime | None = None  # from when on it has lacked only capacity; None if it did not wait
    opening: Opening | None = None
    checked: Checked | None = None
    execution: Execution | None = None
    ending: Ending | None = None
    ended_at: datetime | None = None  # not when it is written
    give_up_at: float | None = None  # monotonic: the database has refused it for some time

    @property
    def job(self) -> Job:
        assert self.opening is not None
        return self.opening.job

    @property
    def stuck(self) -> bool:
        """True if its files are still being read some time after it was to be killed."""
        kill_at = self.cancel.kill_at
        reads = self.opening is None and self.execution is None
        return reads and kill_at is not None and time.monotonic() >= kill_at + _STUCK_S

    def notice(self) -> None:
        """Do what `cancel` asks for, if a process runs."""
        if self.execution is not None:
            self.execution.notice()


def all_stuck(seats: Iterable[Seat]) -> bool:
    """True if none of these is worth waiting for."""
    return all(seat.stuck for seat in tuple(seats))


class Chunks:
    """Opens, starts and ends the runs of the seats that it is given."""

    def __init__(
        self,
        *,
        reactor: Reactor,
        census: Census,
        lend: Lend,
        clock: Clock,
        place: Place,
        owner: str,
        scratch: Path,
        over: Callable[[Seat, Run | None], None],
        unwritten: Callable[[Seat, Callable[[Store], Run]], None],
    ) -> None:
        """
        over: called with the run of a seat once nothing more happens to it, or None if nobody knows how it ended.
        unwritten: called instead, if its end is known and cannot be written now.
        """
        self._reactor, self._census, self._lend, self._clock = reactor, census, lend, clock
        self._outputs, self._owner, self._scratch = os.fspath(place.outputs), owner, scratch
        self._over, self._unwritten = over, unwritten
        self._to_open: deque[Seat] = deque()
        self._to_start: deque[Seat] = deque()
        self._pids: list[Seat] = []
        self._ended: list[Seat] = []
        self._oldest = 0.0  # monotonic: when the first of those ended
        self._timer: tuple[float, Timer] | None = None

    def open(self, seats: Iterable[Seat]) -> None:
        """Open the attempts of seats that have an opening, and start them."""
        self._to_open.extend(seats)
        self._plan(0.0)

    def start(self, seats: Iterable[Seat]) -> None:
        """Start attempts that are open on disk. Returns once they run, unless the database is locked."""
        self._to_start.extend(seats)
        while self._to_start and self._start_some():
            self._reactor.turn(0.0)
        self._plan(0.0)

    def write_ends_of(self, job_ids: Collection[str]) -> None:
        """Write the ends that wait for company, if one of them is of these jobs."""
        if any(seat.run.job_id in job_ids for seat in self._ended):
            self._commit([], self._take_ends())

    # -- turns ---------------------------------------------------------------------------------------

    def _plan(self, delay: float) -> None:
        moment = time.monotonic() + delay
        if self._timer is not None:
            if self._timer[0] <= moment:
                return
            self._timer[1].cancel()
        self._timer = moment, self._reactor.at(moment, self._turn)

    def put_back(self) -> None:
        """Return to the queue what has not started and no longer should: the scheduler stops.

        Otherwise the slots of a chunk that was just claimed would never be served. If it cannot be written, the next
        daemon finds what a kill would have left.
        """
        going = [seat for seat in (*self._to_open, *self._to_start) if seat.cancel.why == "interrupted"]
        if not going:
            return
        gone = set(going)
        self._to_open = deque(seat for seat in self._to_open if seat not in gone)
        self._to_start = deque(seat for seat in self._to_start if seat not in gone)
        try:
            with self._lend() as store, store.writing(wait=LOCK) as sql:
                back = [ends.put_back(sql, seat.run, now=self._clock.now()) for seat in going]
        except Exception as error:
            _log.warning("not_put_back", runs=len(going), error=f"{type(error).__name__}: {error}")
            for seat in going:
                self._over(seat, None)
        else:
            self._tell(zip(going, back, strict=True))

    def _turn(self) -> None:
        self._timer = None
        self.put_back()
        opening = [self._to_open.popleft() for _ in range(min(CHUNK, len(self._to_open)))]
        late = _ENDS_LATE_S if opening or self._to_start else _ENDS_S
        now = time.monotonic()
        ended = self._take_ends() if self._ended and now >= self._oldest + late else []
        fine = True
        if opening or ended or self._ripe():
            fine = self._commit(opening, ended)
        if self._to_start:
            fine = self._start_some() and fine
        if self._to_open or self._to_start:
            self._plan(0.0 if fine else _BUSY_S)
        elif self._ended:
            self._plan(max(0.0, self._oldest + _ENDS_S - now) if fine else _BUSY_S)
        elif self._pids:
            self._plan(_PIDS_S if fine else _BUSY_S)

    def _take_ends(self) -> list[Seat]:
        ended, self._ended = self._ended, []
        return ended

    # -- transactions --------------------------------------------------------------------------------

    def _commit(self, opening: list[Seat], ended: list[Seat]) -> bool:
        """One transaction for all of these. False if the database is locked: they are kept for the next one."""
        if opening:
            crash_point("after_read")
        try:
            with self._lend() as store, store.writing(durable=bool(opening or ended), wait=LOCK) as sql:
                opened = [_opened(sql, seat, self._owner, self._clock) for seat in opening]
                over = self._end(sql, ended)
                recorded = self._record(sql)
        except LockedError as error:
            self._keep(opening, ended, error)
            return False
        except SchedulerError as error:
            self._refused(opening, ended, error)
            return True
        except Exception as error:
            if not opening and not ended:  # a later owner finds them by their environment
                _log.warning("process_not_recorded", error=f"{type(error).__name__}: {error}")
                self._pids = []
                return True
            if len(opening) + len(ended) == 1:
                self._broken(opening, ended, error)
                return True
            # One of them must not fail the others.
            fine = [self._commit([each], []) for each in opening] + [self._commit([], [each]) for each in ended]
            return all(fine)
        self._recorded(recorded)
        if ended:
            crash_point("after_end")
        self._go_on(opening, opened)
        self._tell(zip(ended, over, strict=True))
        return True

    def _tell(self, over: Iterable[tuple[Seat, Run]]) -> None:
        over = list(over)
        with contextlib.suppress(SchedulerError), self._lend() as store:  # it is on disk, whether or not the log has it
            for _, run in over:
                ends.tell_end(store, run)
        for seat, run in over:
            self._over(seat, run)

    def _end(self, sql: Connection, ended: Sequence[Seat]) -> list[Run]:
        """Write how attempts ended, and with them the runs, unless they are tried again."""
        again: dict[str, Run] = {}
        last: list[batches.Ended] = []
        for seat in ended:
            assert seat.ending is not None
            assert seat.ended_at is not None
            retry_at = ends.retried_at(seat.run, seat.ending, seat.job, seat.cancel.why, seat.ended_at)
            waits = None
            if retry_at is not None or seat.ending.account is not None:
                waits = ends.another_try(
                    sql, seat.run, seat.ending, again=retry_at, why=seat.cancel.why, now=seat.ended_at
                )
            if waits is None:
                last.append((seat.run, seat.ending, seat.ended_at))
            else:
                again[seat.run.id] = waits
        finished = iter(batches.finish_all(sql, last) if last else [])
        return [again[seat.run.id] if seat.run.id in again else next(finished) for seat in ended]

    def _ripe(self) -> list[Seat]:
        """Processes that have lived for a moment and are not on disk yet. One that has ended, nobody needs to find."""
        before = time.monotonic() - _PIDS_S
        return [
            seat for seat in self._pids if seat.ending is None and seat.execution and seat.execution.since <= before
        ]

    def _record(self, sql: Connection) -> list[Seat]:
        ripe = self._ripe()
        if ripe:
            found = [(seat.run, processes.identify(seat.execution.pid)) for seat in ripe if seat.execution]
            batches.record_processes(sql, found)
        return ripe

    def _recorded(self, ripe: Sequence[Seat]) -> None:
        known = {seat.run.id for seat in ripe}
        self._pids = [seat for seat in self._pids if seat.ending is None and seat.run.id not in known]
        if ripe:
            crash_point("after_record")

    def _go_on(self, opening: Sequence[Seat], opened: Sequence[Run | None]) -> None:
        for seat, run in zip(opening, opened, strict=True):
            if run is None:
                self._taken(seat)
                continue
            if seat.run.attempts:
                crash_point("after_retry")
            seat.run, seat.give_up_at = run, None
            assert seat.opening is not None
            if isinstance(seat.opening.invocation, Fault):
                self._has_ended(seat, _failed(seat.opening.invocation))
            else:
                self._to_start.append(seat)

    def _taken(self, seat: Seat) -> None:
        """Another process has the run, or has ended it."""
        found = None
        with contextlib.suppress(SchedulerError), self._lend() as store:
            found = store.read(runs.find_run, seat.run.job_id, seat.run.n)
        self._tell([(seat, found or seat.run)])

    # -- processes -----------------------------------------------------------------------------------

    def _start_some(self) -> bool:
        """Start the next few. False if the database is locked."""
        self.put_back()
        batch = [self._to_start.popleft() for _ in range(min(_BATCH, len(self._to_start)))]
        crash_point("before_spawn")
        try:
            with self._lend() as store, store.writing(durable=False, wait=LOCK) as sql:
                # Survives a kill; a reboot is recognised by the boot id.
                batches.mark_all_spawning(sql, [seat.run for seat in batch])
                recorded = self._record(sql)
        except LockedError:
            self._to_start.extendleft(reversed(batch))
            return False
        except Exception as error:
            for seat in batch:
                self._abandon(seat, error)
            return True
        self._recorded(recorded)
        for seat in batch:
            self._start(seat)
        return True

    def _start(self, seat: Seat) -> None:
        run, opening = seat.run, seat.opening
        assert opening is not None
        assert not isinstance(opening.ready, Fault)
        assert isinstance(opening.invocation, Invocation)
        output = self._output(run)
        try:
            seat.execution = Execution(
                opening.invocation,
                reactor=self._reactor,
                census=self._census,
                timeout=opening.job.file.spec.timeout,
                scratch=self._scratch,
                stdout=f"{output}.stdout",
                stderr=f"{output}.stderr",
                output_limit=opening.ready.settings.limits.output_bytes,
                cancel=seat.cancel,
                ended=lambda outcome: self._outcome(seat, outcome),
            )
            found = seat.execution.start()
        except Exception as error:
            self._abandon(seat, error)
            return
        if found is not None:
            self._settle(seat, _failed(found) if isinstance(found, Fault) else found)
            return
        crash_point("after_spawn")
        self._pids.append(seat)

    def _output(self, run: Run) -> str:
        """What its output files start with. A Path of each takes too long here."""
        return f"{self._outputs}/{run.job_id}/{run.n}.{run.attempts[-1].n}"

    def _outcome(self, seat: Seat, outcome: Ending | Exception) -> None:
        assert seat.opening is not None
        seat.ended_at = self._clock.now()
        invocation = seat.opening.invocation
        if isinstance(outcome, Ending) and isinstance(invocation, Invocation) and speaks(invocation):
            self._read_agent(seat, invocation, outcome, seat.ended_at)
        else:
            self._judged(seat, outcome)

    def _read_agent(self, seat: Seat, invocation: Invocation, ending: Ending, at: datetime) -> None:
        """Elsewhere: there may be much to read, from a slow disk."""
        output, since = self._output(seat.run), seat.run.started_at or at
        self._census.write(
            lambda: as_told(
                invocation, ending, stdout=f"{output}.stdout", stderr=f"{output}.stderr", at=at, since=since
            ),
            lambda found: self._judged(seat, found),
        )

    def _judged(self, seat: Seat, outcome: Ending | Exception) -> None:
        crash_point("before_end")
        if isinstance(outcome, Exception):
            self._abandon(seat, outcome)
        else:
            self._settle(seat, outcome)

    def _settle(self, seat: Seat, ending: Ending) -> None:
        """Note what the attempt changed in its worktree, if it has one. Elsewhere: that takes its time."""
        opening = seat.opening
        if opening is None or opening.tree is None:
            self._has_ended(seat, ending)
            return
        seat.ended_at = seat.ended_at or self._clock.now()

        def then(found: Ending | Exception) -> None:
            self._has_ended(seat, ending if isinstance(found, Exception) else found)

        self._census.write(lambda: opening.settled(ending), then)

    def _has_ended(self, seat: Seat, ending: Ending) -> None:
        seat.ending, seat.ended_at = ending, seat.ended_at or self._clock.now()
        if not self._ended:
            self._oldest = time.monotonic()
        self._ended.append(seat)
        self._plan(_ENDS_S)

    # -- what the database refuses -------------------------------------------------------------------

    def _keep(self, opening: Sequence[Seat], ended: Sequence[Seat], error: SchedulerError) -> None:
        self._to_open.extendleft(reversed(opening))
        self._ended[:0] = ended
        for seat in opening:
            if self._tired(seat):
                self._to_open.remove(seat)
                self._abandon(seat, error)
        for seat in ended:
            if self._tired(seat):
                self._ended.remove(seat)
                self._hand_on(seat, error)

    def _tired(self, seat: Seat) -> bool:
        now = time.monotonic()
        seat.give_up_at = seat.give_up_at or now + PATIENCE_S
        return now >= seat.give_up_at

    def _refused(self, opening: Sequence[Seat], ended: Sequence[Seat], error: SchedulerError) -> None:
        for seat in opening:
            self._abandon(seat, error)
        for seat in ended:
            self._hand_on(seat, error)

    def _broken(self, opening: Sequence[Seat], ended: Sequence[Seat], error: Exception) -> None:
        for seat in opening:
            self._abandon(seat, error)
        for seat in ended:  # the database refuses it permanently: the next daemon ends the run
            _log.exception("end_lost", run_id=seat.run.id)
            self._over(seat, None)

    def _hand_on(self, seat: Seat, error: SchedulerError) -> None:
        assert seat.ending is not None
        assert seat.ended_at is not None
        write_end, said = ends.end_later(seat.run, seat.ending, seat.job, seat.cancel.why, seat.ended_at, error)
        _log.error("end_not_written", run_id=seat.run.id, error=said)
        self._unwritten(seat, write_end)

    def _abandon(self, seat: Seat, error: Exception) -> None:
        """End a run that an error of ours stopped before its outcome was known."""
        if isinstance(error, SchedulerError):
            _log.error("run_abandoned", run_id=seat.run.id, error=str(error), hint=error.hint)
        else:
            _log.error("run_abandoned", run_id=seat.run.id, exc_info=error)
        run, owner = seat.run, self._owner

        def write_end(store: Store) -> Run:
            return ends.give_up(store, run, error, now=self._clock.now(), owner=owner)

        if isinstance(error, LockedError):  # each try costs the others time
            self._unwritten(seat, write_end)
            return
        try:
            with self._lend() as store, store.hurried(LOCK):
                ended = write_end(store)
        except SchedulerError:
            self._unwritten(seat, write_end)
        else:
            self._tell([(seat, ended)])


def _opened(sql: Connection, seat: Seat, owner: str, clock: Clock) -> Run | None:
    assert seat.opening is not None
    return seat.opening.open(sql, owner=owner, clock=clock)


def _failed(fault: Fault) -> Ending:
    return Ending(status=RunStatus.FAILED, reason=fault.reason, error=fault.message)
