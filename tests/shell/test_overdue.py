"""What is kept of overdue jobs: a later look finds what a whole one would, and reads only what has changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.ledger import evidence, queries
from scheduler.ledger.store import Store
from scheduler.service.kept import Kept
from scheduler.service.pause import pause_job
from scheduler.service.root import Root
from scheduler.service.sync import sync
from tests.fakes import FakeClock
from tests.shell.test_growth import steps
from tests.web.bare import service_root


def synced(folder: Path, jobs: int) -> Root:
    (folder / "jobs").mkdir(parents=True)
    (folder / "scheduler.yaml").write_text("version: 1\nrunners: {cat: {command: [cat]}}\ndefaults: {runner: cat}\n")
    for n in range(jobs):
        (folder / f"jobs/j{n}.yaml").write_text(f"id: j{n}\nschedule: {{every: {n + 1}h}}\ntask: x\n")
    root = replace(service_root(folder), clock=FakeClock())
    sync(root)
    return root


def ids(found: object) -> list[str]:
    return [job.id for job, _ in found]  # type: ignore[attr-defined]


def test_a_later_look_costs_what_has_changed_and_not_the_number_of_jobs(tmp_path: Path) -> None:
    def taken(jobs: int) -> tuple[int, int]:
        """By the first look and by one a minute later."""
        root, kept = synced(tmp_path / str(jobs), jobs), Kept()
        with Store.open(root.place.db) as store:
            first = steps(store._connection, lambda _: kept.overdue(store, root.clock.now()))
            root.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]
            return first, steps(store._connection, lambda _: kept.overdue(store, root.clock.now()))

    few, many = taken(20), taken(200)
    assert many[0] > 3 * few[0]
    assert many[1] <= few[1] + 2


def test_it_finds_what_a_whole_look_finds(tmp_path: Path) -> None:
    root, kept = synced(tmp_path / "root", 5), Kept()

    def same() -> list[str]:
        with Store.open(root.place.db) as store:
            now = root.clock.now()
            whole = store.read(evidence.alarms, now, store.read(queries.summaries))
            assert ids(kept.overdue(store, now)) == ids(whole)
            return ids(whole)

    assert same() == []
    root.clock.advance(timedelta(hours=2, minutes=5))  # type: ignore[attr-defined]
    assert {"j0", "j1"} <= set(same())
    pause_job(root, "j1")
    assert "j1" not in same()
    (root.place.root / "jobs/j0.yaml").unlink()
    sync(root)
    assert "j0" not in same()
    root.clock.advance(timedelta(hours=6))  # type: ignore[attr-defined]
    assert same() == ["j2", "j3", "j4"]


def test_a_database_that_was_put_back_is_looked_at_anew(tmp_path: Path) -> None:
    root, kept = synced(tmp_path / "root", 2), Kept()
    root.clock.advance(timedelta(hours=1, minutes=5))  # type: ignore[attr-defined]
    with Store.open(root.place.db) as store:
        assert ids(kept.overdue(store, root.clock.now())) == ["j0"]
        store._connection.execute("VACUUM INTO ?", (str(tmp_path / "other.db"),))
    (tmp_path / "other.db").replace(root.place.db)
    for name in ("-wal", "-shm"):
        root.place.db.with_name(root.place.db.name + name).unlink(missing_ok=True)
    with Store.open(root.place.db) as store:
        store._connection.execute("UPDATE jobs SET activated_at = '2020-01-01T00:00:00.000000Z'")
        assert ids(kept.overdue(store, root.clock.now())) == ["j0", "j1"]


@pytest.mark.parametrize("count", [1, 250])
def test_the_newest_failures_and_skips_of_many_jobs_are_one_question(tmp_path: Path, count: int) -> None:
    root = synced(tmp_path / "root", 3)
    with Store.open(root.place.db) as store, store.writing() as sql:
        for n in range(1, count + 1):
            at = f"2026-01-01T00:00:00.{n:06}Z"
            for job, status, reason in (("j0", "failed", "exit_code"), ("j1", "skipped", "over_budget")):
                sql.execute(
                    'INSERT INTO runs (job_id, n, "trigger", status, reason, fire_time, requested_at, finished_at,'
                    " generation) VALUES (?, ?, 'schedule', ?, ?, ?, ?, ?, 1)",
                    (job, n, status, reason, at, at, at),
                )
    with Store.open(root.place.db) as store:
        found = store.read(queries.newest_failures, ["j0", "j1", "j2"])
        assert {job_id: run.n for job_id, run in found.items()} == {"j0": count}
        assert store.read(queries.newest_skip_is, "over_budget") == ["j1"]
        assert store.read(queries.newest_skip_is, "void") == []
