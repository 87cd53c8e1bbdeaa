"""What every page of the web says of the root. One read of the database and one question to the daemon."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime

from scheduler.ledger import syncs
from scheduler.service.presence import find_daemon
from scheduler.service.root import Root

ANSWER_S = 0.3  # for the daemon: a page does not wait for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """synced_at: None if the root was never synced. message: what the daemon is, in words."""

    synced_at: datetime | None
    daemon: str
    message: str


def standing(root: Root) -> Standing:
    with root.store() or contextlib.nullcontext() as store:
        found = find_daemon(root, store, (), root.clock.now(), limit=ANSWER_S).presence
        return Standing(
            synced_at=None if store is None else store.read(syncs.synced_at),
            daemon=found.state.value,
            message=found.message,
        )
