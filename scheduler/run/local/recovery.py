"""Recovery of the runs of dead processes (F4).

A run that may have started is ended with its children, and its row says so. One that never started waits its turn
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.core.values.runs import Run, RunStatus
from scheduler.ledger import owners, queries
from scheduler.ledger.put_back import OF_COPY
from scheduler.ledger.runs import ActiveRun
from scheduler.ledger.store import Store
from scheduler.machine import processes
from scheduler.machine.clock import Clock, boot_id
from scheduler.machine.crash import crash_point
from scheduler.root.place import Place
from scheduler.run.ends import end_orphan, start_anew


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRecovery:
    """Recovers the runs of dead processes of this machine. Queued runs have no owner and keep waiting."""

    place: Place
    clock: Clock
    owner: str = ""  # this process, which is alive even if its lock file was removed
    kind: str = owners.LOCAL

    def recover(self, store: Store, active: Sequence[ActiveRun]) -> list[Run]:
        owners.tidy(self.place.owners)  # of the dead, whether or not a row still names them
        ended = []
        for each in active:
            lives = each.owner == self.owner or owners.is_alive(self.place.owners, each.owner)
            if each.run.status is RunStatus.QUEUED or lives:
                continue
            left: list[int] = []
            started = each.run.reason == OF_COPY or each.may_have_started(boot_id())
            if _has_processes(store, each, started=started):
                told, followed = {"SCHEDULER_RUN_ID": each.run.id}, self.place.followed
                if followed is None:
                    told["SCHEDULER_ROOT"] = str(self.place.root)
                # A retry or a rerun did not run in the folder of the commit that its text is from.
                below = None if followed is None else followed.commits
                left = processes.end_processes(each.process, told, root_below=below)
            crash_point("in_recover")
            now = self.clock.now()
            ended.append(end_orphan(store, each.run, now, left=left) if started else start_anew(store, each.run, now))
            crash_point("between_recovered")
        return ended


def _has_processes(store: Store, each: ActiveRun, *, started: bool) -> bool:
    """True if something of a dead owner's run may still run: an attempt, or the check of a run that has not begun."""
    if each.run.status is RunStatus.RUNNING or started:
        return started and each.run.status is RunStatus.RUNNING
    job = store.read(queries.job, each.run.job_id)
    return job is not None and job.file.spec.check is not None
