"""Claims: which runs take a slot or capacity (F4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Connection
from typing import TYPE_CHECKING, Any

from scheduler.core.due.budgets import OVER
from scheduler.core.due.checked import WANTS_CHECK
from scheduler.core.due.policy import Active, Admission, admit
from scheduler.core.due.waiting import OUTAGE
from scheduler.core.formats.queues import queue_of
from scheduler.core.values.budget import Reservation
from scheduler.core.values.facts import Job
from scheduler.core.values.problems import RefusedError
from scheduler.core.values.runs import LOCAL, TEMPORAL, Run, RunStatus, Skip, Trigger
from scheduler.core.values.spec import HERE, CatchUpPolicy, Concurrency
from scheduler.ledger import told
from scheduler.ledger.agents import reserved_columns
from scheduler.ledger.budgets import Funds, Refused
from scheduler.ledger.cursor import StaleError, move_cursor, next_number
from scheduler.ledger.rows import ACTIVE, JOBS, find_runs, insert, stamp, the_run, to_job, to_settings
from scheduler.ledger.skips import add_skip

if TYPE_CHECKING:  # the file readers behind it would slow every command that only reads the database
    from scheduler.core.due.due import Due

MOST_OUT = 1_000_000  # runs with workers, where nobody says how many may be there
_LET_GO = "retention.runs in scheduler.yaml sets how many runs a history keeps, and with them their texts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The result of a claim, and what it means for other runs of the same jobs."""

    runs: tuple[Run, ...] = ()  # with an owner, or `queued`
    gave_way: tuple[Run, ...] = ()  # waited, and are skipped now
    replaced: tuple[str, ...] = ()  # ids of runs to be ended


def claim_manual(
    sql: Connection,
    job_id: str,
    *,
    trigger: Trigger,
    requested_by: str,
    owner: str,
    max_running: int,
    now: datetime,
    waits: bool = False,
    task_of: int | None = None,
    check: bool = False,
    watched: bool = False,
) -> Claimed:
    """Claim capacity for a manual run before anything of it is read or started; or queue it, if it may wait.

    task_of: the number of the job's run whose text it runs again. Pinned here, so that nothing deletes it.
    check: whether the job's check decides first, as it does for a slot.
    watched: a person waits at a terminal for its end, so nobody is told if it fails.
    Raises: RefusedError, leaving no row, if the job's `concurrency` or a budget forbids the run now, the job is
    archived, or the limit of concurrent runs is reached.
    """
    job = to_job(sql.execute(f"{JOBS} WHERE jobs.id = ?", (job_id,)).fetchone())
    if job.archived:
        raise RefusedError(
            f"job {job_id!r} is archived: no file defines it now",
            hint="restore its file and run `scheduler sync`; its history is still there",
        )
    active = _active_of(sql, job_id)
    found = admit(job.file.spec, active, trigger=trigger)
    if found.answer == "overlap" or (found.answer == "wait" and not waits):
        at = f"{job_id}:{next((run.n for run in active if not run.waits), active[0].n)}"
        raise RefusedError(
            f"job {job_id!r} is already running or waiting as {at}, and its concurrency is"
            f" {job.file.spec.concurrency.value}",
            hint=f"wait for it: `scheduler output {at} --follow`",
        )
    away = leaves(sql, job)
    running = 0 if away else _running_count(sql)  # of workers, there are always more
    if running >= max_running and found.answer == "start":
        raise RefusedError(
            f"the limit of concurrent runs is reached: {running} are running, and limits.max_running is {max_running}",
            hint="wait until one ends, or raise limits.max_running in scheduler.yaml",
        )
    reserved = Funds(sql, now).reserve(job.file.spec, gives_way=found.gives_way)
    if isinstance(reserved, Refused):
        raise RefusedError(
            f"the budget allows no run of job {job_id!r} now: {reserved.message}",
            hint="wait until then, or change the budget in the job's file or in scheduler.yaml",
        )
    gave_way = _give_way(sql, job_id, found.gives_way, now)
    run = _insert_run(
        sql,
        job,
        trigger=trigger,
        owner=owner if found.answer == "start" else None,
        now=now,
        by=requested_by,
        reason=WANTS_CHECK if check else None,
        reserved=reserved,
        away=away,
    )
    if task_of is not None:
        run = _pin(sql, run, task_of)
    if watched:
        told.watch(sql, job_id, run.n, watched=True)
    return Claimed(runs=(run,), gave_way=gave_way, replaced=tuple(f"{job_id}:{n}" for n in found.replaced))


