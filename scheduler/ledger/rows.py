"""Rows of the database and the values they hold."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection, Row
from typing import Any, TypeVar

from scheduler.core.values.codec import decoders
from scheduler.core.values.facts import (
    Commit,
    FileFacts,
    Job,
    JobSummary,
    Pause,
    Provenance,
    RunnerFile,
    RuntimeFacts,
    SyncState,
)
from scheduler.core.values.instants import parse_instant
from scheduler.core.values.runs import Attempt, AuditRow, Elsewhere, FreshTree, Run
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import JobSpec, Schedule
from scheduler.ledger.agents import agent_of_row, cost_of_row, reservation_of_row, tokens_of_row

T = TypeVar("T")
ACTIVE = "status IN ('queued', 'claimed', 'running')"
WAITS_FOR_RETRY = "status = 'queued' AND retry_at NOTNULL"
SLOTS = "\"trigger\" IN ('schedule', 'catch_up') AND reason IS NOT 'void'"
# Slots from the cursor on that have a row: none, unless the clock went back.
TAKEN = f"""(SELECT json_group_array(fire_time) FROM (SELECT fire_time FROM runs WHERE job_id = jobs.id AND {SLOTS}
    AND fire_time >= jobs.next_run_at ORDER BY fire_time))"""
_LAST_SLOT = f"""(SELECT coalesce(fire_time_last, fire_time) FROM runs WHERE job_id = jobs.id AND {SLOTS}
    ORDER BY fire_time DESC LIMIT 1)"""
_LAST_SKIP = """(SELECT n FROM runs WHERE job_id = jobs.id AND status = 'skipped' AND reason <> 'void'
    ORDER BY n DESC LIMIT 1)"""
DEFINED = "jobs JOIN definitions ON definitions.job_id = jobs.id AND definitions.generation = jobs.generation"
_SKIPPED = f"LEFT JOIN runs AS skip ON skip.job_id = jobs.id AND skip.n = {_LAST_SKIP}"
JOBS = f"""SELECT jobs.*, definitions.spec, {_LAST_SLOT} AS last_slot, {TAKEN} AS taken,
    coalesce(skip.finished_at, skip.requested_at) AS last_skip_at, skip.reason AS last_skip_reason
    FROM {DEFINED} {_SKIPPED}"""
# The columns that `to_summary` takes, in its order. Of a definition, only what a summary shows is decoded.
SUMMARIES = f"""SELECT id, path, json_extract(spec, '$.schedule', '$.expires', '$.expect_every_ms'),
    json_extract(spec, '$.enabled'), json_extract(spec, '$.tags', '$.runner', '$.task_source_path', '$.env.PATH',
    '$.workdir'),
    sync_state, activated_at, archived_at, paused_at, pause_reason, paused_until, paused_by, stopped_at, stop_reason,
    next_run_at, {_LAST_SLOT}, last_run_at, last_run_status, last_run_error,
    coalesce(skip.finished_at, skip.requested_at), skip.reason, run_count, consecutive_errors, updated_at
    FROM {DEFINED} {_SKIPPED}"""
# The same for jobs of which no row is made: without their newest slot and skip, which takes half of the time.
SKETCHES = (
    SUMMARIES.replace(_LAST_SLOT, "NULL")
    .replace(f" {_SKIPPED}", "")
    .replace("coalesce(skip.finished_at, skip.requested_at), skip.reason", "NULL, NULL")
)

# Audit rows with their commit: of the row itself in earlier versions, otherwise of its lookup. The text of a new job
# has a row of its own in case another commit than that of the job file brought it; otherwise, the row is left out.
AUDIT_ROWS = """SELECT audit.seq, at, audit.job_id, action, field, before, after, audit.revision, actor, cause,
    commits.id AS commit_id, author, email, date, subject, coalesce(audit.no_commit, lookups.no_commit,
    CASE WHEN lookups.id NOTNULL AND lookups.commit_id IS NULL THEN 'pending' END) AS no_commit
    FROM audit LEFT JOIN lookups ON lookups.id = audit.lookup
    LEFT JOIN commits ON commits.id = coalesce(audit.commit_id, lookups.commit_id)
    WHERE NOT (action = 'task' AND lookups.id NOTNULL AND EXISTS (SELECT 1 FROM audit AS made
    JOIN lookups AS its ON its.id = made.lookup WHERE made.seq = audit.seq - 1 AND made.action = 'create'
    AND made.job_id = audit.job_id AND its.commit_id IS lookups.commit_id AND its.no_commit IS lookups.no_commit))"""


def sha256_of(data: object) -> str:
    """The sha256 of a bytes column, which damage may have turned into anything."""
    return hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else ""


@functools.lru_cache(maxsize=256)
def stamp(moment: datetime) -> str:
    """An instant as text of fixed width, so that SQL can compare instants as text.

    Cached: the rows of one pass or one fire share their instants.
    """
    return f"{moment.astimezone(UTC).isoformat(timespec='microseconds')[:26]}Z"


def stamp_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else stamp(moment)


def moment(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text)


def batched(values: Collection[T], most: int = 500) -> Iterator[list[T]]:
    """The values in lists that are short enough for the parameters of one statement."""
    found = list(values)
    return (found[at : at + most] for at in range(0, len(found), most))


def insert(sql: Connection, table: str, *, known: bool = False, **columns: Any) -> None:
    """Add a row. Instants become text. known: an existing row with the same key stays."""
    names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
    conflict = " ON CONFLICT DO NOTHING" if known else ""
    sql.execute(f"INSERT INTO {table} ({names}) VALUES ({marks}){conflict}", _bound(columns))


def insert_all(sql: Connection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows that have the same columns. Instants become text."""
    if rows:
        names, marks = ", ".join(f'"{name}"' for name in rows[0]), ", ".join("?" * len(rows[0]))
        sql.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", map(_bound, rows))


