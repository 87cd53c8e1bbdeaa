"""A run from its first attempt to its end, and the counters that the end changes (F5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Connection, Row
from typing import Any

from scheduler.core.due.accounts import PARKING
from scheduler.core.due.events import is_error
from scheduler.core.values.facts import Provenance, RunnerFile, Task
from scheduler.core.values.instants import milliseconds
from scheduler.core.values.problems import RefusedError
from scheduler.core.values.runs import LOCAL, AuditRow, Ending, FreshTree, Run, RunStatus
from scheduler.core.values.spec import FAILURE_LIMIT
from scheduler.core.values.usage import EndClass
from scheduler.ledger import rows, told
from scheduler.ledger.agents import attempt_columns, run_columns
from scheduler.ledger.audit import append_audit
from scheduler.ledger.cursor import next_ticket
from scheduler.ledger.owners import kind_of
from scheduler.machine.clock import boot_id
from scheduler.machine.crash import crash_point
from scheduler.machine.processes import Process

_PINNED = (
    "task_sha256",
    "task_bytes",
    "source_path",
    "source_sha256",
    "source_blob",
    "revision",
    "dirty",
    "no_provenance",
    "check_sha256",
)
HERE: Any = {"engine": LOCAL, "handle": None, "task_queue": None}  # what an attempt on this machine is, in columns
_ELSEWHERE = ("agent", "account", "worktree")  # of an ending: not among its own columns


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveRun:
    """An unfinished run, its owner, and the process of its last attempt."""

    run: Run
    owner: str | None
    process: Process | None
    marked: bool  # the process of its last attempt may exist; without an attempt there is none
    boot_id: str | None  # of the machine when that attempt was opened

    @property
    def kind(self) -> str:
        """The engine that has it, and so the one that recovers it."""
        return kind_of(self.owner) if self.run.handle is None else self.run.engine

    def may_have_started(self, boot_id: str | None) -> bool:
        """True if anything of its last attempt may have run.

        A power loss may undo the mark, so a missing mark from an earlier boot proves nothing (F4).
        """
        return bool(self.run.attempts) and (self.marked or boot_id is None or self.boot_id != boot_id)


class EndedMeanwhileError(RefusedError):
    """A run was ended while its text was read: a newer slot came first, or its job was stopped."""


def start_attempt(
    sql: Connection,
    run: Run,
    *,
    n: int,
    owner: str,
    generation: int,
    task: Task,
    provenance: Provenance,
    runner_files: Sequence[RunnerFile] = (),
    worktree: FreshTree | None = None,
    check_output: bytes | None = None,
    now: datetime,
) -> Run:
    """Pin the task to the run and open attempt `n`, before its process exists. A queued run gets its owner.

    Raises: EndedMeanwhileError, with nothing written.
    """
    opened = rows.set_run(
        sql,
        run.job_id,
        run.n,
        "status IN ('queued', 'claimed')",
        status=RunStatus.RUNNING,
        reason=None,
        owner=owner,
        **HERE,
        started_at=now,
        runner_files=rows.dump([each.to_json() for each in runner_files]),
        **pinned_columns(sql, generation=generation, task=task, provenance=provenance, check_output=check_output),
        **rows.worktree_columns(worktree),
    )
    if not opened:
        raise EndedMeanwhileError(f"another process ended {run.id} before it started")
    opened_at: dict[str, Any] = {"started_at": now, "boot_id": boot_id(), "spawning": False}
    rows.insert(sql, "attempts", job_id=run.job_id, run_n=run.n, n=n, status=RunStatus.RUNNING, **opened_at)
    begun = rows.the_run(sql, run.job_id, run.n)
    if n == 1:
        sql.execute("UPDATE jobs SET run_count = run_count + 1 WHERE id = ?", (run.job_id,))
        told.started(sql, begun, told.asked(sql, run.job_id), now=now)
    return begun


def pinned_columns(
    sql: Connection, *, generation: int, task: Task, provenance: Provenance, check_output: bytes | None
) -> dict[str, Any]:
    """The columns by which a run is given its text, which is kept."""
    return {
        "generation": generation,
        "task_sha256": rows.keep_text(sql, task.text),
        "task_bytes": len(task.text),
        "source_path": task.source_path,
        "source_sha256": task.source_sha256,
        "source_blob": provenance.blob,
        "revision": provenance.revision,
        "dirty": provenance.dirty,
        "no_provenance": provenance.why_none,
        "check_sha256": None if check_output is None else rows.keep_text(sql, check_output),
    }


def take(sql: Connection, run: Run, *, owner: str) -> Run | None:
    """Give a waiting run its place before its first attempt, for its check. None if somebody else has ended it."""
    if run.status is RunStatus.QUEUED:
        waits = "status = 'queued' AND retry_at IS NULL"
        if not rows.set_run(sql, run.job_id, run.n, waits, status=RunStatus.CLAIMED, owner=owner):
            return None
    return rows.the_run(sql, run.job_id, run.n)


def mark_spawning(sql: Connection, run: Run, *, attempt: int) -> None:
    """Record that a process is about to start. From now on nobody can say that nothing ran."""
    key = (run.job_id, run.n, attempt)
    sql.execute("UPDATE attempts SET spawning = 1 WHERE job_id = ? AND run_n = ? AND n = ?", key)


def take_back(sql: Connection, run: Run, *, now: datetime) -> None:
    """Let a run wait for its turn again, because its last attempt, if any, provably never started."""
    waits: dict[str, Any] = {"status": RunStatus.QUEUED, "owner": None, "started_at": None}
    if run.attempts and run.attempts[-1].finished_at is None:
        key = (run.job_id, run.n, run.attempts[-1].n)
        sql.execute("DELETE FROM attempts WHERE job_id = ? AND run_n = ? AND n = ?", key)
        if len(run.attempts) > 1:  # keep it waiting for its retry
            before = run.attempts[-2]
            reason = before.reason if before.end_class in PARKING else "retry"
            waits = {"status": RunStatus.QUEUED, "owner": None, "reason": reason, "retry_at": now}
        else:
            waits["worktree"] = None  # made anew when it starts
            sql.execute("UPDATE jobs SET run_count = run_count - 1 WHERE id = ?", (run.job_id,))
            if run.task_of is None:  # read again when it starts (F2)
                waits |= dict.fromkeys(_PINNED)
    rows.set_run(sql, run.job_id, run.n, rows.ACTIVE, **waits)


def record_process(sql: Connection, run: Run, *, attempt: int, process: Process) -> None:
    """Record the child, so that a later owner can find what a dead one left behind."""
    sql.execute(
        "UPDATE attempts SET pid = ?, pid_started = ?, boot_id = ? WHERE job_id = ? AND run_n = ? AND n = ?",
        (process.pid, process.started, process.boot_id, run.job_id, run.n, attempt),
    )


def finish(
    sql: Connection,
    run: Run,
    ending: Ending,
    *,
    expected: RunStatus | None = None,
    owner: str | None = None,
    now: datetime,
) -> Run:
    """End a run: its own row, its last attempt and the job's counters, nothing else (F5).

    Changes nothing if the run has already ended, has another status than `expected`, or belongs to another owner than
    `owner`.
    """
    status = ending.status
    started = sql.execute(
        f"SELECT started_at FROM runs WHERE job_id = ? AND n = ? AND {rows.ACTIVE}"
        " AND status = coalesce(?, status) AND (owner IS NULL OR owner = coalesce(?, owner))",
        (run.job_id, run.n, expected and expected.value, owner),
    ).fetchone()
    if started is None:
        ended = rows.the_run(sql, run.job_id, run.n)
    else:
        started_at = rows.moment(started["started_at"])
        duration_ms = None if started_at is None else max(0, milliseconds(now - started_at))
        over: dict[str, Any] = {"finished_at": now, "duration_ms": duration_ms, "owner": None, "retry_at": None}
        rows.set_run(sql, run.job_id, run.n, **_ended(run, ending), **over)
        _end_last_attempt(sql, run, ending, now)
        ended = rows.the_run(sql, run.job_id, run.n)
        # A run that ended before it started says nothing about the job.
        errs = started_at is not None and is_error(status, ending.reason, ending.end_class)
        sql.execute("UPDATE jobs SET consecutive_errors = consecutive_errors + ? WHERE id = ?", (errs, run.job_id))
        if started_at is not None:  # a claim that never reached attempt 1 is no last run
            rows.set_job(
                sql,
                run.job_id,
                last_run_at=started_at,
                last_run_status=status,
                last_run_duration_ms=duration_ms,
                last_run_error=ending.error,
            )
        if status is RunStatus.SUCCEEDED:
            rows.set_job(sql, run.job_id, consecutive_errors=0, errors_at_arm=0)
            told.succeeded(sql, ended, told.asked(sql, run.job_id), now=now)
        elif errs:
            told.failed(sql, ended, stopped=_stop_failing(sql, run, now), now=now)
        elif started_at is not None and status is RunStatus.FAILED and ending.end_class is EndClass.BUDGET:
            told.over_budget(sql, ended, now=now)
    crash_point("before_end_commit")
    return ended


def end_try(
    sql: Connection, run: Run, ending: Ending, *, retry_at: datetime, reason: str = "retry", now: datetime
) -> Run:
    """End an attempt that is followed by another: its row. The run waits, `queued`, without an owner.

    Counters wait for the end of the run. Changes nothing if the run has already ended.
    """
    waits = {"status": RunStatus.QUEUED, "reason": reason, "owner": None, "retry_at": retry_at}
    if rows.set_run(sql, run.job_id, run.n, rows.ACTIVE, **{**_ended(run, ending), **waits}):
        _end_last_attempt(sql, run, ending, now)
    return rows.the_run(sql, run.job_id, run.n)


def start_retry(
    sql: Connection,
    run: Run,
    *,
    owner: str,
    runner_files: Sequence[RunnerFile] | None = None,
    worktree: FreshTree | None = None,
    now: datetime,
) -> Run | None:
    """Open the next attempt of a waiting run, before its process exists. The text stays pinned (F2).

    runner_files: as they are now. None if nothing can be started.
    Returns None if somebody else has opened the attempt, or ended the run.
    """
    opened: dict[str, Any] = {"status": RunStatus.RUNNING, "reason": None, "owner": owner, "retry_at": None, **HERE}
    if runner_files is not None:
        opened["runner_files"] = rows.dump([each.to_json() for each in runner_files])
    opened |= rows.worktree_columns(worktree)
    if not rows.set_run(sql, run.job_id, run.n, rows.WAITS_FOR_RETRY, **opened):
        return None
    sql.execute(
        "INSERT INTO attempts (job_id, run_n, n, status, started_at, boot_id, spawning)"
        " SELECT job_id, run_n, max(n) + 1, 'running', ?, ?, 0 FROM attempts WHERE job_id = ? AND run_n = ?",
        (rows.stamp(now), boot_id(), run.job_id, run.n),
    )
    return rows.the_run(sql, run.job_id, run.n)


def skip(sql: Connection, run: Run, *, reason: str, message: str, fault: bool, now: datetime) -> Run:
    """Turn a claimed run into a skip with its reason. A fault counts as an error; no skip counts as a run (F7)."""
    skipped = {"status": RunStatus.SKIPPED, "reason": reason, "error": message, "finished_at": now, "owner": None}
    if not rows.set_run(sql, run.job_id, run.n, rows.ACTIVE, **skipped):
        return rows.the_run(sql, run.job_id, run.n)
    if not fault:
        told.skipped(sql, run.job_id, run.n, reason, error=message, now=now)
        return rows.the_run(sql, run.job_id, run.n)
    sql.execute("UPDATE jobs SET consecutive_errors = consecutive_errors + 1 WHERE id = ?", (run.job_id,))
    stopped = _stop_failing(sql, run, now)
    ended = rows.the_run(sql, run.job_id, run.n)
    told.failed(sql, ended, stopped=stopped, now=now)
    return ended


def active(sql: Connection) -> list[ActiveRun]:
    """Unfinished runs, oldest first."""
    found = sql.execute(f"SELECT * FROM runs WHERE {rows.ACTIVE} ORDER BY requested_at, job_id, n").fetchall()
    return [_active_run(sql, row) for row in found]


def owned(sql: Connection, *, but: str) -> list[ActiveRun]:
    """Unfinished runs that are not waiting, except those of one owner, oldest first."""
    found = sql.execute(
        f"SELECT * FROM runs WHERE {rows.ACTIVE} AND status <> 'queued' AND owner IS NOT ?"
        " ORDER BY requested_at, job_id, n",
        (but,),
    ).fetchall()
    return [_active_run(sql, row) for row in found]


def find_run(sql: Connection, job_id: str, n: int) -> Run | None:
    return next(iter(rows.find_runs(sql, "job_id = ? AND n = ?", job_id, n)), None)


def _active_run(sql: Connection, row: Row) -> ActiveRun:
    last = sql.execute(
        "SELECT pid, pid_started, boot_id, spawning FROM attempts WHERE job_id = ? AND run_n = ?"
        " ORDER BY n DESC LIMIT 1",
        (row["job_id"], row["n"]),
    ).fetchone()
    process = None
    if last is not None and last["pid"] is not None:
        process = Process(pid=last["pid"], started=last["pid_started"], boot_id=last["boot_id"])
    return ActiveRun(
        run=rows.to_runs(sql, [row])[0],
        owner=row["owner"],
        process=process,
        marked=last is not None and bool(last["spawning"]),
        boot_id=None if last is None else last["boot_id"],
    )


def _stop_failing(sql: Connection, run: Run, now: datetime) -> bool:
    """Stop a job that has reached its failure_limit, once, after a run of the version that is still current (F5).

    A skip has no text to compare, so its definition decides. A manual run stops nothing. True if it has stopped it.
    """
    stopped = sql.execute(
        "UPDATE jobs SET stopped_at = ?, stop_reason = CASE consecutive_errors - errors_at_arm"
        " WHEN 1 THEN '1 error' ELSE (consecutive_errors - errors_at_arm) || ' errors in a row' END"
        " FROM runs, definitions WHERE jobs.id = ? AND runs.job_id = jobs.id AND runs.n = ? AND runs.fire_time NOTNULL"
        " AND definitions.job_id = jobs.id AND definitions.generation = jobs.generation"
        " AND runs.generation = jobs.generation AND coalesce(runs.task_sha256, jobs.task_sha256) IS jobs.task_sha256"
        " AND jobs.archived_at IS NULL AND jobs.stopped_at IS NULL"
        " AND consecutive_errors - errors_at_arm >= nullif(coalesce(json_extract(spec, '$.failure_limit'), ?), 0)",
        (rows.stamp(now), run.job_id, run.n, FAILURE_LIMIT),
    )
    if stopped.rowcount:
        rows.set_job(sql, run.job_id, changed=next_ticket(sql))
        row = AuditRow(
            job_id=run.job_id,
            action="stop",
            field="status",
            before="active",
            after="stopped",
            at=now,
            actor="scheduler",
            cause="failure_limit",
        )
        append_audit(sql, [row])
    return stopped.rowcount > 0


def _ended(run: Run, ending: Ending) -> dict[str, Any]:
    """The columns of a run that the end of an attempt changes."""
    told = rows.to_row(ending, *_ELSEWHERE)
    return {**told, **run_columns(run, ending), **rows.worktree_columns(ending.worktree)}


def _end_last_attempt(sql: Connection, run: Run, ending: Ending, now: datetime) -> None:
    told = attempt_columns(ending)
    sql.execute(
        "UPDATE attempts SET status = ?, reason = ?, finished_at = ?, exit_code = ?,"
        f" {', '.join(f'{name} = ?' for name in told)} WHERE job_id = ? AND run_n = ? AND finished_at IS NULL",
        (ending.status.value, ending.reason, rows.stamp(now), ending.exit_code, *told.values(), run.job_id, run.n),
    )
