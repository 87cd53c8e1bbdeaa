"""The audit rows of a plan: one per change, with what it was and what it became (S7)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from scheduler.core.models import ROOT_JOB_ID, AuditRow
from scheduler.core.reconcile import Action, Plan


def audit_rows(plan: Plan, *, at: datetime, actor: str, cause: str) -> tuple[AuditRow, ...]:
    """Rows in the order of the plan, those of scheduler.yaml first.

    actor: who, as `kind:name`; cause: what made the pass happen, as one word.
    """

    def row(job_id: str, action: str, field: str | None, before: Any, after: Any) -> AuditRow:
        return AuditRow(
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

    rows = [row(ROOT_JOB_ID, "update", field, *change) for field, change in plan.root_changes.items()]
    if plan.first:
        rows.append(row(ROOT_JOB_ID, "create", None, None, plan.settings.to_json()))
    for action in plan.actions:
        rows += [row(action.job_id, *found) for found in _changes(action)]
    return tuple(rows)


def _changes(action: Action) -> Iterator[tuple[str, str | None, Any, Any]]:
    """(action, field, before, after) of one job's changes."""
    before, after = action.before, action.after
    if before is None:
        yield "create", None, None, {"path": after.path, "task_sha256": after.task_sha256, **after.spec.to_json()}
        if action.completes:
            yield "complete", "next_run_at", None, None
        return
    if action.verb == "archive":
        yield "archive", "path", before.path, None
    elif action.verb == "revive":
        yield "revive", "path", None, after.path
    for field, (old, new) in action.changes.items():
        yield "update", field, old, new
    if action.moved_from is not None:
        yield "move", "path", before.path, after.path
    if action.task_change is not None:
        yield "task", "task_sha256", *action.task_change
    if before.sync_state is not after.sync_state and action.verb != "archive":
        yield "sync_state", "sync_state", before.sync_state.value, after.sync_state.value
    if action.completes:
        yield "complete", "next_run_at", None, None
    if action.arms:
        yield "arm", "status", "stopped", "active"
