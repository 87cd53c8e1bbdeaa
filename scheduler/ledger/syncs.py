"""What a pass and a pause read and write."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from sqlite3 import Connection
from typing import TYPE_CHECKING

from scheduler.core.values.facts import Job, Pause
from scheduler.core.values.problems import WHOLE_PASS_CODES, Problem
from scheduler.core.values.runs import AuditRow
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import definition_digest
from scheduler.ledger import carried
from scheduler.ledger.audit import append_audit
from scheduler.ledger.clock_steps import keep_zones
from scheduler.ledger.cursor import free_slot, move_cursor, need_ticket, next_ticket
from scheduler.ledger.files import change_files, outdate
from scheduler.ledger.rows import (
    JOBS,
    batched,
    dump,
    insert,
    insert_all,
    moment,
    set_job,
    stamp,
    to_job,
    to_row,
    to_settings,
)
from scheduler.ledger.skips import add_skip, insert_skip
from scheduler.ledger.tallies import count_sync

if TYPE_CHECKING:  # the file readers behind it would slow every command that only reads the database
    from scheduler.core.due.due import Due
    from scheduler.core.plan.action import Action
    from scheduler.core.plan.claimants import Name
    from scheduler.core.plan.plan import Plan
    from scheduler.ledger.files import FileKind, FilesChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The input of a plan or a claim, read at one moment. `ticket` becomes stale with the next pass or pause."""

    jobs: dict[str, Job]
    settings: Settings | None  # the last good scheduler.yaml; None before the first pass
    ticket: int


