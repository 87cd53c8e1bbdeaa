"""Many runs in one transaction: claimed and begun at once, or ended. What `claims` and `runs` do for one at a time.

A commit takes as long as all else that a run costs: runs of one instant share it (ADR 50).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from sqlite3 import Connection
from typing import TYPE_CHECKING, Any

from scheduler.core.values.budget import Reservation
from scheduler.core.values.facts import Provenance, RunnerFile, Task
from scheduler.core.values.instants import milliseconds
from scheduler.core.values.runs import Attempt, Ending, Run, RunStatus, Trigger
from scheduler.core.values.spec import Concurrency
from scheduler.core.values.usage import EndClass
from scheduler.ledger import rows, told
from scheduler.ledger.agents import reserved_columns
from scheduler.ledger.budgets import Funds, Refused
from scheduler.ledger.cursor import StaleError
from scheduler.ledger.runs import finish
from scheduler.machine.clock import boot_id
from scheduler.machine.crash import crash_point
from scheduler.machine.processes import Process

if TYPE_CHECKING:
    from scheduler.core.due.due import Due


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What a run is about to be given: its definition, its text and where that is from."""

    generation: int
    task: Task
    provenance: Provenance
    runner_files: tuple[RunnerFile, ...] = ()
    check_output: bytes | None = None  # what the check printed, if that is added to the text


def begin_due(
    sql: Connection, dues: Sequence[tuple[Due, Pinned]], *, owner: str, places: int, now: datetime
) -> list[Run | None]:
    """Claim a slot each of different jobs, and open the first attempt of its run, before anything is started (F3, F4).

    places: how many may start. None for one that must be claimed by `claims.claim_due`: its job has a run under way
    and excludes others, no place is left for it, or a budget refuses it.
    Raises: StaleError if somebody else has moved a cursor.
    """
    ids = json.dumps([due.job.id for due, _ in dues])
    known = {
        row["id"]: row
        for row in sql.execute(
            "SELECT id, next_run_at, last_n FROM jobs WHERE id IN (SELECT value FROM json_each(?))", (ids,)
        )
    }
    busy = {
        row["job_id"]
        for row in sql.execute(
            f"SELECT DISTINCT job_id FROM runs WHERE {rows.ACTIVE} AND job_id IN (SELECT value FROM json_each(?))",
            (ids,),
        )
    }
    begun: list[tuple[Due, Run]] = []
    found: list[Run | None] = []
    funds = Funds(sql, now)
    for due, pinned in dues:
        row = known[due.job.id]
        if row["next_run_at"] != rows.stamp_or_none(due.job.next_run_at):
            raise StaleError
        excluded = due.job.id in busy and due.job.file.spec.concurrency is not Concurrency.ALLOW
        if excluded or len(begun) >= places:
            found.append(None)
            continue
        reserved = funds.reserve(due.job.file.spec)
        if isinstance(reserved, Refused):
            found.append(None)
            continue
        run = _begun(due, row["last_n"] + 1, pinned, reserved, now)
        begun.append((due, run))
        found.append(run)
    texts = {pinned.task.sha256: pinned.task.text for _, pinned in dues}
    sql.executemany(  # repairs an existing text that was damaged
        "INSERT INTO texts (sha256, bytes) VALUES (?, ?)"
        " ON CONFLICT (sha256) DO UPDATE SET bytes = excluded.bytes WHERE bytes IS NOT excluded.bytes",
        texts.items(),
    )
    at, boot = rows.stamp(now), boot_id()
    sql.executemany(
        "UPDATE jobs SET next_run_at = ?, last_n = ?, run_count = run_count + 1 WHERE id = ?",
        [(rows.stamp_or_none(due.next_run_at), run.n, run.job_id) for due, run in begun],
    )
    sql.executemany(
        'INSERT INTO runs (job_id, n, "trigger", status, fire_time, fire_time_last, requested_at, started_at,'
        " generation, task_sha256, task_bytes, source_path, source_sha256, source_blob, revision, dirty, no_provenance,"
        " runner_files, owner, reserved_nano, reserved_currency)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [_row(run, rows.stamp_or_none(run.fire_time), at, owner) for _, run in begun],
    )
    sql.executemany(
        "INSERT INTO attempts (job_id, run_n, n, status, started_at, boot_id, spawning) VALUES (?, ?, 1, ?, ?, ?, 0)",
        [(run.job_id, run.n, RunStatus.RUNNING, at, boot) for _, run in begun],
    )
    for due, run in begun:
        if due.job.file.spec.ping is not None:
            told.started(sql, run, told.asked(sql, run.job_id), now=now)
    return found


def _begun(due: Due, n: int, pinned: Pinned, reserved: Reservation | None, now: datetime) -> Run:
    task = pinned.task
    return Run(
        job_id=due.job.id,
        n=n,
        trigger=Trigger.SCHEDULE,
        status=RunStatus.RUNNING,
        fire_time=due.slot,
        fire_time_last=due.slot,
        requested_at=now,
        started_at=now,
        generation=pinned.generation,
        task_sha256=task.sha256,
        task_bytes=len(task.text),
        source_path=task.source_path,
        source_sha256=task.source_sha256,
        provenance=pinned.provenance,
        runner_files=pinned.runner_files,
        attempts=(Attempt(n=1, status=RunStatus.RUNNING, started_at=now),),
        reserved=reserved,
    )


