"""Runs that are handed over to workers. Their rows are the list of what is out there, whatever becomes of a daemon."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Connection
from typing import Any

from scheduler.core.values.instants import parse_instant
from scheduler.core.values.runs import TEMPORAL, Elsewhere, Run, RunStatus
from scheduler.ledger import rows, told
from scheduler.ledger.batches import Pinned
from scheduler.ledger.runs import pinned_columns

ELSEWHERE = "elsewhere"  # reason of the row of a slot that another control plane serves
_NOT_HANDED = "handed IS NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """A try that was handed over, and whose end is not known here."""

    run: Run
    handle: str
    queue: str
    spec: Mapping[str, Any]  # what was sent, without the text
    at: datetime

    @property
    def attempt(self) -> int:
        """The number of the try, from 1."""
        return int(self.spec["attempt"])

    @property
    def begun(self) -> bool:
        """True if a worker is known to have it."""
        return self.run.status is RunStatus.RUNNING


def database_id(sql: Connection) -> str:
    """What tells this database, and every copy of it, from others."""
    return str(sql.execute("SELECT id FROM identity").fetchone()[0])


def hand_over(
    sql: Connection, run: Run, *, handle: str, queue: str, spec: Mapping[str, Any], pinned: Pinned, now: datetime
) -> Handed | None:
    """Pin what a try is given, and name the id under which it is about to be known. Nothing has been sent yet.

    None if somebody else has ended the run, or has it.
    """
    given: dict[str, Any] = {
        "status": RunStatus.CLAIMED,
        "owner": f"{TEMPORAL}:{handle}",
        "engine": TEMPORAL,
        "handle": handle,
        "task_queue": queue,
        "handed": rows.dump(dict(spec)),
        "handed_at": now,
        "reason": None,
        "retry_at": None,
        "runner_files": rows.dump([each.to_json() for each in pinned.runner_files]),
    }
    waits = rows.WAITS_FOR_RETRY if run.attempts else f"status IN ('queued', 'claimed') AND {_NOT_HANDED}"
    if not run.attempts:
        given |= pinned_columns(
            sql,
            generation=pinned.generation,
            task=pinned.task,
            provenance=pinned.provenance,
            check_output=pinned.check_output,
        )
    if not rows.set_run(sql, run.job_id, run.n, waits, **given):
        return None
    return Handed(run=rows.the_run(sql, run.job_id, run.n), handle=handle, queue=queue, spec=spec, at=now)


def out(sql: Connection) -> list[Handed]:
    """The tries that were handed over and have not ended, oldest first."""
    found = sql.execute(
        f"SELECT * FROM runs WHERE handed NOTNULL AND {rows.ACTIVE} ORDER BY handed_at, job_id, n"
    ).fetchall()
    return [_handed(sql, row) for row in found]


def the_handed(sql: Connection, run: Run) -> Handed | None:
    """How it stands with one of them. None if it has ended."""
    row = sql.execute(
        f"SELECT * FROM runs WHERE job_id = ? AND n = ? AND handed NOTNULL AND {rows.ACTIVE}", (run.job_id, run.n)
    ).fetchone()
    return None if row is None else _handed(sql, row)


def begin(sql: Connection, handed: Handed, *, host: str | None, at: datetime) -> Run:
    """Note that a worker has a try: its attempt is open from now on. May be repeated.

    at: when it began, or somewhat later: the earliest that is told counts.
    """
    run = handed.run
    opened: dict[str, Any] = {"status": RunStatus.RUNNING}
    if handed.attempt == 1:
        opened["started_at"] = at
    if rows.set_run(sql, run.job_id, run.n, "status = 'claimed' AND handed NOTNULL", **opened):
        # Marked: whoever reads it must not think that nothing ran.
        more: dict[str, Any] = {"started_at": at, "boot_id": None, "spawning": True, "host": host}
        rows.insert(sql, "attempts", job_id=run.job_id, run_n=run.n, n=handed.attempt, status=RunStatus.RUNNING, **more)
        if handed.attempt == 1:
            sql.execute("UPDATE jobs SET run_count = run_count + 1 WHERE id = ?", (run.job_id,))
            told.started(sql, rows.the_run(sql, run.job_id, run.n), told.asked(sql, run.job_id), now=at)
    else:
        key = (run.job_id, run.n, handed.attempt, RunStatus.RUNNING)
        sql.execute(
            "UPDATE attempts SET host = coalesce(host, ?), started_at = min(started_at, ?)"
            " WHERE job_id = ? AND run_n = ? AND n = ? AND status = ?",
            (host, rows.stamp(at), *key),
        )
        if handed.attempt == 1:
            sql.execute(
                "UPDATE runs SET started_at = min(started_at, ?) WHERE job_id = ? AND n = ? AND status = ?",
                (rows.stamp(at), run.job_id, run.n, RunStatus.RUNNING),
            )
    return rows.the_run(sql, run.job_id, run.n)


def note_elsewhere(sql: Connection, run: Run, elsewhere: Elsewhere) -> None:
    """Note which other control plane serves the slot of a run. Until its end is known, the run counts as active."""
    rows.set_run(sql, run.job_id, run.n, rows.ACTIVE, elsewhere=rows.dump(elsewhere.to_json()))


def come_home(sql: Connection, run: Run) -> None:
    """Forget what was sent: the try has ended, in the transaction of that end."""
    rows.set_run(sql, run.job_id, run.n, handed=None)


def end_elsewhere(sql: Connection, run: Run, elsewhere: Elsewhere, *, message: str, now: datetime) -> Run:
    """End the row of a slot that another control plane has served. It touches no counter, and nobody is told."""
    ended = {"status": RunStatus.SKIPPED, "reason": ELSEWHERE, "error": message, "finished_at": now, "owner": None}
    told_of = {"elsewhere": rows.dump(elsewhere.to_json()), "handed": None}
    rows.set_run(sql, run.job_id, run.n, rows.ACTIVE, **ended, **told_of)
    return rows.the_run(sql, run.job_id, run.n)


def _handed(sql: Connection, row: Any) -> Handed:
    return Handed(
        run=rows.to_runs(sql, [row])[0],
        handle=row["handle"],
        queue=row["task_queue"],
        spec=json.loads(row["handed"]),
        at=parse_instant(row["handed_at"]),
    )
