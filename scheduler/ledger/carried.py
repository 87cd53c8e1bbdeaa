"""Imported history: kept until the sync that creates the job, then merged into the database (SQL only).

A sync creates the row and its history in one transaction. So no slot of a job that was paused at its source can fire in
between, whoever syncs first. A job that already has runs keeps its own history.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Connection, Row
from typing import Any, Literal

from scheduler.core.past.past import (
    ARCHIVED,
    ATTEMPT,
    AUDIT,
    COMMIT,
    DEFINITION,
    FACTS,
    IMPORT,
    INSTANTS,
    JSON,
    RUN,
    Past,
)
from scheduler.core.values.facts import SyncState
from scheduler.core.values.instants import instant, parse_instant
from scheduler.ledger.budgets import count_past
from scheduler.ledger.cursor import next_ticket
from scheduler.ledger.rows import ACTIVE, AUDIT_ROWS, insert, set_job, stamp

State = Literal["carried", "pending", "already", "own"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A job's history, who imported it, and where from."""

    past: Past
    source: str
    actor: str


def past_of(sql: Connection, job_id: str) -> Past:
    """Everything the database knows about a job, except unfinished runs: they continue here, not there."""
    job = sql.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    attempts: dict[int, list[dict[str, Any]]] = {}
    for row in sql.execute("SELECT * FROM attempts WHERE job_id = ? ORDER BY run_n, n", (job_id,)):
        attempts.setdefault(row["run_n"], []).append(_told(row, ATTEMPT))
    ended = sql.execute(f"SELECT * FROM runs WHERE job_id = ? AND NOT {ACTIVE} ORDER BY n", (job_id,))
    runs = [{**_told(row, RUN), "attempts": attempts.get(row["n"], [])} for row in ended]
    versions = sql.execute("SELECT * FROM definitions WHERE job_id = ? ORDER BY generation", (job_id,))
    audit = []
    for row in sql.execute(f"{AUDIT_ROWS} AND audit.job_id = ? ORDER BY audit.seq", (job_id,)):
        commit = {"id": row["commit_id"], **{each: row[each] for each in COMMIT[1:]}}
        told = {**_told(row, AUDIT), "commit": None if row["commit_id"] is None else commit}
        if told["no_commit"] == "pending":
            told["no_commit"] = "unknown"  # nobody looks it up for the other database
        audit.append(told)
    texts = sql.execute(
        "SELECT DISTINCT texts.sha256, bytes FROM runs"
        " JOIN texts ON texts.sha256 IN (runs.task_sha256, runs.check_sha256)"
        f" WHERE job_id = ? AND NOT {ACTIVE}",
        (job_id,),
    )
    return Past(
        facts=_told(job, FACTS),
        last_n=job["last_n"],
        definitions=tuple(_told(row, DEFINITION) for row in versions),
        runs=tuple(runs),
        audit=tuple(audit),
        texts={row["sha256"]: bytes(row["bytes"]) for row in texts},
        archived=None
        if job["archived_at"] is None
        else {"at": instant(parse_instant(job["archived_at"])), **{name: job[name] for name in ARCHIVED[1:]}},
    )


