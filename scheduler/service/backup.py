"""The verbs for backups and retention: backup, restore, gc."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.core.values.settings import Settings
from scheduler.ledger import syncs
from scheduler.ledger.store import Store
from scheduler.root.place import is_there
from scheduler.root.settings import read_settings
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.ledger.copies import Contents
    from scheduler.maintenance.backup import Copy
    from scheduler.maintenance.restoring import Restored
    from scheduler.maintenance.retention import Collected


def backup(root: Root, target: Path) -> Contents:
    """Copy the database to a new file and verify the copy, with or without a daemon. Raises: as `back_up`."""
    from scheduler.maintenance.backup import back_up
    from scheduler.maintenance.lost import refuse_lost

    refuse_lost(root.place)
    return back_up(root.place, target, now=root.clock.now(), actor=root.actor)


def collect_garbage(root: Root, *, dry_run: bool = False) -> Collected:
    """Delete what `retention` in scheduler.yaml does not keep. Raises: as `retention.collect`."""
    from scheduler.maintenance import retention
    from scheduler.maintenance.lost import refuse_lost

    refuse_lost(root.place)
    if not is_there(root.place.db):
        return retention.Collected(outputs=0, output_bytes=0, runs=0, texts=0)
    with Store.open(root.place.db, create=False) as store:
        return retention.collect(root.place, store, now=root.clock.now(), actor=root.actor, dry_run=dry_run)


def other_retention(root: Root) -> str:
    """Why the `retention` of scheduler.yaml is not in force yet, or an empty string if it is."""
    if not is_there(root.place.db):
        return ""
    settings, _ = read_settings(root.place)
    if settings is None:
        return "scheduler.yaml is missing or invalid, so the last good `retention` applies; see `scheduler validate`"
    with Store.open_to_read(root.place.db) as store:
        known = store.read(syncs.settings) or Settings()
    if known.retention == settings.retention:
        return ""
    return "`retention` in scheduler.yaml has changed; the change applies after the next sync"


def backups(root: Root) -> Sequence[Copy]:
    """The nightly backups, newest first."""
    from scheduler.maintenance.backup import copies

    return copies(root.place)


def restore_backup(root: Root, source: Path) -> Restored:
    """Replace the database with a verified backup; the old database is put aside. Raises: as `restoring.restore`."""
    from scheduler.maintenance.restoring import restore

    return restore(root.place, source, now=root.clock.now(), actor=root.actor)
