"""The daemon of a root, as a command finds it: serving, silent, dead, or never started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scheduler.core.past.presence import DaemonState, Presence, absence, expecting
from scheduler.core.values.facts import Watched
from scheduler.core.values.instants import parse_instant
from scheduler.core.values.problems import UnavailableError
from scheduler.ledger import lives
from scheduler.ledger.store import Store
from scheduler.service.root import GLANCE_S, Root


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDaemon:
    """What is known about the daemon, and what it reports."""

    presence: Presence
    says: Mapping[str, Any]  # its answer to `status`; empty if there is none
    troubles: Sequence[str]  # why jobs may not fire or shown data may be old; a missing daemon comes first

    @property
    def observes(self) -> bool:
        """True if it is running and must not fire, so that unserved slots are expected."""
        return self.presence.state is DaemonState.OBSERVING


def find_daemon(
    root: Root, store: Store | None, jobs: Sequence[Watched], now: datetime, *, limit: float = GLANCE_S
) -> FoundDaemon:
    """Look for the daemon of the database, and ask for its state. Never raises if it does not answer.

    store: None for a root that was never synced. limit: seconds to wait for its answer.
    """
    from scheduler.control.client import answer_of

    remote = [words] if (words := root.looked().words) else []
    try:
        holder = root.daemon(of_any_root=True)
        if holder is None:
            last = None if store is None else store.read(lives.last_life)
            found = absence(last, expecting(jobs, now), now)
            alone = [found.message] if found.severity == "error" else []
            return FoundDaemon(presence=found, says={}, troubles=[*alone, *remote])
        says = answer_of(holder, "status", limit=limit)
    except UnavailableError as error:
        message = f"{error}; {error.hint}"
        silent = Presence(state=DaemonState.SILENT, severity="error", message=str(error), hint=error.hint)
        return FoundDaemon(presence=silent, says={}, troubles=[message, *remote])
    why = says["silent"]
    observed = f"{holder}; it only observes ({why})"
    troubles = list(says["trouble"])
    if holder.root != str(root.place.label):
        troubles.insert(0, f"a daemon of another root uses this database: {holder}")
    here = Presence(
        state=DaemonState.OBSERVING if why else DaemonState.SERVING,
        severity="error" if troubles else "warning" if why else "ok",
        message=observed if why else str(holder),
        pid=holder.pid,
        host=holder.host,
        since=parse_instant(holder.since),
    )
    engine = [says["engine"]] if says.get("engine") else []  # a daemon of an earlier version does not say
    return FoundDaemon(presence=here, says=says, troubles=[*troubles, *engine, *remote])


def is_firing(root: Root) -> bool:
    """True if a daemon serves this root and fires its jobs."""
    return find_daemon(root, None, (), root.clock.now()).presence.state is DaemonState.SERVING
