"""What people and commands ask about jobs, runs and texts."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import Connection
from typing import TYPE_CHECKING

from scheduler.core.values.facts import Job, JobSummary
from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.runs import Definition, Run, RunStatus
from scheduler.core.values.spec import JobSpec
from scheduler.core.values.usage import EndClass
from scheduler.ledger.of_text import OF_TEXT
from scheduler.ledger.rows import (
    ACTIVE,
    DEFINED,
    JOBS,
    SKETCHES,
    SLOTS,
    SUMMARIES,
    find_runs,
    from_row,
    moment,
    sha256_of,
    stamp,
    to_job,
    to_runner_files,
    to_summary,
)

if TYPE_CHECKING:
    from scheduler.core.past.timeline import Version


def jobs(sql: Connection) -> list[Job]:
    """All jobs, including archived ones, by id."""
    return [to_job(row) for row in sql.execute(JOBS + " ORDER BY id")]


def summaries(sql: Connection, ids: Sequence[str] | None = None) -> list[JobSummary]:
    """What a table shows of these jobs, or of all, including archived ones; by id."""
    where, values = (
        ("", ()) if ids is None else (" WHERE jobs.id IN (SELECT value FROM json_each(?))", (json.dumps(list(ids)),))
    )
    return [to_summary(row) for row in sql.execute(f"{SUMMARIES}{where} ORDER BY id", values)]


def sketches(sql: Connection) -> list[JobSummary]:
    """The summaries of all jobs, but for their newest slots and skips, which are None: to choose those to show."""
    return [to_summary(row) for row in sql.execute(f"{SKETCHES} ORDER BY id")]


def tags(sql: Connection) -> dict[str, tuple[str, ...]]:
    """Of all jobs, by id."""
    rows = sql.execute(f"SELECT id, json_extract(spec, '$.tags') FROM {DEFINED} ORDER BY id")
    return {job_id: tuple(json.loads(found or "[]")) for job_id, found in rows}


def newest_skip_is(sql: Connection, reason: str) -> list[str]:
    """The ids of unarchived jobs whose newest skip has this reason."""
    rows = sql.execute(
        "SELECT id FROM jobs WHERE archived_at IS NULL AND (SELECT reason FROM runs WHERE job_id = jobs.id"
        " AND status = 'skipped' AND reason <> 'void' ORDER BY n DESC LIMIT 1) = ? ORDER BY id",
        (reason,),
    )
    return [row["id"] for row in rows]


def newest_failures(sql: Connection, ids: Sequence[str]) -> dict[str, Run]:
    """The newest run of each of these jobs that failed or could not start, by job."""
    newest = f"SELECT max(n) FROM runs WHERE job_id = ids.value AND {FAILED}"
    some = f"SELECT runs.rowid FROM json_each(?) AS ids JOIN runs ON job_id = ids.value AND n = ({newest})"
    return {run.job_id: run for run in find_runs(sql, f"rowid IN ({some}) ORDER BY job_id", json.dumps(list(ids)))}


def job(sql: Connection, job_id: str) -> Job | None:
    row = sql.execute(JOBS + " WHERE id = ?", (job_id,)).fetchone()
    return None if row is None else to_job(row)


def job_ids(sql: Connection, *, since: int | None = None) -> list[str]:
    """since: a ticket; only jobs whose file or pause changed after it."""
    where, values = ("", ()) if since is None else (" WHERE changed > ?", (since,))
    return [row["id"] for row in sql.execute(f"SELECT id FROM jobs{where} ORDER BY id", values)]


def job_ids_with(sql: Connection, text: str, *, most: int) -> list[str]:
    """The ids of unarchived jobs that contain a text, in any case: those that begin with it first."""
    part = text.lower()
    rows = sql.execute(
        "SELECT id FROM jobs WHERE archived_at IS NULL AND instr(lower(id), ?)"
        " ORDER BY instr(lower(id), ?) <> 1, id LIMIT ?",
        (part, part, most),
    )
    return [row["id"] for row in rows]


def runs(sql: Connection, job_id: str, *, limit: int | None = None, status: RunStatus | None = None) -> list[Run]:
    """A job's runs and skips, newest first."""
    where, values = ("", []) if status is None else (" AND status = ?", [status.value])
    most = -1 if limit is None else limit
    return find_runs(sql, f"job_id = ?{where} ORDER BY n DESC LIMIT ?", job_id, *values, most)


