"""The audit rows of a plan: one per change, with the value before and after (S7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from scheduler.core.plan.action import Action
from scheduler.core.plan.plan import Plan
from scheduler.core.values.facts import Lookup, NoCommit, SyncState
from scheduler.core.values.runs import AuditRow
from scheduler.core.values.settings import ROOT_FILE, ROOT_JOB_ID, named_file_of

Origin = Lookup | NoCommit  # what git is to be asked about a file, or why it need not be


def audit_rows(
    plan: Plan,
    *,
    at: datetime,
    actor: str,
    cause: str,
    changed_by: Mapping[str, Origin] | None = None,
    changes: Sequence[Change] | None = None,
) -> tuple[AuditRow, ...]:
    """Rows in the order of the plan, those of scheduler.yaml first.

    changes: `changes_in` the plan, if they are known.
    actor: who, as `kind:name`. cause: what made the pass happen, as one word.
    changed_by: what is known about each of `origins`.
    """
    known = changed_by or {}

    def row(job_id: str, action: str, field: str | None, before: Any, after: Any, path: str | None) -> AuditRow:
        origin = None if path is None else known.get(path)
        return AuditRow(
            lookup=origin if isinstance(origin, Lookup) else None,
            no_commit=None if isinstance(origin, Lookup) else origin,
            job_id=job_id,
            action=action,
            field=field,
            before=before,
            after=after,
            at=at,
            revision=plan.revision,
            actor=actor,
            cause=cause,
        )

    rows: list[AuditRow] = []
    for change in changes_in(plan) if changes is None else changes:
        found = row(*change)
        of_new_job = found.action == "task" and rows and rows[-1].action == "create" and rows[-1].job_id == found.job_id
        if of_new_job and (found.lookup, found.no_commit) == (rows[-1].lookup, rows[-1].no_commit):
            continue  # the create row covers it
        rows.append(found)
    return tuple(rows)


Change = tuple[str, str, str | None, Any, Any, str | None]  # job, action, field, before, after, file of the change
_OfJob = tuple[str, str | None, Any, Any, str | None]


def changes_in(plan: Plan) -> list[Change]:
    """Every change of a plan that is worth an audit row."""
    return list(_all_changes(plan))


def origins(changes: Iterable[Change]) -> frozenset[str]:
    """The files in which changes were made."""
    return frozenset(path for *_, path in changes if path is not None)


def _all_changes(plan: Plan) -> Iterator[Change]:
    for field, change in plan.root_changes.items():
        yield ROOT_JOB_ID, "update", field, *change, named_file_of(field) or ROOT_FILE
    if plan.first:
        yield ROOT_JOB_ID, "create", None, None, plan.settings.to_json(), ROOT_FILE
    for action in plan.actions:
        if not action.writes:
            continue
        for found in _changes(action, plan):
            yield action.job_id, *found


def _changes(action: Action, plan: Plan) -> Iterator[_OfJob]:
    """(action, field, before, after, file of the change) for each change of one job."""
    before, after = action.before, action.after
    if before is None:
        said = {"path": after.path, "task_sha256": after.task_sha256, **after.spec.to_json()}
        yield "create", None, None, said, after.path
        if after.spec.task_source_path is not None and after.task_sha256 is not None:
            yield "task", "task_sha256", None, after.task_sha256, after.spec.task_source_path
        if action.completes:
            yield "complete", "next_run_at", None, None, None
        return
    if action.verb == "archive":
        # A file that exists but was not read is no longer matched by `jobs`.
        yield "archive", "path", before.path, None, ROOT_FILE if _unlisted(before.path, plan) else before.path
    elif action.verb == "revive":
        yield "revive", "path", None, after.path, after.path
    own = before.file_sha256 != after.file_sha256 or action.moved_from is not None or action.verb == "revive"
    for field, (old, new) in action.changes.items():
        yield "update", field, old, new, after.path if own else ROOT_FILE  # otherwise by a default
    if action.moved_from is not None:
        yield "move", "path", before.path, after.path, after.path
    if action.task_change is not None:
        yield "task", "task_sha256", *action.task_change, after.spec.task_source_path or after.path
    if before.sync_state is not after.sync_state and action.verb != "archive":
        told = SyncState.INVALID in (before.sync_state, after.sync_state)  # others have their reason in other files
        states = before.sync_state.value, after.sync_state.value
        yield "sync_state", "sync_state", *states, after.path if told else None
    if action.completes:
        yield "complete", "next_run_at", None, None, None
    if action.arms:
        yield "arm", "status", "stopped", "active", None
    for field, dirty in action.commits:
        path = after.path if field == "path" else after.spec.task_source_path
        yield "commit", field, dirty, None, path


def _unlisted(path: str, plan: Plan) -> bool:
    return path not in plan.sources and "jobs" in plan.root_changes
