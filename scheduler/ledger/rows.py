"""Rows of the database and the values they hold."""

from __future__ import annotations

import functools
import hashlib
import json
from datetime import UTC, datetime
from sqlite3 import Connection, Row
from typing import Any

from scheduler.core.values.facts import Commit, FileFacts, Job, Pause, Provenance, RuntimeFacts, SyncState
from scheduler.core.values.instants import parse_instant
from scheduler.core.values.runs import Attempt, AuditRow, Run, RunStatus, Trigger
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import JobSpec

ACTIVE = "status IN ('queued', 'claimed', 'running')"
SLOTS = "\"trigger\" IN ('schedule', 'catch_up') AND reason IS NOT 'void'"
# Slots from the cursor on that have a row; none, but where the clock has gone back.
TAKEN = f"""(SELECT json_group_array(fire_time) FROM (SELECT fire_time FROM runs WHERE job_id = jobs.id AND {SLOTS}
    AND fire_time >= jobs.next_run_at ORDER BY fire_time))"""
JOBS = f"""SELECT jobs.*, definitions.spec,
    (SELECT coalesce(fire_time_last, fire_time) FROM runs WHERE job_id = jobs.id AND {SLOTS}
        ORDER BY fire_time DESC LIMIT 1) AS last_slot,
    {TAKEN} AS taken,
    (SELECT coalesce(finished_at, requested_at) FROM runs WHERE job_id = jobs.id AND status = 'skipped'
        AND reason <> 'void' ORDER BY n DESC LIMIT 1) AS last_skip_at,
    (SELECT reason FROM runs WHERE job_id = jobs.id AND status = 'skipped' AND reason <> 'void'
        ORDER BY n DESC LIMIT 1) AS last_skip_reason
    FROM jobs JOIN definitions ON definitions.job_id = jobs.id AND definitions.generation = jobs.generation"""


def sha256_of(data: object) -> str:
    """Of what a column for bytes holds; damage may have made anything of it."""
    return hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else ""


def stamp(moment: datetime) -> str:
    """An instant as text of one width, so that SQL compares instants by comparing text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def stamp_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else stamp(moment)


def moment(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text)


def dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


_specs: dict[str, tuple[str, JobSpec]] = {}


def _spec(job_id: str, text: str) -> JobSpec:
    """Kept: a daemon reads the same definitions again with every pass. One for each job, however often it is edited."""
    known = _specs.get(job_id)
    if known is None or known[0] != text:
        known = _specs[job_id] = text, JobSpec.from_json(json.loads(text))
    return known[1]


@functools.lru_cache(maxsize=4)
def to_settings(text: str | None) -> Settings | None:
    """Kept: every fire looks at them."""
    return None if text is None else Settings.from_json(json.loads(text))


def taken(text: str) -> tuple[datetime, ...]:
    return tuple(map(parse_instant, json.loads(text)))


def to_job(row: Row) -> Job:
    paused_at = moment(row["paused_at"])
    return Job(
        id=row["id"],
        file=FileFacts(
            spec=_spec(row["id"], row["spec"]),
            generation=row["generation"],
            path=row["path"],
            line=row["line"],
            revision=row["revision"],
            dirty=row["dirty"],
            file_sha256=row["file_sha256"],
            task_sha256=row["task_sha256"],
            activated_at=parse_instant(row["activated_at"]),
            archived_at=moment(row["archived_at"]),
            sync_state=SyncState(row["sync_state"]),
            task_dirty=row["task_dirty"],
        ),
        pause=None
        if paused_at is None
        else Pause(at=paused_at, reason=row["pause_reason"], until=moment(row["paused_until"]), by=row["paused_by"]),
        runtime=RuntimeFacts(
            run_count=row["run_count"],
            consecutive_errors=row["consecutive_errors"],
            errors_at_arm=row["errors_at_arm"],
            stopped_at=moment(row["stopped_at"]),
            stop_reason=row["stop_reason"],
            last_run_at=moment(row["last_run_at"]),
            last_run_status=row["last_run_status"],
            last_run_duration_ms=row["last_run_duration_ms"],
            last_run_error=row["last_run_error"],
            last_skip_at=moment(row["last_skip_at"]),
            last_skip_reason=row["last_skip_reason"],
            last_delivery_status=row["last_delivery_status"],
        ),
        next_run_at=moment(row["next_run_at"]),
        last_slot=moment(row["last_slot"]),
        taken=taken(row["taken"]),
        created_at=parse_instant(row["created_at"]),
        created_by=row["created_by"],
        updated_at=parse_instant(row["updated_at"]),
    )


def to_audit_row(row: Row) -> AuditRow:
    return AuditRow(
        job_id=row["job_id"],
        action=row["action"],
        field=row["field"],
        before=json.loads(row["before"]),
        after=json.loads(row["after"]),
        at=parse_instant(row["at"]),
        revision=row["revision"],
        actor=row["actor"],
        cause=row["cause"],
        commit=None
        if row["commit_id"] is None
        else Commit(
            id=row["commit_id"],
            author=row["author"],
            email=row["email"],
            date=parse_instant(row["date"]),
            subject=row["subject"],
        ),
        no_commit=row["no_commit"],
    )


def to_run(sql: Connection, row: Row) -> Run:
    attempts = sql.execute(
        "SELECT * FROM attempts WHERE job_id = ? AND run_n = ? ORDER BY n", (row["job_id"], row["n"])
    ).fetchall()
    return Run(
        job_id=row["job_id"],
        n=row["n"],
        trigger=Trigger(row["trigger"]),
        status=RunStatus(row["status"]),
        reason=row["reason"],
        fire_time=moment(row["fire_time"]),
        fire_time_last=moment(row["fire_time_last"]),
        slots=row["slots"],
        requested_at=parse_instant(row["requested_at"]),
        requested_by=row["requested_by"],
        retry_at=moment(row["retry_at"]),
        started_at=moment(row["started_at"]),
        finished_at=moment(row["finished_at"]),
        duration_ms=row["duration_ms"],
        exit_code=row["exit_code"],
        error=row["error"],
        task_sha256=row["task_sha256"],
        task_bytes=row["task_bytes"],
        source_path=row["source_path"],
        source_sha256=row["source_sha256"],
        provenance=Provenance(
            revision=row["revision"], blob=row["source_blob"], dirty=row["dirty"], why_none=row["no_provenance"]
        ),
        generation=row["generation"],
        result=row["result"],
        output_bytes=row["output_bytes"],
        truncated=bool(row["truncated"]),
        attempts=tuple(
            Attempt(
                n=each["n"],
                status=RunStatus(each["status"]),
                reason=each["reason"],
                started_at=parse_instant(each["started_at"]),
                finished_at=moment(each["finished_at"]),
                exit_code=each["exit_code"],
            )
            for each in attempts
        ),
        task_of=row["task_of"],
    )