def keep_text(sql: Connection, text: bytes) -> str:
    """Keep a text once, and return its sha256. Repairs a kept one that was damaged."""
    sha256 = sha256_of(text)
    sql.execute(
        "INSERT INTO texts (sha256, bytes) VALUES (?, ?)"
        " ON CONFLICT (sha256) DO UPDATE SET bytes = excluded.bytes WHERE bytes IS NOT excluded.bytes",
        (sha256, text),
    )
    return sha256


def set_job(sql: Connection, job_id: str, **columns: Any) -> None:
    """Change a job's row. Instants become text."""
    names = ", ".join(f"{name} = ?" for name in columns)
    sql.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*_bound(columns), job_id))


def set_run(sql: Connection, job_id: str, n: int, where: str = "TRUE", **columns: Any) -> bool:
    """Change a run's row if it matches `where`. True if it did. Instants become text."""
    names = ", ".join(f"{name} = ?" for name in columns)
    query = f"UPDATE runs SET {names} WHERE job_id = ? AND n = ? AND {where}"
    return sql.execute(query, (*_bound(columns), job_id, n)).rowcount > 0


def _bound(columns: Mapping[str, Any]) -> list[Any]:
    return [stamp(value) if isinstance(value, datetime) else value for value in columns.values()]


dump: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


_specs: dict[str, tuple[str, JobSpec]] = {}


def _spec(job_id: str, text: str) -> JobSpec:
    """Cached: a daemon reads the same definitions in every pass. One entry per job, however often it is edited."""
    known = _specs.get(job_id)
    if known is None or known[0] != text:
        known = _specs[job_id] = text, JobSpec.from_json(json.loads(text))
    return known[1]


@functools.lru_cache(maxsize=4)
def to_settings(text: str | None) -> Settings | None:
    """Cached: every fire looks at them."""
    return None if text is None else Settings.from_json(json.loads(text))


def taken(text: str) -> tuple[datetime, ...]:
    return () if text == "[]" else tuple(map(parse_instant, json.loads(text)))


def from_row(kind: type[T], row: Row | Mapping[str, Any], **given: Any) -> T:
    """A value built from columns with the same names as its fields, except for the given ones."""
    found = given
    for name, decode in decoders(kind).values():
        if name not in found:
            value = row[name]
            found[name] = value if decode is None or value is None else decode(value)
    return kind(**found)


def to_job(row: Row | Mapping[str, Any]) -> Job:
    if isinstance(row, Row):
        row = dict(zip(row.keys(), row, strict=True))  # a Row compares a name with one column after the other
    paused_at = moment(row["paused_at"])
    pause = None
    if paused_at is not None:
        pause = Pause(at=paused_at, reason=row["pause_reason"], until=moment(row["paused_until"]), by=row["paused_by"])
    return from_row(
        Job,
        row,
        file=from_row(FileFacts, row, spec=_spec(row["id"], row["spec"])),
        pause=pause,
        runtime=from_row(RuntimeFacts, row),
        taken=taken(row["taken"]),
    )


