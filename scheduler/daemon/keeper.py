"""A process of its own that a daemon starts, watches, starts again, and ends with itself. Firing never waits for it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from subprocess import PIPE, Popen
from typing import ClassVar

from scheduler.machine.log import Log
from scheduler.machine.loop import Loop
from scheduler.machine.orphans import start
from scheduler.machine.own_code import own_argv
from scheduler.root.place import Place

LOOK_S = 15.0
STEADY_S = 60.0  # one that lived so long starts again at once
WAITS_S = (1.0, 5.0, 15.0, 60.0)  # before it is started again

_log = Log(__name__)


@dataclass(eq=False, kw_only=True)
class Keeper(ABC):
    """Keeps one process. It ends with the daemon: at the end of its standard input."""

    name: ClassVar[str]  # of the thread that watches
    not_started: ClassVar[str]  # the event
    place: Place
    environ: Mapping[str, str]

    def __post_init__(self) -> None:
        self.loop = Loop(self.name, self._turns, _log, self.not_started, level=logging.WARNING, retry_s=LOOK_S)
        self._child: Popen[bytes] | None = None
        self._started_at = self._again_at = 0.0
        self._failures = 0

    @abstractmethod
    def arguments(self) -> Sequence[str]:
        """Its module, and what that is called with."""

    @abstractmethod
    def ended(self, code: int, wait_s: float) -> float:
        """Log that it has ended by itself. Returns after how many seconds it is started again, such as `wait_s`."""

    def is_needed(self) -> bool:
        return True

    def look(self, child: Popen[bytes]) -> None:  # noqa: B027 - most need nothing
        """Called at each turn while it runs."""

    def start(self, *more: str) -> Popen[bytes]:
        self._child = start(own_argv(*self.arguments(), *more), stdin=PIPE, cwd="/", env=dict(self.environ))
        return self._child

    def close(self) -> None:
        """End it at once, and all that it has started: its helpers end with it."""
        child, self._child = self._child, None
        if child is not None:
            assert child.stdin is not None
            with contextlib.suppress(OSError):
                child.stdin.close()
            child.kill()
            child.wait()

    def _turns(self) -> Iterator[float]:
        while True:
            self.loop.bell.clear()
            yield self._turn()

    def _turn(self) -> float:
        """One look. Returns the seconds until the next."""
        now = time.monotonic()
        if self._child is not None and (code := self._child.poll()) is not None:
            self._failures = 0 if now - self._started_at >= STEADY_S else self._failures + 1
            wait_s = WAITS_S[min(self._failures, len(WAITS_S)) - 1] if self._failures else 0.0
            self._again_at = now + self.ended(code, wait_s)
            self.close()
        if self._child is not None:
            self.look(self._child)
        elif now >= self._again_at and self.is_needed():
            begun, self._started_at = self.start(), now

            def tell_end() -> None:
                begun.wait()
                self.loop.bell.set()

            threading.Thread(target=tell_end, name=f"{self.name} ends", daemon=True).start()
        self.loop.succeed()
        return LOOK_S if self._child is not None or now >= self._again_at else max(0.1, self._again_at - now)
