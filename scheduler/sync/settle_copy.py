"""Making a copy of the database fit for use (ADR 15)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from scheduler.core.due.due import passed
from scheduler.core.values.instants import instant
from scheduler.core.values.runs import AuditRow
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.ledger import put_back, syncs
from scheduler.ledger.cursor import StaleError
from scheduler.ledger.store import Store
from scheduler.root.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What was done to a copy before anybody uses it."""

    copied_at: datetime
    slots: int  # counted as missed, because nobody knows which of them were served
    waited: tuple[str, ...]  # runs that waited for capacity; skips now


def settle_copy(
    store: Store, place: Place, *, now: datetime, actor: str, numbers: Mapping[str, int] | None = None
) -> Settled | None:
    """Make a copy that replaced the database fit for use. None if it is no copy, or was already made fit.

    However it got there: a copy identifies itself as one. The slots from the copy until now, and runs that waited for
    capacity, may have been served after the copy was made. So they become skips, and none of them runs.
    numbers: run numbers used since, as far as known. Those of existing outputs are added.
    """
    while True:
        copied_at = store.read(put_back.copied_at)
        if copied_at is None:
            return None
        observed = store.read(syncs.observed)
        dues = [due for job in observed.jobs.values() if (due := passed(job, now)) is not None]
        slots = sum(skip.slots for due in dues for skip in due.skips)
        given = _numbers_of_outputs(place)
        for job_id, n in (numbers or {}).items():
            given[job_id] = max(n, given.get(job_id, 0))
        audit = AuditRow(
            job_id=ROOT_JOB_ID,
            action="restore",
            field="database",
            before={"copied_at": instant(copied_at)},
            after={"slots_not_known": slots},
            at=now,
            actor=actor,
            cause="restore",
        )
        with contextlib.suppress(StaleError):
            waited = store.write(
                put_back.write_settled, dues, ticket=observed.ticket, numbers=given, now=now, audit=audit
            )
            return Settled(copied_at=copied_at, slots=slots, waited=tuple(run.id for run in waited))


def _numbers_of_outputs(place: Place) -> dict[str, int]:
    """The highest run number of each job with outputs: their files must not become another run's."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for folder in place.outputs.iterdir():
            with contextlib.suppress(OSError):
                numbers = [path.name.partition(".")[0] for path in folder.iterdir()]
                found[folder.name] = max((int(each) for each in numbers if each.isdecimal()), default=0)
    return found
