"""Putting a copy back when the database is gone.

Nothing here deletes a database, an output or a copy: what is in the way is put aside under another name.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from scheduler.control.daemon_lock import DaemonLock, find
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import RefusedError, UnavailableError, UsageError
from scheduler.ledger import owners, put_back, queries
from scheduler.ledger.copies import Contents, check_database, copy_database
from scheduler.ledger.database import make_durable
from scheduler.ledger.store import Store
from scheduler.machine.crash import crash_point
from scheduler.maintenance.file import identity, remove_file
from scheduler.maintenance.lost import put_aside
from scheduler.root.place import Place, is_there, make_private, unusable
from scheduler.sync.settle_copy import Settled, settle_copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    contents: Contents
    settled: Settled
    put_aside: Path | None  # the previous database
    unpaused: tuple[str, ...]  # jobs that were paused there and are not in the copy
    taken_up: str  # the daemon that goes on from the copy by itself; empty if none runs


def restore(place: Place, source: Path, *, now: datetime, actor: str) -> Restored:
    """Put a verified copy in the database's place, and the previous one aside.

    A daemon whose database is gone may keep running: it takes up the copy. Raises: UsageError, RefusedError while the
    database is in use, UnavailableError if the copy is not sound.
    """
    if not source.is_file():
        raise UsageError(f"there is no backup {source}", hint="`scheduler restore` lists the nightly backups")
    if is_there(place.db) and source.samefile(place.db):
        raise UsageError(f"{source} is the database itself, not a backup")
    holder = find(place)
    if holder is not None and identity(place.db) is not None:
        raise RefusedError(
            f"a daemon uses the database {place.db}: {holder}", hint="stop the daemon, restore, then start it again"
        )
    with contextlib.ExitStack() as cleanup:
        if holder is None:
            cleanup.enter_context(DaemonLock(place, since=instant(now), listening=False))
        _refuse_while_somebody_runs(place, holder.pid if holder is not None else None)
        place.make_state()
        make_private(place.db.parent)
        new = place.db.with_name(f"{place.db.name}.restoring")
        cleanup.callback(remove_file, new)
        remove_file(new)
        made = datetime.fromtimestamp(source.stat().st_mtime, now.tzinfo)  # for a copy made by other means
        copy_database(source, new, live=False, at=made, actor=actor)
        contents = check_database(new)
        numbers, paused = _known_by(place.db, now)
        with Store.open(new) as store:
            settled = settle_copy(store, place, now=now, actor=actor, numbers=numbers)
            assert settled is not None  # nobody else knows about it
            still = _paused(store, now)
        try:
            file = os.open(new, os.O_RDWR | os.O_CLOEXEC)
            os.fsync(file)
            os.close(file)
            # Again: copying and verifying may have taken minutes, and no lock keeps a `run` from starting meanwhile.
            _refuse_while_somebody_runs(place, holder.pid if holder is not None else None)
            moved = put_aside(place.db, now)
            make_durable(place.db.parent)
            crash_point("between_databases")
            new.rename(place.db)
            make_durable(place.db.parent)
        except OSError as error:
            raise unusable(place.db.parent, error) from error
    return Restored(
        contents=contents,
        settled=settled,
        put_aside=moved[0] if moved else None,
        unpaused=tuple(sorted(paused - still)),
        taken_up="" if holder is None else str(holder),
    )


def _refuse_while_somebody_runs(place: Place, daemon: int | None) -> None:
    """Refuse during a run, which would write its end into the copy, or into nothing."""
    with contextlib.suppress(OSError):
        for lock in place.owners.glob("*.lock"):
            pid = owners.pid_of(lock.stem)
            if pid != daemon and owners.is_alive(place.owners, lock.stem):
                raise RefusedError(
                    f"process {pid} is running a job of the database {place.db}",
                    hint="wait until it ends, or run `scheduler cancel RUN`",
                )


def _known_by(db: Path, now: datetime) -> tuple[dict[str, int], set[str]]:
    """Run numbers and paused jobs of the database that is to be put aside, as far as it can be read."""
    try:
        with Store.open(db, create=False) as store:
            return store.read(put_back.last_numbers), _paused(store, now)
    except UnavailableError:
        return {}, set()


def _paused(store: Store, now: datetime) -> set[str]:
    return {job.id for job in store.read(queries.summaries) if job.pause is not None and job.pause.covers(now)}
