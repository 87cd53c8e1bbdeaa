"""What a job's latest run came to, or what keeps it from running: the one word by which jobs are counted."""

from __future__ import annotations

from scheduler.core.values.facts import JobSummary, Status
from scheduler.core.values.runs import RunStatus

FAILING, SUCCEEDED, NEVER = "failing", "succeeded", "not run yet"
# What needs a person comes first; a paused job is never among those that went well.
STATES = (
    Status.STOPPED.value, FAILING, Status.WAITING.value, Status.PAUSED.value, "cancelled", "skipped", SUCCEEDED, NEVER,
    Status.COMPLETED.value, Status.DISABLED.value, Status.ARCHIVED.value,
)  # fmt: skip
_RUNS = (Status.ACTIVE, Status.MANUAL, Status.COMPLETED)  # the latest run says more than the status
_OF_RUN = {
    RunStatus.SUCCEEDED.value: SUCCEEDED,
    RunStatus.CANCELLED.value: RunStatus.CANCELLED.value,
    RunStatus.SKIPPED.value: RunStatus.SKIPPED.value,
}


def state_of(job: JobSummary, status: Status) -> str:
    """One of STATES."""
    if status not in _RUNS:
        return status.value
    if job.consecutive_errors:
        return FAILING
    if status is Status.COMPLETED:
        return status.value
    if job.last_run_status is None:
        return NEVER
    return _OF_RUN.get(job.last_run_status, FAILING)


# By state, and by the kind of what needs a person: a sign, so that colour is never the only one; how bad it is.
SIGNS = {
    "daemon": "✕", "trouble": "!", "held": "‖", "unsynced": "!",
    "stopped": "■", "failing": "✕", "overdue": "!", "waiting": "…", "invalid": "≠", "guard": "#", "paused": "‖",
    "quota": "…", "budget": "…", "channel": "✕", "token": "!",
    "cancelled": "○", "skipped": "–", "succeeded": "✓", "not run yet": "·", "completed": "◦", "disabled": "–",
    "archived": "–", "running": "▶",
}  # fmt: skip
_BAD = ("daemon", "trouble", "stopped", "failing", "overdue", "invalid", "channel")
_WAIT = ("held", "unsynced", "waiting", "guard", "paused", "quota", "budget", "token", "cancelled")


def tone_of(word: str) -> str:
    """bad, wait, good or quiet."""
    if word in _BAD:
        return "bad"
    if word in _WAIT:
        return "wait"
    return "good" if word == SUCCEEDED else "quiet"
