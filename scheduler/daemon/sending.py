"""The process that sends messages."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from subprocess import Popen, TimeoutExpired

from scheduler.core.values.settings import Settings
from scheduler.daemon.keeper import Keeper
from scheduler.ledger import outbox, syncs
from scheduler.ledger.pool import Lend
from scheduler.machine.log import Log, form_of_log

ONCE_S = 60.0  # for `serve --once`: what takes longer waits for the next daemon

_log = Log(__name__)


@dataclass(eq=False, kw_only=True)
class Sending(Keeper):
    """The sender of a daemon, as long as there is anybody to be told."""

    name = "sending"
    not_started = "sender_not_started"
    lend: Lend

    def poke(self) -> None:
        """Something may have to be sent."""
        self.loop.bell.set()

    def send_once(self) -> None:
        """Send what is due now. Raises: UnavailableError."""
        with self.lend() as store:
            waits = store.read(outbox.any_waiting)
        if waits:
            with contextlib.suppress(TimeoutExpired):
                self.start("once").wait(ONCE_S)
            self.close()

    def arguments(self) -> Sequence[str]:
        where = (str(self.place.root), str(self.place.state), str(self.place.db))
        return "scheduler.delivery.process", *where, *form_of_log()

    def ended(self, code: int, wait_s: float) -> float:
        _log.warning("sender_ended", "it is started again", code=code, wait_s=wait_s)
        return wait_s

    def look(self, child: Popen[bytes]) -> None:
        assert child.stdin is not None
        with contextlib.suppress(OSError):  # it has ended: the next turn sees that
            os.write(child.stdin.fileno(), b"\n")

    def is_needed(self) -> bool:
        with self.lend() as store:
            settings = store.read(syncs.settings) or Settings()
            beats = settings.alerts.heartbeat is not None
            return beats or bool(settings.channels) or store.read(outbox.any_waiting)
