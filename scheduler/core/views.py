"""The JSON shapes of interface.md, one function per shape; every face prints these."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from scheduler.core.due.budgets import Spending, Standing
from scheduler.core.due.due import next_to_fire, start_of
from scheduler.core.due.expected import Alarm
from scheduler.core.due.place import PlaceFault, holding
from scheduler.core.times.fires import coming, on_the_wall
from scheduler.core.times.words import describe
from scheduler.core.values.facts import Commit, Job, JobSummary, Pause, RunnerFile, Status, SyncState, version
from scheduler.core.values.instants import instant, on_the_clock
from scheduler.core.values.problems import Problem
from scheduler.core.values.runs import AuditRow, Run
from scheduler.core.values.settings import ROOT_FILE, channel_of, converted_file_of, is_inherited_setting, runner_of
from scheduler.core.values.spec import JobSpec, Schedule
from scheduler.core.values.units import parse_duration
from scheduler.core.values.usage import Cost, OtherModel, Tokens

if TYPE_CHECKING:  # a plan imports the file readers, which reading commands never need
    from scheduler.core import answers, changes
    from scheduler.core.past.explain import Answer
    from scheduler.core.past.presence import Presence
    from scheduler.core.past.windows import Window
    from scheduler.core.plan.action import Action
    from scheduler.core.plan.guard import Guard
    from scheduler.core.plan.plan import Plan
    from scheduler.core.spent import LimitJson, SpendingJson

Json = dict[str, Any]
NEXT_FIRES = 5


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else instant(moment)


def job_row(
    job: JobSummary,
    *,
    problems: Sequence[Problem],
    now: datetime,
    alarms: Sequence[Alarm] = (),
    lost: PlaceFault | None = None,
    running: Sequence[Run] = (),
    other_model: OtherModel | None = None,
) -> answers.JobRowJson:
    """alarms: what is overdue for it. lost: the fault of the place that it waits for.

    running: its runs that have not ended. other_model: what its last run has met.
    """
    status = job.status(now, waits=lost is not None)
    return {
        "id": job.id,
        "tags": list(job.tags),
        "schedule_text": describe(job.due_by),
        "sync_state": "archived" if job.archived else job.sync_state.value,
        "problems": problems_json(problems),
        "status": status.value,
        "paused": pause_json(job.pause if job.pause is not None and job.pause.covers(now) else None),
        "waiting": waiting_json(lost) if status is Status.WAITING else None,
        "running": [
            {"id": run.id, "status": run.status.value, "started_at": _instant(run.started_at)} for run in running
        ],
        "alarms": [
            {
                "kind": alarm.kind.value,
                "since": instant(alarm.since),
                "deadline": instant(alarm.deadline),
                "message": alarm.text(job),
            }
            for alarm in alarms
        ],
        "next_run_at": None if start_of(job) is None else _instant(job.next_run_at),
        "next_fire_at": _instant(next_to_fire(job, now)),
        "last_run_at": _instant(job.last_run_at),
        "last_run_status": job.last_run_status,
        "last_skip_at": _instant(job.last_skip_at),
        "last_skip_reason": job.last_skip_reason,
        "run_count": job.run_count,
        "consecutive_errors": job.consecutive_errors,
        "other_model": None if other_model is None else cast("answers.OtherModelJson", other_model.to_json()),
    }


def job_json(job: Job, row: answers.JobRowJson, *, task_sha256: str | None) -> answers.JobJson:
    """task_sha256: of the text that is on disk now; None if it cannot be read."""
    facts, runtime = job.file, job.runtime
    return {
        **cast("answers.SpecJson", facts.spec.to_json()),
        **row,
        "task_sha256": task_sha256,
        "source_path": facts.path,
        "source_line": facts.line,
        "generation": facts.generation,
        "version": version(facts.generation, task_sha256),
        "revision": facts.revision,
        "dirty": facts.dirty,
        "stop_reason": runtime.stop_reason,
        "activated_at": instant(facts.activated_at),
        "archived_at": _instant(facts.archived_at),
        "last_run_duration_ms": runtime.last_run_duration_ms,
        "last_run_error": runtime.last_run_error,
        "last_delivery_status": runtime.last_delivery_status,
        "created_at": instant(job.created_at),
        "created_by": job.created_by,
        "updated_at": instant(job.updated_at),
    }


def is_failing(job: answers.JobRowJson) -> bool:
    """True if the last run of a job failed or could not start, and its file is still there."""
    return job["consecutive_errors"] > 0 and job["status"] != Status.ARCHIVED


def daemon_json(found: Presence) -> answers.DaemonJson:
    return cast("answers.DaemonJson", found.to_json())


def pause_json(pause: Pause | None) -> answers.PauseJson | None:
    return None if pause is None else cast("answers.PauseJson", pause.to_json())


def waiting_json(lost: PlaceFault | None) -> answers.WaitingJson | None:
    if lost is None:
        return None
    return {
        "reason": lost.reason,
        "message": lost.message,
        "since": _instant(lost.since),
        "until": _instant(lost.until),
    }


def problems_json(problems: Iterable[Problem]) -> list[answers.ProblemJson]:
    return [cast("answers.ProblemJson", problem.to_json()) for problem in problems]


def drift_json(jobs: Iterable[Job], now: datetime) -> list[changes.DriftJson]:
    """The jobs that do not fire although their files say so, because an operator or errors keep them from it."""
    found = []
    for job in jobs:
        status, runtime = job.status(now), job.runtime
        if status is Status.PAUSED and job.pause is not None:
            held = job.pause.to_json()
        elif status is Status.STOPPED:
            held = {"reason": runtime.stop_reason, "until": None, "by": None, "at": _instant(runtime.stopped_at)}
        else:
            continue
        found.append(cast("changes.DriftJson", {"id": job.id, "status": status.value, **held}))
    return found


def list_json(
    jobs: Sequence[answers.JobRowJson],
    problems: Sequence[Problem],
    troubles: Sequence[str] = (),
    *,
    held: str | None = None,
    synced: bool = True,
) -> answers.ListJson:
    """troubles: why jobs may not fire, or why the output may be out of date, besides what is wrong in files."""
    statuses = [job["status"] for job in jobs]
    fires = [job["next_run_at"] for job in jobs if job["next_run_at"] and job["status"] == Status.ACTIVE]
    return {
        "jobs": list(jobs),
        "problems": problems_json(problems),
        "troubles": list(troubles),
        "summary": {
            "total": len(jobs),
            **{status.value: statuses.count(status.value) for status in Status},
            "running": sum(any(run["status"] != "queued" for run in job["running"]) for job in jobs),
            "failing": sum(map(is_failing, jobs)),
            "invalid": sum(job["sync_state"] in ("invalid", "conflict") for job in jobs),
            "next_fire_at": min(fires, default=None),
            "held": held,
        },
        "synced": synced,
    }


def summary_json(
    jobs: Sequence[JobSummary],
    now: datetime,
    *,
    lost: Sequence[PlaceFault] = (),
    running: Collection[str] = (),
    held: str | None = None,
) -> Json:
    """The summary of `list_json`, without a row of each job. running: the jobs that have a run under way."""
    statuses = [job.status(now, waits=bool(lost) and holding(lost, job) is not None) for job in jobs]
    fires = [
        job.next_run_at
        for job, status in zip(jobs, statuses, strict=True)
        if status is Status.ACTIVE and job.next_run_at is not None and start_of(job) is not None
    ]
    there = [job for job in jobs if not job.archived]
    return {
        "total": len(jobs),
        **{status.value: statuses.count(status) for status in Status},
        "running": sum(job.id in running for job in jobs),
        "failing": sum(job.consecutive_errors > 0 for job in there),
        "invalid": sum(job.sync_state in (SyncState.INVALID, SyncState.CONFLICT) for job in there),
        "next_fire_at": _instant(min(fires, default=None)),
        "held": held,
    }


def run_json(run: Run, deliveries: Sequence[answers.DeliveryJson] = ()) -> answers.RunJson:
    found: dict[str, Any] = {"id": run.id}
    for key, value in run.to_json().items():
        if key == "provenance":
            found |= {"source_blob": value.blob, "revision": value.revision, "dirty": value.dirty}
            found["no_provenance"] = value.why_none
        elif key not in ("n", "agent", "cost", "attempts"):
            found[key] = value
    found["attempts"] = [{**each.to_json(), "cost": cost_json(each.cost)} for each in run.attempts]
    found |= _agent_json(run)
    found["task_of"] = None if run.task_of is None else f"{run.job_id}:{run.task_of}"
    found["host"] = run.host
    return cast("answers.RunJson", {**found, "deliveries": list(deliveries)})


def _agent_json(run: Run) -> Json:
    agent = run.agent
    asked, served = (None, None) if agent is None else (agent.model_asked, agent.model_served)
    return {
        "result_format": None if run.end_class is None else "text" if agent is None else agent.format.value,
        "cost": cost_json(run.cost),
        "cost_usd": float(run.cost.amount) if run.cost is not None and run.cost.currency == "USD" else None,
        "model": served or asked,
        "model_asked": asked,
        "model_served": served,
        "other_model": agent is not None and agent.other_model,
        "session": None if agent is None else agent.session,
        "resume": None if agent is None or agent.resume is None else list(agent.resume),
        "limit": None if agent is None else agent.limit,
        "reset_at": _instant(None if agent is None else agent.reset_at),
        "denied": [] if agent is None else list(agent.denied),
        "misfits": [] if agent is None else list(agent.misfits),
    }


def tokens_json(tokens: Tokens | None) -> answers.TokensJson | None:
    return None if tokens is None else cast("answers.TokensJson", tokens.to_json())


def cost_json(cost: Cost | None) -> answers.CostJson | None:
    if cost is None:
        return None
    return {"amount": float(cost.amount), "currency": cost.currency, "basis": cost.basis.value}


def spending_json(found: Spending | None) -> SpendingJson | None:
    if found is None:
        return None
    return {
        "currency": found.currency,
        "today": amount_json(found.today),
        "this_month": amount_json(found.this_month),
        "reserved": amount_json(found.reserved),
        "limits": [limit_json(each) for each in found.standings],
        "refused": found.refused or None,
        "frees_at": _instant(found.frees_at),
    }


def limit_json(standing: Standing) -> LimitJson:
    return {
        "key": standing.key,
        "of": "root" if standing.of_root else "job",
        "limit": amount_json(standing.limit),
        "spent": amount_json(standing.spent),
        "reserved": amount_json(standing.reserved),
        "frees_at": instant(standing.frees_at),
    }


def amount_json(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def runner_files_json(found: Sequence[RunnerFile] | None) -> list[answers.RunnerFileJson] | None:
    return None if found is None else [cast("answers.RunnerFileJson", each.to_json()) for each in found]


def task_json(run: Run, text: bytes, check_output: bytes | None = None) -> answers.TaskJson:
    return {
        "run_id": run.id,
        "task": text.decode(),
        "check_output": None if check_output is None else check_output.decode(),
        "check_sha256": run.check_sha256,
        "task_sha256": run.task_sha256,
        "source_path": run.source_path,
        "revision": run.provenance.revision,
        "dirty": run.provenance.dirty,
    }


def explain_json(job_id: str, at: datetime, answer: Answer, *, held: str | None = None) -> answers.ExplainJson:
    return cast("answers.ExplainJson", {"job_id": job_id, "at": instant(at), "held": held, **answer.to_json()})


def explain_window_json(
    job_id: str, start: datetime, end: datetime, found: Window, *, held: str | None = None
) -> answers.ExplainWindowJson:
    window = {"job_id": job_id, "from": instant(start), "to": instant(end), "held": held, **found.to_json()}
    return cast("answers.ExplainWindowJson", window)


def plan_json(plan: Plan, *, now: datetime, duration_ms: int, held: str | None = None) -> changes.PlanJson:
    """The shape of `plan` and `sync`."""
    verbs = ("create", "archive", "revive")
    by_verb = {verb: [action.job_id for action in plan.actions if action.verb == verb] for verb in verbs}
    known = [action for action in plan.actions if action.before is not None and action.verb != "archive"]
    by_file = plan.users_by_file() if any(map(converted_file_of, plan.root_changes)) else {}
    return {
        "revision": plan.revision,
        "dirty": plan.dirty,
        "held": held,
        "created": by_verb["create"],
        "schedule_texts": {
            action.job_id: describe(action.after.spec.due_by)
            for action in plan.actions
            if action.verb in ("create", "revive")
        },
        "first_fires": {
            action.job_id: _instant(action.next_run_at if action.after.spec.enabled else None)
            for action in plan.actions
            if action.verb in ("create", "revive")
        },
        "updated": [_update_json(action, plan, now) for action in known if action.changes],
        "runner_pairs": [] if plan.first else [_pair_json(each) for each in plan.new_pairs],
        "moved": [
            {"id": action.job_id, "from": action.moved_from, "to": action.after.path}
            for action in known
            if action.moved_from is not None
        ],
        "archived": by_verb["archive"],
        "revived": by_verb["revive"],
        "unchanged": plan.others
        + sum(
            action.verb == "keep" and action.moved_from is None and action.task_change is None
            for action in plan.actions
            if action.after.archived_at is None
        ),
        "task_changed": [
            {
                "id": action.job_id,
                "path": action.after.spec.task_source_path or action.after.path,
                "before_sha256": action.task_change[0],
                "after_sha256": action.task_change[1],
            }
            for action in known
            if action.task_change is not None
        ],
        "root_changed": [
            _root_change_json(field, before, after, plan, by_file)
            for field, (before, after) in plan.root_changes.items()
        ],
        "problems": problems_json(plan.problems),
        "guard": None if plan.guard is None else _guard_json(plan.guard),
        "duration_ms": duration_ms,
    }


def _pair_json(action: Action) -> changes.RunnerPairJson:
    spec = action.after.spec
    found: changes.RunnerPairJson = {"id": spec.id, "runner": spec.runner}
    if spec.deliver:
        found["deliver"] = list(spec.deliver)
    if spec.ping is not None:
        found["ping"] = spec.ping
    return found


def _guard_json(guard: Guard) -> changes.GuardJson:
    return cast("changes.GuardJson", {"would_archive": len(guard.ids), **guard.to_json()})


def place_of_setting(field: str) -> str:
    """Where a root setting was changed: scheduler.yaml, or something that is not one of the root's files."""
    return {"state": "the repository", "attributes": ".gitattributes"}.get(field.partition(".")[0], ROOT_FILE)


