"""What happened to one job in a window of time, for its chart. None of it grows with the history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from scheduler.core import views
from scheduler.core.due.due import next_to_fire
from scheduler.core.past.chart import AHEAD, BACK, Timeline, arrange, default_window, window_end
from scheduler.core.times.fires import TICK, coming, newest_fires
from scheduler.core.values.facts import Job
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import UsageError
from scheduler.ledger import chart
from scheduler.ledger.store import Store
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import ChangesJson

MOST_MARKS = 1_200
MOST_COMING = 200
LONGEST = timedelta(days=3660)
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
SHORTEST = timedelta(seconds=10)


def timeline(
    root: Root,
    job_id: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    back: timedelta | None = None,
    prefix: bool = False,
) -> Timeline:
    """The rows, texts, changes and absences of a job in [since, until).

    back: how far it reaches back from `until`, in the place of `since`. Default: some 60 slots back, and a few ahead.
    Raises: UsageError for a window that is empty, too short or too long.
    """
    now = root.clock.now()
    with root.job(job_id, prefix=prefix) as (store, job):
        first = next_to_fire(job, now)
        ahead = [] if first is None else coming(job.file.spec.due_by, after=first - TICK, count=AHEAD)
        chosen = since is not None or until is not None or back is not None
        if back is None:
            back = _back(store, job, ahead, now)
        end = until or (now if chosen else window_end(ahead, back, now))
        try:
            start = since or (end if chosen else now) - back
        except OverflowError:
            start = datetime.min.replace(tzinfo=UTC)
        _check(start, end)
        if first is not None and end > now:
            ahead = coming(job.file.spec.due_by, after=max(first, start) - TICK, until=end, count=MOST_COMING)
        found = store.read(chart.marks, job.id, start, end, most=MOST_MARKS + 1)
        found.sort(key=lambda mark: (mark.at, mark.n))
        return arrange(
            start=start,
            end=end,
            now=now,
            marks=found[-MOST_MARKS:],
            more=len(found) > MOST_MARKS,
            coming=ahead,
            audit=store.read(chart.changes_until, job.id, end),
            root_audit=store.read(chart.models_between, job.file.spec.runner, start, end),
            lives=store.read(chart.lives_between, start, end, now),
            alive=root.daemon(of_any_root=True) is not None,
            since=job.created_at,
        )


def changes_of(root: Root, job_id: str, *, count: int) -> ChangesJson:
    """What people changed of a job, newest first, without what its runs have caused."""
    with root.job(job_id) as (store, job):
        rows = store.read(chart.changes_until, job.id, root.clock.now() + TICK, most=count + 1)[::-1]
    return {"rows": [views.audit_json(row) for row in rows[:count]], "more": len(rows) > count}


def _back(store: Store, job: Job, ahead: list[datetime], now: datetime) -> timedelta:
    """How far back a window reaches that nobody has chosen."""
    oldest = store.read(chart.oldest, job.id, most=BACK)
    began = min(job.created_at, now) if oldest is None else min(oldest, now)
    slots = newest_fires(
        job.file.spec.due_by, start=max(min(began, job.created_at), now - LONGEST), until=now, most=BACK
    )
    return default_window(slots, ahead, began, now)


def _check(start: datetime, end: datetime) -> None:
    if start < _FIRST or end > _LAST:
        raise UsageError("the window is too far away", hint=f"choose one from {_FIRST.year} to {_LAST.year}")
    if end <= start:
        raise UsageError(
            f"the window ends at {instant(end)}, and begins only at {instant(start)}", hint="swap `from` and `to`"
        )
    if end - start < SHORTEST:
        raise UsageError(
            f"the window from {instant(start)} to {instant(end)} is too short", hint="choose at least 10 seconds"
        )
    if end - start > LONGEST:
        raise UsageError(f"the window is longer than {LONGEST.days:,} days", hint="choose a shorter window")
