"""What a daemon does at each turn of its clockwork, apart from claiming what is due."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from scheduler.core.due.waiting import Done
from scheduler.core.formats.queues import queue_named
from scheduler.core.values.facts import Job
from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.runs import Run
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import HERE
from scheduler.daemon.places import Places
from scheduler.daemon.timekeeper import Timekeeper
from scheduler.ledger import claims, lives
from scheduler.ledger.claims import Claimed
from scheduler.ledger.database import DamagedError
from scheduler.ledger.pool import Stores
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.disks import lack_of_room
from scheduler.machine.log import Log
from scheduler.root.place import Place
from scheduler.run.local.engine import LocalEngine
from scheduler.run.local.room import FILES_OF_A_RUN, FILES_OF_OURS

RETRY_LATE = timedelta(seconds=10)  # by then no other process is left to retry a run
BEAT_S = 10.0  # between two signs of life in the database
SWEEP_S = 10.0  # between two looks for runs that waited too long for capacity

_log = Log(__name__)


@dataclass(slots=True, kw_only=True)
class Duties:
    """Permission to fire, the engine for what is claimed, and the other work of the clockwork's thread."""

    place: Place
    clock: Clock
    owner: str
    stores: Stores
    engine: LocalEngine
    timekeeper: Timekeeper
    places: Places | None = None
    observe: bool = False
    once: bool = False
    done: Done | None = None  # called for each run that has ended
    follow: Callable[[Store], Sequence[Run]] = lambda _: ()  # what earlier daemons have handed over
    away: frozenset[str] = frozenset()  # the runners whose jobs are for workers
    silent: str | None = None  # why nothing fires here; None: not known yet
    queue_taken: bool = False
    _beat_at: float = 0.0
    _sweep_at: float = 0.0

    def fires(self) -> bool:
        return self.silent == ""

    def holds(self, job: Job) -> bool:
        """True if the slots of a job wait for its place (F7)."""
        return self.places is not None and self.places.holds(job)

    def back_at(self, job: Job) -> datetime | None:
        return None if self.places is None else self.places.back_at(job)

    def probe_of(self, job: Job) -> tuple[str, str] | None:
        """The parked account of a job, and the run that probes it now. None if none does."""
        return None if self.places is None else self.places.accounts.probe_of(job)

    def leaves(self, job: Job | None) -> bool:
        """True if the runs of a job are for workers."""
        if job is None:
            return False
        spec = job.file.spec
        return spec.runner in self.away if spec.task_queue is None else spec.task_queue != HERE

    def unusable(self) -> str:
        """Why nothing may be claimed now. Empty if it may."""
        gone = self.stores.trouble()
        if self.places is not None:
            self.places.saw_database(gone)
        gone = gone or lack_of_room(self.place.db.parent, self.place.outputs)
        return gone or self.place.moved or self.timekeeper.doubt()

    def may_fire(self, settings: Settings) -> bool:
        """True if these settings let this host fire."""
        self._set_places(settings.limits.max_running)
        self.away = frozenset(name for name, each in settings.runners.items() if queue_named(None, each) is not None)
        silent = "--observe" if self.observe else _elsewhere(settings)
        if silent != self.silent:
            self._beat_at = 0.0
            if silent:
                _log.warning("observing", "nothing fires here", reason=silent)
            elif self.silent is not None:
                _log.warning("firing_resumed")
            self.silent = silent
        return not silent

    def _set_places(self, max_running: int) -> None:
        if max_running != self.engine.max_running:
            self.engine.resize(max_running)
            if few := self.few_files():
                _log.warning("few_files", reason=few)

    def few_files(self) -> str:
        """Why fewer runs are under way at once than `limits.max_running` allows. Empty if they are not."""
        most, needed = self.engine.max_running, FILES_OF_OURS + FILES_OF_A_RUN * self.engine.max_running
        if self.engine.places >= most:
            return ""
        return (
            f"at most {self.engine.places} runs at once: too few files may be open for limits.max_running {most};"
            f" raise ulimit -Hn (LimitNOFILE= in a unit) to {needed}"
        )

    def hand_over(self, claim: Claimed, *, done: Done | None = None) -> None:
        """Forget runs that gave way first, and end replaced ones last: no other run may take their place meanwhile."""
        self.engine.forget(claim.gave_way)
        self.engine.start(claim.runs, ended=done or self.done)
        for run_id in claim.replaced:
            self.engine.replace(run_id)

    def between(self, store: Store) -> None:
        """The work of every turn after the claim."""
        self.take_queued(store)
        now = self.clock.now()
        if not self.silent:  # retries that waited in the foreground of a command that was killed
            self.engine.start(store.read(claims.retries_due, now - RETRY_LATE), ended=self.done)
        self.engine.release(now)
        if not self.silent and time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_S
            self.engine.skip_overdue(store)
        self.engine.write_ends(store)
        self.beat(store)

    def take_queued(self, store: Store) -> None:
        """Take over the runs that an earlier daemon left waiting, once this one may fire."""
        if not self.silent and not self.queue_taken:
            self.queue_taken = True
            self.engine.follow(self.follow(store), ended=self.done)
            self.engine.start(store.read(claims.queued), ended=self.done)

    def beat(self, store: Store, *, over: bool = False) -> None:
        """Record in the database that this daemon is alive. If that fails now, the next turn does it."""
        if over or time.monotonic() >= self._beat_at:
            self._beat_at = time.monotonic() + BEAT_S
            try:
                if not self.unusable():
                    with store.writing(durable=False) as sql:
                        lives.beat(
                            sql, self.owner, now=self.clock.now(), silent=self.silent or "", over=over, once=self.once
                        )
            except DamagedError:
                raise
            except UnavailableError:
                pass  # a lock, a full disk: nothing depends on this


def _elsewhere(settings: Settings) -> str:
    """Why `hosts` does not let this machine fire. Empty if it does."""
    if settings.hosts is None:
        return ""
    name = socket.gethostname().lower()
    names = {name, name.partition(".")[0]}
    if any(fnmatchcase(each, glob.lower()) for each in names for glob in settings.hosts):
        return ""
    return f"hosts in scheduler.yaml is {', '.join(settings.hosts)}, and this host is {name}"
