"""`serve` by a clock that a test sets: a file holds by how many seconds it is wrong.

    python -m tests.crash.stepped ROOT FILE

A whole daemon in a process of its own. Time since the boot is the machine's; nothing vouches for the clock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from scheduler.core.times.clocks import ClockReading
from scheduler.daemon.daemon import Daemon
from scheduler.machine.clock import SystemClock
from scheduler.root.place import Place


class SteppedClock(SystemClock):
    """The system's, wrong by what a file says."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self) -> datetime:
        return super().now() + self._wrong_by()

    def read(self) -> ClockReading:
        found = super().read()
        return replace(found, wall=found.wall + self._wrong_by())

    def _wrong_by(self) -> timedelta:
        return timedelta(seconds=float(self._file.read_text() or 0))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    root, clock = Path(sys.argv[1]).resolve(), SteppedClock(Path(sys.argv[2]))
    place = Place(root=root, state=root / ".scheduler", db=root / ".scheduler/state.db")
    with contextlib.ExitStack() as cleanup:
        Daemon(
            cleanup, place=place, clock=clock, environ=os.environ, absent_grace=timedelta(0), vouched=lambda: None
        ).serve()


if __name__ == "__main__":
    main()
