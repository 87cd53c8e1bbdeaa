"""What jobs take over from scheduler.yaml: a default that changes is one change, however many jobs it reaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scheduler.core.formats.jobfile import read_job_file
from scheduler.core.plan.action import Change, definition_changes
from scheduler.core.values.settings import RunnerSpec, Settings, TaskInput
from scheduler.core.values.spec import JobSpec

_ZONE = "schedule.timezone"
_OTHER_NAMES = {"timezone": _ZONE, "defaults.jitter": "schedule.jitter"}
_BARE_JOB = b'id: x\nschedule: "0 0 * * *"\ntask: x\n'
_NO_RUNNER = "-"


def default_changes(previous: Settings | None, settings: Settings) -> dict[str, Change]:
    """What changes for a job that writes nothing of its own, by key: `timeout_ms`, `retry.attempts`, `env.MODE`."""
    if previous is None or (previous.defaults, previous.timezone) == (settings.defaults, settings.timezone):
        return {}
    before, after = _bare_job(previous), _bare_job(settings)
    if before is None or after is None:
        return {}
    return by_key(definition_changes(before, after))


def _bare_job(settings: Settings) -> JobSpec | None:
    """The definition that the defaults alone make; whether the runner allows it is each job's own question."""
    defaults = settings.defaults
    name = str(defaults.get("runner") or _NO_RUNNER)
    env = defaults.get("env")
    allowed = tuple(env) if isinstance(env, Mapping) else ()
    runner = RunnerSpec(name=name, command=("x",), input=TaskInput.STDIN, job_env=allowed)
    bare = replace(settings, runners={name: runner}, defaults={**defaults, "runner": name})
    (document,) = read_job_file("jobs/x.yaml", _BARE_JOB, bare).documents
    return document.spec


def by_key(changes: Mapping[str, Change]) -> dict[str, Change]:
    """Changes of a definition by the smallest keys that differ; None where one side has no such key."""
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
    """The fields of a job that change only as the defaults do, and so say nothing that scheduler.yaml does not.

    Another time zone is no such change: it moves each job's own fires.
    """
    if not defaults:
        return ()
    return tuple(
        name
        for name, change in changes.items()
        if all(key != _ZONE and defaults.get(key) == each for key, each in by_key({name: change}).items())
    )


def follows_setting(field: str, changes: Mapping[str, Change], defaults: Mapping[str, Change]) -> bool:
    """Whether a job changes as this setting of scheduler.yaml does, such as `defaults.timeout` or `timezone`."""
    wanted = _OTHER_NAMES.get(field) or field.removeprefix("defaults.")
    return any(
        defaults.get(key) == change and _covers(wanted, key.removesuffix("_ms"))
        for key, change in by_key(changes).items()
    )


def _covers(setting: str, key: str) -> bool:
    return key == setting or key.startswith(f"{setting}.") or setting.startswith(f"{key}.")
