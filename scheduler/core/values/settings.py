"""What scheduler.yaml says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal

from scheduler.core.values.instants import milliseconds

ROOT_FILE = "scheduler.yaml"
ROOT_JOB_ID = "@root"  # audit rows about scheduler.yaml itself; no job id can start with @


class TaskInput(StrEnum):
    """How a runner is handed the task: on its standard input, as a file, or as one argument."""

    STDIN = "stdin"
    FILE = "file"
    ARG = "arg"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSpec:
    """One entry of `runners` in scheduler.yaml: how a task becomes a process."""

    name: str
    command: tuple[str, ...]  # argv, never a shell line; may hold {task_file} or {task}
    input: TaskInput
    env: tuple[tuple[str, str], ...] = ()  # fixed values, sorted by name
    env_from: tuple[str, ...] = ()  # names passed through from the scheduler's own environment
    job_env: tuple[str, ...] = ()  # names a job may set with `env`
    tasks: tuple[str, ...] | None = None  # globs of task files it may be given; None: any
    jobs: tuple[str, ...] | None = None  # patterns of the jobs that may use it, by id or tag; None: all
    max_timeout: timedelta | None = None  # the longest timeout that a job may have with it; None: any
    cwd: str = "."  # root-relative POSIX path

    def to_json(self) -> dict[str, Any]:
        return {
            "command": list(self.command),
            "input": self.input.value,
            "env": dict(self.env),
            "env_from": list(self.env_from),
            "job_env": list(self.job_env),
            "tasks": None if self.tasks is None else list(self.tasks),
            "jobs": None if self.jobs is None else list(self.jobs),
            "max_timeout_ms": None if self.max_timeout is None else milliseconds(self.max_timeout),
            "cwd": self.cwd,
        }

    @classmethod
    def from_json(cls, name: str, found: Mapping[str, Any]) -> RunnerSpec:
        tasks = found["tasks"]
        jobs, max_timeout = found.get("jobs"), found.get("max_timeout_ms")  # absent where they were stored before
        return cls(
            name=name,
            command=tuple(found["command"]),
            input=TaskInput(found["input"]),
            env=tuple(sorted(found["env"].items())),
            env_from=tuple(found["env_from"]),
            job_env=tuple(found["job_env"]),
            tasks=None if tasks is None else tuple(tasks),
            jobs=None if jobs is None else tuple(jobs),
            max_timeout=None if max_timeout is None else timedelta(milliseconds=max_timeout),
            cwd=found["cwd"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    max_jobs: int = 10_000
    task_bytes: int = 256 * 1024
    output_bytes: int = 10 * 1024 * 1024
    max_running: int = 16

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """The guard (S4): more archives than this in one pass wait for a person."""

    max_percent: int = 50
    max_jobs: int = 20

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What is thrown away, and when: outputs by their age, rows of a history only if asked to."""

    output_days: int = 90  # 0: never
    runs: int | None = None  # rows kept of each job; None: all

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


AgentEdits = Literal["commit", "branch", "working-tree"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """What agents may do to jobs, and to which (core/agents.py)."""

    jobs: tuple[str, ...]  # ids or tag:, as globs
    verbs: tuple[str, ...] = ("update",)
    fields: tuple[str, ...] = ("task", "name", "description", "tags", "schedule", "enabled")
    paths: tuple[str, ...] = ()  # globs of files that they may make
    edits: AgentEdits = "branch"  # the least that an edit must be; a branch is the most

    def to_json(self) -> dict[str, Any]:
        lists = {name: list(getattr(self, name)) for name in ("jobs", "verbs", "fields", "paths")}
        return {**lists, "edits": self.edits}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Agents:
        lists = {name: tuple(found[name]) for name in ("jobs", "verbs", "fields", "paths")}
        return cls(**lists, edits=found["edits"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Worktree:
    """Which state of the repository may be taken for what is meant (S8)."""

    branch: str | None = None  # on another one a sync is held; None: any
    dirty: Literal["run", "skip"] = "run"  # what becomes of a slot whose task is not as it was committed

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


DEFAULT_JOBS = ("jobs/**/*.yaml", "jobs/**/*.yml", "jobs/**/*.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """scheduler.yaml, parsed: one frozen value per pass."""

    version: int = 1
    jobs: tuple[str, ...] = DEFAULT_JOBS
    timezone: str = "UTC"
    defaults: Mapping[str, Any] = field(default_factory=dict)  # job keys as plain YAML values
    runners: Mapping[str, RunnerSpec] = field(default_factory=dict)
    hosts: tuple[str, ...] | None = None  # None: every host
    limits: Limits = Limits()
    prune: Prune = Prune()
    retention: Retention = Retention()
    agents: Agents | None = None  # None: they only read
    worktree: Worktree = Worktree()

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "jobs": list(self.jobs),
            "timezone": self.timezone,
            "defaults": dict(self.defaults),
            "runners": {name: runner.to_json() for name, runner in sorted(self.runners.items())},
            "hosts": None if self.hosts is None else list(self.hosts),
            "limits": self.limits.to_json(),
            "prune": self.prune.to_json(),
            "retention": self.retention.to_json(),
            **({} if self.agents is None else {"agents": self.agents.to_json()}),
            "worktree": self.worktree.to_json(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Settings:
        hosts = found["hosts"]
        agents = found.get("agents")
        return cls(
            version=found["version"],
            jobs=tuple(found["jobs"]),
            timezone=found["timezone"],
            defaults=found["defaults"],
            runners={name: RunnerSpec.from_json(name, each) for name, each in found["runners"].items()},
            hosts=None if hosts is None else tuple(hosts),
            limits=Limits(**found["limits"]),
            prune=Prune(**found["prune"]),
            retention=Retention(**found.get("retention", {})),  # absent where they were stored before
            agents=None if agents is None else Agents.from_json(agents),
            worktree=Worktree(**found.get("worktree", {})),
        )
