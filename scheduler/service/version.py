"""One text of a job: what it says, what is new in it, and how its runs did."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.core import views
from scheduler.core.past.timeline import Changes
from scheduler.core.plan.textdiff import LineEdit, by_words, hunks
from scheduler.core.times.fires import TICK
from scheduler.core.values.facts import Job
from scheduler.core.values.problems import UnavailableError, UnknownError, UsageError
from scheduler.core.values.texts import short
from scheduler.ledger import of_text, queries
from scheduler.ledger.chart import changes_until
from scheduler.ledger.store import Store
from scheduler.service.root import Root
from scheduler.service.versions import origin_json, side_now, versions_of_text

if TYPE_CHECKING:
    from scheduler.core.answers import RunJson
    from scheduler.core.comparisons import OriginJson, VersionJson

NEWEST = 5_000  # runs of the text by which it is measured
_SOME = 5  # texts that an ambiguous beginning names


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownVersion:
    """A text of a job."""

    sha256: str
    before: str | None  # sha256 of the text that ran before it
    current: bool  # the next run gets it
    origin: OriginJson | None
    versions: Sequence[VersionJson]  # with each set of the runner's files that it ran with
    text: str | None
    no_text: str  # why there is none
    parts: tuple[tuple[LineEdit, ...], ...]  # what differs from the text before, word by word
    runs: Sequence[RunJson]
    older: int | None  # the cursor of the runs that follow


def show_version(
    root: Root, job_id: str, sha256: str, *, count: int, before: int | None = None, prefix: bool = False
) -> ShownVersion:
    """A text by its sha256 or the unique beginning of one. before: only runs with a lower number.

    Raises: UnknownError, UsageError for a beginning that several texts have.
    """
    with root.job(job_id, prefix=prefix) as (store, job):
        changes = store.read(changes_until, job.id, root.clock.now() + TICK)
        now = None if job.archived else side_now(root, store, job)
        current = None if now is None else now.task_sha256
        known = {row.after for row in changes if row.action == "task"}
        known |= {(row.after or {}).get("task_sha256") for row in changes if row.action == "create"}
        found = _resolved(store, job, sha256, {*known, current})
        earlier = store.read(of_text.text_before, job.id, found)
        text, why = (now.text, "") if now is not None and found == current else _kept(store, found)
        old, _ = (None, "") if earlier is None else _kept(store, earlier)
        runs = store.read(of_text.runs_with_text, job.id, found, before=before, limit=count + 1)
        arranged = Changes(changes)
        return ShownVersion(
            sha256=found,
            before=earlier,
            current=found == current,
            origin=origin_json(arranged.text(found, root.clock.now())),
            versions=versions_of_text(root, store, job, found, earlier, arranged, newest=NEWEST, current=current),
            text=text,
            no_text=why,
            parts=() if text is None or old is None else tuple(tuple(by_words(each)) for each in hunks(old, text)),
            runs=[views.run_json(run) for run in runs[:count]],
            older=runs[count - 1].n if len(runs) > count else None,
        )


def _resolved(store: Store, job: Job, wanted: str, known: set[str | None]) -> str:
    if not wanted or len(wanted) > 64 or not set(wanted) <= set(string.hexdigits):
        raise UnknownError(
            f"{short(wanted)} is not the sha256 of a text", hint=f"`scheduler versions {job.id}` lists them"
        )
    wanted = wanted.lower()
    found = {each for each in known if isinstance(each, str) and each.startswith(wanted)}
    found |= set(store.read(of_text.texts_like, job.id, wanted, most=_SOME + 1))
    if len(found) == 1:
        return found.pop()
    if found:
        some = ", ".join(each[:12] for each in sorted(found)[:_SOME])
        raise UsageError(f"{wanted} is the beginning of several texts of {job.id!r}", hint=f"give more of it: {some}")
    raise UnknownError(
        f"job {job.id!r} has had no text {wanted[:12]}", hint=f"`scheduler versions {job.id}` lists them"
    )


def _kept(store: Store, sha256: str) -> tuple[str | None, str]:
    """A text that a run had. Without one, why."""
    try:
        return store.read(queries.text_of, sha256, store.path).decode(errors="replace"), ""
    except UnavailableError:
        return None, "no run has had it, or it is no longer kept"
