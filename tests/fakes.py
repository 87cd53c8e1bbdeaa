"""Small working stand-ins for what a test must control."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scheduler.core.due.waiting import Done
from scheduler.core.times.clocks import ClockReading
from scheduler.core.values.runs import Ending, Run, RunStatus, Trigger
from scheduler.core.values.settings import Settings
from scheduler.daemon.duties import Duties
from scheduler.daemon.timekeeper import Timekeeper
from scheduler.ledger import claims, runs
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.run.local.engine import LocalEngine

START = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)


@dataclass
class FakeClock:
    """A clock that moves only when told to. Time passes by `advance`, or by setting `moment`; `step` sets the clock."""

    moment: datetime = START
    boot_id: str | None = "boot-1"
    booted_at: datetime = START - timedelta(days=1)

    def now(self) -> datetime:
        return self.moment

    def read(self) -> ClockReading:
        return ClockReading(wall=self.moment, elapsed=self.moment - self.booted_at, boot_id=self.boot_id)

    def advance(self, by: timedelta) -> None:
        self.moment += by

    def step(self, by: timedelta) -> None:
        """Somebody sets the clock on the wall; no time passes."""
        self.moment += by
        self.booted_at += by

    def reboot(self) -> None:
        self.boot_id, self.booted_at = f"{self.boot_id}+", self.moment


class NotedEngine(LocalEngine):
    """Carries out nothing, and notes what it is told."""

    def __init__(self, places: int = 3, *, taken: Callable[[list[Run]], None] = lambda _: None) -> None:
        """taken: told of runs that are handed over."""
        self.max_running = places
        self._taken = taken
        self.submitted: list[Run] = []
        self.gave_way: list[Run] = []
        self.replaced: list[str] = []
        self.hastened: list[list[Run]] = []

    max_out = 1_000_000

    @property
    def places(self) -> int:
        return self.max_running

    @property
    def next_at(self) -> datetime | None:
        return None

    def warm(self, store: Store) -> None:
        pass

    def write_ends_of(self, job_ids: Collection[str]) -> None:
        pass

    def free(self) -> int:
        return 0  # so that no slot is claimed and opened at once

    def start(self, batch: Iterable[Run], *, ended: Done | None = None) -> None:
        found = list(batch)
        self.submitted += found
        self._taken(found)

    def forget(self, runs: Iterable[Run]) -> None:
        self.gave_way += runs

    def replace(self, run_id: str) -> None:
        self.replaced.append(run_id)

    def hasten(self, runs: Iterable[Run]) -> None:
        self.hastened.append(list(runs))


class FakeDuties(Duties):
    """Fires, and has nothing else to do, unless a test says otherwise."""

    def __init__(self, clock: Clock, engine: LocalEngine, timekeeper: Timekeeper | None = None) -> None:
        self.engine = engine
        self.timekeeper = timekeeper or Timekeeper(clock)
        self.done = None
        self.places = None
        self.trouble, self.allowed = "", True

    def unusable(self) -> str:
        return self.trouble or self.timekeeper.doubt()

    def may_fire(self, settings: Settings) -> bool:
        return self.allowed

    def between(self, store: Store) -> None:
        pass


def claim_by_hand(
    store: Store,
    job_id: str,
    *,
    now: datetime,
    owner: str = "o",
    max_running: int = 16,
    trigger: Trigger = Trigger.MANUAL,
    task_of: int | None = None,
) -> Run:
    """A run that somebody has asked for, with nothing started."""
    return store.write(
        claims.claim_manual,
        job_id,
        trigger=trigger,
        requested_by="user:test",
        owner=owner,
        max_running=max_running,
        now=now,
        task_of=task_of,
    ).runs[0]


def succeed(store: Store, run: Run, *, now: datetime) -> Run:
    return store.write(runs.finish, run, Ending(status=RunStatus.SUCCEEDED), now=now)
