"""Which runner an imported job gets."""

from __future__ import annotations

import posixpath

from scheduler.core.values.problems import UsageError, did_you_mean
from scheduler.core.values.settings import ROOT_FILE, RunnerSpec, Settings, TaskInput

_SHELLS = ("sh", "bash", "dash", "ksh", "zsh", "ash")
SHELL_RUNNER = 'runners: {shell: {command: [sh, -eu, "{task_file}"], tasks: ["scripts/**", "jobs/**"]}}'
AGENT_RUNNER = "runners: {claude: {command: [claude, -p], input: stdin}}"


def _named_runner(settings: Settings, name: str) -> RunnerSpec:
    found = settings.runners.get(name)
    if found is None:
        hint = did_you_mean(name, settings.runners) or f"runners of this root: {', '.join(settings.runners) or 'none'}"
        raise UsageError(f"{ROOT_FILE} has no runner {name!r}", hint=hint)
    return found


def _is_shell(runner: RunnerSpec) -> bool:
    return posixpath.basename(runner.command[0]) in _SHELLS


def shell_runner(settings: Settings, name: str | None) -> RunnerSpec:
    if name is not None:
        found = _named_runner(settings, name)
        if not _is_shell(found):
            raise UsageError(f"the runner {name!r} is no shell, and a crontab holds commands for one", hint=_hint(True))
        return found
    shells = {each: spec for each, spec in settings.runners.items() if _is_shell(spec) and spec.jobs is None}
    for each in ("cron", "shell", *sorted(shells)):
        if each in shells:
            return shells[each]
    raise UsageError("no runner of this root is a shell that any job may use", hint=_hint(True))


def agent_runner(settings: Settings, name: str | None) -> RunnerSpec:
    default = settings.defaults.get("runner")
    if name is not None:
        found = _named_runner(settings, name)
    elif default is not None and default in settings.runners:
        found = settings.runners[default]
    else:
        others = [spec for spec in settings.runners.values() if not _is_shell(spec)]
        if len(others) != 1:
            which = ", ".join(spec.name for spec in others)
            why = f"several runners could be meant: {which}" if others else "no runner of this root takes prompts"
            raise UsageError(why, hint="name one with --runner" if others else _hint(False))
        found = others[0]
    if _is_shell(found) or (found.input is TaskInput.FILE and found.command[0] in _SHELLS):
        raise UsageError(f"the runner {found.name!r} is a shell, and would run prompts as scripts", hint=_hint(False))
    return found


def _hint(shell: bool) -> str:
    return f"add one to {ROOT_FILE}, such as: {SHELL_RUNNER if shell else AGENT_RUNNER}"
