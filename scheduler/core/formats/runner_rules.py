"""What a runner allows of the jobs that name it, as faults at the keys of a job file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from scheduler.core.formats.faults import KeyFault
from scheduler.core.formats.globs import matches_any, matches_job
from scheduler.core.formats.yamlfile import Path
from scheduler.core.values.problems import did_you_mean
from scheduler.core.values.settings import RunnerSpec
from scheduler.core.values.texts import listed, short
from scheduler.core.values.units import format_duration


def unknown_runner(path: Path, name: str, known: Iterable[str]) -> KeyFault:
    names = sorted(known)
    hint = did_you_mean(name[:100], names) or (
        f"declared: {listed(names)}" if names else "declare it under runners in scheduler.yaml"
    )
    return KeyFault(path, "runner.unknown", f"runner {short(name)} is not declared in scheduler.yaml", hint)


def task_fault(runner: RunnerSpec, source: str, path: Path) -> KeyFault | None:
    """source: the root-relative file that holds the text."""
    if runner.tasks is None or matches_any(source, runner.tasks):
        return None
    message = f"runner {runner.name!r} does not accept {short(source)}; allowed: {listed(runner.tasks)}"
    hint = f"move the task, choose another runner, or extend tasks of runner {runner.name!r} in scheduler.yaml"
    return KeyFault(path, "runner.task-not-allowed", message, hint)


def job_fault(runner: RunnerSpec, job_id: str, tags: Sequence[str], path: Path) -> KeyFault | None:
    if runner.jobs is None or matches_job(job_id, tags, runner.jobs):
        return None
    allowed = listed(runner.jobs)
    message = f"job {short(job_id)} cannot use runner {runner.name!r}; allowed: {allowed}"
    hint = f"choose another runner, or extend jobs of runner {runner.name!r} in scheduler.yaml"
    return KeyFault(path, "runner.job-not-allowed", message, hint)


def timeout_fault(runner: RunnerSpec, timeout: timedelta, path: Path, *, written: bool) -> KeyFault | None:
    """written: whether a file sets the timeout."""
    if runner.max_timeout is None or timeout <= runner.max_timeout:
        return None
    allowed = format_duration(runner.max_timeout)
    message = f"timeout {format_duration(timeout)} is outside 1s-{allowed}, the range of runner {runner.name!r}"
    if not written:
        message += "; it is the default, as the job sets none"
    hint = f"write timeout: {allowed}, or raise max_timeout of runner {runner.name!r} in scheduler.yaml"
    return KeyFault(path, "runner.max-timeout", message, hint)
