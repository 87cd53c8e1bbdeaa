"""The commands for changes over time: log, diff, versions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from scheduler.cli import render
from scheduler.cli.group import MOST, Globals, JobType, RunType, cli, global_options, printed, say
from scheduler.cli.review_text import worded
from scheduler.core.past.why import who
from scheduler.core.plan.textdiff import by_words
from scheduler.core.values.settings import runner_file_of, runner_of
from scheduler.service.versions import COUNT, diff, list_versions, log

Json = Mapping[str, Any]
_SHOWN_CHARACTERS = 60  # per value
_COUNT = click.IntRange(min=1, max=MOST)


@cli.command("log")
@click.argument("job", type=JobType())
@click.option("-n", "count", type=_COUNT, default=COUNT, help="Show the N newest (default: 50).")
@global_options
def log_command(given: Globals, job: str, count: int) -> None:
    """Show the runs and changes of a job on one timeline.

    Newest first, with commits and authors.
    """
    found = log(given.find_root(), job, count=count, prefix=given.prefix)
    if printed(given, found):
        return
    _print_timeline(found["log"])
    if found["total"] > len(found["log"]):
        say(given, f"the newest {len(found['log'])} of {found['total']}; -n shows more")


@cli.command("diff")
@click.argument("before", metavar="JOB|RUN", type=RunType())
@click.argument("after", metavar="[RUN]", required=False, type=RunType())
@global_options
def diff_command(given: Globals, before: str, after: str | None) -> None:
    """Compare two runs, or an earlier run with the job as it is.

    Shows the text and the definition. For a JOB, the earlier run is its last success.
    """
    compared = diff(given.find_root(), before, after, prefix=given.prefix)
    found = compared.json
    if printed(given, found):
        return
    old, new = found["before"], found["after"]
    click.echo(f"from {_side_text(old)}\n  to {_side_text(new)}")
    if found["runs_between"]:
        counts = ", ".join(f"{number} {status}" for status, number in found["runs_between"].items())
        click.echo(f"runs since: {counts}")
    if found["changes"]:
        click.echo()
        _print_timeline(found["changes"])
    lines = [*_definition_lines(found)]
    if lines:
        click.echo("\ndefinition")
        for line in lines:
            click.echo(f"  {render.clean(line)}")
    programs = [*_program_lines(found)]
    if programs:
        click.echo("\nfiles that the runner's command names")
        for line in programs:
            click.echo(f"  {render.clean(line)}")
    for side in (old, new):
        if side["no_text"]:
            say(given, render.clean(f"\n{side['run'] or 'now'} has no known text: {side['no_text']}".lstrip()))
    if found["text_changed"]:
        click.echo()
        if sys.stdout.isatty():
            coloured = not os.environ.get("NO_COLOR")
            for hunk in compared.hunks:
                click.echo(hunk.title)
                for line in worded(list(by_words(hunk)), coloured):
                    click.echo(line)
        else:
            click.echo(found["text_diff"], nl=False)
    elif not lines and not programs and found["text_changed"] is False:
        say(given, "text and definition are the same")


@cli.command("versions")
@click.argument("job", type=JobType())
@click.option("-n", "count", type=_COUNT, default=COUNT, help="Show the N newest (default: 50).")
@global_options
def versions_command(given: Globals, job: str, count: int) -> None:
    """List the texts that a job has run, and how they did.

    Shows the commit and author of each, when it ran, and how its runs ended.
    """
    found = list_versions(given.find_root(), job, count=count, prefix=given.prefix)
    if printed(given, found):
        return
    if not found["versions"]:
        say(given, "no text has run yet")
        return
    programs = any(each["runner_files"] for each in found["versions"])
    render.print_table(
        (
            "TEXT",
            *(("RUNNER FILES",) if programs else ()),
            "COMMIT",
            "AUTHOR",
            "FIRST FIRED",
            "LAST FIRED",
            "RUNS",
            "SUCCESS",
            "MEDIAN",
            "COST",
            "TOKENS",
            "CHANGE",
            "LAST RUN",
        ),
        [
            (
                render.short_hash(each["task_sha256"]) + (" now" if each["current"] else ""),
                *((_program_hashes(each["runner_files"]),) if programs else ()),
                _commit_text(each),
                _author(each),
                render.local_time(each["first_fired_at"]),
                render.local_time(each["last_fired_at"]),
                str(each["runs"]),
                "-" if each["success_rate"] is None else f"{each['success_rate']:.0%}",
                render.duration(each["median_duration_ms"]),
                _median_cost(each["figures"]),
                _median_tokens(each["figures"]),
                _difference_text(each),
                each["last_run"] or "-",
            )
            for each in found["versions"]
        ],
        flexible="AUTHOR",
        optional=("FIRST FIRED", "AUTHOR", "LAST RUN", "TOKENS", "COST", "MEDIAN", "CHANGE"),
    )
    if found["total"] > count:
        say(given, f"the newest {count} of {found['total']}; -n shows more")


def _median_cost(figures: Json) -> str:
    return "-" if figures["cost"] is None else render.money(figures["cost"]["value"], figures["currency"])


def _median_tokens(figures: Json) -> str:
    return "-" if figures["tokens"] is None else f"{figures['tokens']['value']:,.0f}"


def _difference_text(version: Json) -> str:
    """How it did, compared with the version that ran before it."""
    change = version["change"]
    if change is None:
        return "-"
    if all(each is None for each in change.values()):
        return "too few runs to say"
    names = {"cost": "cost", "tokens": "tokens", "duration_ms": "time"}
    found = [f"{name} {each['share']:+.0%}" for key, name in names.items() if (each := change[key]) and each["share"]]
    if (success := change["success"]) and success["by"]:
        found.append(f"success {success['by'] * 100:+.0f} points")
    return ", ".join(found) or "none"


def _print_timeline(entries: Sequence[Json]) -> None:
    if not entries:
        return
    render.print_table(
        ("AT", "WHAT", "CHANGE", "COMMIT", "AUTHOR", "SUBJECT"),
        [row for entry in entries for row in (_run_rows(entry) if entry["kind"] == "run" else _change_rows(entry))],
        flexible="CHANGE",
        optional=("SUBJECT", "AUTHOR"),
        least=30,
    )


def _run_rows(entry: Json) -> Iterator[tuple[str, ...]]:
    run, text = entry["run"], entry["text"] or {}
    said = run["status"] + (f"/{run['reason']}" if run["reason"] else "")
    if run["slots"] > 1:
        said += f", {run['slots']} slots"
    if run["trigger"] in ("manual", "rerun"):
        said += f" by {who(run['requested_by'])}"
    if run["duration_ms"] is not None:
        said += f" in {render.duration(run['duration_ms'])}"
    if run["cost"]:
        said += f" for {render.cost(run['cost'])}"
    if run["task_sha256"]:
        said += f", text {run['task_sha256'][:12]}" + (f" of {run['task_of']}" if run["task_of"] else "")
    if run["error"]:
        said += f": {render.first_line(run['error'], _SHOWN_CHARACTERS)}"
    commit = _commit_text(text)
    if commit == "-" and run["revision"]:
        commit = render.revision_text(run)
    yield render.local_time(entry["at"]), run["id"], said, commit, _author(text), ""


def _change_rows(entry: Json) -> Iterator[tuple[str, ...]]:
    """One row per field; the first has the time, the author and the cause."""
    commit = entry["commit"] or {}
    when, origin = render.local_time(entry["at"]), (_commit_text(entry), _author(entry), commit.get("subject", ""))
    for change in entry["changes"]:
        what = change["action"]
        if change["job_id"] == "@root":
            what = runner_file_of(change["field"] or "") or "scheduler.yaml"
        yield when, what, _change_text(change), *origin
        when, origin = "", ("", "", "")


def _change_text(change: Json) -> str:
    match change["action"]:
        case "create":
            return f"from {change['after']['path']}, text {render.short_hash(change['after']['task_sha256'])}"
        case "task":
            return f"text {render.short_hash(change['before'])} -> {render.short_hash(change['after'])}"
        case "commit":
            return f"its {'job file' if change['field'] == 'path' else 'task'} was {change['before']}, now committed"
    field = change["field"] or ""
    before, after = (render.field_text(field, change[side]) for side in ("before", "after"))
    before, after = render.two_sides(before, after, _SHOWN_CHARACTERS)
    name = f"for runner {runner_of(field)}:" if runner_file_of(field) is not None else field.removesuffix("_ms")
    return f"{name} {before} -> {after}".strip()


def _commit_text(origin: Json) -> str:
    """The commit that introduced something, or why none is named."""
    commit = origin.get("commit")
    return commit["id"][:7] if commit else origin.get("no_commit") or "-"


def _author(origin: Json) -> str:
    """The author of the commit. Uncommitted changes have none."""
    commit = origin.get("commit")
    if commit:
        return str(commit["author"])
    return "" if origin.get("no_commit") else str(origin.get("actor") or "")


def _side_text(side: Json) -> str:
    told = "now" if side["run"] is None else f"{side['run']}, {side['status']}, {render.local_time(side['at'])}"
    if side["cost"]:
        told += f", {render.cost(side['cost'])}"
    if side["model_served"]:
        told += f", {side['model_served']}"
    generation = "not synced yet" if side["generation"] is None else f"generation {side['generation']}"
    told += f"; {generation}, text {render.short_hash(side['task_sha256'])}"
    origin = side["text"]
    if origin is not None and (origin["commit"] or origin["no_commit"]):
        author = f" by {_author(origin)}" if origin["commit"] else ""
        told += f" ({_commit_text(origin)}{author})"
    return render.clean(told)


def _definition_lines(found: Json) -> Iterator[str]:
    for name, change in {**found["definition"], **found["runners"]}.items():
        yield f"{name.removesuffix('_ms')}: {render.change_text(name, change, schedules=found['schedule_text'])}"


def _program_lines(found: Json) -> Iterator[str]:
    for path, change in found["runner_files"].items():
        yield f"{path}: {_program(change['before'])} -> {_program(change['after'])}"


def _program(file: Json | None) -> str:
    if file is None:
        return "no file"
    dirty = f" ({file['dirty']})" if file["dirty"] else ""
    return render.short_hash(file["sha256"]) + (" executable" if file["executable"] else "") + dirty


def _program_hashes(files: Sequence[Json] | None) -> str:
    return ", ".join(render.short_hash(each["sha256"], 7) for each in files or ()) or "-"
