"""scheduler.yaml's bytes as Settings and problems."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from typing import Any

from scheduler.core.formats.channels import alerts_of, channels_of, unknown_channels
from scheduler.core.formats.faults import (
    KeyFault,
    check,
    doubt_problems,
    fault_problem,
    file_problem,
    fitting,
    flaw_problems,
    hidden_problems,
    lookalike_problems,
    not_a_mapping,
)
from scheduler.core.formats.root_shapes import MOST_JOBS, MOST_TASK_BYTES, RootShape, RunnerShape
from scheduler.core.formats.runner_rules import unknown_runner
from scheduler.core.formats.yamlfile import YamlDocument, read_yaml
from scheduler.core.values.budget import RootBudget
from scheduler.core.values.interpreters import is_interpreter
from scheduler.core.values.problems import Problem, Severity
from scheduler.core.values.settings import (
    ARGS,
    MODEL,
    ROOT_FILE,
    Agents,
    Limits,
    Prune,
    Retention,
    RunnerSpec,
    Settings,
    TaskInput,
    Worktree,
)
from scheduler.core.values.texts import TextError, decode, short
from scheduler.core.values.usage import Price, ResultFormat

# Problems of a job file that nobody can judge without the runners, the channels, the defaults and the zone of
# scheduler.yaml.
NEEDS_SETTINGS = frozenset(
    {"budget.missing", "channel.unknown", "runner.missing", "runner.unknown", "schedule.duplicate", "schedule.never"}
)
# May be empty, as a scaffold leaves them.
SECTIONS = ("defaults", "runners", "limits", "prune", "retention", "worktree", "prices", "channels", "alerts")


def read_root_file(data: bytes, *, path: str = ROOT_FILE) -> tuple[Settings | None, tuple[Problem, ...]]:
    """The settings of scheduler.yaml, or None if it has an error; its problems, sorted.

    Never raises, whatever the bytes. Settings may come with warnings.
    """
    try:
        text = decode(data)
        documents = read_yaml(text)
    except TextError as error:
        return None, (file_problem(path, error),)
    if not documents:
        empty = Problem(path, 1, 1, "key.missing", "the file is empty: key 'version' is missing", "write version: 1")
        return None, (empty,)
    if len(documents) > 1:
        line, column = documents[1].start
        message = "scheduler.yaml must be a single document, but a second one starts here"
        return None, (Problem(path, line, column, "root.documents", message, "delete the --- between them"),)
    found = documents[0]
    if not isinstance(found.data, dict):
        return None, (not_a_mapping(path, found, hint="write key: value lines, version: 1 first"),)
    settings, problems = _settings(path, found)
    problems += [*hidden_problems(path, text), *lookalike_problems(path, found, problems)]
    failed = any(problem.is_error for problem in problems)
    return None if failed else settings, tuple(sorted(problems))


def parse_lenient(data: bytes) -> Settings | None:
    """What an invalid scheduler.yaml says without guessing: where job files are, and their zone.

    Every other setting is as lenient as it can be, and there are no runners. None if not even the files can be
    determined.
    """
    try:
        documents = read_yaml(decode(data))
    except TextError:
        return None
    if len(documents) != 1 or not isinstance(documents[0].data, dict):
        return None
    found = documents[0]
    told: dict[str, Any] = {"version": 1}
    for key in ("jobs", "timezone"):
        if key in found.data:
            sound = not found.flawed((key,)) and fitting(RootShape, {"version": 1, key: found.data[key]})
            if sound:
                told[key] = found.data[key]
            elif key == "jobs":
                return None
    shape = RootShape.model_validate({**told, "limits": {"max_jobs": MOST_JOBS, "task_bytes": MOST_TASK_BYTES}})
    return Settings(jobs=tuple(shape.jobs), timezone=shape.timezone, limits=Limits(**shape.limits.model_dump()))


def word_place(data: bytes, section: str, name: str, word: int) -> tuple[int, int]:
    """Line and column of one word of the command of a runner or channel, in a scheduler.yaml without errors."""
    return read_yaml(decode(data))[0].place((section, name, "command", word))


def _settings(path: str, found: YamlDocument) -> tuple[Settings | None, list[Problem]]:
    data = {key: value for key, value in found.data.items() if value is not None or key not in SECTIONS}
    shape, faults = check(RootShape, data, raw=found.raw)
    problems = [*flaw_problems(path, found), *doubt_problems(path, found)]
    runners: dict[str, RunnerSpec] = {}
    more: list[KeyFault] = []
    raw_runners = data.get("runners")
    for name, raw in raw_runners.items() if isinstance(raw_runners, dict) else ():
        runner = fitting(RunnerShape, raw)
        if runner is None:
            continue  # the whole shape has reported what is wrong
        needed, contradictions = _input(name, runner)
        more += contradictions
        more += _without_placeholder(name, runner)
        runners[name] = _runner(name, runner, needed)
        warning = _warning(name, runner)
        if warning is not None:
            line, column = found.place(("runners", name, "command"))
            problems.append(Problem(path, line, column, *warning, severity=Severity.WARNING))
        if (bare := runners[name].bare_task) is not None and not contradictions:
            message = f"runner {name!r} passes the task as a bare argument: one that begins with - is read as an option"
            hint = 'write "--" before "{task}" if the program knows it, or use input: stdin or file'
            place = found.place(("runners", name, "command", bare))
            problems.append(Problem(path, *place, "runner.bare-task", message, hint, severity=Severity.WARNING))
    defaults = _defaults(data)
    declared = raw_runners if isinstance(raw_runners, dict) else {}
    default_check = defaults.get("check")
    for at, given in (((), defaults), (("check",), default_check if isinstance(default_check, dict) else {})):
        named = given.get("runner")
        if isinstance(named, str) and named not in declared:
            more.append(unknown_runner(("defaults", *at, "runner"), named, declared))
    channels, contradictions = channels_of(data.get("channels"))
    more += contradictions
    alerts = data.get("alerts")
    for section, given in (("defaults", defaults), ("alerts", alerts if isinstance(alerts, dict) else {})):
        more += unknown_channels((section, "deliver"), given.get("deliver"), data.get("channels"))
    problems += [fault_problem(path, found, each) for each in (*faults, *more) if not found.flawed(each.path)]
    if shape is None:
        return None, problems
    problems += (
        Problem(path, *found.place(("prices", model)), *doubt, severity=Severity.WARNING)
        for model, doubt in _other_currencies(shape)
    )
    settings = Settings(
        version=shape.version,
        jobs=tuple(shape.jobs),
        timezone=shape.timezone,
        defaults=defaults,
        runners=runners,
        hosts=None if shape.hosts is None else tuple(shape.hosts),
        limits=Limits(**shape.limits.model_dump()),
        prune=Prune(**shape.prune.model_dump()),
        retention=Retention(**shape.retention.model_dump()),
        agents=None if shape.agents is None else Agents.from_json(shape.agents.model_dump()),
        worktree=Worktree(**shape.worktree.model_dump()),
        currency=shape.currency,
        budget=None if shape.budget is None else RootBudget(**shape.budget.model_dump()),
        channels=channels,
        alerts=alerts_of(shape.alerts),
        base_url=None if shape.base_url is None else shape.base_url.rstrip("/"),
        prices=tuple(Price(model=model, **shape.prices[model].model_dump()) for model in sorted(shape.prices)),
    )
    return settings, problems


def _other_currencies(shape: RootShape) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Models priced in another currency than that of the budgets: code, message and hint for each."""
    if shape.budget is None and shape.defaults.budget is None:
        return
    for model, price in shape.prices.items():
        if price.currency != shape.currency:
            message = f"the prices of {short(model)} are in {price.currency}, but budgets are in {shape.currency}"
            hint = f"write them in {shape.currency}: until then, the cost of its runs counts as unknown"
            yield model, ("budget.currency", message, hint)


