"""Carries out a daemon's runs on one reactor: opens them in chunks, starts them, and writes their ends in groups.

No run has a thread or a connection of its own. What may block, such as reading files that have changed, is done by a
few helper threads; whatever they find comes back to the reactor. At most `max_running` runs are under way; others
wait their turn.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scheduler.core.due.accounts import is_interrupted
from scheduler.core.due.place import PLACE, lacks_too_long, missed_meanwhile, why_no_longer
from scheduler.core.due.waiting import Done, Waiting, WaitingRun
from scheduler.core.values.facts import Job
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.runs import Run, RunStatus
from scheduler.ledger import claims, places, queries, runs, syncs
from scheduler.ledger.pool import Lend
from scheduler.ledger.store import BUSY_TIMEOUT, Store
from scheduler.machine.clock import Clock
from scheduler.machine.crash import crash_point
from scheduler.machine.hands import Hands
from scheduler.machine.log import Log
from scheduler.machine.reactor import Reactor
from scheduler.root.place import Place
from scheduler.run import ends
from scheduler.run.engine import Gate, Ungated, Why
from scheduler.run.fire import HandOver
from scheduler.run.local.attempts import Attempts, Opening
from scheduler.run.local.away import Away
from scheduler.run.local.cancel import GRACE, Cancel
from scheduler.run.local.census import Census
from scheduler.run.local.checks import Checking, Checks
from scheduler.run.local.chunks import CHUNK, LOCK, Chunks, Seat, all_stuck
from scheduler.run.local.openings import Openings, due_openings
from scheduler.run.local.room import room_for
from scheduler.run.plain import InlineTexts

if TYPE_CHECKING:
    from sqlite3 import Connection

    from scheduler.core.due.due import Due

HANDS = 64  # threads for files that may be slow, as many for processes, and as many for outputs

LOOK_AGAIN = timedelta(seconds=1)  # for the end of a run that another process carries out
PLACE_AGAIN = timedelta(seconds=5)  # for a run's lost place; longer than claiming what came due meanwhile takes

_LOOK_S = 1.0  # signal handlers run between two looks

_log = Log(__name__)


@dataclass(eq=False, kw_only=True)
class LocalEngine:
    """Carries out claimed runs. Knows the running and waiting runs, and ends them on request.

    Whoever waits on the reactor moves everything on. Any thread may call what the seam names.
    """

    attempts: Callable[[Store], Attempts]
    lend: Lend
    clock: Clock
    place: Place
    owner: str
    scratch: Path
    reactor: Reactor = field(default_factory=Reactor)
    delayed: Callable[[], None] = lambda: None  # called when a run is put off: somebody must call `release` then
    alone: Callable[[str], bool] = lambda _: True  # True if the runs of a job exclude each other
    holds: Callable[[Job], bool] = lambda _: False  # True if a job is known to wait for its place
    back_at: Callable[[Job], datetime | None] = lambda _: None  # when the job's place came back, if it was gone
    known: Callable[[str], Job | None] | None = None  # a job as last seen, without asking the database
    gate: Gate = field(default_factory=Ungated)
    leaves: Callable[[str], bool] = lambda _: False  # True if the runs of a job are for workers

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._seats: dict[str, Seat] = {}
        self.away = Away(reactor=self.reactor, leaves=self.leaves)
        self._waiting = Waiting(alone=self.alone, away=self.leaves)
        self._unwritten: dict[str, tuple[Callable[[Store], Run], Done | None]] = {}
        self._to_look: deque[Seat] = deque()
        self._texts = InlineTexts()
        self._hands = Hands("files", most=HANDS)
        # Others than for files: neither looks nor outputs that hang must keep runs from ending.
        census = Census(self.reactor, Hands("ends", most=HANDS), Hands("output", most=HANDS))
        self._checks = Checks(self.reactor, census, self.scratch, self._checked)
        self._chunks = Chunks(
            reactor=self.reactor,
            census=census,
            lend=self.lend,
            clock=self.clock,
            place=self.place,
            owner=self.owner,
            scratch=self.scratch,
            over=self._over,
            unwritten=self._end_later,
        )
        self._stopping = False
        self.max_running, self._room = 1, room_for(1)

    @property
    def places(self) -> int:
        """The concurrency limit: `limits.max_running`, or fewer if this process cannot open enough files."""
        return min(self.max_running, self._room)

    @property
    def max_out(self) -> int:
        """How many runs may be with workers at once."""
        return self.away.max_out

    @property
    def _free(self) -> list[bool]:
        """Where there is capacity, as `Waiting.next` takes it."""
        leaving = self.away.leaving(self._seats.values())
        free = [False] if len(self._seats) - leaving < self.places else []
        return [*free, True] if len(self.away.seats) + leaving < self.max_out else free

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of running and of waiting runs."""
        return len(self._seats) + len(self.away.seats), len(self._waiting)

    @property
    def next_at(self) -> datetime | None:
        """When to call `release` next: a run is due for a retry, or may start a second after another one."""
        with self._lock:
            return self._waiting.next_at(free=self._free)

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
                if self._stopping or len(self._free) == 2:
                    return  # their turn is now and judges the same
                lacking = self._waiting.lacking()
            overdue = [each for each in lacking if self._seems_overdue(*each)]
            if not [entry for entry, since in overdue if self._skip_waiting(store, entry, since)]:
                return

    def _seems_overdue(self, entry: WaitingRun, since: datetime) -> bool:
        if self.known is None or (job := self.known(entry.run.job_id)) is None:
            return self.known is None
        return entry.run.is_unbegun_slot and self._lacks_too_long(job, entry.run, since)

    def _skip_waiting(self, store: Store, entry: WaitingRun, since: datetime) -> bool:
        """Skip a waiting run. False if its turn has come meanwhile, or its job has changed."""
        run = entry.run
        job = store.read(queries.job, run.job_id)
        if job is None or not run.is_unbegun_slot or not self._lacks_too_long(job, run, since):
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

    def hurry(self) -> None:
        """Look again at the runs that wait for their account: it may be free, or due for a probe."""
        with self._lock:
            self._waiting.hurry(lambda run: run.reason == PLACE or is_interrupted(run), self.clock.now())
        self.delayed()

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
            held = (self._waiting, self._seats, self.away.seats, self._unwritten)
            return any(run_id in each for each in held)

    def _put_off(self, entry: WaitingRun, until: datetime) -> None:
        with self._lock:
            self._waiting.put_off(entry, until)
        self.delayed()

    def resize(self, max_running: int) -> None:
        self.max_running = max_running
        self._room = room_for(max_running)
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

    def cancel(
        self, run_id: str, *, why: Literal["cancelled", "replaced"] = "cancelled", wait: timedelta = BUSY_TIMEOUT
    ) -> bool:
        """End a run of this process, or one that waits here. False if it is neither.

        wait: for a locked database.
        """
        with self._lock:
            seat, out = self._seats.get(run_id), self.away.seats.get(run_id)
            waiting = self._waiting.pop(run_id, now=self.clock.now())  # from here on nobody starts it
        if seat is not None:
            self._request(seat, why)
        elif out is not None:
            self.away.cancel(out, why)
        elif waiting is not None:
            try:
                with self.lend() as store, store.hurried(wait):
                    ended = self.attempts(store).end_unstarted(waiting.run, why)
            except SchedulerError:
                self.start([waiting.run], ended=waiting.done)  # keep it waiting
                raise
            if waiting.done is not None:
                waiting.done(ended)
            self._fill()
        return seat is not None or out is not None or waiting is not None

    @property
    def under_way(self) -> tuple[str, ...]:
        """The runs of this process that have not ended."""
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
            self.gate.over(run_id, finished)
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
            left += self.away.let_go()
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
        self._await_empty()
        for run_id in self.under_way:  # stuck: it has not begun
            _log.warning("run_left", "its files cannot be read; the next daemon starts it", run_id=run_id)

    def interrupt(self, grace: timedelta = timedelta(0)) -> None:
        """Send TERM to all running runs, KILL after `grace`. Signal handlers call it too."""
        self._stopping = True
        for seat in list(self._seats.values()):
            self._request(seat, "interrupted", grace)

    def _request(self, seat: Seat, why: Why, grace: timedelta = GRACE) -> None:
        seat.cancel.request(why, grace=grace)
        self.reactor.call(seat.notice)

    def wait(self) -> None:
        """Return when nothing runs, and waiting runs wait only for a retry."""
        while not all_stuck(self._seats.values()) or (not self._stopping and (self.away.seats or self._waiting.moves)):
            self.reactor.turn(_LOOK_S)
            self._fill()  # runs that start a second apart

    def _await_empty(self, timeout: float = float("inf")) -> bool:
        end = time.monotonic() + timeout
        while not all_stuck(self._seats.values()):
            if (left := end - time.monotonic()) <= 0:
                return False
            self.reactor.turn(min(left, _LOOK_S))
        return True

    # -- from a claim to its opening -----------------------------------------------------------------

    def _start(self, run: Run, done: Done | None, since: datetime | None = None) -> None:
        """since: from when on a waiting run has lacked only capacity. None if it did not wait."""
        seat = Seat(run=run, tried=run, cancel=Cancel(), done=done, since=since)
        with self._lock:
            self._take(seat)
            self._to_look.append(seat)
            if len(self._to_look) > 1:
                return  # somebody is about to look
        self.reactor.call(self._look)

    def _take(self, seat: Seat) -> None:
        self._seats[seat.run.id] = seat
        if seat.since is None:  # otherwise it was counted when its turn came
            self._waiting.took(seat.run.job_id)
        if self._stopping:
            seat.cancel.request("interrupted", grace=timedelta(0))

    def _look(self) -> None:
        """Read what runs get. Where nothing has changed since the last pass, at once; else with care, elsewhere."""
        with self._lock:
            seats = list(itertools.islice(self._to_look, CHUNK))
        careful, plain = list(seats), list[Seat]()
        try:
            if self._find_plain(seats):
                plain = [seat for seat in seats if seat.opening is not None]
                careful = [seat for seat in seats if seat.opening is None]
        except SchedulerError:
            pass  # whoever looks with care meets it again, and reports it
        except Exception:
            _log.exception("look_failed", "the files of these runs are looked at one by one")
        with self._lock:
            for _ in seats:
                self._to_look.popleft()
            more = bool(self._to_look)
        for seat in careful:
            self._look_with_care(seat)
        if plain:
            crash_point("after_claim")
            self._chunks.open(plain)
        if more:
            self.reactor.soon(self._look)

    def _find_plain(self, seats: Sequence[Seat]) -> bool:
        """Give an opening to each of these that is plain. False if none of them counts."""
        with self.lend() as store, Openings(self.attempts(store), store.read(syncs.settings), self._texts) as openings:
            for seat in seats:
                seat.opening = self._plain(store, openings, seat)
            return openings.stand()

    def _plain(self, store: Store, openings: Openings, seat: Seat) -> Opening | None:
        """What is opened for a run if neither it nor its job nor any file is in a special state."""
        run = seat.run
        if run.attempts or run.task_of is not None or seat.cancel.is_set():
            return None
        job = store.read(queries.job, run.job_id)
        if job is None or job.file.generation != run.generation or self.gate.guards(job):
            return None
        if run.status is RunStatus.QUEUED and self._must_wait(store, job, run, seat.since or run.requested_at):
            return None
        return openings.of(job, run)

    def _must_wait(self, store: Store, job: Job, run: Run, since: datetime) -> bool:
        """True if a run whose turn has come is skipped, or keeps waiting."""
        if run.is_unbegun_slot and (self._skipped(job, run, since) or self.holds(job)):
            return True
        return self.alone(run.job_id) and store.read(claims.runs_beside, run)

    def _look_with_care(self, seat: Seat) -> None:
        try:
            self._hands.give(lambda: self._carefully(seat))
        except RuntimeError as error:  # no thread is left: the claim holds, so it waits for one
            _log.error("no_thread", run_id=seat.run.id, error=str(error))
            with self._lock:
                del self._seats[seat.run.id]
                self._waiting.left(seat.run.job_id, now=self.clock.now())
                self._put_off(WaitingRun(run=seat.run, done=seat.done), self.clock.now() + LOOK_AGAIN)

    def _carefully(self, seat: Seat) -> None:
        """In a helper thread. Hands the opening, or the run if nothing is to be opened, back to the reactor."""
        run, lent = seat.run, False
        finished: Run | None = None
        try:
            with self.lend() as store:
                lent = True
                crash_point("after_claim")
                found = self._found(store, seat)
                if isinstance(found, Opening):
                    seat.opening = found
                    self.reactor.call(lambda: self._chunks.open([seat]))
                    return
                if isinstance(found, Checking):
                    self.reactor.call(functools.partial(self._checks.start, seat, found))
                    return
                if isinstance(found, HandOver):
                    if seat.cancel.why is None:
                        self.reactor.call(functools.partial(self._hand_over, seat, found))
                        return
                    found = self._not_handed_over(store, run, seat.cancel.why)
                finished = ends.tell_end(store, found)
        except ends.EndNotWrittenError as error:
            _log.error("end_not_written", run_id=run.id, error=str(error))
            write_end = error.write_end
            self.reactor.call(lambda: self._end_later(seat, write_end))
            return
        except SchedulerError as error:
            _log.error("run_abandoned", run_id=run.id, error=str(error), hint=error.hint)
            if not lent:  # nothing of it has begun
                give_up = functools.partial(ends.give_up, run=run, error=error, now=self.clock.now())
                self.reactor.call(lambda: self._end_later(seat, give_up))
                return
        except Exception:
            _log.exception("run_abandoned", run_id=run.id)
        self.reactor.call(lambda: self._over(seat, finished))

    def _not_handed_over(self, store: Store, run: Run, why: Why) -> Run:
        """End a run that was to be ended before anybody else knew of it. A retry waits for the next daemon."""
        return run if run.attempts and why == "interrupted" else self.attempts(store).end_unstarted(run, why)

    def _hand_over(self, seat: Seat, found: HandOver) -> None:
        with self._lock:
            if self._seats.pop(seat.run.id, None) is None:
                return
            self.away.seats[seat.run.id] = seat
        self.away.hand_over(seat, found)
        self._fill()

    def follow(self, out: Iterable[Run], *, ended: Done | None = None) -> None:
        """Take over runs that an earlier daemon has handed over."""
        for run in out:
            with self._lock:
                if not self._is_here(run.id):
                    self.away.keep(run, ended)
                    self._waiting.took(run.job_id)

    def came_home(self, run_id: str, finished: Run | None) -> None:
        """Note that a run that was handed over has ended, or waits again. In the reactor's thread."""
        if (seat := self.away.seats.get(run_id)) is not None:
            self._over(seat, finished)

    def _checked(self, seat: Seat) -> None:
        """Look again, now that its check has ended. Its text is read only then."""
        if self._stopping:
            seat.cancel.request("interrupted", grace=timedelta(0))
        self._look_with_care(seat)

    def _found(self, store: Store, seat: Seat) -> Opening | Checking | HandOver | Run:
        """What is opened for a run whose turn has come, or the run: skipped, waiting on, or another process's."""
        run, attempts = seat.run, self.attempts(store)
        if run.status is RunStatus.QUEUED:
            job = store.read(queries.job, run.job_id)
            assert job is not None
            if run.is_unbegun_slot and (skip := self._skipped(job, run, seat.since or run.requested_at)):
                return self._skip(store, run, *skip)
            if run.is_unbegun_slot and self.holds(job):
                return run if run.reason == PLACE else store.write(places.keep_waiting, run)
            if self.alone(run.job_id) and store.read(claims.runs_beside, run):
                return run
        job = self.known(run.job_id) if self.known is not None else None
        if job is not None and self.gate.guards(job) and not self.gate.admits(job, run):
            return store.write(places.keep_waiting, run) if run.is_unbegun_slot and run.reason != PLACE else run
        return attempts.look_or_abandon(run, seat.cancel, seat.checked)

    # -- slots that are claimed and opened at once -----------------------------------------------------

    def free(self) -> int:
        """How many runs could start here now. None while one waits."""
        if self._stopping or self._waiting.moves_here:
            return 0
        return max(0, self.places - len(self._seats) + self.away.leaving(self._seats.values()))

    def warm(self, store: Store) -> None:
        """Before runs are due: have git's tree of HEAD read, if it is not known. A look at files starts no process."""
        passes = self.attempts(store).passes
        place, commits = passes.place.now(), passes.commits
        if commits is not None and commits.known(place.root) is None:
            with contextlib.suppress(RuntimeError):
                self._hands.give(lambda: commits.tree(place.root))

    def plan(self, store: Store, dues: Sequence[Due], now: datetime) -> dict[str, Opening]:
        """What slots that are due would run, by job: those for which nothing has changed since the last pass."""
        attempts, settings = self.attempts(store), store.read(syncs.settings)
        return due_openings(attempts, settings, self._texts, dues, now, guards=self.gate.guards)

    def write_ends_of(self, job_ids: Collection[str]) -> None:
        """Write the ends that wait for company, if one of them is of these jobs. In the reactor's thread."""
        self._chunks.write_ends_of(job_ids)

    def start_begun(self, begun: Sequence[tuple[Run, Opening]], *, ended: Done | None = None) -> None:
        """Start runs that were claimed and opened at once. In the reactor's thread; returns once they run."""
        seats = []
        crash_point("after_claim")
        crash_point("after_read")
        for run, opening in begun:
            seat = Seat(run=run, tried=run, cancel=Cancel(), done=ended, opening=opening.of(run))
            with self._lock:
                self._take(seat)
            seats.append(seat)
        self._chunks.start(seats)

    # -- the end ---------------------------------------------------------------------------------------

    def _over(self, seat: Seat, finished: Run | None) -> None:
        """Free the place of a run that is over, or waits again; None if nobody knows how it ended."""
        run, done = seat.tried, seat.done
        held = self.away.seats if run.id in self.away.seats else self._seats
        if held.get(run.id) is not seat:
            return  # it has given up its place, and the run has another one
        seat.opening = seat.execution = None  # in a followed root, what they hold keeps the files of a commit
        self.gate.over(run.id, finished)
        ended_late: Literal["cancelled", "replaced"] | None = None
        with self._lock:
            del held[run.id]
            if finished is not None and not finished.status.finished and finished.id == run.id:
                if seat.cancel.why == "cancelled" or seat.cancel.why == "replaced":  # just after its try ended
                    ended_late = seat.cancel.why
                again = PLACE_AGAIN if finished.reason == PLACE else LOOK_AGAIN
                later = finished.retry_at or self.clock.now() + again
                if finished.retry_at is not None and finished.retry_at == run.retry_at:  # not tried: place is gone
                    later = max(later, self.clock.now() + PLACE_AGAIN)
                job = self.known(run.job_id) if self.known is not None else None
                if job is not None and (asks_at := self.gate.again_at(job)) is not None:
                    later = max(later, asks_at)
                self._put_off(WaitingRun(run=finished, done=done), later)
                done = None
            if finished is not None and finished.status is RunStatus.SKIPPED:
                self._waiting.passed(run.job_id)
            else:
                self._waiting.left(run.job_id, now=self.clock.now())
        if ended_late is not None:
            self._end_it(run.id, ended_late)
        if done is not None:
            done(finished)
        self._fill()

    def _end_later(self, seat: Seat, write_end: Callable[[Store], Run]) -> None:
        """Free the place of a run whose end cannot be written now. `write_ends` tries again."""
        self._unwritten[seat.run.id] = write_end, seat.done
        seat.done = None
        self._over(seat, None)

    def _end_it(self, run_id: str, why: Literal["cancelled", "replaced"]) -> None:
        try:
            self.cancel(run_id, why=why, wait=LOCK)
        except SchedulerError as error:
            _log.error("not_ended", run_id=run_id, why=why, error=str(error), hint=error.hint)

    def _fill(self) -> None:
        """Give free capacity to waiting runs."""
        while True:
            with self._lock:
                free = self._free
                if self._stopping or not free:
                    return
                found = self._waiting.next(self.clock.now(), away=free)
                if found is None:
                    return
                entry, since = found
                self._start(entry.run, entry.done, since)

    def _skipped(self, job: Job, run: Run, since: datetime) -> tuple[str, str] | None:
        """Why a waiting run is not started any more, as a reason and a sentence. None if it is started."""
        now = self.clock.now()
        if (why_not := why_no_longer(job, now)) is not None:
            return why_not
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
        return lacks_too_long(job, run, since, self.clock.now(), alone=self.alone(job.id))
