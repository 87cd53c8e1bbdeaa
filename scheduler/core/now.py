"""The JSON shapes of the pages Now and Jobs, as types. Types only, as in `answers`."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import TypedDict

from scheduler.core.answers import CommitJson, Instant, JobRowJson, StatusJson
from scheduler.core.spent import LimitJson


class PartOfDayJson(TypedDict):
    """A few minutes of the ribbon: how many runs ended, how, and how many are to come."""

    at: Instant
    failed: int
    succeeded: int
    other: int  # cancelled
    skipped: int
    coming: int


class OnRibbonJson(TypedDict):
    """A run under way."""

    id: str
    job_id: str
    started_at: Instant
    usual_ms: int | None  # the median of its newest successes


RibbonJson = TypedDict(
    "RibbonJson",
    {
        "from": Instant,
        "to": Instant,
        "complete_from": Instant,  # later than `from` if more runs ended than are read
        "parts": list[PartOfDayJson],
        "running": list[OnRibbonJson],
        "more_coming": bool,  # than are counted: of some jobs, only the first fires are
        "often": int,  # jobs that fire every five minutes or more often: none of their fires to come are counted
    },
)


class SpentTodayJson(TypedDict):
    currency: str
    amount: str  # exact
    limits: list[LimitJson]  # of the root


class ChangedJson(TypedDict):
    """What somebody changed, in words; one change for all that came at once."""

    at: Instant
    who: str
    text: str
    job_ids: list[str]  # the first few
    commit: CommitJson | None


class NowJson(TypedDict):
    status: StatusJson
    timezone: str  # of the root
    counts: dict[str, int]  # jobs by the outcome of their latest run, or by what keeps them from running
    ribbon: RibbonJson
    spent: list[SpentTodayJson]
    changes: list[ChangedJson]


class SlotJson(TypedDict):
    """Slots of a job that came to the same."""

    at: Instant  # the first
    status: str
    reason: str | None
    slots: int


class CostOfJson(TypedDict):
    amount: str
    currency: str


class ChangeOfJobJson(TypedDict):
    at: Instant
    what: str
    who: str
    commit: CommitJson | None


class ListedJson(JobRowJson):
    """A row of the page Jobs."""

    group: str | None  # that the row is in
    state: str  # `status`, but `failing` and so on by the latest run
    owner: str | None
    folder: str
    strip: list[SlotJson]  # the last 30 slots, oldest first
    change: ChangeOfJobJson | None
    cost: list[CostOfJson]  # of 7 days


class ListedPageJson(TypedDict):
    jobs: Sequence[ListedJson]
    total: int  # rows on all pages
    archived: int  # jobs that match; rows only if their status is asked for
    number: int  # of this page, from 1
    pages: int