def _root_change_json(
    field: str, before: Any, after: Any, plan: Plan, by_file: Mapping[str, Sequence[str]]
) -> changes.RootChangeJson:
    wider = widens_root(field) and not _narrows(field, before, after, plan)
    found: changes.RootChangeJson = {"field": field, "before": before, "after": after, "widens": wider}
    if (runner := runner_of(field)) is not None:
        found["jobs"] = plan.users(runner)
    elif (channel := channel_of(field)) is not None:
        found["jobs"] = plan.told(channel)
    elif (path := converted_file_of(field)) is not None:
        found["jobs"] = list(by_file.get(path, ()))
    elif is_inherited_setting(field):
        found["jobs"] = plan.followers(field)
    return found


def widens_root(field: str) -> bool:
    """True if a setting can give more power: to jobs (what runs, for how long, where), or to those who edit them."""
    first, _, rest = field.partition(".")
    return (
        field in ("alerts.deliver", "alerts.heartbeat.url")
        or first
        in (
            "state",
            "attributes",
            "runners",
            "hosts",
            "jobs",
            "channels",
            "prune",
            "worktree",
            "agents",
            "prices",
            "budget",
            "currency",
        )
        or (
            first == "defaults"
            and rest.split(".")[0]
            in ("runner", "env", "timeout", "model", "args", "workdir", "task_queue", "budget", "deliver", "ping")
        )
    )


