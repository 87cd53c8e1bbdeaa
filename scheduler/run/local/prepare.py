"""What a runner starts: argv, working directory and environment."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.core.formats.asked import allowing_folder, model_of, refusals
from scheduler.core.formats.globs import matches_any, matches_job
from scheduler.core.formats.queues import queue_named
from scheduler.core.values.facts import Fault, Task
from scheduler.core.values.instants import instant
from scheduler.core.values.interpreters import executes_its_task
from scheduler.core.values.settings import BUDGET, SCRATCH, RunnerSpec, Settings, TaskInput
from scheduler.core.values.spec import ROOT_FOLDER, JobSpec
from scheduler.core.values.texts import listed
from scheduler.core.values.units import format_duration
from scheduler.core.values.usage import Price, ResultFormat
from scheduler.machine.mounts import may_hang
from scheduler.run.local.expectations import Expected

if TYPE_CHECKING:
    from scheduler.run.fire import Ready

TASK = "{task}"
TASK_FILE = "{task_file}"
_INHERITED = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR"})
_INHERITED_PREFIXES = ("LC_", "XDG_")
_ARGUMENT_BYTES = 128 * 1024 - 1  # execve(2), MAX_ARG_STRLEN, minus the closing NUL


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a run tells its child about itself, as SCHEDULER_* variables."""

    run_id: str  # "JOB:N"
    job_id: str
    fire_time: datetime | None  # None: a manual run
    trigger: str
    attempt: int  # 1 for the first
    revision: str | None
    task_sha256: str
    fresh: Path | None = None  # the working directory of a job that asks for a new worktree; it need not exist yet
    budget: Decimal | None = None  # what the attempt may spend; None: anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One process to start. `argv` still contains `{task_file}`: that file exists only while the process runs."""

    argv: tuple[str, ...]  # argv[0] is absolute
    cwd: Path
    env: Mapping[str, str]  # the complete environment
    stdin: bytes | None  # None: an empty standard input
    task_file: bytes | None  # the content of the file that replaces {task_file}
    result_format: ResultFormat = ResultFormat.TEXT
    prices: tuple[Price, ...] = ()
    expected: Expected | None = None
    account: str = ""  # that its runner uses

    def of(self, run_id: str) -> Invocation:
        """The same for another run."""
        return replace(self, env={**self.env, "SCHEDULER_RUN_ID": run_id})


class Tools:
    """What a runner starts with on this machine, as it is now. Looks at each thing once, when it is first needed.

    Runs that start together share one.
    """

    def __init__(self, runner: RunnerSpec, root: Path, environ: Mapping[str, str]) -> None:
        self.runner = runner
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would rename the root
        self.inherited = {
            name: value
            for name, value in environ.items()
            if name in _INHERITED or name.startswith(_INHERITED_PREFIXES) or name in runner.env_from
        }
        self.inherited.update(runner.env)
        self._home = environ.get("HOME", "")
        self._programs: dict[str, str | Fault] = {}
        self._workdirs: dict[str, Path | Fault] = {}

    @cached_property
    def may_hang(self) -> bool:
        """True if a look at these things may wait for a server."""
        command, search = self.runner.command[0], self.inherited.get("PATH", os.defpath)
        folders = [command] if Path(command).is_absolute() else search.split(os.pathsep)
        return may_hang(os.path.normpath(self.root / self.runner.cwd), *folders)

    @cached_property
    def cwd(self) -> Path | Fault:
        return _working_folder(self.runner, self.root)

    def workdir(self, name: str) -> Path | Fault:
        """The folder that a job names as its working directory."""
        if name not in self._workdirs:
            self._workdirs[name] = _asked_folder(name, self.runner, self.root, self._home)
        return self._workdirs[name]

    def workdir_may_hang(self, name: str) -> bool:
        """True if a look at that folder may wait for a server."""
        return may_hang(*(_led(each, self.root, self._home) for each in (name, *self.runner.workdirs)))

    def program(self, search: str) -> str | Fault:
        """The absolute path of argv[0], if it can be started. search: the PATH of the run."""
        if search not in self._programs:
            found = _find(self.runner.command[0], self.root, search)
            if isinstance(found, str) and (interpreter := _missing_interpreter(found, search)) is not None:
                found = _without_interpreter(found, interpreter)
            self._programs[search] = found
        return self._programs[search]


