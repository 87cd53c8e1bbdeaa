"""What a job asks of its runner: a model, arguments, a working directory. And what the runner allows.

Decided by text alone, so `validate` says on any machine what a fire would say.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from scheduler.core.values.problems import did_you_mean
from scheduler.core.values.settings import ARGS, MODEL, RunnerSpec
from scheduler.core.values.spec import FRESH, ROOT_FOLDER, JobSpec
from scheduler.core.values.texts import listed, short

_IN_SCHEDULER_YAML = "of runner {!r} in scheduler.yaml"
_HOLDERS = ("{task}", "{task_file}", MODEL, ARGS)
# What a git ref cannot contain, of what an id can (git-check-ref-format(1)).
_NO_BRANCH = re.compile(r"\.\.|\.lock$|\.$")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a job cannot ask of its runner."""

    key: tuple[str | int, ...]  # of the job, to blame for it
    code: str
    message: str
    hint: str


def refusals(
    runner: RunnerSpec, *, job_id: str, model: str | None, args: Sequence[str], workdir: str | None
) -> Iterable[Refusal]:
    """Why the runner does not accept what the job asks for."""
    if model is not None or runner.takes_model:
        yield from _model(model, runner)
    if args:
        yield from _args(args, runner)
    if workdir is not None:
        yield from _workdir(job_id, workdir, runner)


def model_of(spec: JobSpec, runner: RunnerSpec) -> str | None:
    """The model that a run asks for: the job's own, otherwise the runner's."""
    return runner.model if spec.model is None else spec.model


def _model(model: str | None, runner: RunnerSpec) -> Iterable[Refusal]:
    place = _IN_SCHEDULER_YAML.format(runner.name)
    if model is None:
        if runner.model is None:
            message = f"the command of runner {runner.name!r} contains {MODEL}, but the job names no model"
            yield Refusal(("runner",), "model.missing", message, f"write model: NAME, or add a default, model, {place}")
        return
    if not runner.takes_model:
        message = f"the job names model {short(model)}, but the command of runner {runner.name!r} takes none"
        hint = f"delete it, choose another runner, or write {MODEL} in the command {place}"
        yield Refusal(("model",), "model.no-placeholder", message, hint)
        return
    if model == runner.model or any(model == each or fnmatchcase(model, each) for each in runner.job_models):
        return
    allowed = [*dict.fromkeys((*runner.job_models, *([runner.model] if runner.model is not None else [])))]
    message = f"jobs cannot ask for model {short(model)}; runner {runner.name!r} allows {listed(allowed) or 'none'}"
    near = did_you_mean(model[:100], [each for each in allowed if not re.search(r"[*?]", each)])
    yield Refusal(("model",), "model.not-allowed", message, near or f"delete it, or add it to job_models {place}")


def _args(args: Sequence[str], runner: RunnerSpec) -> Iterable[Refusal]:
    """The first word that is refused: what follows it may belong to it."""
    place = _IN_SCHEDULER_YAML.format(runner.name)
    if not runner.takes_args:
        message = f"the job has args, but the command of runner {runner.name!r} takes none"
        hint = f"delete them, choose another runner, or write {ARGS} in the command {place}"
        yield Refusal(("args",), "args.no-placeholder", message, hint)
        return
    options, words = dict(runner.job_args), iter(enumerate(args))
    for number, word in words:
        at, (name, equals, value) = number, word.partition("=")
        if name not in options:
            what = "option" if word.startswith("-") else "argument"
            known = listed(sorted(options)) or "none"
            message = f"jobs cannot pass {what} {short(name)}; runner {runner.name!r} allows {known}"
            near = did_you_mean(name[:100], options)
            yield _refused(at, message, near or f"delete it, or add it to job_args {place}")
            return
        pattern = options[name]
        if pattern is None:
            if equals:
                yield _refused(at, f"option {name} takes no value, but has {short(value)}", f"write {name}")
                return
            continue
        if not equals:
            at, following = next(words, (at, None))
            if following is None:
                message = f"option {name} has no value; runner {runner.name!r} allows what matches {short(pattern)}"
                yield _refused(at, message, f"write its value after it, or add {name}: null to job_args {place}")
                return
            value = following
            if value.startswith("-"):
                message = f"the value {short(value)} of option {name} could be taken for an option"
                yield _refused(at, message, f"write {name}={value}, if the program accepts that, as one word")
                return
        if re.fullmatch(pattern, value) is None:
            message = f"the value {short(value)} of option {name} is not allowed; it must match {short(pattern)}"
            yield _refused(at, message, f"change it, or the expression in job_args {place}")
            return
        if any(each in value for each in _HOLDERS):
            message = f"the value {short(value)} of option {name} contains a placeholder"
            yield _refused(at, message, f"placeholders belong in the command {place}")
            return


def _refused(number: int, message: str, hint: str) -> Refusal:
    return Refusal(("args", number), "args.not-allowed", message, hint)


def _workdir(job_id: str, workdir: str, runner: RunnerSpec) -> Iterable[Refusal]:
    if allowing_folder(workdir, runner) is None:
        said = (
            f"jobs cannot work in {short(workdir)}; runner {runner.name!r} allows {listed(runner.workdirs) or 'none'}"
        )
        place = _IN_SCHEDULER_YAML.format(runner.name)
        hint = f"begin it as an allowed folder is written, or add it to workdirs {place}"
        yield Refusal(
            ("workdir",), "workdir.not-allowed", said, hint if runner.workdirs else f"add it to workdirs {place}"
        )
    elif workdir == FRESH and _NO_BRANCH.search(job_id):
        said = f"git allows no branch with the id {short(job_id)}, and each fresh worktree has a branch run/ID/N"
        yield Refusal(("workdir",), "workdir.branch", said, "name a folder, or give the work to a job with another id")


def allowing_folder(workdir: str, runner: RunnerSpec) -> str | None:
    """The entry of the runner's `workdirs` that allows this working directory, or None.

    Compared as written: whether two names lead to one folder depends on the machine. The fire compares real paths.
    """
    if workdir == FRESH:
        return FRESH if FRESH in runner.workdirs else None
    ways = (each for each in runner.workdirs if each != FRESH)
    return next((each for each in ways if _is_below(_plain(workdir), _plain(each))), None)


def _plain(folder: str) -> str:
    return "." if folder == ROOT_FOLDER else posixpath.normpath(folder).replace("//", "/", 1)


def _is_below(folder: str, top: str) -> bool:
    if folder == top:
        return True
    if top == ".":
        return folder[0] not in "/~" and folder.split("/")[0] != ".."
    below = folder.removeprefix(f"{top.rstrip('/')}/")
    return below != folder and below.split("/")[0] != ".."
