"""The verb behind the page Now and `top`: the status, the hours around it, what was spent, and who changed what."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from scheduler.core import views
from scheduler.core.due.budgets import day_of
from scheduler.core.past.outcome import STATES, state_of
from scheduler.core.past.worded import worded
from scheduler.core.times.fires import TICK, coming
from scheduler.core.values.instants import instant, parse_instant
from scheduler.core.values.settings import ROOT_JOB_ID, Settings
from scheduler.core.values.spec import Schedule
from scheduler.ledger import spent_by, strips, syncs
from scheduler.ledger.audit import read_activity
from scheduler.ledger.store import Store
from scheduler.service.root import Root
from scheduler.service.status import Look, look

if TYPE_CHECKING:
    from scheduler.core.now import ChangedJson, NowJson, OnRibbonJson, PartOfDayJson, RibbonJson, SpentTodayJson

PART = timedelta(minutes=5)
SIDE = timedelta(hours=6)
PARTS = SIDE // PART  # on each side
MOST_ENDED = 5_000  # rows that the ribbon reads
MOST_SCHEDULES = 200  # of which all fires are computed; of further ones only the next
CHANGES = 5
READ_CHANGES = 200  # audit rows in which they are looked for
SHOWN_RUNNING = 20


def now(root: Root) -> NowJson:
    """What needs a person, what ran and what is to come, what was spent today, and the newest changes."""
    seen = look(root)
    status, at = seen.status, parse_instant(seen.status["at"])
    store = root.store()
    if store is None:
        ribbon = _ribbon(at, seen, [], [])
        zone = Settings().timezone
        return {
            "status": status,
            "timezone": zone,
            "counts": _counts(seen),
            "ribbon": ribbon,
            "spent": [],
            "changes": [],
        }
    with store:
        begin = _floor(at) - SIDE + PART
        ended = store.read(strips.ended_since, begin, at, MOST_ENDED)
        going = [each for each in status["running"] if each["started_at"]][:SHOWN_RUNNING]
        usual = store.read(strips.usual_ms, {each["job_id"] for each in going})
        running: list[OnRibbonJson] = [
            {
                "id": each["id"],
                "job_id": each["job_id"],
                "started_at": each["started_at"] or "",
                "usual_ms": usual.get(each["job_id"]),
            }
            for each in going
        ]
        settings = store.read(syncs.settings) or Settings()
        return {
            "status": status,
            "timezone": settings.timezone,
            "counts": _counts(seen),
            "ribbon": _ribbon(at, seen, ended, running),
            "spent": _spent(store, settings, at),
            "changes": _changes(store),
        }


def _counts(seen: Look) -> dict[str, int]:
    """Jobs by `state_of`, in its order; only those there are."""
    found = Counter(map(state_of, seen.jobs, seen.statuses))
    return {each: found[each] for each in STATES if found[each]}


def _floor(at: datetime) -> datetime:
    """The beginning of the part that an instant is in."""
    return at - timedelta(seconds=at.timestamp() % PART.total_seconds())


def _ribbon(now: datetime, seen: Look, ended: Sequence[strips.Ended], running: list[OnRibbonJson]) -> RibbonJson:
    """Parts of five minutes: the last 72 with the one that is under way, then the 72 after it."""
    last = _floor(now)
    begin = last - SIDE + PART
    counts = [Counter[str]() for _ in range(2 * PARTS)]
    for each in ended:
        what = "failed" if each.failed else each.status if each.status in ("succeeded", "skipped") else "other"
        counts[min((each.at - begin) // PART, PARTS - 1)][what] += 1
    end = last + PART + SIDE
    more, often = False, 0
    schedules: dict[Schedule, int] = {}
    for job, slot in zip(seen.jobs, seen.fires, strict=True):
        if slot is None or slot >= end:
            continue
        place = schedules.setdefault(job.due_by, len(schedules))
        fires: Sequence[datetime] = (slot,)
        if place < MOST_SCHEDULES:
            fires = _fires(job.due_by, max(last, slot - TICK), end - TICK)
        if len(fires) >= PARTS:  # it would fill each part, and hide the fires of all others
            often += 1
            continue
        more = more or place >= MOST_SCHEDULES
        for fire in fires:
            counts[max(PARTS - 1, (fire - begin) // PART)]["coming"] += 1
    return {
        "from": instant(begin),
        "to": instant(end),
        "complete_from": instant(ended[-1].at if len(ended) == MOST_ENDED else begin),
        "parts": [_part(begin + place * PART, each) for place, each in enumerate(counts)],
        "running": running,
        "more_coming": more,
        "often": often,
    }


@functools.lru_cache(maxsize=2_000)
def _fires(schedule: Schedule, after: datetime, end: datetime) -> Sequence[datetime]:
    """Cached: the fires of most jobs stay the same for minutes."""
    return coming(schedule, after=after, until=end, count=PARTS)


def _part(at: datetime, found: Counter[str]) -> PartOfDayJson:
    return {
        "at": instant(at),
        "failed": found["failed"],
        "succeeded": found["succeeded"],
        "other": found["other"],
        "skipped": found["skipped"],
        "coming": found["coming"],
    }


def _spent(store: Store, settings: Settings, now: datetime) -> list[SpentTodayJson]:
    """What all jobs have spent today in each currency, beside the limits of the root."""
    day = day_of(now, settings.timezone)
    amounts = {each.currency: each.amount for each in store.read(spent_by.spent_of, ROOT_JOB_ID, day.start, day.end)}
    limits = [views.limit_json(each) for each in store.read(spent_by.limits, now)]
    if limits:
        amounts.setdefault(settings.currency, Decimal(0))
    return [
        {
            "currency": currency,
            "amount": views.amount_json(amount),
            "limits": limits if currency == settings.currency else [],
        }
        for currency, amount in sorted(amounts.items())
    ]


def _changes(store: Store) -> list[ChangedJson]:
    rows = store.read(read_activity, job_id=None, actor=None, action=None, before=None, limit=READ_CHANGES)
    return [
        {
            "at": instant(each.at),
            "who": each.who,
            "text": each.text,
            "job_ids": list(each.job_ids),
            "commit": views.commit_json(each.commit),
        }
        for each in worded([row for _, row in rows], more=len(rows) == READ_CHANGES)[:CHANGES]
    ]
