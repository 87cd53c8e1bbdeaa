"""Where a job runs: on this machine, or by workers that take it from a queue. And what cannot leave this machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from scheduler.core.formats.asked import Refusal
from scheduler.core.values.settings import SCRATCH, RunnerSpec
from scheduler.core.values.spec import FRESH, HERE
from scheduler.core.values.texts import short

if TYPE_CHECKING:
    from scheduler.core.values.spec import JobSpec

MOST_TASK_BYTES = 1024 * 1024  # of a task that a queue takes


def queue_of(spec: JobSpec, runner: RunnerSpec | None) -> str | None:
    """The queue whose workers take the runs of a job. None for this machine."""
    return queue_named(spec.task_queue, runner)


def queue_named(named: str | None, runner: RunnerSpec | None) -> str | None:
    """named: by the job itself."""
    found = named or (None if runner is None else runner.task_queue)
    return None if found == HERE else found


def queue_refusals(runner: RunnerSpec, *, named: str | None, workdir: str | None) -> Iterable[Refusal]:
    """What contradicts where a job is to run. named: the queue that the job itself names."""
    queue = queue_named(named, runner)
    key = "task_queue" if named is not None else "runner"
    if queue is not None and workdir == FRESH:
        message = f"workers of queue {short(queue)} cannot make a worktree of this repository"
        hint = "delete workdir, or write task_queue: local to run it here"
        yield Refusal(("workdir",), "queue.workdir", message, hint)
    if queue is None and runner.cwd == SCRATCH:
        message = f"runner {runner.name!r} works in a scratch folder, which only workers make, and the job runs here"
        yield Refusal((key,), "queue.scratch", message, "write task_queue: NAME, or give the runner cwd: root")


def check_refusal(runner: RunnerSpec) -> Refusal | None:
    """Why a runner cannot run a check: that is always done here, before the job is sent anywhere."""
    if queue_named(None, runner) is None:
        if runner.cwd != SCRATCH:
            return None
        message = f"a check runs here, and runner {runner.name!r} works in a scratch folder, which only workers make"
        return Refusal(("runner",), "queue.check", message, "name a runner with cwd: root")
    message = f"a check runs here, and runner {runner.name!r} has task_queue: {short(runner.task_queue or '')}"
    return Refusal(("runner",), "queue.check", message, "name a runner without a task_queue")
