"""Parked accounts as a daemon knows them: which of their jobs wait, and the one run that is the probe (F7).

What is known is in the ledger, and survives this process. Here is what must not be asked for at each fire: whether a
run may start. Of a parked account, one run at a time may, and only once its time has come: first a run that the limit
has cut short, otherwise the next slot that is due.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.core.due.accounts import Park, frees, is_interrupted, parks_anew
from scheduler.core.values.facts import Job
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.runs import Run
from scheduler.ledger import accounts
from scheduler.ledger.pool import Lend
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.log import Log

PROBE_AGAIN_S = 5.0  # between two looks for the run that is to be the probe
ASK_AGAIN = timedelta(minutes=1)  # for a run that waits for the end of a probe

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class _Probe:
    """The one run of a parked account that may be under way."""

    run_id: str
    attempts: int  # that it had before


@dataclass(eq=False, kw_only=True)
class Accounts:
    """The parked accounts. Any thread may ask; `look` belongs to one."""

    clock: Clock
    lend: Lend
    hasten: Callable[[Iterable[Run]], None] = lambda _: None  # called with waiting runs whose time has changed
    rings: Callable[[], None] = lambda: None  # asks for a look
    changed: Callable[[], None] = lambda: None  # called when slots may be due that waited

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._parked: dict[str, Park] = {}
        self._users: dict[str, str] = {}  # by runner: its parked account
        self._probes: dict[str, _Probe] = {}
        self._open: set[str] = set()  # accounts whose next due slot is the probe
        self._freed: set[str] = set()  # by a probe, and not yet in the ledger
        self._back: dict[str, datetime] = {}  # by runner: when its account last was, or may have been, back
        self.changes = 0  # how often slots that waited may have become due

    @property
    def any(self) -> bool:
        return bool(self._parked or self._freed)

    def guards(self, job: Job) -> bool:
        """True if the account of a job is parked, so that a run of it must ask whether it may start."""
        return bool(self._users) and job.runner in self._users

    def holds(self, job: Job) -> bool:
        """True if the slots of a job wait for its account. One may be the probe if the job's time has come."""
        if not self._users:
            return False
        with self._lock:
            account = self._users.get(job.runner)
            if account is None or account in self._freed:
                return False
            return account in self._probes or not self._is_open(account)

    def _is_open(self, account: str) -> bool:
        return account in self._open and self._parked[account].until <= self.clock.now()

    def back_at(self, job: Job) -> datetime | None:
        """When the account of a job was last back. None if it was never parked."""
        return self._back.get(job.runner)

    def probe_of(self, job: Job) -> tuple[str, str] | None:
        """The account of a job, and the run that probes it now. None if none does."""
        with self._lock:
            account = self._users.get(job.runner, "")
            probe = self._probes.get(account)
            return None if probe is None else (account, probe.run_id)

    def admits(self, job: Job, run: Run) -> bool:
        """True if a run may start now. If its account is parked, it is the probe from then on, until `over`.

        A person may probe at any time.
        """
        with self._lock:
            account = self._users.get(job.runner)
            if account is None or account in self._freed:
                return True
            probe = self._probes.get(account)
            if probe is not None:
                return probe.run_id == run.id
            due = self._parked[account].until <= self.clock.now()
            if run.fire_time is not None and not (due and (is_interrupted(run) or account in self._open)):
                return False
            self._probes[account] = _Probe(run.id, len(run.attempts))
        _log.info("account_probed", account=account, run_id=run.id)
        return True

    def again_at(self, job: Job) -> datetime | None:
        """When to ask next for a run that must ask, unless `changed` is called before. None if it need not."""
        with self._lock:
            account = self._users.get(job.runner)
            if account is None:
                return None
            now, until = self.clock.now(), self._parked[account].until
            return until if until > now else now + ASK_AGAIN if account in self._probes else now

    def over(self, run_id: str, ended: Run | None) -> None:
        """Note that a run has ended, or waits again; None if nobody knows how it ended."""
        parks = ended is not None and parks_anew(ended)
        if not self._parked and not parks:
            return
        with self._lock:
            account = next((name for name, probe in self._probes.items() if probe.run_id == run_id), None)
            if account is not None:
                probe = self._probes.pop(account)
                if ended is not None and frees(ended, probe.attempts):
                    self._freed.add(account)
                    self._came_back(self._parked[account], self.clock.now())
                elif not parks:
                    self.changes += 1  # another slot may be the probe
        if parks:
            self._read()
        if account is not None:
            self.changed()
        self.rings()

    def _read(self) -> None:
        """Block the account at once: `look` may come only after the next claim."""
        try:
            with self.lend() as store:
                self._take(store.read(accounts.parks))
        except SchedulerError:
            pass  # `look` tries again

    def begin(self, store: Store) -> float | None:
        """Take over what an earlier daemon has left. Returns as `look`. Raises: UnavailableError."""
        self._back.update(store.read(accounts.back_at))
        return self.look(store)

    def look(self, store: Store) -> float | None:
        """Bring ledger and memory into line. Returns after how many seconds to look again; None: once it is rung.

        Raises: UnavailableError.
        """
        now, before = self.clock.now(), dict(self._parked)
        for account in sorted(self._freed):
            store.write(accounts.end_park, account, now=now)
            self._freed.discard(account)
        if not before and not store.read(accounts.parks):
            return None
        found = store.write(accounts.look_at, now=now)
        self._take(found)
        for account in before.keys() - found.keys():
            _log.warning("place_back", "firing resumes", cause="account", name=account)
        if before.keys() - found.keys():
            self.changed()
        for account, park in found.items():
            if before.get(account) != park:
                self.hasten(store.read(accounts.interrupted, park))
        return self._open_due(store, found, now)

    def _open_due(self, store: Store, found: dict[str, Park], now: datetime) -> float | None:
        """Let a slot be the probe where no run waits to be it."""
        waits: list[float] = []
        for account, park in found.items():
            if park.until > now:
                waits.append((park.until - now) / timedelta(seconds=1))
            elif account in self._probes or account in self._open:
                continue
            elif store.read(accounts.interrupted, park):
                waits.append(PROBE_AGAIN_S)
                self.changed()  # so that it is released
            else:
                with self._lock:
                    self._open.add(account)
                    self._came_back(park, now)
                self.changed()
        return min(waits, default=None)

    def _take(self, found: dict[str, Park]) -> None:
        news = []
        with self._lock:
            for account in self._parked.keys() - found.keys():
                self._open.discard(account)
                self._probes.pop(account, None)
                self._came_back(self._parked.pop(account), self.clock.now())
            for account, park in found.items():
                if self._parked.get(account) != park:
                    self._open.discard(account)
                    self._freed.discard(account)  # what is newer counts; at worst, a free account is probed again
                    self._parked[account] = park
                    news.append((account, park))
            self._users = {runner: name for name, park in self._parked.items() for runner in park.runners}
        for account, park in news:
            _log.warning(
                "place_lost",
                "its jobs wait until a probe succeeds; this counts as no error of theirs",
                cause="account",
                name=account,
                reason=park.message,
                until=instant(park.until),
            )

    def _came_back(self, park: Park, now: datetime) -> None:
        self._back.update(dict.fromkeys(park.runners, now))
        self.changes += 1
