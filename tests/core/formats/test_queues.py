"""Which jobs workers run, and what cannot leave this machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.core.formats.jobfile import JobFile, read_job_file
from scheduler.core.formats.queues import queue_of
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.plan.action import widened
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import JobSpec

ROOT = """
version: 1
runners:
  here: {command: [cat]}
  there: {command: [cat], task_queue: gpu, env_from: [TOKEN]}
  empty: {command: [cat], cwd: scratch}
"""


@pytest.fixture
def settings() -> Settings:
    found, problems = read_root_file(ROOT.encode())
    assert found is not None, problems
    return found


def read(settings: Settings, keys: str) -> JobFile:
    text = f"id: j\nschedule: '0 * * * *'\ntask: a text\n{keys}\n"
    return read_job_file("jobs/j.yaml", text.encode(), settings)


def spec_of(settings: Settings, keys: str) -> JobSpec:
    (document,) = read(settings, keys).documents
    assert document.spec is not None, read(settings, keys).problems
    return document.spec


@pytest.mark.parametrize(
    ("keys", "queue"),
    [
        ("runner: here", None),
        ("runner: here\ntask_queue: gpu", "gpu"),
        ("runner: here\ntask_queue: local", None),
        ("runner: there", "gpu"),
        ("runner: there\ntask_queue: cpu", "cpu"),
        ("runner: there\ntask_queue: local", None),
        ("runner: there\ntask_queue:", "gpu"),
    ],
)
def test_a_job_runs_where_it_says_or_else_where_its_runner_says(settings: Settings, keys: str, queue: str) -> None:
    spec = spec_of(settings, keys)
    assert queue_of(spec, settings.runners[spec.runner]) == queue


@pytest.mark.parametrize(
    ("keys", "code", "line", "words"),
    [
        ("runner: here\ntask_queue: gpu@host", "queue.name", 5, "queue name 'gpu@host' is not valid"),
        ("runner: here\ntask_queue: 7", "value.type", 5, ""),
        ("runner: empty", "queue.scratch", 4, "works in a scratch folder, which only workers make"),
        ("runner: empty\ntask_queue: local", "queue.scratch", 5, "and the job runs here"),
        ("runner: here\ncheck: {runner: there, task: x}", "queue.check", 5, "a check runs here"),
        ("runner: here\ncheck: {runner: empty, task: x}", "queue.check", 5, "scratch folder"),
    ],
)
def test_what_contradicts_a_queue_is_said_at_its_key(
    settings: Settings, keys: str, code: str, line: int, words: str
) -> None:
    (problem,) = read(settings, keys).problems
    assert (problem.code, problem.line) == (code, line)
    assert words in problem.message
    assert problem.hint


def test_workers_make_no_worktree(settings: Settings) -> None:
    runners = {"there": replace(settings.runners["there"], workdirs=("fresh",))}
    (problem,) = read(replace(settings, runners=runners), "runner: there\nworkdir: fresh").problems
    assert (problem.code, problem.line) == ("queue.workdir", 5)


def test_the_check_of_a_job_for_workers_runs_here(settings: Settings) -> None:
    spec = spec_of(settings, "runner: there\ncheck: {runner: here, task: x}")
    assert queue_of(spec, settings.runners["there"]) == "gpu"
    assert queue_of(spec.of_check, settings.runners["here"]) is None


def test_another_queue_is_more_power_and_this_machine_is_not(settings: Settings) -> None:
    plain, gpu, local = (
        spec_of(settings, f"runner: here{more}") for more in ("", "\ntask_queue: gpu", "\ntask_queue: local")
    )
    assert widened(plain, gpu) == ("task_queue",)
    assert widened(gpu, plain) == widened(gpu, local) == widened(plain, local) == ()


def test_a_definition_from_before_queues_keeps_its_digest(settings: Settings) -> None:
    spec = spec_of(settings, "runner: here")
    before = {name: value for name, value in spec.to_json().items() if name != "task_queue"}
    assert JobSpec.from_json(before) == spec
    assert JobSpec.from_json(before).digest == spec.digest
