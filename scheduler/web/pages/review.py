"""Review: what a proposed revision would change, as the comment of a pull request shows it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.core.values.problems import UnavailableError
from scheduler.service.review.review import review
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.changes import ReviewJson, UpdateJson

_AT_WORK = threading.Semaphore(1)  # a review reads every file of two revisions


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    review: ReviewJson
    updated: tuple[UpdateJson, ...]  # those that give a job more power come first
    texts: tuple[tuple[str, str], ...]  # the path of each changed text, and its diff or why there is none


def page(root: Root, query: Mapping[str, str], revisions: str, at_work: threading.Semaphore = _AT_WORK) -> View:
    """revisions: `A...B`, or `B` against what is in force.

    Raises: UsageError for an unknown revision, UnavailableError while another review is made.
    """
    base, dots, head = revisions.partition("...")
    if not dots:
        base, head = root.looked().commit or "HEAD", revisions
    if not at_work.acquire(blocking=False):
        raise UnavailableError("another review is being made", hint="try again in some seconds")
    try:
        found = review(root, base=base, head=head)
    finally:
        at_work.release()
    return View(
        review=found.json,
        updated=tuple(sorted(found.json["updated"], key=lambda each: not each["widens"])),
        texts=tuple((each.path, each.unified or each.note) for each in found.diffs),
    )
