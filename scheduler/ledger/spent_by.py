"""Who has spent what in a time, and on what."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from sqlite3 import Connection

from scheduler.core.due.budgets import Standing
from scheduler.core.past.figures import Measured
from scheduler.core.past.spend import Spent, SpentRun
from scheduler.core.values.runs import RunStatus
from scheduler.core.values.usage import EndClass
from scheduler.ledger.agents import amount_of
from scheduler.ledger.budgets import Funds
from scheduler.ledger.rows import stamp


def dearest(sql: Connection, start: datetime, end: datetime, most: int) -> list[Spent]:
    """The jobs that have spent most in this time, in each currency. Reads sums of quarters of an hour, of this time."""
    rows = sql.execute(
        "SELECT job_id, currency, sum(nano) AS nano, sum(runs) FROM jobs CROSS JOIN spending"
        " ON job_id = jobs.id AND since >= ? AND since < ?"
        " GROUP BY job_id, currency ORDER BY nano DESC, job_id, currency LIMIT ?",
        (stamp(start)[:16], stamp(end)[:16], most),
    )
    return [Spent(job_id=row[0], currency=row[1], amount=amount_of(row[2]), runs=row[3]) for row in rows]


def spent_of(sql: Connection, job_id: str, start: datetime, end: datetime) -> list[Spent]:
    """By one job, or `@root`, in this time; in each currency."""
    rows = sql.execute(
        "SELECT currency, sum(nano), sum(runs) FROM spending WHERE job_id = ? AND since >= ? AND since < ?"
        " GROUP BY currency ORDER BY currency",
        (job_id, stamp(start)[:16], stamp(end)[:16]),
    )
    return [Spent(job_id=job_id, currency=row[0], amount=amount_of(row[1]), runs=row[2]) for row in rows]


def newest_runs(sql: Connection, job_ids: Iterable[str], newest: int) -> dict[str, list[SpentRun]]:
    """Those of the `newest` runs of each job that have ended and have a cost or a class of an end, newest first."""
    query = (
        "SELECT n, task_sha256, status, end_class, currency, cost_nano, duration_ms,"
        " coalesce(json_extract(agent, '$.model_served'), json_extract(agent, '$.model_asked')) AS model,"
        " (SELECT json_extract(spec, '$.runner') FROM definitions AS its"
        " WHERE its.job_id = runs.job_id AND its.generation = runs.generation) AS runner"
        " FROM (SELECT * FROM runs WHERE job_id = ? ORDER BY n DESC LIMIT ?) AS runs"
        " WHERE started_at NOTNULL AND finished_at NOTNULL AND (cost_nano NOTNULL OR end_class NOTNULL) ORDER BY n DESC"
    )
    return {
        job_id: [
            SpentRun(
                n=row["n"],
                task_sha256=row["task_sha256"],
                runner=row["runner"],
                model=row["model"],
                measured=Measured(
                    status=RunStatus(row["status"]),
                    end_class=None if row["end_class"] is None else EndClass(row["end_class"]),
                    duration_ms=row["duration_ms"],
                    cost=None if row["cost_nano"] is None else amount_of(row["cost_nano"]),
                    currency=row["currency"],
                ),
            )
            for row in sql.execute(query, (job_id, newest))
        ]
        for job_id in job_ids
    }


def unpriced(sql: Connection, newest: int) -> dict[str, int]:
    """How many of the `newest` runs of the root are an agent's of unknown cost, by job: most first."""
    rows = sql.execute(
        "SELECT job_id, count(*) AS runs FROM (SELECT job_id, end_class, cost_nano FROM runs"
        " ORDER BY coalesce(finished_at, '9') DESC LIMIT ?) WHERE end_class NOTNULL AND cost_nano IS NULL"
        " GROUP BY job_id ORDER BY runs DESC, job_id",
        (newest,),
    )
    return {row["job_id"]: row["runs"] for row in rows}


def limits(sql: Connection, now: datetime) -> list[Standing]:
    """Those of the root."""
    return list(Funds(sql, now).standings(None, None))
