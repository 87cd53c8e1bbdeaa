"""Answers in few tokens: no empty values, and for rows only what a model asks for first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scheduler.core.values.problems import Problem

if TYPE_CHECKING:
    from scheduler.core.answers import JobJson, JobRowJson, ListJson, ShowJson, StatusJson
    from scheduler.core.changes import EditJson, ProposedJson

Json = Mapping[str, Any]
MOST_RESULT = 1_000  # characters of the result of each run in a history
_MOST_PROBLEMS = 5
_JOB = ("id", "status", "schedule_text", "next_fire_at", "last_run_at", "last_run_status")
_RUN = (
    *("id", "status", "reason", "trigger", "fire_time", "requested_by", "started_at", "duration_ms", "exit_code"),
    *("error", "result", "result_cut", "retry_at", "task_sha256", "check_sha256", "revision", "dirty", "task_of"),
    *("end_class", "cost", "model", "reset_at", "denied", "deliveries"),
)
_DELIVERY = ("id", "channel", "event", "status", "error")  # of a run


def lean(found: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping without null and empty values; false and 0 are kept."""
    return {name: value for name, value in found.items() if value is not None and value not in ([], {}, "")}


def lean_fires(fires: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [lean(fire) for fire in fires]


def short_job(job: JobRowJson) -> dict[str, Any]:
    """A row of a list: what the job is and does, and what is wrong with it, if anything."""
    told = lean({name: value for name, value in job.items() if name in _JOB})
    if job["sync_state"] not in ("synced", "archived"):
        told["sync_state"] = job["sync_state"]
    if job["waiting"] is not None:
        told["waiting"] = job["waiting"]["reason"]
        if job["waiting"]["until"] is not None:
            told["waiting_until"] = job["waiting"]["until"]
    if job["running"]:
        told["running"] = [run["id"] for run in job["running"]]
    if job["alarms"]:
        told["alarms"] = [alarm["message"] for alarm in job["alarms"]]
    if job["consecutive_errors"]:
        told["consecutive_errors"] = job["consecutive_errors"]
    return told


def short_list(found: ListJson, jobs: Sequence[JobRowJson]) -> dict[str, Any]:
    """jobs: the jobs of the list to include."""
    problems = [Problem.from_json(each).in_words for each in found["problems"][:_MOST_PROBLEMS]]
    if len(found["problems"]) > _MOST_PROBLEMS:
        problems.append(f"{len(found['problems']) - _MOST_PROBLEMS} more; use validate to see all")
    rest = lean({"problems": problems, "troubles": found["troubles"]})
    summary = {name: value for name, value in found["summary"].items() if value}
    return {"jobs": [short_job(job) for job in jobs], **rest, "summary": summary}


def cut_result(run: Mapping[str, Any]) -> dict[str, Any]:
    result = run["result"]
    if isinstance(result, str) and len(result) > MOST_RESULT:
        return {**run, "result": result[:MOST_RESULT], "result_cut": True}
    return {**run}


def short_run(run: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a history."""
    told = cut_result(run)
    told["deliveries"] = [lean({name: each[name] for name in _DELIVERY}) for each in run["deliveries"]]
    return lean({name: told[name] for name in _RUN if name in told})


def lean_status(found: StatusJson) -> dict[str, Any]:
    """The status without empty values and zero counts. `attention` is always there: it says if a person is needed."""
    told: dict[str, Any] = {**found, "daemon": lean(found["daemon"]), "next": lean_fires(found["next"])}
    told["summary"] = {name: value for name, value in found["summary"].items() if value}
    told["channels"] = {name: value for name, value in found["channels"].items() if value}
    for name in ("running", "queued", "failing", "stopped"):
        told[name] = [lean(each) for each in told[name]]
    return {**lean(told), "attention": found["attention"]}


def lean_job(job: JobJson) -> dict[str, Any]:
    """All that is said of a job; what is told to nobody is left out."""
    told = lean(job)
    if not job["deliver"]:
        del told["deliver_on"]
    return told


def lean_show(found: ShowJson) -> dict[str, Any]:
    return {**lean(found), "job": lean_job(found["job"]), "next_fires": lean_fires(found["next_fires"])}


def lean_proposed(found: ProposedJson) -> dict[str, Any]:
    return {**lean(found), "next_fires": lean_fires(found["next_fires"]), "widens": found["widens"]}


def lean_edit(found: EditJson) -> dict[str, Any]:
    """An edit without the job if it is on a branch: the job is unchanged, and `proposed` has its future state."""
    told: dict[str, Any] = {name: value for name, value in found.items() if value is not None and name != "job"}
    if found["job"] is not None and found["applied"] != "pending_branch":
        told["job"] = lean_job(found["job"])
    if found["proposed"] is not None:
        told["proposed"] = lean_proposed(found["proposed"])
    return told
