"""Run: why it ran, how it ended, and exactly what it was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.core.values.problems import SchedulerError
from scheduler.service.history import show_run, task
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import RunJson

MOST_TEXT = 64 * 1024  # characters of a text on a page; the API gives it whole


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    run: RunJson
    why: str
    last_lines: Mapping[str, list[str]]
    timezone: str
    text: str | None  # that it was given
    no_text: str  # why there is none
    text_cut: bool
    added: str | None  # what its check printed


def page(root: Root, query: Mapping[str, str], run_id: str) -> View:
    """Raises: UnknownError."""
    found = show_run(root, run_id)
    text = added = None
    no_text = ""
    try:
        _, raw, printed = task(root, run_id)
        text, added = raw.decode(errors="replace"), None if printed is None else printed.decode(errors="replace")
    except SchedulerError as error:
        no_text = str(error)
    return View(
        run=found["run"],
        why=found["why"],
        last_lines=found["last_lines"],
        timezone=found["timezone"],
        text=None if text is None else text[:MOST_TEXT],
        no_text=no_text,
        text_cut=text is not None and len(text) > MOST_TEXT,
        added=None if added is None else added[:MOST_TEXT],
    )
