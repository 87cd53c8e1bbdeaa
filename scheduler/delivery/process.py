"""The process that sends: started, watched and started again by a daemon, and ended with it."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from scheduler.core.values.problems import SchedulerError
from scheduler.delivery.sender import Sender
from scheduler.ledger.pool import Stores
from scheduler.machine.clock import SystemClock
from scheduler.machine.log import Log, write_log
from scheduler.root.place import Place, is_there

RETRY_S = 2.0

_log = Log(__name__)


def main() -> None:
    """Send what waits in the outbox until standard input is closed, as by the end of the daemon.

    With `once` as the last argument, only what is due now.
    """
    root, state, db, form, level, *once = sys.argv[1:]
    place = Place(root=Path(root), state=Path(state), db=Path(db))
    write_log(sys.stderr, form, int(level), os.environ)
    stores = Stores(place.db, usable=lambda: "" if is_there(place.db) else f"the database {place.db} is gone")
    sender = Sender(place=place, clock=SystemClock(), lend=stores.lend, environ=dict(os.environ))

    def end_with_parent() -> None:
        while os.read(0, 4096):  # each byte says that something may have come
            sender.arrived.set()
        os._exit(0)  # at once: what is under way must not be recorded as a failure; its helpers end with this process

    threading.Thread(target=end_with_parent, daemon=True).start()
    said = ""
    while True:
        try:
            wait_s, said = sender.look(), ""
        except SchedulerError as error:  # the database is locked, full or gone: what waits stays there
            if str(error) != said:
                said = str(error)
                _log.warning("sender_failed", reason=said)
            wait_s = RETRY_S
        else:
            if once and sender.is_idle:
                break
        sender.arrived.wait(wait_s)
    sender.close()
