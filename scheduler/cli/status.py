"""The command for the status of a root: status."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from scheduler.cli import render
from scheduler.cli.group import Globals, cli, end, end_will_be, global_options, printed
from scheduler.core.past.why import trigger_words
from scheduler.core.values.texts import counted
from scheduler.service.status import status

if TYPE_CHECKING:
    from scheduler.core.answers import DaemonJson, FailingJson, NeedJson, ReachJson, StatusJson, StatusRunJson

_SHOWN = 5  # rows per section
_LABEL = 9
_SAID = {"guarded": "held by the guard"}  # of the summary


@cli.command("status")
@click.option("--exit-code", is_flag=True, help="Exit 1 if anything needs a person.")
@global_options
def status_command(given: Globals, exit_code: bool) -> None:
    """Show the state of everything on one screen.

    Daemon, running, failing, overdue and waiting jobs, next fires, channels, troubles. The last line says what needs a
    person.
    """
    root = given.find_root()
    found = status(root)
    code = end_will_be(found["exit_code"] if exit_code else 0)
    if not printed(given, found):
        for line in status_lines(found, root.clock.now(), coloured=render.in_colour(sys.stdout)):
            click.echo(fitted(line))
    end(code)


def status_lines(found: StatusJson, now: datetime, *, coloured: bool = False) -> Iterator[str]:
    """The screen, line by line: section after section, each with at most five rows."""
    yield _line("daemon", daemon_text(found["daemon"]), found["daemon"]["severity"], coloured)
    if found["daemon"]["hint"]:
        yield _line(" ", found["daemon"]["hint"])
    yield _line("jobs", _jobs_text(found))
    yield from _rows("running", [_running_row(run, now) for run in found["running"]], "list --status running", coloured)
    yield from _rows("queued", [_queued_row(run, now) for run in found["queued"]], "list", coloured)
    yield from _rows(
        "failing",
        [(each["run"] or each["id"], _failing_text(each, now)) for each in found["failing"]],
        "list --status failing",
        coloured,
    )
    yield from _rows(
        "stopped",
        [(each["id"] or "", f"{each['reason']}, {render.ago(each['at'], now)}") for each in found["stopped"]],
        "list --status stopped",
        coloured,
    )
    overdue = [(each["id"], render.in_zone(each["message"])) for each in found["overdue"]]
    yield from _rows("overdue", overdue, "list", coloured)
    waiting = [(each["id"], render.in_zone(each["message"])) for each in found["waiting"]]
    yield from _rows("waiting", waiting, "list --status waiting", coloured)
    for kind in ("paused", "budget", "token"):  # what has no section of its own
        needs = [(each["job_id"] or "", _need_text(each, now)) for each in found["needs"] if each["kind"] == kind]
        yield from _rows(kind, needs, "list", coloured)
    yield from _rows(
        "next",
        [
            (each["job_id"], f"{render.ahead(each['fire_time'], now)}, {render.local_time(each['fire_time'])}")
            for each in found["next"]
        ],
        "next",
        coloured,
    )
    yield from _channel_lines(found["channels"], now, coloured)
    message, hint = found["daemon"]["message"], found["daemon"]["hint"]
    shown = [each for each in found["troubles"] if each not in (message, f"{message}; {hint}")]
    if found["summary"]["guarded"]:
        shown.append("the guard holds jobs that would be archived; `scheduler sync` names the ways out")
    if held := found["summary"]["held"]:
        shown.append(f"sync is held: {held}")
    if found["never_synced"]:
        shown.append("this root has never been synced; run `scheduler sync`")
    yield from _rows("trouble", [("", render.in_zone(each)) for each in shown], "doctor", coloured)
    if found["attention"]:
        yield _line("", f"needs attention: {', '.join(found['attention'])}", "error", coloured)
    else:
        yield _line("", "nothing needs attention", "ok", coloured)


def _need_text(need: NeedJson, now: datetime) -> str:
    until = "" if need["until"] is None or need["kind"] == "budget" else f", {render.ago(need['until'], now)}"
    return f"{render.in_zone(need['text'])}{until}"


def _channel_lines(found: ReachJson, now: datetime, coloured: bool) -> Iterator[str]:
    """One line for all channels, and one for each that is dead. Nothing without channels and pings."""
    if found["total"] or found["waiting"] or found["dead"]:
        waiting = f"; {counted(found['waiting'], 'message')} waiting" if found["waiting"] else ""
        since = f", the oldest from {render.ago(found['oldest_at'], now)}" if found["oldest_at"] else ""
        yield _line("channels", f"{found['total']}{waiting}{since}")
    dead = [
        (each["name"] or f"ping of {each['job_id']}", f"for {render.lasting(each['since'], now)}: {each['error']}")
        for each in found["dead"]
    ]
    yield from _rows("dead", dead, "channels list", coloured)


def _line(label: str, text: str, mark: str = "", coloured: bool = False) -> str:
    padded = f"{label:<{_LABEL}}" if label else ""
    shown = render.clean(text)
    return padded + (render.painted(shown, mark) if coloured and mark else shown)


def _rows(label: str, rows: Sequence[tuple[str, str]], more: str, coloured: bool) -> Iterator[str]:
    width = max((len(name) for name, _ in rows[:_SHOWN]), default=0)
    for i, (name, text) in enumerate(rows[:_SHOWN]):
        shown = f"{name:<{width}}  {text}" if width else text
        first = render.painted(f"{label:<{_LABEL}}", label) if coloured else f"{label:<{_LABEL}}"
        yield (first if i == 0 else " " * _LABEL) + render.clean(shown)
    if len(rows) > _SHOWN:
        yield f"{'':<{_LABEL}}and {len(rows) - _SHOWN} more: scheduler {more}"


def daemon_text(daemon: DaemonJson) -> str:
    if daemon["state"] == "serving":
        return f"serving since {render.local_time(daemon['since'])}, process {daemon['pid']} on {daemon['host']}"
    return render.in_zone(daemon["message"])


def _jobs_text(found: StatusJson) -> str:
    summary = found["summary"]
    words = ("active", "waiting", "paused", "stopped", "disabled", "manual", "completed", "invalid", "guarded")
    counts = ", ".join(f"{summary[word]} {_SAID.get(word, word)}" for word in words if summary[word])
    return f"{summary['total']}: {counts}" if counts else "none"


def _running_row(run: StatusRunJson, now: datetime) -> tuple[str, str]:
    took = render.lasting(run["started_at"], now) if run["started_at"] else "starting"
    attempt = f", attempt {run['attempt']}" if run["attempt"] > 1 else ""
    where = f", on {run['host']}" if run["host"] else ""
    if run["task_queue"] and not run["started_at"]:
        took = f"waits for a worker of queue {run['task_queue']}"
    return run["id"], f"{took}, {trigger_words(run['trigger'], run['requested_by'])}{attempt}{where}"


def _queued_row(run: StatusRunJson, now: datetime) -> tuple[str, str]:
    if run["retry_at"]:
        return run["id"], f"retry {render.ahead(run['retry_at'], now)}"
    return run["id"], f"waiting for {render.lasting(run['requested_at'], now)}"


def _failing_text(failing: FailingJson, now: datetime) -> str:
    how, ago = failing["reason"] or failing["status"] or "failed", render.ago(failing["at"], now)
    error = f": {render.first_line(failing['error'])}" if failing["error"] else ""
    return f"{failing['consecutive_errors']} in a row, {how} {ago}{_cause_text(failing)}{error}"


def _cause_text(failing: FailingJson) -> str:
    """The change just before the failures, in words."""
    change = failing["change"]
    if change is None:
        return ""
    commit = change["commit"]
    by = f" by {commit['author']}, {render.short_hash(commit['id'])} {commit['subject']!r}" if commit else ""
    return f", after a change of its {change['what']}{by}"


def fitted(line: str) -> str:
    """A line cut to the width of the terminal; in a pipe, the whole line."""
    if not sys.stdout.isatty():
        return line
    plain = click.unstyle(line)
    width = shutil.get_terminal_size().columns
    return line if render.cell_width(plain) <= width else render.cut(plain, width)
