"""Run: why it ran, how it ended and through whose fault, what it wrote, and exactly what it was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.core.past.why import whose_fault
from scheduler.core.plan.textdiff import LineEdit, by_words
from scheduler.core.values.problems import SchedulerError, UsageError
from scheduler.service.history import explain_run_of, show_run, task
from scheduler.service.output import Ending, ending
from scheduler.service.root import Root
from scheduler.service.versions import since_success

if TYPE_CHECKING:
    from scheduler.core.answers import ExplainJson, RunJson
    from scheduler.core.comparisons import DiffJson

MOST_TEXT = 64 * 1024  # characters of a text, or bytes of an output, on a page; the API gives them whole


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    run: RunJson
    explained: ExplainJson
    fault: str  # whose; empty if nothing has gone wrong
    output: tuple[Ending, ...]
    timezone: str
    text: str | None  # that it was given
    no_text: str  # why there is none
    text_cut: bool
    added: str | None  # what its check printed
    since: DiffJson | None  # against the newest success before it
    parts: tuple[tuple[LineEdit, ...], ...]  # what differs from the text of that success


def page(root: Root, query: Mapping[str, str], run_id: str) -> View:
    """query: `attempt`, the one whose output is shown. Raises: UnknownError, UsageError."""
    found = show_run(root, run_id)
    run, attempt = found["run"], _attempt(query.get("attempt", ""))
    text = added = None
    no_text = ""
    try:
        _, raw, printed = task(root, run_id)
        text, added = raw.decode(errors="replace"), None if printed is None else printed.decode(errors="replace")
    except SchedulerError as error:
        no_text = str(error)
    since = since_success(root, run_id)
    return View(
        run=run,
        explained=explain_run_of(root, run_id),
        fault=whose_fault(run["status"], run["reason"], run["end_class"]),
        output=tuple(ending(root, run_id, each, most=MOST_TEXT, attempt=attempt) for each in ("stdout", "stderr")),
        timezone=found["timezone"],
        text=None if text is None else text[:MOST_TEXT],
        no_text=no_text,
        text_cut=text is not None and len(text) > MOST_TEXT,
        added=None if added is None else added[:MOST_TEXT],
        since=None if since is None else since.json,
        parts=() if since is None else tuple(tuple(by_words(each)) for each in since.hunks),
    )


def _attempt(text: str) -> int | None:
    """Raises: UsageError."""
    if text and not (text.isascii() and text.isdigit() and len(text) < 9):
        raise UsageError("attempt is not a number", hint="leave it out to see the last attempt")
    return int(text) if text else None
