"""The output of `show RUN`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from scheduler.cli import render
from scheduler.cli.group import Globals, printed, say
from scheduler.core.values.texts import counted

if TYPE_CHECKING:
    from scheduler.core.answers import DeliveryJson, FreshTreeJson, RunJson, ShowRunJson


_ANSWER_LINES = 12


def print_run(given: Globals, found: ShowRunJson) -> None:
    """Print one run on one screen."""
    if printed(given, found):
        return
    run = found["run"]
    times = {name: render.local_time(run[name]) for name in ("started_at", "finished_at", "retry_at") if run[name]}
    lines = {
        "status": run["status"] + (f"/{run['reason']}" if run["reason"] else ""),
        "class": run["end_class"] if run["end_class"] not in ("ok", "task", run["reason"]) else None,
        "error": run["error"],
        "exit code": run["exit_code"],
        "why": render.in_zone(found["why"]),
        "requested": None if run["fire_time"] else render.local_time(run["requested_at"]),
        "started": times.get("started_at"),
        "finished": times.get("finished_at"),
        "took": render.duration(run["duration_ms"]) if run["duration_ms"] is not None else None,
        "next try": times.get("retry_at"),
        "engine": None if run["engine"] == "local" else f"{run['engine']}, queue {run['task_queue']}",
        "host": run["host"],
        "elsewhere": _elsewhere_text(run),
        "task": f"{run['source_path']}, {render.short_hash(run['task_sha256'])}" if run["task_sha256"] else None,
        "check": f"printed {render.short_hash(run['check_sha256'])}, added to the text"
        if run["check_sha256"]
        else None,
        "commit": _run_commit(run),
        "generation": run["generation"],
        "changed": _changed_text(run["worktree"]),
        "branch": _branch_text(run["worktree"]),
        "worktree": run["worktree"]["folder"] if run["worktree"] else None,
        "cost": f"{render.money(run['cost']['amount'], run['cost']['currency'])}, {run['cost']['basis']}"
        if run["cost"] is not None
        else None,
        "tokens": render.tokens(run["tokens"]),
        "model": _model_text(run),
        "session": run["session"],
        "resume": shlex.join(run["resume"]) if run["resume"] else None,
        "limit": run["limit"],
        "resets": render.local_time(run["reset_at"]) if run["reset_at"] else None,
        "denied": ", ".join(run["denied"]),
        "unreadable": "; ".join(run["misfits"]),
    }
    click.echo(run["id"])
    render.print_fields({name: value for name, value in lines.items() if value not in (None, "")})
    for i, delivery in enumerate(run["deliveries"]):
        render.print_fields({"deliveries" if i == 0 else "": _delivery_text(delivery)})
    for i, attempt in enumerate(run["attempts"] if len(run["attempts"]) > 1 else ()):
        ended = attempt["status"] + (f"/{attempt['reason']}" if attempt["reason"] else "")
        code = "" if attempt["exit_code"] is None else f", exit code {attempt['exit_code']}"
        when = render.local_time(attempt["started_at"])
        host = f", on {attempt['host']}" if attempt["host"] else ""
        render.print_fields({"attempts" if i == 0 else "": f"{attempt['n']}: {ended}{code}, {when}{host}"})
    if run["result_format"] not in (None, "text"):
        answer = (run["result"] or "").strip().splitlines()
        _print_lines("answer", [*answer[:_ANSWER_LINES], *(["…"] if len(answer) > _ANSWER_LINES else [])])
    for stream, last in found["last_lines"].items():
        if stream == "stderr" or run["result_format"] in (None, "text"):
            _print_lines(stream, last)
    if run["output_bytes"] and not any(found["last_lines"].values()):
        say(given, "the output has been deleted")
    elif run["output_bytes"]:
        say(
            given,
            f"`scheduler output {run['id']}` prints all of it, `scheduler task {run['id']}` the text it was given",
        )


def _print_lines(name: str, lines: Sequence[str]) -> None:
    for i, line in enumerate(lines):
        render.print_fields({name if i == 0 else "": line})


def _model_text(run: RunJson) -> str | None:
    asked, served = run["model_asked"], run["model_served"]
    if served is None:
        return None if asked is None else f"{asked}, asked for"
    if run["other_model"]:
        return f"{served}, but {asked} was asked for"
    return served


def _elsewhere_text(run: RunJson) -> str | None:
    """How a slot that another control plane serves ended there."""
    found = run["elsewhere"]
    if found is None:
        return None
    host = f" on {found['host']}" if found["host"] else ""
    return f"{found['status'] or 'not over yet'}{host}, by database {found['database'][:12]}"


def _run_commit(run: RunJson) -> str:
    if not run["revision"]:
        return run["no_provenance"] or ""
    return render.short_hash(run["revision"]) + (f" ({run['dirty']})" if run["dirty"] else "")


def _changed_text(tree: FreshTreeJson | None) -> str | None:
    """Like `git diff --shortstat`. None if it is not known."""
    if tree is None or tree["files"] is None:
        return None
    lines = f"{counted(tree['insertions'] or 0, 'insertion')}, {counted(tree['deletions'] or 0, 'deletion')}"
    return f"{counted(tree['files'], 'file')}, {lines}" if tree["files"] else "nothing"


def _branch_text(tree: FreshTreeJson | None) -> str | None:
    """The branch of a worktree. None if it went with its folder."""
    if tree is None or (tree["folder"] is None and not tree["commits"]):
        return None
    of = f", {counted(tree['commits'], 'commit')}" if tree["commits"] else ""
    return f"{tree['branch']}{of}, from {render.short_hash(tree['commit'])}"


def _delivery_text(delivery: DeliveryJson) -> str:
    tried = f" ({delivery['error']})" if delivery["error"] and delivery["status"] == "pending" else ""
    return f"{delivery['event']} to {delivery['channel']}: {delivery['status']}{tried}"
