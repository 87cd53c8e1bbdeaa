"""Explain: why a job did, did not or will not fire, as a page to send to somebody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

from scheduler.core.times.moments import read_moment
from scheduler.core.values.problems import UsageError
from scheduler.core.values.texts import InputError
from scheduler.service.history import explain_slots
from scheduler.service.instants import instant_of
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import ExplainJson, ExplainWindowJson


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One of the two answers: for an instant, or for the slots of a window."""

    job: str
    timezone: str  # of the job
    one: ExplainJson | None = None
    window: ExplainWindowJson | None = None


def page(root: Root, query: Mapping[str, str]) -> View:
    """query: `job`, and `at`, or `from` with or without `to`. Default: the newest slot that was due.

    Raises: UsageError.
    """
    job = query.get("job", "")
    if not job:
        raise UsageError("explain needs a job", hint="add ?job=ID to the address")
    at, start, until = (instant_in(root, job, query.get(name, "")) for name in ("at", "from", "to"))
    found = explain_slots(root, job, at=at, start=start, until=until)
    known = root.known(job)
    zone = "UTC" if known is None else known.file.spec.schedule.timezone
    if start is not None:
        return View(job=job, timezone=zone, window=cast("ExplainWindowJson", found))
    return View(job=job, timezone=zone, one=cast("ExplainJson", found))


def instant_in(root: Root, job: str, text: str) -> datetime | None:
    """The instant that a parameter means; None for an empty one. Raises: UsageError."""
    if not text:
        return None
    try:
        return instant_of(root, read_moment(text), [job])
    except InputError as error:
        raise UsageError(error.message, hint=error.hint) from None
