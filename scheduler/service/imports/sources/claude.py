"""Claude: the scheduled tasks of its desktop app, and those of a project (.claude/scheduled_tasks.json)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from scheduler.core.imports.brought import Brought, LeftOutError
from scheduler.core.imports.incoming import Gathered, Work, either_day
from scheduler.core.imports.records import AN_INSTANT, Record, json_objects, read_skill
from scheduler.core.imports.secrets import quoted
from scheduler.core.times.cron import ScheduleError
from scheduler.core.times.fires import next_fire
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import Problem, UnavailableError
from scheduler.core.values.spec import Schedule
from scheduler.core.values.texts import TextError
from scheduler.service.imports.source import Reading, Source, SourceFile, file_at, gather_all, read_each, records_in

_LISTS = ("scheduledTasks", "tasks")  # of the app, of a project
_ALLOW = "allow the tools in the runner's command"
_INSTEAD = {
    "permissionMode": _ALLOW,
    "approvedPermissions": _ALLOW,
    "useWorktree": "for a new worktree of this root: `workdir: fresh`",
    "userSelectedFolders": "give the folders in the runner's command",
}
_ALONE = ("schedule", "no scheduled-tasks.json says when it runs; its schedule is manual", "")


def _named(path: Path) -> bool:
    return path.name in ("scheduled-tasks.json", "scheduled_tasks.json") or _is_skill(path)


def _is_skill(path: PurePath) -> bool:
    return path.name == "SKILL.md" and path.parent.parent.name.lower() in ("scheduled-tasks", "scheduled")


def _tell(file: SourceFile) -> str | None:
    if _is_skill(file.path):
        return "it is the SKILL.md of a scheduled task"
    for name in _LISTS if file.text.lstrip().startswith("{") else ():
        tasks = json_objects(file.text, name)
        known = [key for key in ("cronExpression", "fireAt", "filePath", "cron") if any(key in each for each in tasks)]
        if known and ("prompt" in tasks[0] or "id" in tasks[0]):
            return f"its list {name} has tasks with {' and '.join(known)}"
    return None


def _gather(source: Source, reading: Reading, files: Sequence[SourceFile]) -> Gathered:
    skills = [each for each in files if each.name == "SKILL.md"]
    return gather_all(source, reading, _items(reading, [each for each in files if each not in skills], skills))


def _items(reading: Reading, lists: Sequence[SourceFile], skills: Sequence[SourceFile]) -> Iterator[Brought | Problem]:
    used: set[Path] = set()

    def tasks(reading: Reading, file: SourceFile) -> Iterator[Brought | Problem]:
        name = next((each for each in _LISTS if f'"{each}"' in file.text), _LISTS[0])
        for line, task in records_in(reading, file, name):
            path, skill = task.text("filePath"), None
            if path is not None or not task.has("prompt"):
                skill = _skill(file, str(task.text("id")), path, skills)
                used.add(skill.path)
            try:
                schedule = _schedule(task, reading.zone)
            except LeftOutError as error:
                yield file.wrong(line, error.code, f"{quoted(task.text('id'))}: {error}; it was left out", error.hint)
            else:
                yield from _job(file, line, task, schedule, skill)

    yield from read_each(tasks, reading, lists)
    for skill in skills:
        if skill.path not in used:
            yield from _job(skill, 1, Record({"id": skill.path.parent.name}), (), skill, _ALONE)


def _skill(file: SourceFile, task_id: str, path: str | None, skills: Sequence[SourceFile]) -> SourceFile:
    """The prompt of a task: among the files given, beside the list, or where the list says."""
    said = PureWindowsPath(path or "")  # which divides paths of either kind
    names = list(dict.fromkeys(each for each in (said.parent.name, task_id) if each))
    known = [each for name in names for each in skills if each.path.parent.name == name]
    near = [file.beside(f"{place}{name}/SKILL.md") for name in names for place in ("", "scheduled-tasks/")]
    far = [file_at(Path(path), path)] if path is not None and said.name == "SKILL.md" else []
    return next((each for each in (*known, *near, *far) if each.there), (far or near)[0])


def _schedule(task: Record, zone: str) -> tuple[Mapping[str, Any], ...]:
    at, cron, created = task.instant("fireAt"), task.text("cronExpression", "cron"), task.instant("createdAt")
    if cron is not None:
        cron = either_day(cron.split())
    if cron is not None and task.flag("recurring") is False and created is not None:
        with contextlib.suppress(ScheduleError):  # which is told of the cron itself
            at = next_fire(Schedule(cron=cron, timezone=zone), after=created)
    if at is not None:
        return ({"at": instant(at)},)
    if cron is None and task.has("fireAt"):
        why = f"its fireAt is {quoted(task.raw('fireAt'))}; allowed: {AN_INSTANT}"
        raise LeftOutError("schedule", why)
    return () if cron is None else ({"cron": cron},)


def _job(
    file: SourceFile,
    line: int,
    task: Record,
    schedule: tuple[Mapping[str, Any], ...],
    skill: SourceFile | None,
    *notes: tuple[str, str, str],
) -> Iterator[Brought | Problem]:
    task_id = task.text("id")
    if task_id is None:
        yield file.wrong(line, "id", "a task has no id; it was left out")
        return
    head, prompt = Record({}), task.text("prompt") or ""
    try:
        if skill is not None:
            head, prompt = read_skill(skill.text)
    except (TextError, UnavailableError) as error:
        hint = error.hint or "import the folder that holds the SKILL.md files and the list"
        yield file.wrong(line, "task", f"{task_id}: {error}; it was left out", hint)
        return
    yield Brought(
        path=file.shown,
        line=line,
        id=task_id,
        name=task.text("name", "title") or head.text("name") or "",
        description=task.text("description") or head.text("description") or "",
        schedule=schedule,
        work=Work.PROMPT,
        wish="claude",
        task=prompt,
        keys={"enabled": False if task.flag("enabled") is False else None},
        model=task.text("model"),
        workdir=task.text("cwd"),
        facts={"created_at": task.instant("createdAt"), "last_run_at": task.instant("lastRunAt", "lastFiredAt")},
        notes=notes,
        lost=(*task.lost(_INSTEAD), *head.lost()),
    )


SOURCE = Source(word="claude", called="Claude", stop="disable them there", named=_named, tell=_tell, gather=_gather)
