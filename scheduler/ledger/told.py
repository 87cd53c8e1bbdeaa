"""Who is told what: events and their deliveries, written in the transaction of the fact that they tell (F7).

The rule is in core/due/events.py. The sender (delivery/) takes it from here.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from sqlite3 import Connection
from typing import Any

from scheduler.core.due.events import (
    AGAIN,
    Asked,
    News,
    Step,
    Streak,
    facts_of_run,
    heard_of,
    news_of_alarm,
    news_of_budget,
    news_of_failure,
    news_of_model,
    news_of_skip,
    news_of_start,
    news_of_success,
)
from scheduler.core.due.sending import PATIENCE, UNKNOWN
from scheduler.core.due.troubles import ROOT_STREAKS, channel_of_key, kind_of_key
from scheduler.core.values.channels import DEFAULT_DELIVER_ON, DeliverOn
from scheduler.core.values.events import Event, EventKind
from scheduler.core.values.runs import AuditRow, Run, RunStatus
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.ledger.audit import append_audit
from scheduler.ledger.rows import dump, stamp, stamp_or_none, to_settings

_PINGS = {EventKind.STARTED: timedelta(seconds=30)}  # nobody needs to know later that it began
PING_PATIENCE = timedelta(minutes=10)

_ASKED = (
    "json_extract(spec, '$.deliver') AS deliver, json_extract(spec, '$.deliver_on') AS deliver_on,"
    " json_extract(spec, '$.ping') AS ping FROM jobs JOIN definitions ON definitions.job_id = jobs.id"
    " AND definitions.generation = jobs.generation"
)


def asked(sql: Connection, job_id: str) -> Asked:
    """Who the file of a job wants to be told, and of what."""
    row = sql.execute(f"SELECT {_ASKED} WHERE jobs.id = ?", (job_id,)).fetchone()
    return Asked() if row is None else _asked(row)


def asked_or_failing(sql: Connection, job_ids: Sequence[str]) -> dict[str, Asked]:
    """Those of the jobs whose success is news for somebody: the others cost one look for all of them."""
    found = sql.execute(
        f"SELECT id, {_ASKED} WHERE jobs.id IN (SELECT value FROM json_each(?))"
        " AND (consecutive_errors > 0 OR deliver NOTNULL OR ping NOTNULL)",
        (json.dumps(list(job_ids)),),
    )
    return {row["id"]: _asked(row) for row in found}


def _asked(row: Any) -> Asked:
    on = None if row["deliver_on"] is None else json.loads(row["deliver_on"])
    return Asked(
        deliver=tuple(json.loads(row["deliver"] or "[]")),
        on=DEFAULT_DELIVER_ON if on is None else tuple(map(DeliverOn, on)),
        ping=row["ping"],
    )


def asked_of_root(sql: Connection) -> tuple[str, ...]:
    """The channels that are told what concerns the root."""
    settings = to_settings(sql.execute("SELECT settings FROM root").fetchone()["settings"])
    return () if settings is None else settings.alerts.deliver


def failed(sql: Connection, run: Run, *, now: datetime, stopped: bool = False) -> None:
    """Tell that a run has failed, or that a fault has kept it from running. run: as it ended."""
    wanted = asked(sql, run.job_id)
    event = _event(run, EventKind.FAILURE, now)
    if stopped:
        (reason,) = sql.execute("SELECT stop_reason FROM jobs WHERE id = ?", (run.job_id,)).fetchone()
        event = replace(event, facts={**event.facts, "stop_reason": reason})
    watched = run.reason != "owner_died" and _is_watched(sql, run)  # a person saw the terminal fall silent, no end
    after, news = news_of_failure(wanted, streak(sql, f"failure/{run.job_id}"), event, stopped=stopped, watched=watched)
    keep(sql, after)
    _tell_of_run(sql, run, [*news, *news_of_model(wanted, run, now)], now)


def _is_watched(sql: Connection, run: Run) -> bool:
    (watched,) = sql.execute("SELECT watched FROM runs WHERE job_id = ? AND n = ?", (run.job_id, run.n)).fetchone()
    return bool(watched)


def watch(sql: Connection, job_id: str, n: int, *, watched: bool) -> None:
    """A person waits at a terminal for the end of a run, or no longer does."""
    sql.execute("UPDATE runs SET watched = ? WHERE job_id = ? AND n = ?", (watched, job_id, n))


def succeeded(sql: Connection, run: Run, wanted: Asked, *, now: datetime) -> None:
    """Tell that a run has succeeded. run: as it ended."""
    after, news = news_of_success(wanted, streak(sql, f"failure/{run.job_id}"), _event(run, EventKind.SUCCESS, now))
    if after is not None:
        keep(sql, after)
    _tell_of_run(sql, run, [*news, *news_of_model(wanted, run, now)], now)


def started(sql: Connection, run: Run, wanted: Asked, *, now: datetime) -> None:
    """Tell a ping that the first attempt of a run begins."""
    if wanted.ping is not None:
        tell(sql, news_of_start(wanted, _event(run, EventKind.STARTED, now)), now=now)


def over_budget(sql: Connection, run: Run, *, now: datetime) -> None:
    """Tell that a run's program has stopped at its budget. run: as it ended."""
    wanted = asked(sql, run.job_id)
    event = _event(run, EventKind.OVER_BUDGET, now)
    tell(sql, [*news_of_budget(wanted, event), *news_of_model(wanted, run, now)], now=now)


