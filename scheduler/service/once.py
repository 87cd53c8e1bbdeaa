"""The verb that runs a job for somebody who may ask twice: by a retry, from two tabs, after a lost answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.core import views
from scheduler.core.values.problems import RefusedError, UnavailableError, UsageError
from scheduler.core.values.runs import Run
from scheduler.ledger import requests
from scheduler.ledger.store import Store
from scheduler.run.local.cancel import Cancel
from scheduler.service.history import run_of
from scheduler.service.root import Root
from scheduler.service.run import run_job

if TYPE_CHECKING:
    from scheduler.core.answers import RunJson


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    run: RunJson
    again: bool  # the run of an earlier request with the same key


def run_once(root: Root, job_id: str, *, key: str | None, task_of: str | None = None) -> Once:
    """Ask the daemon to run a job, without waiting for its end.

    key: chosen by the caller; a repeat within a week gets the run of the first request. A repeat whose first request
    was cut short by a crash is refused rather than run twice.
    Raises: UnavailableError without a daemon; RefusedError; UsageError.
    """
    if root.daemon() is None:
        raise UnavailableError("no daemon is running, so nothing can run", hint="start one with `scheduler serve`")
    with root.job(job_id):
        pass  # an unknown job is told before a key is used up
    if key is None:
        return Once(run=views.run_json(_run(root, job_id, task_of)), again=False)
    asked = f"{job_id} {task_of or ''}".strip()
    with Store.open(root.place.db, create=False) as store:
        found = store.write(requests.reserve, root.actor, key, asked, root.clock.now())
        if found is not None:
            return Once(run=_earlier(root, key, asked, *found), again=True)
        try:
            run = _run(root, job_id, task_of)
        except (UsageError, RefusedError):  # for certain, nothing was claimed
            store.write(requests.settle, root.actor, key, None)
            raise
        store.write(requests.settle, root.actor, key, run.id)
    return Once(run=views.run_json(run), again=False)


def _run(root: Root, job_id: str, task_of: str | None) -> Run:
    return run_job(root, job_id, cancel=Cancel(), wait=False, task_of=task_of)


def _earlier(root: Root, key: str, asked: str, before: str, run_id: str | None) -> RunJson:
    if before != asked:
        raise UsageError(f"the key {key!r} was used for another request: {before}", hint="use a new key for each run")
    if run_id is None:
        raise RefusedError(
            f"an earlier request with the key {key!r} has no known end: its run may have started",
            hint="look at the history of the job, and use a new key to run it again",
        )
    return views.run_json(run_of(root, run_id))
