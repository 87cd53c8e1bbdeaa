"""When each job must be looked at next, and the jobs themselves as far as anybody has needed them."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from scheduler.core.due.due import start_of
from scheduler.core.values.facts import Job
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.spec import Concurrency
from scheduler.machine.loop import Bell

_MOST_READ = 4_096  # jobs kept in memory whatever they do next
_SOON = timedelta(minutes=2)

Read = Callable[[Sequence[str]], Mapping[str, Job]]


class Agenda:
    """Jobs by the time they need a look next. A change costs the logarithm of their number.

    A job is read from the database when it is needed for the first time: of 100,000, few start soon.
    Kept by a clockwork, under its lock. Any thread may ring, get a job, and ask whether its runs exclude each other.
    """

    def __init__(self, bell: Bell | None = None, read: Read = lambda _: {}) -> None:
        """read: the stored jobs with these ids."""
        self.bell: Bell = bell or threading.Event()  # rung when something in the database has changed
        self._read_jobs = read
        self._changing = threading.Lock()
        self._changes = 0
        self._jobs: dict[str, Job] = {}
        self._unread: set[str] = set()  # known by their start alone
        self._starts: dict[str, datetime] = {}
        self._heap: list[tuple[datetime, str]] = []  # includes outdated entries: `_starts` decides
        self._aside: dict[str, datetime] = {}  # starts of jobs that wait for their place

    def put(self, job: Job) -> None:
        with self._changing:
            self._changes += 1
            self._put(job)

    def _put(self, job: Job) -> None:
        self._unread.discard(job.id)
        self._aside.pop(job.id, None)
        if job.archived:  # one that comes back is put again
            self._jobs.pop(job.id, None)
            self._starts.pop(job.id, None)
            return
        self._jobs[job.id] = job
        self._set_start(job.id, start_of(job))

    def put_starts(self, starts: Mapping[str, datetime | None]) -> None:
        """Note when jobs start next that have changed, or are new. Each is read when it is needed."""
        with self._changing:
            self._changes += 1
            for job_id, start in starts.items():
                self._jobs.pop(job_id, None)
                self._aside.pop(job_id, None)
                self._unread.add(job_id)
                self._set_start(job_id, start)

    def _set_start(self, job_id: str, start: datetime | None) -> None:
        if start is None:
            self._starts.pop(job_id, None)
        elif self._starts.get(job_id) != start:
            self._starts[job_id] = start
            heapq.heappush(self._heap, (start, job_id))

    def clear(self) -> None:
        with self._changing:
            self._changes += 1
            for each in (self._jobs, self._unread, self._starts, self._heap, self._aside):
                each.clear()

    def poke(self) -> None:
        """Look at once: something in the database has changed."""
        self.bell.set()

    def get(self, job_id: str) -> Job | None:
        """A job as last seen. None if it is archived or unknown, or cannot be read now."""
        if job_id in self._unread:
            try:
                self._read([job_id])
            except SchedulerError:
                return None
        return self._jobs.get(job_id)

    def _read(self, job_ids: Collection[str]) -> None:
        """Raises: SchedulerError if the database cannot be read."""
        wanted = [job_id for job_id in job_ids if job_id in self._unread]
        if not wanted:
            return
        seen = self._changes
        found = self._read_jobs(wanted)
        with self._changing:
            if self._changes == seen:  # otherwise somebody may have put a newer one
                for job in found.values():
                    self._put(job)

    def runs_alone(self, job_id: str) -> bool:
        """True if the runs of a job exclude each other, as last seen."""
        job = self.get(job_id)
        return job is None or job.file.spec.concurrency is not Concurrency.ALLOW

    @property
    def next_start(self) -> datetime | None:
        while self._heap:
            start, job_id = self._heap[0]
            if self._starts.get(job_id) == start:
                return start
            heapq.heappop(self._heap)
        return None

    def started(self, now: datetime) -> list[Job]:
        """The jobs whose start has come, earliest first. They stay until `put` says when they start next.

        Raises: SchedulerError if they must be read, and the database cannot be.
        """
        found: list[tuple[datetime, str]] = []
        while (start := self.next_start) is not None and start <= now:
            entry = heapq.heappop(self._heap)
            if not found or found[-1] != entry:
                found.append(entry)
        for entry in found:
            heapq.heappush(self._heap, entry)
        self._read([job_id for _, job_id in found])
        return [self._jobs[job_id] for _, job_id in found if job_id in self._jobs]

    def trim(self, now: datetime) -> None:
        """Let go of jobs that start later, if many have been read."""
        if len(self._jobs) <= _MOST_READ:
            return
        with self._changing:
            later = [job_id for job_id in self._jobs if (at := self._starts.get(job_id)) is None or at > now + _SOON]
            for job_id in later:
                del self._jobs[job_id]
            self._unread.update(later)

    def put_aside(self, job_id: str) -> None:
        """Ignore a job until `bring_back`, or until it has changed."""
        if (start := self._starts.pop(job_id, None)) is not None:
            self._aside[job_id] = start

    def bring_back(self) -> None:
        """Look again at all jobs that were put aside."""
        aside, self._aside = self._aside, {}
        for job_id, start in aside.items():
            self._set_start(job_id, start)

    def drop(self, job_id: str) -> None:
        self._starts.pop(job_id, None)

    def __len__(self) -> int:
        """The number of jobs with a start to come."""
        return len(self._starts)
