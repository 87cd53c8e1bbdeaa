"""`serve` by a clock that jumps to the next slot as soon as nothing runs: as many fires as the machine can carry out.

    python -m tests.crash.hurried ROOT

A whole daemon in a process of its own; only the clock is not the system's. Each line on stdin is a number of fires;
once there have been so many, and nothing runs, a line on stdout says how many there were, and time stands still until
the next line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from scheduler.core.times.clocks import ClockReading
from scheduler.daemon.daemon import Daemon
from scheduler.ledger import queries
from scheduler.root.place import Place
from scheduler.service.root import Root

LOOK_S = 0.001
COUNT_EVERY = 25  # jumps


class JumpingClock:
    def __init__(self) -> None:
        self._moment = self._start = datetime.now(UTC).replace(microsecond=0)

    def now(self) -> datetime:
        return self._moment

    def read(self) -> ClockReading:  # time passes quickly, and nobody sets the clock
        return ClockReading(wall=self._moment, elapsed=self._moment - self._start, boot_id="hurried")

    def jump(self, moment: datetime) -> None:
        self._moment = max(self._moment, moment)


class Hurry:
    """Drives the clock of one daemon."""

    def __init__(self, daemon: Daemon, clock: JumpingClock) -> None:
        self._daemon = daemon
        self._clock = clock

    def live(self) -> None:
        self._daemon.ready.wait()
        while self._daemon.clockwork.next_start is None:
            time.sleep(LOOK_S)
        for goal in sys.stdin:
            while (found := self._fired()) < int(goal):
                for _ in range(COUNT_EVERY):
                    self._jump()
            print(found, flush=True)

    def _jump(self) -> None:
        clockwork, engine = self._daemon.clockwork, self._daemon.engine
        start = clockwork.next_start
        if start is not None:
            self._clock.jump(start)
        self._daemon.agenda.poke()
        while (coming := clockwork.next_start) is not None and coming <= self._clock.now():
            time.sleep(LOOK_S)  # until it is claimed
        while any(engine.counts):  # only the daemon's own thread may wait on its reactor without keeping it waiting
            time.sleep(LOOK_S)

    def _fired(self) -> int:
        with self._daemon.stores.lend() as store:
            return sum(job.runtime.run_count for job in store.read(queries.jobs))


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    root, clock = Path(sys.argv[1]).resolve(), JumpingClock()
    place = Place(root=root, state=root / ".scheduler", db=root / ".scheduler/state.db")
    service = Root(place=place, clock=clock, environ=os.environ, actor="scheduler")
    with contextlib.ExitStack() as cleanup:
        daemon = Daemon(cleanup, place=place, clock=clock, environ=os.environ, absent_grace=service.absent_grace)
        threading.Thread(target=Hurry(daemon, clock).live, name="hurry", daemon=True).start()
        daemon.serve()


if __name__ == "__main__":
    main()
