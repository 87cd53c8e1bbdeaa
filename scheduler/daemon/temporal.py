"""The client of the engine for workers, in a process of its own. Firing never waits for it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from subprocess import PIPE, Popen
from typing import Any

from scheduler.daemon.keeper import Keeper
from scheduler.machine.log import Log, form_of_log
from scheduler.machine.orphans import start
from scheduler.machine.own_code import own_argv
from scheduler.machine.reactor import Reactor
from scheduler.run.temporal.engine import TemporalEngine

_log = Log(__name__)


@dataclass(eq=False, kw_only=True)
class Temporal(Keeper):
    """Passes on what the engine says to its client, and what the client says to the engine, as JSON lines."""

    name = "temporal"
    not_started = "engine_not_started"
    engine: TemporalEngine
    reactor: Reactor
    database: str  # its id

    def __post_init__(self) -> None:
        super().__post_init__()
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self.engine.say = self.say

    def say(self, said: Mapping[str, Any]) -> None:
        """Never waits. What a client does not get, the next one is asked anew."""
        self._lines.put(json.dumps(said).encode() + b"\n")

    def start(self, *more: str) -> Popen[bytes]:
        argv = own_argv(*self.arguments(), *more)
        child = self._child = start(argv, stdin=PIPE, stdout=PIPE, cwd="/", env=dict(self.environ))
        self._lines.put(None)  # the writer of the one before ends
        lines = self._lines = SimpleQueue()
        threading.Thread(target=_write, args=(child, lines), name="temporal in", daemon=True).start()
        threading.Thread(target=self._read, args=(child,), name="temporal out", daemon=True).start()
        self.reactor.call(self.engine.client_began)
        return child

    def close(self) -> None:
        self._lines.put(None)
        super().close()

    def arguments(self) -> Sequence[str]:
        where = (str(self.place.label), str(self.place.state), str(self.place.db), self.database)
        return "scheduler.run.temporal.process", *where, *form_of_log()

    def ended(self, code: int, wait_s: float) -> float:
        _log.warning("engine_ended", "its client is started again", code=code, wait_s=wait_s)
        return wait_s

    def _read(self, child: Popen[bytes]) -> None:
        assert child.stdout is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended
            for line in child.stdout:
                said = json.loads(line)
                self.reactor.call(lambda said=said: self.engine.heard(said))  # type: ignore[misc]


def _write(child: Popen[bytes], lines: SimpleQueue[bytes | None]) -> None:
    assert child.stdin is not None
    with contextlib.suppress(OSError, ValueError):  # it has ended
        while (line := lines.get()) is not None:
            child.stdin.write(line)
            child.stdin.flush()
