"""What a person needs to decide about a change of the files, in addition to the plan: a pure function of values.

Schedules in words with the fires before and after, a comparison of prompts, and the users of each changed runner.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from scheduler.core.plan.action import Action
from scheduler.core.plan.plan import Plan
from scheduler.core.plan.textdiff import Hunk, hunks, same_but_for_line_ends, unified
from scheduler.core.times.fires import coming, on_the_wall, span
from scheduler.core.times.words import describe
from scheduler.core.values.facts import FileFacts
from scheduler.core.values.instants import instant, milliseconds, on_the_clock
from scheduler.core.values.settings import channel_of, named_file_of, runner_of
from scheduler.core.values.spec import Schedule

if TYPE_CHECKING:
    from scheduler.core.changes import ReviewedJobsJson

NEXT_FIRES = 5
MONTH = timedelta(days=30)
_YEAR = 12 * MONTH
_FEW = 10  # slots of a month: a monthly job has one, or two, or none
_NOTEWORTHY = 1.5  # times as many runs
_MOST_COUNTED = 100_000


@dataclass(frozen=True, slots=True)
class TaskDiff:
    """One text, before and after, and the jobs that run it."""

    path: str
    jobs: tuple[str, ...]
    before_sha256: str | None  # None if there was no such task
    after_sha256: str | None
    hunks: tuple[Hunk, ...] = ()
    unified: str = ""
    note: str = ""  # why there are no hunks, or what is odd about them

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "jobs": list(self.jobs),
            "before_sha256": self.before_sha256,
            "after_sha256": self.after_sha256,
            "note": self.note or None,
            "unified": self.unified,
        }


@dataclass(frozen=True, slots=True)
class Text:
    """A task's text at one end of a review. If it cannot be shown, None and a note that says why."""

    text: str | None
    note: str = ""


Texts = Mapping[str, tuple[Text | None, Text | None]]  # by job id: before, after; None if there is no such job


def changed_texts(plan: Plan) -> list[Action]:
    """The actions whose task a reviewer must read."""
    return [a for a in plan.actions if a.verb == "create" or (a.task_change is not None and a.verb != "archive")]


def task_diffs(plan: Plan, texts: Texts) -> tuple[TaskDiff, ...]:
    """One for each text that differs, however many jobs run it; ordered by path."""
    groups: defaultdict[tuple[str, str | None, str | None], list[str]] = defaultdict(list)
    for action in changed_texts(plan):
        path = action.after.spec.task_source_path or action.after.path
        before = None if action.before is None else action.before.task_sha256
        groups[path, before, action.after.task_sha256].append(action.job_id)
    return tuple(
        TaskDiff(path, tuple(jobs), old, new, *_compared(*texts.get(jobs[0], (None, None)), path))
        for (path, old, new), jobs in sorted(groups.items(), key=lambda item: (item[0][0], item[1]))
    )


def changed_programs(plan: Plan) -> dict[str, tuple[str | None, str | None]]:
    """The old and new content of each changed file that runners or channels name, by path."""
    return {path: change for field, change in plan.root_changes.items() if (path := named_file_of(field)) is not None}


def program_diffs(plan: Plan, texts: Mapping[str, tuple[Text | None, Text | None]]) -> tuple[TaskDiff, ...]:
    """One for each such file, with the jobs that use it; ordered by path. texts: before and after, by path."""
    jobs: defaultdict[str, set[str]] = defaultdict(set)
    for field in plan.root_changes:
        if (path := named_file_of(field)) is not None:
            channel = channel_of(field)
            jobs[path].update(plan.users(runner_of(field) or "") if channel is None else plan.told(channel))
    return tuple(
        TaskDiff(path, tuple(sorted(jobs[path])), _hash_of(old), _hash_of(new), *_compared(*texts[path], path))
        for path, (old, new) in sorted(changed_programs(plan).items())
    )


def _hash_of(state: str | None) -> str | None:
    """The hash in what `files` of a runner or channel says about a file."""
    return state.split()[0].removeprefix("sha256:") if state is not None and state.startswith("sha256:") else None


def _compared(before: Text | None, after: Text | None, path: str) -> tuple[tuple[Hunk, ...], str, str]:
    for side, text in (("before", before), ("now", after)):
        if text is not None and text.text is None:
            return (), "", f"{side}: {text.note}"
    old, new = (before.text if before else "") or "", (after.text if after else "") or ""
    if same_but_for_line_ends(old, new):
        return (), "", "only the line endings differ (CR LF and LF)"
    name = "/dev/null" if before is None else f"a/{path}"
    return hunks(old, new), unified(old, new, before_name=name, after_name=f"b/{path}"), ""


