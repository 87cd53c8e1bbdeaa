"""What retention deletes."""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection

from scheduler.core.values.runs import Run
from scheduler.ledger.rows import ACTIVE


def runs_kept_whole(sql: Connection, job_id: str) -> set[int]:
    """Numbers of the runs whose rows and outputs always stay: active ones, the last one, and the last success."""
    rows = sql.execute(f"SELECT n FROM runs WHERE job_id = ? AND {ACTIVE}", (job_id,)).fetchall()
    for wanted in ("started_at NOTNULL", "status = 'succeeded'"):
        rows += sql.execute(
            f"SELECT n FROM runs WHERE job_id = ? AND {wanted} ORDER BY n DESC LIMIT 1", (job_id,)
        ).fetchall()
    return {row["n"] for row in rows}


def forget_folder(sql: Connection, run: Run) -> None:
    """Note that the worktree of a run has been removed."""
    where = "job_id = ? AND n = ? AND worktree NOTNULL"
    sql.execute(f"UPDATE runs SET worktree = json_set(worktree, '$.folder', NULL) WHERE {where}", (run.job_id, run.n))


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
    """Delete finished rows with their attempts and what was told of them. Their numbers are not used again.

    What still waits to be sent stays, and so does what began a streak that lasts: its end is told to whoever was told
    of that.
    """
    keys = [(job_id, n) for n in numbers]
    old = (
        "job_id = ? AND run_n = ? AND streak IS NOT (SELECT json_extract(streaks.streak, '$.event') FROM streaks"
        " WHERE key = 'failure/' || events.job_id AND open) AND NOT EXISTS (SELECT 1 FROM deliveries"
        " WHERE event = seq AND status IN ('pending', 'sending'))"
    )
    sql.executemany(f"DELETE FROM deliveries WHERE event IN (SELECT seq FROM events WHERE {old})", keys)
    sql.executemany(f"DELETE FROM events WHERE {old}", keys)
    sql.executemany("DELETE FROM attempts WHERE job_id = ? AND run_n = ?", keys)
    sql.executemany(f"DELETE FROM runs WHERE job_id = ? AND n = ? AND NOT {ACTIVE}", keys)


_MARGIN = 10_000  # rows: their ids may be given out again once a process beside this one has deleted the newest


def unused_texts(sql: Connection) -> tuple[list[str], int]:
    """The texts that no run has, and the row from which on runs may get one of them meanwhile."""
    found = sql.execute(f"SELECT sha256 FROM texts WHERE sha256 NOT IN ({_used()})").fetchall()
    (newest,) = sql.execute("SELECT coalesce(max(rowid), 0) FROM runs").fetchone()
    (active,) = sql.execute(f"SELECT coalesce(min(rowid), {newest}) FROM runs WHERE {ACTIVE}").fetchone()
    return [row["sha256"] for row in found], min(active, newest - _MARGIN)


def delete_texts(sql: Connection, sha256s: Sequence[str], *, since: int) -> int:
    """Delete those of the unused texts that no run has got since, and return their number.

    For a connection that does not check foreign keys: for each text, SQLite would read all runs, which have no index
    of their texts, and keep every claim waiting.
    """
    marks = ", ".join("?" * len(sha256s))
    deleted = f"DELETE FROM texts WHERE sha256 IN ({marks}) AND sha256 NOT IN ({_used('rowid >= ?')})"
    return sql.execute(deleted, (*sha256s, since, since)).rowcount


def _used(where: str = "TRUE") -> str:
    """The texts that runs were given."""
    each = (f"SELECT {name} FROM runs WHERE {where} AND {name} NOTNULL" for name in ("task_sha256", "check_sha256"))
    return " UNION ALL ".join(each)
