"""Who changed what (S7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from sqlite3 import Connection

from scheduler.core.values.facts import Commit, Lookup, NoCommit
from scheduler.core.values.runs import AuditRow
from scheduler.ledger.rows import AUDIT_ROWS, dump, from_row, insert, insert_all, to_audit_row, to_row

_PENDING = "commit_id IS NULL AND no_commit IS NULL"  # as the index lookups_pending has it, word for word


def append_audit(sql: Connection, rows: Sequence[AuditRow]) -> None:
    """Add audit rows, in the transaction of the change that they describe (S7), and what git is asked about them."""
    lookups = _add_lookups(sql, dict.fromkeys(row.lookup for row in rows if row.lookup is not None))
    told = [
        {
            **to_row(row, "before", "after", "commit", "lookup"),
            "before": dump(row.before),
            "after": dump(row.after),
            "lookup": None if row.lookup is None else lookups[row.lookup],
        }
        for row in rows
    ]
    insert_all(sql, "audit", told)


def _add_lookups(sql: Connection, lookups: Mapping[Lookup, None]) -> dict[Lookup, int]:
    if not lookups:
        return {}
    (last,) = sql.execute("SELECT coalesce(max(id), 0) FROM lookups").fetchone()
    ids = {each: number for number, each in enumerate(lookups, start=last + 1)}
    insert_all(sql, "lookups", [{"id": number, **to_row(each)} for each, number in ids.items()])
    return ids


def read_audit(sql: Connection, job_id: str | None = None, *, limit: int | None = None) -> list[AuditRow]:
    """Audit rows, oldest first; with `limit`, only the newest ones."""
    where, values = ("", []) if job_id is None else (" AND audit.job_id = ?", [job_id])
    rows = sql.execute(
        f"{AUDIT_ROWS}{where} ORDER BY audit.seq DESC LIMIT ?", (*values, -1 if limit is None else limit)
    ).fetchall()
    return [to_audit_row(row) for row in reversed(rows)]


def newest_of(sql: Connection, job_id: str, action: str) -> AuditRow | None:
    """The newest row of this action of a job."""
    row = sql.execute(
        f"{AUDIT_ROWS} AND audit.job_id = ? AND action = ? ORDER BY audit.seq DESC LIMIT 1", (job_id, action)
    ).fetchone()
    return None if row is None else to_audit_row(row)


def read_activity(
    sql: Connection, *, job_id: str | None, actor: str | None, action: str | None, before: int | None, limit: int
) -> list[tuple[int, AuditRow]]:
    """Audit rows with their numbers, newest first; `before` leaves out that number and newer ones."""
    wanted = {"job_id": job_id, "actor": actor, "action": action}
    given = {name: value for name, value in wanted.items() if value is not None}
    where = "".join(f" AND audit.{name} = :{name}" for name in given)
    if before is not None:
        where += " AND audit.seq < :before"
    rows = sql.execute(
        f"{AUDIT_ROWS}{where} ORDER BY audit.seq DESC LIMIT :limit", {**given, "before": before, "limit": limit}
    ).fetchall()
    return [(row["seq"], to_audit_row(row)) for row in rows]


def pending_lookups(sql: Connection, *, limit: int = -1) -> dict[int, Lookup]:
    """What git has not answered yet, by number, oldest first."""
    rows = sql.execute(f"SELECT id, revision, path, blob FROM lookups WHERE {_PENDING} ORDER BY id LIMIT ?", (limit,))
    return {row["id"]: from_row(Lookup, row) for row in rows}


def answer_lookups(sql: Connection, answers: Mapping[int, Commit | NoCommit]) -> None:
    """Record what git has answered. An earlier answer stays."""
    for made in {each for each in answers.values() if isinstance(each, Commit)}:
        insert(sql, "commits", known=True, **to_row(made))
    told = [
        (each.id, None, number) if isinstance(each, Commit) else (None, each, number)
        for number, each in answers.items()
    ]
    sql.executemany(f"UPDATE lookups SET commit_id = ?, no_commit = ? WHERE id = ? AND {_PENDING}", told)
