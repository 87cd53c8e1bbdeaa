"""`scheduler serve`: holds the database, keeps it in step with the files, lets the clockwork fire. No rules here."""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from scheduler.control.daemon_lock import DaemonLock
from scheduler.control.server import Reply, Server
from scheduler.core.due.waiting import Done
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import UnavailableError, UsageError
from scheduler.core.values.runs import Run, RunStatus, Trigger
from scheduler.core.values.settings import Settings
from scheduler.core.views import Json
from scheduler.daemon.clockwork import Clockwork
from scheduler.daemon.loop import Heartbeat
from scheduler.daemon.resync import Resync
from scheduler.daemon.systemd import Manager
from scheduler.daemon.timekeeper import Timekeeper
from scheduler.delivery.alarms import Alarms
from scheduler.git.tree import Commits
from scheduler.ledger import claims, lives, queries, syncs
from scheduler.ledger.claims import Claimed
from scheduler.ledger.database import DamagedError
from scheduler.ledger.owners import Owner
from scheduler.ledger.pool import Stores
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.crash import crash_point
from scheduler.machine.disks import lack_of_room
from scheduler.machine.log import Log
from scheduler.machine.memory import share_one_heap
from scheduler.machine.mounts import mount_of
from scheduler.machine.signals import is_ignored
from scheduler.maintenance.backup import Nightly
from scheduler.maintenance.file import DatabaseFile
from scheduler.maintenance.lost import refuse_lost, start_state
from scheduler.maintenance.retention import Housekeeping
from scheduler.remote.following import Follow, Follower
from scheduler.root.parsed import Parsed
from scheduler.root.place import Place
from scheduler.root.settings import read_settings
from scheduler.run.ends import BENIGN, tell_end
from scheduler.run.engine import recover
from scheduler.run.local.attempts import Attempts
from scheduler.run.local.cancel import GRACE as CANCEL_GRACE
from scheduler.run.local.engine import LocalEngine
from scheduler.run.local.ready import troubles
from scheduler.run.local.recovery import LocalRecovery
from scheduler.sync.passes import Passes
from scheduler.sync.settle_copy import settle_copy
from scheduler.sync.synced import Synced

GRACE = timedelta(seconds=30)  # for what runs when the daemon is told to stop
ONE_SIGNAL_S = 0.1  # two that close are one: sent to the process and to its group, as `timeout` and make do
HANDED_OVER_S = 2.0
RETRY_LATE = timedelta(seconds=10)  # by then nobody is there any more who would try a run again
BEAT_S = 10.0  # between two signs of life in the database
SWEEP_S = 10.0  # between two looks for what has lacked a place for too long
LOOK_S = 1.0  # between two looks whether the database is still there
MOST_NAMED = 50  # jobs, in one line of the log

_log = Log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """How a daemon ended."""

    first: Synced  # its first pass
    failed: int = 0  # runs of `--once` that did not succeed
    forced: bool = False  # a second signal ended it
    put_back: bool = False  # another file has come in place of its database: to be served anew


