"""Fields that jobs inherit from scheduler.yaml: a changed default is one change, however many jobs it affects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scheduler.core.plan.action import Change, definition_changes
from scheduler.core.values.settings import RunnerSpec, Settings, TaskInput
from scheduler.core.values.spec import JobSpec

_ZONE = "schedule.timezone"
_OTHER_NAMES = {"timezone": _ZONE, "defaults.jitter": "schedule.jitter"}
_BARE_JOB = b'id: x\nschedule: "0 0 * * *"\ntask: x\n'
_NO_RUNNER = "-"


def default_changes(previous: Settings | None, settings: Settings) -> dict[str, Change]:
    """The changes for a job that sets no optional key, by key: `timeout_ms`, `retry.attempts`, `env.MODE`."""
    if previous is None or (previous.defaults, previous.timezone) == (settings.defaults, settings.timezone):
        return {}
    before, after = _bare_job(previous), _bare_job(settings)
    if before is None or after is None:
        return {}
    return by_key(definition_changes(before, after))


def _bare_job(settings: Settings) -> JobSpec | None:
    """The definition made from the defaults alone. What the runner allows is checked for each job separately."""
    from scheduler.core.formats.jobfile import read_job_file  # slow to import, and seldom needed

    defaults = settings.defaults
    name = str(defaults.get("runner") or _NO_RUNNER)
    env = defaults.get("env")
    allowed = tuple(env) if isinstance(env, Mapping) else ()
    asked = {key: defaults[key] for key in ("model", "args", "workdir") if key in defaults}
    runner = RunnerSpec(name=name, command=("x",), input=TaskInput.STDIN, job_env=allowed)
    others = {key: value for key, value in defaults.items() if key not in asked}
    check = defaults.get("check")
    names = {name, str(check.get("runner"))} if isinstance(check, Mapping) else {name}
    bare = replace(settings, runners=dict.fromkeys(names, runner), defaults={**others, "runner": name})
    (document,) = read_job_file("jobs/x.yaml", _BARE_JOB, bare).documents
    if document.spec is None:
        return None
    args = tuple(asked.get("args") or ())
    return replace(document.spec, model=asked.get("model"), args=args, workdir=asked.get("workdir"))


def by_key(changes: Mapping[str, Change]) -> dict[str, Change]:
    """The changes of a definition, by the smallest keys that differ. A value is None if that side lacks the key."""
    found: dict[str, Change] = {}
    for name, (before, after) in changes.items():
        if not isinstance(before, Mapping) or not isinstance(after, Mapping):
            found[name] = before, after
            continue
        found |= {
            f"{name}.{key}": (before.get(key), after.get(key))
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key)
        }
    return found


def inherited_fields(changes: Mapping[str, Change], defaults: Mapping[str, Change]) -> tuple[str, ...]:
    """The fields of a job that change only because the defaults do, and so add nothing to the change of scheduler.yaml.

    A changed time zone is not one of them: it moves each job's own fires.
    """
    if not defaults:
        return ()
    return tuple(
        name
        for name, change in changes.items()
        if all(key != _ZONE and defaults.get(key) == each for key, each in by_key({name: change}).items())
    )


def follows_setting(field: str, changes: Mapping[str, Change], defaults: Mapping[str, Change]) -> bool:
    """True if a job changes with this setting of scheduler.yaml, such as `defaults.timeout` or `timezone`."""
    wanted = _OTHER_NAMES.get(field) or field.removeprefix("defaults.")
    return any(
        defaults.get(key) == change and _covers(wanted, key.removesuffix("_ms"))
        for key, change in by_key(changes).items()
    )


def _covers(setting: str, key: str) -> bool:
    return key == setting or key.startswith(f"{setting}.") or setting.startswith(f"{key}.")
