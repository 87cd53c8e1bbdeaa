"""What every page of the web says of the root: bounded reads of the database, and one question to the daemon.

No process of git, no job file, and no row for each job that is well.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime

from scheduler.core.values.problems import SchedulerError
from scheduler.git.folder import head_ref
from scheduler.ledger import attention, hints, syncs
from scheduler.ledger.store import Store
from scheduler.service.attention import MOST, count_needs
from scheduler.service.first import is_new
from scheduler.service.forge import forge_of_root
from scheduler.service.presence import find_daemon
from scheduler.service.root import Root

ANSWER_S = 0.3  # for the daemon: a page does not wait for it
_BRANCH = "refs/heads/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a root stands."""

    branch: str = ""  # or tag, or `detached`; empty outside a repository
    revision: str | None = None  # that was applied last
    dirty: bool = False  # a file that was applied differs from it
    link: str | None = None  # to the revision on its forge
    synced_at: datetime | None = None  # None if the root was never synced
    daemon: str = "never"  # a DaemonState
    seen_at: datetime | None = None  # the last sign of life of a daemon that is gone
    attention: int = 0  # things that need a person, as the page Now lists them
    more: bool = False  # there are more than that
    position: str = ""  # of the hints that this is as new as


def standing(root: Root) -> Standing:
    """Raises: UnavailableError for a database that cannot be read."""
    with root.store() or contextlib.nullcontext() as store:
        if store is None or is_new(store):
            return Standing(branch=_branch(root), attention=1)  # a sync
        return _standing(root, store)


def _standing(root: Root, store: Store) -> Standing:
    now = root.clock.now()
    position = store.read(hints.position)  # first: what changes meanwhile is hinted at
    daemon = find_daemon(root, store, (), now, limit=ANSWER_S)
    seen = store.read(attention.glance, most=MOST + 1)
    found = count_needs(root, store, seen.suspects, daemon, now)
    forge = forge_of_root(root)
    return Standing(
        branch=_branch(root),
        revision=seen.revision,
        dirty=seen.dirty,
        link=None if forge is None or seen.revision is None else forge.commit(seen.revision),
        synced_at=store.read(syncs.synced_at),
        daemon=daemon.presence.state.value,
        seen_at=daemon.presence.seen_at,
        attention=found.count,
        more=found.more,
        position=position.written(),
    )


def _branch(root: Root) -> str:
    """What is checked out, or followed. Reads one small file, as the forge does."""
    if root.place.followed is not None:
        with contextlib.suppress(SchedulerError):  # Sync says what is wrong with it
            remote = root.place.followed.remote()
            return remote.branch or remote.tag or ""
        return ""
    ref = head_ref(root.place.root) or ""
    return ref.removeprefix(_BRANCH) if ref.startswith("refs/") or not ref else "detached"