def skipped(sql: Connection, job_id: str, n: int, reason: str, *, now: datetime, error: str | None = None) -> None:
    """Tell that slots were skipped for a benign reason."""
    wanted = asked(sql, job_id)
    if wanted:
        facts = {"status": RunStatus.SKIPPED.value, "reason": reason, **({"error": error} if error else {})}
        key = f"run/{job_id}/{n}/{EventKind.SKIP}"
        event = Event(key=key, at=now, kind=EventKind.SKIP, job_id=job_id, run_n=n, facts=facts)
        tell(sql, news_of_skip(wanted, event, reason), now=now)


def _event(run: Run, kind: EventKind, now: datetime) -> Event:
    key = f"run/{run.job_id}/{run.n}/{kind}"
    return Event(key=key, at=now, kind=kind, job_id=run.job_id, run_n=run.n, facts=facts_of_run(run))


def _tell_of_run(sql: Connection, run: Run, news: Sequence[News], now: datetime) -> None:
    after = {"run": run.id, "status": run.status.value, "reason": run.reason}
    actor = run.requested_by or "scheduler"
    audit = [
        AuditRow(job_id=run.job_id, action=_action(each.event), after=after, at=now, actor=actor, cause="run")
        for each in news
        if each.audited
    ]
    append_audit(sql, audit)
    tell(sql, news, now=now)


def _action(event: Event) -> str:
    """In the audit, the failure that stops a job is a failure: the stop has its own row."""
    return EventKind.FAILURE.value if event.kind is EventKind.STOPPED else event.kind.value


def tell(sql: Connection, news: Sequence[News], *, now: datetime) -> None:
    """Let everybody concerned be told, once. Who has been told of an event is not told of it again."""
    for each in news:
        channels = _told_how_it_began(sql, each) if each.if_told else each.channels
        if not channels:
            continue
        event = each.event
        added = sql.execute(
            "INSERT INTO events (key, at, kind, phase, job_id, run_n, streak, since, times, facts)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING RETURNING seq",
            (
                event.key,
                stamp(event.at),
                event.kind,
                event.phase,
                event.job_id,
                event.run_n,
                event.streak,
                stamp_or_none(event.since),
                event.times,
                dump(dict(event.facts)),
            ),
        ).fetchone()
        if added is not None:
            sql.executemany(
                "INSERT INTO deliveries (event, channel, status, give_up_at, token) VALUES (?, ?, 'pending', ?, ?)",
                [
                    (added["seq"], channel, stamp(now + _patience(event.kind, channel)), secrets.token_hex(8))
                    for channel in dict.fromkeys(channels)
                ],
            )


def _patience(kind: EventKind, channel: str) -> timedelta:
    return _PINGS.get(kind, PING_PATIENCE) if channel.startswith("ping:") else PATIENCE


def _told_how_it_began(sql: Connection, news: News) -> tuple[str, ...]:
    """A recovery is of no use to whoever never heard of the failure. What waited in a copy may have been sent."""
    told = sql.execute(
        "SELECT DISTINCT channel FROM deliveries JOIN events ON seq = event"
        " WHERE streak = ? AND (deliveries.status IN ('pending', 'sending', 'delivered') OR deliveries.reason = 'copy'"
        " OR deliveries.reason GLOB ?)",
        (news.event.streak, f"*{UNKNOWN}*"),
    )
    known = {row["channel"] for row in told}
    return tuple(each for each in news.channels if each in known)


