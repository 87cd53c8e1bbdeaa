"""The database: who may write what, durable rows, and files that are not ours to open."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.due.due import due
from scheduler.core.formats.jobfile import Document
from scheduler.core.plan.audit import audit_rows
from scheduler.core.plan.desired import Desired, Found
from scheduler.core.plan.plan import Plan, plan
from scheduler.core.values.facts import Pause, Provenance, RuntimeFacts, Task
from scheduler.core.values.problems import Problem, RefusedError, UnavailableError
from scheduler.core.values.runs import AuditRow, Ending, Run, RunStatus
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import JobSpec, Schedule
from scheduler.ledger import audit, claims, gc, lives, outbox, queries, rows, runs, schema, syncs
from scheduler.ledger import store as store_module
from scheduler.ledger.claims import Claimed
from scheduler.ledger.cursor import StaleError
from scheduler.ledger.database import DamagedError, LockedError, journals_by
from scheduler.ledger.pool import Stores
from scheduler.ledger.store import Store
from scheduler.machine.processes import Process
from tests.fakes import START, claim_by_hand, succeed

NOW = START
CURRENT = Task(text=b"current\n", source_path="prompts/p.md", source=b"current\n")
TASK = Task(text=b"say hello\n", source_path="prompts/p.md", source=b"say hello\n")


def desired(*ids: str, name: str = "n", **spec: Any) -> Desired:
    schedule = Schedule(timezone="UTC", every=timedelta(hours=1))
    documents = [
        Document(
            path=f"jobs/{each}.yaml",
            line=1,
            id=each,
            spec=JobSpec(id=each, name=name, schedule=schedule, runner="cat", **spec),
            text=None,
            task_place=(1, 1),
            schedule_place=(1, 1),
        )
        for each in ids
    ]
    return Desired(
        settings=Settings(),
        found=tuple(Found(document=each, task_sha256="a" * 64, file_sha256="f") for each in documents),
    )


def apply(store: Store, wanted: Desired, problems: tuple[Problem, ...] = ()) -> Plan:
    observed = store.read(syncs.observed)
    found = plan(
        Desired(settings=wanted.settings, found=wanted.found, problems=problems),
        observed.jobs,
        previous=observed.settings,
        now=NOW,
    )
    rows = audit_rows(found, at=NOW, actor="user:test", cause="sync")
    store.write(syncs.apply, found, ticket=observed.ticket, audit=rows, now=NOW, actor="user:test")
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path, busy_timeout=timedelta(0)) as opened:
        apply(opened, desired("job", "other"))
        yield opened


def claim(store: Store, job_id: str = "job", max_running: int = 16) -> Run:
    return claim_by_hand(store, job_id, max_running=max_running, now=NOW)


def start(store: Store, run: Run, task: Task = TASK) -> Run:
    return store.write(
        runs.start_attempt, run, n=1, owner="o", generation=1, task=task, provenance=Provenance(), now=NOW
    )


def test_a_database_is_private_durable_and_in_wal_mode(store: Store, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    connection = store._connection
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2, "a claim must survive a power loss"
    assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_jobs_come_back_as_they_were_written(store: Store, path: Path) -> None:
    with Store.open(path) as again:
        job = again.read(queries.job, "job")
    assert job == store.read(queries.job, "job")
    assert job is not None
    assert job.file.spec.schedule.every == timedelta(hours=1)
    assert (job.created_by, job.created_at) == ("user:test", NOW)


def test_of_a_job_that_is_edited_again_and_again_only_the_newest_definition_is_kept_in_memory(store: Store) -> None:
    store.read(syncs.observed)
    before = len(rows._specs)
    for n in range(20):
        apply(store, desired("job", "other", name=f"edit {n}"))
        found = store.read(syncs.observed).jobs["job"].file.spec
        assert found.name == f"edit {n}"
        assert store.read(syncs.observed).jobs["job"].file.spec is found, "parsed once"
    assert len(rows._specs) == before


def test_a_stale_ticket_applies_nothing(store: Store) -> None:
    observed = store.read(syncs.observed)
    row = AuditRow(job_id="job", action="pause", at=NOW, actor="a", cause="c")
    store.write(syncs.set_pause, "job", Pause(at=NOW), audit=row)  # what the plan read has changed
    found = plan(desired("job", "other", "new"), observed.jobs, previous=observed.settings, now=NOW)
    with pytest.raises(StaleError):
        store.write(syncs.apply, found, ticket=observed.ticket, audit=(), now=NOW, actor="a")
    assert store.read(queries.job, "new") is None


def test_a_pass_with_nothing_to_do_makes_an_older_plan_stale_too(store: Store) -> None:
    older = store.read(syncs.observed)
    apply(store, desired("job", "other"))
    found = plan(desired("job", "other", "new"), older.jobs, previous=older.settings, now=NOW)
    with pytest.raises(StaleError):
        store.write(syncs.apply, found, ticket=older.ticket, audit=(), now=NOW, actor="a")


def test_the_first_failure_of_a_streak_and_the_recovery_are_audited(store: Store) -> None:
    for status in (RunStatus.FAILED, RunStatus.FAILED, RunStatus.SUCCEEDED, RunStatus.SUCCEEDED):
        store.write(runs.finish, start(store, claim(store)), Ending(status=status), now=NOW)
    store.write(
        runs.skip, claim(store), reason="source_missing", message="gone", fault=True, now=NOW + timedelta(hours=2)
    )
    told = [
        (row.action, row.after["run"])
        for row in store.read(audit.read_audit, "job")
        if row.action in ("failure", "recovery")
    ]
    assert told == [("failure", "job:1"), ("recovery", "job:3"), ("failure", "job:5")]


def test_a_failing_job_is_told_again_after_a_day(store: Store) -> None:
    for hours in (0, 1, 25, 26):
        store.write(
            runs.finish, start(store, claim(store)), Ending(status=RunStatus.FAILED), now=NOW + timedelta(hours=hours)
        )
    assert [row.after["run"] for row in store.read(audit.read_audit, "job") if row.action == "failure"] == [
        "job:1",
        "job:3",
    ]


def fire(store: Store) -> Run:
    """The next slot of `job`, claimed."""
    observed = store.read(syncs.observed)
    job = observed.jobs["job"]
    assert job.next_run_at is not None
    found = due(job, now=job.next_run_at, since=NOW)
    assert found is not None
    claimed = store.write(
        claims.claim_due, [found], seen=observed.ticket, owner="o", max_running=16, now=job.next_run_at
    )
    assert claimed is not None
    (run,) = claimed.runs
    return run


def fail(store: Store, task: Task | None = None) -> Run:
    return store.write(
        runs.finish, start(store, fire(store), task or CURRENT), Ending(status=RunStatus.FAILED), now=NOW
    )


def limited(store: Store, limit: int = 3, generation: int = 1) -> None:
    """As if the definition in force had this failure_limit."""
    with store._connection as sql:
        sql.execute("UPDATE definitions SET spec = json_set(spec, '$.failure_limit', ?)", (limit,))
        sql.execute("UPDATE jobs SET task_sha256 = ?", (CURRENT.sha256,))


def runtime(store: Store) -> RuntimeFacts:
    job = store.read(queries.job, "job")
    assert job is not None
    return job.runtime


def test_a_job_is_stopped_by_as_many_errors_in_a_row_as_it_may_have(store: Store) -> None:
    limited(store)
    fail(store)
    succeed(store, start(store, fire(store), CURRENT), now=NOW)
    fail(store)
    store.write(runs.skip, fire(store), reason="source_missing", message="gone", fault=True, now=NOW)
    assert runtime(store).stopped_at is None
    seen = store.read(syncs.observed).ticket
    fail(store)
    assert (runtime(store).stopped_at, runtime(store).stop_reason) == (NOW, "3 errors in a row")
    assert list(store.read(syncs.observed, since=seen).jobs) == ["job"], "whoever fires has to hear of it"
    assert [row.after for row in store.read(audit.read_audit, "job") if row.action == "stop"] == ["stopped"]


def test_what_is_nobodys_fault_and_a_limit_of_zero_stop_no_job(store: Store) -> None:
    limited(store, limit=1)
    store.write(runs.skip, fire(store), reason="overlap", message="", fault=False, now=NOW)
    store.write(runs.finish, start(store, fire(store), CURRENT), Ending(status=RunStatus.CANCELLED), now=NOW)
    store.write(
        runs.finish, fire(store), Ending(status=RunStatus.INTERRUPTED, reason="owner_died"), now=NOW
    )  # had not started
    store.write(
        runs.finish,
        start(store, fire(store), CURRENT),
        Ending(status=RunStatus.INTERRUPTED, reason="shutdown"),
        now=NOW,
    )
    limited(store, limit=0)
    fail(store)
    assert (runtime(store).stopped_at, runtime(store).consecutive_errors) == (None, 1)


def test_a_run_by_hand_and_a_run_of_an_older_text_or_definition_stop_no_job(store: Store) -> None:
    limited(store, limit=1)
    store.write(runs.finish, start(store, claim(store), CURRENT), Ending(status=RunStatus.FAILED), now=NOW)
    fail(store, Task(text=b"older\n", source_path="prompts/p.md", source=b"older\n"))
    old = start(store, fire(store), CURRENT)
    apply(store, desired("job", "other", name="mended"))
    limited(store, limit=1)
    store.write(runs.finish, old, Ending(status=RunStatus.FAILED), now=NOW)
    assert (runtime(store).stopped_at, runtime(store).consecutive_errors) == (None, 3)


def test_an_armed_job_counts_its_errors_from_there_and_keeps_its_counters(store: Store) -> None:
    limited(store, limit=2)
    fail(store)
    fail(store)
    row = AuditRow(job_id="job", action="resume", at=NOW, actor="a", cause="c")
    store.write(syncs.set_pause, "job", None, audit=row, arms=True)
    assert (runtime(store).stopped_at, runtime(store).stop_reason) == (None, None)
    assert (runtime(store).consecutive_errors, runtime(store).errors_at_arm, runtime(store).run_count) == (2, 2, 2)
    fail(store)
    assert runtime(store).stopped_at is None
    fail(store)
    assert runtime(store).stop_reason == "2 errors in a row"


def steps_of_a_run(store: Store) -> int:
    """How much work all that one slot asks of the database is for SQLite, in its own instructions."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    observed = store.read(syncs.observed)
    job = observed.jobs["job"]
    assert job.next_run_at is not None
    found = due(job, now=job.next_run_at, since=NOW)
    assert found is not None
    store._connection.set_progress_handler(count, 1)
    claimed = store.write(
        claims.claim_due, [found], seen=observed.ticket, owner="o", max_running=16, now=job.next_run_at
    )
    assert claimed is not None
    run = start(store, claimed.runs[0], CURRENT)
    store.read(claims.runs_beside, run)
    store.read(claims.queued)
    succeed(store, run, now=NOW)
    assert not store.read(syncs.observed, since=store.read(syncs.observed, job_id="job").ticket).jobs
    store._connection.set_progress_handler(None, 0)
    return steps


