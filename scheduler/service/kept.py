"""What a process that lives long keeps of a root from one call to the next, so that each call reads what is new."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from scheduler.core.due.expected import Alarm
from scheduler.core.values.facts import JobSummary
from scheduler.ledger.overdue import Watch
from scheduler.ledger.store import Store


class Kept:
    """Safe in any thread."""

    def __init__(self) -> None:
        self._overdue_lock = threading.Lock()
        self._overdue: dict[tuple[Path, int], Watch] = {}

    def overdue(self, store: Store, now: datetime) -> Sequence[tuple[JobSummary, Alarm]]:
        """As `evidence.alarms` of all jobs, by id. Costs what has changed since the last call."""
        with self._overdue_lock:
            which = store.path, store.path.stat().st_ino  # a restored database is another one
            if which not in self._overdue:
                self._overdue = {which: Watch()}
            watch = self._overdue[which]
            watch.look(store, now)
            return sorted(watch.ringing.values(), key=lambda each: (each[0].id, each[1].kind))
