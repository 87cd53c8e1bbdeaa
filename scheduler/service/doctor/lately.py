"""Doctor for callers that ask often: it examines a root at most once in some seconds, and once at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.service.doctor.examine import examine
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import DoctorJson

LASTS_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    doctor: DoctorJson
    at: datetime
    took_ms: int


class Lately:
    """Remembers the last examination of each root. Who asks during one waits for its answer, and starts none."""

    def __init__(
        self, examine: Callable[[Root], DoctorJson] = examine, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._examine, self._monotonic = examine, monotonic
        self._lock = threading.Lock()
        self._last: dict[Path, tuple[float, Examined]] = {}

    def examine(self, root: Root) -> Examined:
        with self._lock:
            ended, found = self._last.get(root.place.state, (0.0, None))
            started = self._monotonic()
            if found is not None and started - ended < LASTS_S:
                return found
            at, doctor = root.clock.now(), self._examine(root)
            ended = self._monotonic()
            found = Examined(doctor=doctor, at=at, took_ms=round((ended - started) * 1000))
            self._last[root.place.state] = ended, found
            return found
