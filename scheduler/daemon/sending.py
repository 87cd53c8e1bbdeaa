"""Starts the sender in a process of its own, watches it, and starts it again. Firing never waits for it."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from subprocess import PIPE, Popen, TimeoutExpired

from scheduler.core.values.settings import Settings
from scheduler.ledger import outbox, syncs
from scheduler.ledger.pool import Lend
from scheduler.machine.log import Log, form_of_log
from scheduler.machine.loop import Loop
from scheduler.machine.orphans import start
from scheduler.machine.own_code import own_argv
from scheduler.root.place import Place

LOOK_S = 15.0
ONCE_S = 60.0  # for `serve --once`: what takes longer waits for the next daemon
STEADY_S = 60.0  # one that lived so long starts again at once
WAITS_S = (1.0, 5.0, 15.0, 60.0)  # before it is started again

_log = Log(__name__)


@dataclass(eq=False, kw_only=True)
class Sending:
    """The sender of a daemon, as long as there is anybody to be told."""

    place: Place
    lend: Lend
    environ: Mapping[str, str]

    def __post_init__(self) -> None:
        self.loop = Loop("sending", self._turns, _log, "sender_not_started", level=logging.WARNING, retry_s=LOOK_S)
        self._child: Popen[bytes] | None = None
        self._started_at = 0.0
        self._failures = 0
        self._again_at = 0.0

    def poke(self) -> None:
        """Something may have to be sent."""
        self.loop.bell.set()

    def close(self) -> None:
        """End the sender at once, and all that it has started: its helpers end with it."""
        child, self._child = self._child, None
        if child is not None:
            assert child.stdin is not None
            with contextlib.suppress(OSError):
                child.stdin.close()
            child.kill()
            child.wait()

    def send_once(self) -> None:
        """Send what is due now. Raises: UnavailableError."""
        with self.lend() as store:
            waits = store.read(outbox.any_waiting)
        if waits:
            child = self._child = self._start("once")
            with contextlib.suppress(TimeoutExpired):
                child.wait(ONCE_S)
            self.close()

    def _start(self, *more: str) -> Popen[bytes]:
        where = (str(self.place.root), str(self.place.state), str(self.place.db))
        argv = own_argv("scheduler.delivery.process", *where, *form_of_log(), *more)
        return start(argv, stdin=PIPE, cwd="/", env=dict(self.environ))

    def _turns(self) -> Iterator[float]:
        while True:
            self.loop.bell.clear()
            yield self._look()

    def _look(self) -> float:
        now = time.monotonic()
        child = self._child
        if child is not None and child.poll() is not None:
            self._failures = 0 if now - self._started_at >= STEADY_S else self._failures + 1
            wait_s = WAITS_S[min(self._failures, len(WAITS_S)) - 1] if self._failures else 0.0
            self._again_at = now + wait_s
            _log.warning("sender_ended", "it is started again", code=child.returncode, wait_s=wait_s)
            self.close()
        if self._child is None and now >= self._again_at and self._is_needed():
            self._child = begun = self._start()
            self._started_at = now

            def tell_end() -> None:
                begun.wait()
                self.loop.bell.set()

            threading.Thread(target=tell_end, name="sender ends", daemon=True).start()
        elif self._child is not None:
            self._wake()
        self.loop.succeed()
        return min(LOOK_S, max(0.1, self._again_at - now)) if self._child is None and self._again_at > now else LOOK_S

    def _wake(self) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):  # it has ended: the next turn sees that
            os.write(self._child.stdin.fileno(), b"\n")

    def _is_needed(self) -> bool:
        with self.lend() as store:
            settings = store.read(syncs.settings) or Settings()
            beats = settings.alerts.heartbeat is not None
            return beats or bool(settings.channels) or store.read(outbox.any_waiting)
