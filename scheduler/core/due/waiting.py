"""Runs that wait for capacity, for another run of their job, or for their time. Says which one starts next."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.core.values.runs import Run

OUTAGE = "outage"  # reason of a queued run that is one of many: they start a second apart
PACE = timedelta(seconds=1)

Done = Callable[[Run | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRun:
    """A waiting run, and who is notified of its end."""

    run: Run
    done: Done | None = None

    @property
    def when(self) -> datetime:
        """What decides whose turn it is: the slot, or when somebody requested the run."""
        return self.run.fire_time or self.run.requested_at


_Lane = tuple[bool, bool]  # whether its runs leave this machine, and whether they are paced
_LANES: tuple[_Lane, ...] = (False, False), (False, True), (True, False), (True, True)
_Key = tuple[int, datetime, int, str]  # running runs of the job, turn of its first waiting run, its last start, its id


class Waiting:
    """A queue for each job, its oldest slot first. Capacity goes to the job with the fewest running runs.

    Among slots of one instant, the job that has not started for longest comes first.

    If the runs of a job exclude each other, the next one starts when none is running and none is put off. Every
    operation costs the logarithm of the number of waiting runs.
    """

    def __init__(self, *, alone: Callable[[str], bool], away: Callable[[str], bool] = lambda _: False) -> None:
        """alone: tells whether the runs of a job exclude each other. away: whether they leave this machine.

        Those that do have a capacity of their own.
        """
        self._alone, self._away = alone, away
        self._entries: dict[str, WaitingRun] = {}  # by run id
        self._lines: dict[str, list[tuple[datetime, int, str]]] = {}  # heaps, which also hold entries that are gone
        self._put_off: dict[str, datetime] = {}  # run ids that join no queue before that time
        self._clock: list[tuple[datetime, str]] = []  # a heap of these, which also holds outdated entries
        self._heads: dict[str, tuple[_Lane, _Key]] = {}  # of the queues that may move
        self._turns: dict[_Lane, list[_Key]] = {lane: [] for lane in _LANES}  # heaps of these; as above
        self._places: Counter[str] = Counter()
        self._starts = 0
        self._started: dict[str, int] = {}  # which start was the last of a job
        self._off: Counter[str] = Counter()  # runs put off, by job
        self._freed: dict[str, datetime] = {}  # when jobs that have a queue, and run alone, last had a running run
        self._pace_from: datetime | None = None

    def add(self, entry: WaitingRun) -> None:
        run = entry.run
        self._entries[run.id] = entry
        heapq.heappush(self._lines.setdefault(run.job_id, []), (entry.when, run.n, run.id))
        self._refresh(run.job_id)

    def put_off(self, entry: WaitingRun, until: datetime) -> None:
        run = entry.run
        self._entries[run.id], self._put_off[run.id] = entry, until
        heapq.heappush(self._clock, (until, run.id))
        self._off[run.job_id] += 1
        self._refresh(run.job_id)

    def release(self, now: datetime) -> None:
        """Move the runs whose time has come into their queues."""
        while self._clock and self._clock[0][0] <= now:
            until, run_id = heapq.heappop(self._clock)
            if self._put_off.get(run_id) == until:
                entry = self._entries[run_id]
                self._no_longer_off(entry.run)
                self.add(entry)

    def hurry(self, wanted: Callable[[Run], bool], now: datetime) -> None:
        """Let those of the runs that are put off join their queues at the next release."""
        for run_id in [each for each, until in self._put_off.items() if until > now]:
            if wanted(self._entries[run_id].run):
                self._put_off[run_id] = now
                heapq.heappush(self._clock, (now, run_id))

    def pop(self, run_id: str, *, now: datetime) -> WaitingRun | None:
        """Remove a waiting run and return it. None if it is not waiting."""
        entry = self._entries.pop(run_id, None)
        if entry is not None:
            if run_id in self._put_off:
                self._no_longer_off(entry.run)
                self._freed[entry.run.job_id] = now
            self._refresh(entry.run.job_id)
        return entry

    def drain(self) -> list[WaitingRun]:
        """Remove and return all."""
        left = list(self._entries.values())
        for entry in left:
            self.pop(entry.run.id, now=entry.when)
        return left

    def took(self, job_id: str) -> None:
        """Note that a run of the job has started."""
        self._places[job_id] += 1
        self._starts += 1
        self._started[job_id] = self._starts
        self._refresh(job_id)

    def left(self, job_id: str, *, now: datetime) -> None:
        """Note that a run of the job has ended."""
        self._freed[job_id] = now
        self.passed(job_id)

    def passed(self, job_id: str) -> None:
        """Note that a run had its turn but did not start, so that runs behind it were not waiting for a run."""
        self._places[job_id] -= 1
        if not self._places[job_id]:
            del self._places[job_id]
        self._refresh(job_id)

    def next(self, now: datetime, *, away: Sequence[bool] = (False, True)) -> tuple[WaitingRun, datetime] | None:
        """Remove the run that starts next and count it as running. None if none may start now.

        away: where there is capacity: here, or for runs that leave this machine.
        Also returns since when the run lacked only capacity.
        """
        if self._pace_from is not None and self._pace_from - now > PACE:
            self._pace_from = None  # the clock has gone back
        paces = (False, True) if self._pace_from is None or self._pace_from <= now else (False,)
        found = [self._top((each, paced)) for each in away for paced in paces]
        key = min((each for each in found if each is not None), default=None)
        if key is None:
            return None
        job_id = key[-1]
        if self._heads[job_id][0][1]:
            self._pace_from = now + PACE
        _, _, run_id = heapq.heappop(self._lines[job_id])
        entry = self._entries.pop(run_id)
        since = self._lacking_since(entry)
        self.took(job_id)
        return entry, since

    def lacking(self) -> list[tuple[WaitingRun, datetime]]:
        """The first run of each queue that lacks only capacity, and since when."""
        found = [self._entries[self._lines[job_id][0][2]] for job_id in list(self._heads) if not self._blocked(job_id)]
        return [(entry, self._lacking_since(entry)) for entry in found]

    def _lacking_since(self, entry: WaitingRun) -> datetime:
        freed = self._freed.get(entry.run.job_id, entry.when)
        return max(entry.when, freed) if self._alone(entry.run.job_id) else entry.when

    def next_at(self, *, free: Sequence[bool]) -> datetime | None:
        """When to call `release` and `next` again if nothing else happens. free: where there is capacity."""
        while self._clock and self._put_off.get(self._clock[0][1]) != self._clock[0][0]:
            heapq.heappop(self._clock)
        found = [self._clock[0][0]] if self._clock else []
        if self._pace_from is not None and any(self._top((away, True)) is not None for away in free):
            found.append(self._pace_from)
        return min(found, default=None)

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def later(self) -> int:
        """How many of them are put off."""
        return len(self._put_off)

    @property
    def moves(self) -> bool:
        """True if one of them may start, now or a second later, without a release and without the end of a run."""
        return any(self._top(lane) is not None for lane in _LANES)

    @property
    def moves_here(self) -> bool:
        """The same of those that stay on this machine."""
        return any(self._top(lane) is not None for lane in _LANES if not lane[0])

    def _no_longer_off(self, run: Run) -> None:
        del self._put_off[run.id]
        self._off[run.job_id] -= 1
        if not self._off[run.job_id]:
            del self._off[run.job_id]

    def _blocked(self, job_id: str) -> bool:
        return bool(self._places[job_id] or self._off[job_id]) and self._alone(job_id)

    def _refresh(self, job_id: str) -> None:
        """Recompute where the job stands. Its earlier heap entry is passed over when it comes up."""
        line = self._lines.get(job_id, [])
        while line and (line[0][2] not in self._entries or line[0][2] in self._put_off):
            heapq.heappop(line)
        if not line:
            self._lines.pop(job_id, None)
            if job_id not in self._off:
                self._freed.pop(job_id, None)
        if not line or self._blocked(job_id):
            self._heads.pop(job_id, None)
            return
        paced = self._entries[line[0][2]].run.reason == OUTAGE
        lane = self._away(job_id), paced
        key = self._places[job_id], line[0][0], self._started.get(job_id, 0), job_id
        if self._heads.get(job_id) != (lane, key):
            self._heads[job_id] = lane, key
            heapq.heappush(self._turns[lane], key)

    def _top(self, lane: _Lane) -> _Key | None:
        turns = self._turns[lane]
        while turns:
            key = turns[0]
            if self._heads.get(key[-1]) != (lane, key):
                heapq.heappop(turns)
            elif self._blocked(key[-1]):  # its definition has changed since
                del self._heads[key[-1]]
            else:
                return key
        return None
