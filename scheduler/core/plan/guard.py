"""The guard against archiving many jobs at once (S4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler.core.plan.action import Action, to_keep
from scheduler.core.plan.desired import Desired
from scheduler.core.values.codec import Stored
from scheduler.core.values.facts import Job, SyncState
from scheduler.core.values.problems import Problem
from scheduler.core.values.settings import Prune


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard(Stored):
    """Archives that wait for a person to confirm them (S4); `token` confirms exactly this set."""

    ids: tuple[str, ...]
    token: str
    why: str


def within_limit(actions: Sequence[Action], desired: Desired, others: int = 0) -> tuple[list[Action], list[Problem]]:
    """Drop the creations that exceed `limits.max_jobs`; known jobs always stay. others: unarchived jobs besides."""
    limit = desired.settings.limits.max_jobs
    room = limit - others - sum(a.verb != "create" and a.after.archived_at is None for a in actions)
    kept: list[Action] = []
    problems: list[Problem] = []
    for action in actions:
        if action.verb == "create" and room <= 0:
            message = f"job {action.job_id!r} is not created: the root already has {limit} jobs"
            hint = "raise limits.max_jobs in scheduler.yaml"
            problems.append(
                Problem(action.after.path, action.after.line, 1, "limit.max-jobs", message, hint, job_id=action.job_id)
            )
            continue
        room -= action.verb == "create"
        kept.append(action)
    return kept, problems


def guarded(
    actions: Sequence[Action],
    observed: Mapping[str, Job],
    prune: Prune,
    now: datetime,
    confirmed: str | None,
    others: int = 0,
) -> tuple[list[Action], Guard | None]:
    """Turn the archives into held jobs if there are too many to accept (S4). others: unarchived jobs that stay."""
    archives = tuple(action.job_id for action in actions if action.verb == "archive")
    before = others + sum(not job.archived for job in observed.values())
    left = others + sum(action.after.archived_at is None for action in actions)
    why = _why_guarded(len(archives), before=before, left=left, prune=prune)
    token = guard_token(archives)
    if not why or confirmed == token:
        return list(actions), None
    held = [
        to_keep(observed[action.job_id], SyncState.HELD) if action.verb == "archive" else action for action in actions
    ]
    return held, Guard(ids=archives, token=token, why=why)


def _why_guarded(archives: int, *, before: int, left: int, prune: Prune) -> str:
    if not archives:
        return ""
    if left == 0:
        return f"no job would be left: all {archives} would be archived"
    if archives > prune.max_jobs:
        return f"{archives} jobs would be archived, more than prune.max_jobs ({prune.max_jobs})"
    if archives > 3 and archives * 100 > prune.max_percent * before:
        return f"{archives} of {before} jobs would be archived, more than prune.max_percent ({prune.max_percent} %)"
    return ""


def guard_token(ids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:12]