def claim_due(
    sql: Connection,
    dues: Sequence[Due],
    *,
    seen: int,
    owner: str,
    max_running: int,
    now: datetime,
    paced: bool = False,
    max_out: int = MOST_OUT,
) -> Claimed:
    """Claim all slots of one instant, before anything of them is read or started (F4).

    `concurrency` decides about a slot whose job is still running, then the budgets about one that would start or wait.
    Beyond the limit of concurrent runs, a slot is `queued` without an owner; so are catch-up slots.
    paced: catch-up runs are to start a second apart.
    Of slots of one instant, jobs that have not run for longest come first; otherwise the same ones would find no
    capacity every time.
    max_out: how many runs may be with workers at once.
    seen: the ticket at which `dues` were read. The runs are in the order of their slots.
    Raises: StaleError if a job has changed since, or somebody else has moved its cursor.
    """
    runs: list[Run] = []
    gave_way: list[Run] = []
    replaced: list[str] = []
    need_seen(sql, seen)
    running, funds = max_running - free_places(sql, max_running, now), Funds(sql, now)
    out: int | None = None  # with workers; not counted before it matters
    for due in in_turn(sql, dues):
        move_cursor(sql, due.job.id, seen=due.job.next_run_at, to=due.next_run_at)
        for skip in due.skips:
            add_skip(sql, due.job.id, due.job.file, skip, now)
        wanted = [(slot, Trigger.CATCH_UP) for slot in due.catch_up]
        if due.slot is not None:
            wanted.append((due.slot, Trigger.SCHEDULE))
        for slot, trigger in wanted:
            late = trigger is Trigger.CATCH_UP
            if late and due.job.file.spec.catch_up.policy is CatchUpPolicy.ALL:
                found = Admission(answer="wait")  # one after another, if they exclude each other
            else:
                spec = due.job.file.spec
                # Thousands may wait if they may run beside each other: do not read them for nothing.
                allowed = spec.concurrency is Concurrency.ALLOW
                found = admit(spec, [] if allowed else _active_of(sql, due.job.id), trigger=trigger)
            if found.answer == "overlap":
                overlap = Skip(first=slot, last=slot, slots=1, reason="overlap")
                add_skip(sql, due.job.id, due.job.file, overlap, now)
                continue
            reserved = funds.reserve(due.job.file.spec, gives_way=found.gives_way)
            if isinstance(reserved, Refused):
                over = Skip(first=slot, last=slot, slots=1, reason=OVER)
                add_skip(sql, due.job.id, due.job.file, over, now, error=reserved.message)
                continue
            gave_way += _give_way(sql, due.job.id, found.gives_way, now)
            replaced += [f"{due.job.id}:{n}" for n in found.replaced]
            away = leaves(sql, due.job)
            if away and out is None:
                out = _running_count(sql, TEMPORAL)
            room = out < max_out if away and out is not None else running < max_running
            starts = found.answer == "start" and not late and room
            if away and out is not None:
                out += starts
            else:
                running += starts
            runs.append(
                _insert_run(
                    sql,
                    due.job,
                    slot=slot,
                    trigger=trigger,
                    owner=owner if starts else None,
                    now=now,
                    reason=OUTAGE if late and paced else None,
                    reserved=reserved,
                    away=away,
                )
            )
    return Claimed(runs=tuple(runs), gave_way=tuple(gave_way), replaced=tuple(replaced))


def in_turn(sql: Connection, dues: Sequence[Due]) -> list[Due]:
    """The order in which slots get capacity."""
    ran = dict(sql.execute("SELECT id, coalesce(last_run_at, '') FROM jobs").fetchall()) if len(dues) > 1 else {}
    return sorted(dues, key=lambda due: (due.last, ran.get(due.job.id, ""), due.job.id))


def need_seen(sql: Connection, seen: int) -> None:
    """Raises: StaleError if a job has changed since the ticket `seen`."""
    if sql.execute("SELECT 1 FROM jobs WHERE changed > ? LIMIT 1", (seen,)).fetchone() is not None:
        raise StaleError


def free_places(sql: Connection, max_running: int, now: datetime) -> int:
    """How many runs may start here at once. None while one waits, since nobody overtakes waiting runs."""
    waiting = (
        f"SELECT 1 FROM runs WHERE {ACTIVE} AND status = 'queued' AND coalesce(retry_at, '') <= ? AND engine = 'local'"
        " LIMIT 1"
    )
    if sql.execute(waiting, (stamp(now),)).fetchone() is not None:
        return 0
    return max(0, max_running - _running_count(sql))


def runs_beside(sql: Connection, run: Run) -> bool:
    """True if another run of the same job is under way."""
    found = sql.execute(
        f"SELECT 1 FROM runs WHERE job_id = ? AND n <> ? AND {ACTIVE} AND status <> 'queued' LIMIT 1",
        (run.job_id, run.n),
    ).fetchone()
    return found is not None


