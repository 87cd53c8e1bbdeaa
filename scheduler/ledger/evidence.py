"""What the rows show about each job, for the rule of overdue jobs (core/due/expected.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from sqlite3 import Connection
from typing import TypeVar

from scheduler.core.due.expected import Alarm, AlarmEvidence, Kind, alarms_of, looks_again_at
from scheduler.core.due.place import holding
from scheduler.core.values.facts import JobSummary, Watched
from scheduler.core.values.instants import parse_instant
from scheduler.ledger import queries
from scheduler.ledger.places import open_faults
from scheduler.ledger.rows import SLOTS, moment, stamp

_FEW = 200
W = TypeVar("W", bound=Watched)


def alarms(sql: Connection, now: datetime, jobs: Sequence[W]) -> list[tuple[W, Alarm]]:
    """The overdue alarms of these jobs, judged by schedules and rows alone.

    Slots that wait for their place have no row, as intended: the place fault is already reported.
    """
    return [(job, alarm) for job, _, overdue, _ in _judged(sql, now, jobs) for alarm in overdue]


def look(sql: Connection, now: datetime, ids: Sequence[str]) -> list[tuple[JobSummary, list[Alarm], datetime | None]]:
    """These jobs, their overdue alarms, and when each must be looked at again unless it changes.

    A job with an alarm, even one that its place explains, must be looked at each time.
    """
    return [
        (job, overdue, now if overdue or explained else looks_again_at(job, shown, now))
        for job, shown, overdue, explained in _judged(sql, now, queries.summaries(sql, ids))
    ]


def _judged(
    sql: Connection, now: datetime, jobs: Sequence[W]
) -> Iterator[tuple[W, AlarmEvidence, list[Alarm], list[Alarm]]]:
    """Each job with its evidence, its alarms, and those that the fault of its place explains."""
    lost = open_faults(sql)
    resumed = _resumed(sql, now, jobs)
    for job in jobs:
        shown = _evidence(sql, job, now, resumed.get(job.id))
        found = list(alarms_of(job, shown, now))
        explained = [each for each in found if each.kind is Kind.ROW and holding(lost, job) is not None]
        yield job, shown, [each for each in found if each not in explained], explained


def _resumed(sql: Connection, now: datetime, jobs: Sequence[Watched]) -> dict[str, datetime]:
    """When the jobs were last resumed or armed; of many jobs, all that were."""
    one, values = "", list[str]()
    if len(jobs) <= _FEW:
        one, values = f" AND job_id IN ({', '.join('?' * len(jobs))})", [job.id for job in jobs]
    rows = sql.execute(
        f"SELECT job_id, max(at) AS at FROM audit WHERE action IN ('arm', 'resume') AND at <= ?{one} GROUP BY job_id",
        (stamp(now), *values),
    )
    return {row["job_id"]: parse_instant(row["at"]) for row in rows}


def _evidence(sql: Connection, job: Watched, now: datetime, resumed: datetime | None) -> AlarmEvidence:
    def newest(query: str, until: datetime) -> datetime | None:
        row = sql.execute(query, (job.id, stamp(until))).fetchone()
        return None if row is None else moment(row["at"])

    def covered_until(slot: datetime) -> datetime | None:
        if job.last_slot is None or job.last_slot <= slot:  # the row that begins latest is the newest of all
            return job.last_slot
        return newest(
            f"SELECT coalesce(fire_time_last, fire_time) AS at FROM runs WHERE job_id = ? AND {SLOTS}"
            " AND fire_time <= ? ORDER BY fire_time DESC LIMIT 1",
            slot,
        )

    return AlarmEvidence(
        # Up to now: a success that a wrong clock put in the future does not count.
        succeeded_at=lambda: newest(
            "SELECT max(finished_at) AS at FROM runs WHERE job_id = ? AND status = 'succeeded' AND finished_at <= ?",
            now,
        ),
        resumed_at=resumed,
        covered_until=covered_until,
    )
