"""The outbox: what waits to be sent, and how sending went. Only the sender and passes write it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from sqlite3 import Connection, Row
from typing import TYPE_CHECKING, Any

from scheduler.core.due.sending import MOST_WAITING, PATIENCE, UNKNOWN, Breaker, Waiting
from scheduler.core.values.events import Event, EventKind, Phase
from scheduler.core.values.instants import instant, parse_instant
from scheduler.core.values.runs import Run
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.ledger import told
from scheduler.ledger.put_back import copied_at
from scheduler.ledger.rows import batched, from_row, moment, stamp, stamp_or_none

if TYPE_CHECKING:
    from scheduler.core.answers import DeliveryJson

_OPEN = "status IN ('pending', 'sending')"
_CHANNELS = f"SELECT DISTINCT channel FROM deliveries WHERE {_OPEN} ORDER BY channel"
_WAITING = f"""SELECT deliveries.id, channel, tries, next_at, give_up_at, token, status, reason, events.*
    FROM deliveries JOIN events ON seq = event WHERE {_OPEN} AND channel = ?
    ORDER BY kind = 'test' DESC, deliveries.id LIMIT ?"""
MOST_READ = MOST_WAITING + 500  # of a channel: enough to see that too many wait


def waiting(sql: Connection) -> list[Waiting]:
    """The deliveries that are not over, by channel, oldest first. None of a copy that nobody has gone on from yet.

    A test is among them, however much else waits: a person waits for its answer.
    """
    channels = [row["channel"] for row in sql.execute(_CHANNELS)]
    if channels and copied_at(sql) is not None:
        return []
    rows: list[Row] = []
    for channel in channels:
        rows += sorted(sql.execute(_WAITING, (channel, MOST_READ)), key=lambda row: row["id"])
    return [
        Waiting(
            id=row["id"],
            channel=row["channel"],
            event=to_event(row),
            tries=row["tries"],
            next_at=moment(row["next_at"]),
            give_up_at=parse_instant(row["give_up_at"]),
            token=row["token"],
            may_have_come=row["status"] == "sending" or UNKNOWN in (row["reason"] or ""),
        )
        for row in rows
    ]


def to_event(row: Row) -> Event:
    return Event(
        key=row["key"],
        at=parse_instant(row["at"]),
        kind=EventKind(row["kind"]),
        phase=Phase(row["phase"]),
        job_id=row["job_id"],
        run_n=row["run_n"],
        streak=row["streak"],
        since=moment(row["since"]),
        times=row["times"],
        facts=json.loads(row["facts"]),
    )


def version(sql: Connection) -> int:
    """Differs from the last one on this connection if another connection has committed anything since."""
    (found,) = sql.execute("PRAGMA data_version").fetchone()
    return int(found)


def take(sql: Connection, rows: Sequence[Waiting], *, now: datetime) -> None:
    """Record that rows are about to be sent: from now on nobody can say that they were not."""
    within = rows[0].id if len(rows) > 1 else None
    sql.executemany(
        "UPDATE deliveries SET status = 'sending', tries = tries + 1, sent_at = ?, within = ? WHERE id = ?",
        [(stamp(now), None if row.id == within else within, row.id) for row in rows],
    )


def put_off(sql: Connection, rows: Sequence[Waiting], *, until: datetime, reason: str) -> None:
    """Let rows wait for their next try."""
    sql.executemany(
        "UPDATE deliveries SET status = 'pending', next_at = ?, reason = ? WHERE id = ?",
        [(stamp(until), reason, row.id) for row in rows],
    )


def settle(sql: Connection, rows: Sequence[Waiting], *, status: str, now: datetime, reason: str | None = None) -> None:
    """End deliveries: delivered, dropped or error. What has failed before keeps its last words."""
    sql.executemany(
        "UPDATE deliveries SET status = ?, done_at = ?, reason = CASE ? WHEN 'delivered' THEN NULL"
        " WHEN 'error' THEN coalesce(reason, ?) ELSE ? END WHERE id = ?",
        [(status, stamp(now), status, reason, reason, row.id) for row in rows],
    )


def drop_removed(sql: Connection, channels: Iterable[str], *, now: datetime) -> int:
    """Drop what waits for channels other than these. What is on its way is left to the sender."""
    known = json.dumps(list(channels))
    dropped = sql.execute(
        "UPDATE deliveries SET status = 'dropped', reason = 'channel_removed', done_at = ? WHERE status = 'pending'"
        " AND channel NOT GLOB 'ping:*' AND channel NOT IN (SELECT value FROM json_each(?)) RETURNING event",
        (stamp(now), known),
    ).fetchall()
    told.make_news_again(sql, [row["event"] for row in dropped])
    return len(dropped)


def breakers(sql: Connection) -> dict[str, Breaker]:
    return {row["name"]: from_row(Breaker, row) for row in sql.execute("SELECT * FROM channels ORDER BY name")}


def keep_breaker(sql: Connection, breaker: Breaker) -> None:
    columns: dict[str, Any] = {
        "name": breaker.name,
        "digest": breaker.digest,
        "failures": breaker.failures,
        "failing_at": stamp_or_none(breaker.failing_at),
        "open_since": stamp_or_none(breaker.open_since),
        "probes": breaker.probes,
        "probe_at": stamp_or_none(breaker.probe_at),
        "last_ok_at": stamp_or_none(breaker.last_ok_at),
        "last_error": breaker.last_error,
        "sent_at": stamp_or_none(breaker.sent_at),
    }
    marks = ", ".join("?" * len(columns))
    sql.execute(f"INSERT OR REPLACE INTO channels ({', '.join(columns)}) VALUES ({marks})", tuple(columns.values()))


def any_waiting(sql: Connection) -> bool:
    query = f"SELECT EXISTS (SELECT 1 FROM deliveries WHERE {_OPEN})"
    return bool(sql.execute(query).fetchone()[0])


_SHOWN = (
    "SELECT deliveries.id, channel, kind, key, status, reason, tries, coalesce(done_at, sent_at, at) AS at, job_id,"
    " run_n FROM deliveries JOIN events ON seq = event"
)


def deliveries_of(sql: Connection, runs: Sequence[Run]) -> dict[str, list[DeliveryJson]]:
    """What became of the events of these runs, by the id of the run, oldest first. Pings are left out."""
    found: dict[str, list[DeliveryJson]] = {}
    for each in batched(runs):
        rows = sql.execute(
            f"{_SHOWN} WHERE (job_id, run_n) IN (VALUES {', '.join(['(?, ?)'] * len(each))})"
            " AND channel NOT GLOB 'ping:*' ORDER BY deliveries.id",
            [value for run in each for value in (run.job_id, run.n)],
        )
        for row in rows:
            found.setdefault(f"{row['job_id']}:{row['run_n']}", []).append(_shown(row))
    return found


def newest(sql: Connection, job_id: str | None, *, channel: str | None, failed: bool, limit: int) -> list[DeliveryJson]:
    """Deliveries, newest first."""
    where = "(? IS NULL OR job_id = ?) AND (? IS NULL OR channel = ?)"
    if failed:
        where += " AND (status IN ('dropped', 'error') OR (status = 'pending' AND tries > 0))"
    rows = sql.execute(
        f"{_SHOWN} WHERE {where} ORDER BY deliveries.id DESC LIMIT ?", (job_id, job_id, channel, channel, limit)
    )
    return [_shown(row) for row in rows]


def delivery(sql: Connection, number: int) -> DeliveryJson | None:
    row = sql.execute(f"{_SHOWN} WHERE deliveries.id = ?", (number,)).fetchone()
    return None if row is None else _shown(row)


def delivery_of(sql: Connection, key: str) -> DeliveryJson | None:
    """The delivery of an event that only one channel is told."""
    row = sql.execute(f"{_SHOWN} WHERE key = ?", (key,)).fetchone()
    return None if row is None else _shown(row)


def withdraw(sql: Connection, key: str, *, now: datetime) -> None:
    """End what still waits of an event."""
    sql.execute(
        f"UPDATE deliveries SET status = 'error', done_at = ? WHERE {_OPEN}"
        " AND event = (SELECT seq FROM events WHERE key = ?)",
        (stamp(now), key),
    )


def retry(sql: Connection, number: int, *, now: datetime) -> None:
    """Let a delivery wait again, as if it were new. Its token stays."""
    sql.execute(
        "UPDATE deliveries SET status = 'pending', next_at = NULL, done_at = NULL, within = NULL, give_up_at = ?"
        " WHERE id = ? AND status <> 'delivered'",
        (stamp(now + PATIENCE), number),
    )


def _shown(row: Row) -> DeliveryJson:
    over = row["status"] in ("dropped", "error")
    return {
        "id": row["id"],
        "channel": row["channel"],
        "event": row["kind"],
        "job_id": None if row["job_id"] == ROOT_JOB_ID else row["job_id"],
        "run": None if row["run_n"] is None else f"{row['job_id']}:{row['run_n']}",
        "status": f"{row['status']}:{row['reason']}" if over else row["status"].replace("sending", "pending"),
        "tries": row["tries"],
        "at": instant(parse_instant(row["at"])),
        "error": None if row["status"] == "dropped" else row["reason"],
    }
