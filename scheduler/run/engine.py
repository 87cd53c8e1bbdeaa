"""The seam between the slots that are claimed and where their runs are carried out.

One engine is here: processes of this machine (run/local). What holds for every engine is the ledger's: a claim is
durable before anything starts (F4), and the end of a run writes its own row and the job's counters (F5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from scheduler.core.due.waiting import Done
from scheduler.core.values.runs import Run
from scheduler.ledger import runs
from scheduler.ledger.runs import ActiveRun
from scheduler.ledger.store import Store

if TYPE_CHECKING:
    from sqlite3 import Connection

Why = Literal["cancelled", "replaced", "interrupted"]  # by a person; by a newer run; by the end of the scheduler


class Recovery(Protocol):
    """Brings the runs of dead owners to an end. One for each kind of owner: only it knows who is alive."""

    @property
    def kind(self) -> str:
        """Of the owners that its runs name."""
        ...

    def recover(self, store: Store, active: Sequence[ActiveRun]) -> list[Run]:
        """Ends those of these runs that nobody carries out any more; returns them."""
        ...


class Engine(Protocol):
    """Where runs are carried out. Its methods may be called by any thread."""

    def begin(self, sql: Connection, batch: Sequence[Run]) -> None:
        """Adds its own rows for claimed runs, within the transaction of their claim. Starts nothing."""
        ...

    def start(self, batch: Iterable[Run], *, ended: Done | None = None) -> None:
        """Starts runs whose claim is on the disk; returns at once.

        ended: told of each finished run, or None where it could not be brought to an end.
        """
        ...

    def cancel(self, run_id: str, *, why: Literal["cancelled", "replaced"] = "cancelled") -> bool:
        """Ends a run of this engine; False where it is none."""
        ...


def recover(store: Store, engines: Iterable[Recovery]) -> list[Run]:
    """Ends the runs whose owner is dead (F4), each by the engine that its owner belongs to.

    A run of an engine that is not here is left alone: nobody here can tell whether it still goes on.
    """
    active = store.read(runs.active)
    return [run for each in engines for run in each.recover(store, [one for one in active if one.kind == each.kind])]
