"""What a chart of one job shows of a window of time. Each read is bounded in rows, whatever the history is."""

from __future__ import annotations

from datetime import datetime
from sqlite3 import Connection

from scheduler.core.past.chart import Mark
from scheduler.core.times.clocks import true_lives
from scheduler.core.values.runs import AuditRow, Life, RunStatus
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.core.values.usage import EndClass
from scheduler.ledger.agents import amount_of
from scheduler.ledger.lives import to_life
from scheduler.ledger.queries import FAILED
from scheduler.ledger.rows import AUDIT_ROWS, SLOTS, moment, stamp, to_audit_row

MOST_CHANGES = 500
CHANGE = (  # as the index audit_changes has it
    "action NOT IN ('failure', 'stopped', 'recovery', 'skip', 'flapping', 'overdue', 'alarm', 'all_clear',"
    " 'over_budget', 'other_model', 'cancel')"
)
_COLUMNS = (
    'n, "trigger", fire_time, fire_time_last, slots, requested_at, status, reason, started_at, duration_ms, end_class,'
    " cost_nano, currency, task_sha256, task_of,"
    " coalesce(json_extract(agent, '$.model_served'), json_extract(agent, '$.model_asked')) AS model"
)


def marks(sql: Connection, job_id: str, start: datetime, end: datetime, *, most: int) -> list[Mark]:
    """The rows of slots in [start, end), those that reach into it, and runs by hand: of each kind the newest `most`."""
    rows = sql.execute(
        f"SELECT {_COLUMNS} FROM runs WHERE job_id = :job AND {SLOTS} AND fire_time >= :start AND fire_time < :end"
        " ORDER BY fire_time DESC LIMIT :most",
        _given(job_id, start, end, most),
    ).fetchall()
    rows += sql.execute(
        f"SELECT * FROM (SELECT {_COLUMNS} FROM runs WHERE job_id = :job AND {SLOTS} AND fire_time < :start"
        " ORDER BY fire_time DESC LIMIT 1) WHERE fire_time_last >= :start",
        _given(job_id, start, end, most),
    ).fetchall()
    rows += sql.execute(
        f"SELECT {_COLUMNS} FROM runs WHERE job_id = :job AND \"trigger\" IN ('manual', 'rerun')"
        " AND requested_at >= :start AND requested_at < :end ORDER BY requested_at DESC LIMIT :most",
        _given(job_id, start, end, most),
    ).fetchall()
    found = []
    for row in rows:
        at = moment(row["fire_time"] or row["requested_at"])
        assert at is not None
        found.append(
            Mark(
                n=row["n"],
                at=at,
                last=moment(row["fire_time_last"]) if row["slots"] > 1 else None,
                slots=row["slots"],
                by_hand=row["fire_time"] is None,
                status=RunStatus(row["status"]),
                reason=row["reason"],
                started=moment(row["started_at"]),
                duration_ms=row["duration_ms"],
                end_class=None if row["end_class"] is None else EndClass(row["end_class"]),
                cost=None if row["cost_nano"] is None else amount_of(row["cost_nano"]),
                currency=row["currency"],
                text=row["task_sha256"],
                borrowed=row["task_of"] is not None,
                model=row["model"],
            )
        )
    return found


def changes_until(sql: Connection, job_id: str, end: datetime, *, most: int = MOST_CHANGES) -> list[AuditRow]:
    """The newest changes of a job before an instant, oldest first. What its runs have caused is no change."""
    newest = f"SELECT seq FROM audit INDEXED BY audit_changes WHERE job_id = ? AND {CHANGE} AND at < ?"
    rows = sql.execute(
        f"{AUDIT_ROWS} AND audit.seq IN ({newest} ORDER BY seq DESC LIMIT ?) ORDER BY audit.seq DESC",
        (job_id, stamp(end), most),
    ).fetchall()
    return [to_audit_row(row) for row in reversed(rows)]


def models_between(sql: Connection, runner: str, start: datetime, end: datetime) -> list[AuditRow]:
    """The newest changes of the model of a runner, oldest first."""
    rows = sql.execute(
        f"{AUDIT_ROWS} AND audit.job_id = ? AND field = ? AND at >= ? AND at < ? ORDER BY audit.seq DESC LIMIT ?",
        (ROOT_JOB_ID, f"runners.{runner}.model", stamp(start), stamp(end), MOST_CHANGES),
    ).fetchall()
    return [to_audit_row(row) for row in reversed(rows)]


def lives_between(sql: Connection, start: datetime, end: datetime, now: datetime) -> list[Life]:
    """When daemons were alive in [start, end), by start time."""
    rows = sql.execute(
        "SELECT owner, began_at AS began, seen_at AS seen, silent, over, once FROM lives"
        " WHERE seen_at >= ? AND began_at < ? ORDER BY id",
        (stamp(start), stamp(end)),
    )
    return true_lives([to_life(row) for row in rows], now)


def failing_since(sql: Connection, job_id: str) -> datetime | None:
    """The first failure after the newest success of a job: its slot, or when it was requested."""
    success = "SELECT n FROM runs WHERE job_id = :job AND status = 'succeeded' ORDER BY finished_at DESC LIMIT 1"
    row = sql.execute(
        "SELECT coalesce(fire_time, requested_at) AS at FROM runs WHERE job_id = :job"
        f" AND n > coalesce(({success}), 0) AND {FAILED} ORDER BY n LIMIT 1",
        {"job": job_id},
    ).fetchone()
    return None if row is None else moment(row["at"])


def oldest(sql: Connection, job_id: str, *, most: int) -> datetime | None:
    """When the oldest of a job's newest `most` rows was made."""
    row = sql.execute(
        "SELECT min(coalesce(fire_time, requested_at)) AS at FROM (SELECT fire_time, requested_at FROM runs"
        " WHERE job_id = ? ORDER BY n DESC LIMIT ?)",
        (job_id, most),
    ).fetchone()
    return moment(row["at"])


def _given(job_id: str, start: datetime, end: datetime, most: int) -> dict[str, str | int]:
    return {"job": job_id, "start": stamp(start), "end": stamp(end), "most": most}
