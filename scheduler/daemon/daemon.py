"""`scheduler serve`: holds the database, keeps it in step with the files, and runs the clockwork. No rules here."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from scheduler.control.daemon_lock import DaemonLock
from scheduler.control.server import Server
from scheduler.core.due.events import BENIGN
from scheduler.core.values.access import AccessSettings
from scheduler.core.values.facts import Job
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import SchedulerError, UnavailableError
from scheduler.core.values.runs import Run, RunStatus
from scheduler.core.values.texts import counted
from scheduler.daemon.agenda import Agenda
from scheduler.daemon.clockwork import Clockwork
from scheduler.daemon.duties import Duties
from scheduler.daemon.lookups import Lookups
from scheduler.daemon.places import Places
from scheduler.daemon.requests import Requests
from scheduler.daemon.resync import Resync
from scheduler.daemon.sending import Sending
from scheduler.daemon.systemd import Manager
from scheduler.daemon.temporal import Temporal
from scheduler.daemon.timekeeper import Timekeeper
from scheduler.daemon.troubles import present_troubles
from scheduler.daemon.web import Web
from scheduler.delivery.alarms import Alarms
from scheduler.git.tree import Commits
from scheduler.ledger import handed, lives, syncs
from scheduler.ledger.owners import Owner
from scheduler.ledger.pool import Stores
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.crash import crash_point
from scheduler.machine.garbage import collect_often
from scheduler.machine.log import Log
from scheduler.machine.memory import share_one_heap
from scheduler.machine.mounts import mount_of
from scheduler.machine.orphans import adopted
from scheduler.machine.reactor import Reactor
from scheduler.machine.signals import is_ignored
from scheduler.machine.timesync import is_synchronized
from scheduler.maintenance.backup import Nightly
from scheduler.maintenance.file import DatabaseFile
from scheduler.maintenance.lost import refuse_lost, start_state
from scheduler.maintenance.retention import Housekeeping
from scheduler.remote.following import Follow, Follower
from scheduler.root.parsed import Parsed
from scheduler.root.place import Place
from scheduler.run.ends import tell_end
from scheduler.run.engine import recover
from scheduler.run.local.attempts import Attempts
from scheduler.run.local.cancel import GRACE as CANCEL_GRACE
from scheduler.run.local.engine import LocalEngine
from scheduler.run.local.recovery import LocalRecovery
from scheduler.run.temporal.engine import TemporalEngine
from scheduler.run.temporal.setup import engine_file, has_library, read_engine
from scheduler.sync.passes import Passes
from scheduler.sync.settle_copy import settle_copy
from scheduler.sync.synced import Synced

GRACE = timedelta(seconds=30)  # for running jobs when the daemon is told to stop
ONE_SIGNAL_S = 0.1  # two this close are one: sent to the process and to its group, as `timeout` and make do
LOOK_S = 1.0  # between two checks that the database still exists
TEND_S = 10.0  # between two looks after the database's journal,
NOTHING_STARTS = timedelta(seconds=0.25)  # which takes less than this
MOST_NAMED = 50  # jobs, in one line of the log

_log = Log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """How a daemon ended."""

    first: Synced  # its first pass
    failed: int = 0  # runs of `--once` that did not succeed
    forced: bool = False  # a second signal ended it
    put_back: bool = False  # another file has replaced its database: serve again from that


class Daemon:
    """One daemon. Once constructed, it holds the database, and accepts requests, which wait for its first pass.

    `serve` runs in the main thread, where signals arrive. No other thread works before that.
    """

    def __init__(
        self,
        cleanup: contextlib.ExitStack,
        *,
        place: Place,
        clock: Clock,
        environ: Mapping[str, str],
        absent_grace: timedelta,
        observe: bool = False,
        once: bool = False,
        new_state: bool = False,
        grace: timedelta = GRACE,
        listen: str | None = None,
        access: AccessSettings | None = None,
        vouched: Callable[[], bool | None] = is_synchronized,
    ) -> None:
        """cleanup: releases what the daemon holds. vouched: True if something keeps the clock right.

        listen: the address of the web; None for no web. access: how it lets people in.

        Raises: UnavailableError if another daemon holds the database, or it or the root cannot be used;
        RefusedError if a history is gone and nobody has asked for a new one.
        """
        self.place = place = place.loose()
        self.clock, self.environ, self._once, self._grace = clock, dict(environ), once, grace
        since = clock.now()
        share_one_heap()
        self._manager = Manager(environ)
        self._manager.starting()
        if not new_state:
            refuse_lost(place)  # before a folder is created
        place.make_state()
        lock = cleanup.enter_context(DaemonLock(place, since=instant(since)))
        put_aside = start_state(place, new_state=new_state, now=since, held=True)
        self._store = store = cleanup.enter_context(Store.open(place.db))  # of the main thread
        self._file = DatabaseFile(place)
        if damage := store.damage():
            raise UnavailableError(
                f"{place.db} is damaged: {damage}", hint="`scheduler restore` lists the backups and restores one"
            )
        self.stores = stores = Stores(place.db, usable=self._file.trouble)
        cleanup.callback(stores.close)
        # The one cycle: the clockwork claims what a pass asks for, and each claimed run makes a pass.
        self._passes = Passes(
            place=place, clock=clock, absent_grace=absent_grace, settle=self._settle, parsed=Parsed(), commits=Commits()
        )
        _tell_what_is_new(place, put_aside)
        self._is_new = store.read(syncs.synced_at) is None
        settle_copy(store, place, now=since, actor="scheduler")
        self._timekeeper = timekeeper = Timekeeper(clock, good=vouched)
        timekeeper.begin(store)
        self.owner = owner = cleanup.enter_context(Owner(place.owners))
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._told_at = self._tend_at = 0.0
        self.told_to_stop = False
        self._forced = False  # by a second signal
        self._no_engine = ""  # why nothing can be handed over to workers
        self.ready = threading.Event()  # set after the first pass
        self._database_trouble = ""
        self._lost: set[str] = set()  # runs that end while the database is gone
        self._ended: list[Run | None] = []  # of `--once`
        reactor = Reactor()
        cleanup.callback(reactor.close)
        self.agenda = Agenda(reactor, self._read_jobs)
        self.places = Places(
            passes=self._passes,
            clock=clock,
            lend=stores.lend,
            environ=environ,
            changed=self.agenda.poke,
            no_engine=lambda: self._no_engine,
        )
        self.engine = LocalEngine(
            attempts=self._attempts,
            lend=stores.lend,
            clock=clock,
            place=place,
            owner=owner.id,
            scratch=owner.scratch,
            reactor=reactor,
            delayed=self.agenda.poke,
            alone=self.agenda.runs_alone,
            holds=self.places.holds,
            back_at=self.places.back_at,
            known=self.agenda.get,
            gate=self.places.accounts,
            leaves=lambda job_id: self.duties.leaves(self.agenda.get(job_id)),
        )
        self.temporal = self._temporal(reactor)
        self.places.accounts.hasten, self.places.accounts.changed = self.engine.hasten, self.engine.hurry
        self.duties = Duties(
            place=place,
            clock=clock,
            owner=owner.id,
            stores=stores,
            engine=self.engine,
            timekeeper=timekeeper,
            places=self.places,
            observe=observe,
            once=once,
            done=self._ended.append if once else None,
        )
        if self.temporal is not None:
            self.duties.follow = self.temporal.engine.begin
            reactor.call(self.temporal.engine.turns)
        self.clockwork = Clockwork(
            clock=clock,
            owner=owner.id,
            since=None if once else since,
            agenda=self.agenda,
            lend=stores.lend,
            duties=self.duties,
            away_from=max(
                (life.seen for life in store.read(lives.lives, clock.now()) if not life.silent), default=None
            ),
        )
        self.lookups = Lookups(place=place, lend=stores.lend)
        self.resync = Resync(
            place=place, passes=self._passes, lend=stores.lend, recover=self.recover, applied=self._applied
        )
        self._housekeeping = housekeeping = Housekeeping(place=place, clock=clock, lend=stores.lend)
        self.nightly = Nightly(
            place=place,
            clock=clock,
            lend=stores.lend,
            # By a clock that has jumped ahead, all outputs would be old.
            also=lambda: None if timekeeper.doubt() else housekeeping.beside(),
        )
        self.sending = Sending(place=place, lend=stores.lend, environ=environ)
        alarms = Alarms(
            clock=clock,
            lend=stores.lend,
            fires=self.duties.fires,
            doubt=timekeeper.doubt,
            troubles=lambda store: present_troubles(self, store),
        )
        self.follower: Follower | None = None  # for a followed root
        if place.followed is not None:
            follow = Follow(followed=place.followed, clock=clock, environ=environ)
            self.follower = Follower(follow, asked=place.wake, applied=self.resync.loop.bell.set)
        self._hearts = (self.clockwork.loop, self.resync.loop)  # the watchdog acts if one of them hangs
        self._loops = [*self._hearts, self.places.loop, self.lookups.loop, self.nightly.loop, alarms.loop]
        self._loops.append(self.sending.loop)
        lets_in = access or AccessSettings()
        web = None if listen is None else Web(place=place, address=listen, access=lets_in, environ=environ)
        self._loops += [] if web is None else [web.loop]
        self._loops += [] if self.follower is None else [self.follower.loop]
        if self.temporal is not None:
            self._loops.append(self.temporal.loop)
            cleanup.callback(self.temporal.close)
        cleanup.callback(self.resync.stop)
        cleanup.callback(self.lookups.stop)
        cleanup.callback(self.sending.close)
        if web is not None:
            cleanup.callback(web.close)
        for listener in lock.listeners:
            Server(listener, Requests(self).handlers())

    def serve(self) -> Served:
        """Run until a signal says to stop; with `--once`, until what is due has ended. Raises: UnavailableError."""
        if self.follower is not None and (self._once or not self.place.root.is_dir()):
            self.follower.look()
        announce = self._announce if self._is_new else None
        first = self.resync.sync_now(actor="scheduler", cause="start", announce=announce)
        self.places.begin(self._store)
        self.clockwork.reload(self._store)
        with self._listening_to_signals():
            self.duties.take_queued(self._store)
            self.ready.set()
            if self._once:
                failed = self._serve_once()
                return Served(first=first, failed=failed, forced=self._forced)
            stopped = self._serve_on()
            return Served(first=first, forced=self._forced, put_back=not stopped)

    def _serve_once(self) -> int:
        """Return the number of runs that did not succeed. Later retries are left to the next daemon."""
        self.duties.beat(self._store)
        if self.temporal is not None:
            self.temporal.start()
        self._timekeeper.wait(lambda: self.told_to_stop)
        self.clockwork.repair_clock(self._store)
        self.engine.release(self.clock.now())
        self.clockwork.dispatch(self._store)
        self.engine.wait()
        self.places.look_once(self._store)
        self._write_last()
        fine = [run for run in self._ended if run and (run.status is RunStatus.SUCCEEDED or run.reason in BENIGN)]
        failed = len(self._ended) - len(fine) + self.engine.put_off + len(self.engine.unwritten)
        self.told_to_stop = True  # a run that is requested now would not be seen to end
        self.engine.wait()
        with contextlib.suppress(UnavailableError):  # the next daemon asks again
            self.lookups.look()
        with contextlib.suppress(UnavailableError):  # and sends what this one has not
            self.sending.send_once()
        self.nightly.look()
        self._housekeeping.look()
        return failed

    def _serve_on(self) -> bool:
        """Run until a signal. False if another database replaced one that was gone."""
        collect_often()
        for loop in self._loops:
            loop.start()
        _log.info("serving", root=self.place.label, db=self.place.db, pid=os.getpid())
        number = self._await_signal()
        self.clockwork.stop()
        self.engine.start_no_more()
        if number is None:
            lost = ",".join(sorted(self._lost.union(self.engine.unwritten))) or "none"
            _log.warning(
                "database_put_back", "restarting with the restored database", path=self.place.db, ends_lost=lost
            )
        else:
            _log.info("stopping", signal=signal.Signals(number).name, grace_s=self._grace.total_seconds())
            self._manager.stopping(self._grace + CANCEL_GRACE)
        crash_point("stopping")
        for loop in self._loops:
            loop.stop()
        self.resync.stop()
        self.lookups.stop()
        self.clockwork.loop.join()  # from now on this thread moves the runs on
        self.engine.stop(self._grace)
        crash_point("drained")
        self._write_last()
        for loop in self._loops:
            loop.join()
        self.engine.let_go()  # the process may go on with another database: nobody must wait forever
        stopped = number is not None or self.told_to_stop  # also by a signal just before going on
        if stopped:
            _log.info("stopped")
        return stopped

    def _write_last(self) -> None:
        with contextlib.suppress(UnavailableError), self.stores.lend() as store:
            self.engine.write_ends(store)
            self.duties.beat(store, over=True)

    def _await_signal(self) -> int | None:
        """The signal that says to stop. None if another database replaced one that was gone."""
        while True:
            self._manager.turn(self._hearts, self._summary)
            adopted()  # reaps those that have ended
            self._tend_journal()
            # In turns: a signal just before the main thread blocks would not wake it.
            with contextlib.suppress(queue.Empty):
                return self._signals.get(timeout=min(self._manager.turn_s, LOOK_S))
            if self._look_at_database():
                return None

    def _tend_journal(self) -> None:
        """Do now and then, between fires, what would otherwise delay one of them."""
        _, start = self.clockwork.glance
        soon = start is not None and start - self.clock.now() < NOTHING_STARTS
        if time.monotonic() >= self._tend_at and not soon:
            self._tend_at = time.monotonic() + TEND_S
            with contextlib.suppress(UnavailableError, OSError):  # a lock, a full disk: nothing depends on this
                self._store.tend_journal()

    def _look_at_database(self) -> bool:
        trouble = self._file.trouble()
        self.places.saw_database(trouble)
        if trouble != self._database_trouble:
            if trouble:
                _log.error("database_gone", "`scheduler restore` lists the backups and restores one", reason=trouble)
            else:
                _log.warning("database_back", path=self.place.db)
                self.agenda.poke()
            self._database_trouble = trouble
        self._lost = self._lost.union(self.engine.under_way) if trouble else set()
        # Active runs belong to the lost database, and must have ended before another one starts anything.
        return bool(trouble) and not self.engine.under_way and self._file.put_back()

    @contextlib.contextmanager
    def _listening_to_signals(self) -> Iterator[None]:
        before: dict[int, Any] = {}

        def stop(number: int, _: object) -> None:
            told, self._told_at = self._told_at, time.monotonic()
            if self.told_to_stop and self._told_at - told < ONE_SIGNAL_S:
                return
            if self.told_to_stop:  # the second signal
                self._forced = True
                self.engine.interrupt()
            elif self._once:
                self.engine.interrupt(CANCEL_GRACE)
            self.told_to_stop = True
            self._signals.put(number)

        for number in (int(signal.SIGTERM), int(signal.SIGINT), int(signal.SIGHUP)):
            if not is_ignored(number):  # nohup, or a background job of a shell
                before[number] = signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _attempts(self, store: Store) -> Attempts:
        return Attempts(
            place=self.place,
            store=store,
            clock=self.clock,
            environ=self.environ,
            passes=self._passes,
            owner=self.owner.id,
            lost=self.places.lost,
            no_engine=lambda _: self._no_engine,
        )

    def _temporal(self, reactor: Reactor) -> Temporal | None:
        """The engine for workers, if this host has one."""
        try:
            settings = read_engine(self.place)
        except SchedulerError as error:
            self._no_engine = str(error)
            _log.error("engine_refused", "its jobs wait", error=str(error), hint=error.hint)
            return None
        if settings is None:
            self._no_engine = f"write {engine_file(self.place)} and restart the daemon"
            return None
        if not has_library():
            self._no_engine = "install gitops-scheduler[temporal] and restart the daemon"
            _log.error("engine_refused", "its jobs wait", error="the library is missing", hint=self._no_engine)
            return None
        self._no_engine = ""
        database = self._store.read(handed.database_id)
        engine = TemporalEngine(
            place=self.place,
            lend=self.stores.lend,
            clock=self.clock,
            reactor=reactor,
            root_id=settings.root_id or database,
            home=self.engine.came_home,
            max_out=settings.max_out,
            lost_after=settings.lost_after,
            heartbeat=settings.heartbeat,
        )
        self.engine.away.workers = engine
        return Temporal(place=self.place, environ=self.environ, engine=engine, reactor=reactor, database=database)

    def _read_jobs(self, job_ids: Sequence[str]) -> Mapping[str, Job]:
        with self.stores.lend() as store:
            return store.read(syncs.observed_of, job_ids, (), total=0)[0].jobs

    def _settle(self, store: Store, job_ids: Collection[str], until: datetime) -> None:
        self.clockwork.dispatch(store, only=job_ids, until=until)

    def _applied(self) -> None:
        self.agenda.poke()
        self.places.ring()
        self.lookups.loop.bell.set()
        self.sending.poke()

    def _announce(self, job_ids: Sequence[str]) -> None:
        named = ", ".join(job_ids[:MOST_NAMED]) or "none"
        more = f" and {len(job_ids) - MOST_NAMED} more" if len(job_ids) > MOST_NAMED else ""
        words = f"the database is empty; about to create {counted(len(job_ids), 'job')}: {named}{more}"
        _log.warning("new_database", words, path=self.place.db)

    def recover(self, store: Store) -> list[Run]:
        """End the runs of dead processes."""
        here = LocalRecovery(place=self.place, clock=self.clock, owner=self.owner.id)
        ended = [tell_end(store, run) for run in recover(store, [here], but=self.owner.id)]
        if any(not run.status.finished for run in ended):
            self.duties.queue_taken = False
            self.agenda.poke()
        return ended

    def _summary(self) -> str:
        """The state of the daemon in one line. Waits for nothing that another thread may hold."""
        if trouble := self.clockwork.loop.trouble or self.resync.loop.trouble:
            return f"in trouble: {trouble}"
        if self.duties.silent:
            return f"nothing fires here ({self.duties.silent})"
        (jobs, start), (running, waiting) = self.clockwork.glance, self.engine.counts
        when = "none" if start is None else instant(start)
        if doubt := self._timekeeper.doubt():
            return doubt
        return f"{jobs} scheduled, {running} running, {waiting} waiting; next fire {when}"

    def troubles(self) -> list[str]:
        """What keeps it from its work. Empty texts if nothing does."""
        unwritten = self.engine.unwritten
        ends = f"ended, but the result is not saved yet: {', '.join(unwritten)}" if unwritten else ""
        hangs = [loop.hang for loop in self._hearts]
        if self.told_to_stop:  # its threads end, as they should
            hangs = ["the daemon is stopping: running jobs may finish, no new ones start"]
        return [*(loop.trouble for loop in self._hearts), self.place.moved, ends, *hangs]


def _tell_what_is_new(place: Place, put_aside: Sequence[Path]) -> None:
    for path in put_aside:
        _log.warning("put_aside", path=path)
    mount = mount_of(place.db.parent)
    if mount is not None and mount.is_shared:
        _log.warning(
            "network_file_system",
            "SQLite and its locks are unsafe there; see `scheduler doctor`",
            path=place.db,
            kind=mount.kind,
        )
