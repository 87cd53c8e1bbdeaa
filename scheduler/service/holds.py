"""Why a job is not as its file says: what keeps its last good definition in force, since when, and what ends that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from scheduler.core.values.codec import Stored
from scheduler.core.values.facts import SyncState
from scheduler.ledger.attention import glance
from scheduler.ledger.audit import newest_of
from scheduler.service.root import Root

_WHAT = {
    SyncState.HELD: (
        "No file defines it, and the guard keeps it: a sync would archive too many jobs at once.",
        "Put its file back, or confirm on the page Sync, or with the command that `scheduler plan` shows.",
    ),
    SyncState.INVALID: ("Its file cannot be used.", "Correct the file: the next sync applies it."),
    SyncState.CONFLICT: ("More than one file claims its id.", "Give each an id of its own: the next sync applies it."),
}  # fmt: skip
_MEANWHILE = "Until then, its last good definition is in force, and it runs by that."


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Stored):
    state: SyncState
    why: str
    since: datetime | None  # None if the audit no longer says
    until: str  # what ends it


def hold_of(root: Root, job_id: str) -> Hold | None:
    """None if the job is as its file says, or archived."""
    with root.job(job_id) as (store, job):
        state = job.file.sync_state
        if job.file.archived_at is not None or state not in _WHAT:
            return None
        row = store.read(newest_of, job.id, "sync_state")
    why, until = _WHAT[state]
    since = None if row is None or row.after != state else row.at
    return Hold(state=state, why=why, since=since, until=f"{until} {_MEANWHILE}")


def differs(root: Root) -> bool:
    """True if a file that was applied is not committed: the star in the header of each page."""
    store = root.store()
    if store is None:
        return False
    with store:
        return store.read(glance, most=1).dirty