def newest_started(sql: Connection, job_id: str) -> Run | None:
    """A job's newest run that reached attempt 1: skips and what waits have written nothing."""
    found = find_runs(sql, "job_id = ? AND started_at NOTNULL ORDER BY n DESC LIMIT 1", job_id)
    return found[0] if found else None


def success_before(sql: Connection, run: Run) -> Run | None:
    """The newest run of the same job that had succeeded when this one began, or was asked for."""
    began = stamp(run.started_at or run.requested_at)
    newest = "job_id = ? AND status = 'succeeded' AND finished_at <= ? AND n <> ? ORDER BY finished_at DESC LIMIT 1"
    found = find_runs(sql, newest, run.job_id, began, run.n)
    return found[0] if found else None


_ENDED = "coalesce(finished_at, '9')"  # what has not ended is newer than anything that has
# As the indexes runs_failed and runs_failed_of have it, word for word; `Run.failed` says the same.
FAILED = (
    "(status IN ('failed', 'timed_out', 'interrupted')"
    " OR (status = 'skipped' AND (reason GLOB 'source_*' OR reason GLOB 'runner_*' OR reason = 'check_failed')))"
)
# Each with words from which SQLite sees that an index holds the rows, or that none holds them in the right order.
_NOT_ENDED = (RunStatus.QUEUED, RunStatus.CLAIMED, RunStatus.RUNNING)
_BY_STATUS = {
    **{each: f"{ACTIVE} AND status = '{each}'" for each in _NOT_ENDED},
    **{
        each: f"{FAILED} AND status = '{each}'"
        for each in (RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.INTERRUPTED)
    },
    **{each: f"status = '{each}'" for each in (RunStatus.CANCELLED, RunStatus.SKIPPED)},
}


def recent_runs(
    sql: Connection,
    *,
    job_id: str | None = None,
    since: datetime | None = None,
    failed: bool = False,
    status: RunStatus | None = None,
    before: int | None = None,
    limit: int | None = None,
) -> list[Run]:
    """Runs and skips, newest first: of one job by number; of all jobs those under way, then by when they ended.

    since: only those that had not ended before. failed: only those that ended badly, skips by a fault among them.
    """
    wanted: dict[str, list[str | int]] = {}
    if before is not None:
        wanted["n < ?"] = [before]
    if job_id is not None:
        by_time = since is not None and _are_few(sql, since)
        wanted["+job_id = ?" if by_time else "job_id = ?"] = [job_id]  # + keeps SQLite from walking the job's rows
    if failed:
        wanted[FAILED] = []
    if status is not None:
        wanted[_BY_STATUS.get(status, f"+status = '{status}'")] = []
    if since is not None:
        wanted[f"{_ENDED} >= ?"] = [stamp(since)]
    where = " AND ".join(wanted) or "TRUE"
    order = f"{_ENDED} DESC, requested_at DESC, job_id, n DESC"
    if job_id is not None:
        order = "+n DESC" if status in _NOT_ENDED else "n DESC"
    values = [value for values in wanted.values() for value in values]
    return find_runs(sql, f"{where} ORDER BY {order} LIMIT ?", *values, -1 if limit is None else limit)


_FEW = 20_000  # found and sorted in some milliseconds


def _are_few(sql: Connection, since: datetime) -> bool:
    """True if few runs, of all jobs, had not ended before."""
    some = f"SELECT 1 FROM runs WHERE {_ENDED} >= ? LIMIT {_FEW}"
    (count,) = sql.execute(f"SELECT count(*) FROM ({some})", (stamp(since),)).fetchone()
    return int(count) < _FEW


