"""Watches the clock for a daemon (F6): what it did, whether to fire by it, and what must be repaired.

Nothing depends on having seen a step: if a database has rows in the future, the next process to start repairs it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from scheduler.core.times.clocks import NOT_BEFORE, PATIENCE, Boot, Trust, first_trust, judged
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import UnavailableError
from scheduler.ledger import clock_steps
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.log import Log
from scheduler.machine.timesync import is_synchronized
from scheduler.sync.clock_repair import ClockRepair, repair_after_clock_change, zone_rules

DRIFT = timedelta(seconds=1)  # of the boot's wall time, before it is recorded again
LOOK_S = 0.2

_log = Log(__name__)


class Timekeeper:
    """One clock as one daemon uses it. Any thread may ask for `doubt`."""

    def __init__(self, clock: Clock, *, good: Callable[[], bool | None] = is_synchronized) -> None:
        """good: True if something vouches for the clock."""
        self._clock = clock
        self._good = good
        self._lock = threading.Lock()
        self._trust: Trust | None = None
        self._kept: Boot | None = None
        self._needs_repair = False

    def begin(self, store: Store) -> None:
        """Before anything is synced or fired: repair what an earlier clock left, if this one is trusted."""
        left = store.read(clock_steps.last_clock)
        reading = self._clock.read()
        with self._lock:
            self._trust = first_trust(reading, stored=left.boot, newest=left.newest, good=self._vouched)
            self._kept = left.boot
            self._tell(None, self._trust)
        whole = self._trust.went_back or self._trust.gained or left.zone_rules != zone_rules(left)
        whole = whole or (left.newest is not None and left.newest > reading.wall)
        if not self.doubt():
            self._repair(store, whole=whole)

    def doubt(self) -> str:
        """Why nothing may fire by this clock now. Empty if it may."""
        with self._lock:
            before = self._trust
            if before is None:
                return ""
            self._trust = judged(before, self._clock.read(), good=self._vouched)
            self._needs_repair |= self._trust.went_back or self._trust.gained
            self._tell(before, self._trust)
            if not self._trust.doubt:
                return ""
            until = "until it is set" if self._clock.now() < NOT_BEFORE else _UNTIL
            return f"the clock is not trusted: {self._trust.doubt}; nothing fires {until}"

    @property
    def needs_repair(self) -> bool:
        """True if the clock changed and `look` must run."""
        return not self.doubt() and self._needs_repair

    def look(self, store: Store) -> ClockRepair | None:
        """Repair the effects of a clock that went back. None if there was nothing to do, or the clock is in doubt."""
        if self._trust is None or self.doubt():
            return None
        found = self._repair(store, whole=True) if self._needs_repair else None
        self._keep(store)
        return found

    def _repair(self, store: Store, *, whole: bool) -> ClockRepair:
        self._needs_repair = False
        try:
            found = repair_after_clock_change(store, now=self._clock.now(), whole=whole)
        except BaseException:
            self._needs_repair = True
            raise
        self._keep(store)
        return found

    def _keep(self, store: Store) -> None:
        assert self._trust is not None
        boot, kept = self._trust.boot, self._kept
        if kept is None or kept.boot_id != boot.boot_id or abs(kept.booted_at - boot.booted_at) > DRIFT:
            with store.writing(durable=False) as sql:
                clock_steps.keep_boot(sql, boot)
            self._kept = boot

    def wait(self, stopped: Callable[[], bool]) -> None:
        """Wait until the clock is trusted. Raises: UnavailableError while it shows an impossible time."""
        while (doubt := self.doubt()) and not stopped():
            if self._clock.now() < NOT_BEFORE:
                raise UnavailableError(doubt, hint="set the clock")
            time.sleep(LOOK_S)

    def _vouched(self) -> bool:
        return self._good() is True

    def _tell(self, before: Trust | None, after: Trust) -> None:
        if after.doubt and (before is None or before.doubt != after.doubt):
            _log.warning(
                "clock_doubted",
                "nothing fires until the clock is known to be right, or for two minutes",
                reason=after.doubt,
            )
        elif before is not None and before.doubt and not after.doubt:
            _log.warning("clock_believed", now=instant(self._clock.now()))
        if after.went_back and before is not None:
            by = before.boot.booted_at - after.boot.booted_at
            _log.warning("clock_went_back", by_s=by.total_seconds(), now=instant(self._clock.now()))


_UNTIL = f"until it is known to be right, or for {PATIENCE // timedelta(minutes=1)} minutes"
