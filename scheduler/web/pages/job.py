"""Job: how it does, with which texts, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.core.past.chart import Timeline
from scheduler.service.history import history
from scheduler.service.jobs import show_job
from scheduler.service.root import Root
from scheduler.service.timeline import timeline
from scheduler.service.versions import list_versions
from scheduler.web import windows
from scheduler.web.pages import explain

if TYPE_CHECKING:
    from scheduler.core.answers import ExplainJson, RunJson, ShowJson
    from scheduler.core.comparisons import VersionJson

RUNS, VERSIONS = 30, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    about: ShowJson
    zone: str
    timeline: Timeline
    windows: Mapping[str, Mapping[str, str]]  # parameters of those beside this one, by what they are called
    answer: ExplainJson | None  # for `at`
    versions: list[VersionJson]
    runs: list[RunJson]
    more: bool  # runs than these


def page(root: Root, query: Mapping[str, str], job_id: str) -> View:
    """query: `at`, an instant to explain; `from` and `to`, or `window` such as 7d, for the chart.

    Raises: UnknownError, UsageError.
    """
    about = show_job(root, job_id)
    found = history(root, job_id, count=RUNS)
    start, end = (explain.instant_in(root, job_id, query.get(name, "")) for name in ("from", "to"))
    drawn = timeline(root, job_id, since=start, until=end, back=windows.length(query))
    return View(
        about=about,
        zone=about["job"]["schedule"].get("timezone") or "UTC",
        timeline=drawn,
        windows=windows.beside(drawn.start, drawn.end),
        answer=explain.page(root, {"job": job_id, "at": query["at"]}).one if query.get("at") else None,
        versions=list_versions(root, job_id, count=VERSIONS)["versions"],
        runs=found["runs"],
        more=found["more"],
    )