def active_runs(sql: Connection) -> list[Run]:
    """Runs without an end, those that wait for a place or to be tried again among them; oldest first."""
    return find_runs(sql, f"{ACTIVE} ORDER BY requested_at, job_id, n")


def used_versions(
    sql: Connection, job_id: str, *, text: str | None = None, newest: int | None = None, most: int | None = None
) -> list[Version]:
    """What the runs of a job were given, last used first. Takes 1.5 s for a million runs of the job.

    text: only those of this text. newest: of so many rows of the job, or runs of the text. most: so many versions.
    """
    from scheduler.core.past.figures import Measured
    from scheduler.core.past.timeline import Tally, Use, contents, versions
    from scheduler.ledger.agents import amount_of, total_of

    def use(n: int) -> Use:
        query = (
            "SELECT n, task_sha256, task_bytes, status, started_at, duration_ms, source_path, source_blob, revision,"
            " dirty, runner_files FROM runs WHERE job_id = ? AND n = ?"
        )
        row = sql.execute(query, (job_id, n)).fetchone()
        return from_row(Use, row, runner_files=to_runner_files(row["runner_files"]))

    limit = "" if newest is None else " ORDER BY n DESC LIMIT ?"
    files = functools.cache(lambda text: contents(to_runner_files(text)))
    rows = sql.execute(
        "SELECT task_sha256, runner_files, min(n), max(n),"
        " max(CASE WHEN source_blob NOTNULL AND (dirty IS NULL OR dirty = 'converted') THEN n END),"
        " count(*), status, duration_ms, end_class, cost_nano, currency, tokens"
        f" FROM (SELECT * FROM {OF_TEXT if text else 'runs WHERE job_id = ?1'}{limit})"
        " WHERE started_at NOTNULL AND +task_sha256 NOTNULL"
        " GROUP BY task_sha256, runner_files, status, duration_ms, end_class, cost_nano, currency, tokens",
        [value for value in (job_id, text, newest) if value is not None],
    )
    found = (
        Tally(
            content=(sha256, files(text)),
            measured=Measured(
                status=RunStatus(status),
                end_class=None if end is None else EndClass(end),
                duration_ms=took,
                cost=None if nano is None else amount_of(nano),
                currency=currency,
                tokens=total_of(tokens),
                runs=count,
            ),
            first=first,
            last=last,
            committed=committed,
        )
        for sha256, text, first, last, committed, count, status, took, end, nano, currency, tokens in rows
    )
    return versions(found, use, most=most)


def run_count(sql: Connection, job_id: str) -> int:
    """The number of rows that a job has in the ledger, including skips."""
    (rows,) = sql.execute("SELECT count(*) FROM runs WHERE job_id = ?", (job_id,)).fetchone()
    return int(rows)


_SHORT = timedelta(hours=1)  # as the index runs_long has it
_LATEST = datetime.max.replace(tzinfo=UTC)


def statuses_between(sql: Connection, job_id: str, start: datetime, end: datetime) -> dict[str, int]:
    """The numbers of runs and skips by status, after `start` and up to `end`. Each row counts once.

    Rows are found by their ends: each kind of them in an index, within an hour of the time that is asked for. So a run
    during which the clock went back by more than an hour may be missed.
    """
    near = f"{_ENDED} BETWEEN :since AND :soon"
    kinds = (
        "job_id = :job AND status = 'succeeded' AND finished_at BETWEEN :since AND :soon",
        f"{FAILED} AND {near}",
        f"status = 'skipped' AND {near}",
        "job_id = :job AND status = 'cancelled'",
        f"duration_ms >= 3600000 AND {_ENDED} >= :since",
        f"job_id = :job AND {ACTIVE}",
    )
    when = "coalesce(started_at, finished_at, requested_at)"
    rows = sql.execute(
        f"SELECT status, count(*) AS rows FROM runs WHERE rowid IN ("
        f"{' UNION ALL '.join(f'SELECT rowid FROM runs WHERE {each}' for each in kinds)}"
        f") AND +job_id = :job AND {when} > :start AND {when} <= :end GROUP BY status ORDER BY status",
        {
            "job": job_id,
            "since": stamp(start - _SHORT),
            "soon": stamp(end + _SHORT),
            "start": stamp(start),
            "end": stamp(end),
        },
    )
    return {row["status"]: row["rows"] for row in rows}