def prepare_attempt(
    ready: Ready,
    run_id: str,
    fire_time: datetime | None,
    trigger: str,
    *,
    attempt: int,
    environ: Mapping[str, str],
    tools: Tools | None = None,
    fresh: Path | None = None,
    budget: Decimal | None = None,
) -> Invocation | Fault:
    """The process for one attempt, or why there is none.

    tools: of its runner, if somebody has looked already. fresh, budget: see `Context`.
    """
    context = Context(
        run_id=run_id,
        job_id=ready.job.id,
        fire_time=fire_time,
        trigger=trigger,
        attempt=attempt,
        revision=ready.provenance.revision,
        task_sha256=ready.task.sha256,
        fresh=fresh,
        budget=budget,
    )
    tools = tools or Tools(ready.runner, ready.place.root, environ)
    if ready.check_output is not None and executes_its_task(ready.runner.command):
        return cannot_start("not_allowed", f"runner {ready.runner.name!r} would execute what the check printed")
    spec = ready.job.file.spec
    if ready.is_check:  # of the job's variables it gets those that its own runner allows
        spec = replace(spec, env=tuple(each for each in spec.env if each[0] in ready.runner.job_env))
    found = prepare(tools, spec, ready.given, context)
    if isinstance(found, Fault):
        return found
    if spec.expect is not None and not ready.is_check:
        folder = tools.root if spec.workdir is None else found.cwd
        found = replace(found, expected=Expected(spec=spec.expect, folder=folder))
    return found if found.result_format is ResultFormat.TEXT else replace(found, prices=ready.settings.prices)


def chosen(runner: RunnerSpec, spec: JobSpec, task: Task, *, budget: Decimal | None) -> Fault | None:
    """Why the runner accepts no such job or text, wherever it is to run. Decided by text alone.

    budget: what the attempt may spend. Fault reasons: runner_not_allowed, runner_task_option.
    """
    if runner.tasks is not None and not matches_any(task.source_path, runner.tasks):
        allowed = ", ".join(runner.tasks) or "nothing"
        return cannot_start("not_allowed", f"runner {runner.name!r} accepts only {allowed}, not {task.source_path!r}")
    if runner.jobs is not None and not matches_job(spec.id, spec.tags, runner.jobs):
        allowed = listed(runner.jobs)
        return cannot_start("not_allowed", f"runner {runner.name!r} accepts only the jobs {allowed}, not {spec.id!r}")
    if runner.max_timeout is not None and spec.timeout > runner.max_timeout:
        longest, timeout = format_duration(runner.max_timeout), format_duration(spec.timeout)
        return cannot_start(
            "not_allowed", f"runner {runner.name!r} accepts a timeout of at most {longest}, not {timeout}"
        )
    if refused := sorted({name for name, _ in spec.env} - set(runner.job_env)):
        return cannot_start(
            "not_allowed", f"runner {runner.name!r} does not let jobs set {', '.join(refused)} (job_env)"
        )
    asked = refusals(runner, job_id=spec.id, model=spec.model, args=spec.args, workdir=spec.workdir)
    if refused_wish := next(iter(asked), None):
        return cannot_start("not_allowed", refused_wish.message)
    if runner.takes_budget and budget is None:
        message = f"runner {runner.name!r} passes {BUDGET} to its program, and the job has no budget.per_run"
        return cannot_start("not_allowed", message)
    if runner.takes_for_option(task.text):
        return cannot_start(
            "task_option",
            f"the task starts with -, so runner {runner.name!r} would pass it as an option;"
            ' write "--" before "{task}" in its command, or start the task with another character',
        )
    return None


def prepare(tools: Tools, spec: JobSpec, task: Task, context: Context) -> Invocation | Fault:
    """The process that runs `task`, or why there is none. Reads the file system, changes nothing.

    Fault reasons: runner_not_allowed, runner_not_found, runner_start_failed, runner_cwd_missing,
    runner_workdir_missing, runner_task_too_large, runner_task_option.
    """
    fault = chosen(tools.runner, spec, task, budget=context.budget)
    return resolved(tools, spec, task, context) if fault is None else fault