def queued(sql: Connection) -> list[Run]:
    """Runs that wait for capacity, oldest slot first, and runs that wait for a retry."""
    return find_runs(sql, f"{ACTIVE} AND status = 'queued' ORDER BY fire_time, job_id")


def retries_due(sql: Connection, before: datetime) -> list[Run]:
    """Runs that should have been retried by then, and still wait."""
    return find_runs(sql, f"{ACTIVE} AND status = 'queued' AND retry_at < ? ORDER BY retry_at", stamp(before))


def _insert_run(
    sql: Connection,
    job: Job,
    *,
    trigger: Trigger,
    owner: str | None,
    now: datetime,
    slot: datetime | None = None,
    by: str | None = None,
    reason: str | None = None,
    reserved: Reservation | None = None,
    away: bool = False,
) -> Run:
    """Insert a run that has capacity (owner), or waits for it."""
    columns: dict[str, Any] = {
        "job_id": job.id,
        "n": next_number(sql, job.id),
        "trigger": trigger,
        "status": RunStatus.QUEUED if owner is None else RunStatus.CLAIMED,
        "reason": reason,
        "fire_time": slot,
        "fire_time_last": slot,
        "requested_at": now,
        "requested_by": by,
        "generation": job.file.generation,
        "engine": TEMPORAL if away else LOCAL,
    }
    insert(sql, "runs", **columns, owner=owner, **reserved_columns(reserved))
    return Run(**columns, reserved=reserved)


def _active_of(sql: Connection, job_id: str) -> list[Active]:
    """The active and waiting runs of this job, oldest first."""
    rows = sql.execute(
        f'SELECT n, "trigger", status, retry_at, EXISTS (SELECT 1 FROM attempts WHERE attempts.job_id = runs.job_id'
        " AND run_n = runs.n AND end_class IN ('quota', 'credential')) AS delayed"
        f" FROM runs WHERE job_id = ? AND {ACTIVE} ORDER BY +n",
        (job_id,),
    ).fetchall()
    return [
        Active(
            n=row["n"],
            trigger=Trigger(row["trigger"]),
            waits=row["status"] == RunStatus.QUEUED and row["retry_at"] is None,
            delayed=bool(row["delayed"]),
        )
        for row in rows
    ]


def _give_way(sql: Connection, job_id: str, numbers: Iterable[int], now: datetime) -> tuple[Run, ...]:
    """Skip waiting runs because a newer one of their job has come."""
    gone = []
    for n in numbers:
        sql.execute(
            "UPDATE runs SET status = 'skipped', finished_at = ?, error = 'replaced by a newer slot of the job',"
            " reason = CASE \"trigger\" WHEN 'catch_up' THEN 'missed' ELSE 'overlap' END"
            " WHERE job_id = ? AND n = ? AND status = 'queued'",
            (stamp(now), job_id, n),
        )
        gone.append(the_run(sql, job_id, n))
    return tuple(gone)


def _pin(sql: Connection, run: Run, task_of: int) -> Run:
    """Give a newly claimed run the text of another run of its job, and the source of that text."""
    pinned = sql.execute(
        "UPDATE runs SET task_of = other.n, task_sha256 = other.task_sha256, task_bytes = other.task_bytes,"
        " source_path = other.source_path, source_sha256 = other.source_sha256, source_blob = other.source_blob,"
        " revision = other.revision, dirty = other.dirty, no_provenance = other.no_provenance,"
        " check_sha256 = other.check_sha256"
        " FROM runs AS other WHERE runs.job_id = ? AND runs.n = ?"
        " AND other.job_id = runs.job_id AND other.n = ? AND other.task_sha256 NOTNULL",
        (run.job_id, run.n, task_of),
    )
    if not pinned.rowcount:
        raise RefusedError(f"the text of {run.job_id}:{task_of} has been deleted", hint=_LET_GO)
    return the_run(sql, run.job_id, run.n)


def _running_count(sql: Connection, engine: str = LOCAL) -> int:
    """The number of runs that use the capacity of an engine. Waiting runs do not."""
    (running,) = sql.execute(
        f"SELECT count(*) FROM runs WHERE {ACTIVE} AND status <> 'queued' AND engine = ?", (engine,)
    ).fetchone()
    return int(running)


def leaves(sql: Connection, job: Job) -> bool:
    """True if the runs of a job are for workers, as far as its stored definition says."""
    spec = job.file.spec
    if spec.task_queue is not None:
        return spec.task_queue != HERE
    (settings,) = sql.execute("SELECT settings FROM root").fetchone()
    known = to_settings(settings)
    return queue_of(spec, None if known is None else known.runners.get(spec.runner)) is not None