def streak(sql: Connection, key: str) -> Streak | None:
    row = sql.execute("SELECT streak FROM streaks WHERE key = ?", (key,)).fetchone()
    return None if row is None else Streak.from_json(json.loads(row["streak"]))


def streaks(sql: Connection, prefix: str, *, flapping: bool = False) -> dict[str, Streak]:
    """The open streaks whose keys begin so, or all those that flap."""
    where = "flapping NOTNULL" if flapping else "open"
    found = sql.execute(
        f"SELECT streak FROM streaks WHERE {where} AND key >= ? AND key < ? ORDER BY key",
        (prefix, prefix + "\U0010ffff"),
    )
    each = (Streak.from_json(json.loads(row["streak"])) for row in found)
    return {one.key: one for one in each}


def keep(sql: Connection, streak: Streak) -> None:
    sql.execute(
        "INSERT INTO streaks (key, open, flapping, streak) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
        " SET open = excluded.open, flapping = excluded.flapping, streak = excluded.streak",
        (streak.key, streak.open, stamp_or_none(streak.flapping), dump(streak.to_json())),
    )


def make_news_again(sql: Connection, events: Sequence[int]) -> None:
    """Let streaks be told again of which nobody has heard, because these events were dropped."""
    unheard = sql.execute(
        "SELECT streaks.streak FROM streaks WHERE open AND json_extract(streaks.streak, '$.event') IN"
        " (SELECT events.streak FROM events WHERE seq IN (SELECT value FROM json_each(?)))"
        " AND NOT EXISTS (SELECT 1 FROM events JOIN deliveries ON event = seq WHERE status <> 'dropped'"
        " AND channel NOT GLOB 'ping:*' AND events.streak = json_extract(streaks.streak, '$.event'))",
        (json.dumps(list(events)),),
    )
    for row in unheard.fetchall():
        streak = Streak.from_json(json.loads(row["streak"]))
        keep(sql, replace(streak, told_at=streak.told_at - AGAIN, flapping=None))


def tell_alarm(
    sql: Connection, kind: EventKind, step: Step, facts: Mapping[str, Any], *, job_id: str, at: datetime
) -> None:
    """Keep the streak of an overdue job, and tell what is news about it."""
    keep(sql, step.streak)
    if step.phase is not None:
        event = _of_step(kind, step, facts, at=at, job_id=job_id)
        tell(sql, [news_of_alarm(asked(sql, job_id), event)], now=at)


def tell_root(
    sql: Connection, kind: EventKind, step: Step, facts: Mapping[str, Any], *, at: datetime, but: str | None = None
) -> None:
    """Keep a streak of the root, and tell what is news about it to those that `alerts` in scheduler.yaml names.

    but: a channel that is not told.
    """
    keep(sql, step.streak)
    if step.phase is not None:
        listeners = tuple(each for each in asked_of_root(sql) if each != but)
        event = _of_step(kind, step, facts, at=at)
        tell(sql, [News(event=event, channels=listeners, audited=False)], now=at)


def tell_calm(sql: Connection, step: Step, *, at: datetime) -> None:
    """Tell that what flapped has calmed down, whichever way."""
    key = step.streak.key
    if key.startswith(ROOT_STREAKS):
        return tell_root(sql, kind_of_key(key), step, {}, at=at, but=channel_of_key(key))
    where, _, rest = key.partition("/")
    kind = EventKind.OVERDUE if where == "alarm" else EventKind.FAILURE
    job_id = rest.rpartition("/")[0] if where == "alarm" else rest
    keep(sql, step.streak)
    event = _of_step(kind, step, {}, at=at, job_id=job_id)
    tell(sql, [News(event=event, channels=heard_of(asked(sql, job_id)), audited=False)], now=at)
    return None


def _of_step(
    kind: EventKind, step: Step, facts: Mapping[str, Any], *, at: datetime, job_id: str = ROOT_JOB_ID
) -> Event:
    """The event of a step that is news. Its key tells one telling from another."""
    assert step.phase is not None
    told = step.streak
    since, times = step.course(flaps=step.flaps)
    return Event(
        key=f"{told.key}/{step.phase}/{stamp(at)}",
        at=at,
        kind=EventKind.FLAPPING if step.flaps else kind,
        phase=step.phase,
        job_id=job_id,
        streak=told.event,
        since=since,
        times=times,
        facts={**facts, "of": kind.value} if step.flaps else facts,
    )
