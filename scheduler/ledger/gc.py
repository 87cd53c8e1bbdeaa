"""What retention deletes."""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection

from scheduler.ledger.rows import ACTIVE


def runs_kept_whole(sql: Connection, job_id: str) -> set[int]:
    """Numbers of the runs whose rows and outputs always stay: active ones, the last one, and the last success."""
    rows = sql.execute(f"SELECT n FROM runs WHERE job_id = ? AND {ACTIVE}", (job_id,)).fetchall()
    for wanted in ("started_at NOTNULL", "status = 'succeeded'"):
        rows += sql.execute(
            f"SELECT n FROM runs WHERE job_id = ? AND {wanted} ORDER BY n DESC LIMIT 1", (job_id,)
        ).fetchall()
    return {row["n"] for row in rows}


def surplus_runs(sql: Connection, job_id: str, *, kept: int) -> list[int]:
    """Numbers of the rows beyond the `kept` that a job's history may have: skips first, oldest first.

    Never one of `runs_kept_whole`, nor the row of the newest slot, which marks the end of the ledger.
    """
    stays = runs_kept_whole(sql, job_id)
    (rows,) = sql.execute("SELECT count(*) FROM runs WHERE job_id = ?", (job_id,)).fetchone()
    newest = sql.execute(
        "SELECT n FROM runs WHERE job_id = ? AND fire_time NOTNULL AND reason IS NOT 'void'"
        " ORDER BY fire_time DESC LIMIT 1",
        (job_id,),
    ).fetchone()
    if newest is not None:
        stays.add(newest["n"])
    found = sql.execute(
        f"SELECT n FROM runs WHERE job_id = ? AND NOT {ACTIVE} AND n NOT IN ({','.join('?' * len(stays))})"
        " ORDER BY status <> 'skipped', n LIMIT ?",
        (job_id, *stays, max(0, rows - kept)),
    ).fetchall()
    return [row["n"] for row in found]


def delete_runs(sql: Connection, job_id: str, numbers: Sequence[int]) -> None:
    """Delete finished rows with their attempts. Their numbers are not used again."""
    keys = [(job_id, n) for n in numbers]
    sql.executemany("DELETE FROM attempts WHERE job_id = ? AND run_n = ?", keys)
    sql.executemany(f"DELETE FROM runs WHERE job_id = ? AND n = ? AND NOT {ACTIVE}", keys)


def delete_texts(sql: Connection) -> int:
    """Delete the texts that no run has any more, and return their number."""
    gone = "SELECT task_sha256 FROM runs WHERE task_sha256 NOTNULL"
    return sql.execute(f"DELETE FROM texts WHERE sha256 NOT IN ({gone})").rowcount
