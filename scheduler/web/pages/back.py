"""Roll back: what restoring an earlier text would change, before anybody confirms it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.core.plan.textdiff import LineEdit, by_words, hunks
from scheduler.core.values.problems import RefusedError
from scheduler.service.history import present_task
from scheduler.service.jobs import show_job
from scheduler.service.root import Root
from scheduler.service.version import show_version


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    job_id: str
    sha256: str  # of the text that would come back
    now: str  # sha256 of the text in force
    path: str  # of the file that a commit would change
    version: str  # of the job as it is shown
    parts: tuple[tuple[LineEdit, ...], ...]  # what would differ, word by word


def page(root: Root, query: Mapping[str, str], job_id: str) -> View:
    """query: `sha256` of the text.

    Raises: UnknownError, UsageError; RefusedError if the text is in force or no longer kept.
    """
    about, found = show_job(root, job_id)["job"], show_version(root, job_id, query["sha256"], count=1)
    if found.text is None:
        raise RefusedError(f"the text {found.sha256[:7]} cannot come back: {found.no_text}")
    if found.current:
        raise RefusedError(f"the text {found.sha256[:7]} is in force: the next run gets it")
    present = present_task(root, job_id)
    return View(
        job_id=job_id,
        sha256=found.sha256,
        now=present["task_sha256"],
        path=present["source_path"],
        version=about["version"],
        parts=tuple(tuple(by_words(each)) for each in hunks(present["task"], found.text)),
    )
