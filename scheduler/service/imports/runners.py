"""Which runner of the root carries out imported jobs, and where it expects their tasks."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from scheduler.core.formats.globs import matches_any
from scheduler.core.imports.commands import SHELLS
from scheduler.core.imports.incoming import Work
from scheduler.core.values.problems import UsageError, did_you_mean
from scheduler.core.values.settings import ROOT_FILE, RunnerSpec, Settings, TaskInput

SHELL_RUNNER = 'runners: {shell: {command: [sh, -eu, "{task_file}"], tasks: ["scripts/**", "jobs/**"]}}'
AGENT_RUNNER = "runners: {claude: {command: [claude, -p, --output-format, json], input: stdin}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """Where the tasks of some jobs go. No folder: into the job files."""

    runner: RunnerSpec
    folder: str | None = None
    suffix: str = ""


def runner_for(settings: Settings, work: Work, name: str | None, wish: str) -> RunnerSpec:
    """name: what --runner says. wish: the name of one that is preferred to the default runner, if it fits.

    Raises: UsageError if no runner can be chosen, or the one named does not fit.
    """
    wished = settings.runners.get(wish) if name is None else None
    takes_all = wished is not None and wished.jobs is None and wished.tasks is None
    if wished is not None and takes_all and is_shell(wished) is (work is Work.COMMANDS):
        return wished
    return shell_runner(settings, name) if work is Work.COMMANDS else agent_runner(settings, name)


def tasks_for(runner: RunnerSpec, work: Work, folder: str) -> Tasks:
    """folder: of the job files. Raises: UsageError if the runner accepts tasks from neither place."""
    if work is Work.PROMPT:
        return Tasks(runner=runner, folder=f"prompts/{posixpath.basename(folder)}", suffix=".md")
    if runner.tasks is None or matches_any(f"{folder}/x.yaml", runner.tasks):
        return Tasks(runner=runner)
    scripts = f"scripts/{posixpath.basename(folder)}"
    if not matches_any(f"{scripts}/x.sh", runner.tasks):
        raise UsageError(
            f"the runner {runner.name!r} accepts no files from {folder} or {scripts}",
            hint=f'add "jobs/**" or "scripts/**" to runners.{runner.name}.tasks in {ROOT_FILE}, or choose another',
        )
    return Tasks(runner=runner, folder=scripts, suffix=".sh")


def shell_runner(settings: Settings, name: str | None) -> RunnerSpec:
    """Raises: UsageError."""
    if name is not None:
        found = _named_runner(settings, name)
        if not is_shell(found):
            raise UsageError(f"the runner {name!r} is not a shell, and commands need one", hint=_hint(True))
        return found
    shells = {each: spec for each, spec in settings.runners.items() if is_shell(spec) and spec.jobs is None}
    for each in ("cron", "shell", *sorted(shells)):
        if each in shells:
            return shells[each]
    raise UsageError("this root has no shell runner that every job can use", hint=_hint(True))


def agent_runner(settings: Settings, name: str | None) -> RunnerSpec:
    """Raises: UsageError."""
    default = settings.defaults.get("runner")
    if name is not None:
        found = _named_runner(settings, name)
    elif default is not None and default in settings.runners:
        found = settings.runners[default]
    else:
        others = [spec for spec in settings.runners.values() if not is_shell(spec)]
        if len(others) != 1:
            which = ", ".join(spec.name for spec in others)
            why = f"more than one runner fits: {which}" if others else "this root has no runner for prompts"
            raise UsageError(why, hint="choose one with --runner" if others else _hint(False))
        found = others[0]
    if is_shell(found) or (found.input is TaskInput.FILE and found.command[0] in SHELLS):
        raise UsageError(f"the runner {found.name!r} is a shell and would run prompts as scripts", hint=_hint(False))
    return found


def is_shell(runner: RunnerSpec) -> bool:
    return posixpath.basename(runner.command[0]) in SHELLS


def _named_runner(settings: Settings, name: str) -> RunnerSpec:
    found = settings.runners.get(name)
    if found is None:
        hint = did_you_mean(name, settings.runners) or f"the runners are: {', '.join(settings.runners) or 'none'}"
        raise UsageError(f"{ROOT_FILE} has no runner {name!r}", hint=hint)
    return found


def _hint(shell: bool) -> str:
    return f"add one to {ROOT_FILE}, such as: {SHELL_RUNNER if shell else AGENT_RUNNER}"
