"""Each kind of write to the database, under each fault: an error that names it, nothing half written, on it goes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.due.due import due
from scheduler.core.values.facts import Pause, Task
from scheduler.core.values.problems import Problem, UnavailableError
from scheduler.core.values.runs import AuditRow, Ending, Run, RunStatus
from scheduler.ledger import audit, claims, queries, runs, syncs
from scheduler.ledger.received import remember_hook
from scheduler.ledger.store import Store
from scheduler.machine.processes import Process
from tests.faults.disks import Disk, failing_writes
from tests.shell.test_store import NOW, TASK, apply, claim, desired, start

LONG_TEXT = Task(text=b"x" * 100_000, source_path="prompts/p.md", source=b"x" * 100_000)


@dataclass(frozen=True)
class Known:
    """What there is to write about: a claimed run, one that runs, and one that waits."""

    claimed: Run
    running: Run


def prepared(store: Store) -> Known:
    apply(store, desired("job", "other", "third"))
    return Known(claimed=claim(store, "job"), running=start(store, claim(store, "other")))


def row(action: str = "note") -> AuditRow:
    return AuditRow(job_id="job", action=action, at=NOW, actor="a", cause="c")


def claim_due(store: Store) -> object:
    observed = store.read(syncs.observed)
    dues = []
    for job in observed.jobs.values():
        assert job.next_run_at is not None
        found = due(job, now=job.next_run_at, since=NOW)
        assert found is not None
        dues.append(found)
    return store.write(claims.claim_due, dues, seen=observed.ticket, owner="o", max_running=16, now=NOW)


def problem() -> Problem:
    return Problem(path="jobs/job.yaml", line=1, column=1, code="x", message="m")


WRITES: dict[str, Callable[[Store, Known], Any]] = {
    "sync": lambda store, _: apply(store, desired("job", "other", "new", name="another name")),
    "sync with nothing to do": lambda store, _: apply(store, desired("job", "other", "third")),
    "problems": lambda store, _: store.write(syncs.record_problems, [problem()]),
    "claim": lambda store, _: claim_due(store),
    "manual claim": lambda store, _: claim(store, "third"),
    "start": lambda store, known: start(store, known.claimed, LONG_TEXT),
    "process": lambda store, known: store.write(
        runs.record_process, known.running, attempt=1, process=Process(pid=7, started=8, boot_id="b")
    ),
    "end": lambda store, known: store.write(
        runs.finish, known.running, Ending(status=RunStatus.FAILED, result="r" * 65_536), now=NOW
    ),
    "skip": lambda store, known: store.write(
        runs.skip, known.claimed, reason="source_missing", message="m", fault=True, now=NOW
    ),
    "pause": lambda store, _: store.write(syncs.set_pause, "job", Pause(at=NOW), audit=row()),
    "audit": lambda store, _: store.write(audit.append_audit, [row()]),
    "webhook": lambda store, _: store.write(remember_hook, ["key"], now=NOW, kept_for=timedelta(days=30), most=10_000),
}
every_write = pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))


def contents(path: Path) -> list[str]:
    """All that others see in the database."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return list(connection.iterdump())
    finally:
        connection.close()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[Store, Known]]:
    with Store.open(path, busy_timeout=timedelta(milliseconds=50)) as store:
        known = prepared(store)
        # Its room in the journal would be used again: what is written now needs new space.
        store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        yield store, known


def refusal(work: Callable[[], object]) -> str:
    """What keeps it from being done; empty where it is done."""
    try:
        work()
    except UnavailableError as error:
        return str(error)
    return ""


def await_mended(store: Store, known: Known, write: Callable[[Store, Known], Any], before: list[str]) -> None:
    """The same connection, which has met the fault, writes now."""
    assert contents(store.path) == before, "something of a write that failed is there"
    write(store, known)
    assert contents(store.path) != before


@every_write
def test_a_write_to_a_full_disk_leaves_nothing_and_is_done_once_there_is_room(
    disk: Disk, write: Callable[[Store, Known], Any]
) -> None:
    with opened(disk.folder / "state/state.db") as (store, known):
        before = contents(store.path)
        for pages in (0, 1, 2, 3, 5, 8, 13):
            disk.fill(leave=4096 * pages)
            refused = refusal(lambda: write(store, known))
            disk.free()
            if not refused:
                assert pages, "there was room on a full disk"
                assert contents(store.path) != before
                return
            assert "full" in refused or "disk I/O" in refused
        await_mended(store, known, write, before)