def to_summary(row: Row) -> JobSummary:
    """From a row of SUMMARIES."""
    (
        job_id, path, timing, enabled, about, state, activated, archived, paused, why, until, by, stopped, stop_reason,
        cursor, last_slot, run_at, run_status, run_error, skip_at, skip_reason, run_count, errors, updated,
    ) = row  # fmt: skip
    due_by, expect_every = _timing(timing)
    tags, runner, task, path_set, workdir = _about(about)
    return JobSummary(
        job_id, path, due_by, enabled != 0, expect_every, tags, runner, task, path_set, workdir, SyncState(state),
        parse_instant(activated), archived is not None,
        None if paused is None else Pause(at=parse_instant(paused), reason=why, until=moment(until), by=by),
        moment(stopped), stop_reason, moment(cursor), moment(last_slot), moment(run_at), run_status, run_error,
        moment(skip_at), skip_reason, run_count, errors, parse_instant(updated),
    )  # fmt: skip


@functools.lru_cache(maxsize=20_000)
def _timing(text: str) -> tuple[Schedule, timedelta | None]:
    """Cached: many jobs have the same schedule."""
    schedule, expires, expect_every = json.loads(text)
    due_by = Schedule.from_json(schedule)
    return (
        due_by if expires is None else due_by.until(parse_instant(expires)),
        None if expect_every is None else timedelta(milliseconds=expect_every),
    )


@functools.lru_cache(maxsize=20_000)
def _about(text: str) -> tuple[tuple[str, ...], str, str | None, bool, str | None]:
    tags, runner, task, path_set, workdir = json.loads(text)
    return tuple(tags or ()), runner, task, path_set is not None, workdir


def to_audit_row(row: Row) -> AuditRow:
    """From a row of AUDIT_ROWS."""
    commit = None if row["commit_id"] is None else from_row(Commit, row, id=row["commit_id"])
    before, after = json.loads(row["before"]), json.loads(row["after"])
    return from_row(AuditRow, row, before=before, after=after, commit=commit, lookup=None)


def to_row(value: Any, *besides: str) -> dict[str, Any]:
    """The columns of a value, as `from_row` reads them, without fields that are no column or have another form."""
    return {name: getattr(value, name) for name, _ in decoders(type(value)).values() if name not in besides}


def find_runs(sql: Connection, where: str, *values: Any) -> list[Run]:
    """The runs of a WHERE clause, in its order."""
    found: list[Run] = []
    for rows in batched(sql.execute(f"SELECT * FROM runs WHERE {where}", values).fetchall()):
        found += to_runs(sql, rows)
    return found


def to_runs(sql: Connection, rows: Sequence[Row]) -> list[Run]:
    """At most some hundred."""
    tried = _attempts(sql, [(row["job_id"], row["n"]) for row in rows])
    return [_to_run(row, tuple(tried.get((row["job_id"], row["n"]), ()))) for row in rows]


def _attempts(sql: Connection, runs: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], Sequence[Attempt]]:
    """By run, in one statement."""
    found: dict[tuple[str, int], list[Attempt]] = {}
    rows = sql.execute(
        f"WITH keys(job, run) AS (VALUES {','.join(['(?, ?)'] * len(runs))})"
        " SELECT attempts.* FROM keys CROSS JOIN attempts ON job_id = job AND run_n = run ORDER BY job_id, run_n, n",
        [value for key in runs for value in key],
    )
    for each in rows.fetchall():
        attempt = from_row(Attempt, each, cost=cost_of_row(each), tokens=tokens_of_row(each))
        found.setdefault((each["job_id"], each["run_n"]), []).append(attempt)
    return found


def the_run(sql: Connection, job_id: str, n: int) -> Run:
    """A run that is known to exist."""
    (run,) = find_runs(sql, "job_id = ? AND n = ?", job_id, n)
    return run


def to_runner_files(text: str | None) -> tuple[RunnerFile, ...] | None:
    found = None if text is None else json.loads(text)
    return None if found is None else tuple(map(RunnerFile.from_json, found))


def worktree_columns(tree: FreshTree | None) -> dict[str, str]:
    """What is written of a run's worktree: nothing if nothing is known of it."""
    return {} if tree is None else {"worktree": dump(tree.to_json())}


def _to_run(row: Row, tried: tuple[Attempt, ...]) -> Run:
    return from_row(
        Run,
        row,
        provenance=Provenance(
            revision=row["revision"], blob=row["source_blob"], dirty=row["dirty"], why_none=row["no_provenance"]
        ),
        runner_files=to_runner_files(row["runner_files"]),
        truncated=bool(row["truncated"]),
        worktree=None if row["worktree"] is None else FreshTree.from_json(json.loads(row["worktree"])),
        attempts=tried,
        agent=agent_of_row(row, tried),
        cost=cost_of_row(row),
        tokens=tokens_of_row(row),
        reserved=reservation_of_row(row),
        elsewhere=None if row["elsewhere"] is None else Elsewhere.from_json(json.loads(row["elsewhere"])),
    )
