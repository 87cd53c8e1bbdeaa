"""The runs of one text of a job, by the index `runs_of_text`: none of these reads grows with the history."""

from __future__ import annotations

from sqlite3 import Connection

from scheduler.core.values.runs import Run
from scheduler.ledger.rows import find_runs

KEY = 7  # digits of the sha256 in the index
_LAST = 2**62  # more than any number of a run
_LOOKED_BACK = 20_000  # rows before a text, for the one that ran before it
# Left alone, SQLite walks all runs of the job if their order is wanted. Without the +, it would put the parameter into
# the expression of the index, and not find the index.
OF_TEXT = (
    "runs INDEXED BY runs_of_text WHERE job_id = ?1 AND substr(task_sha256, 1, 7) = substr(?2, 1, 7)"
    " AND task_sha256 NOTNULL AND +task_sha256 = ?2"
)


def texts_like(sql: Connection, job_id: str, prefix: str, *, most: int) -> list[str]:
    """The sha256 of texts that runs of a job had, and that begin with these digits; at most `most` of them.

    Of texts that have the first seven digits in common, one is found for these alone; more digits tell them apart.
    """
    if len(prefix) >= KEY:
        row = sql.execute(
            "SELECT task_sha256 FROM runs INDEXED BY runs_of_text WHERE job_id = ? AND task_sha256 NOTNULL"
            " AND substr(task_sha256, 1, 7) = ? AND +task_sha256 >= ? AND +task_sha256 < ? LIMIT 1",
            (job_id, prefix[:KEY], prefix, f"{prefix}g"),
        ).fetchone()
        return [] if row is None else [row["task_sha256"]]
    found: list[str] = []
    after = prefix
    while len(found) < most:
        row = sql.execute(
            "SELECT substr(task_sha256, 1, 7) AS key, task_sha256 FROM runs WHERE job_id = ? AND task_sha256 NOTNULL"
            f" AND substr(task_sha256, 1, 7) {'>' if found else '>='} ? ORDER BY substr(task_sha256, 1, 7) LIMIT 1",
            (job_id, after),
        ).fetchone()
        if row is None or not row["key"].startswith(prefix):
            break
        after = row["key"]
        found.append(row["task_sha256"])
    return found


def runs_with_text(sql: Connection, job_id: str, sha256: str, *, before: int | None = None, limit: int) -> list[Run]:
    """The runs of a job that were given this text, newest first. before: only those with a lower number."""
    newest = f"SELECT rowid FROM {OF_TEXT} AND n < ?3 ORDER BY n DESC LIMIT ?4"
    most = _LAST if before is None else before
    return find_runs(sql, f"rowid IN ({newest}) ORDER BY n DESC", job_id, sha256, most, limit)


def text_before(sql: Connection, job_id: str, sha256: str | None) -> str | None:
    """The other text that a job had just before its runs with this one; with None, the text of its newest run."""
    first = None
    if sha256 is not None:
        row = sql.execute(f"SELECT n FROM {OF_TEXT} ORDER BY n LIMIT 1", (job_id, sha256)).fetchone()
        first = None if row is None else row["n"]
    if first is None:
        (first,) = sql.execute("SELECT coalesce(max(n), 0) + 1 FROM runs WHERE job_id = ?", (job_id,)).fetchone()
    row = sql.execute(
        "SELECT task_sha256 FROM runs WHERE job_id = ? AND n < ? AND n > ? AND +task_sha256 NOTNULL"
        " AND task_of IS NULL AND task_sha256 IS NOT ? ORDER BY n DESC LIMIT 1",
        (job_id, first, first - _LOOKED_BACK, sha256),
    ).fetchone()
    return None if row is None else str(row["task_sha256"])
