"""Starts the web in a process of its own, watches it, and starts it again. Firing never waits for it."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from subprocess import PIPE, Popen

from scheduler.core.values.access import AccessSettings
from scheduler.machine.log import Log, form_of_log
from scheduler.machine.loop import Loop
from scheduler.machine.orphans import start
from scheduler.machine.own_code import own_argv
from scheduler.root.place import Place

LOOK_S = 15.0
STEADY_S = 60.0  # one that lived so long starts again at once
WAITS_S = (1.0, 5.0, 15.0, 60.0)  # before it is started again
QUIET = str(logging.ERROR)  # the level of an attempt after one that has said why it cannot serve
CANNOT_LISTEN = 3  # exit code

_log = Log(__name__)


@dataclass(eq=False, kw_only=True)
class Web:
    """The web process of a daemon."""

    place: Place
    address: str
    access: AccessSettings
    environ: Mapping[str, str]

    def __post_init__(self) -> None:
        self.loop = Loop("web", self._turns, _log, "web_not_started", level=logging.WARNING, retry_s=LOOK_S)
        self._child: Popen[bytes] | None = None
        self._started_at = self._again_at = 0.0
        self._failures = 0
        self._refused = False  # the last one could not listen, and said so

    def close(self) -> None:
        """End the process at once: what it does for others is done by the daemon, or can be asked again."""
        child, self._child = self._child, None
        if child is not None:
            assert child.stdin is not None
            child.stdin.close()
            child.kill()
            child.wait()

    def _turns(self) -> Iterator[float]:
        while True:
            self.loop.bell.clear()
            yield self._look()

    def _look(self) -> float:
        now = time.monotonic()
        if self._child is not None and (code := self._child.poll()) is not None:
            steady = now - self._started_at >= STEADY_S
            self._failures = 0 if steady else self._failures + 1
            self._refused = code == CANNOT_LISTEN
            wait_s = WAITS_S[-1] if self._refused else WAITS_S[min(self._failures, len(WAITS_S)) - 1] * (not steady)
            self._again_at = now + wait_s
            if not self._refused:
                _log.warning("web_ended", "it is started again", code=code, wait_s=wait_s)
            self.close()
        if self._child is None and now >= self._again_at:
            self._child = begun = self._start()
            self._started_at = now

            def tell_end() -> None:
                begun.wait()
                self.loop.bell.set()

            threading.Thread(target=tell_end, name="web ends", daemon=True).start()
        self.loop.succeed()
        return LOOK_S if self._child is not None else min(LOOK_S, max(0.1, self._again_at - now))

    def _start(self) -> Popen[bytes]:
        where = (str(self.place.label), str(self.place.state), str(self.place.db), self.address)
        access = json.dumps(self.access.to_json())
        form, level = form_of_log()
        argv = own_argv("scheduler.web.process", *where, access, form, QUIET if self._refused else level)
        return start(argv, stdin=PIPE, cwd="/", env=dict(self.environ))
