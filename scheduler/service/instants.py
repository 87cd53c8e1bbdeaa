"""Which instant a text means, and in which zone a screen shows instants."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from scheduler.core.times.moments import WrittenMoment
from scheduler.core.values.problems import SchedulerError, UsageError
from scheduler.core.values.texts import InputError
from scheduler.ledger import syncs
from scheduler.service.root import Root


def instant_of(root: Root, written: WrittenMoment, job_ids: Sequence[str] = (), *, prefix: bool = False) -> datetime:
    """The instant that is meant. A time without a zone is in `reads` of the root, otherwise in the zone of the one job
    that the command is about, otherwise in the root's zone.

    Tells the user about a time that occurs twice or not at all in its zone. Raises: UsageError.
    """
    zone = "UTC"
    if written.needs_zone:
        zone = root.reads or (_zone_of_job(root, job_ids[0], prefix) if len(job_ids) == 1 else "") or root_zone(root)
    try:
        found = written.meant(root.clock.now(), zone)
    except InputError as error:
        raise UsageError(error.message, hint=error.hint) from None
    if found.note:
        root.tell(found.note)
    return found.at


def with_instants(root: Root, values: Mapping[str, Any], *, prefix: bool = False) -> dict[str, Any]:
    """The arguments of a verb, with those that are instants resolved for its `job` or `jobs`. Raises: UsageError."""
    named = values.get("job") or values.get("jobs") or ()
    jobs = (named,) if isinstance(named, str) else tuple(named)
    written = {name: value for name, value in values.items() if isinstance(value, WrittenMoment)}
    return {**values, **{name: instant_of(root, value, jobs, prefix=prefix) for name, value in written.items()}}


def root_zone(root: Root) -> str:
    """The zone of the root: `timezone` in scheduler.yaml, otherwise UTC. Read from the file if never synced."""
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
    """The zone of this job or of the run's job; empty if there is none, which the command itself reports."""
    with contextlib.suppress(SchedulerError), root.store() or contextlib.nullcontext() as store:
        if store is not None:
            job = root.find_job(store, job_id.rpartition(":")[0] or job_id, prefix=prefix)
            return job.file.spec.schedule.timezone
    return ""
