"""The verb that answers "does anything need a person?": status. Writes nothing."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from scheduler.core import views
from scheduler.core.due.due import next_to_fire
from scheduler.core.due.place import PlaceFault, holding
from scheduler.core.due.reach import Reach
from scheduler.core.due.sending import Breaker
from scheduler.core.past.presence import DaemonState, expecting
from scheduler.core.values.facts import JobSummary, Status, SyncState, summary_of
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import Problem
from scheduler.core.values.runs import Run, RunStatus
from scheduler.core.values.settings import Settings
from scheduler.core.values.texts import counted
from scheduler.ledger import evidence, places, queries, syncs
from scheduler.ledger.reach import reach
from scheduler.ledger.standing import change_before_failures
from scheduler.ledger.store import Store
from scheduler.root.settings import read_settings
from scheduler.service import needs
from scheduler.service.first import is_new, read_unsynced
from scheduler.service.jobs import held_in
from scheduler.service.presence import FoundDaemon, find_daemon
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import FailingJson, NextFireJson, OverdueJson, ReachJson, StatusJson, StatusRunJson

COMING = 5  # next fires
TRACED = 20  # failing jobs whose cause is looked for; the ones that failed last
_WRONG = (SyncState.INVALID, SyncState.CONFLICT)


def status(root: Root) -> StatusJson:
    """Daemon, active runs, failing, overdue and waiting jobs, next fires, and what needs a person.

    `attention` lists what needs a person, most urgent first; `exit_code` is 1 if the list is not empty. `needs` has a
    line for each of these, and for what waits until an instant.
    On a root that was never synced, the jobs are those that its files define, as in `list`.
    """
    return look(root).status


class Look(NamedTuple):
    """A status, and by what it was told: the jobs that are not archived, each with its status and its next fire."""

    status: StatusJson
    jobs: Sequence[JobSummary]
    statuses: Sequence[Status]
    fires: Sequence[datetime | None]


def look(root: Root) -> Look:
    """As `status`."""
    store, now = root.store(), root.clock.now()
    if store is None:
        return _unsynced(root, now)
    with store:
        if is_new(store):
            return _unsynced(root, now)
        rows = queries.summaries if root.kept is None else queries.sketches
        jobs = [job for job in store.read(rows) if not job.archived]
        daemon = find_daemon(root, store, jobs, now)
        lost = store.read(places.open_faults)
        problems, channels = store.read(syncs.problems), store.read(reach)
        return _told(
            now,
            daemon,
            store=store,
            held=held_in(root, store),
            troubles=[*daemon.troubles, *([store.read_only] if store.read_only else [])],
            jobs=jobs,
            going=store.read(queries.active_runs),
            failing=failing_json(store, jobs, traced=TRACED),
            overdue=overdue_json(root, store, jobs, daemon, now),
            lost=lost,
            problems=problems,
            channels=channels,
        )


def _unsynced(root: Root, now: datetime) -> Look:
    found = read_unsynced(root)
    settings, _ = read_settings(root.place)
    jobs = list(map(summary_of, found.jobs))
    daemon = find_daemon(root, None, jobs, now)
    return _told(
        now,
        daemon,
        held=held_in(root, None),
        troubles=daemon.troubles,
        never_synced=True,
        jobs=jobs,
        problems=found.problems,
        channels=[
            Reach(channel=each, breaker=Breaker(name=each.name)) for each in (settings or Settings()).channels.values()
        ],
    )


def _told(
    now: datetime,
    daemon: FoundDaemon,
    *,
    store: Store | None = None,
    held: str | None,
    troubles: Sequence[str],
    never_synced: bool = False,
    jobs: Sequence[JobSummary] = (),
    going: Sequence[Run] = (),
    failing: Sequence[FailingJson] = (),
    overdue: Sequence[OverdueJson] = (),
    lost: Sequence[PlaceFault] = (),
    problems: Sequence[Problem] = (),
    channels: Sequence[Reach] = (),
) -> Look:
    statuses = [job.status(now, waits=bool(lost) and holding(lost, job) is not None) for job in jobs]
    wrong = sum(job.sync_state in _WRONG for job in jobs)
    guarded = sum(job.sync_state is SyncState.HELD for job in jobs)
    stopped = [job for job, each in zip(jobs, statuses, strict=True) if each is Status.STOPPED]
    counts = {
        "failing": len({each["id"] for each in failing} - {job.id for job in stopped}),
        "stopped": len(stopped),
        "overdue": len({each["id"] for each in overdue}),
        "waiting": sum(
            each is Status.WAITING and ((found := holding(lost, job)) is None or found.needs_a_person)
            for job, each in zip(jobs, statuses, strict=True)
        ),
    }
    expected = expecting(jobs, now) > 0
    attention = _attention(
        daemon,
        counts,
        expected=expected,
        wrong=wrong,
        guarded=guarded,
        errors=sum(problem.is_error for problem in problems),
        troubles=troubles,
        held=held,
        dead=[each for each in channels if each.is_dead],
    )
    if never_synced:
        attention.append("never synced")
    seen = needs.Evidence(
        daemon=daemon,
        expected=expected,
        jobs=jobs,
        statuses=statuses,
        held=held,
        troubles=troubles,
        never_synced=never_synced,
        failing=failing,
        overdue=overdue,
        lost=lost,
        problems=problems,
        channels=channels,
    )
    listed = needs.listed(store, seen, now)
    ending = needs.counted_kinds(listed, "paused", "token")
    if ending["paused"]:
        attention.append(f"{ending['paused']} paused beyond the end of the schedule")
    if ending["token"]:
        attention.append(f"{counted(ending['token'], 'token')} about to expire")
    fires = [next_to_fire(job, now) for job in jobs]
    told: StatusJson = {
        "healthy": not attention,
        "exit_code": 1 if attention else 0,
        "attention": attention,
        "needs": listed,
        "at": instant(now),
        "never_synced": never_synced,
        "daemon": views.daemon_json(daemon.presence),
        "summary": {
            "total": len(jobs),
            **{each.value: statuses.count(each) for each in Status if each is not Status.ARCHIVED},
            "running": len({run.job_id for run in going if run.status is not RunStatus.QUEUED}),
            "failing": len(failing),
            "overdue": counts["overdue"],
            "invalid": wrong,
            "guarded": guarded,
            "held": held,
        },
        "running": [_run_json(run) for run in going if run.status is not RunStatus.QUEUED],
        "queued": [_run_json(run) for run in going if run.status is RunStatus.QUEUED],
        "failing": list(failing),
        "stopped": [
            {"id": job.id, "reason": job.stop_reason, "at": None if job.stopped_at is None else instant(job.stopped_at)}
            for job in stopped
        ],
        "overdue": list(overdue),
        "waiting": [
            {
                "id": job.id,
                "message": found.message,
                "reason": found.reason,
                "until": None if found.until is None else instant(found.until),
            }
            for job, each in zip(jobs, statuses, strict=True)
            if each is Status.WAITING and (found := holding(lost, job)) is not None
        ],
        "next": _coming(jobs, fires),
        "channels": _reach_json(channels),
        "troubles": list(troubles),
    }
    return Look(told, jobs, statuses, fires)


def _attention(
    daemon: FoundDaemon,
    counts: Mapping[str, int],
    *,
    expected: bool,
    wrong: int,
    guarded: int,
    errors: int,
    troubles: Sequence[str],
    held: str | None,
    dead: Sequence[Reach],
) -> list[str]:
    """What a person has to look at. A root that is only observed is no cause for concern."""
    found = []
    state = daemon.presence.state
    if state in (DaemonState.DEAD, DaemonState.STOPPED) and expected:
        found.append(f"the daemon is {state.value}")
    elif state is DaemonState.SILENT:
        found.append("the daemon does not answer")
    elif state is DaemonState.NEVER and expected:
        found.append("no daemon is running")
    elif troubles:
        found.append(counted(len(troubles), "trouble"))
    found += [f"{counts[word]} {word}" for word in ("overdue", "stopped", "failing", "waiting") if counts[word]]
    if guarded:
        found.append(f"{guarded} held by the guard")
    if wrong:
        found.append(f"{wrong} on the last good definition")
    elif errors:
        found.append(f"{counted(errors, 'error')} in the files")
    if held and daemon.says.get("held_long"):
        found.append("sync is held")
    if dead:
        found.append(f"{dead[0].who} is dead" if len(dead) == 1 else f"{len(dead)} channels are dead")
    return found


def _reach_json(channels: Sequence[Reach]) -> ReachJson:
    oldest = min((each.oldest_at for each in channels if each.oldest_at is not None), default=None)
    return {
        "total": sum(each.job_id is None for each in channels),
        "dead": [
            {
                "name": each.name if each.job_id is None else None,
                "job_id": each.job_id,
                "since": instant(each.breaker.open_since),
                "error": each.breaker.last_error,
                "message": each.dead_text,
                "hint": each.hint,
            }
            for each in channels
            if each.is_dead and each.breaker.open_since is not None
        ],
        "waiting": sum(each.waiting for each in channels),
        "oldest_at": None if oldest is None else instant(oldest),
    }


def failing_json(store: Store, jobs: Iterable[JobSummary], *, traced: int) -> list[FailingJson]:
    """Jobs whose last run failed or could not start, latest failure first, with the run that explains it.

    traced: of so many, what changed before the first failure is looked for.
    """
    wrong = [job for job in jobs if job.consecutive_errors]
    newest = store.read(queries.newest_failures, [job.id for job in wrong]) if wrong else {}
    found: list[tuple[datetime, FailingJson]] = []
    for job in wrong:
        run = newest.get(job.id)
        at = job.updated_at if run is None else run.finished_at or run.requested_at
        found.append(
            (
                at,
                {
                    "id": job.id,
                    "consecutive_errors": job.consecutive_errors,
                    "run": None if run is None else run.id,
                    "at": instant(at),
                    "status": job.last_run_status if run is None else run.status.value,
                    "reason": None if run is None else run.reason,
                    "error": job.last_run_error if run is None else run.error,
                    "change": None,
                },
            )
        )
    found.sort(key=lambda each: (-each[0].timestamp(), each[1]["id"]))
    for _, each in found[:traced]:
        change = store.read(change_before_failures, each["id"])
        each["change"] = needs.change_json(change)
    return [each for _, each in found]


def overdue_json(
    root: Root, store: Store, jobs: Sequence[JobSummary], daemon: FoundDaemon, now: datetime
) -> list[OverdueJson]:
    """What is overdue of all jobs, or of these if nothing is kept."""
    from scheduler.core.due.expected import Kind

    found = store.read(evidence.alarms, now, jobs) if root.kept is None else root.kept.overdue(store, now)
    return [
        {"id": job.id, "kind": alarm.kind.value, "since": instant(alarm.since), "message": alarm.text(job)}
        for job, alarm in found
        if not daemon.observes or alarm.kind is not Kind.ROW  # a daemon that only observes creates no row
    ]


def _coming(jobs: Sequence[JobSummary], fires: Sequence[datetime | None]) -> list[NextFireJson]:
    coming = ((slot, job.id, job) for job, slot in zip(jobs, fires, strict=True) if slot is not None)
    return [
        {"job_id": job.id, **views.fire_json(slot, job.due_by)}
        for slot, _, job in heapq.nsmallest(COMING, coming, key=lambda each: each[:2])
    ]


def _run_json(run: Run) -> StatusRunJson:
    return {
        "id": run.id,
        "job_id": run.job_id,
        "status": run.status.value,
        "reason": run.reason,
        "trigger": run.trigger.value,
        "requested_by": run.requested_by,
        "requested_at": instant(run.requested_at),
        "started_at": None if run.started_at is None else instant(run.started_at),
        "fire_time": None if run.fire_time is None else instant(run.fire_time),
        "retry_at": None if run.retry_at is None else instant(run.retry_at),
        "attempt": len(run.attempts),
        "task_queue": run.task_queue,
        "host": run.host,
    }