def resolved(tools: Tools, spec: JobSpec, task: Task, context: Context) -> Invocation | Fault:
    """The process as this machine starts it: program, folder and environment. `chosen` says whether it may."""
    runner = tools.runner
    cwd = context.fresh or (tools.cwd if spec.workdir is None else tools.workdir(spec.workdir))
    if isinstance(cwd, Fault):
        return cwd
    env = _environment(tools, spec, context, cwd)
    program = tools.program(env.get("PATH", os.defpath))
    if isinstance(program, Fault):
        return program
    budget = None if context.budget is None else f"{context.budget.normalize():f}"
    arguments = runner.words(model_of(spec, runner), spec.args, budget)
    if runner.input is TaskInput.ARG:
        arguments = tuple(each.replace(TASK, task.text.decode("utf-8")) for each in arguments)
        if b"\0" in task.text or any(len(encode(each)) > _ARGUMENT_BYTES for each in arguments):
            return cannot_start(
                "task_too_large",
                f"a task passed as an argument can have at most {_ARGUMENT_BYTES:,} bytes and no NUL; use input: file",
            )
    return Invocation(
        argv=(program, *arguments),
        cwd=cwd,
        env=env,
        stdin=task.text if runner.input is TaskInput.STDIN else None,
        task_file=task.text if runner.input is TaskInput.FILE else None,
        result_format=runner.prints,
        account=runner.uses,
    )


def _without_interpreter(program: str, interpreter: str) -> Fault:
    return cannot_start("start_failed", f"the first line of {program!r} names {interpreter!r}, which does not exist")


