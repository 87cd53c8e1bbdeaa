"""Version: one text of a job, what is new in it, and how its runs did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.core.values.forge import Forge
from scheduler.service.forge import forge_of_root
from scheduler.service.root import Root
from scheduler.service.version import NEWEST, ShownVersion, show_version
from scheduler.web.api.asked import number_of
from scheduler.web.pages.run import MOST_TEXT

RUNS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    job_id: str
    zone: str
    version: ShownVersion
    text: str | None
    text_cut: bool
    forge: Forge | None
    newest: int = NEWEST  # runs of the text by which it is measured


def page(root: Root, query: Mapping[str, str], job_id: str) -> View:
    """query: `sha256` of the text, or its beginning; `before`, the run that the runs of a page come after.

    Raises: UnknownError, UsageError.
    """
    found = show_version(root, job_id, query["sha256"], count=RUNS, before=number_of(query.get("before") or None))
    job = root.known(job_id)
    text = found.text
    return View(
        job_id=job_id,
        zone="UTC" if job is None else job.file.spec.schedule.timezone,
        version=found,
        text=None if text is None else text[:MOST_TEXT],
        text_cut=text is not None and len(text) > MOST_TEXT,
        forge=forge_of_root(root),
    )
