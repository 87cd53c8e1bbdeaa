"""The verbs that pause and resume jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from scheduler.core.values.facts import Job, Pause
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import RefusedError, UsageError
from scheduler.core.views import pause_json
from scheduler.ledger import syncs
from scheduler.ledger.cursor import until_fresh
from scheduler.service.jobs import show_job
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import ShowJson

SHORTEST_GAP = timedelta(seconds=1)  # between two slots: a pause that ends this soon after a slot covers no full second


def pause_job(
    root: Root, job_id: str, *, reason: str | None = None, until: datetime | None = None, one_slot: bool = False
) -> ShowJson:
    """Pause a job: its slots are skipped as `paused`. Survives every sync. A second pause replaces the first.

    one_slot: skip only the next slot.
    Raises: UsageError for an instant that has passed; RefusedError for an archived job, and with `one_slot` for a job
    that is already paused or has no slot ahead.
    """
    from scheduler.core.due.due import next_slot

    now = root.clock.now()
    if until is not None and until <= now:
        message = f"{{until}} {instant(until)} has already passed"
        raise UsageError(message, hint="give a later time", arguments=("until",))

    def paused(job: Job) -> Pause:
        if job.archived:
            raise RefusedError(f"job {job.id!r} is archived, so it has no slots to skip or pause")
        going_on = job.pause is not None and job.pause.covers(now)
        since = job.pause.at if job.pause is not None and going_on else now
        if not one_slot:
            return Pause(at=since, reason=reason, until=until, by=root.actor)
        if going_on:
            raise RefusedError(f"job {job.id!r} is already paused", hint=f"run `scheduler resume {job.id}` first")
        slot = next_slot(job, now)
        if slot is None:
            raise RefusedError(f"job {job.id!r} is {job.status(now).value}: it has no next slot to skip")
        return Pause(at=now, reason=reason, until=slot + SHORTEST_GAP, by=root.actor)

    return _set_pause(root, job_id, "pause", paused)


def known_jobs(root: Root, job_ids: Iterable[str]) -> None:
    """Check that all jobs exist before anything is done to one of them. Raises: UsageError."""
    for job_id in job_ids:
        with root.job(job_id):
            pass


def hold_known(root: Root, job_ids: Iterable[str], *, reason: str) -> None:
    """Pause those of these jobs that the database knows, including archived ones: a file may bring them back."""

    def paused(job: Job) -> Pause:
        return job.pause or Pause(at=root.clock.now(), reason=reason, by=root.actor)

    for job_id in job_ids:
        if root.known(job_id) is not None:
            _set_pause(root, job_id, "pause", paused)


def resume_job(root: Root, job_id: str) -> ShowJson:
    """End a pause, and restart a stopped job. Slots that passed in the meantime are not made up for.

    A job that is neither paused nor stopped stays as it is.
    """
    return _set_pause(root, job_id, "resume", lambda _: None)


def _set_pause(root: Root, job_id: str, action: str, pause: Callable[[Job], Pause | None]) -> ShowJson:
    from scheduler.core.due.due import held_back, replaced

    with root.job(job_id, to_write=True) as (store, found):

        def turn() -> None:
            observed = store.read(syncs.observed, job_id=found.id)
            job, now = observed.jobs[found.id], root.clock.now()
            new = pause(job)
            arms = new is None and job.runtime.stopped_at is not None and not job.archived
            changes: dict[str, tuple[object, object]] = {}
            if new != job.pause:
                changes["pause"] = pause_json(job.pause), pause_json(new)
            if arms:
                changes["status"] = "stopped", "active"
            if not changes:
                return
            first, *also = [
                root.audit_row(job.id, action, field=field, before=before, after=after)
                for field, (before, after) in changes.items()
            ]
            settled = held_back(job, now) if new is None else replaced(job, now)
            store.write(
                syncs.set_pause, job.id, new, audit=first, also=also, ticket=observed.ticket, settled=settled, arms=arms
            )

        until_fresh(turn, "nothing was changed")
    root.wake()
    return show_job(root, found.id)
