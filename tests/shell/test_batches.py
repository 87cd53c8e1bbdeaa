"""What many runs share in one transaction leaves the same rows as what each of them writes alone."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.due.due import Due, due
from scheduler.core.values.facts import Provenance, RunnerFile, Task
from scheduler.core.values.runs import Ending, Run, RunStatus
from scheduler.ledger import batches, claims, queries, runs, syncs
from scheduler.ledger.batches import Pinned
from scheduler.ledger.cursor import StaleError
from scheduler.ledger.store import Store
from scheduler.machine.processes import Process
from scheduler.root.place import Place
from scheduler.service.root import Root
from scheduler.service.sync import sync
from tests.fakes import FakeClock

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
JOBS = [f"j{n}" for n in range(6)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "scheduler.yaml").write_text("version: 1\nrunners: {cat: {command: [cat]}}\n")
    for job_id in JOBS:
        allow = "concurrency: allow\n" if job_id == "j1" else ""
        text = f"id: {job_id}\nschedule: {{every: 1h}}\nfailure_limit: 3\n{allow}task: hi\nrunner: cat\n"
        (tmp_path / f"jobs/{job_id}.yaml").write_text(text)
    place = Place(root=tmp_path, state=tmp_path / ".scheduler", db=tmp_path / ".scheduler/state.db")
    sync(Root(place=place, actor="user:test", environ=dict(os.environ), clock=FakeClock(NOON)))
    with Store.open(place.db) as found:
        yield found


def owed(store: Store, now: datetime, *job_ids: str) -> list[Due]:
    jobs = store.read(syncs.observed).jobs
    found = [due(jobs[job_id], now=now, since=NOON) for job_id in job_ids]
    return [each for each in found if each is not None]


def pinned(text: bytes = b"hi") -> Pinned:
    files = (RunnerFile(path="x.sh", sha256="aa", blob="bb", dirty="modified", executable=True),)
    return Pinned(
        generation=1,
        task=Task(text=text, source_path="jobs/a.yaml", source=b"whole file"),
        provenance=Provenance(revision="c0ffee", blob="b10b", dirty="modified"),
        runner_files=files,
    )


def begin(store: Store, dues: list[Due], *, places: int = 9, now: datetime) -> list[Run | None]:
    with store.writing() as sql:
        each = [(one, pinned()) for one in dues]
        return batches.begin_due(sql, each, owner="1-a", places=places, now=now)


def content(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    with store.reading() as sql:
        return {
            table: [tuple(row) for row in sql.execute(f"SELECT * FROM {table}")]
            for table in ("jobs", "runs", "attempts", "texts", "audit")
        }


def undo(store: Store, change: Any) -> Any:
    """What a change leaves, and the database as it was."""
    found = None
    with contextlib.suppress(ZeroDivisionError), store.writing() as sql:
        change(sql)
        tables = ("jobs", "runs", "attempts", "texts", "audit")
        found = {table: [tuple(row) for row in sql.execute(f"SELECT * FROM {table}")] for table in tables}
        raise ZeroDivisionError
    return found


def test_claimed_and_begun_at_once_the_rows_are_those_of_a_claim_and_an_attempt(store: Store) -> None:
    now = NOON + HOUR
    dues = owed(store, now, *JOBS)

    def one_by_one(sql: Any) -> None:
        claim = claims.claim_due(sql, dues, seen=99, owner="1-a", max_running=9, now=now)
        for run in claim.runs:
            given = pinned()
            runs.start_attempt(
                sql,
                run,
                n=1,
                owner="1-a",
                generation=1,
                task=given.task,
                provenance=given.provenance,
                runner_files=given.runner_files,
                now=now,
            )

    alone = undo(store, one_by_one)
    begun = begin(store, dues, now=now)
    assert content(store) == alone
    for run in begun:
        assert run is not None
        assert store.read(runs.find_run, run.job_id, run.n) == run, "what is told is what was written"


def test_a_job_with_a_run_under_way_and_one_beyond_the_places_are_left_to_a_claim(store: Store) -> None:
    begin(store, owed(store, NOON + HOUR, "j0", "j1"), now=NOON + HOUR)
    later = NOON + 2 * HOUR
    found = begin(store, owed(store, later, "j0", "j1", "j2", "j3"), places=2, now=later)
    assert [run and run.id for run in found] == [None, "j1:2", "j2:1", None]
    assert [run.id for run in store.read(queries.runs, "j0")] == ["j0:1"]


def test_a_cursor_that_somebody_else_has_moved_undoes_the_whole_chunk(store: Store) -> None:
    now = NOON + HOUR
    dues = owed(store, now, "j0", "j1", "j2")
    begin(store, owed(store, now, "j2"), now=now)
    before = content(store)
    with pytest.raises(StaleError):
        begin(store, dues, now=now)
    assert content(store) == before


def test_a_damaged_text_is_repaired_by_the_next_run_that_has_it(store: Store) -> None:
    begin(store, owed(store, NOON + HOUR, "j0"), now=NOON + HOUR)
    with store.writing() as sql:
        sql.execute("UPDATE texts SET bytes = x'00'")
    begin(store, owed(store, NOON + HOUR, "j1"), now=NOON + HOUR)
    assert content(store)["texts"] == [(pinned().task.sha256, b"hi")]


ENDINGS = [
    Ending(status=RunStatus.SUCCEEDED, exit_code=0, result="fine\n", output_bytes=5),
    Ending(status=RunStatus.SUCCEEDED, exit_code=0, error="still running: 7 (sleep)", result="", output_bytes=0),
    Ending(status=RunStatus.FAILED, reason="exit_code", exit_code=3, error="exit code 3", result="", output_bytes=9),
    Ending(status=RunStatus.TIMED_OUT, reason="timeout", error="not finished", result="x", truncated=True),
    Ending(status=RunStatus.CANCELLED, reason="cancelled", error="cancelled; ended by SIGTERM"),
    Ending(status=RunStatus.INTERRUPTED, reason="shutdown", error="interrupted"),
]


@pytest.mark.parametrize("seed", range(12))
def test_ended_together_the_rows_and_counters_are_those_of_ends_one_by_one(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    now = NOON
    for _ in range(6):
        now += HOUR
        begun = [run for run in begin(store, owed(store, now, *JOBS), now=now) if run is not None]
        endings = [chance.choice(ENDINGS[: chance.choice([1, 2, 6])]) for _ in begun]
        late = [now + timedelta(milliseconds=chance.randrange(10_000)) for _ in begun]
        ended = list(zip(begun, endings, late, strict=True))
        chance.shuffle(ended)

        def one_by_one(sql: Any, ended: Any = ended) -> None:
            for run, ending, at in ended:
                runs.finish(sql, run, ending, now=at)

        alone = undo(store, one_by_one)
        with store.writing() as sql:
            told = batches.finish_all(sql, ended)
        found = content(store)
        # The order of audit rows is that of the jobs that fail and recover, whichever is written first.
        assert {**found, "audit": sorted(row[1:] for row in found["audit"])} == {
            **alone,
            "audit": sorted(row[1:] for row in alone["audit"]),
        }
        for run in told:
            assert store.read(runs.find_run, run.job_id, run.n) == run


def test_two_ends_of_one_job_count_in_their_order(store: Store) -> None:
    for hours in (1, 2):
        begin(store, owed(store, NOON + hours * HOUR, "j1"), now=NOON + hours * HOUR)
    first, second = (store.read(runs.find_run, "j1", n) for n in (1, 2))
    assert first is not None
    assert second is not None
    with store.writing() as sql:
        batches.finish_all(sql, [(second, ENDINGS[2], NOON + 3 * HOUR), (first, ENDINGS[0], NOON + 3 * HOUR)])
    job = store.read(queries.job, "j1")
    assert job is not None
    assert (job.runtime.consecutive_errors, job.runtime.last_run_status) == (0, "succeeded")


def test_an_end_that_somebody_else_has_written_stays_and_the_others_are_written(store: Store) -> None:
    begun = begin(store, owed(store, NOON + HOUR, *JOBS), now=NOON + HOUR)
    known = [run for run in begun if run is not None]
    store.write(runs.finish, known[2], ENDINGS[5], now=NOON + HOUR)
    with store.writing() as sql:
        told = batches.finish_all(sql, [(run, ENDINGS[0], NOON + 2 * HOUR) for run in known])
    assert [run.status.value for run in told] == ["succeeded"] * 2 + ["interrupted"] + ["succeeded"] * 3
    assert [run.id for run in told] == [run.id for run in known]


def test_marks_and_pids_are_those_of_single_rows(store: Store) -> None:
    begun = [run for run in begin(store, owed(store, NOON + HOUR, "j0", "j1"), now=NOON + HOUR) if run is not None]
    with store.writing() as sql:
        batches.mark_all_spawning(sql, begun[:1])
        batches.record_processes(sql, [(begun[0], Process(pid=7, started=8, boot_id="boot"))])
    found = {each.run.id: each for each in store.read(runs.active)}
    assert found["j0:1"].marked
    assert found["j0:1"].process == Process(pid=7, started=8, boot_id="boot")
    assert not found["j1:1"].marked
    assert found["j1:1"].process is None


def test_a_run_that_began_with_a_text_of_no_repository_says_so(store: Store) -> None:
    (one,) = owed(store, NOON + HOUR, "j0")
    bare = replace(pinned(), provenance=Provenance(why_none="not in a repository"), runner_files=())
    with store.writing() as sql:
        (run,) = batches.begin_due(sql, [(one, bare)], owner="1-a", places=1, now=NOON + HOUR)
    assert run is not None
    found = store.read(runs.find_run, "j0", 1)
    assert found == run
    assert found is not None
    assert found.provenance.why_none == "not in a repository"
