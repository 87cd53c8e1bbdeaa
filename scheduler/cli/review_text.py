"""A review for a terminal, and as annotations of a pull request on GitHub."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli.render import change_text, clean, github_command, github_text, setting_name, users_text
from scheduler.core.plan.textdiff import LineEdit, by_words
from scheduler.core.values.problems import Problem
from scheduler.core.values.settings import ROOT_FILE, converted_file_of, runner_file_of
from scheduler.core.views import place_of_setting

if TYPE_CHECKING:
    from scheduler.core.plan.review import TaskDiff

Json = Mapping[str, Any]
_BAR = "    \N{BOX DRAWINGS LIGHT VERTICAL} "  # so that no line of a text can begin one of the output
_MARKS = {"delete": ("[-", "-]"), "insert": ("{+", "+}")}
_COLOURS = {"delete": "red", "insert": "green"}
_MOST_LINES = 400  # of one text


def review_lines(shown: Json, diffs: Sequence[TaskDiff]) -> Iterator[str]:
    """Fires before and after of every job whose times change, and what changes in texts, word by word."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for note in shown["notes"]:
        yield clean(f"note: {note}")
    for job_id, job in shown["jobs"].items():
        before, after = job["before"], job["after"]
        if before == after:
            continue
        yield ""
        yield clean(f"{job_id} ({job['path']}:{job['line']})")
        for title, side in (("before", before), ("after", after)):
            if side is None:
                continue
            yield clean(f"    {title}: {side['schedule_text']}; {side['runs_per_month']:,} runs in 30 days")
            for fire in side["next_fires"] or [{"local": "no fire to come"}]:
                yield clean(f"        {fire['local']}")
    for diff in diffs:
        yield ""
        jobs = ", ".join(diff.jobs[:20]) + (f" and {len(diff.jobs) - 20} more" if len(diff.jobs) > 20 else "")
        new = " (new)" if diff.before_sha256 is None else ""
        yield clean(f"{diff.path}{new}, run by {jobs}" + (f": {diff.note}" if diff.note else ""))
        lines = [line for hunk in diff.hunks for line in (hunk.title, *worded(list(by_words(hunk)), coloured))]
        yield from (_BAR + line for line in lines[:_MOST_LINES])
        if len(lines) > _MOST_LINES:
            yield f"    ({len(lines) - _MOST_LINES} more lines)"


def worded(edits: Sequence[LineEdit], coloured: bool) -> Iterator[str]:
    """The lines of a text, safe for a terminal; what went and what came is marked, on each line anew."""
    line = ""
    for edit in edits:
        for number, part in enumerate(edit.text.split("\n")):
            if number:
                yield line
                line = ""
            shown = clean(part.replace("\t", "    "))
            if edit.kind == "keep":
                line += shown
            elif shown or number < edit.text.count("\n"):  # an empty line that came or went shows as well
                if coloured:
                    line += click.style(shown or "\N{PILCROW SIGN}", fg=_COLOURS[edit.kind])
                else:
                    opened, closed = _MARKS[edit.kind]
                    line += f"{opened}{shown}{closed}"
    if line:
        yield line


def marks(shown: Json, problems: Sequence[Problem], *, folder: str) -> Iterator[str]:
    """Workflow commands: problems, the guard, what gives more power, then every change at its place.

    folder: the root relative to the top of the checkout.
    """
    for problem in problems:
        yield github_text(problem, folder)
    if shown["guard"] is not None:
        guard = shown["guard"]
        command = f"scheduler sync --confirm-prune {guard['token']}"
        text = f"{guard['why']}: {', '.join(guard['ids'][:20])}\nafter merging: {command}"
        yield github_command("error", "", 0, "guard", text)
    tasks = {change["id"]: change["path"] for change in shown["task_changed"]}
    updates = {update["id"]: update for update in shown["updated"]}
    for job_id, job in shown["jobs"].items():
        update = updates.get(job_id, {"widens": ()})
        path = "" if job["change"] == "archived" else _below(folder, job["path"])
        for field in update["widens"]:
            text = f"{job_id}: {_changed(field, update['changes'][field], ' ')}"
            yield github_command("warning", path, job["line"], "more power", text)
    for change in shown["root_changed"]:
        field = change["field"]
        program = runner_file_of(field) or converted_file_of(field)
        name = field.removesuffix("_ms") if program is None else setting_name(field)
        text = f"{name}: {change_text(field, change)}{users_text(change)}"
        kind, title = ("warning", "more power") if change["widens"] else ("notice", "setting")
        is_file = place_of_setting(field) == ROOT_FILE if program is None else change["after"] is not None
        place = _below(folder, program or ROOT_FILE) if is_file else ""
        yield github_command(kind, place, 1 if place else 0, title, text)
    for job_id, job in shown["jobs"].items():
        path = "" if job["change"] == "archived" else _below(folder, job["path"])
        yield github_command(
            "notice", path, job["line"], f"job {job['change'].replace('_', ' ')}", _said(job_id, job, tasks)
        )


def _changed(field: str, change: Json, between: str) -> str:
    return f"{field.removesuffix('_ms')}{between}{change_text(field, change)}"


def _said(job_id: str, job: Json, tasks: Mapping[str, str]) -> str:
    lines = [f"{job_id}: another text in {tasks[job_id]}" if job_id in tasks else job_id]
    for title, side in (("before", job["before"]), ("after", job["after"])):
        if side is not None and job["before"] != job["after"]:
            fires = ", ".join(fire["local"] for fire in side["next_fires"]) or "no fire to come"
            lines.append(f"{title}: {side['schedule_text']}, {side['runs_per_month']:,} runs in 30 days; next {fires}")
    return "\n".join(lines)


def _below(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder else path
