"""The openings of many runs from one look at the files: those for which nothing has changed since the last pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from scheduler.core.values.facts import Fault, Job
from scheduler.core.values.runs import Run, RunStatus, Trigger
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import FRESH
from scheduler.run.fire import Ready
from scheduler.run.local.attempts import Attempts, Opening
from scheduler.run.local.prepare import Tools
from scheduler.run.plain import InlineTexts, Look

if TYPE_CHECKING:
    from scheduler.core.due.due import Due


class Openings(contextlib.AbstractContextManager["Openings"]):
    """One look. Whoever gets None from it looks with care, by `Attempts.look`.

    Raises: UnavailableError if no output could be kept.
    """

    def __init__(self, attempts: Attempts, settings: Settings | None, texts: InlineTexts) -> None:
        """settings: as stored."""
        self._attempts = attempts
        self._look = Look(attempts.passes, settings, texts)
        self._tools: dict[str, Tools] = {}

    def __enter__(self) -> Openings:
        self._attempts.make_room()
        self._look.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._look.__exit__()

    def of(self, job: Job, run: Run) -> Opening | None:
        """What a run would start now. None if something about it is not plain."""
        ready = self._look.ready(job, run.trigger)
        if ready is None or ready.queue is not None or (tools := self._tools_of(ready)).may_hang:
            return None
        workdir = ready.job.file.spec.workdir
        if workdir is not None and (workdir == FRESH or tools.workdir_may_hang(workdir)):
            return None  # a worktree is made by git, which takes its time
        invocation = self._attempts.prepare(ready, run, tools)
        if isinstance(invocation, Fault):
            return None
        return Opening(run=run, job=job, ready=ready, invocation=invocation)

    def stand(self) -> bool:
        """False if another branch was checked out meanwhile: none of them counts. Ask after the last one."""
        return self._look.stands()

    def _tools_of(self, ready: Ready) -> Tools:
        name = ready.runner.name
        if name not in self._tools:
            self._tools[name] = Tools(ready.runner, ready.place.root, self._attempts.environ)
        return self._tools[name]


def due_openings(
    attempts: Attempts,
    settings: Settings | None,
    texts: InlineTexts,
    dues: Sequence[Due],
    now: datetime,
    *,
    guards: Callable[[Job], bool],
) -> dict[str, Opening]:
    """What slots that are due would run, by job: those for which nothing has changed since the last pass.

    guards: true for a job whose runs must ask first.
    """
    found: dict[str, Opening] = {}
    with Openings(attempts, settings, texts) as openings:
        for due in dues:
            if due.slot is None or due.catch_up or due.skips or guards(due.job):
                continue
            run = Run(
                job_id=due.job.id,
                n=0,  # given by the claim
                trigger=Trigger.SCHEDULE,
                status=RunStatus.CLAIMED,
                fire_time=due.slot,
                requested_at=now,
                generation=due.job.file.generation,
            )
            if (opening := openings.of(due.job, run)) is not None:
                found[run.job_id] = opening
        return found if openings.stand() else {}
