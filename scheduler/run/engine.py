"""The seam between claimed slots and the place where their runs are carried out.

There is one engine: processes on this machine (run/local). The ledger guarantees what holds for every engine: a claim
is durable before anything starts (F4), and the end of a run writes only its own row and the job's counters (F5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from scheduler.core.due.waiting import Done
from scheduler.core.values.facts import Job
from scheduler.core.values.runs import Run
from scheduler.ledger import runs
from scheduler.ledger.runs import ActiveRun
from scheduler.ledger.store import Store

if TYPE_CHECKING:
    from sqlite3 import Connection

Why = Literal["cancelled", "replaced", "interrupted"]  # by a person; by a newer run; by the scheduler's shutdown


class Gate(Protocol):
    """Says which runs may start while an account is parked. Any thread may ask."""

    def guards(self, job: Job) -> bool:
        """True if a run of this job must ask."""
        ...

    def admits(self, job: Job, run: Run) -> bool:
        """True if a run may start now. It must be followed by `over`."""
        ...

    def again_at(self, job: Job) -> datetime | None:
        """When to ask next for a run that must ask, unless `hurry` is called before. None if it need not."""
        ...

    def over(self, run_id: str, ended: Run | None) -> None:
        """Note that a run has ended, or waits again; None if nobody knows how it ended."""
        ...


class Ungated:
    """Where nothing is known of accounts."""

    def guards(self, job: Job) -> bool:
        return False

    def admits(self, job: Job, run: Run) -> bool:
        return True

    def again_at(self, job: Job) -> datetime | None:
        return None

    def over(self, run_id: str, ended: Run | None) -> None:
        return


class Recovery(Protocol):
    """Ends the runs of dead owners. One per kind of owner: only it knows which of them are alive."""

    @property
    def kind(self) -> str:
        """The kind of owner that its runs name."""
        ...

    def recover(self, store: Store, active: Sequence[ActiveRun]) -> list[Run]:
        """End those of these runs that nobody carries out any more, and return them."""
        ...


class Engine(Protocol):
    """The place where runs are carried out. Any thread may call its methods."""

    def begin(self, sql: Connection, batch: Sequence[Run]) -> None:
        """Add the engine's own rows for claimed runs, in the transaction of their claim. Starts nothing."""
        ...

    def start(self, batch: Iterable[Run], *, ended: Done | None = None) -> None:
        """Start runs whose claim is on disk. Returns at once.

        ended: called with each finished run, or with None if the run could not be ended.
        """
        ...

    def cancel(self, run_id: str, *, why: Literal["cancelled", "replaced"] = "cancelled") -> bool:
        """End a run of this engine. False if it has no such run."""
        ...


def recover(store: Store, engines: Iterable[Recovery], *, but: str = "") -> list[Run]:
    """End the runs whose owner is dead (F4), each through the engine of its owner.

    Runs of an engine that is not here are left alone: nobody here can tell whether they still run.
    but: an owner that is alive for certain, as this process is.
    """
    active = store.read(runs.owned, but=but)
    return [run for each in engines for run in each.recover(store, [one for one in active if one.kind == each.kind])]