def _narrows(field: str, before: Any, after: Any, plan: Plan) -> bool:
    """True if a change of such a setting only takes power away: a shorter timeout, a lower budget, a lost runner.

    Also a channel that is gone, and fewer of those who are told.
    """
    first, _, rest = field.partition(".")
    if (first, rest) == ("defaults", "timeout") and before and after:
        return parse_duration(after) < parse_duration(before)
    if first == "budget" or (first == "defaults" and rest.startswith("budget")):
        return before is None or (after is not None and Decimal(str(after)) < Decimal(str(before)))
    if field in ("alerts.deliver", "defaults.deliver"):
        return set(after or ()) <= set(before or ())
    if field in ("alerts.heartbeat.url", "defaults.ping"):
        return after is None
    if first == "channels":
        return not any(field.startswith(f"channels.{name}.") for name in plan.settings.channels)
    runner = runner_of(field)
    return runner is not None and plan.root_changes.get(f"runners.{runner}.command", ("", ""))[1] is None


def _update_json(action: Action, plan: Plan, now: datetime) -> changes.UpdateJson:
    from scheduler.core.plan.inherited import inherited_fields

    before, after = action.before, action.after
    assert before is not None

    def fires(enabled: bool, schedule: Schedule) -> list[str]:
        return [instant(fire) for fire in _next_fires(schedule.timing, now)] if enabled else []

    words: changes.ScheduleTextJson = {}
    if "schedule" in action.changes:
        words["schedule_text"] = {"before": describe(before.spec.due_by), "after": describe(after.spec.due_by)}
    return {
        "id": action.job_id,
        **words,
        "changes": {name: {"before": old, "after": new} for name, (old, new) in action.changes.items()},
        "next_fires": {
            "before": fires(before.spec.enabled, before.spec.due_by),
            "after": fires(after.spec.enabled, after.spec.due_by),
        },
        "widens": list(action.widens),
        "inherited": list(inherited_fields(action.changes, plan.default_changes)),
    }