def lengthen_history(store: Store, *, start: int, stop: int) -> None:
    rows = [(n, f"2020-01-01T00:00:00.{n:06}Z") for n in range(start, stop)]
    with store._connection as sql:
        sql.executemany(
            'INSERT INTO runs (job_id, n, "trigger", status, fire_time, requested_at, finished_at, generation)'
            " VALUES ('job', ?1, 'schedule', 'succeeded', ?2, ?2, ?2, 1)",
            rows,
        )
        sql.execute("UPDATE jobs SET last_n = ? WHERE id = 'job'", (stop,))


def test_a_run_costs_the_database_no_more_after_a_long_history_or_beside_many_jobs(store: Store) -> None:
    lengthen_history(store, start=100, stop=200)
    steps_of_a_run(store)  # the first of all runs writes the text down
    short = steps_of_a_run(store)
    lengthen_history(store, start=1_000, stop=4_000)
    assert steps_of_a_run(store) < short + 100
    apply(store, desired("job", "other", *(f"j{n:03}" for n in range(300))))
    assert steps_of_a_run(store) < short + 100


def test_slots_on_either_side_of_a_stop_share_no_row(store: Store) -> None:
    """Those in between were not due: a row from the one to the other would cover them."""
    limited(store, limit=1)
    failing = start(store, fire(store), CURRENT)
    assert overlap(store) == 1
    assert overlap(store) == 2, "they follow on each other"
    cursor = store.read(syncs.observed).jobs["job"].next_run_at
    assert cursor is not None
    stopped_at = cursor - timedelta(minutes=1)
    store.write(runs.finish, failing, Ending(status=RunStatus.FAILED), now=stopped_at)
    row = AuditRow(
        job_id="job", action="resume", field="status", at=stopped_at + timedelta(seconds=1), actor="a", cause="c"
    )
    store.write(syncs.set_pause, "job", None, audit=row, arms=True)
    claim(store)
    assert overlap(store) == 1