def _row(run: Run, slot: str | None, at: str, owner: str) -> tuple[Any, ...]:
    source = run.provenance
    files = rows.dump([each.to_json() for each in run.runner_files or ()])
    return (
        run.job_id,
        run.n,
        run.trigger,
        run.status,
        slot,
        slot,
        at,
        at,
        run.generation,
        run.task_sha256,
        run.task_bytes,
        run.source_path,
        run.source_sha256,
        source.blob,
        source.revision,
        source.dirty,
        source.why_none,
        files,
        owner,
        *reserved_columns(run.reserved).values(),
    )


def mark_all_spawning(sql: Connection, batch: Iterable[Run]) -> None:
    """Record that the processes of their last attempts are about to start. See `runs.mark_spawning`."""
    sql.executemany(
        "UPDATE attempts SET spawning = 1 WHERE job_id = ? AND run_n = ? AND n = ?",
        [(run.job_id, run.n, run.attempts[-1].n) for run in batch],
    )


def record_processes(sql: Connection, batch: Iterable[tuple[Run, Process]]) -> None:
    """Record children, so that a later owner can find what a dead one left behind."""
    sql.executemany(
        "UPDATE attempts SET pid = ?, pid_started = ?, boot_id = ? WHERE job_id = ? AND run_n = ? AND n = ?",
        [
            (process.pid, process.started, process.boot_id, run.job_id, run.n, run.attempts[-1].n)
            for run, process in batch
        ],
    )


Ended = tuple[Run, Ending, datetime]  # and when


def finish_all(sql: Connection, batch: Sequence[Ended]) -> list[Run]:
    """End runs, each as `runs.finish` does. Most succeed: those cost a fraction of that."""
    # In order, where one of a job's runs has not succeeded: its counters depend on it.
    mixed = {run.job_id for run, ending, _ in batch if not _is_plain(run, ending)}
    plain = [each for each in batch if each[0].job_id not in mixed]
    ended: dict[str, Run] = {}
    sql.execute("SAVEPOINT plain")
    if _finish_plain(sql, plain):
        ended = {run.id: _succeeded(run, ending, at) for run, ending, at in plain}
    else:
        sql.execute("ROLLBACK TO plain")
    sql.execute("RELEASE plain")
    found = [ended[run.id] if run.id in ended else finish(sql, run, ending, now=at) for run, ending, at in batch]
    crash_point("before_end_commit")
    return found


def _is_plain(run: Run, ending: Ending) -> bool:
    alone = run.started_at is not None and len(run.attempts) == 1
    return alone and ending.status is RunStatus.SUCCEEDED and ending.agent is None and ending.worktree is None


def _finish_plain(sql: Connection, batch: Sequence[Ended]) -> bool:
    """False if one of them has already ended: somebody else has taken it over."""
    changed = sql.executemany(
        "UPDATE runs SET status = 'succeeded', end_class = 'ok', reason = NULL, exit_code = ?, error = ?, result = ?,"
        " output_bytes = ?,"
        " truncated = ?, finished_at = ?, duration_ms = ?, owner = NULL, retry_at = NULL"
        f" WHERE job_id = ? AND n = ? AND {rows.ACTIVE}",
        [
            (
                ending.exit_code,
                ending.error,
                ending.result,
                ending.output_bytes,
                ending.truncated,
                rows.stamp(at),
                _took_ms(run, at),
                run.job_id,
                run.n,
            )
            for run, ending, at in batch
        ],
    )
    if batch and changed.rowcount != len(batch):
        return False
    sql.executemany(
        "UPDATE attempts SET status = 'succeeded', end_class = 'ok', reason = NULL, finished_at = ?, exit_code = ?"
        " WHERE job_id = ? AND run_n = ? AND finished_at IS NULL",
        [(rows.stamp(at), ending.exit_code, run.job_id, run.n) for run, ending, at in batch],
    )
    wanted = told.asked_or_failing(sql, [run.job_id for run, _, _ in batch])
    sql.executemany(
        "UPDATE jobs SET consecutive_errors = 0, errors_at_arm = 0, last_run_at = ?, last_run_status = 'succeeded',"
        " last_run_duration_ms = ?, last_run_error = ? WHERE id = ?",
        [
            (rows.stamp_or_none(run.started_at), _took_ms(run, at), ending.error, run.job_id)
            for run, ending, at in batch
        ],
    )
    for run, ending, at in batch if wanted else ():
        if run.job_id in wanted:
            told.succeeded(sql, _succeeded(run, ending, at), wanted[run.job_id], now=at)
    return True


def _took_ms(run: Run, now: datetime) -> int:
    assert run.started_at is not None
    return max(0, milliseconds(now - run.started_at))


def _succeeded(run: Run, ending: Ending, now: datetime) -> Run:
    last = replace(
        run.attempts[-1],
        status=RunStatus.SUCCEEDED,
        end_class=EndClass.OK,
        reason=None,
        finished_at=now,
        exit_code=ending.exit_code,
    )
    return replace(
        run,
        status=RunStatus.SUCCEEDED,
        end_class=EndClass.OK,
        reason=None,
        exit_code=ending.exit_code,
        error=ending.error,
        result=ending.result,
        output_bytes=ending.output_bytes,
        truncated=ending.truncated,
        finished_at=now,
        duration_ms=_took_ms(run, now),
        retry_at=None,
        attempts=(*run.attempts[:-1], last),
    )
