"""Which instant is meant by what somebody wrote, and in which zone a screen shows instants."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from scheduler.core.values.problems import SchedulerError, UsageError
from scheduler.core.values.texts import InputError
from scheduler.ledger import syncs
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.times.moments import Spoken


def instant_of(root: Root, spoken: Spoken, job_ids: Sequence[str] = (), *, prefix: bool = False) -> datetime:
    """The instant that is meant. A time without a zone is one of `root.reads`, else of the one job that a command is
    about, else of the root.

    Tells what to know of a time that the clock of its zone shows twice or not at all. Raises: UsageError.
    """
    zone = "UTC"
    if spoken.needs_zone:
        zone = root.reads or (_zone_of_job(root, job_ids[0], prefix) if len(job_ids) == 1 else "") or root_zone(root)
    try:
        found = spoken.meant(root.clock.now(), zone)
    except InputError as error:
        raise UsageError(error.message, hint=error.hint) from None
    if found.note:
        root.tell(found.note)
    return found.at


def root_zone(root: Root) -> str:
    """The zone of the root: `timezone` in scheduler.yaml, else UTC. Of a root never synced, as the file has it now."""
    with contextlib.suppress(SchedulerError):
        store = root.store()
        if store is None:
            from scheduler.root.settings import read_settings

            settings = read_settings(root.place)[0]
        else:
            with store:
                settings = store.read(syncs.settings)
        if settings is not None:
            return settings.timezone
    return "UTC"


def screen_zone(root: Root) -> str:
    """The zone of all instants on one screen."""
    return root.reads or root_zone(root)


def _zone_of_job(root: Root, job_id: str, prefix: bool) -> str:
    """Of the job of this id, or of the run's; empty where there is none: the command itself says so."""
    with contextlib.suppress(SchedulerError), root.store() or contextlib.nullcontext() as store:
        if store is not None:
            job = root.find_job(store, job_id.rpartition(":")[0] or job_id, prefix=prefix)
            return job.file.spec.schedule.timezone
    return ""
