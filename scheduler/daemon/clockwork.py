"""The clockwork: wakes when a slot is to start, claims all slots of one instant at once, and hands over the runs.

Its thread is the one that moves all runs on: between two instants it waits on the engine's reactor. Whoever changes
something in the database pokes it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import InitVar, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from scheduler.core.due.due import PACED_AFTER, Due, due
from scheduler.core.values.facts import Job
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import SchedulerError, UnavailableError
from scheduler.core.values.runs import Run
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import Concurrency
from scheduler.daemon.agenda import Agenda
from scheduler.daemon.duties import Duties
from scheduler.ledger import batches, claims, syncs
from scheduler.ledger.claims import Claimed
from scheduler.ledger.cursor import StaleError
from scheduler.ledger.database import LockedError
from scheduler.ledger.pool import Lend
from scheduler.ledger.store import BUSY_TIMEOUT, Store
from scheduler.machine.clock import Clock
from scheduler.machine.crash import crash_point
from scheduler.machine.log import Log
from scheduler.machine.loop import Loop
from scheduler.run.local.attempts import Opening
from scheduler.run.local.chunks import CHUNK, FIRST_CHUNK

if TYPE_CHECKING:
    from sqlite3 import Connection

STAYS = timedelta(seconds=1)  # so long after a start, what was foreseen for it still holds
LOOK_AGAIN_S = 10.0  # the other work of each turn waits no longer than that
CLOCK_S = 1.0  # how often to check whether the clock was set or the machine slept
ASK_S = 0.5
RETRY_S = 1.0  # after a database error
READ_AT_ONCE = 256  # changed jobs; of more, only the start is read
REHEARSALS = timedelta(milliseconds=30), timedelta(milliseconds=3)  # before a claim: the caches forget that fast
TOO_LATE = timedelta(milliseconds=2)  # before a claim, for a rehearsal
AWAKE_S = 0.0015  # before a moment, no more sleep: to wake up takes a processor as long as a claim
SECOND = timedelta(seconds=1)
BUSY_WAIT = timedelta(milliseconds=20)  # for a locked database, before runs under way have their turn
# Without a turn for so long, it counts as hung. The longest honest turn takes far less: ten seconds, and ten more for
# each of a few database locks. Killing a daemon that is merely slow would end all its runs.
LONGEST_S = 180.0

_log = Log(__name__)


class _RehearsalError(Exception):
    """Undoes a rehearsal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What was due at one moment, as the agenda had it."""

    now: datetime
    ticket: int
    dues: list[Due]
    paced: bool  # catch-up runs start a second apart


@dataclass(eq=False, kw_only=True)
class Clockwork:
    """Claims what is due. Any thread may call `dispatch`, with its own store."""

    clock: Clock
    owner: str
    since: datetime | None  # since when this process has served slots; None: `serve --once`
    agenda: Agenda
    lend: Lend
    duties: Duties
    away_from: InitVar[datetime | None] = None  # when a process was last alive before this one; None: unknown

    def __post_init__(self, away_from: datetime | None) -> None:
        self._seen = -1
        self._fires: bool | None = None  # None: not known yet
        self._elsewhere_until: datetime | None = None
        self._turned_at = away_from  # when somebody could last have claimed
        self._back_at: datetime | None = None  # the end of the last long outage
        self._prepared: datetime | None = None
        self._foreseen: dict[str, tuple[Job, Due]] = {}  # what is due then
        self._places_seen = 0
        self._claiming = threading.RLock()
        self._next_start: datetime | None = None
        self.glance: tuple[int, datetime | None] = 0, None  # how many jobs will fire, and when next; takes no lock
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
        """Stop new fires. A claim under way is completed."""
        with self._claiming:
            self.loop.stop()

    @property
    def next_start(self) -> datetime | None:
        """The next start. While a claim waits for the database, the last known one: status requests must not wait."""
        if self._claiming.acquire(timeout=ASK_S):
            try:
                self._next_start = self.agenda.next_start if self._fires else None
            finally:
                self._claiming.release()
        return self._next_start

    def reload(self, store: Store, *, whole: bool = False) -> None:
        """Read what has changed in the database since the last look; with `whole`, everything."""
        with self._claiming:
            if whole:
                self._seen = -1
                self.agenda.clear()
            news = store.read(syncs.news, since=self._seen, most=READ_AT_ONCE)
            self.agenda.put_starts(news.starts)
            for job in news.jobs.values():
                self.agenda.put(job)
            self._seen = news.ticket
            fires = self.duties.may_fire(news.settings or Settings())
            if fires and self._fires is False and self.since is not None:
                self.since = self._elsewhere_until = self.clock.now()  # earlier slots belonged to another host
                self._forget_foreseen()
            self._fires = fires

    def dispatch(
        self, store: Store, *, only: Collection[str] | None = None, until: datetime | None = None
    ) -> list[Run]:
        """Claim what is due now, and hand it over.

        only, until: only these jobs, and their slots up to then even if their start has not come: their schedules are
        about to be replaced (S6). Any thread may ask for that; otherwise, only the one that waits on the engine.
        Raises: UnavailableError.
        """
        claimed: list[Run] = []
        stale = False
        while (look := self._look(only, until)) is not None:
            runs = self._claim_all(store, look, turns=only is None)
            claimed += runs or []
            if runs is not None:
                break
            # Stale twice: the agenda was read from another database, which no ticket reveals.
            self.reload(store, whole=stale)
            stale = True
        return claimed

    def _look(self, only: Collection[str] | None, until: datetime | None) -> _Seen | None:
        """What is due now, in the order in which it starts. None if nothing is, or nothing may be claimed."""
        with self._claiming:
            if self.loop.stopping.is_set():
                return None
            now = self.clock.now()
            if only is None:
                jobs = self._started(now)
            else:
                jobs = [job for job in map(self.agenda.get, sorted(only)) if job is not None]
                jobs = [job for job in jobs if not self.duties.holds(job)]
            if not self._fires:
                return None
            if jobs and (trouble := self.duties.unusable()):
                raise UnavailableError(trouble)
            if self._turned_at is not None and now - self._turned_at > PACED_AFTER:
                self._back_at = now  # a long outage can end in slots missed just now: pace them, too
            if only is None:
                self._turned_at = now
            dues = [found for job in jobs if (found := self._due(job, now, until)) is not None]
            dues.sort(key=lambda each: (each.last, each.job.id))
            back_at = self._back_at
            paced = any(
                each.after_outage(now) or (back_at is not None and any(slot <= back_at for slot in each.catch_up))
                for each in dues
            )
            return _Seen(now=now, ticket=self._seen, dues=dues, paced=paced) if dues else None

    def _claim_all(self, store: Store, seen: _Seen, *, turns: bool) -> list[Run] | None:
        """Claim and hand over, in chunks while each can start at once. None if it turned out to be stale.

        turns: this is the thread that moves runs on.
        """
        engine, left, size, merges = self.duties.engine, seen.dues, FIRST_CHUNK, turns
        if merges and len(left) > engine.free() > 0:
            left = store.read(claims.in_turn, left)
        claimed: list[Run] = []
        while left and not self.loop.stopping.is_set():
            merges = merges and engine.free() >= min(size, len(left))  # who has to wait, is found among all
            chunk, left = (left[:size], left[size:]) if merges else (left, [])
            found = self._claim(store, replace(seen, dues=chunk), merges=merges, turns=turns)
            if found is None:
                return None
            claimed += found
            size = CHUNK
        return claimed

    def _started(self, now: datetime) -> list[Job]:
        """The jobs whose start has come, except those that wait for their place."""
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

    def _due(self, job: Job, now: datetime, until: datetime | None = None) -> Due | None:
        foreseen, start = self._foreseen.get(job.id), self._prepared
        if foreseen is not None and foreseen[0] is job and until is None and start and start <= now < start + STAYS:
            return foreseen[1]
        try:
            back_at = self.duties.back_at(job)
            return due(
                job, now=now, since=self.since, until=until, elsewhere_until=self._elsewhere_until, back_at=back_at
            )
        except Exception:  # such as a zone that this machine no longer has: no other job may wait for it
            self._drop(job)
            return None

    def _drop(self, job: Job) -> None:
        _log.exception("job_not_fired", "this job does not fire until its file changes", job_id=job.id)
        self.agenda.drop(job.id)

    def _claim(self, store: Store, seen: _Seen, *, merges: bool, turns: bool) -> list[Run] | None:
        """Claim one chunk, and hand it over at once, so that claimed runs start whatever fails later.

        merges: runs for which nothing has changed are opened in the same transaction. None if the agenda is stale.
        """
        engine, dues = self.duties.engine, seen.dues
        give_up = time.monotonic() + BUSY_TIMEOUT.total_seconds()
        while True:
            if turns:  # a run that has ended is no overlap
                excluding = {each.job.id for each in dues if each.job.file.spec.concurrency is not Concurrency.ALLOW}
                engine.write_ends_of(excluding)
            seen = replace(seen, now=max(seen.now, self.clock.now()))
            try:
                openings = engine.plan(store, dues, seen.now) if merges else {}
                with self._claiming:  # until the agenda has it: a newer definition must not be overwritten
                    with store.writing(wait=BUSY_WAIT) as sql:
                        claim, begun = self._write_claim(sql, seen, openings)
                        crash_point("before_claim_commit")
                    crash_point("after_claim_commit")
                    for each in dues:
                        self.agenda.put(replace(each.job, next_run_at=each.next_run_at, last_slot=each.last))
            except StaleError:
                return None
            except LockedError:
                if time.monotonic() >= give_up:
                    raise
                if turns:
                    engine.reactor.turn(BUSY_WAIT.total_seconds())  # runs under way go on meanwhile
                else:
                    time.sleep(BUSY_WAIT.total_seconds())  # whoever moves runs on may claim meanwhile
                continue
            except SchedulerError:
                raise
            except Exception:
                return self._claim_singly(store, seen, turns=turns)
            break
        for each in dues:
            _tell(each)
        self.duties.hand_over(claim)
        if begun:
            engine.start_begun(begun, ended=self.duties.done)
        return [*claim.runs, *(run for run, _ in begun)]

    def _write_claim(
        self, sql: Connection, seen: _Seen, openings: Mapping[str, Opening]
    ) -> tuple[Claimed, list[tuple[Run, Opening]]]:
        """Raises: StaleError."""
        engine, begun = self.duties.engine, list[tuple[Run, Opening]]()
        if openings:
            claims.need_seen(sql, seen.ticket)
            plain = [(each, openings[each.job.id]) for each in seen.dues if each.job.id in openings]
            found = batches.begin_due(
                sql,
                [(due, opening.pinned()) for due, opening in plain],
                owner=self.owner,
                places=claims.free_places(sql, engine.places, seen.now),
                now=seen.now,
            )
            begun = [(run, opening) for run, (_, opening) in zip(found, plain, strict=True) if run is not None]
        opened = {run.job_id for run, _ in begun}
        rest = [each for each in seen.dues if each.job.id not in opened]
        claim = Claimed()
        if rest:
            claim = claims.claim_due(
                sql,
                rest,
                seen=seen.ticket,
                owner=self.owner,
                max_running=engine.places,
                max_out=engine.max_out,
                now=seen.now,
                paced=seen.paced,
            )
            engine.begin(sql, claim.runs)
        return claim, begun

    def _claim_singly(self, store: Store, seen: _Seen, *, turns: bool) -> list[Run] | None:
        """One job that cannot be claimed must not block the others."""
        if len(seen.dues) == 1:
            self._drop(seen.dues[0].job)
            return []
        found = [self._claim(store, replace(seen, dues=[each]), merges=False, turns=turns) for each in seen.dues]
        return None if None in found else [run for each in found if each is not None for run in each]

    def _turns(self) -> Iterator[float]:
        with self.lend() as store, store.hurried(BUSY_WAIT):  # this thread must move runs on meanwhile
            self.agenda.poke()  # earlier pokes may have been lost in an error
            while True:
                self.turn(store)
                self.loop.succeed()
                self._prepare(store)
                yield 0.0  # a sign of life
                yield from self._waits(store)

    def turn(self, store: Store) -> None:
        """Read changes, claim what is due, and do the other work of a turn."""
        if self.agenda.bell.is_set():
            self.agenda.bell.clear()
            self.reload(store)
        self.repair_clock(store)
        self.dispatch(store)
        self.agenda.trim(self.clock.now())
        self.duties.between(store)

    def repair_clock(self, store: Store) -> None:
        """Repair the effects of a clock that went back, if it did."""
        found = self.duties.timekeeper.look(store)
        if found is None:
            return
        with self._claiming:  # this process was there before, and is there now
            if self.since is not None:
                self.since = min(self.since, self.clock.now())
            if self._elsewhere_until is not None:
                self._elsewhere_until = min(self._elsewhere_until, self.clock.now())
            self._forget_foreseen()
        self.duties.engine.hasten(found.retries)
        if not found.nothing:
            self.reload(store, whole=True)

    def _prepare(self, store: Store) -> None:
        """Have ready what the next claim needs: its jobs, what is due of each, git's tree."""
        with self._claiming:
            start = self.agenda.next_start
            if start is None:
                return
            self.duties.engine.warm(store)
            if start == self._prepared:
                return
            self._forget_foreseen()
            found = [(job, self._due(job, start)) for job in self.agenda.started(start)]
            self._foreseen = {job.id: (job, due) for job, due in found if due and _stays(due)}
            self._prepared = start

    def _forget_foreseen(self) -> None:
        self._prepared, self._foreseen = None, {}

    def _rehearse(self, store: Store, start: datetime) -> None:
        """Do all that a claim does, short of doing it: after a sleep, the first time takes five times as long.

        Nothing of it stays: what it writes is rolled back, and the files are read again at the instant.
        """
        engine = self.duties.engine
        with contextlib.suppress(Exception), self._claiming:  # whatever is wrong, the claim itself meets and reports
            dues = [each for job in self.agenda.started(start)[:1] if (each := self._due(job, start))]
            if not dues or not self._fires or engine.free() < 1 or self.duties.unusable():
                return
            seen = _Seen(now=start, ticket=self._seen, dues=dues, paced=False)
            openings = engine.plan(store, dues, start)
            with store.writing(durable=False, wait=timedelta(0)) as sql:
                self._write_claim(sql, seen, openings)
                raise _RehearsalError

    def _waits(self, store: Store) -> Iterator[float]:
        """Wait for the next start, a ring, or a step of the clock; at most until there is other work."""
        with self._claiming:
            start = self.next_start
            self.glance = len(self.agenda), start
        rehearsals = [] if start is None else [start - ahead for ahead in REHEARSALS]
        claim_at = start
        start = min((at for at in (start, self.duties.engine.next_at) if at is not None), default=None)
        until = time.monotonic() + LOOK_AGAIN_S
        while not self.agenda.bell.is_set() and not self.duties.timekeeper.needs_repair:
            now, left = self.clock.now(), until - time.monotonic()
            if left <= 0 or (start is not None and start <= now):
                return
            if rehearsals and rehearsals[0] <= now:
                rehearsals.pop(0)
                if claim_at is not None and claim_at - now > TOO_LATE:
                    self._rehearse(store, claim_at)
                continue
            next_at = min((at for at in (start, *rehearsals[:1]) if at is not None), default=None)
            if next_at is not None:
                left = min(left, max(0.0, (next_at - now) / SECOND - AWAKE_S))
            yield min(left, CLOCK_S)


def _stays(due: Due) -> bool:
    """True if exactly one slot is due at its start, and for some time after it."""
    alone = due.slot is not None and not due.catch_up and not due.skips
    return alone and (due.next_run_at is None or due.next_run_at - due.last >= STAYS)


def _tell(due: Due) -> None:
    missed = [skip for skip in due.skips if skip.reason == "missed"]
    if missed:
        slots, last = sum(skip.slots for skip in missed), instant(missed[-1].last)
        _log.warning("slots_missed", job_id=due.job.id, slots=slots, last=last)
    if due.catch_up:
        slots, last = len(due.catch_up), instant(due.catch_up[-1])
        _log.warning("catching_up", job_id=due.job.id, slots=slots, last=last)
