"""The origin of a run in words: its slot, or who requested it."""

from __future__ import annotations

from scheduler.core.values.instants import instant
from scheduler.core.values.runs import Run, RunStatus, Trigger
from scheduler.core.values.usage import EndClass

WHY_SKIPPED = {  # by reason
    "missed": "no daemon was running to start it in time",
    "paused": "it was paused",
    "overlap": "the job was still running or queued at that time",
    "capacity": "the limit of concurrent runs was reached for too long, or no worker took it in time",
    "budget": "the budget did not allow a run",
    "superseded": "an edit removed the slot before it could run",
    "elsewhere": "another control plane has the slot",
    "nothing_to_do": "its check found nothing to do",
}


WHOSE_FAULT = {  # by the class of the end
    EndClass.TASK: "the task: it ran, and failed",
    EndClass.QUOTA: "the account: its limit is reached",
    EndClass.CREDENTIAL: "the credential: it is missing, has expired, or was rejected",
    EndClass.TRANSIENT: "the service or the network: the same run may succeed later",
    EndClass.BUDGET: "the limit on what one run may spend",
    EndClass.REFUSED: "the permissions: the agent was denied what it needed",
    EndClass.TIMEOUT: "the task or its timeout: it took longer than the job allows",
    EndClass.CANCELLED: "nobody: a person or an edit ended it",
    EndClass.INTERRUPTED: "the machine: the process that ran it was ended",
}
_OF_FILES = {"source": "the file of its task", "runner": "the runner", "check": "its check"}  # by the word of a reason


def whose_fault(status: str, reason: str | None, end_class: str | None) -> str:
    """Who or what has to change before such a run can succeed; empty if nothing has gone wrong."""
    if end_class is not None:
        return WHOSE_FAULT.get(EndClass(end_class), "")
    return _OF_FILES.get((reason or "").partition("_")[0], "") if status == RunStatus.SKIPPED else ""


def who(actor: str | None) -> str:
    """The display name of an actor in the ledger: users by name alone, agents still marked as agents."""
    kind, _, name = (actor or "").partition(":")
    return name if kind == "user" and name else actor or "an unknown user"


def why_it_ran(run: Run) -> str:
    """The reason for this run: the slot that it serves, or who requested it."""
    slot = "" if run.fire_time is None else instant(run.fire_time)
    match run.trigger:
        case Trigger.SCHEDULE if run.slots > 1 and run.fire_time_last is not None:
            return f"{run.slots} slots of the schedule, {slot} to {instant(run.fire_time_last)}"
        case Trigger.SCHEDULE:
            return f"the slot of {slot}"
        case Trigger.CATCH_UP:
            return f"the slot of {slot}, caught up late"
        case Trigger.RERUN:
            return f"run by {who(run.requested_by)}, with the text of {run.job_id}:{run.task_of}"
        case Trigger.MANUAL:
            return f"run by {who(run.requested_by)}"


def trigger_words(trigger: str, requested_by: str | None) -> str:
    """The trigger for a table, with the name of the requester of a manual run or a rerun."""
    return f"{trigger} {who(requested_by)}" if trigger in (Trigger.MANUAL, Trigger.RERUN) else trigger
