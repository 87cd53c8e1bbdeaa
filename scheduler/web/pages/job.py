"""Job: how it does, with which texts, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.service.history import history
from scheduler.service.jobs import show_job
from scheduler.service.root import Root
from scheduler.service.versions import list_versions
from scheduler.web.pages import explain

if TYPE_CHECKING:
    from scheduler.core.answers import ExplainJson, RunJson, ShowJson
    from scheduler.core.comparisons import VersionJson

RUNS, VERSIONS = 30, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    about: ShowJson
    zone: str
    versions: list[VersionJson]
    runs: list[RunJson]
    more: bool  # runs than these
    answer: ExplainJson | None  # for `at`


def page(root: Root, query: Mapping[str, str], job_id: str) -> View:
    """query: `at`, an instant to explain. Raises: UnknownError, UsageError."""
    about = show_job(root, job_id)
    found = history(root, job_id, count=RUNS)
    answer = explain.page(root, {"job": job_id, "at": query["at"]}).one if query.get("at") else None
    return View(
        about=about,
        zone=about["job"]["schedule"].get("timezone") or "UTC",
        versions=list_versions(root, job_id, count=VERSIONS)["versions"],
        runs=found["runs"],
        more=found["more"],
        answer=answer,
    )
