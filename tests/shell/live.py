"""The part of a daemon that keeps a database in step with the files: real inotify, real git, real SQLite, no firing."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scheduler.core.values.facts import Job
from scheduler.daemon.resync import RESCAN_S, Resync
from scheduler.git.tree import Commits
from scheduler.ledger import audit, queries, syncs
from scheduler.ledger.pool import Stores
from scheduler.ledger.store import Store
from scheduler.machine.clock import SystemClock
from scheduler.root.parsed import Parsed
from scheduler.root.place import Place
from scheduler.sync.passes import Passes
from tests import helpers

PATIENCE_S = RESCAN_S / 3  # what comes later than this was found by a rescan, and not by an event

until = functools.partial(helpers.until, within=PATIENCE_S)


def job_text(job_id: str, *, name: str = "first", task: str = "task: hi") -> str:
    return f"id: {job_id}\nname: {name}\nschedule: {{every: 1h}}\n{task}\n"


class Live:
    """One root that is kept in step until the end of the `with`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        place.make_state()
        Store.open(place.db).close()
        self.stores = Stores(place.db, usable=lambda: "")
        self.resync = Resync(
            place=place,
            passes=Passes(place=place, clock=SystemClock(), parsed=Parsed(), commits=Commits()),
            lend=self.stores.lend,
            recover=lambda store: [],
            applied=lambda: None,
        )

    @property
    def root(self) -> Path:
        return self.place.root

    def job(self, job_id: str) -> Job | None:
        with self.stores.lend() as store:
            return store.read(queries.job, job_id)

    def named(self, job_id: str) -> str | None:
        job = self.job(job_id)
        return None if job is None else job.file.spec.name

    def text(self, job_id: str) -> str | None:
        job = self.job(job_id)
        return None if job is None else job.file.task_sha256

    def actions(self, job_id: str) -> list[str]:
        """What the audit says has happened to a job, first to last, without its creation."""
        with self.stores.lend() as store:
            return [row.action for row in store.read(audit.read_audit, job_id)][1:]

    def problems(self) -> list[str]:
        with self.stores.lend() as store:
            return [problem.code for problem in store.read(syncs.problems)]


@contextmanager
def live(root: Path, *, state: Path | None = None, db: Path | None = None, named: Path | None = None) -> Iterator[Live]:
    """state, db: where they are, if not in the root. named: the root as a person named it."""
    real = Path(os.path.realpath(root))
    folder = state or real / ".scheduler"
    found = Live(Place(root=real, state=folder, db=db or folder / "state.db", named=named))
    logging.getLogger("scheduler").setLevel(logging.DEBUG)
    found.resync.sync_now(actor="scheduler", cause="start")
    found.resync.loop.start()
    try:
        yield found
    finally:
        found.resync.stop()
        found.resync.loop.join(PATIENCE_S)
        found.stores.close()
        assert found.resync.loop.hang == "the resync thread has ended"
