"""The JSON of log, diff and versions: what ran, compared with what has changed since. See `answers`."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import TypedDict

from scheduler.core.answers import (
    BeforeAfterJson,
    BroughtJson,
    CostJson,
    Instant,
    OfCommitJson,
    RevisionJson,
    RunnerFileJson,
    TokensJson,
    Values,
)


class OriginJson(BroughtJson):
    """How a definition or a text came into force."""

    since: Instant


class RunEntryJson(TypedDict):
    at: Instant
    kind: str  # "run"
    run: Values  # RunJson without result and attempts
    text: OriginJson | None
    definition: OriginJson | None


class ChangeEntryJson(BroughtJson):
    at: Instant
    kind: str  # "change"
    changes: list[Values]


class LogJson(TypedDict):
    job_id: str
    log: list[RunEntryJson | ChangeEntryJson]
    total: int


class SideJson(RevisionJson):
    """One end of a comparison."""

    run: str | None
    at: Instant
    status: str | None
    duration_ms: int | None
    cost: CostJson | None
    tokens: TokensJson | None
    model_served: str | None
    generation: int | None
    task_sha256: str | None
    source_path: str | None
    text: OriginJson | None
    definition: OriginJson | None
    no_text: str | None
    runner_files: list[RunnerFileJson] | None


class DiffJson(TypedDict):
    job_id: str
    before: SideJson
    after: SideJson
    definition: dict[str, BeforeAfterJson]
    schedule_text: BeforeAfterJson | None
    runners: dict[str, BeforeAfterJson]
    runner_files: dict[str, BeforeAfterJson]
    text_changed: bool | None
    text_diff: str | None
    changes: list[ChangeEntryJson]
    runs_between: Mapping[str, int]


class FigureJson(TypedDict):
    value: float  # a median, or the share of successes
    n: int  # of so many runs
    enough: bool  # False: too few to say


class FiguresJson(TypedDict):
    """Of the runs that say something about the text: quota, credential and the like do not. None is unknown."""

    n: int
    enough: bool
    currency: str | None
    cost: FigureJson | None
    tokens: FigureJson | None
    duration_ms: FigureJson | None
    slow_ms: FigureJson | None  # 19 of 20 runs took no longer
    success: FigureJson | None


class FigureChangeJson(TypedDict):
    before: float
    after: float
    by: float
    share: float | None


class FiguresChangeJson(TypedDict):
    """None: too few runs to say, on either side."""

    cost: FigureChangeJson | None
    tokens: FigureChangeJson | None
    duration_ms: FigureChangeJson | None
    success: FigureChangeJson | None


class VersionJson(OfCommitJson):
    task_sha256: str
    task_bytes: int | None
    source_path: str | None
    runner_files: list[RunnerFileJson] | None
    current: bool
    first_fired_at: Instant | None
    last_fired_at: Instant | None
    first_run: str | None
    last_run: str | None
    runs: int
    statuses: dict[str, int]
    success_rate: float | None
    median_duration_ms: int | None
    cost_usd: float | None
    figures: FiguresJson
    change: FiguresChangeJson | None  # against the version that ran before it


class VersionsJson(TypedDict):
    job_id: str
    versions: list[VersionJson]
    total: int