def observed(sql: Connection, *, job_id: str | None = None, since: int = -1) -> Observed:
    """The stored state: of all jobs, of one, or of those whose file or pause changed after the ticket `since`."""
    root = sql.execute("SELECT settings, plan_inputs FROM root").fetchone()
    one = "" if job_id is None else " AND id = ?"
    rows = sql.execute(
        f"{JOBS} WHERE jobs.changed > ?{one} ORDER BY +id", (since,) if job_id is None else (since, job_id)
    )
    return Observed(
        jobs={row["id"]: to_job(row) for row in rows},
        settings=to_settings(root["settings"]),
        ticket=root["plan_inputs"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What a pass starts from. `ticket` as in `Observed`."""

    settings: Settings | None
    ticket: int


def basis(sql: Connection) -> Basis:
    root = sql.execute("SELECT settings, plan_inputs FROM root").fetchone()
    return Basis(settings=to_settings(root["settings"]), ticket=root["plan_inputs"])


def observed_of(
    sql: Connection, ids: Collection[str], paths: Collection[str], *, total: int | None = None
) -> tuple[Observed, int]:
    """The stored state of these jobs, and of the unarchived ones in these files; and how many more are unarchived.

    total: how many are unarchived, if that is known.
    """
    root = sql.execute("SELECT settings, plan_inputs FROM root").fetchone()
    if total is None:
        (total,) = sql.execute("SELECT count(*) FROM jobs WHERE archived_at IS NULL").fetchone()
    jobs: dict[str, Job] = {}
    for where, values in (("jobs.path IN ({}) AND archived_at IS NULL", paths), ("jobs.id IN ({})", ids)):
        for some in batched(values):
            rows = sql.execute(f"{JOBS} WHERE {where.format(','.join('?' * len(some)))}", some)
            jobs |= {row["id"]: to_job(row) for row in rows if row["id"] not in jobs}
    left = total - sum(not job.archived for job in jobs.values())
    return Observed(
        jobs=dict(sorted(jobs.items())), settings=to_settings(root["settings"]), ticket=root["plan_inputs"]
    ), left


def paths_of(sql: Connection, ids: Collection[str]) -> set[str]:
    """The files in which these jobs are, unless they are archived."""
    found = set[str]()
    for some in batched(ids):
        query = f"SELECT path FROM jobs WHERE archived_at IS NULL AND id IN ({','.join('?' * len(some))})"
        found.update(path for (path,) in sql.execute(query, some))
    return found


def names(sql: Connection) -> list[Name]:
    """Where each unarchived job is."""
    from scheduler.core.plan.claimants import Name

    return [Name(*row) for row in sql.execute("SELECT path, line, id FROM jobs WHERE archived_at IS NULL ORDER BY id")]


def starts(sql: Connection, *, since: int = -1) -> dict[str, datetime | None]:
    """`start_of` each job that `observed` would give, by id, without reading all of these jobs."""
    from scheduler.core.due.due import start_of

    rows = sql.execute(
        # A disabled job has no cursor.
        "SELECT id, CASE WHEN archived_at IS NULL AND (stopped_at IS NULL OR next_run_at <= stopped_at)"
        " THEN next_run_at END AS start, instr(spec, '\"jitter_ms\"') AS jitters"
        " FROM jobs JOIN definitions ON definitions.job_id = jobs.id AND definitions.generation = jobs.generation"
        " WHERE jobs.changed > ? ORDER BY +id",
        (since,),
    ).fetchall()
    found = {job_id: moment(start) for job_id, start, _ in rows}
    jittery, _ = observed_of(sql, [job_id for job_id, start, jitters in rows if jitters and start is not None], ())
    return found | {job_id: start_of(job) for job_id, job in jittery.jobs.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What has changed since a ticket, for those who fire: the jobs, or of many only when each starts next."""

    jobs: dict[str, Job]
    starts: dict[str, datetime | None]
    settings: Settings | None
    ticket: int


def news(sql: Connection, *, since: int, most: int) -> News:
    """most: how many jobs may be read whole."""
    (count,) = sql.execute(
        "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE changed > ? LIMIT ?)", (since, most + 1)
    ).fetchone()
    root = sql.execute("SELECT settings, plan_inputs FROM root").fetchone()
    return News(
        jobs=observed(sql, since=since).jobs if count <= most else {},
        starts=starts(sql, since=since) if count > most else {},
        settings=to_settings(root["settings"]),
        ticket=root["plan_inputs"],
    )


def not_firing(sql: Connection) -> list[Job]:
    """The jobs that an operator or errors keep from firing, by id."""
    return [to_job(row) for row in sql.execute(f"{JOBS} WHERE paused_at NOTNULL OR stopped_at NOTNULL ORDER BY id")]


def settings(sql: Connection) -> Settings | None:
    """The last good scheduler.yaml. None before the first pass."""
    (found,) = sql.execute("SELECT settings FROM root").fetchone()
    return to_settings(found)


def apply(
    sql: Connection,
    plan: Plan,
    *,
    ticket: int,
    audit: Sequence[AuditRow],
    now: datetime,
    actor: str,
    only: Collection[str] | None = None,
    files: FilesChange | None = None,
    zones: tuple[Collection[str], str | None] | None = None,
) -> tuple[tuple[FileKind, str], ...]:
    """Carry out a plan. Returns what `change_files` does.

    only: the job files that a partial pass has read. The stored state of other files stays.
    files: what the index of files holds from now on. None for the pass of a fire: the next pass reads `only` again.
    zones: as for `keep_zones`, if there are new ones.
    Raises: StaleError if `ticket` is stale, or a claim has moved a cursor that the plan moves.
    """
    need_ticket(sql, ticket)
    # Even after a pass with nothing to do: it has seen newer files than a plan still under way.
    changed = next_ticket(sql)
    with_past = carried.waiting(sql)
    plain = [action for action in plan.actions if action.verb == "create" and action.job_id not in with_past]
    _create_jobs(sql, plain, now, actor, changed)
    for action in plan.actions:
        if action.writes and (action.verb != "create" or action.job_id in with_past):
            _write_job(sql, action, now, actor, changed)
    append_audit(sql, audit)
    if zones is not None:
        keep_zones(sql, *zones)
    _replace_problems(sql, plan.problems, only)
    count_sync(sql, "unchanged" if plan.nothing_to_do else "changed")
    sql.execute("UPDATE root SET settings = ?", (dump(plan.settings.to_json()),))
    if only is None:
        sql.execute("UPDATE root SET synced_at = ?", (stamp(now),))
    if files is not None:
        return change_files(sql, files)
    outdate(sql, only or ())
    return ()


def record_problems(sql: Connection, problems: Sequence[Problem]) -> None:
    """Record the problems of a pass that could apply nothing."""
    _replace_problems(sql, problems, None)
    count_sync(sql, "failed")
    next_ticket(sql)


def problems(sql: Connection) -> list[Problem]:
    """What the last passes found, in the order of files and lines."""
    rows = sql.execute("SELECT problem FROM problems").fetchall()
    return sorted(Problem.from_json(json.loads(row["problem"])) for row in rows)


def synced_at(sql: Connection) -> datetime | None:
    """When a pass last applied. None for a root that was never synced."""
    return moment(sql.execute("SELECT synced_at FROM root").fetchone()["synced_at"])


def task_paths(sql: Connection) -> list[str]:
    """The task files of all unarchived jobs."""
    rows = sql.execute(
        "SELECT DISTINCT json_extract(spec, '$.task_source_path') AS task_path FROM jobs JOIN definitions"
        " ON definitions.job_id = jobs.id AND definitions.generation = jobs.generation"
        " WHERE archived_at IS NULL AND task_path IS NOT NULL"
    ).fetchall()
    return [row["task_path"] for row in rows]


def set_pause(
    sql: Connection,
    job_id: str,
    pause: Pause | None,
    *,
    audit: AuditRow,
    also: Sequence[AuditRow] = (),
    ticket: int | None = None,
    settled: Due | None = None,
    arms: bool = False,
) -> None:
    """Set or lift an operator's pause.

    settled: the slots that the previous pause held back, which nobody could later tell from missed ones.
    arms: start a stopped job again. also: audit rows of what else the same command changes.
    Raises: StaleError if `ticket` is stale, or somebody has moved the cursor.
    """
    if ticket is not None:
        need_ticket(sql, ticket)
    if settled is not None:
        to = free_slot(sql, job_id, settled.job.file.spec, settled.next_run_at)
        move_cursor(sql, job_id, seen=settled.job.next_run_at, to=to)
        for skip in settled.skips:
            add_skip(sql, job_id, settled.job.file, skip, audit.at)
    set_job(
        sql,
        job_id,
        paused_at=pause and pause.at,
        pause_reason=pause and pause.reason,
        paused_until=pause and pause.until,
        paused_by=pause and pause.by,
        changed=next_ticket(sql),
    )
    if arms:
        _arm(sql, job_id)
    append_audit(sql, [audit, *also])


def _create_jobs(sql: Connection, actions: Sequence[Action], now: datetime, actor: str, changed: int) -> None:
    """Add jobs that nothing is known of yet: many at once, when a root is synced for the first time."""
    specs, at = [action.after.spec.to_json() for action in actions], stamp(now)
    definitions = [
        {
            "job_id": action.job_id,
            "generation": action.after.generation,
            "digest": definition_digest(spec),
            "spec": dump(spec),
            "recorded_at": at,
        }
        for action, spec in zip(actions, specs, strict=True)
    ]
    jobs = [
        {
            "id": action.job_id,
            "created_at": at,
            "created_by": actor,
            "updated_at": at,
            **to_row(action.after, "spec"),
            "changed": changed,
            "next_run_at": action.next_run_at,
        }
        for action in actions
    ]
    insert_all(sql, "definitions", definitions)
    insert_all(sql, "jobs", jobs)


def _write_job(sql: Connection, action: Action, now: datetime, actor: str, changed: int) -> None:
    """Write a job's file-owned columns, its cursor, its arming and the slots it settles; nothing else (S1)."""
    facts, job_id = action.after, action.job_id
    past = None if action.before is not None else carried.take(sql, job_id)
    if past is not None:  # it starts with its imported history
        facts = replace(facts, generation=carried.next_generation(past, facts.spec.digest, facts.generation))
        carried.add_definitions(sql, job_id, past)
    insert(
        sql,
        "definitions",
        known=True,
        job_id=job_id,
        generation=facts.generation,
        digest=facts.spec.digest,
        spec=dump(facts.spec.to_json()),
        recorded_at=now,
    )
    owned = {**to_row(facts, "spec"), "changed": changed}
    if action.before is None:
        insert(sql, "jobs", id=job_id, created_at=now, created_by=actor, updated_at=now, **owned)
    else:
        set_job(sql, job_id, **owned)
    if action.moves_cursor:
        to = free_slot(sql, job_id, facts.spec, action.next_run_at)
        move_cursor(sql, job_id, seen=action.cursor, to=to)
    if past is not None:
        carried.add_past(sql, job_id, past, now=now)
    if action.is_change and action.before is not None:
        set_job(sql, job_id, updated_at=now)
    if action.arms:
        _arm(sql, job_id)
    for skip in action.skips:
        assert action.before is not None  # a new job has no past slots
        insert_skip(sql, action.job_id, action.before, skip, now)  # a sync changes no existing row (S1)


def _arm(sql: Connection, job_id: str) -> None:
    """Let a stopped job fire again. Changes no counter; errors are counted from here."""
    sql.execute(
        "UPDATE jobs SET stopped_at = NULL, stop_reason = NULL, errors_at_arm = consecutive_errors WHERE id = ?",
        (job_id,),
    )


def _replace_problems(sql: Connection, problems: Iterable[Problem], only: Collection[str] | None) -> None:
    """Replace all problems; after a partial pass, only those of its files, except what only a whole pass can judge."""
    query = "SELECT rowid, path, job_id, problem FROM problems"
    if only is None:
        stored = sql.execute(query).fetchall()
    else:
        whole = ",".join(f"'{code}'" for code in WHOLE_PASS_CODES)
        mine = f"path IN (SELECT value FROM json_each(?)) AND json_extract(problem, '$.code') NOT IN ({whole})"
        stored = sql.execute(f"{query} WHERE {mine}", (dump(list(only)),)).fetchall()
    new = {(problem.path, problem.job_id, dump(problem.to_json())) for problem in problems}
    old = {tuple(row)[1:]: row["rowid"] for row in stored}
    sql.executemany("DELETE FROM problems WHERE rowid = ?", [(old[each],) for each in old.keys() - new])
    sql.executemany("INSERT INTO problems (path, job_id, problem) VALUES (?, ?, ?)", sorted(new - old.keys(), key=str))
