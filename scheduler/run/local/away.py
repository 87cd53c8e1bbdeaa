"""The runs of an engine that have left this machine: handed over to workers, and not home yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from scheduler.core.due.waiting import Done
from scheduler.core.values.runs import Run
from scheduler.machine.reactor import Reactor
from scheduler.run.fire import HandOver
from scheduler.run.local.cancel import GRACE, Cancel
from scheduler.run.local.chunks import Seat

MANY = 1_000_000  # where no engine is set up: a look at each run says so


class Workers(Protocol):
    """The engine that runs are handed over to. Called in the reactor's thread; tells of each end by `came_home`."""

    @property
    def max_out(self) -> int:
        """How many may be handed over at once."""
        ...

    def hand_over(self, found: HandOver) -> None: ...

    def cancel(self, run_id: str, why: Literal["cancelled", "replaced"]) -> None: ...


@dataclass(eq=False, slots=True, kw_only=True)
class Away:
    """Their seats: they take no place here, but their jobs count them. Whoever calls holds the engine's lock."""

    reactor: Reactor
    workers: Workers | None = None
    leaves: Callable[[str], bool] = lambda _: False  # True if the runs of a job are handed over
    seats: dict[str, Seat] = field(default_factory=dict)

    @property
    def max_out(self) -> int:
        return MANY if self.workers is None else self.workers.max_out

    def leaving(self, seats: Iterable[Seat]) -> int:
        """How many of these seats, which are here, are of runs that are about to be handed over."""
        return 0 if self.workers is None else sum(map(self.leaves, [seat.run.job_id for seat in seats]))

    def keep(self, run: Run, done: Done | None) -> None:
        """Take over a run that an earlier daemon has handed over."""
        self.seats[run.id] = Seat(run=run, tried=run, cancel=Cancel(), done=done)

    def hand_over(self, seat: Seat, found: HandOver) -> None:
        assert self.workers is not None
        self.workers.hand_over(found)
        why = seat.cancel.why
        if why == "cancelled" or why == "replaced":  # just now
            self.workers.cancel(seat.run.id, why)

    def cancel(self, seat: Seat, why: Literal["cancelled", "replaced"]) -> None:
        workers, run_id = self.workers, seat.run.id
        seat.cancel.request(why, grace=GRACE)
        if workers is not None:
            self.reactor.call(lambda: workers.cancel(run_id, why))

    def let_go(self) -> list[Done | None]:
        """Forget all: whoever serves next follows them. Returns who waits for them."""
        left = [seat.done for seat in self.seats.values()]
        self.seats = {}
        return left