def _defaults(data: dict[str, Any]) -> dict[str, Any]:
    """The defaults as plain values; a null there means nothing."""
    defaults = data.get("defaults")
    if not isinstance(defaults, dict):
        return {}
    kept = {key: value for key, value in defaults.items() if value is not None}
    if isinstance(kept.get("env"), dict):
        kept["env"] = {name: value for name, value in kept["env"].items() if value is not None}
    return kept


def _runner(name: str, shape: RunnerShape, needed: TaskInput) -> RunnerSpec:
    return RunnerSpec(
        name=name,
        command=tuple(shape.command),
        input=needed,
        env=tuple(sorted(shape.env.items())),
        env_from=tuple(shape.env_from),
        job_env=tuple(shape.job_env),
        tasks=None if shape.tasks is None else tuple(shape.tasks),
        jobs=None if shape.jobs is None else tuple(shape.jobs),
        max_timeout=shape.max_timeout,
        cwd="." if shape.cwd == "root" else shape.cwd,
        result_format=None if shape.result_format is None else ResultFormat(shape.result_format),
        model=shape.model,
        job_models=tuple(shape.job_models or ()),
        job_args=tuple((name, None if each is True else each) for name, each in sorted(shape.job_args.items())),
        workdirs=tuple(shape.workdirs or ()),
        account=shape.account,
        task_queue=shape.task_queue,
    )


def _input(name: str, shape: RunnerShape) -> tuple[TaskInput, list[KeyFault]]:
    """How the command receives its task, and what contradicts it: exactly one way must remain."""
    as_file = [number for number, word in enumerate(shape.command) if "{task_file}" in word]
    as_text = [number for number, word in enumerate(shape.command) if "{task}" in word]
    needed = TaskInput.FILE if as_file else TaskInput.ARG if as_text else TaskInput.STDIN
    if as_file and as_text:
        place = ("runners", name, "command", max(as_file[0], as_text[0]))
        message = "the command contains both {task_file} and {task}; a runner passes its task in exactly one way"
        return needed, [KeyFault(place, "runner.input", message, "keep one of them")]
    if shape.input is None or shape.input == needed:
        return needed, []
    holds = {
        TaskInput.FILE: "contains {task_file}",
        TaskInput.ARG: "contains {task}",
        TaskInput.STDIN: "contains neither {task_file} nor {task}",
    }[needed]
    message = f"input is {shape.input}, but the command {holds}"
    hint = f"write input: {needed.value}, or change the command"
    return needed, [KeyFault(("runners", name, "input"), "runner.input", message, hint)]


def _without_placeholder(name: str, shape: RunnerShape) -> Iterable[KeyFault]:
    """Keys about what jobs ask for, of a command that would never pass it on."""
    for holder, keys in ((MODEL, ("model", "job_models")), (ARGS, ("job_args",))):
        if not any(holder in word for word in shape.command):
            for key in keys:
                if getattr(shape, key):
                    message = f"{key} of runner {name!r} has no effect: its command does not contain {holder}"
                    hint = f"write {holder} in the command, or delete {key}"
                    yield KeyFault(("runners", name, key), "runner.placeholder", message, hint, at_key=True)


def _warning(name: str, shape: RunnerShape) -> tuple[str, str, str] | None:
    """Code, message and hint for a known interpreter that any file may be passed to."""
    program = posixpath.basename(shape.command[0])
    if shape.tasks is not None or not is_interpreter(program):
        return None
    return (
        "runner.tasks",
        f"runner {name!r} lets {program} execute any task: no tasks key limits which files",
        'write for example tasks: ["scripts/**"]',
    )
