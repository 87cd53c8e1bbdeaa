"""What a page is told when something has changed: only that it has, never what it is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_MOST_ACTIVE = 64  # runs that a position names
_MOST_DIGITS = 19  # of a counter


@dataclass(frozen=True, slots=True)
class Hint:
    """Something to ask for again: a run, a job, the root as a whole (`sync`), or everything (`reload`)."""

    job_id: str | None = None
    n: int | None = None  # of a run; with the job's id
    everything: bool = False

    def __str__(self) -> str:
        if self.job_id is None:
            return "reload" if self.everything else "sync"
        return f"job:{self.job_id}" if self.n is None else f"run:{self.job_id}:{self.n}"


SYNC, RELOAD = Hint(), Hint(everything=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far the database has been looked at, by its own counters, which no change of the clock affects."""

    ticket: int  # of the last pass, or the last change of a pause
    audit: int  # the newest audit row
    run: int  # the newest row of a run
    active: Mapping[int, tuple[str, int, str]]  # by row: the job, the number and the state of a run that has not ended

    def written(self) -> str:
        """As the id of an event: short, without the states. The start of time if too many runs are active to name."""
        if len(self.active) > _MOST_ACTIVE:
            return "0-0-0"
        return "-".join(map(str, (self.ticket, self.audit, self.run, *sorted(self.active))))


def read_position(text: str) -> Position | None:
    """The position with that id; None for any other text. Its active runs have no state, so all count as changed."""
    parts = text.split("-")
    if not 3 <= len(parts) <= 3 + _MOST_ACTIVE:
        return None
    if not all(part.isascii() and part.isdigit() and len(part) < _MOST_DIGITS for part in parts):
        return None
    ticket, audit, run, *active = map(int, parts)
    return Position(ticket=ticket, audit=audit, run=run, active=dict.fromkeys(active, ("", 0, "")))