def definitions(sql: Connection, job_id: str) -> list[Definition]:
    """Every definition that a job had, oldest first."""
    rows = sql.execute(
        "SELECT spec, generation, recorded_at AS since FROM definitions WHERE job_id = ? ORDER BY generation", (job_id,)
    )
    return [from_row(Definition, row, spec=JobSpec.from_json(json.loads(row["spec"]))) for row in rows]


def slots_around(sql: Connection, job_id: str, at: datetime) -> tuple[list[Run], datetime | None]:
    """The rows of the slots at an instant, before it and after it. Voided slots come last.

    Also the first slot with a row, if rows before it were deleted.
    """
    newest = "fire_time <= ? ORDER BY fire_time DESC, n DESC LIMIT 4"
    next_one = "fire_time > ? ORDER BY fire_time LIMIT 1"
    found = list[Run]()
    for slots in (f"{SLOTS} AND {newest}", f"{SLOTS} AND {next_one}", f"reason = 'void' AND {newest}"):
        found += find_runs(sql, f"job_id = ? AND {slots}", job_id, stamp(at))
    first = sql.execute("SELECT n FROM runs WHERE job_id = ? ORDER BY n LIMIT 1", (job_id,)).fetchone()
    if first is None or first["n"] == 1:
        return found, None
    kept = sql.execute(f"SELECT min(fire_time) AS first FROM runs WHERE job_id = ? AND {SLOTS}", (job_id,)).fetchone()
    return found, moment(kept["first"])


def under_way_at(sql: Connection, at: datetime, *, most: int) -> list[Run]:
    """Runs of any job that had started by then and had not ended."""
    then, now, soon = f"started_at <= ? AND {_ENDED} > ?", stamp(at), stamp(min(at, _LATEST - _SHORT) + _SHORT)
    return find_runs(
        sql,
        f"rowid IN (SELECT rowid FROM runs WHERE {then} AND {_ENDED} <= ?"
        f" UNION SELECT rowid FROM runs WHERE {then} AND duration_ms >= 3600000"
        f" UNION SELECT rowid FROM runs WHERE started_at <= ? AND {ACTIVE}) ORDER BY started_at LIMIT ?",
        *(now, now, soon, now, now, now, most),
    )


def runs_of_text(sql: Connection, sha256: str) -> list[str]:
    """The runs that were given this text, oldest first."""
    found = sql.execute("SELECT job_id, n FROM runs WHERE task_sha256 = ? ORDER BY requested_at", (sha256,))
    return [f"{row['job_id']}:{row['n']}" for row in found]


def text_of(sql: Connection, sha256: str, path: Path) -> bytes:
    """The bytes kept under a sha256. path: of the database, for the error.

    Raises: UnavailableError if they are gone or no longer match it.
    """
    row = sql.execute("SELECT bytes FROM texts WHERE sha256 = ?", (sha256,)).fetchone()
    if row is None or sha256_of(row["bytes"]) != sha256:
        raise UnavailableError(
            f"the text {sha256[:12]} in {path} is damaged or gone",
            hint="restore a backup with `scheduler restore`; a new run with the same text also repairs it",
        )
    return bytes(row["bytes"])


def damaged_texts(sql: Connection) -> list[str]:
    """The sha256 of every text that no longer matches it. Reads all texts."""
    found = sql.execute("SELECT sha256, bytes FROM texts ORDER BY sha256")
    return [row["sha256"] for row in found if sha256_of(row["bytes"]) != row["sha256"]]
