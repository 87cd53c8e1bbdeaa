"""Place faults in the ledger: recorded in the audit of the root, waited out by queued runs (F7)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from sqlite3 import Connection

from scheduler.core.due.place import PLACE, PlaceFault, fault_of_key
from scheduler.core.values.instants import parse_instant
from scheduler.core.values.runs import AuditRow, Run, RunStatus, Trigger
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.ledger.audit import append_audit
from scheduler.ledger.rows import AUDIT_ROWS, set_run, the_run, to_audit_row

LOST, BACK = "place_lost", "place_back"
_TOLD = "action IN ('place_lost', 'place_back')"  # as the index audit_places has it, word for word


def open_faults(sql: Connection) -> list[PlaceFault]:
    """The faults that were reported and have not ended since, oldest first."""
    rows = sql.execute(
        "SELECT action, field, after, at FROM audit"
        f" WHERE seq IN (SELECT max(seq) FROM audit WHERE {_TOLD} GROUP BY field) ORDER BY seq"
    )
    found = [
        fault_of_key(row["field"], json.loads(row["after"]), parse_instant(row["at"]))
        for row in rows
        if row["action"] == LOST
    ]
    return [each for each in found if each is not None]


def told_faults(sql: Connection) -> list[AuditRow]:
    """When place faults began and ended, oldest first."""
    told = f"audit.seq IN (SELECT seq FROM audit WHERE {_TOLD})"
    return [to_audit_row(row) for row in sql.execute(f"{AUDIT_ROWS} AND {told} ORDER BY audit.seq").fetchall()]


def tell(
    sql: Connection,
    faults: Sequence[PlaceFault],
    *,
    begins: bool,
    now: datetime,
    at: datetime | None = None,
    actor: str = "scheduler",
    cause: str = "fire",
) -> None:
    """at: when they began or changed. None: when each of them began."""
    append_audit(
        sql,
        [
            AuditRow(
                job_id=ROOT_JOB_ID,
                action=LOST if begins else BACK,
                field=each.key,
                before=None if begins else each.told,
                after=each.told if begins else None,
                at=(at or each.since or now) if begins else now,
                actor=actor,
                cause=cause,
            )
            for each in faults
        ],
    )


def was_there(sql: Connection, job_id: str, folder: str) -> bool:
    """True if the folder of a job's task is known to have existed: a misspelt path is not in any folder either.

    No job is created without its task. After an edit of the path, only a run with a text from there proves it.
    """
    edited = sql.execute(
        "SELECT 1 FROM audit WHERE job_id = ? AND action <> 'create' AND field = 'task_source_path' LIMIT 1", (job_id,)
    ).fetchone()
    if edited is None:
        return True
    below = f"{folder}/"
    ran = "SELECT 1 FROM runs WHERE substr(source_path, 1, ?) = ? LIMIT 1"
    return sql.execute(ran, (len(below), below)).fetchone() is not None


def keep_waiting(sql: Connection, run: Run) -> Run:
    """Make a claimed run that has not begun wait until its place is back.

    It is late by then, so it counts as a catch-up run: a newer slot of its job goes before it.
    """
    waits = {"status": RunStatus.QUEUED, "reason": PLACE, "owner": None, '"trigger"': Trigger.CATCH_UP}
    set_run(sql, run.job_id, run.n, "status IN ('queued', 'claimed') AND retry_at IS NULL", **waits)
    return the_run(sql, run.job_id, run.n)
