"""What is wrong with a daemon's root now, for those that are to be told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from scheduler.core.due.sending import DEAD_AFTER
from scheduler.core.due.troubles import Trouble, trouble_of_files, trouble_of_place
from scheduler.core.values.events import EventKind
from scheduler.core.values.facts import SyncState
from scheduler.core.values.instants import parse_instant
from scheduler.core.values.texts import counted, names
from scheduler.ledger import places, queries, syncs
from scheduler.ledger.reach import dead_channels
from scheduler.ledger.store import Store
from scheduler.root.place import Place

if TYPE_CHECKING:
    from scheduler.daemon.daemon import Daemon

LONG = timedelta(minutes=15)  # a remote that cannot be reached


def present_troubles(daemon: Daemon, store: Store) -> list[Trouble]:
    """Raises: UnavailableError if the database cannot be read."""
    now = daemon.clock.now()
    found = [trouble_of_place(fault) for fault in store.read(places.open_faults)]
    found += trouble_of_files(store.read(syncs.problems))
    found += _of_files(daemon, store)
    found += _of_remote(daemon.place, now)
    silent = daemon.duties.unusable()
    if silent:
        found.append(Trouble(kind=EventKind.SILENT, text=f"nothing fires: {silent}"))
    if daemon.nightly.trouble:
        found.append(Trouble(kind=EventKind.BACKUP, text=f"there is no new backup: {daemon.nightly.trouble}"))
    for dead in store.read(dead_channels):
        breaker = dead.breaker
        if breaker.open_since is not None and now - breaker.open_since >= DEAD_AFTER:
            text = f"{dead.who} has delivered nothing for a while: {breaker.last_error}"
            hint = "an edit of the channel makes what waits due at once"
            found.append(Trouble(kind=EventKind.CHANNEL, name=breaker.name, text=text, hint=hint))
    return found


def _of_files(daemon: Daemon, store: Store) -> Iterator[Trouble]:
    resync = daemon.resync
    if resync.held_long:
        text = f"edits have waited for a quarter of an hour: {resync.held}"
        yield Trouble(kind=EventKind.HELD, text=text)
    if resync.guarded:
        ids = [job.id for job in store.read(queries.summaries) if job.sync_state is SyncState.HELD]
        text = f"the guard keeps {counted(len(ids), 'job')} from being archived: {names(ids)}"
        yield Trouble(kind=EventKind.GUARD, text=text, hint="`scheduler sync` prints the command that confirms")


def _of_remote(place: Place, now: datetime) -> Iterator[Trouble]:
    looked = None if place.followed is None else place.followed.looked()
    if looked is None or looked.trouble_since is None:
        return
    if looked.trouble and now - parse_instant(looked.trouble_since) >= LONG:
        yield Trouble(kind=EventKind.REMOTE, text=looked.trouble, hint=looked.hint)
