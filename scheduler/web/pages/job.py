"""Job: how it does, with which texts, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.core.past.chart import Timeline
from scheduler.core.past.verdict import Verdict
from scheduler.core.values.forge import Forge
from scheduler.service.forge import forge_of_root
from scheduler.service.history import history
from scheduler.service.holds import Hold, hold_of
from scheduler.service.jobs import show_job
from scheduler.service.root import Root
from scheduler.service.timeline import changes_of, timeline
from scheduler.service.verdict import verdict
from scheduler.service.versions import NEWEST, list_versions
from scheduler.web import windows
from scheduler.web.api.asked import number_of
from scheduler.web.frame import zone_in
from scheduler.web.pages import explain

if TYPE_CHECKING:
    from scheduler.core.answers import ChangesJson, ExplainJson, RunJson, ShowJson
    from scheduler.core.comparisons import VersionJson

RUNS, VERSIONS, CHANGES = 20, 15, 15


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    about: ShowJson
    zone: str
    verdict: Verdict
    hold: Hold | None  # why it is not as its file says
    timeline: Timeline
    windows: Mapping[str, Mapping[str, str]]  # parameters of those beside this one, by what they are called
    answer: ExplainJson | None  # for `at`
    versions: list[VersionJson]
    runs: list[RunJson]
    more: bool  # runs than these
    changes: ChangesJson
    forge: Forge | None
    counted: int = NEWEST


def page(root: Root, query: Mapping[str, str], job_id: str) -> View:
    """query: `at`, an instant to explain; `from` and `to`, or `window` such as 7d, for the chart; `before`, a run.

    Raises: UnknownError, UsageError.
    """
    about = show_job(root, job_id)
    zone = about["job"]["schedule"].get("timezone") or "UTC"
    found = history(root, job_id, count=RUNS, before=number_of(query.get("before") or None))
    start, end = (explain.instant_in(root, job_id, query.get(name, "")) for name in ("from", "to"))
    drawn = timeline(root, job_id, since=start, until=end, back=windows.length(query))
    versions = list_versions(root, job_id, count=VERSIONS, newest=NEWEST)["versions"]
    return View(
        about=about,
        zone=zone,
        verdict=verdict(root, about["job"], versions, zone_in(query) or zone),
        hold=hold_of(root, job_id),
        timeline=drawn,
        windows=windows.beside(drawn.start, drawn.end),
        answer=explain.page(root, {"job": job_id, "at": query["at"]}).one if query.get("at") else None,
        versions=versions,
        runs=found["runs"],
        more=found["more"],
        changes=changes_of(root, job_id, count=CHANGES),
        forge=forge_of_root(root),
    )
