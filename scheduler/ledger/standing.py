"""How a job stands now, and what is different in it since it last went well."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from sqlite3 import Connection
from typing import TYPE_CHECKING

from scheduler.core import views
from scheduler.core.due.place import holding
from scheduler.core.values.events import ChangeSince
from scheduler.core.values.facts import Commit, Job, Watched, summary_of
from scheduler.core.values.problems import Problem
from scheduler.core.values.runs import Run
from scheduler.ledger import evidence, places, queries, syncs
from scheduler.ledger.agents import other_models
from scheduler.ledger.rows import AUDIT_ROWS, find_runs, stamp, to_audit_row

if TYPE_CHECKING:
    from scheduler.core.answers import JobRowJson


class ProblemsByJob:
    """What the last sync found wrong, by job. A problem of a whole file belongs to all jobs of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self._found: dict[str, list[tuple[int, Problem]]] = {}
        for place, problem in enumerate(problems):
            self._found.setdefault(problem.job_id or f"/{problem.path}", []).append((place, problem))

    def of(self, job: Watched) -> list[Problem]:
        if not self._found:
            return []
        mine = [*self._found.get(job.id, ()), *self._found.get(f"/{job.path}", ())]
        return [problem for _, problem in sorted(mine, key=lambda each: each[0])]


def job_row(sql: Connection, job: Job, now: datetime) -> JobRowJson:
    """What a table of jobs shows of it."""
    summary = summary_of(job)
    return views.job_row(
        summary,
        problems=ProblemsByJob(syncs.problems(sql)).of(summary),
        now=now,
        alarms=[alarm for _, alarm in evidence.alarms(sql, now, [job])],
        lost=holding(places.open_faults(sql), job),
        running=[run for run in queries.active_runs(sql) if run.job_id == job.id],
        other_model=other_models(sql, [job.id]).get(job.id),
    )


def change_since_success(sql: Connection, run: Run) -> ChangeSince | None:
    """What a run had that the job's last success before it did not have. None if nothing, or if there was none.

    A run of an earlier text says nothing about the files.
    """
    if run.task_of is not None:
        return None
    found = find_runs(
        sql,
        "job_id = ? AND status = 'succeeded' AND finished_at <= ? AND n <> ? AND task_of IS NULL"
        " ORDER BY finished_at DESC LIMIT 1",
        run.job_id,
        stamp(run.finished_at or run.requested_at),
        run.n,
    )
    if not found:
        return None
    (before,) = found
    other_text = None not in (before.task_sha256, run.task_sha256) and before.task_sha256 != run.task_sha256
    changed = ["text"] * other_text + ["definition"] * (before.generation != run.generation)
    if not changed:
        return None
    to = run.task_sha256 if other_text and run.task_sha256 is not None else str(run.generation)
    return ChangeSince(what=" and ".join(changed), to=to, commit=_newest_commit(sql, before, run))


def first_failure(sql: Connection, job_id: str) -> Run | None:
    """The first run since a job's last success that failed or could not start. None if it has never succeeded."""
    success = (
        "SELECT n FROM runs WHERE job_id = ? AND status = 'succeeded' AND task_of IS NULL"
        " ORDER BY finished_at DESC LIMIT 1"
    )
    found = find_runs(sql, f"job_id = ? AND n > ({success}) AND {queries.FAILED} ORDER BY n LIMIT 1", job_id, job_id)
    return found[0] if found else None


def change_before_failures(sql: Connection, job_id: str) -> ChangeSince | None:
    """What changed between a job's last success and the first failure after it. None as above."""
    found = first_failure(sql, job_id)
    return None if found is None else change_since_success(sql, found)


def newest_change(sql: Connection, job_id: str, since: datetime) -> ChangeSince | None:
    """The newest change of a job's text or definition since then, whatever has run. None if there was none."""
    row = sql.execute(
        f"{AUDIT_ROWS} AND audit.job_id = ? AND at >= ? AND action IN ('update', 'task', 'commit')"
        " ORDER BY audit.seq DESC LIMIT 1",
        (job_id, stamp(since)),
    ).fetchone()
    if row is None:
        return None
    found = to_audit_row(row)
    what = "text" if "task" in (found.action, found.field) else "definition"
    return ChangeSince(what=what, to=str(found.after), commit=found.commit)


def _newest_commit(sql: Connection, before: Run, run: Run) -> Commit | None:
    """The commit of the newest change between two runs. None if it was not committed, or is not known yet."""
    rows = sql.execute(
        f"{AUDIT_ROWS} AND audit.job_id = ? AND at > ? AND at <= ? AND action IN ('update', 'task', 'commit')"
        " ORDER BY audit.seq DESC",
        (run.job_id, stamp(before.requested_at), stamp(run.finished_at or run.requested_at)),
    )
    found = queries.job(sql, run.job_id)
    inline = found is not None and found.task_source_path is None  # its text is in the file of its definition
    newest, later = None, dict[str | None, Commit | None]()
    for row in map(to_audit_row, rows):
        if row.action == "commit":  # of a change that was saved before it was committed
            later[row.field] = row.commit
            continue
        newest = newest or row.at
        if row.at != newest:
            return None
        committed = "task" if row.action == "task" and not inline else "path"
        if (commit := row.commit or later.get(committed)) is not None:
            return commit
    return None