def overlap(store: Store) -> int:
    """The next slot of `job` comes while it runs; returns how many slots its row covers."""
    observed = store.read(syncs.observed)
    cursor = observed.jobs["job"].next_run_at
    assert cursor is not None
    found = due(observed.jobs["job"], now=cursor, since=NOW)
    assert found is not None
    assert (
        store.write(claims.claim_due, [found], seen=observed.ticket, owner="o", max_running=16, now=cursor) == Claimed()
    )
    (row, *_) = store.read(queries.runs, "job", status=RunStatus.SKIPPED)
    return row.slots


def test_a_run_that_somebody_else_has_ended_is_not_started(store: Store) -> None:
    run = claim(store)
    store.write(runs.finish, run, Ending(status=RunStatus.INTERRUPTED, reason="owner_died"), now=NOW)
    with pytest.raises(RefusedError, match="another process ended"):
        start(store, run)
    job = store.read(queries.job, "job")
    assert job is not None
    assert (job.runtime.run_count, job.runtime.last_run_at) == (0, None)


def test_an_empty_file_is_never_taken_for_a_new_database(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch()
    with pytest.raises(UnavailableError, match="is empty"):
        Store.open(path)
    assert path.read_bytes() == b""


def test_a_journal_of_a_database_that_is_gone_is_never_replayed_into_a_new_one(path: Path) -> None:
    lost = Store.open(path)
    apply(lost, desired("old"))
    journal = path.with_name("state.db-wal").read_bytes()
    assert journal, "what a kill -9 leaves"
    lost.close()
    path.unlink()
    path.with_name("state.db-wal").write_bytes(journal)
    with Store.open(path) as new:
        assert new.read(queries.jobs) == []
        assert new._connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_job_and_audit_rows_can_never_be_deleted_nor_audit_rows_changed(store: Store, path: Path) -> None:
    other = sqlite3.connect(path)
    for statement in ("DELETE FROM jobs", "DELETE FROM audit", "UPDATE audit SET actor = 'nobody'"):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            other.execute(statement)
    other.close()
    tables = "".join(text for _, text in schema.migrations())
    assert "ON DELETE" not in tables.upper(), "nothing may cascade from a job to its runs"


def test_run_numbers_count_per_job_and_name_the_generation(store: Store) -> None:
    first = succeed(store, start(store, claim(store)), now=NOW)
    second = claim(store)
    assert (first.id, second.id, claim(store, "other").id) == ("job:1", "job:2", "other:1")
    assert second.generation == 1
    assert [run.n for run in store.read(queries.runs, "job")] == [2, 1]


def test_forbid_refuses_a_second_run_and_leaves_no_row(store: Store) -> None:
    claim(store)
    with pytest.raises(RefusedError, match="job:1"):
        claim(store)
    assert len(store.read(queries.runs, "job")) == 1
    assert (
        store.write(runs.finish, store.read(queries.runs, "job")[0], Ending(status=RunStatus.CANCELLED), now=NOW).status
        == "cancelled"
    )
    assert claim(store).n == 2


def test_a_full_house_refuses_a_run(store: Store) -> None:
    claim(store)
    with pytest.raises(RefusedError, match="max_running is 1"):
        claim(store, "other", max_running=1)


def test_the_end_of_a_run_writes_its_row_and_the_counters_and_nothing_else(store: Store) -> None:
    run = start(store, claim(store))
    row = AuditRow(job_id="job", action="pause", at=NOW, actor="a", cause="c")
    store.write(syncs.set_pause, "job", Pause(at=NOW, reason="held while it ran"), audit=row)
    apply(store, desired("job", "other", name="edited while it ran"))
    before = store.read(queries.job, "job")
    store.write(
        runs.finish, run, Ending(status=RunStatus.FAILED, exit_code=3, error="exit 3"), now=NOW + timedelta(seconds=2)
    )
    after = store.read(queries.job, "job")
    assert before is not None
    assert after is not None
    assert (after.file, after.pause, after.next_run_at, after.updated_at) == (
        before.file,
        before.pause,
        before.next_run_at,
        before.updated_at,
    )
    assert (after.runtime.run_count, after.runtime.consecutive_errors) == (1, 1)
    assert (after.runtime.last_run_status, after.runtime.last_run_duration_ms) == ("failed", 2000)


def test_a_success_clears_the_errors_and_a_cancel_counts_none(store: Store) -> None:
    for status, errors in (
        (RunStatus.FAILED, 1),
        (RunStatus.TIMED_OUT, 2),
        (RunStatus.CANCELLED, 2),
        (RunStatus.INTERRUPTED, 3),
        (RunStatus.SUCCEEDED, 0),
    ):
        store.write(runs.finish, start(store, claim(store)), Ending(status=status), now=NOW)
        job = store.read(queries.job, "job")
        assert job is not None
        assert job.runtime.consecutive_errors == errors


def test_a_fault_counts_as_an_error_and_no_skip_counts_as_a_run(store: Store) -> None:
    skipped = store.write(runs.skip, claim(store), reason="source_missing", message="gone", fault=True, now=NOW)
    job = store.read(queries.job, "job")
    assert job is not None
    assert (skipped.status, skipped.reason, skipped.attempts) == ("skipped", "source_missing", ())
    assert (job.runtime.run_count, job.runtime.last_run_at, job.runtime.consecutive_errors) == (0, None, 1)
    assert (job.runtime.last_skip_at, job.runtime.last_skip_reason) == (NOW, "source_missing")


def test_a_run_ends_once(store: Store) -> None:
    run = start(store, claim(store))
    store.write(runs.finish, run, Ending(status=RunStatus.INTERRUPTED, reason="owner_died"), now=NOW)
    late = succeed(store, run, now=NOW + timedelta(hours=1))
    job = store.read(queries.job, "job")
    assert job is not None
    assert (late.status, late.reason) == ("interrupted", "owner_died")
    assert job.runtime.consecutive_errors == 1


def test_each_text_is_kept_once_and_a_damaged_one_is_told(store: Store, path: Path) -> None:
    for job_id in ("job", "other"):
        succeed(store, start(store, claim(store, job_id)), now=NOW)
    raw = sqlite3.connect(path)
    assert raw.execute("SELECT count(*) FROM texts").fetchone() == (1,)
    assert store.read(queries.text_of, TASK.sha256, store.path) == TASK.text
    raw.execute("UPDATE texts SET bytes = x'00'")
    raw.commit()
    raw.close()
    with pytest.raises(UnavailableError, match="damaged"):
        store.read(queries.text_of, TASK.sha256, store.path)


def test_an_active_run_names_its_owner_and_its_process(store: Store) -> None:
    run = start(store, claim(store))
    store.write(runs.record_process, run, attempt=1, process=Process(pid=7, started=8, boot_id="b"))
    (active,) = store.read(runs.active)
    assert (active.run.id, active.owner, active.process) == ("job:1", "o", Process(pid=7, started=8, boot_id="b"))


def test_a_partial_pass_keeps_what_is_known_of_other_files(store: Store) -> None:
    def problem(path: str) -> Problem:
        return Problem(path=path, line=1, column=1, code="x", message="m")

    apply(store, desired("job", "other"), (problem("jobs/job.yaml"), problem("jobs/other.yaml")))
    observed = store.read(syncs.observed)
    found = Plan(settings=Settings(), problems=())
    store.write(syncs.apply, found, ticket=observed.ticket, audit=(), now=NOW, actor="a", only=["jobs/job.yaml"])
    assert [each.path for each in store.read(syncs.problems)] == ["jobs/other.yaml"]


# -- files that cannot be opened ---------------------------------------------------------------


def test_a_locked_database_is_an_error_that_says_so(store: Store, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UnavailableError, match="locked"):
        claim(store)
    other.execute("ROLLBACK")
    other.close()
    assert claim(store).n == 1


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"this is not a database\n" * 100)
    before = path.read_bytes()
    with pytest.raises(UnavailableError, match="not a SQLite database"):
        Store.open(path)
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE jobs (id)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(UnavailableError, match="another program"):
        Store.open(path)
    assert path.read_bytes() == before