class Daemon:
    """One daemon, from its lock to its end. `serve` runs in the main thread, where signals arrive."""

    def __init__(
        self,
        *,
        place: Place,
        clock: Clock,
        environ: Mapping[str, str],
        absent_grace: timedelta,
        observe: bool = False,
        once: bool = False,
        new_state: bool = False,
        grace: timedelta = GRACE,
    ) -> None:
        self._place = place = place.loose()
        self._clock = clock
        self._environ = environ
        self._manager = Manager(environ)
        self._observe = observe
        self._once = once
        self._new_state = new_state
        self._grace = grace
        self._since = clock.now()
        self._passes = Passes(
            place=place,
            clock=clock,
            absent_grace=absent_grace,
            settle=self._settle,
            parsed=Parsed(),
            commits=Commits(),
        )
        self._timekeeper = Timekeeper(clock)
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._follower: Follower | None = None  # where the root is kept from a remote
        self._why_silent: str | None = None  # why nothing fires here; None: not known yet
        self._ready = threading.Event()  # the first pass is made
        self._queue_taken = False
        self._told_to_stop = False
        self._told_at = 0.0
        self._database_trouble = ""
        self._lost: set[str] = set()  # runs that end while the database is gone
        self._forced = False
        self._ended: list[Run | None] = []  # of `--once`
        self._beat_at = 0.0
        self._sweep_at = 0.0

    # -- from start to stop ----------------------------------------------------------------------

    def serve(self) -> Served:
        """Serves until a signal says to stop; with `--once` until what is due has ended.

        Raises: UnavailableError where another daemon holds the database, or it or the root cannot be used;
        RefusedError where a history is gone and nobody said to start anew.
        """
        share_one_heap()
        self._manager.starting()
        with contextlib.ExitStack() as cleanup:
            if not self._new_state:
                refuse_lost(self._place)  # before a folder is made
            self._place.make_state()
            hold = cleanup.enter_context(DaemonLock(self._place, since=instant(self._since)))
            put_aside = start_state(self._place, new_state=self._new_state, now=self._since, held=True)
            store = cleanup.enter_context(Store.open(self._place.db))
            self._file = DatabaseFile(self._place)
            if damage := store.damage():
                raise UnavailableError(
                    f"{self._place.db} is damaged: {damage}", hint="`scheduler restore` brings a copy back"
                )
            self._stores = Stores(self._place.db, usable=self._replaced)
            cleanup.callback(self._stores.close)
            self._tell_what_is_new(store, put_aside)
            settle_copy(store, self._place, now=self._since, actor="scheduler")
            self._timekeeper.begin(store)
            self._owner = cleanup.enter_context(Owner(self._place.owners))
            self._workers = LocalEngine(
                attempts=self._attempts,
                lend=self._stores.lend,
                clock=self._clock,
                scratch=self._owner.scratch,
                delayed=lambda: self._clockwork.poke(),
                alone=lambda job_id: self._clockwork.runs_alone(job_id),
                known=lambda job_id: self._clockwork.known(job_id),
            )
            self._clockwork = Clockwork(
                clock=self._clock,
                owner=self._owner.id,
                since=None if self._once else self._since,
                submit=self._submit,
                places=lambda: self._workers.places,
                may_fire=self._may_fire,
                usable=self._unusable,
                between=self._between,
                wake_at=lambda: self._workers.next_at,
                set_right=self._set_right,
                clock_was_set=lambda: self._timekeeper.to_set_right,
                away_from=max(
                    (life.seen for life in store.read(lives.lives, self._clock.now()) if not life.silent), default=None
                ),
            )
            self._resync = Resync(
                place=self._place,
                passes=self._passes,
                lend=self._stores.lend,
                recover=self._recover,
                applied=self._clockwork.poke,
            )
            cleanup.callback(self._resync.stop)
            housekeeping = Housekeeping(place=self._place, clock=self._clock, lend=self._stores.lend)
            self._nightly = Nightly(
                place=self._place,
                clock=self._clock,
                lend=self._stores.lend,
                # By a clock that has jumped ahead all outputs would be old.
                also=lambda: None if self._timekeeper.doubt() else housekeeping.look(),
            )
            self._alarms = Alarms(
                clock=self._clock,
                lend=self._stores.lend,
                fires=lambda: self._why_silent == "",
                doubt=self._timekeeper.doubt,
            )
            if self._place.followed is not None:
                follow = Follow(followed=self._place.followed, clock=self._clock, environ=self._environ)
                self._follower = Follower(follow, asked=self._place.wake, applied=lambda: self._resync.poke())
            self._answer(hold)
            if self._follower is not None and (self._once or not self._place.root.is_dir()):
                self._follower.look()
            first = self._resync.sync_now(actor="scheduler", cause="start")
            self._clockwork.reload(store)
            cleanup.enter_context(self._listening_to_signals())
            self._take_queued(store)
            self._ready.set()
            if self._once:
                failed = self._serve_once(store)
                self._told_to_stop = True  # whoever asks for a run now would not see it end
                self._workers.wait()
                self._nightly.look()
                housekeeping.look()
                return Served(first=first, failed=failed, forced=self._forced)
            stopped = self._serve_on(hold)
            return Served(first=first, forced=self._forced, put_back=not stopped)

    def _serve_once(self, store: Store) -> int:
        """How many runs did not succeed. What is to be tried again later is left to the next daemon."""
        self._beat(store)
        self._timekeeper.wait(lambda: self._told_to_stop)
        if self._set_right(store):
            self._clockwork.reload(store, whole=True)
        self._workers.release(self._clock.now())
        self._clockwork.dispatch(store)
        self._workers.wait()
        with contextlib.suppress(UnavailableError), self._stores.lend() as another:
            self._workers.write_ends(another)
            self._beat(another, over=True)
        fine = [run for run in self._ended if run and (run.status is RunStatus.SUCCEEDED or run.reason in BENIGN)]
        failed = len(self._ended) - len(fine)
        return failed + self._workers.put_off + len(self._workers.unwritten)

    def _answer(self, hold: DaemonLock) -> None:
        handlers = {
            "wake": self._wake,
            "sync": self._sync,
            "run": self._run,
            "rerun": self._run,
            "cancel": self._cancel,
        }
        handlers["runners"] = self._runners
        for listener in hold.listeners:
            Server(listener, {**handlers, "status": self._status})

    def _serve_on(self, hold: DaemonLock) -> bool:
        """Until a signal; False where another database was put in the place of one that was gone."""
        threads = [
            threading.Thread(target=self._clockwork.run, args=(self._stores.lend,), name="clockwork"),
            threading.Thread(target=self._resync.run, name="resync"),
            threading.Thread(target=self._nightly.run, name="nightly"),  # this and the next: no heart of the daemon
            threading.Thread(target=self._alarms.run, name="alarms"),
        ]
        if self._follower is not None:
            threads.append(threading.Thread(target=self._follower.run, name="follower"))
        for thread in threads:
            thread.daemon = True
            thread.start()
        for thread, heart in zip(threads, self._hearts, strict=False):
            heart.watch(thread)
        _log.info("serving", root=self._place.label, db=self._place.db, pid=hold.holder.pid)
        number = self._await_signal()
        self._clockwork.stop()
        self._workers.start_no_more()
        if number is None:
            lost = ",".join(sorted(self._lost.union(self._workers.unwritten))) or "none"
            _log.warning("database_put_back", "starts anew with it", path=self._place.db, ends_lost=lost)
        else:
            _log.info("stopping", signal=signal.Signals(number).name, grace_s=self._grace.total_seconds())
            self._manager.stopping(self._grace + CANCEL_GRACE)
        crash_point("stopping")
        self._nightly.stop()
        self._alarms.stop()
        if self._follower is not None:
            self._follower.stop()
        self._resync.stop()
        self._workers.stop(self._grace)
        crash_point("drained")
        with contextlib.suppress(UnavailableError), self._stores.lend() as store:
            self._workers.write_ends(store)
            self._beat(store, over=True)
        for thread in threads:
            thread.join(timeout=10)
        self._workers.let_go()  # with another database this process goes on, and nobody must wait for ever
        stopped = number is not None or self._told_to_stop  # also by a signal that came while it was about to go on
        if stopped:
            _log.info("stopped")
        return stopped

    def _await_signal(self) -> int | None:
        """The signal that says to stop; None where another database was put in the place of one that was gone."""
        while True:
            self._manager.turn(self._hearts, self._summary())
            # In turns: a signal that comes just before the main thread blocks would not wake it.
            with contextlib.suppress(queue.Empty):
                return self._signals.get(timeout=min(self._manager.turn_s, LOOK_S))
            if self._look_at_database():
                return None

    def _look_at_database(self) -> bool:
        trouble = self._replaced()
        if trouble != self._database_trouble:
            if trouble:
                _log.error("database_gone", "`scheduler restore` brings a copy back", reason=trouble)
            else:
                _log.warning("database_back", path=self._place.db)
                self._clockwork.poke()
            self._database_trouble = trouble
        self._lost = self._lost.union(self._workers.under_way) if trouble else set()
        # What still runs belongs to the one that is gone, and must have ended before anything is started by another.
        return bool(trouble) and not self._workers.under_way and self._file.put_back()

    @contextlib.contextmanager
    def _listening_to_signals(self) -> Iterator[None]:
        before: dict[int, Any] = {}

        def stop(number: int, _: object) -> None:
            told, self._told_at = self._told_at, time.monotonic()
            if self._told_to_stop and self._told_at - told < ONE_SIGNAL_S:
                return
            if self._told_to_stop:  # the second one
                self._forced = True
                self._workers.interrupt()
            elif self._once:
                self._workers.interrupt(CANCEL_GRACE)
            self._told_to_stop = True
            self._signals.put(number)

        for number in (int(signal.SIGTERM), int(signal.SIGINT), int(signal.SIGHUP)):
            if not is_ignored(number):  # nohup, or a shell's background job
                before[number] = signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _tell_what_is_new(self, store: Store, put_aside: Sequence[Path]) -> None:
        for path in put_aside:
            _log.warning("put_aside", path=path)
        mount = mount_of(self._place.db.parent)
        if mount is not None and mount.is_shared:
            _log.warning(
                "network_file_system",
                "neither SQLite nor locks are safe there, see doctor",
                path=self._place.db,
                kind=mount.kind,
            )
        if store.read(syncs.synced_at) is None:
            found = self._passes.plan(store.read(syncs.observed))
            ids = [action.job_id for action in found.plan.actions if action.verb == "create"]
            named = ", ".join(ids[:MOST_NAMED]) or "none"
            more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
            count = "1 job" if len(ids) == 1 else f"{len(ids)} jobs"
            _log.warning("new_database", f"it is empty; about to own {count}: {named}{more}", path=self._place.db)

    # -- what the parts ask of each other --------------------------------------------------------

    def _attempts(self, store: Store) -> Attempts:
        return Attempts(
            place=self._place,
            store=store,
            clock=self._clock,
            environ=self._environ,
            passes=self._passes,
            owner=self._owner.id,
        )

    def _unusable(self) -> str:
        """Why nothing may be claimed at present; empty if it may."""
        trouble = self._stores.trouble() or lack_of_room(self._place.db.parent, self._place.outputs)
        return trouble or self._timekeeper.doubt()

    def _set_right(self, store: Store) -> bool:
        """Whether cursors were moved, because the clock had gone back."""
        found = self._timekeeper.look(store)
        if found is None:
            return False
        self._clockwork.turned_back()
        self._workers.hasten(found.retries)
        return not found.nothing

    def _replaced(self) -> str:
        """Why nothing may be written: the file is gone, or another one has come by its name."""
        return self._file.trouble()

    def _recover(self, store: Store) -> list[Run]:
        here = LocalRecovery(place=self._place, clock=self._clock, owner=self._owner.id)
        ended = [tell_end(store, run) for run in recover(store, [here])]
        if any(run.retry_at is not None for run in ended):
            self._queue_taken = False
            self._clockwork.poke()
        return ended

    def _submit(self, claim: Claimed) -> None:
        self._hand_over(claim, done=self._ended.append if self._once else None)

    def _hand_over(self, claim: Claimed, *, done: Done | None) -> None:
        """What gave way is forgotten first, and who is replaced is told last: nobody takes its place meanwhile."""
        self._workers.forget(claim.gave_way)
        self._workers.start(claim.runs, ended=done)
        for run_id in claim.replaced:
            self._workers.replace(run_id)

    def _set_places(self, max_running: int) -> None:
        if max_running != self._workers.max_running:
            self._workers.resize(max_running)
            if self._workers.places < max_running:
                _log.warning(
                    "few_files",
                    f"limits.max_running is {max_running}, but no more files may be open; raise ulimit -n",
                    places=self._workers.places,
                )

    def _between(self, store: Store) -> None:
        self._take_queued(store)
        now = self._clock.now()
        if not self._why_silent:  # of a command in whose foreground they waited, and that was killed
            self._submit(Claimed(runs=tuple(store.read(claims.retries_due, now - RETRY_LATE))))
        self._workers.release(now)
        if not self._why_silent and time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_S
            self._workers.skip_overdue(store)
        self._workers.write_ends(store)
        self._beat(store)

    def _beat(self, store: Store, *, over: bool = False) -> None:
        """Says in the database that this daemon is there; where that cannot be said just now, the next turn does."""
        if over or time.monotonic() >= self._beat_at:
            self._beat_at = time.monotonic() + BEAT_S
            try:
                if not self._unusable():
                    with store.writing(durable=False, wait=timedelta(0)) as sql:
                        lives.beat(sql, self._owner.id, now=self._clock.now(), silent=self._why_silent or "", over=over)
            except DamagedError:
                raise
            except UnavailableError:
                pass  # a lock, a full disk: nothing waits for this

    def _take_queued(self, store: Store) -> None:
        """What an earlier daemon left waiting goes on waiting here, as soon as this one may fire."""
        if not self._why_silent and not self._queue_taken:
            self._queue_taken = True
            self._submit(Claimed(runs=tuple(store.read(claims.queued))))

    def _settle(self, store: Store, job_ids: Collection[str], until: datetime) -> None:
        self._clockwork.dispatch(store, only=job_ids, until=until)

    def _may_fire(self, settings: Settings) -> bool:
        self._set_places(settings.limits.max_running)
        silent = "--observe" if self._observe else _elsewhere(settings)
        if silent != self._why_silent:
            self._beat_at = 0.0
            if silent:
                _log.warning("observing", "nothing fires here", reason=silent)
            elif self._why_silent is not None:
                _log.warning("firing_resumed")
            self._why_silent = silent
        return not silent

    # -- requests --------------------------------------------------------------------------------

    def _wake(self, request: Json, reply: Reply) -> None:
        self._clockwork.poke()
        reply({})

    def _sync(self, request: Json, reply: Reply) -> None:
        self._ready.wait()
        if self._follower is not None:
            self._follower.look()
        found = self._resync.sync_now(
            actor=request["actor"], confirmed=request["confirmed"], now_anyway=request["now_anyway"]
        )
        reply(found.report().to_json())

    def _run(self, request: Json, reply: Reply) -> None:
        self._ready.wait()
        if self._told_to_stop:
            raise UnavailableError("the daemon is stopping", hint="try again when it is back")
        if trouble := lack_of_room(self._place.db.parent, self._place.outputs):
            raise UnavailableError(trouble, hint="nothing was started")
        with self._stores.lend() as store:
            self._recover(store)
            if store.read(queries.job, request["job_id"]) is None:
                raise UsageError(f"there is no job {request['job_id']!r}")
            claim = store.write(
                claims.claim_manual,
                request["job_id"],
                trigger=Trigger.RERUN if request["verb"] == "rerun" else Trigger.MANUAL,
                requested_by=request["actor"],
                owner=self._owner.id,
                max_running=self._workers.places,
                now=self._clock.now(),
                task_of=request.get("task_of"),
                waits=True,
            )
        (run,) = claim.runs
        ended = threading.Event()
        self._hand_over(claim, done=lambda _: ended.set())
        reply({"n": run.n})
        if request["wait"]:
            ended.wait()
            reply({"n": run.n})

    def _cancel(self, request: Json, reply: Reply) -> None:
        give_up = time.monotonic() + HANDED_OVER_S
        while not (found := self._workers.cancel(request["run_id"])) and time.monotonic() < give_up:
            time.sleep(0.05)  # claimed a moment ago, and on its way to its thread
        reply({"found": found})

    def _runners(self, request: Json, reply: Reply) -> None:
        """What keeps them from starting: only this process knows its environment."""
        place = self._place.now()
        settings, _ = read_settings(place)
        if settings is None:
            with self._stores.lend() as store:
                settings = store.read(syncs.settings) or Settings()
        reply({"runners": troubles(settings, place.root, self._environ)})

    @property
    def _hearts(self) -> tuple[Heartbeat, ...]:
        return self._clockwork.heart, self._resync.heart

    def _summary(self) -> str:
        """How things stand, in one line; waits for nothing that another thread may hold."""
        if trouble := self._clockwork.trouble or self._resync.trouble:
            return f"in trouble: {trouble}"
        if self._why_silent:
            return f"nothing fires here ({self._why_silent})"
        (jobs, start), (running, waiting) = self._clockwork.glance, self._workers.counts
        when = "none" if start is None else instant(start)
        if doubt := self._timekeeper.doubt():
            return doubt
        return f"{jobs} scheduled, {running} running, {waiting} waiting; next fire {when}"

    def _troubles(self) -> tuple[str, ...]:
        unwritten = self._workers.unwritten
        ends = f"ended, and the end is not written yet: {', '.join(unwritten)}" if unwritten else ""
        hearts = [heart.trouble for heart in self._hearts]
        if self._told_to_stop:  # its threads end, as they should
            hearts = ["the daemon is stopping: what runs may end, nothing starts any more"]
        return self._clockwork.trouble, self._resync.trouble, self._resync.moved, ends, *hearts

    def _status(self, request: Json, reply: Reply) -> None:
        start = self._clockwork.next_start
        reply(
            {
                "silent": self._why_silent or "",
                "trouble": [each for each in dict.fromkeys((*self._troubles(), self._unusable())) if each],
                "backup": self._nightly.trouble,
                "unwatched": self._resync.unwatched,
                "held": self._resync.held,
                "held_since": None if self._resync.held_since is None else instant(self._resync.held_since),
                "held_long": self._resync.held_long,
                "next_start": None if start is None else instant(start),
            }
        )


def _elsewhere(settings: Settings) -> str:
    """Why `hosts` does not let this machine fire; empty if it does."""
    if settings.hosts is None:
        return ""
    name = socket.gethostname().lower()
    names = {name, name.partition(".")[0]}
    if any(fnmatchcase(each, glob.lower()) for each in names for glob in settings.hosts):
        return ""
    return f"hosts names {', '.join(settings.hosts)}, and this is {name}"
