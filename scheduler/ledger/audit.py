"""Who changed what (S7)."""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection

from scheduler.core.values.runs import AuditRow
from scheduler.ledger.rows import dump, stamp, to_audit_row


def append_audit(sql: Connection, rows: Sequence[AuditRow]) -> None:
    """Within the transaction of what they tell of (S7)."""
    sql.executemany(
        "INSERT INTO commits (id, author, email, date, subject) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        {
            (made.id, made.author, made.email, stamp(made.date), made.subject)
            for made in (row.commit for row in rows)
            if made is not None
        },
    )
    sql.executemany(
        "INSERT INTO audit (at, job_id, action, field, before, after, revision, actor, cause, commit_id, no_commit)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                stamp(row.at),
                row.job_id,
                row.action,
                row.field,
                dump(row.before),
                dump(row.after),
                row.revision,
                row.actor,
                row.cause,
                None if row.commit is None else row.commit.id,
                row.no_commit,
            )
            for row in rows
        ],
    )


def read_audit(sql: Connection, job_id: str | None = None, *, limit: int | None = None) -> list[AuditRow]:
    """Audit rows, oldest first; the newest `limit` of them."""
    where, values = ("", []) if job_id is None else (" WHERE job_id = ?", [job_id])
    rows = sql.execute(
        f"SELECT audit.*, author, email, date, subject FROM audit LEFT JOIN commits ON commits.id = commit_id"
        f"{where} ORDER BY seq DESC LIMIT ?",
        (*values, -1 if limit is None else limit),
    ).fetchall()
    return [to_audit_row(row) for row in reversed(rows)]