def unready(runner: RunnerSpec, root: Path, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Why nothing can be started with this runner now, whatever the job and its task. Starts nothing.

    Of a runner for workers, this machine needs nothing.
    """
    if queue_named(None, runner) is not None or runner.cwd == SCRATCH:
        return
    tools = Tools(runner, root, environ)
    search = {**environ, **dict(runner.env)}.get("PATH", os.defpath)
    for found in (tools.cwd, tools.program(search)):
        if isinstance(found, Fault):
            yield found


def troubles(settings: Settings, root: Path, environ: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """By runner: `faults`, why nothing starts with it now, and `lacks`, the variables it would start without.

    environ: of the process that would start it. The answer contains no value of a variable.
    """
    return {
        name: {
            "faults": [fault.message for fault in unready(runner, root, environ)],
            "lacks": [each for each in runner.env_from if not environ.get(each) and each not in dict(runner.env)],
        }
        for name, runner in sorted(settings.runners.items())
    }


def _missing_interpreter(program: str, search: str) -> str | None:
    """The interpreter that a script asks for, if it cannot be found."""
    try:
        with open(program, "rb") as file:  # noqa: PTH123
            first = file.readline(256)
    except OSError:  # it may be executable without being readable
        return None
    if not first.startswith(b"#!"):
        return None
    # The kernel takes a carriage return as part of the name, and so does this.
    words = os.fsdecode(first[2:].rstrip(b"\n").strip(b" \t")).split(" ")
    if _no_program(words[0]) is not None:
        return words[0]
    if Path(words[0]).name == "env" and len(words) == 2 and shutil.which(words[1], path=search) is None:
        return words[1]
    return None


def _working_folder(runner: RunnerSpec, root: Path) -> Path | Fault:
    cwd = Path(os.path.normpath(root / runner.cwd))
    if not cwd.is_dir() or (cwd != root and not cwd.resolve().is_relative_to(root.resolve())):
        return cannot_start("cwd_missing", f"the working directory {runner.cwd!r} is not a folder in the root")
    return cwd


def _led(name: str, root: Path, home: str) -> str:
    """The path that `workdir` or `workdirs` names. Empty for a folder in a home that nobody has."""
    if name.startswith("~"):
        return os.path.normpath(home + name[1:]) if os.path.isabs(home) else ""  # noqa: PTH117
    return os.path.normpath(root / ("." if name == ROOT_FOLDER else name))


def _asked_folder(name: str, runner: RunnerSpec, root: Path, home: str) -> Path | Fault:
    """The folder of a `workdir`, which must really be in or below the one that allows it, wherever links lead."""
    if fault := workdir_fault(name, root, home):
        return fault
    allowing = allowing_folder(name, runner)
    assert allowing is not None  # otherwise it was refused as written
    found = _led(name, root, home)
    real, top = (os.path.realpath(each) for each in (found, _led(allowing, root, home)))
    if real != top and not real.startswith(f"{top.rstrip('/')}/"):
        message = f"the working directory {name!r} leads to {real!r}, which is not in {allowing!r} (workdirs)"
        return cannot_start("not_allowed", message)
    return Path(found)


def workdir_fault(name: str, root: Path, home: str) -> Fault | None:
    """Why there is no such working directory now. None if there is."""
    found = _led(name, root, home)
    if not found:
        return cannot_start("workdir_missing", f"the working directory {name!r} cannot be found: HOME is not set")
    if not os.path.isdir(found):  # noqa: PTH112 - fires ask
        return cannot_start(
            "workdir_missing", f"the working directory {name!r} is not a folder; create it, or mount its disk"
        )
    return None


def cannot_start(reason: str, message: str) -> Fault:
    return Fault(reason=f"runner_{reason}", message=message)


def _environment(tools: Tools, spec: JobSpec, context: Context, cwd: Path) -> dict[str, str]:
    """Design section 3, "Child environment": later layers win, and our own variables about the run win over all."""
    env = {**tools.inherited, **dict(spec.env)}
    told = {
        "SCHEDULER_JOB_ID": context.job_id,
        "SCHEDULER_RUN_ID": context.run_id,
        "SCHEDULER_FIRE_TIME": None if context.fire_time is None else instant(context.fire_time),
        "SCHEDULER_TRIGGER": context.trigger,
        "SCHEDULER_ATTEMPT": str(context.attempt),
        "SCHEDULER_ROOT": str(tools.root),
        "SCHEDULER_REVISION": context.revision,
        "SCHEDULER_TASK_SHA256": context.task_sha256,
        "PWD": str(cwd),
    }
    for name, value in told.items():
        env.pop(name, None)  # a variable that does not apply is absent, whatever a layer below sets
        if value is not None:
            env[name] = value
    return env


def _find(program: str, root: Path, search: str) -> str | Fault:
    """The absolute path of argv[0]: `./…` below the root; or absolute or on PATH, and then not below the root."""
    if program.startswith("./"):
        if ".." in program.split("/"):
            return cannot_start("not_found", f"{program!r} leads outside the root")
        found = str(root / program)
        return _no_program(found) or found
    if Path(program).is_absolute():
        found = program
    elif "/" in program:
        return cannot_start(
            "not_found", f"{program!r} is neither absolute nor on PATH; for a file in the root, write './{program}'"
        )
    else:
        # A relative entry would name a folder of the scheduler's working directory.
        folders = [each for each in search.split(os.pathsep) if os.path.isabs(each)]  # noqa: PTH117 - every fire asks
        on_path = shutil.which(program, path=os.pathsep.join(folders)) if folders else None
        if on_path is None:
            return cannot_start("not_found", f"{program!r} is not on PATH ({search})")
        found = on_path
    # Links count, too: a program that anyone with write access to the root can replace must be named as such.
    inside = f"{os.path.realpath(root)}/"
    folder, name = os.path.split(found)
    for real in (os.path.realpath(found), f"{os.path.realpath(folder)}/{name}"):
        if real.startswith(inside):
            below = real.removeprefix(inside)
            return cannot_start(
                "not_found", f"{program!r} is inside the root; if you mean that file, write './{below}'"
            )
    return _no_program(found) or found


def _no_program(path: str) -> Fault | None:
    """Why nothing with that name can be started. None if it looks startable."""
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116
    except OSError as error:
        return cannot_start(
            "not_found", f"{path!r} does not exist" if is_absence(error) else f"{path!r}: {error.strerror}"
        )
    if stat.S_ISDIR(kind):
        return cannot_start("not_found", f"{path!r} is a folder; give the path of the program in it")
    if not stat.S_ISREG(kind):
        return cannot_start("not_found", f"{path!r} is not a regular file")
    if not os.access(path, os.X_OK):
        return cannot_start(
            "not_found", f"{path!r} is not executable: run chmod +x on it, or remount its file system without noexec"
        )
    return None


def is_absence(error: OSError) -> bool:
    return error.errno in (errno.ENOENT, errno.ENOTDIR)


def encode(argument: str) -> bytes:
    """UTF-8 whatever the locale is: the task's bytes were hashed as they are."""
    return argument.encode("utf-8", "surrogateescape")
