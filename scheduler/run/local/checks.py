"""The checks of a daemon's runs: each decides in a process of its own whether its run starts.

It has the place of its run, and everything that a run's process has: a timeout, its own group, and an end for what it
leaves behind. A crash repeats it, since the run has not begun.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.core.due.checked import CHECK_BYTES
from scheduler.core.values.facts import Fault
from scheduler.core.values.runs import Ending, Run
from scheduler.machine.crash import crash_point
from scheduler.machine.log import Log
from scheduler.machine.reactor import Reactor
from scheduler.run.local.cancel import Cancel
from scheduler.run.local.census import Census
from scheduler.run.local.command import Execution, execute
from scheduler.run.local.prepare import Invocation

if TYPE_CHECKING:
    from scheduler.run.local.chunks import Seat

_OUTPUT_BYTES = 2 * CHECK_BYTES  # of both streams

_log = Log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checking:
    """A check before its process exists."""

    run: Run  # claimed, with an owner
    invocation: Invocation
    timeout: timedelta
    appends: bool  # what it prints is added to the text of the run

    def files(self, scratch: Path) -> tuple[Path, Path]:
        """Where its output is kept until somebody has read it."""
        name = f"check-{self.run.job_id}.{self.run.n}"
        return scratch / f"{name}.stdout", scratch / f"{name}.stderr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A check that has ended."""

    appends: bool
    ending: Ending | Fault
    files: tuple[Path, Path]

    def read(self) -> bytes:
        """What was kept of its stdout. Deletes it; may wait for a slow disk."""
        printed = b""
        with contextlib.suppress(OSError):
            printed = self.files[0].read_bytes()
        for file in self.files:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
        return printed


class Checks:
    """Carries out checks on the reactor, in whose thread everything happens."""

    def __init__(self, reactor: Reactor, census: Census, scratch: Path, ended: Callable[[Seat], None]) -> None:
        """ended: called with a seat once its `checked` is set."""
        self._reactor, self._census, self._scratch, self._ended = reactor, census, scratch, ended

    def start(self, seat: Seat, checking: Checking) -> None:
        seat.run = checking.run
        stdout, stderr = checking.files(self._scratch)
        try:
            seat.execution = Execution(
                checking.invocation,
                reactor=self._reactor,
                census=self._census,
                timeout=checking.timeout,
                scratch=self._scratch,
                stdout=os.fspath(stdout),
                stderr=os.fspath(stderr),
                output_limit=_OUTPUT_BYTES,
                cancel=seat.cancel,
                ended=lambda outcome: self._over(seat, checking, outcome),
            )
            found: Ending | Fault | Exception | None = seat.execution.start()
        except Exception as error:
            found = error
        if found is None:
            crash_point("in_check")
        else:
            self._over(seat, checking, found)

    def _over(self, seat: Seat, checking: Checking, outcome: Ending | Fault | Exception) -> None:
        if isinstance(outcome, Exception):
            _log.error("check_abandoned", run_id=seat.run.id, exc_info=outcome)
            outcome = Fault(reason="scheduler_error", message=f"{type(outcome).__name__}: {outcome}")
        seat.execution = None
        seat.checked = Checked(appends=checking.appends, ending=outcome, files=checking.files(self._scratch))
        self._ended(seat)


def check_here(checking: Checking, scratch: Path, cancel: Cancel) -> Checked:
    """Carry out a check in the calling thread, for a run in the foreground."""
    stdout, stderr = checking.files(scratch)
    ending = execute(
        checking.invocation,
        timeout=checking.timeout,
        scratch=scratch,
        stdout=stdout,
        stderr=stderr,
        output_limit=_OUTPUT_BYTES,
        on_spawn=lambda _: crash_point("in_check"),
        cancel=cancel,
    )
    return Checked(appends=checking.appends, ending=ending, files=(stdout, stderr))
