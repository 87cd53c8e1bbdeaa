"""The values that all other code uses: what files say, what the store holds, what runs did.

Desired state (`JobSpec`, `Settings`) and observed state (`Job`, `Run`) are different types on purpose: a definition can
be compared and replaced, a history cannot.
Instants are aware UTC; durations are `timedelta`, or whole milliseconds in names ending in `_ms`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from scheduler.core.values.budget import Budget
from scheduler.core.values.channels import DEFAULT_DELIVER_ON, DeliverOn
from scheduler.core.values.codec import Stored, added_later, later_defaults, unsaid


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule(Stored):
    """When a job is due: one entry, with exactly one of `cron`, `every`, `at`; several entries, united; or never.

    Unset fields are not stored, so that definitions stored before a key existed still compare equal.
    """

    union: tuple[Schedule, ...] = unsaid((), key="any")  # two or more, in the order of the file; one jitter for all
    manual: bool = unsaid(False)  # it is never due
    cron: str | None = unsaid(None)  # 5 fields, 6 with the second first, or a macro such as @hourly, as written
    every: timedelta | None = unsaid(None)  # at whole multiples since the Unix epoch, plus `phase`
    at: datetime | None = unsaid(None)  # aware UTC
    phase: timedelta = unsaid(timedelta(0))  # of `every`, and shorter
    timezone: str  # IANA name, never the machine's zone; of several entries the first one's
    starts: datetime | None = unsaid(None)  # aware UTC; slots before it do not count
    ends: datetime | None = unsaid(None)  # aware UTC; slots after it do not count
    jitter: timedelta = unsaid(timedelta(0))  # a run starts less than this after its slot; not part of the slot

    @property
    def entries(self) -> tuple[Schedule, ...]:
        return self.union or (self,)

    @property
    def timing(self) -> Schedule:
        """The schedule without its jitter and the order of its entries: equal timings name the same slots (S6)."""
        if self.union:
            entries = sorted(self.union, key=lambda entry: json.dumps(entry.to_json(), sort_keys=True))
            return Schedule(timezone=entries[0].timezone, union=tuple(entries))
        return replace(self, jitter=timedelta(0)) if self.jitter else self

    def until(self, last: datetime) -> Schedule:
        """The same schedule without the slots after `last`."""
        if self.union:
            return replace(self, union=tuple(entry.until(last) for entry in self.union))
        return replace(self, ends=last if self.ends is None else min(self.ends, last))


MANUAL = "manual"  # the one reserved word for a schedule
FRESH = "fresh"  # the one reserved word for a workdir: a new git worktree for each run
HERE = "local"  # the one reserved word for a task queue: the processes of the scheduler's own machine
ROOT_FOLDER = "root"  # how files call the folder of scheduler.yaml
FAILURE_LIMIT = 10


class Concurrency(StrEnum):
    """What happens to a slot that comes due while the job is still running."""

    FORBID = "forbid"  # it is skipped, `overlap`
    QUEUE = "queue"  # it waits; a newer one takes its place
    REPLACE = "replace"  # the current run is ended first
    ALLOW = "allow"  # it runs in parallel


class CatchUpPolicy(StrEnum):
    """Which of the slots that passed while no daemon was running run after all."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp(Stored):
    """What happens to missed slots. `within`: how late one may start; None: by the rule of `due.patience`."""

    policy: CatchUpPolicy = CatchUpPolicy.LATEST
    within: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry(Stored):
    """Whether and when a run that did not succeed is retried. `attempts` counts the first try too."""

    attempts: int = 1
    delay: timedelta = timedelta(seconds=30)  # before the second try
    backoff: float = 2  # the factor by which each further delay is longer
    max_delay: timedelta = timedelta(hours=1)
    on: tuple[str, ...] = ("failed", "timed_out")  # statuses of an attempt, or classes of its end


