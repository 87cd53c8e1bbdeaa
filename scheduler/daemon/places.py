"""Place faults as a daemon knows them: met by a fire, watched until they end, reported when they begin and end (F7).

The fire itself discovers that its place is gone, so a fire that finds everything in order costs no extra look. From
then on, the slots of all jobs that need that place wait until it has been back for a moment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from scheduler.core.due.place import Cause, PlaceFault
from scheduler.core.values.facts import Job
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.settings import Settings
from scheduler.daemon.accounts import Accounts
from scheduler.ledger import places, syncs
from scheduler.ledger.pool import Lend
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.log import Log
from scheduler.machine.loop import Loop
from scheduler.root.gone import folder_trouble, root_trouble
from scheduler.run.local.prepare import unready, workdir_fault
from scheduler.sync.passes import Passes

LOOK_S = 0.5  # between two looks at what is gone
IDLE_S = 60.0
STEADY_S = 3.0  # what is back must stay: a mount that comes and goes is one fault, reported once
TOLD_AFTER_S = 1.0  # a shorter absence is what a save or a checkout looks like
RETRY_S = 1.0

_log = Log(__name__)


@dataclass(slots=True)
class _Known:
    """A fault that has not ended. Times are monotonic seconds."""

    fault: PlaceFault
    met_at: float
    well_since: float | None = None
    told: bool = False


@dataclass(eq=False, kw_only=True)
class Places:
    """The present faults, and when past ones ended. Any thread may ask."""

    passes: Passes
    clock: Clock
    lend: Lend
    environ: Mapping[str, str]
    changed: Callable[[], None] = lambda: None  # called when one ends
    no_engine: Callable[[], str] = lambda: ""  # why no run can be handed to workers; empty if it can
    steady_s: float = STEADY_S

    def __post_init__(self) -> None:
        self.accounts = Accounts(clock=self.clock, lend=self.lend, rings=self.ring, changed=self.changed)
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._ended: dict[str, tuple[PlaceFault, datetime]] = {}
        self._back_at: datetime | None = None  # of everything, after the database was gone
        self._database_gone = False
        self._ends = 0
        self.loop = Loop("places", self._turns, _log, retry_s=RETRY_S)

    def begin(self, store: Store) -> None:
        """Take over the faults that an earlier daemon reported, and end those that are over."""
        now = time.monotonic()
        lost = [each for each in store.read(places.open_faults) if each.park is None]
        self._known = {each.key: _Known(each, now, told=True) for each in lost}
        self._look(store, steady_s=0.0)
        self.accounts.begin(store)

    def look_once(self, store: Store) -> None:
        """Report what is gone if nobody looks again: at the end of `serve --once`."""
        self._look(store, steady_s=0.0, told_after_s=0.0)
        self.accounts.look(store)

    @property
    def ends(self) -> int:
        """How many have ended."""
        return self._ends + self.accounts.changes

    def ring(self) -> None:
        """Look at once."""
        self.loop.bell.set()

    def lost(self, fault: PlaceFault) -> None:
        """Note a fault that a fire has met."""
        with self._lock:
            now = time.monotonic()
            known = self._known.get(fault.key)
            if known is None:
                self._known[fault.key] = _Known(replace(fault, since=self.clock.now()), now)
            else:
                known.well_since = None
        self.loop.bell.set()

    def saw_database(self, trouble: str) -> None:
        """Note whether the database was there: it goes and comes back with the root that contains it."""
        with self._lock:
            if self._database_gone and not trouble:
                self._back_at = self.clock.now()
            self._database_gone = bool(trouble)

    def holds(self, job: Job) -> bool:
        """True if the slots of a job wait for its place."""
        if self.accounts.holds(job):
            return True
        if not self._known:
            return False
        with self._lock:
            return any(known.fault.holds(job) for known in self._known.values())

    def back_at(self, job: Job) -> datetime | None:
        """When the place of a job last came back. None if it was never gone."""
        with self._lock:
            found = [at for fault, at in self._ended.values() if fault.holds(job)]
        found += [at for at in (self._back_at, self.accounts.back_at(job)) if at is not None]
        return max(found, default=None)

    def look(self, store: Store) -> None:
        """Look at what is gone, and report faults that have begun or ended. Raises: UnavailableError."""
        self._look(store, self.steady_s)

    def _look(self, store: Store, steady_s: float, told_after_s: float = TOLD_AFTER_S) -> None:
        with self._lock:
            known = list(self._known.values())
        if not known:
            return
        settings = store.read(syncs.settings) or Settings()
        over = []
        for each in known:
            trouble = self._trouble(each.fault, settings)
            with self._lock:
                now = time.monotonic()
                each.well_since = None if trouble else each.well_since or now
                if each.well_since is not None and now - each.well_since >= steady_s:
                    over.append(each)
            if trouble and not each.told and now - each.met_at >= told_after_s:
                self._tell_begin(store, each)
        if over:
            self._end(store, over)

    def _trouble(self, fault: PlaceFault, settings: Settings) -> str:
        """Why a fault still lasts. Empty if it is over."""
        place = self.passes.place.now()
        match fault.cause:
            case Cause.ROOT:
                return root_trouble(place.root)
            case Cause.FOLDER:
                return root_trouble(place.root) or folder_trouble(place.root / fault.name)
            case Cause.BRANCH:
                return self.passes.other_branch(settings)
            case Cause.HELD:
                return self.passes.held(settings)
            case Cause.RUNNER:
                runner = settings.runners.get(fault.name)
                found = None if runner is None else next(unready(runner, place.root, self.environ), None)
                return "" if found is None else found.message
            case Cause.ENGINE:
                return self.no_engine()
            case Cause.WORKDIR:
                found = workdir_fault(fault.name, place.root, self.environ.get("HOME", ""))
                return "" if found is None else found.message
            case Cause.ACCOUNT:
                return ""  # `accounts` looks after them

    def _tell_begin(self, store: Store, known: _Known) -> None:
        store.write(places.tell, [known.fault], begins=True, now=self.clock.now())
        known.told = True
        fault = known.fault
        _log.warning(
            "place_lost",
            "its jobs wait until it is restored; this counts as no error of theirs",
            cause=fault.cause.value,
            name=fault.name or None,
            reason=fault.message,
        )

    def _end(self, store: Store, over: list[_Known]) -> None:
        now = self.clock.now()
        told = [each.fault for each in over if each.told]
        if told:
            store.write(places.tell, told, begins=False, now=now)
        with self._lock:
            for each in over:
                del self._known[each.fault.key]
                self._ended[each.fault.key] = each.fault, now
            self._ends += 1
        for fault in told:
            since = fault.since or now
            _log.warning(
                "place_back",
                "firing resumes",
                cause=fault.cause.value,
                name=fault.name or None,
                lost_s=round((now - since).total_seconds()),
            )
        self.changed()

    def _turns(self) -> Iterator[float]:
        while True:
            self.loop.bell.clear()
            again: float | None = None
            try:
                with self.lend() as store:
                    self.look(store)
                    again = self.accounts.look(store)
                self.loop.succeed()
            except SchedulerError:  # the database is gone with its root, or locked: whoever needs it reports it
                again = RETRY_S if self.accounts.any else None
            if self._known:
                self.loop.stopping.wait(LOOK_S)  # not cut short by every fire that meets the same fault
            yield 0.0 if self._known else min(IDLE_S, IDLE_S if again is None else again)
