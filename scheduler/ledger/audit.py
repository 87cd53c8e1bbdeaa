"""Who changed what (S7)."""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection

from scheduler.core.values.runs import AuditRow
from scheduler.ledger.rows import dump, insert, insert_all, to_audit_row, to_row


def append_audit(sql: Connection, rows: Sequence[AuditRow]) -> None:
    """Add audit rows, in the transaction of the change that they describe (S7)."""
    for made in {row.commit for row in rows if row.commit is not None}:
        insert(sql, "commits", known=True, **to_row(made))
    told = [
        {
            **to_row(row, "before", "after", "commit"),
            "before": dump(row.before),
            "after": dump(row.after),
            "commit_id": None if row.commit is None else row.commit.id,
        }
        for row in rows
    ]
    insert_all(sql, "audit", told)


def read_audit(sql: Connection, job_id: str | None = None, *, limit: int | None = None) -> list[AuditRow]:
    """Audit rows, oldest first; with `limit`, only the newest ones."""
    where, values = ("", []) if job_id is None else (" WHERE job_id = ?", [job_id])
    rows = sql.execute(
        f"SELECT audit.*, author, email, date, subject FROM audit LEFT JOIN commits ON commits.id = commit_id"
        f"{where} ORDER BY seq DESC LIMIT ?",
        (*values, -1 if limit is None else limit),
    ).fetchall()
    return [to_audit_row(row) for row in reversed(rows)]
