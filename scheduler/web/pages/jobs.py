"""Jobs: one row for each job, with filters in the address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.core.values.problems import UsageError
from scheduler.service.jobs import list_jobs
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import JobRowJson

ROWS = 200  # a page
_FILTERS = ("status", "tag")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    jobs: list[JobRowJson]
    total: int  # that match the filters
    filters: dict[str, str]  # those that are set, by name
    number: int  # of the page, from 1
    pages: int


def page(root: Root, query: Mapping[str, str]) -> View:
    """query: `status` and `tag` as in `scheduler list`, and `page`. Raises: UsageError."""
    filters = {name: query[name] for name in _FILTERS if query.get(name)}
    found = list_jobs(root, status=filters.get("status"), tag=filters.get("tag"), full=False)["jobs"]
    pages = max(1, -(-len(found) // ROWS))
    asked = query.get("page") or "1"
    if not (asked.isascii() and asked.isdigit() and len(asked) < 9 and 1 <= int(asked) <= pages):
        raise UsageError(f"there is no such page; the last one is {pages}", hint=f"write ?page={pages}")
    number = int(asked)
    rows = found[(number - 1) * ROWS : number * ROWS]
    return View(jobs=list(rows), total=len(found), filters=filters, number=number, pages=pages)
