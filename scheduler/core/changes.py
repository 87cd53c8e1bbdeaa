"""The JSON shapes of interface.md, as types: what plans, reviews, edits and imports answer.

Types only, as in `answers`.
"""

from __future__ import annotations

from typing import Any, NotRequired

from typing_extensions import TypedDict

from scheduler.core.answers import BeforeAfterJson, FireTimeJson, Instant, JobJson, ProblemJson, RevisionJson, Values


class ScheduleTextJson(TypedDict, total=False):
    schedule_text: BeforeAfterJson  # if the schedule is among the changes


class UpdateJson(ScheduleTextJson):
    id: str
    changes: dict[str, BeforeAfterJson]
    next_fires: dict[str, list[Instant]]  # before and after
    widens: list[str]
    inherited: list[str]  # fields that change only as the defaults of scheduler.yaml do


MoveJson = TypedDict("MoveJson", {"id": str, "from": str, "to": str})


class TaskChangeJson(TypedDict):
    id: str
    path: str
    before_sha256: str | None
    after_sha256: str | None


class RootChangeJson(BeforeAfterJson):
    field: str
    widens: bool
    jobs: NotRequired[list[str]]  # the jobs that use the runner, channel or file, or inherit the default


class RunnerPairJson(TypedDict):
    """A job that is added or back, and the runner that is new for it. In a plan, also who is new to be told."""

    id: str
    runner: str
    deliver: NotRequired[list[str]]
    ping: NotRequired[str]


class GuardJson(TypedDict):
    would_archive: int
    ids: list[str]
    token: str
    why: str
    put_back: NotRequired[str | None]  # the command that puts the lost files back


class DriftJson(TypedDict):
    id: str
    status: str
    reason: str | None
    until: Instant | None
    by: str | None
    at: Instant | None


class CostChangeJson(TypedDict):
    """What a job may cost in 30 days before and after a change. Amounts are exact, as text."""

    id: str
    currency: str
    median: str | None  # cost of its recent runs; None is unknown
    before: str | None  # its runs in 30 days times that
    after: str | None
    most_before: str | None  # what its budget allows; None without one
    most_after: str | None


class CostsJson(TypedDict, total=False):
    costs: list[CostChangeJson]  # of a plan, if any changes


class PlanJson(RevisionJson, CostsJson):
    held: str | None
    created: list[str]
    schedule_texts: dict[str, str]
    first_fires: dict[str, Instant | None]  # of the same jobs
    updated: list[UpdateJson]
    runner_pairs: list[RunnerPairJson]
    moved: list[MoveJson]
    archived: list[str]
    revived: list[str]
    unchanged: int
    task_changed: list[TaskChangeJson]
    root_changed: list[RootChangeJson]
    problems: list[ProblemJson]
    guard: GuardJson | None
    duration_ms: int
    drift: NotRequired[list[DriftJson]]
    dropped_deliveries: NotRequired[int]  # that waited for channels which are gone; absent if there were none


class ReviewedJobsJson(TypedDict):
    jobs: dict[str, dict[str, Any]]
    runners: dict[str, list[str]]
    runner_pairs: list[RunnerPairJson]
    runner_jobs: dict[str, list[str]]
    task_diffs: list[dict[str, Any]]


class ReviewJson(PlanJson, ReviewedJobsJson):
    base: dict[str, str | None] | None
    head: dict[str, str | None] | None
    notes: list[str]


class ProposedJson(TypedDict):
    """A job as an edit would have it."""

    schedule_text: str
    next_fires: list[FireTimeJson]
    changed: list[str]  # keys of the definition in force that it changes
    widens: list[str]
    kept: Values  # keys of the schedule that the edit did not name
    dropped: Values  # keys of the schedule that no longer have a meaning


class EditJson(TypedDict):
    root: str
    job: JobJson | None
    job_id: str
    applied: str
    why: str | None
    guard: GuardJson | None
    file: str | None
    files: list[str]
    diff: str
    commit: str | None
    branch: str | None
    proposed: ProposedJson | None


class ImportedJobJson(TypedDict):
    id: str
    name: str | None
    file: str | None
    task_file: str | None
    line: int
    files: str
    history: str | None


class ImportedRunnerJson(TypedDict):
    name: str
    command: list[str]
    tasks: list[str] | None  # globs of the tasks that it accepts; None accepts anything
    jobs: list[str]  # the imported ones that it runs


class ImportedSourceJson(TypedDict):
    path: str
    format: str
    why: str  # how the format was told


class ImportedAgentsJson(TypedDict):
    verbs: list[str]
    jobs: list[str]  # the imported ones that agents may change


class ImportJson(TypedDict):
    source: str
    jobs: list[ImportedJobJson]
    written: list[str]
    found: list[ImportedSourceJson]  # of `import auto`
    runners: list[ImportedRunnerJson]
    agents: ImportedAgentsJson | None
    problems: list[ProblemJson]
    applied: str
    why: str | None
    guard: GuardJson | None
    held: str | None
    fault: str | None
    paused: list[str]  # the jobs that it has created and holds back
    live: bool  # a daemon already fires them
