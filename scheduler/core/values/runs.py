"""Runs, their attempts, and what else the ledger holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from scheduler.core.values.budget import Reservation
from scheduler.core.values.codec import Stored, added_later, unsaid
from scheduler.core.values.facts import Commit, Lookup, NoCommit, Provenance, RunnerFile
from scheduler.core.values.spec import JobSpec
from scheduler.core.values.usage import AgentResult, Cost, EndClass, Tokens, all_costs, all_tokens


class RunStatus(StrEnum):
    QUEUED = "queued"
    CLAIMED = "claimed"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"

    @property
    def finished(self) -> bool:
        return self not in (RunStatus.QUEUED, RunStatus.CLAIMED, RunStatus.RUNNING)


def is_fault(reason: str | None) -> bool:
    """True for the reason of a skip that counts as an error of its job (F7); false for a benign one."""
    return reason is not None and (reason.startswith(("source_", "runner_")) or reason == "check_failed")


class Trigger(StrEnum):
    SCHEDULE = "schedule"
    MANUAL = "manual"
    CATCH_UP = "catch_up"
    RERUN = "rerun"


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshTree(Stored):
    """The git worktree that a run with `workdir: fresh` has, and what it changed there. Numbers are None if unknown."""

    branch: str
    commit: str  # that it started from
    folder: str | None  # None once it is removed
    commits: int | None = None  # of the branch, beyond `commit`; at 0, the branch goes with the folder
    files: int | None = None  # that differ from `commit`, committed or not, new ones too
    insertions: int | None = None  # lines
    deletions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Stored):
    """One try of a run."""

    n: int
    status: RunStatus
    reason: str | None = None
    started_at: datetime
    finished_at: datetime | None = None
    exit_code: int | None = None
    end_class: EndClass | None = None  # None while it runs, and if it never started
    cost: Cost | None = None
    tokens: Tokens | None = None
    host: str | None = added_later(None)  # of the worker; None for this machine


LOCAL = "local"  # the engine that is always there: processes of this machine
TEMPORAL = "temporal"  # workers on other machines, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere(Stored):
    """How a slot ends that another control plane serves. None while that is not known."""

    database: str  # its id
    status: str | None = None
    reason: str | None = None
    finished_at: datetime | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Stored):
    """One row of the ledger: a served slot, a manual trigger, or slots skipped for one reason."""

    n: int
    job_id: str
    fire_time: datetime | None = None  # None for a manual run
    fire_time_last: datetime | None = None
    slots: int = 1
    requested_at: datetime
    requested_by: str | None = None
    retry_at: datetime | None = None  # while it waits for its retry
    trigger: Trigger
    status: RunStatus
    reason: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_ms: int | None = None
    exit_code: int | None = None
    error: str | None = None
    attempts: tuple[Attempt, ...] = ()
    task_sha256: str | None = None
    task_bytes: int | None = None
    source_path: str | None = None
    source_sha256: str | None = None
    provenance: Provenance = Provenance()
    runner_files: tuple[RunnerFile, ...] | None = None  # of its last attempt; None if not known
    task_of: int | None = None  # the number of the run whose text this run reuses
    check_sha256: str | None = None  # of what its check printed, if that was added to the text
    generation: int
    result: str | None = None
    output_bytes: int | None = None
    truncated: bool = False
    worktree: FreshTree | None = None  # None without `workdir: fresh`, and if it has not started
    end_class: EndClass | None = None  # of its last attempt
    agent: AgentResult | None = None  # what the program of its last attempt said; None for plain text
    cost: Cost | None = None  # of all its attempts
    tokens: Tokens | None = None  # of all its attempts
    reserved: Reservation | None = None  # what it may spend; None if its job had no budget
    engine: str = added_later(LOCAL)  # that carries it out, or has carried out its last try
    task_queue: str | None = added_later(None)  # the workers that may take it; None for the local engine
    handle: str | None = added_later(None)  # what the engine calls its last try; None for the local engine
    elsewhere: Elsewhere | None = added_later(None)  # only if another control plane serves its slot

    @property
    def id(self) -> str:
        return f"{self.job_id}:{self.n}"

    @property
    def host(self) -> str | None:
        """The worker's host of its last try. None for this machine, and before it has begun."""
        return self.attempts[-1].host if self.attempts else None

    @property
    def is_unbegun_slot(self) -> bool:
        """True for a run of a slot that has not begun: if it waits, it may be skipped."""
        return not self.attempts and self.fire_time is not None

    @property
    def failed(self) -> bool:
        """True if it ended, and not as it should have: also a skip by a fault."""
        if self.status is RunStatus.SKIPPED:
            return is_fault(self.reason)
        return self.status in (RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.INTERRUPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attempt ended."""

    status: RunStatus
    reason: str | None = None  # None if it succeeded
    exit_code: int | None = None  # never negative; None if it was ended by a signal, or never started
    error: str | None = None  # for people
    result: str | None = None  # at most 64 KiB: the agent's answer, or the start of stdout, invalid UTF-8 replaced
    output_bytes: int | None = None  # written on both streams, whether kept or not
    truncated: bool = False
    agent: AgentResult | None = None  # None for plain text, and if nothing ran
    worktree: FreshTree | None = None  # None: as the run has it
    account: str | None = None  # that a quota or a credential has parked; None for any other end

    @property
    def end_class(self) -> EndClass | None:
        """None if no process ran."""
        if self.agent is not None:
            return self.agent.end_class
        if self.status is RunStatus.FAILED and self.output_bytes is None:
            return None
        return _CLASSES[self.status]

    def cost_after(self, earlier: Sequence[Attempt]) -> Cost | None:
        """What the run has cost, with its earlier attempts."""
        each = [one.cost for one in earlier if one.end_class is not None]
        if self.end_class is not None:
            each.append(None if self.agent is None else self.agent.cost)
        return all_costs(each)

    def tokens_after(self, earlier: Sequence[Attempt]) -> Tokens | None:
        """What the run has used, with its earlier attempts. A kind that is unknown of one attempt is unknown."""
        each = [one.tokens for one in earlier if one.end_class is not None]
        if self.end_class is not None:
            each.append(None if self.agent is None else self.agent.tokens)
        return all_tokens(one or Tokens() for one in each)


_CLASSES = {
    RunStatus.SUCCEEDED: EndClass.OK,
    RunStatus.FAILED: EndClass.TASK,
    RunStatus.TIMED_OUT: EndClass.TIMEOUT,
    RunStatus.CANCELLED: EndClass.CANCELLED,
    RunStatus.INTERRUPTED: EndClass.INTERRUPTED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Consecutive slots that did not run, for one reason."""

    first: datetime
    last: datetime
    slots: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One definition that a job had, and since when it was in force."""

    spec: JobSpec
    generation: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A period in which a daemon reported that it was running, and whether it fired."""

    owner: str
    began: datetime
    seen: datetime
    silent: str = ""  # why it fired nothing; empty if it fired
    over: bool = False  # it reported that it was about to stop
    once: bool = False  # `serve --once`, which is not expected to stay


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow(Stored):
    """One change: what, from what to what, when, at which commit, and who or what caused it."""

    at: datetime
    job_id: str  # or ROOT_JOB_ID
    action: str
    field: str | None = None
    before: Any = None
    after: Any = None
    revision: str | None = None
    actor: str
    cause: str
    commit: Commit | None = None  # that changed the file of the change
    no_commit: NoCommit | None = None  # why there is none; None if none was looked for, as outside a repository
    lookup: Lookup | None = unsaid(None)  # of a new row: what git is to be asked
