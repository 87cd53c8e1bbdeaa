"""What the rows show about each job, for the rule of overdue jobs (core/due/expected.py)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from sqlite3 import Connection
from typing import TypeVar

from scheduler.core.due.expected import Alarm, AlarmEvidence, Kind, alarms_of
from scheduler.core.due.place import holding
from scheduler.core.values.facts import Watched
from scheduler.core.values.instants import parse_instant
from scheduler.ledger.places import open_faults
from scheduler.ledger.rows import SLOTS, moment, stamp

W = TypeVar("W", bound=Watched)


def alarms(sql: Connection, now: datetime, jobs: Sequence[W]) -> list[tuple[W, Alarm]]:
    """The overdue alarms of these jobs, judged by schedules and rows alone.

    Slots that wait for their place have no row, as intended: the place fault is already reported.
    """
    lost = open_faults(sql)
    resumed = _resumed(sql, now, jobs)
    return [
        (job, alarm)
        for job in jobs
        for alarm in alarms_of(job, _evidence(sql, job, now, resumed.get(job.id)), now)
        if alarm.kind is not Kind.ROW or holding(lost, job) is None
    ]


def told_alarms(sql: Connection) -> set[tuple[str, str]]:
    """(job, kind) of the alarms that were reported and have not ended since."""
    rows = sql.execute(
        "SELECT job_id, field, action FROM audit WHERE seq IN"
        " (SELECT max(seq) FROM audit WHERE action IN ('alarm', 'all_clear') GROUP BY job_id, field)"
    )
    return {(row["job_id"], row["field"]) for row in rows if row["action"] == "alarm"}


def _resumed(sql: Connection, now: datetime, jobs: Sequence[Watched]) -> dict[str, datetime]:
    """When the jobs were last resumed or armed: of one job, or of all."""
    one, values = ("", []) if len(jobs) != 1 else (" AND job_id = ?", [jobs[0].id])
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
