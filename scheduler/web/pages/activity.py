"""Activity: everything that anybody changed, on one line of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from scheduler.core.values.problems import UsageError
from scheduler.service.history import activity
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import ActivityJson

_FILTERS = ("job", "actor", "action")
_DIGITS = 18  # a longer number is no cursor, and none that SQLite takes


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    activity: ActivityJson
    filters: dict[str, str]  # those that are set, by name
    older: str | None  # the query of the rows that follow

    most_named = 200  # jobs of one change


def page(root: Root, query: Mapping[str, str]) -> View:
    """query: `job`, `actor` and `action`, each as a row has it, and the cursor `before`. Raises: UsageError."""
    filters = {name: query[name] for name in _FILTERS if query.get(name)}
    cursor = query.get("before", "")
    if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _DIGITS):
        raise UsageError("before is not a cursor", hint="leave it out to see the newest rows")
    found = activity(
        root,
        job_id=filters.get("job"),
        actor=filters.get("actor"),
        action=filters.get("action"),
        before=int(cursor) if cursor else None,
    )
    older = None if found["before"] is None else urlencode({**filters, "before": found["before"]})
    return View(activity=found, filters=filters, older=older)