CHECK_TIMEOUT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSpec(Stored):
    """What decides before the first attempt of a slot whether there is work for the job."""

    runner: str
    task: str | None = None  # the text itself, if it is in the job file
    task_source_path: str | None = None  # the file of the text otherwise
    timeout: timedelta = CHECK_TIMEOUT
    output: str = "ignore"  # or append: what it prints is added to what the job is given


NONEMPTY = "nonempty"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectSpec(Stored):
    """What a success must leave."""

    result: str | None = None  # nonempty, or a regular expression between slashes
    file: str | None = None  # root-relative; written since the run started

    @property
    def pattern(self) -> str:
        """The regular expression of `result`."""
        assert self.result is not None
        return self.result[1:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec(Stored):
    """Desired state of one job: its resolved definition (defaults merged), never what happened to it.

    Neither the task text nor the job's file is part of it: editing a prompt or moving a file changes no definition.
    """

    id: str  # stable; written in the file, so it survives a rename
    name: str
    description: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    enabled: bool = True
    schedule: Schedule
    task_source_path: str | None = None  # None if the text is in the job file itself
    runner: str
    env: tuple[tuple[str, str], ...] = ()  # sorted by name
    timeout: timedelta = timedelta(minutes=30)
    concurrency: Concurrency = Concurrency.FORBID
    failure_limit: int = added_later(FAILURE_LIMIT)  # consecutive errors that stop the job; 0 for no limit
    expires: datetime | None = added_later(None)  # aware UTC; no slot after it is due
    retry: Retry = added_later(Retry())
    expect_every: timedelta | None = added_later(None)  # without a success for longer, somebody is notified
    catch_up: CatchUp = added_later(CatchUp())
    model: str | None = added_later(None)  # None: the runner's
    args: tuple[str, ...] = added_later(())  # words for {args} in the runner's command
    workdir: str | None = added_later(None)  # FRESH or a folder, as written; None: the runner's cwd
    task_queue: str | None = added_later(None)  # as written; see `formats.queues`. None: the runner's
    check: CheckSpec | None = added_later(None)
    expect: ExpectSpec | None = added_later(None)
    budget: Budget | None = added_later(None)  # None: it may spend anything
    deliver: tuple[str, ...] = added_later(())  # names of channels
    deliver_on: tuple[DeliverOn, ...] = added_later(DEFAULT_DELIVER_ON)
    ping: str | None = added_later(None)  # a URL, or a reference to one

    @property
    def of_check(self) -> JobSpec:
        """The job as its check runs: with the runner, the text and the timeout of the check."""
        assert self.check is not None
        check = self.check
        return replace(
            self,
            runner=check.runner,
            task_source_path=check.task_source_path,
            timeout=check.timeout,
            model=None,
            args=(),
            workdir=None,
            task_queue=HERE,
        )

    @property
    def runners(self) -> tuple[str, ...]:
        """The runners that it uses: its own, and that of its check."""
        return (self.runner,) if self.check is None else (self.runner, self.check.runner)

    @property
    def task_paths(self) -> tuple[str, ...]:
        """The files whose whole content is a text of the job: its task, and its check."""
        named = (self.task_source_path, None if self.check is None else self.check.task_source_path)
        return tuple(path for path in named if path is not None)

    @property
    def due_by(self) -> Schedule:
        """The schedule as far as the job is due by it: up to `expires`."""
        if self.expires is None:
            return self.schedule
        return self.schedule.until(self.expires)

    @property
    def digest(self) -> str:
        """sha256 of the definition; equal digests mean equal definitions."""
        return definition_digest(self.to_json())


def definition_digest(definition: Mapping[str, Any]) -> str:
    """The digest of a definition as JSON.

    A key that earlier versions did not know counts only if it is set, so that existing digests stay the same.
    """
    unset = later_defaults(JobSpec)
    said = {name: value for name, value in definition.items() if unset.get(name, ...) != value}
    return hashlib.sha256(_compact(said).encode()).hexdigest()


_compact = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
