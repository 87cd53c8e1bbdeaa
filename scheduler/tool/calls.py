"""The actions of the tool: each makes one service call and answers with JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scheduler.core.edits.written import value_of
from scheduler.core.values.access import Caller
from scheduler.core.values.events import EventKind
from scheduler.core.values.problems import SchedulerError, UsageError
from scheduler.core.values.runs import Run, RunStatus
from scheduler.core.values.settings import ROOT_FILE
from scheduler.core.values.texts import TextError
from scheduler.core.views import run_json, task_json
from scheduler.run.local.cancel import Cancel
from scheduler.service.accounts import resume_account
from scheduler.service.channels import channels, deliveries, delivery, rehearse_channel, retry_delivery, try_channel
from scheduler.service.edit.drafts import Target
from scheduler.service.edit.permission import need_permission
from scheduler.service.edit.verbs import create_job, delete_job, move_job, roll_back, update_job
from scheduler.service.first import never_synced
from scheduler.service.history import (
    explain_run_of,
    explain_slots,
    history,
    output,
    present_task,
    run_of,
    run_to_read,
    show_run,
    task,
)
from scheduler.service.instants import with_instants
from scheduler.service.jobs import list_jobs, next_fires, show_job
from scheduler.service.pause import pause_job, resume_job
from scheduler.service.review.review import review
from scheduler.service.root import Root
from scheduler.service.run import cancel_run, dry_run_job, run_job
from scheduler.service.status import status
from scheduler.service.sync import plan_sync, sync, validate
from scheduler.service.versions import diff, list_versions, log
from scheduler.tool.arguments import EDIT_TOOL, Call, EditCall, read_call
from scheduler.tool.lean import cut_result, lean, lean_edit, lean_fires, lean_show, lean_status, short_list, short_run
from scheduler.tool.reach import check_reach, sees

if TYPE_CHECKING:
    from scheduler.core.changes import EditJson
    from scheduler.sync.synced import SyncReport

Json = Mapping[str, Any]
MOST_TEXT = 16_384  # characters per stream; the end is the informative part
MOST_SHOWN = 2_000  # characters of the task shown by `show`
_JOBS, _RUNS, _ENTRIES = 25, 10, 20
_LOOK_S = 0.2
_NAMES = {"from": "since", "to": "until"}  # verb arguments that have another name in a call
_OF_JOBS = ("list", "show", "next", "history", "explain")  # actions that know no jobs before the first sync
_FLOW = re.compile(r"schedule: (\{[^{}]*\})")
WAITS = ("run", "cancel", "test_channel")  # can take as long as a run, or as a service that does not answer


def answer(
    root: Root, arguments: Mapping[str, Any], cancel: Cancel, tool: str = EDIT_TOOL, caller: Caller | None = None
) -> Json:
    """Carry out a tool call. Blocks for an edit, a sync, or a run that is waited for.

    cancel: stops the wait. If no daemon carries out the run, the run itself is stopped.
    caller: who asks over HTTP; None for whoever started the server, who may do what `agents` allows.
    Raises: SchedulerError.
    """
    call = read_call(arguments, tool)
    if caller is not None:
        check_reach(root, call, caller)
        call = replace(call, caller=caller)
    notes: list[str] = []
    asked = replace(root, tell=notes.append)
    found = _ACTIONS[call.action](asked, _with_instants(asked, call), cancel)
    if call.action in _OF_JOBS and never_synced(root):
        said = "these jobs are read from its files" if call.action == "list" else "no jobs are known yet"
        notes.append(f"this root has never been synced: {said}")
    return {**found, "notes": list(dict.fromkeys(notes))} if notes else found


def _with_instants(root: Root, call: Call) -> Call:
    """The call, with instants resolved."""
    return replace(call, given=call.given.model_copy(update=with_instants(root, dict(call.given))))


def error_json(error: SchedulerError) -> Json:
    """An error as JSON, with a hint for the agent."""
    kind = {2: "usage", 3: "refused"}.get(error.exit_code, "unavailable")
    message, hint = error.told(
        lambda argument: _NAMES.get(argument, argument),
        lambda name, value: f'"{name}": {json.dumps(value, ensure_ascii=False)}',
    )
    hint = _FLOW.sub(lambda found: f"schedule: {_as_json(found[1])}", hint)
    return {"error": {"kind": kind, "message": message, "hint": hint}}


def _as_json(schedule: str) -> str:
    try:
        return json.dumps(value_of(schedule), ensure_ascii=False)
    except TextError:
        return schedule


def _list(root: Root, call: Call, _: Cancel) -> Json:
    given = call.given
    found = list_jobs(root, status=given.status, tag=given.tag, problems=given.problems, full=given.full)
    archived = "archived" in (given.status or "").split(",")
    jobs = [job for job in found["jobs"] if job["status"] != "archived" or archived]
    if call.caller is not None and call.caller.jobs:
        jobs = [job for job in jobs if sees(call.caller, job["id"], job["tags"])]
        found = {**found, "summary": {}, "problems": [], "troubles": []}
    most = given.n or _JOBS
    left_out = max(0, len(jobs) - most)
    if given.full:
        return {**found, "jobs": jobs[:most], "left_out": left_out}
    return {**short_list(found, jobs[:most]), **({"left_out": left_out} if left_out else {})}


def _show(root: Root, call: Call, _: Cancel) -> Json:
    given = call.given
    if given.run is not None:
        found = show_run(root, _run_id(root, given.run))
        return {**found, "run": lean(cut_result(found["run"])), "last_lines": lean(found["last_lines"])}
    told = lean_show(show_job(root, given.job))
    try:
        return {**told, **_cut(present_task(root, given.job)["task"], 0, MOST_SHOWN)}
    except SchedulerError as error:
        return {**told, "no_task": str(error)}


def _task(root: Root, call: Call, _: Cancel) -> Json:
    given = call.given
    found = present_task(root, given.job) if given.job is not None else task_json(*task(root, _run_id(root, given.run)))
    return {**lean(found), **_cut(found["task"], given.offset, MOST_TEXT)}


def _cut(text: str, offset: int, most: int) -> Json:
    """A part of a text that is to be written back whole. The answer says what is left out and how to read it."""
    part = text[offset : offset + most]
    left = len(text) - offset - len(part)
    if left <= 0:
        return {"task": part}
    return {"task": part, "task_cut": f"{left:,} more characters: action task, offset {offset + len(part)}"}


def _run_id(root: Root, name: str) -> str:
    """The id of a run, or of the newest started run of a job."""
    return run_to_read(root, name).id


def _next(root: Root, call: Call, _: Cancel) -> Json:
    given = call.given
    jobs = [*dict.fromkeys([*([] if given.job is None else [given.job]), *given.jobs])]
    count = given.n if given.n is not None or given.until is None else 1_000
    return {"fires": lean_fires(next_fires(root, jobs, count=count, start=given.since, until=given.until)["fires"])}


def _history(root: Root, call: Call, _: Cancel) -> Json:
    given = call.given
    status = None if given.status is None else RunStatus(given.status)
    found = history(root, given.job, count=given.n or _RUNS, status=status, since=given.since, failed=given.failed)
    runs = [cut_result(run) if given.full else short_run(run) for run in found["runs"]]
    return {"runs": runs, **({"more": True} if found["more"] else {})}


def _output(root: Root, call: Call, _: Cancel) -> Json:
    run, stdout, stderr = output(root, _run_id(root, call.given.run or call.given.job))
    texts = {"stdout": stdout.decode(errors="replace"), "stderr": stderr.decode(errors="replace")}
    cut = {name: len(text) - MOST_TEXT for name, text in texts.items() if len(text) > MOST_TEXT}
    told = {name: text[-MOST_TEXT:] for name, text in texts.items()}
    return {"run_id": run.id, **told, "characters_left_out_before": cut, "truncated": run.truncated}


def _explain(root: Root, call: Call, _: Cancel) -> Json:
    found = _explained(root, call.given)
    lists = ("evidence", "exceptions", "beside")
    return {**found, **{name: [lean(each) for each in found[name]] for name in lists if name in found}}


def _explained(root: Root, given: Any) -> Json:
    if (given.job is None) == (given.run is None):
        raise UsageError("explain needs either a job or a run", hint="give job, or run as JOB:N")
    times = [name for name in ("at", "since", "until") if getattr(given, name) is not None]
    if given.run is not None:
        if times:
            raise UsageError(
                f"{given.run} is a single run, which has its own time", hint=f"leave out {', '.join(times)}"
            )
        return explain_run_of(root, _run_id(root, given.run))
    return explain_slots(root, given.job, at=given.at, start=given.since, until=given.until)


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
        told["not_read"] = f"{ROOT_FILE} is missing or invalid; see problems"
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
        root.tell("no daemon is running, so the run was executed here, and this answer waited for its end")
    while given.wait and not run.status.finished and not cancel.wait(_LOOK_S):
        run = run_of(root, run.id)
    return {"run": lean(cut_result(run_json(run)))}


def _pause(root: Root, call: Call, _: Cancel) -> Json:
    given = call.given
    if given.next and given.until is not None:
        raise UsageError("next and until cannot be combined", hint="leave until out")
    need_permission(root, "pause", given.job)
    return lean_show(pause_job(root, given.job, reason=given.reason, until=given.until, one_slot=given.next))


def _resume(root: Root, call: Call, _: Cancel) -> Json:
    job, account = call.given.job, call.given.account
    if (job is None) == (account is None):
        what = "job or account is missing" if job is None else "job and account are both given"
        raise UsageError(f"resume: {what}", hint="write job: heartbeat, or account: NAME")
    need_permission(root, "resume", job)
    return lean(resume_account(root, account)) if job is None else lean_show(resume_job(root, job))


def _cancel(root: Root, call: Call, _: Cancel) -> Json:
    run = run_of(root, call.given.run)
    need_permission(root, "cancel", run.job_id)
    return {"run": lean(cut_result(run_json(cancel_run(root, run.id))))}


def _sync(root: Root, _: Call, __: Cancel) -> Json:
    """Sync without confirming what the guard holds back and without overriding a hold: those need a person."""
    need_permission(root, "sync")
    return _synced(sync(root))


def _deliveries(root: Root, call: Call, _: Cancel) -> Json:
    given = call.given
    found = deliveries(root, given.job, channel=given.channel, failed=given.failed, count=given.n or _RUNS)
    return {"deliveries": [lean(each) for each in found["deliveries"]]}


def _test_channel(root: Root, call: Call, cancel: Cancel) -> Json:
    given = call.given
    if given.dry_run:
        return lean(rehearse_channel(root, given.channel, EventKind(given.kind)))
    need_permission(root, "test_channel")
    return lean(try_channel(root, given.channel, EventKind(given.kind), wait=cancel.wait))


def _retry_delivery(root: Root, call: Call, _: Cancel) -> Json:
    need_permission(root, "retry_delivery")
    number = call.given.id
    if (job_id := delivery(root, number)["job_id"]) is not None:
        need_permission(root, "retry_delivery", job_id)
    return lean(retry_delivery(root, number))


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
        raise UsageError(f"{twice[0]} is given both in set and outside it", hint="give it once")
    task = _text_of(keys)
    changes, target = {**keys, **given.set}, _target(given)
    return lean_edit(
        update_job(
            root, given.job, changes=changes, unset=given.unset, task=task, if_version=given.if_version, target=target
        )
    )


def _create(root: Root, call: Call, _: Cancel) -> Json:
    given, keys = call.given, dict(call.keys)
    task = _text_of(keys)
    return lean_edit(create_job(root, given.job, changes=keys, task=task, path=given.path, target=_target(given)))


def _text_of(keys: dict[str, Any]) -> str | None:
    """Take the text of the task out of the keys. A value that is not text stays there, for the reader to refuse."""
    return keys.pop("task") if isinstance(keys.get("task"), str) else None


def _edit(verb: Callable[..., EditJson]) -> Callable[[Root, Call, Cancel], Json]:
    """An action that edits. The fields of its shape are the arguments of the verb, plus the target."""

    def edit(root: Root, call: Call, _: Cancel) -> Json:
        asked = call.given.model_dump(exclude={"job", "commit", "branch", "message"})
        return lean_edit(verb(root, call.given.job, **asked, target=_target(call.given)))

    return edit


_ACTIONS: Mapping[str, Callable[[Root, Call, Cancel], Json]] = {
    "status": lambda root, *_: lean_status(status(root)),
    "list": _list,
    "show": _show,
    "next": _next,
    "history": _history,
    "log": lambda root, call, _: log(root, call.given.job, count=call.given.n or _ENTRIES),
    "diff": lambda root, call, _: diff(root, call.given.before, call.given.after).json,
    "versions": lambda root, call, _: list_versions(root, call.given.job, count=call.given.n or _ENTRIES),
    "output": _output,
    "task": _task,
    "explain": _explain,
    "validate": _validate,
    "plan": _plan,
    "run": _run,
    "pause": _pause,
    "resume": _resume,
    "cancel": _cancel,
    "sync": _sync,
    "channels": lambda root, *_: {"channels": [lean(each) for each in channels(root)["channels"]]},
    "deliveries": _deliveries,
    "test_channel": _test_channel,
    "retry_delivery": _retry_delivery,
    "update": _update,
    "create": _create,
    "delete": _edit(delete_job),
    "mv": _edit(move_job),
    "rollback": _edit(roll_back),
}
