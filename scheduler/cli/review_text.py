"""A review for a terminal, and as annotations of a pull request on GitHub."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli.render import (
    change_text,
    clean,
    field_text,
    github_command,
    github_text,
    setting_name,
    users_text,
    value_text,
)
from scheduler.core.plan.headline import (
    Power,
    common_zone,
    fires_of,
    headline,
    own_changes,
    powers,
    retimed,
    times_as_many,
)
from scheduler.core.plan.textdiff import LineEdit, by_words
from scheduler.core.values.problems import Problem
from scheduler.core.values.settings import channel_of, converted_file_of, named_file_of, runner_of

if TYPE_CHECKING:
    from scheduler.core.plan.marks import Marks, Place
    from scheduler.core.plan.review import TaskDiff

Json = Mapping[str, Any]
_BAR = "    \N{BOX DRAWINGS LIGHT VERTICAL} "  # prevents a line of a text from looking like the start of an output line
_MARKS = {"delete": ("[-", "-]"), "insert": ("{+", "+}")}
_COLOURS = {"delete": "red", "insert": "green"}
_MOST_LINES = 400  # per text


def review_lines(shown: Json, diffs: Sequence[TaskDiff]) -> Iterator[str]:
    """The text in reading order: the headline, what gives more power, the texts word by word, then the schedules."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    yield click.style(_headline(shown), bold=True) if coloured else _headline(shown)
    for note in shown["notes"]:
        yield clean(f"note: {note}")
    yield from _block("Gives more power", (f"  {_power(each, shown)}" for each in powers(shown)), coloured)
    yield from _block("Prompts and scripts", _texts(diffs, coloured), coloured)
    yield from _block("Schedules", _schedules(shown), coloured)
    yield from _block("Changes", (), coloured, always=bool(shown["jobs"] or shown["root_changed"]))


def _headline(shown: Json) -> str:
    return clean(headline(shown, read=True, name=str, strong=str))


def _block(title: str, lines: Iterable[str], coloured: bool, *, always: bool = False) -> Iterator[str]:
    found = list(lines)
    if found or always:
        yield ""
        yield click.style(title, bold=True) if coloured else title
        yield from found


def _power(power: Power, shown: Json) -> str:
    command = shown["runners"].get(power.runner)
    runs = f", which runs {value_text(command)}" if command else ""
    jobs = ", ".join(power.jobs[:20]) + (f" and {len(power.jobs) - 20} more" if len(power.jobs) > 20 else "")
    if power.kind == "pair":
        timeout = field_text("timeout_ms", power.timeout_ms)
        more = f", with {value_text(power.env)} in its environment" if power.env else ""
        more += f"; delivers to {', '.join(power.deliver)}" if power.deliver else ""
        more += f"; pings {power.ping}" if power.ping else ""
        return clean(f"{jobs}: {power.title} with runner {power.runner}{runs}, for up to {timeout} a run{more}")
    change = {"field": power.field, "before": power.before, "after": power.after}
    if power.kind == "field":
        return clean(f"{jobs}: {_changed(power.field, change, ' ')}{runs}")
    if power.kind == "conversion":
        used = f"used by {jobs}" if jobs else "no job uses it"
        return clean(f"{', '.join(power.paths)} (git's attributes): {change_text(power.field, change)}; {used}")
    has_users = runner_of(power.field) or channel_of(power.field) or power.jobs
    served = users_text({**change, "jobs": power.jobs}) if has_users else ""
    return clean(f"{_named(power.field)}: {change_text(power.field, change)}{runs}{served}")


def _named(field: str) -> str:
    """The name of a setting without its path, or the file that a runner names."""
    is_file = named_file_of(field) is not None or converted_file_of(field) is not None
    return setting_name(field) if is_file else field.removesuffix("_ms")


def _schedules(shown: Json) -> Iterator[str]:
    for job_id, job in shown["jobs"].items():
        if not retimed(job):
            continue
        more = f": {times_as_many(job['runs_factor'])}" if job["runs_factor"] else ""
        yield clean(f"  {job_id} ({job['path']}:{job['line']}){more}")
        sides = [
            (title, side) for title, side in (("before", job["before"]), ("after", job["after"])) if side is not None
        ]
        zone = common_zone(*(side for _, side in sides))
        for title, side in sides:
            yield clean(f"    {title}: {side['schedule_text']}; {side['runs_per_month']:,} runs in 30 days")
        columns = [fires_of(side, zone) or ["never"] for _, side in sides]
        width = max(len(fire) for fire in columns[0])
        yield f"    next fires{', ' + zone if zone else ''}"
        if len(sides) == 2:
            yield f"      {'before':<{width}}  after"
        for row in zip_longest(*columns, fillvalue=""):
            yield clean(f"      {row[0]:<{width}}  {row[-1]}".rstrip() if len(row) == 2 else f"      {row[0]}")