def review_json(plan: Plan, diffs: Sequence[TaskDiff], *, now: datetime) -> ReviewedJobsJson:
    """What `plan` adds to its JSON for reviewers.

    runners: argv by name, for those that these jobs use.

    jobs: every job that is added, changed, moved, revived or archived, including guarded ones, by id.
    runs_per_month: slots of the 30 days from now; 0 while disabled.
    runs_factor: how many times as many a known job has as before, where that is `_NOTEWORTHY` or more.
    """
    shown = {}
    for action in plan.actions:
        verb, before, after = sides(plan, action)
        if verb == "keep" and action.moved_from is None and action.task_change is None:
            continue
        spec = (after or action.after).spec
        shown[action.job_id] = {
            "change": _CHANGES.get(verb) or ("moved" if action.moved_from else "task_changed"),
            "name": spec.name,
            "runner": spec.runner,
            "path": action.after.path,
            "line": action.after.line,
            "task_path": spec.task_source_path,
            "env": dict(spec.env),
            "deliver": list(spec.deliver),
            "ping": spec.ping,
            "timeout_ms": milliseconds(spec.timeout),
            "enabled": spec.enabled,
            "runs_factor": None if before is None or after is None else runs_factor(before, after, now),
            "before": None if before is None else _times(before, now),
            "after": None if after is None else _times(after, now),
        }
    news = {job_id for job_id, job in shown.items() if job["change"] in ("created", "revived", "changed")}
    named = {name for each in plan.actions if each.job_id in news for name in each.after.spec.runners}
    changed = {runner for field in plan.root_changes if (runner := runner_of(field)) is not None}
    return {
        "jobs": shown,
        "runners": {name: list(runner.command) for name, runner in plan.settings.runners.items() if name in named},
        "runner_pairs": [
            {"id": each.job_id, "runner": name}
            for each in plan.new_pairs
            for name in dict.fromkeys(each.after.spec.runners)
        ],
        "runner_jobs": {name: plan.users(name) for name in sorted(changed)},
        "task_diffs": [diff.to_json() for diff in diffs],
    }


def sides(plan: Plan, action: Action) -> tuple[str, FileFacts | None, FileFacts | None]:
    """The verb, and the job before and after; None where it does not exist. A job that a guard holds counts as gone."""
    verb = "archive" if plan.guard is not None and action.job_id in plan.guard.ids else action.verb
    before = None if action.verb in ("create", "revive") else action.before
    return verb, before, None if verb == "archive" else action.after


_CHANGES = {"create": "created", "update": "changed", "revive": "revived", "archive": "archived"}


def _times(facts: FileFacts, now: datetime) -> dict[str, Any]:
    schedule = facts.spec.due_by
    fires = coming(schedule.timing, after=now, count=NEXT_FIRES) if facts.spec.enabled else ()
    return {
        "schedule_text": describe(schedule),
        "next_fires": [
            {"fire_time": instant(fire), **_local(fire, on_the_wall(schedule, fire).timezone)} for fire in fires
        ],
        "runs_per_month": slots_ahead(schedule.timing, now) if facts.spec.enabled else 0,
    }


def runs_factor(before: FileFacts, after: FileFacts, now: datetime) -> float | None:
    """How many times as many runs a change makes; None below half as many again, and where there were none."""
    if not before.spec.enabled or not after.spec.enabled:
        return None
    old, new = before.spec.due_by.timing, after.spec.due_by.timing
    if old == new:
        return None
    was, now_are = slots_ahead(old, now), slots_ahead(new, now)
    if min(was, now_are) < _FEW:
        was, now_are = slots_ahead(old, now, _YEAR), slots_ahead(new, now, _YEAR)
    if not was or now_are / was < _NOTEWORTHY:
        return None
    return round(now_are / was, 1)


def slots_ahead(schedule: Schedule, now: datetime, window: timedelta = MONTH) -> int:
    """Slots of the 30 days from now. For several dense entries, 720 times those of an hour: counting takes minutes."""

    def count(each: Schedule, window: timedelta) -> int:
        found = span(each, start=now + timedelta.resolution, until=now + window)
        return 0 if found is None else found.count

    if len(schedule.entries) > 1 and sum(count(entry, window) for entry in schedule.entries) > _MOST_COUNTED:
        hour = timedelta(hours=1)
        return count(schedule, hour) * (window // hour)
    return count(schedule, window)


def _local(fire: datetime, timezone: str) -> dict[str, str]:
    local, zone = on_the_clock(fire, timezone)
    wall = f"{local:%a %Y-%m-%d} {local.isoformat(timespec='seconds')[11:19].removesuffix(':00')}"
    return {"local": f"{wall} {zone}", "wall": wall, "timezone": zone}