def test_a_database_from_a_newer_version_is_refused(store: Store, path: Path) -> None:
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(UnavailableError, match="newer version"):
        Store.open(path)


def test_a_failed_migration_leaves_the_old_database_as_it_was(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = schema.migrations()
    bad = ("0002_bad", "ALTER TABLE jobs ADD COLUMN colour TEXT;\nINSERT INTO nowhere VALUES (1);\n")
    monkeypatch.setattr(schema, "migrations", lambda: [*known, bad])
    with pytest.raises(UnavailableError, match="it was not changed"):
        Store.open(path)
    monkeypatch.setattr(schema, "migrations", lambda: known)
    with Store.open(path) as again:
        assert [job.id for job in again.read(queries.jobs)] == ["job", "other"]
        columns = [row["name"] for row in again._connection.execute("PRAGMA table_info(jobs)")]
    assert "colour" not in columns


def test_a_later_migration_keeps_every_row(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    succeed(store, start(store, claim(store)), now=NOW)
    known = schema.migrations()
    more = ("9999_more", "ALTER TABLE jobs ADD COLUMN colour TEXT;\n")
    monkeypatch.setattr(schema, "migrations", lambda: [*known, more])
    with Store.open(path) as again:
        assert [run.id for run in again.read(queries.runs, "job")] == ["job:1"]
        assert again._connection.execute("PRAGMA user_version").fetchone()[0] == len(known) + 1


def test_processes_that_open_a_new_database_at_once_all_find_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    code = "from pathlib import Path; from scheduler.ledger import queries;"
    code += "from scheduler.ledger.store import Store;"
    code += f"print(Store.open(Path({str(path)!r})).read(queries.jobs))"
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    results = [child.communicate(timeout=60) for child in children]
    assert [out.strip() for out, _ in results] == ["[]"] * 4, results


def test_a_new_database_waits_for_another_process_that_turns_on_its_journal(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    schema.create_database(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # as within `PRAGMA journal_mode = WAL`
    monkeypatch.setattr(time, "sleep", lambda _: other.close())
    with Store.open(path) as opened:
        assert opened.read(queries.jobs) == []
    assert journals_by(path) == "wal"


def test_a_reader_that_stays_keeps_a_new_database_locked_for_no_longer_than_the_timeout(path: Path) -> None:
    path.parent.mkdir()
    schema.create_database(path)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM jobs").fetchone()
    with pytest.raises(LockedError, match="locked by another process"):
        Store.open(path, busy_timeout=timedelta(milliseconds=20))
    reader.close()
    Store.open(path).close()


def test_claims_from_many_threads_give_every_run_a_number_of_its_own(path: Path) -> None:
    ids = [f"job-{i}" for i in range(8)]
    with Store.open(path) as opened:
        apply(opened, desired(*ids))

    def work() -> None:
        with Store.open(path) as mine:
            for job_id in ids:
                try:
                    ended = Ending(status=RunStatus.SUCCEEDED)
                    mine.write(runs.finish, start(mine, claim(mine, job_id)), ended, now=NOW)
                except RefusedError:
                    refused.append(job_id)

    refused: list[str] = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Store.open(path) as opened:
        found = [run for job_id in ids for run in opened.read(queries.runs, job_id)]
        counted = sum(job.runtime.run_count for job in opened.read(queries.jobs))
    assert len(found) + len(refused) == 4 * len(ids)
    assert counted == len(found)
    assert all(
        sorted(run.n for run in found if run.job_id == j) == list(range(1, 1 + sum(r.job_id == j for r in found)))
        for j in ids
    )


@pytest.mark.parametrize("point", ["before_commit"])
def test_a_kill_before_the_commit_leaves_the_state_before(path: Path, store: Store, point: str) -> None:
    code = (
        "from pathlib import Path; from tests.shell.test_store import claim; from scheduler.ledger.store import Store;"
        f"claim(Store.open(Path({str(path)!r})))"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "SCHEDULER_CRASH_AT": point}, check=False, timeout=60
    )
    assert child.returncode == -9
    assert store.read(queries.runs, "job") == []
    assert claim(store).n == 1


def test_the_sha256_of_a_text_is_that_of_its_bytes() -> None:
    assert TASK.sha256 == hashlib.sha256(b"say hello\n").hexdigest()


# -- faults --------------------------------------------------------------------------------------


def test_many_threads_behind_a_lock_of_another_process_give_up_together(path: Path) -> None:
    """Each would else wait for its own ten seconds, after those of all before it."""
    wait = timedelta(seconds=1)
    with Store.open(path) as opened:
        apply(opened, desired("job"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    refused: list[str] = []

    def work() -> None:
        with Store.open(path, busy_timeout=wait) as mine:
            try:
                claim(mine)
            except UnavailableError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(8)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 6 * wait.total_seconds()
    other.execute("ROLLBACK")
    other.close()
    assert len(refused) == 8
    assert all("locked" in each for each in refused)


def test_damage_that_one_connection_meets_keeps_all_from_writing_until_the_file_is_sound(path: Path) -> None:
    with Store.open(path) as opened:
        apply(opened, desired("job"))
        opened._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sound = path.read_bytes()
    stores = Stores(path, usable=lambda: "")
    path.write_bytes(sound[:4096] + b"\x5a" * (len(sound) - 4096))
    with pytest.raises(DamagedError), stores.lend() as store:
        store.read(queries.jobs)
    assert "damaged" in stores.trouble()
    with pytest.raises(UnavailableError, match="damaged"), stores.lend():
        raise AssertionError("lent")
    path.write_bytes(sound)
    assert stores.trouble() == ""
    with stores.lend() as store:
        assert [job.id for job in store.read(queries.jobs)] == ["job"]
    stores.close()


def test_rows_that_hold_what_was_never_written_are_damage_and_no_traceback(store: Store, path: Path) -> None:
    raw = sqlite3.connect(path)
    raw.execute("UPDATE jobs SET sync_state = 'sznced'")
    raw.execute("UPDATE root SET settings = '{'")
    raw.commit()
    raw.close()
    for look in (queries.jobs, syncs.observed):
        with pytest.raises(DamagedError, match="contains invalid values"):
            store.read(look)


def test_a_journal_that_is_kept_long_holds_what_was_committed_to_it(store: Store, path: Path, tmp_path: Path) -> None:
    journal = path.with_name("state.db-wal")
    store.tend_journal()
    kept = journal.stat().st_size
    assert kept == store_module._KEPT_BYTES
    claimed = claim(store)
    store.tend_journal()
    later = claim(store, "other")
    assert journal.stat().st_size == kept, "no commit has made it longer"
    left = tmp_path / "left"  # as a kill -9 leaves it
    left.mkdir()
    for name in (path.name, journal.name):
        (left / name).write_bytes(path.with_name(name).read_bytes())
    with Store.open(left / path.name) as again:
        assert again.damage() == ""
        assert [*again.read(queries.runs, "job"), *again.read(queries.runs, "other")] == [claimed, later]


def test_nobody_makes_a_journal_longer_while_another_process_writes_to_it(store: Store, path: Path) -> None:
    journal = path.with_name("state.db-wal")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE jobs SET run_count = 7")
    before = journal.stat().st_size
    with pytest.raises(LockedError):
        store.tend_journal()
    assert journal.stat().st_size == before
    other.execute("COMMIT")
    other.close()
    store.tend_journal()
    assert journal.stat().st_size == store_module._KEPT_BYTES
    job = store.read(queries.job, "job")
    assert job is not None
    assert job.runtime.run_count == 7


def test_a_thread_that_writes_keeps_another_waiting_for_no_longer_than_that_one_is_ready_to(path: Path) -> None:
    writing, done = threading.Event(), threading.Event()

    def write() -> None:
        with Store.open(path) as opened, opened.writing():
            writing.set()
            assert done.wait(60)

    thread = threading.Thread(target=write)
    thread.start()
    assert writing.wait(60)
    soon = timedelta(milliseconds=5)
    with Store.open(path) as mine:
        with pytest.raises(LockedError), mine.writing(wait=soon):
            pass
        with pytest.raises(LockedError), mine.hurried(soon):
            mine.write(audit.append_audit, [])
        assert not done.is_set()
        done.set()
        thread.join(60)
        mine.write(audit.append_audit, [])


def test_a_long_journal_shrinks_again(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody reads it cannot start anew, and grows."""
    row = AuditRow(job_id="job", action="note", after="x" * 100_000, at=NOW, actor="a", cause="c")
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM jobs").fetchone()
    for _ in range(200):
        store.write(audit.append_audit, [row])
    journal = path.with_name("state.db-wal")
    grown = journal.stat().st_size
    assert grown > store_module._JOURNAL_BYTES
    reader.execute("ROLLBACK")
    reader.close()
    for _ in range(50):
        store.write(audit.append_audit, [row])
    assert journal.stat().st_size <= store_module._JOURNAL_BYTES


def test_who_gives_up_a_run_does_not_end_it_for_another_that_goes_on_with_it(store: Store) -> None:
    run = start(store, claim(store))
    given_up = store.write(runs.finish, run, Ending(status=RunStatus.INTERRUPTED), owner="another", now=NOW)
    assert (given_up.status, given_up.finished_at) == (RunStatus.RUNNING, None)
    assert store.write(runs.finish, run, Ending(status=RunStatus.INTERRUPTED), owner="o", now=NOW).finished_at == NOW


def test_a_run_that_nobody_has_tried_again_in_time_is_found(store: Store) -> None:
    run = start(store, claim(store))
    store.write(runs.end_try, run, Ending(status=RunStatus.FAILED, reason="exit_code"), retry_at=NOW, now=NOW)
    assert [each.id for each in store.read(claims.retries_due, NOW + timedelta(seconds=1))] == [run.id]
    assert store.read(claims.retries_due, NOW) == []


def test_a_daemon_that_begins_to_fire_was_there_until_then(store: Store) -> None:
    later, gone = NOW + timedelta(seconds=6), NOW + timedelta(hours=2)
    store.write(lives.beat, "1-a", now=NOW, silent="--observe")
    store.write(lives.beat, "1-a", now=later, silent="")
    store.write(lives.beat, "1-a", now=gone, silent="--observe")
    spans = [(life.began, life.seen) for life in store.read(lives.lives, gone)]
    assert spans == [(NOW, later), (later, later), (gone, gone)]


# -- who is told ---------------------------------------------------------------------------------


def test_what_was_told_of_a_run_goes_with_its_row_unless_it_waits_or_began_what_lasts(store: Store) -> None:
    apply(store, desired("job", "other", deliver=("owner",)))
    for status in (RunStatus.FAILED, RunStatus.SUCCEEDED):
        store.write(runs.finish, start(store, claim(store)), Ending(status=status), now=NOW)
    waits = store.read(outbox.waiting)
    assert [(each.event.kind.value, each.event.run_n) for each in waits] == [("failure", 1), ("recovery", 2)]
    sent = store.read(outbox.deliveries_of, store.read(queries.runs, "job"))
    assert [(run_id, each[0]["event"], each[0]["status"]) for run_id, each in sent.items()] == [
        ("job:1", "failure", "pending"),
        ("job:2", "recovery", "pending"),
    ]
    store.write(outbox.settle, waits[:1], status="delivered", now=NOW)
    store.write(gc.delete_runs, "job", [1, 2])
    assert [each.event.run_n for each in store.read(outbox.waiting)] == [2], "a message that waits is still sent"
    later = NOW + timedelta(hours=2)
    store.write(runs.finish, start(store, claim(store)), Ending(status=RunStatus.FAILED), now=later)
    waits = store.read(outbox.waiting)
    store.write(outbox.settle, waits, status="delivered", now=later)
    store.write(gc.delete_runs, "job", [3])
    store.write(runs.finish, start(store, claim(store)), Ending(status=RunStatus.SUCCEEDED), now=later)
    assert [each.event.kind.value for each in store.read(outbox.waiting)] == ["recovery"]


def test_an_event_is_told_once_and_a_channel_that_never_heard_of_the_failure_hears_of_no_recovery(store: Store) -> None:
    store.write(runs.finish, start(store, claim(store)), Ending(status=RunStatus.FAILED), now=NOW)
    apply(store, desired("job", "other", deliver=("owner",)))
    store.write(runs.finish, start(store, claim(store)), Ending(status=RunStatus.SUCCEEDED), now=NOW)
    assert store.read(outbox.waiting) == []
