"""worker.yaml: what a host takes from which queues, and what it insists on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from scheduler.core.formats import rules
from scheduler.core.formats.base import Line, Shape, optional_key
from scheduler.core.formats.enginefile import TemporalShape, read_host_file, server_of
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.formats.shapes import QueueName, RunnerName
from scheduler.core.values.engines import MAX_RUNNING, OUTPUT_DAYS, WorkerSettings
from scheduler.core.values.problems import Problem
from scheduler.core.values.remote import Remote, read_remote
from scheduler.core.values.settings import RunnerSpec

FROM_COMMIT = "commit"


def _any_or_given(value: Any) -> Any:
    return None if value == "any" else rules.given(value)


class RootShape(Shape):
    """The repository from which the worker takes the folder of a commit."""

    url: Line = Field(description="As for scheduler clone.", examples=["git@git.internal:ops/prompts"])
    branch: Line | None = optional_key("The branch whose commits are served.", "main")
    tag: Line | None = optional_key("Or the tag.", "prod")
    path: Line = Field(default=".", description="The folder of scheduler.yaml in the repository.")
    verify: Literal["signed"] | None = optional_key("signed: only commits whose signature is good.", "signed")
    allowed_signers: Line | None = optional_key("Whose signatures are good.", "/etc/scheduler/signers")


class WorkerShape(Shape):
    """worker.yaml."""

    inner: ClassVar[Mapping[str, type[Shape]]] = {"temporal": TemporalShape, "root": RootShape}

    temporal: TemporalShape
    name: Annotated[Line, AfterValidator(rules.queue_name)] | None = optional_key(
        "What runs call this worker's host. Default: the name of the host.", "gpu-1"
    )
    state: Line | None = optional_key("The folder for its journal and outputs. Default: below $XDG_STATE_HOME.")
    queues: Annotated[list[QueueName], AfterValidator(rules.not_empty)] = Field(
        description="The queues that it takes runs from.", examples=[["default", "gpu"]]
    )
    max_running: int = Field(default=MAX_RUNNING, ge=1, le=1000, description="How many runs it has at once.")
    runners: Annotated[dict[RunnerName, dict[str, Any]] | None, BeforeValidator(_any_or_given)] = Field(
        description="The runners it serves, each defined as in scheduler.yaml, or {from: commit}. any: all of them.",
        examples=[{"shell": {"from": "commit"}}],
    )
    texts: Literal["any", "committed"] = Field(
        default="any", description="committed: only texts that are a file of a commit that this host accepts."
    )
    root: RootShape | None = optional_key("Default: it serves only runners with cwd: scratch.")
    output_days: int = Field(default=OUTPUT_DAYS, ge=1, le=36_500, description="How long it keeps outputs.")


def read_worker_file(data: bytes, *, path: str) -> tuple[WorkerSettings | None, tuple[Problem, ...]]:
    """What the file says, or None if it has an error; its problems, sorted. Never raises, whatever the bytes."""
    shape, problems = read_host_file(WorkerShape, data, path=path)
    if shape is None:
        return None, problems
    try:
        runners = None if shape.runners is None else _runners(shape.runners)
        root = None if shape.root is None else _remote(shape.root)
        _check(shape, runners)
    except ValueError as error:
        return None, (*problems, Problem(path, 1, 1, "value.choice", str(error)))
    return WorkerSettings(
        server=server_of(shape.temporal),
        name=shape.name,
        state=shape.state,
        queues=tuple(dict.fromkeys(shape.queues)),
        max_running=shape.max_running,
        runners=runners,
        texts=shape.texts,
        root=root,
        allowed_signers=None if shape.root is None else shape.root.allowed_signers,
        output_days=shape.output_days,
    ), problems


def _runners(said: Mapping[str, Mapping[str, Any]]) -> dict[str, RunnerSpec | None]:
    """Raises: ValueError."""
    from_commit = {"from": FROM_COMMIT}
    own = {name: each for name, each in said.items() if each != from_commit}
    settings, problems = read_root_file(json.dumps({"version": 1, "runners": own}).encode(), path="runners")
    if settings is None:
        first = next(each for each in problems if each.is_error)
        raise ValueError(f"runners: {first.message}" + (f"; {first.hint}" if first.hint else ""))
    return {name: settings.runners.get(name) for name in said}


def _remote(said: RootShape) -> Remote:
    """Raises: ValueError."""
    known = {"url": said.url, "branch": said.branch, "tag": said.tag, "path": said.path, "verify": said.verify}
    try:
        return read_remote(json.dumps({"version": 1, **known}).encode())
    except ValueError as error:
        raise ValueError(f"root: {error}") from None


def _check(shape: WorkerShape, runners: Mapping[str, RunnerSpec | None] | None) -> None:
    """Raises: ValueError."""
    if shape.root is None:
        if shape.texts == "committed":
            raise ValueError("texts: committed needs a root, whose commits are looked at")
        if runners is not None and (name := next((name for name, each in runners.items() if each is None), None)):
            raise ValueError(f"runner {name!r} is from: commit, which needs a root")
    elif (shape.root.verify is None) != (shape.root.allowed_signers is None):
        raise ValueError("root: verify: signed and allowed_signers belong together")
