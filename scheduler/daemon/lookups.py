"""Asks git which commits brought the changes in force, beside a daemon's other work: a long history takes its time."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from scheduler.core.values.problems import UnavailableError
from scheduler.git.history import FEW_PATHS
from scheduler.ledger.audit import pending_lookups
from scheduler.ledger.pool import Lend
from scheduler.machine import orphans
from scheduler.machine.log import Log
from scheduler.machine.loop import Loop
from scheduler.root.place import Place
from scheduler.sync import lookups

LOOK_S = 60.0  # at the latest; after each pass, the bell rings

_log = Log(__name__)


@dataclass(eq=False, kw_only=True)
class Lookups:
    """Looks up commits after each pass. Its failures stop nothing: what is not answered is asked again."""

    place: Place
    lend: Lend

    def __post_init__(self) -> None:
        self.loop = Loop(
            "lookups", self._turns, _log, "commits_not_looked_up", "commits_looked_up_again", level=logging.WARNING
        )
        self._process: subprocess.Popen[bytes] | None = None

    def _turns(self) -> Iterator[float]:
        while True:
            yield LOOK_S
            self.loop.bell.clear()
            self.look()
            self.loop.succeed()

    def look(self) -> None:
        """Look up what is pending; many at once in another process, which reads all of git's history.

        Raises: UnavailableError.
        """
        root = self.place.now().root
        with self.lend() as store:
            if len(store.read(pending_lookups, limit=FEW_PATHS + 1)) <= FEW_PATHS:
                lookups.look_up_commits(store, root)
                return
        # -P: the working directory may be a root with a folder named like a module.
        argv = [sys.executable, "-P", "-m", lookups.__name__, str(self.place.db), str(root)]
        self._process = process = orphans.start(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        if self.loop.stopping.is_set():
            process.kill()
        if process.wait() and not self.loop.stopping.is_set():
            raise UnavailableError(f"the process that asks git has ended with {process.returncode}")

    def stop(self) -> None:
        self.loop.stop()
        if (process := self._process) is not None:
            process.kill()
