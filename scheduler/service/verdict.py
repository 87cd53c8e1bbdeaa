"""How a job does, in a sentence: what the sentence needs to know, gathered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scheduler.core.past.verdict import Condition, TextRecord, Verdict, judge
from scheduler.core.values.facts import Status
from scheduler.core.values.instants import parse_instant
from scheduler.core.values.runs import RunStatus
from scheduler.ledger.chart import failing_since
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import JobJson
    from scheduler.core.comparisons import VersionJson


def verdict(root: Root, shown: JobJson, versions: Sequence[VersionJson], zone: str) -> Verdict:
    """How a job does. shown: the job. versions: its texts, last used first. zone: of the times in the sentence."""
    with root.job(shown["id"]) as (store, job):
        since = store.read(failing_since, job.id) if shown["consecutive_errors"] else None
    used = [each for each in versions if each["runs"]]
    others = [each for each in used if each["task_sha256"] != used[0]["task_sha256"]]
    running = [each["started_at"] for each in shown["running"] if each["started_at"] is not None]
    next_at = shown["next_fire_at"]
    return judge(
        Condition(
            status=Status(shown["status"]),
            now=root.clock.now(),
            zone=zone,
            pause=job.pause,
            stopped_at=job.runtime.stopped_at,
            stop_reason=shown["stop_reason"],
            archived_at=job.file.archived_at,
            waiting="" if shown["waiting"] is None else shown["waiting"]["message"],
            overdue="; ".join(each["message"] for each in shown["alarms"]),
            errors=shown["consecutive_errors"],
            failing_since=since,
            last_at=job.runtime.last_run_at,
            last_status=None if job.runtime.last_run_status is None else RunStatus(job.runtime.last_run_status),
            text=_record(used[0]) if used else None,
            before=_record(others[0]) if others else None,
            running_since=parse_instant(min(running)) if running else None,
            next_at=None if next_at is None else parse_instant(next_at),
            served=root.daemon(of_any_root=True) is not None,
        )
    )


def _record(version: VersionJson) -> TextRecord:
    success, commit = version["figures"]["success"], version["commit"]
    n = 0 if success is None else success["n"]
    return TextRecord(
        sha256=version["task_sha256"],
        by=None if commit is None else commit["author"],
        succeeded=0 if success is None else round(success["value"] * n),
        n=n,
    )