def _texts(diffs: Sequence[TaskDiff], coloured: bool) -> Iterator[str]:
    for number, diff in enumerate(diffs):
        if number:
            yield ""
        jobs = ", ".join(diff.jobs[:20]) + (f" and {len(diff.jobs) - 20} more" if len(diff.jobs) > 20 else "")
        new = " (new)" if diff.before_sha256 is None else ""
        yield clean(f"  {diff.path}{new}, run by {jobs}" + (f": {diff.note}" if diff.note else ""))
        lines = [line for hunk in diff.hunks for line in (hunk.title, *worded(list(by_words(hunk)), coloured))]
        yield from (_BAR + line for line in lines[:_MOST_LINES])
        if len(lines) > _MOST_LINES:
            yield f"    ({len(lines) - _MOST_LINES} more lines)"


def worded(edits: Sequence[LineEdit], coloured: bool) -> Iterator[str]:
    """The lines of a text, safe for a terminal. Removed and added words are marked on every line."""
    line = ""
    for edit in edits:
        for number, part in enumerate(edit.text.split("\n")):
            if number:
                yield line
                line = ""
            shown = clean(part.replace("\t", "    "))
            if edit.kind == "keep":
                line += shown
            elif shown or number < edit.text.count("\n"):  # empty lines that were removed or added are shown too
                opened, closed = _MARKS[edit.kind]  # also with colour: a copied screen has none
                marked = f"{opened}{shown}{closed}"
                line += click.style(marked, fg=_COLOURS[edit.kind]) if coloured else marked
    if line:
        yield line


def workflow_commands(shown: Json, problems: Sequence[Problem], places: Marks, *, folder: str) -> Iterator[str]:
    """Workflow commands: problems, the guard, what gives more power, then every change, each on its own line.

    folder: the root, relative to the top of the checkout.
    """

    def mark(kind: str, place: Place | None, title: str, text: str) -> str:
        path, line = ("", 0) if place is None else (f"{folder}/{place[0]}" if folder else place[0], place[1])
        return github_command(kind, path, line, title, text)

    for problem in problems:
        yield github_text(problem, folder)
    if shown["guard"] is not None:
        guard = shown["guard"]
        command = f"scheduler sync --confirm-prune {guard['token']}"
        text = f"{guard['why']}: {', '.join(guard['ids'][:20])}\nafter merging: {command}"
        yield mark("error", None, "guard", text)
    for power in powers(shown):
        if power.kind == "setting":
            path = named_file_of(power.field)
            place = places.settings.get(power.field) if path is None else places.tasks.get(path)
            yield mark("warning", place, "more power", _power(power, shown))
        for job_id in power.jobs if power.kind in ("pair", "field") else ():
            place = places.jobs.get((job_id, power.field or "runner"))
            yield mark("warning", place, "more power", _power(replace(power, jobs=(job_id,)), shown))
    for change in shown["root_changed"]:
        field = change["field"]
        text = f"{_named(field)}: {change_text(field, change)}{users_text(change)}"
        if converted_file_of(field) is not None:
            yield mark("warning", places.settings.get(field), "more power", text)
        elif not change["widens"]:
            yield mark("notice", places.settings.get(field), "setting", text)
    updates = {update["id"]: update for update in shown["updated"]}
    tasks = {change["id"]: change["path"] for change in shown["task_changed"]}
    moved = {move["id"]: move["from"] for move in shown["moved"]}
    for job_id, job in shown["jobs"].items():
        own = own_changes(updates[job_id]) if job_id in updates else {}
        if job["change"] == "changed" and not (own or retimed(job) or job_id in tasks or job_id in moved):
            continue  # the mark of the inherited default names it
        origin = f"\nmoved from {moved[job_id]}" if job_id in moved else ""
        text = _said(job_id, job, own, tasks) + origin
        yield mark("notice", _place(job_id, job, own, tasks, places), f"job {job['change'].replace('_', ' ')}", text)


def _place(job_id: str, job: Json, own: Json, tasks: Mapping[str, str], places: Marks) -> Place | None:
    """Where a change of a job is marked: on the key that causes it, otherwise on its text, otherwise on the job."""
    timed = ("schedule", "enabled", "expires")
    if job["change"] == "changed":
        for field in sorted(own, key=lambda name: name not in timed):
            if (job_id, field) in places.jobs:
                return places.jobs[job_id, field]
    if job_id in tasks:
        path = tasks[job_id]
        return places.tasks.get(path) or (places.jobs.get((job_id, "task")) if path == job["path"] else None)
    return places.jobs.get((job_id, ""))


def _changed(field: str, change: Json, between: str) -> str:
    return f"{field.removesuffix('_ms')}{between}{change_text(field, change)}"


def _said(job_id: str, job: Json, own: Json, tasks: Mapping[str, str]) -> str:
    lines = [f"{job_id}: another text in {tasks[job_id]}" if job_id in tasks else job_id]
    lines += [_changed(field, change, ": ") for field, change in own.items() if field != "schedule"]
    if retimed(job):
        zone = common_zone(job["before"], job["after"])
        for title, side in (("before", job["before"]), ("after", job["after"])):
            if side is not None:
                fires = ", ".join(fires_of(side, zone))
                coming = f"next{f' ({zone})' if zone else ''} {fires}" if fires else "no fire to come"
                runs = f"{side['runs_per_month']:,} runs in 30 days"
                lines.append(f"{title}: {side['schedule_text']}, {runs}; {coming}")
        if job["runs_factor"]:
            lines.append(times_as_many(job["runs_factor"]))
    return "\n".join(lines)
