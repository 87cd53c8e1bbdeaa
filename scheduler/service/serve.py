"""The verb that runs the daemon: serve."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.values.access import AccessSettings
    from scheduler.daemon.daemon import Served


def serve(
    root: Root,
    *,
    observe: bool = False,
    once: bool = False,
    new_state: bool = False,
    grace: timedelta | None = None,
    listen: str | None = None,
    access: AccessSettings | None = None,
) -> Served:
    """Watch, sync and fire until a signal arrives; with `once`, run what is due now.

    listen: the address of the web, which runs in a process of its own; None for no web. access: who gets in.

    Raises: UnavailableError if another daemon holds the database, or it or the root cannot be used; RefusedError if a
    history is gone and `new_state` is not given.
    """
    from scheduler.daemon.daemon import GRACE, Daemon

    while True:
        with contextlib.ExitStack() as cleanup:
            served = Daemon(
                cleanup,
                place=root.place,
                clock=root.clock,
                environ=root.environ,
                absent_grace=root.absent_grace,
                observe=observe,
                once=once,
                new_state=new_state,
                grace=GRACE if grace is None else grace,
                listen=listen,
                access=access,
            ).serve()
        if not served.put_back:
            return served
        new_state = False  # a lost database was replaced: continue as after a restart