@functools.lru_cache(maxsize=256)
def _next_fires(schedule: Schedule, now: datetime) -> tuple[datetime, ...]:
    """Cached: an edit often gives many jobs one schedule."""
    return tuple(coming(schedule, after=now, count=NEXT_FIRES))


def proposed_json(
    before: JobSpec | None,
    after: JobSpec,
    *,
    pause: Pause | None,
    now: datetime,
    kept: Mapping[str, Any],
    dropped: Mapping[str, Any],
) -> changes.ProposedJson:
    """What an edit makes of a job. before: the definition in force; None for a job that is new."""
    from scheduler.core.plan.action import definition_changes, widened

    paused = pause is not None and pause.covers(now)
    start = pause.until if paused and pause is not None else now
    fires = _next_fires(after.due_by, start) if after.enabled and start is not None else ()
    return {
        "schedule_text": describe(after.due_by),
        "next_fires": [fire_json(fire, after.due_by) for fire in fires],
        "changed": [] if before is None else [*definition_changes(before, after)],
        "widens": [] if before is None else list(widened(before, after)),
        "kept": kept,
        "dropped": dropped,
    }


def fire_json(fire_time: datetime, schedule: Schedule) -> answers.FireTimeJson:
    """All of a fire except its job."""
    wall = on_the_wall(schedule, fire_time)
    return {
        "fire_time": instant(fire_time),
        "local": on_the_clock(fire_time, wall.timezone)[0].isoformat(),
        "timezone": wall.timezone,
        "dst": wall.dst,
        "dst_occurrence": wall.occurrence,
    }


def audit_json(row: AuditRow) -> answers.AuditRowJson:
    return cast("answers.AuditRowJson", row.to_json())


def commit_json(commit: Commit | None) -> answers.CommitJson | None:
    return None if commit is None else cast("answers.CommitJson", commit.to_json())