def _told(row: Row, names: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        value = row[name]
        if value is not None and name in INSTANTS:
            value = instant(parse_instant(value))
        elif value is not None and name in JSON:
            value = json.loads(value)
        found[name] = value
    return found


def carry(sql: Connection, pasts: Mapping[str, Carried], *, now: datetime) -> dict[str, State]:
    """Give jobs their imported history: now, or in the transaction of the sync that creates them."""
    ticket = next_ticket(sql)
    return {job_id: _carry(sql, job_id, each, now=now, ticket=ticket) for job_id, each in pasts.items()}


def _carry(sql: Connection, job_id: str, carried: Carried, *, now: datetime, ticket: int) -> State:
    """Give a job its history, or keep it for the sync that creates the job. Creates archived jobs, as no sync does.

    `already`: the job got a history before, and keeps it. `own`: it has runs or counters of its own, and keeps these.
    """
    job = sql.execute("SELECT last_n, run_count, created_at FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if job is None and carried.past.archived is not None:
        _bury(sql, job_id, carried, now=now, ticket=ticket)
        return "carried"
    if job is None:
        sql.execute(
            "INSERT OR REPLACE INTO carried (job_id, past, at) VALUES (?, ?, ?)", (job_id, _packed(carried), stamp(now))
        )
        return "pending"
    if sql.execute("SELECT 1 FROM audit WHERE job_id = ? AND action = ?", (job_id, IMPORT)).fetchone():
        return "already"
    created = carried.past.facts.get("created_at")
    if created is not None and stamp(parse_instant(created)) == job["created_at"]:
        return "already"  # it is the exported job itself
    if job["last_n"] or job["run_count"]:
        return "own"
    # The definition in force follows those that came before it.
    row = sql.execute(
        "SELECT definitions.* FROM definitions JOIN jobs ON jobs.id = job_id AND jobs.generation ="
        " definitions.generation WHERE job_id = ?",
        (job_id,),
    ).fetchone()
    here = next_generation(carried, row["digest"], row["generation"])
    if carried.past.definitions:
        sql.execute("DELETE FROM definitions WHERE job_id = ?", (job_id,))
    add_definitions(sql, job_id, carried)
    sql.execute(
        "INSERT OR IGNORE INTO definitions (job_id, generation, digest, spec, recorded_at) VALUES (?, ?, ?, ?, ?)",
        (job_id, here, row["digest"], row["spec"], row["recorded_at"]),
    )
    set_job(sql, job_id, generation=here, changed=ticket)
    add_past(sql, job_id, carried, now=now)
    return "carried"


def _bury(sql: Connection, job_id: str, carried: Carried, *, now: datetime, ticket: int) -> None:
    """Add the row of a job without a file: its history can be found, and its file revives it."""
    was = carried.past.archived
    assert was is not None
    add_definitions(sql, job_id, carried)
    at = stamp(parse_instant(was["at"]))
    row = {
        "id": job_id,
        "generation": max(each["generation"] for each in carried.past.definitions),
        **{name: was[name] for name in ARCHIVED[1:]},
        "activated_at": at,
        "archived_at": at,
        "sync_state": SyncState.SYNCED.value,
        "changed": ticket,
        **{name: stamp(now) for name in ("created_at", "updated_at")},
        "created_by": carried.actor,
    }
    insert(sql, "jobs", **row)
    add_past(sql, job_id, carried, now=now)


def waiting(sql: Connection) -> set[str]:
    """The jobs for which something is kept until a sync creates them."""
    return {row["job_id"] for row in sql.execute("SELECT job_id FROM carried")}


def take(sql: Connection, job_id: str) -> Carried | None:
    """Take what is kept for a job that is being created."""
    row = sql.execute("DELETE FROM carried WHERE job_id = ? RETURNING past", (job_id,)).fetchone()
    return None if row is None else _unpacked(row["past"])


def forget_carried(sql: Connection, job_ids: Iterable[str]) -> None:
    """Delete what is kept for jobs that no sync has created yet."""
    sql.executemany("DELETE FROM carried WHERE job_id = ?", [(job_id,) for job_id in job_ids])


def next_generation(carried: Carried, digest: str, otherwise: int) -> int:
    """The generation of a definition with this digest: the last one if its digest is the same, otherwise the next."""
    if not carried.past.definitions:
        return otherwise
    last = max(carried.past.definitions, key=lambda each: int(each["generation"]))
    return int(last["generation"]) + int(last["digest"] != digest)


def add_definitions(sql: Connection, job_id: str, carried: Carried) -> None:
    """Add the job's earlier definitions, before its row."""
    for each in carried.past.definitions:
        insert(sql, "definitions", known=True, job_id=job_id, **_stored(each, DEFINITION))


def add_past(sql: Connection, job_id: str, carried: Carried, *, now: datetime) -> None:
    """Add everything else once the row exists: facts, texts, runs, audit, and a note of the import."""
    past = carried.past
    facts = _stored(past.facts, [name for name in FACTS if name in past.facts])
    for name in ("created_at", "created_by", "updated_at", "run_count", "consecutive_errors", "errors_at_arm"):
        if facts.get(name, ...) is None:
            del facts[name]
    sql.executemany("INSERT OR IGNORE INTO texts (sha256, bytes) VALUES (?, ?)", past.texts.items())
    for run in past.runs:
        insert(sql, "runs", job_id=job_id, **_stored(run, RUN))
        for attempt in run["attempts"]:
            insert(sql, "attempts", job_id=job_id, run_n=run["n"], **_stored(attempt, ATTEMPT))
    # After the rows: by a number beyond `last_n`, the tallies tell that a slot was skipped elsewhere.
    set_job(sql, job_id, **facts, last_n=past.last_n)
    count_past(sql, job_id)
    for row in past.audit:
        stored = {"job_id": job_id, **_stored(row, AUDIT)}
        commit = row.get("commit")
        if commit is not None:
            insert(sql, "commits", known=True, **{name: commit[name] for name in COMMIT})
            stored["commit_id"] = commit["id"]
        insert(sql, "audit", **stored)
    told = {name: value for name, value in past.facts.items() if value is not None}
    row = {
        "at": instant(now),
        "action": IMPORT,
        "field": "history",
        "before": None,
        "after": {"source": carried.source, "runs": len(past.runs), **told},
        "revision": None,
        "actor": carried.actor,
        "cause": "import",
    }
    insert(sql, "audit", job_id=job_id, **_stored(row, AUDIT))


def _stored(found: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in names:
        value = found.get(name)  # checked when it was read
        if name in JSON and (value is not None or name in AUDIT):  # there, null is a value
            value = json.dumps(value, ensure_ascii=False, sort_keys=True)
        elif name in INSTANTS and value is not None:
            value = stamp(parse_instant(value))
        row[name] = value
    return row


def _packed(carried: Carried) -> str:
    texts = {sha256: base64.b64encode(data).decode() for sha256, data in carried.past.texts.items()}
    found = {**carried.past.to_json(), "texts": texts, "source": carried.source, "actor": carried.actor}
    return json.dumps(found, ensure_ascii=False)


def _unpacked(text: str) -> Carried:
    found = json.loads(text)
    texts = {sha256: base64.b64decode(data) for sha256, data in found["texts"].items()}
    past = Past.from_json({**found, "texts": texts})
    return Carried(past=past, source=found["source"], actor=found["actor"])
