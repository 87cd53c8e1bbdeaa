"""What holds of every root whose daemon was killed at any moments and at last stopped in peace (F4, F5, S6).

Judged by three witnesses that know nothing of each other: the database, the marks that the scripts themselves have
written, and arithmetic on the schedules as the audit tells them. Only schedules `every: N` are understood.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.crash.world import Mark, World
from tests.helpers import Result, until

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SLOTS = "\"trigger\" IN ('schedule', 'catch_up')"


@dataclass(slots=True, kw_only=True)
class Era:
    """A time in which one schedule of a job was in force: its slots in (start, end]."""

    start: datetime
    end: datetime | None  # None: it still is
    every: timedelta
    activated_at: datetime  # of the schedule: earlier than the start where a stopped job was armed

    def slots(self, after: datetime, until: datetime) -> list[datetime]:
        """Multiples of the interval since the epoch in (after, until]."""
        first, last = (after - EPOCH) // self.every + 1, (until - EPOCH) // self.every
        return [EPOCH + n * self.every for n in range(first, last + 1)]

    def holds(self, slot: datetime) -> bool:
        return self.start < slot and (self.end is None or slot <= self.end)


def judge(world: World, context: str = "") -> None:
    """Fails with everything that is wrong."""
    found = [*violations(world), *leftovers(world), *litter(world), *unsettled(world.cli("plan", "--exit-code"))]
    found += [f"a daemon said: {line}" for daemon in world.daemons for line in daemon.lines if _is_alarming(line)]
    assert not found, "\n".join([context, *found])


def _is_alarming(line: str) -> bool:
    return " ERROR " in line or line.startswith("Traceback")


def violations(world: World) -> list[str]:
    """What is wrong with the database, or between it and the marks."""
    marks = world.marks()
    with world.reading() as sql:
        found = [*_integrity(sql), *_open_rows(sql), *_evidence(sql, marks), *_counters(sql), *_texts(sql)]
        for job in sql.execute("SELECT * FROM jobs ORDER BY id").fetchall():
            found += _coverage(sql, job)
    return found


def leftovers(world: World) -> list[str]:
    try:
        until(lambda: not world.leftovers(), "the end of every process", within=5)  # the kernel takes a moment
    except AssertionError:
        return [f"process {pid} lives on: {run}" for pid, run in world.leftovers().items()]
    return []


def litter(world: World) -> list[str]:
    """Locks and private files of daemons and commands that have all ended."""
    return [f"left behind: {path}" for path in sorted((world.db.parent / "owners").rglob("*"))]


def unsettled(plan: Result) -> list[str]:
    return [] if plan.code == 0 else [f"plan has something to do ({plan.code}): {plan.stdout} {plan.stderr}"]


# -- the database by itself ------------------------------------------------------------------


def _integrity(sql: sqlite3.Connection) -> Iterator[str]:
    for check in ("integrity_check", "foreign_key_check"):
        for row in sql.execute(f"PRAGMA {check}").fetchall():
            if tuple(row) != ("ok",):
                yield f"{check}: {tuple(row)}"


def _open_rows(sql: sqlite3.Connection) -> Iterator[str]:
    for row in sql.execute("SELECT * FROM runs ORDER BY job_id, n").fetchall():
        if row["status"] in ("claimed", "running"):
            yield f"{_id(row)} is {row['status']}, and nobody is there"
        if row["owner"] is not None:
            yield f"{_id(row)} is {row['status']} and has an owner"
        if row["status"] != "queued" and row["finished_at"] is None:
            yield f"{_id(row)} is {row['status']} and has no end"
    for row in sql.execute("SELECT * FROM attempts WHERE finished_at IS NULL OR status = 'running'").fetchall():
        yield f"an attempt of {row['job_id']}:{row['run_n']} has no end"


def _counters(sql: sqlite3.Connection) -> Iterator[str]:
    reached = _reached(sql)
    for job in sql.execute("SELECT * FROM jobs").fetchall():
        numbers = [row["n"] for row in sql.execute("SELECT n FROM runs WHERE job_id = ? ORDER BY n", (job["id"],))]
        if numbers != list(range(1, job["last_n"] + 1)):
            yield f"{job['id']}: last_n is {job['last_n']}, and its rows are {numbers}"
        attempted = sum(run_id.rpartition(":")[0] == job["id"] for run_id in reached)
        if job["run_count"] != attempted:
            yield f"{job['id']}: run_count is {job['run_count']}, and {attempted} runs reached attempt 1"
        yield from _tallies(sql, job["id"])


def _tallies(sql: sqlite3.Connection, job_id: str) -> Iterator[str]:
    """What monitors are told, against the rows. A skip that was declared void stays counted."""
    counted = dict(sql.execute("SELECT status, sum(runs) FROM run_tallies WHERE job_id = ? GROUP BY 1", (job_id,)))
    ends = "job_id = ? AND status NOT IN ('queued', 'claimed', 'running', 'skipped')"
    found = dict(sql.execute(f"SELECT status, count(*) FROM runs WHERE {ends} GROUP BY 1", (job_id,)))
    if counted != found:
        yield f"{job_id}: the tallies of its runs are {counted}, and its rows say {found}"
    (slots,) = sql.execute("SELECT coalesce(sum(slots), 0) FROM skip_tallies WHERE job_id = ?", (job_id,)).fetchone()
    skips = "SELECT coalesce(sum(slots), 0), coalesce(sum(reason = 'void'), 0) FROM runs WHERE status = 'skipped'"
    skipped, void = sql.execute(f"{skips} AND job_id = ?", (job_id,)).fetchone()
    if slots != skipped and not void:
        yield f"{job_id}: the tallies of its skips are {slots}, and its rows have {skipped}"


def _texts(sql: sqlite3.Connection) -> Iterator[str]:
    for row in sql.execute("SELECT sha256, bytes FROM texts").fetchall():
        if hashlib.sha256(row["bytes"]).hexdigest() != row["sha256"]:
            yield f"the text {row['sha256']} is damaged"
    for row in sql.execute(
        "SELECT runs.* FROM runs JOIN attempts ON attempts.job_id = runs.job_id AND run_n = runs.n"
        " WHERE task_sha256 IS NULL"
    ).fetchall():
        yield f"{_id(row)} does not say what it ran"


# -- the database and the marks --------------------------------------------------------------


def _evidence(sql: sqlite3.Connection, marks: Sequence[Mark]) -> Iterator[str]:
    """No slot and no run twice; what the ledger says of a run is what its script has seen."""
    for run_id, count in Counter(mark.run_id for mark in marks).items():
        if count > 1:
            yield f"{run_id} ran {count} times"
    for slot, count in Counter((mark.job_id, mark.fire_time) for mark in marks if mark.fire_time).items():
        if count > 1:
            yield f"the slot {slot} ran {count} times"
    reached = _reached(sql)
    rows = {_id(row): row for row in sql.execute("SELECT * FROM runs").fetchall()}
    for mark in marks:
        row = rows.get(mark.run_id)
        if row is None:
            yield f"{mark.run_id} ran and has no row"
        elif row["job_id"] != mark.job_id or _moment(row["fire_time"]) != mark.fire_time:
            yield f"{mark.run_id} ran for {mark.job_id} at {mark.fire_time}, and its row says {row['fire_time']}"
        elif mark.run_id not in reached:
            yield f"{mark.run_id} ran, and its row says {row['status']} without an attempt"
    marked = {mark.run_id for mark in marks}
    for run_id, row in rows.items():
        if row["status"] in ("succeeded", "failed") and run_id not in marked:
            yield f"{run_id} {row['status']} without having run"
        if (run_id in reached) and row["status"] in ("skipped", "queued", "claimed"):
            yield f"{run_id} is {row['status']} and has an attempt"
        if (run_id not in reached) and row["status"] not in ("skipped", "queued", "interrupted", "cancelled"):
            yield f"{run_id} is {row['status']} without an attempt"
        if (
            (run_id not in reached)
            and (row["status"], row["reason"]) == ("interrupted", "owner_died")
            and row["fire_time"]
        ):
            yield f"{run_id} was claimed and never started, and nobody started it"


def _reached(sql: sqlite3.Connection) -> set[str]:
    """The runs that reached attempt 1."""
    return {f"{row['job_id']}:{row['run_n']}" for row in sql.execute("SELECT * FROM attempts WHERE n = 1")}


# -- the ledger and the schedules ------------------------------------------------------------


def _coverage(sql: sqlite3.Connection, job: sqlite3.Row) -> Iterator[str]:
    """Every slot of every era is covered by exactly one row, up to the cursor; no other instant is."""
    eras = _eras(sql, job["id"])
    covered: defaultdict[datetime, list[str]] = defaultdict(list)
    for row in sql.execute(f"SELECT * FROM runs WHERE job_id = ? AND {SLOTS} ORDER BY n", (job["id"],)).fetchall():
        first, last = _known(row["fire_time"]), _known(row["fire_time_last"])
        shown = f"{_id(row)} ({row['status']} {row['reason']} {first} .. {last}, {row['slots']} slots)"
        era = next((each for each in eras if each.holds(first)), None)
        if era is None or not era.holds(last):
            yield f"{shown} lies in no era of {eras}"
            continue
        slots = era.slots(first - timedelta.resolution, last)
        if not slots or (slots[0], slots[-1], len(slots)) != (first, last, row["slots"]):
            yield f"{shown} does not cover exactly the {len(slots)} slots of {era}"
        if row["status"] != "skipped" and len(slots) != 1:
            yield f"{shown} is a run of several slots"
        for slot in slots:
            covered[slot].append(_id(row))
    expected, cursor = set(), _moment(job["next_run_at"])
    for era in eras:
        if era.end is None and (cursor is None or era.slots(cursor - timedelta.resolution, cursor) != [cursor]):
            yield f"{job['id']}: the cursor {cursor} is no slot of {era}"
            continue
        assert cursor is not None or era.end is not None
        until = era.end if era.end is not None else (cursor or era.start) - timedelta.resolution
        expected |= set(era.slots(era.start, until))
    if job["stopped_at"] is not None and eras and cursor is not None:
        if cursor <= (eras[-1].end or cursor):
            yield f"{job['id']} was stopped, and its cursor is {cursor}, within {eras[-1]}"
    elif (not eras or eras[-1].end is not None) and cursor is not None:
        yield f"{job['id']} is archived or disabled, and its cursor is {cursor}"
    if eras and eras[-1].end is None and eras[-1].activated_at != _moment(job["activated_at"]):
        yield f"{job['id']} was activated at {job['activated_at']}, and the audit says {eras[-1]}"
    for slot, run_ids in sorted(covered.items()):
        if len(run_ids) > 1:
            yield f"{job['id']}: the slot {slot} is covered by {run_ids}"
        if slot not in expected:
            yield f"{job['id']}: {run_ids} cover {slot}, beyond the cursor {cursor}"
    if missing := sorted(expected - covered.keys()):
        yield f"{job['id']}: no row covers {len(missing)} slots: {', '.join(map(str, missing[:5]))} … ({eras})"


def _eras(sql: sqlite3.Connection, job_id: str) -> list[Era]:
    """Told by the audit alone. The rows of one pass share their instant."""
    audit = sql.execute("SELECT * FROM audit WHERE job_id = ? ORDER BY seq", (job_id,)).fetchall()
    passes: defaultdict[str, list[sqlite3.Row]] = defaultdict(list)
    for row in audit:
        passes[row["at"]].append(row)
    eras: list[Era] = []
    every, enabled, present, stopped = timedelta(), False, False, False
    activated_at = None
    for at, rows in passes.items():
        before = (every, enabled, present, stopped)
        for row in rows:
            after = json.loads(row["after"])
            match row["action"], row["field"]:
                case "create", _:
                    every, enabled, present = (
                        timedelta(milliseconds=after["schedule"]["every_ms"]),
                        after["enabled"],
                        True,
                    )
                case "update", "schedule":
                    every = timedelta(milliseconds=after["every_ms"])
                case "update", "enabled":
                    enabled = after
                case "archive" | "revive", _:
                    present = row["action"] == "revive"
                case (("stop" | "arm" | "resume"), "status"):
                    stopped = row["action"] == "stop"
        if (every, enabled, present, stopped) != before:
            if eras and eras[-1].end is None:
                eras[-1].end = _known(at)
            if activated_at is None or (every, enabled, present) != before[:3]:
                activated_at = _known(at)
            if enabled and present and not stopped:
                eras.append(Era(start=_known(at), end=None, every=every, activated_at=activated_at))
    return eras


def _id(row: sqlite3.Row) -> str:
    return f"{row['job_id']}:{row['n']}"


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _known(text: str) -> datetime:
    return datetime.fromisoformat(text)
