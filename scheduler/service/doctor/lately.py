"""Doctor for callers that ask often: it examines a root once at a time, and not again for some time afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.service.doctor.examine import examine
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import DoctorJson

LASTS_S = 5.0
OF_TIME = 15  # so many times as long as it took, so that an open page of a large root does not keep the machine busy
ANSWER_S = 0.2  # for which a page waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    doctor: DoctorJson
    at: datetime
    took_ms: int


class Lately:
    """Remembers the last examination of each root. Safe in any thread."""

    def __init__(
        self, examine: Callable[[Root], DoctorJson] = examine, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._examine, self._monotonic = examine, monotonic
        self._lock = threading.Lock()
        self._last: dict[Path, tuple[float, Examined]] = {}
        self._going: dict[Path, Future[Examined]] = {}

    def examine(self, root: Root, *, wait_s: float | None = None) -> tuple[Examined | None, bool]:
        """The last examination, and whether another one goes on. If it is too old, waits for a new one.

        wait_s: at most so long. Then it is the old one, or None if there was none yet.
        """
        key = root.place.state
        with self._lock:
            ended, found = self._last.get(key, (0.0, None))
            if found is not None and self._monotonic() - ended < max(LASTS_S, OF_TIME * found.took_ms / 1000):
                return found, False
            going = self._going.get(key)
            if going is None:
                going = self._going[key] = Future()
                threading.Thread(target=self._run, args=(root, going), name="doctor", daemon=True).start()
        with suppress(TimeoutError):
            return going.result(wait_s), False
        return found, True

    def _run(self, root: Root, going: Future[Examined]) -> None:
        key, started = root.place.state, self._monotonic()
        try:
            at, doctor = root.clock.now(), self._examine(root)
        except BaseException as error:
            with self._lock:
                del self._going[key]
            going.set_exception(error)
            return
        ended = self._monotonic()
        found = Examined(doctor=doctor, at=at, took_ms=round((ended - started) * 1000))
        with self._lock:
            self._last[key] = ended, found
            del self._going[key]
        going.set_result(found)


LATELY = Lately()  # of this process
