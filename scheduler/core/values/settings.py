"""What scheduler.yaml says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal

from scheduler.core.values.budget import RootBudget
from scheduler.core.values.channels import Alerts, Channel
from scheduler.core.values.codec import Stored, added_later, unsaid, unsaid_mapping
from scheduler.core.values.usage import Price, ResultFormat, told_format

ROOT_FILE = "scheduler.yaml"
BUDGET = "{budget}"  # in a runner's command: what the run may spend
ROOT_JOB_ID = "@root"  # audit rows about scheduler.yaml itself; no job id can start with @


SCRATCH = "scratch"  # the one reserved word for a cwd: a new, empty folder on a worker, gone after the run
MODEL, ARGS = "{model}", "{args}"  # in a runner's command


class TaskInput(StrEnum):
    """How a runner receives the task: on its standard input, as a file, or as one argument."""

    STDIN = "stdin"
    FILE = "file"
    ARG = "arg"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSpec(Stored):
    """One entry of `runners` in scheduler.yaml: how a task becomes a process."""

    name: str
    command: tuple[str, ...]  # argv, never a shell line; may contain {task_file} or {task}, {model} and {args}
    input: TaskInput
    env: tuple[tuple[str, str], ...] = ()  # fixed values, sorted by name
    env_from: tuple[str, ...] = ()  # names passed through from the scheduler's own environment
    job_env: tuple[str, ...] = ()  # names a job may set with `env`
    tasks: tuple[str, ...] | None = None  # globs of task files it may receive; None for any
    jobs: tuple[str, ...] | None = added_later(None)  # patterns of the jobs that may use it, by id or tag; None for all
    max_timeout: timedelta | None = added_later(None)  # the longest timeout that a job may have with it; None for any
    cwd: str = "."  # root-relative POSIX path, or SCRATCH
    # The files of the root that the command names, by path, and what each holds. Filled in by code that reads the root.
    files: tuple[tuple[str, str], ...] = unsaid(())
    result_format: ResultFormat | None = unsaid(None)  # as written; see `prints`
    model: str | None = unsaid(None)  # for jobs that name none
    job_models: tuple[str, ...] = unsaid(())  # names or globs of models that jobs may name
    # Options that jobs may pass, sorted, each with the expression that its whole value matches; None: it takes none.
    job_args: tuple[tuple[str, str | None], ...] = unsaid(())
    workdirs: tuple[str, ...] = unsaid(())  # folders that jobs may work in or below, as written, and FRESH
    account: str | None = unsaid(None)  # as written; see `uses`
    task_queue: str | None = unsaid(None)  # for jobs that name none

    @property
    def takes_model(self) -> bool:
        return any(MODEL in word for word in self.command)

    @property
    def takes_args(self) -> bool:
        return ARGS in self.command

    def words(self, model: str | None, args: Sequence[str], budget: str | None = None) -> tuple[str, ...]:
        """The command after its program, with what a job asks for. The task is still missing."""
        found: list[str] = []
        for word in self.command[1:]:
            if word == ARGS:
                found += args
            else:
                asked = word if model is None else word.replace(MODEL, model)
                found.append(asked if budget is None else asked.replace(BUDGET, budget))
        return tuple(found)

    @property
    def prints(self) -> ResultFormat:
        """The format of what the program prints: as written, or told from its name."""
        return self.result_format or told_format(self.command)

    @property
    def takes_budget(self) -> bool:
        """True if the command tells the program what it may spend."""
        return any(BUDGET in word for word in self.command)

    @property
    def uses(self) -> str:
        """The account whose limits its runs share with those of other runners."""
        return self.account or self.name

    @property
    def bare_task(self) -> int | None:
        """The word of the command that is exactly the task, if a program could mistake that for an option."""
        for number, word in enumerate(self.command):
            if word == "--":
                return None
            if word == "{task}":
                return number
        return None

    def takes_for_option(self, text: bytes) -> bool:
        """True if the program would take this text, passed as an argument, for an option."""
        return self.bare_task is not None and text.startswith(b"-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(Stored):
    max_jobs: int = 10_000
    task_bytes: int = 256 * 1024
    output_bytes: int = 10 * 1024 * 1024
    max_running: int = added_later(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune(Stored):
    """The guard (S4): more archives than this in one pass wait for a person."""

    max_percent: int = 50
    max_jobs: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention(Stored):
    """What is deleted, and when: output by its age, rows of a history only on request."""

    output_days: int = 90  # 0 means never
    runs: int | None = None  # rows kept per job; None for all
    worktree_days: int = added_later(14)  # 0 means never
    worktrees: int = added_later(20)  # folders kept per job; 0 means any number


AgentEdits = Literal["commit", "branch", "working-tree"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents(Stored):
    """What agents may do to jobs, and to which (core/agents.py)."""

    jobs: tuple[str, ...]  # ids or tag:, as globs
    verbs: tuple[str, ...] = ("update",)
    fields: tuple[str, ...] = ("task", "name", "description", "tags", "schedule", "enabled")
    paths: tuple[str, ...] = ()  # globs of files that they may create
    edits: AgentEdits = "branch"  # the least that an edit must be; a branch is the most


@dataclass(frozen=True, slots=True, kw_only=True)
class Worktree(Stored):
    """Which state of the repository counts as intended (S8)."""

    branch: str | None = None  # on another one a sync is held; None for any
    dirty: Literal["run", "skip"] = "run"  # what happens to a slot whose task is not as it was committed


DEFAULT_JOBS = ("jobs/**/*.yaml", "jobs/**/*.yml", "jobs/**/*.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Stored):
    """scheduler.yaml, parsed: one frozen value per pass."""

    version: int = 1
    jobs: tuple[str, ...] = DEFAULT_JOBS
    timezone: str = "UTC"
    defaults: Mapping[str, Any] = field(default_factory=dict)  # job keys as plain YAML values
    runners: Mapping[str, RunnerSpec] = field(default_factory=dict)
    hosts: tuple[str, ...] | None = None  # None for every host
    limits: Limits = Limits()
    prune: Prune = Prune()
    retention: Retention = added_later(Retention())
    agents: Agents | None = unsaid(None)  # None: they can only read
    worktree: Worktree = added_later(Worktree())
    prices: tuple[Price, ...] = unsaid(())  # sorted by model
    currency: str = unsaid("USD")  # of all budgets; ISO 4217
    budget: RootBudget | None = unsaid(None)  # of all jobs together; None: no limit
    channels: Mapping[str, Channel] = unsaid_mapping()
    alerts: Alerts = unsaid(Alerts())
    base_url: str | None = unsaid(None)  # without a slash at its end


# Settings that differ have dotted names, such as runners.agent.command and runners.agent.files.bin/agent.sh.
def runner_of(field: str) -> str | None:
    """The runner whose setting a field of `root_changes` is."""
    return field.split(".")[1] if field.startswith("runners.") else None


def channel_of(field: str) -> str | None:
    """The channel whose setting such a field is."""
    return field.split(".")[1] if field.startswith("channels.") else None


def runner_file_of(field: str) -> str | None:
    """The file of the root, root-relative, that such a field is about: one that a runner's command names."""
    return named_file_of(field) if field.startswith("runners.") else None


def named_file_of(field: str) -> str | None:
    """The file of the root that such a field is about: one that the command of a runner or a channel names."""
    parts = field.split(".", 3)
    return parts[3] if len(parts) == 4 and parts[0] in ("runners", "channels") and parts[2] == "files" else None


def converted_file_of(field: str) -> str | None:
    """The file of the root whose attributes such a field tells of: attributes.scripts/a.sh."""
    first, _, path = field.partition(".")
    return path if first == "attributes" else None


def is_inherited_setting(field: str) -> bool:
    """Whether jobs take the setting over that such a field tells of: a default, or the time zone."""
    return field == "timezone" or field.startswith("defaults.")
