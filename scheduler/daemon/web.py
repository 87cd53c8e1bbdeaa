"""The process that serves the web."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.core.values.access import AccessSettings
from scheduler.daemon.keeper import WAITS_S, Keeper
from scheduler.machine.log import Log, form_of_log

QUIET = str(logging.ERROR)  # the level of an attempt after one that has said why it cannot serve
CANNOT_LISTEN = 3  # exit code

_log = Log(__name__)


@dataclass(eq=False, kw_only=True)
class Web(Keeper):
    """The web process of a daemon."""

    name = "web"
    not_started = "web_not_started"
    address: str
    access: AccessSettings
    _refused = False  # the last one could not listen, and said so

    def arguments(self) -> Sequence[str]:
        where = (str(self.place.label), str(self.place.state), str(self.place.db), self.address)
        access = json.dumps(self.access.to_json())  # has no secret: anybody can read arguments
        form, level = form_of_log()
        return "scheduler.web.process", *where, access, form, QUIET if self._refused else level

    def ended(self, code: int, wait_s: float) -> float:
        self._refused = code == CANNOT_LISTEN
        if self._refused:
            return WAITS_S[-1]
        _log.warning("web_ended", "it is started again", code=code, wait_s=wait_s)
        return wait_s