@every_write
def test_a_write_to_a_disk_that_fails_leaves_nothing_and_is_done_once_it_is_well(
    tmp_path: Path, write: Callable[[Store, Known], Any]
) -> None:
    with opened(tmp_path / "state.db") as (store, known):
        before = contents(store.path)
        with failing_writes(os.getpid()), pytest.raises(UnavailableError, match="disk I/O error"):
            write(store, known)
        await_mended(store, known, write, before)


@every_write
def test_a_write_to_a_read_only_file_system_leaves_nothing_and_is_done_once_it_can_be(
    disk: Disk, write: Callable[[Store, Known], Any]
) -> None:
    path = disk.folder / "state/state.db"
    with opened(path) as (store, known):
        before = contents(path)
        with disk.read_only(), Store.open(path) as new, pytest.raises(UnavailableError, match="read-only"):
            write(new, known)
        await_mended(store, known, write, before)


@every_write
def test_a_write_to_a_locked_database_leaves_nothing_and_is_done_once_it_is_free(
    tmp_path: Path, write: Callable[[Store, Known], Any]
) -> None:
    with opened(tmp_path / "state.db") as (store, known):
        before = contents(store.path)
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="locked by another process"):
            write(store, known)
        other.execute("ROLLBACK")
        other.close()
        await_mended(store, known, write, before)


@every_write
def test_a_commit_that_fails_leaves_nothing_and_is_made_once_the_disk_is_well(
    tmp_path: Path, write: Callable[[Store, Known], Any], monkeypatch: Any
) -> None:
    """All of it is written, and the disk fails at the last moment."""
    with opened(tmp_path / "state.db") as (store, known):
        before = contents(store.path)
        with contextlib.ExitStack() as failing:
            monkeypatch.setattr(
                "scheduler.ledger.store.crash_point",
                lambda name: failing.enter_context(failing_writes(os.getpid())) if name == "before_commit" else None,
            )
            with pytest.raises(UnavailableError, match="disk I/O error"):
                write(store, known)
            monkeypatch.undo()
        assert not store._connection.in_transaction
        await_mended(store, known, write, before)


def test_a_commit_that_breaks_a_deferred_rule_leaves_no_transaction_open(tmp_path: Path) -> None:
    with opened(tmp_path / "state.db") as (store, known):
        before = contents(store.path)
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"), store.writing() as sql:
            sql.execute("INSERT INTO definitions VALUES ('nobody', 1, '', '{}', '')")
        await_mended(store, known, WRITES["audit"], before)


def test_a_new_database_on_a_disk_with_little_room_is_whole_or_not_there(disk: Disk) -> None:
    path = disk.folder / "state/state.db"
    made = []
    for pages in (0, 1, 2, 4, 8, 16, 24, 32, 48):
        disk.fill(leave=4096 * pages)
        refused = refusal(lambda: Store.open(path).close())
        disk.free()
        if refused:
            assert "full" in refused or "No space" in refused or "disk I/O" in refused
        else:
            made.append(pages)
        if path.exists():
            contents(path)
    assert made
    assert made[0] > 0
    with Store.open(path) as store:
        apply(store, desired("job"))


@every_write
def test_a_database_opened_to_read_is_never_written(disk: Disk, write: Callable[[Store, Known], Any]) -> None:
    """It may be a copy: what is written there would be said to be done, and be gone."""
    path = disk.folder / "state/state.db"
    with opened(path) as (store, known):
        write(store, known)
        for name in ("state.db", "state.db-wal"):
            copy = disk.folder / "copy" / name
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.with_name(name).read_bytes())
    with disk.read_only(), Store.open_to_read(disk.folder / "copy/state.db") as copied:
        assert copied.read_only
        assert len(copied.read(queries.jobs)) >= 3
        with pytest.raises(UnavailableError, match="cannot open"):
            copied.write(audit.append_audit, [row()])


def test_a_damaged_text_comes_back_with_the_next_run_that_is_given_it(tmp_path: Path) -> None:
    with Store.open(tmp_path / "state.db") as store:
        known = prepared(store)
        raw = sqlite3.connect(store.path)
        raw.execute("UPDATE texts SET bytes = substr(bytes, 1, 3)")
        raw.commit()
        raw.close()
        assert store.read(queries.damaged_texts) == [TASK.sha256]
        assert store.read(queries.runs_of_text, TASK.sha256) == ["other:1"]
        with pytest.raises(UnavailableError, match="damaged"):
            store.read(queries.text_of, TASK.sha256, store.path)
        start(store, replace(known.claimed))
        assert store.read(queries.text_of, TASK.sha256, store.path) == TASK.text
        assert store.read(queries.damaged_texts) == []
