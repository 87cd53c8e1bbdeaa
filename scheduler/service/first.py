"""A root that was never synced: the contents of its files, and the first sync, which `run` makes by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scheduler.core.values.facts import Job
from scheduler.core.values.problems import Problem, RefusedError
from scheduler.core.values.settings import Settings
from scheduler.core.values.texts import how_held_ends
from scheduler.ledger import queries, syncs
from scheduler.ledger.store import Store
from scheduler.service.root import Root


def never_synced(root: Root) -> bool:
    with root.store() or contextlib.nullcontext() as store:
        return is_new(store)


def is_new(store: Store | None) -> bool:
    """True if no sync has stored anything: there is no database, or no pass was ever applied."""
    return store is None or (store.read(syncs.synced_at) is None and not store.read(queries.job_ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsynced:
    """What a first sync would make of the files."""

    jobs: tuple[Job, ...]  # as they would be; none of them has a row
    problems: Sequence[Problem]
    settings: Settings


def read_unsynced(root: Root) -> Unsynced:
    """Read the files of a root that was never synced; write nothing.

    Raises: UnavailableError if the root cannot be read.
    """
    now = root.clock.now()
    found = root.passes().plan(root.observed()).plan
    jobs = [
        Job(
            id=action.job_id,
            file=action.after,
            next_run_at=action.next_run_at,
            created_at=now,
            created_by=root.actor,
            updated_at=now,
        )
        for action in found.actions
        if action.verb == "create"
    ]
    return Unsynced(jobs=tuple(jobs), problems=found.problems, settings=found.settings)


def sync_first(root: Root, job_id: str, told: Callable[[int], None]) -> None:
    """Sync a root that was never synced, so that this job can run. Any other root stays as it is.

    A job that the files do not name creates no database; the caller gets the same error as on any other root.
    told: receives the number of jobs that the sync created.
    Raises: RefusedError if the sync is held.
    """
    if not never_synced(root) or not any(job.id == job_id for job in read_unsynced(root).jobs):
        return
    from scheduler.service.sync import sync

    found = sync(root, cause="run").json
    if found["held"]:
        raise RefusedError(
            f"this root has never been synced, and its first sync is held: {found['held']}; nothing was started",
            hint=how_held_ends(found["held"]),
        )
    if found["created"]:
        told(len(found["created"]))
