"""What each action of the tool does: one call of the service, and its answer as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scheduler.core.values.problems import SchedulerError, UsageError
from scheduler.core.values.runs import Run, RunStatus
from scheduler.core.values.settings import ROOT_FILE
from scheduler.core.views import run_json, task_json
from scheduler.run.local.cancel import Cancel
from scheduler.service.edit.drafts import Target
from scheduler.service.edit.permission import need_permission
from scheduler.service.edit.verbs import create_job, delete_job, move_job, roll_back, update_job
from scheduler.service.first import never_synced
from scheduler.service.history import explain_job, history, output, run_of, task
from scheduler.service.jobs import list_jobs, next_fires, show_job
from scheduler.service.pause import pause_job, resume_job
from scheduler.service.review.review import review
from scheduler.service.root import Root
from scheduler.service.run import cancel_run, dry_run_job, run_job
from scheduler.service.sync import plan_sync, sync, validate
from scheduler.service.versions import diff, list_versions, log
from scheduler.tool.arguments import Call, EditCall, read_call

if TYPE_CHECKING:
    from scheduler.core.answers import EditJson
    from scheduler.sync.synced import SyncReport

Json = Mapping[str, Any]
MOST_TEXT = 16_384  # characters of one stream; the end is what tells
MOST_RESULT = 1_000  # characters of the result of each run in a history
_JOBS, _RUNS, _ENTRIES = 100, 10, 20
_LOOK_S = 0.2
_NAMES = {"from": "since", "to": "until"}  # arguments of verbs that have another name in a call
EDITS = ("update", "create", "delete", "mv", "rollback")
WAITS = ("run", "cancel")  # may take as long as a run


def answer(root: Root, arguments: Mapping[str, Any], cancel: Cancel) -> Json:
    """Does what a call asks for. Blocks: for an edit, a sync, or a run that is waited for.

    cancel: asks to wait no longer; a run that is carried out here, for want of a daemon, is ended.
    Raises: SchedulerError.
    """
    call = read_call(arguments)
    notes: list[str] = []
    asked = replace(root, tell=notes.append)
    found = _ACTIONS[call.action](asked, call, cancel)
    if call.action in ("list", "show", "next", "history", "explain") and never_synced(root):
        said = "these jobs are what its files say" if call.action == "list" else "no job is known yet"
        notes.append(f"this root was never synced: {said}")
    return {**found, "notes": list(dict.fromkeys(notes))} if notes else found


def error_json(error: SchedulerError) -> Json:
    """An error that can be acted on."""
    kind = {2: "usage", 3: "refused"}.get(error.exit_code, "unavailable")
    message, hint = error.told(lambda argument: _NAMES.get(argument, argument))
    return {"error": {"kind": kind, "message": message, "hint": hint}}


def _list(root: Root, call: Call, _: Cancel) -> Json:
    given = call.given
    found = list_jobs(root, status=given.status, tag=given.tag, problems=given.problems)
    jobs = [job for job in found["jobs"] if job["status"] != "archived" or given.status == "archived"]
    most = given.n or _JOBS
    return {**found, "jobs": jobs[:most], "left_out": max(0, len(jobs) - most)}


def _next(root: Root, call: Call, _: Cancel) -> Json:
    given = call.given
    count = given.n if given.n is not None or given.until is None else 1_000
    return next_fires(root, given.jobs, count=count, start=given.since, until=given.until)


def _history(root: Root, call: Call, _: Cancel) -> Json:
    given = call.given
    status = None if given.run_status is None else RunStatus(given.run_status)
    found = history(root, given.job, count=given.n or _RUNS, status=status)
    return {"runs": [_shortened(run) for run in found["runs"]]}


def _shortened(run: Json) -> Json:
    result = run["result"]
    if isinstance(result, str) and len(result) > MOST_RESULT:
        return {**run, "result": result[:MOST_RESULT], "result_cut": True}
    return run


def _output(root: Root, call: Call, _: Cancel) -> Json:
    run, stdout, stderr = output(root, call.given.run)
    texts = {"stdout": stdout.decode(errors="replace"), "stderr": stderr.decode(errors="replace")}
    cut = {name: len(text) - MOST_TEXT for name, text in texts.items() if len(text) > MOST_TEXT}
    told = {name: text[-MOST_TEXT:] for name, text in texts.items()}
    return {"run_id": run.id, **told, "characters_left_out_before": cut, "truncated": run.truncated}


def _validate(root: Root, call: Call, _: Cancel) -> Json:
    problems = validate(root, [root.place.root / path for path in call.given.paths])
    return {"problems": [problem.to_json() for problem in problems]}


def _plan(root: Root, call: Call, _: Cancel) -> Json:
    given = call.given
    if given.base is None and given.head is None:
        return _synced(plan_sync(root))
    return _synced(review(root, base=given.base or "HEAD", head=given.head))


def _synced(found: SyncReport) -> Json:
    told: dict[str, Any] = {**found.json}
    if not found.read:
        told["not_read"] = f"{ROOT_FILE} cannot be used; problems says why"
    return told


def _run(root: Root, call: Call, cancel: Cancel) -> Json:
    given = call.given
    if given.dry_run:
        return dry_run_job(root, given.job, task_of=given.task_of)
    need_permission(root, "run", given.job)
    here: list[str] = []

    def claimed(run: Run, runs_here: bool) -> None:
        if runs_here:
            here.append(run.id)

    run = run_job(root, given.job, cancel=cancel, wait=False, claimed=claimed, task_of=given.task_of)
    if here:
        root.tell("no daemon is running: it ran here, and this answer has waited for its end")
    while given.wait and not run.status.finished and not cancel.wait(_LOOK_S):
        run = run_of(root, run.id)
    return {"run": _shortened(run_json(run))}


def _pause(root: Root, call: Call, _: Cancel) -> Json:
    given = call.given
    if given.next and given.until is not None:
        raise UsageError("next says itself how long the pause is", hint="leave until out")
    need_permission(root, "pause", given.job)
    return pause_job(root, given.job, reason=given.reason, until=given.until, one_slot=given.next)


def _resume(root: Root, call: Call, _: Cancel) -> Json:
    need_permission(root, "resume", call.given.job)
    return resume_job(root, call.given.job)


def _cancel(root: Root, call: Call, _: Cancel) -> Json:
    run = run_of(root, call.given.run)
    need_permission(root, "cancel", run.job_id)
    return {"run": _shortened(run_json(cancel_run(root, run.id)))}


def _sync(root: Root, _: Call, __: Cancel) -> Json:
    """Neither confirms what the guard holds back nor goes past a hold: those ask a person."""
    need_permission(root, "sync")
    return _synced(sync(root))


def _target(given: EditCall) -> Target:
    return Target(commit=given.commit, branch=given.branch, message=given.message)


def _update(root: Root, call: Call, _: Cancel) -> Json:
    given, keys = call.given, dict(call.keys)
    if not (keys or given.set or given.unset):
        raise UsageError(
            "update changes nothing: no key of the job was given",
            hint="give one beside job, such as task, schedule, name or enabled; or set or unset",
        )
    twice = [name for name in given.set if name in keys]
    if twice:
        raise UsageError(f"{twice[0]} is given beside set and in it", hint="give it once")
    task = _text_of(keys)
    return update_job(
        root,
        given.job,
        changes={**keys, **given.set},
        unset=given.unset,
        task=task,
        if_version=given.if_version,
        target=_target(given),
    )


def _create(root: Root, call: Call, _: Cancel) -> Json:
    given, keys = call.given, dict(call.keys)
    task = _text_of(keys)
    return create_job(root, given.job, changes=keys, task=task, path=given.path, target=_target(given))


def _text_of(keys: dict[str, Any]) -> str | None:
    """Takes the text of the task out of the keys; what is none stays there, for the reader to refuse."""
    return keys.pop("task") if isinstance(keys.get("task"), str) else None


def _edit(verb: Callable[..., EditJson]) -> Callable[[Root, Call, Cancel], Json]:
    """An edit whose shape names the arguments of its verb, beside where it goes."""

    def edit(root: Root, call: Call, _: Cancel) -> Json:
        asked = call.given.model_dump(exclude={"job", "commit", "branch", "message"})
        return verb(root, call.given.job, **asked, target=_target(call.given))

    return edit


_ACTIONS: Mapping[str, Callable[[Root, Call, Cancel], Json]] = {
    "list": _list,
    "show": lambda root, call, _: show_job(root, call.given.job),
    "next": _next,
    "history": _history,
    "log": lambda root, call, _: log(root, call.given.job, count=call.given.n or _ENTRIES),
    "diff": lambda root, call, _: diff(root, call.given.before, call.given.after).json,
    "versions": lambda root, call, _: list_versions(root, call.given.job, count=call.given.n or _ENTRIES),
    "output": _output,
    "task": lambda root, call, _: task_json(*task(root, call.given.run)),
    "explain": lambda root, call, _: explain_job(root, call.given.job, at=call.given.at),
    "validate": _validate,
    "plan": _plan,
    "run": _run,
    "pause": _pause,
    "resume": _resume,
    "cancel": _cancel,
    "sync": _sync,
    "update": _update,
    "create": _create,
    "delete": _edit(delete_job),
    "mv": _edit(move_job),
    "rollback": _edit(roll_back),
}
