"""Counters for monitors: each end and each skipped slot counts once, and nothing lowers them."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.values.facts import Provenance
from scheduler.core.values.runs import Ending, Run, RunStatus, Skip
from scheduler.core.values.usage import AgentResult, Cost, CostBasis, EndClass, ResultFormat, Tokens
from scheduler.ledger import batches, gc, queries, runs, skips, syncs, tallies
from scheduler.ledger.carried import Carried, carry, past_of
from scheduler.ledger.store import Store
from scheduler.ledger.tallies import RunTally, Tally
from tests.shell.test_store import NOW, TASK, apply, claim, desired, fire, start

HOUR = timedelta(hours=1)
AGENT = AgentResult(
    format=ResultFormat.CLAUDE,
    end_class=EndClass.OK,
    model_asked="small",
    model_served="large",
    cost=Cost(amount=Decimal("0.25"), currency="USD", basis=CostBasis.REPORTED),
    tokens=Tokens(input=100, output=20, reasoning=5),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "state.db") as found:
        apply(found, desired("job", "other"))
        yield found


def finish(store: Store, run: Run, status: RunStatus = RunStatus.SUCCEEDED, *, after: timedelta = HOUR) -> Run:
    return store.write(runs.finish, run, Ending(status=status), now=NOW + after)


def skipped(store: Store) -> dict[str, int]:
    return {each.label: each.count for each in store.read(tallies.skip_tallies)}


def ends(store: Store) -> dict[tuple[str, str], int]:
    return {(each.status, each.trigger): each.runs for each in store.read(tallies.run_tallies)}


def test_an_end_counts_once_with_its_duration_and_its_delay(store: Store) -> None:
    run = fire(store)
    assert run.fire_time is not None
    late: dict[str, Any] = {"task": TASK, "provenance": Provenance(), "now": run.fire_time + HOUR}
    run = store.write(runs.start_attempt, run, n=1, owner="o", generation=1, **late)
    assert run.started_at is not None
    for _ in range(2):  # the second one comes too late
        finish(store, run, after=run.started_at - NOW + HOUR)
    assert store.read(tallies.run_tallies) == [RunTally("job", "succeeded", "schedule", 1, 1, 3_600_000, 1, 3_600_000)]


def test_runs_that_end_together_count_as_each_alone_does(store: Store) -> None:
    batch = [start(store, claim(store, job_id)) for job_id in ("job", "other")]
    with store.writing() as sql:
        batches.finish_all(sql, [(run, Ending(status=RunStatus.SUCCEEDED), NOW + HOUR) for run in batch])
    assert [(each.job_id, each.runs, each.duration_ms, each.punctual) for each in store.read(tallies.run_tallies)] == [
        ("job", 1, 3_600_000, 0),
        ("other", 1, 3_600_000, 0),
    ]


def test_a_batch_that_is_done_again_one_by_one_counts_once(store: Store) -> None:
    gone, here = (start(store, claim(store, job_id)) for job_id in ("job", "other"))
    finish(store, gone, RunStatus.INTERRUPTED)  # by somebody else
    with store.writing() as sql:
        batches.finish_all(sql, [(run, Ending(status=RunStatus.SUCCEEDED), NOW) for run in (here, gone)])
    assert ends(store) == {("interrupted", "manual"): 1, ("succeeded", "manual"): 1}


def test_what_is_tried_again_has_not_ended_and_what_never_started_has_no_duration(store: Store) -> None:
    run = start(store, claim(store))
    store.write(runs.end_try, run, Ending(status=RunStatus.FAILED), retry_at=NOW, now=NOW)
    assert ends(store) == {}
    finish(store, run, RunStatus.CANCELLED)
    finish(store, claim(store, "other"), RunStatus.CANCELLED)
    assert [(each.runs, each.started) for each in store.read(tallies.run_tallies)] == [(1, 1), (1, 0)]


def test_each_skipped_slot_counts_once_whoever_skips_it(store: Store) -> None:
    store.write(runs.skip, fire(store), reason="source_missing", message="m", fault=True, now=NOW)
    for _ in range(3):  # three slots in one row
        store.write(skips.skip_alike, fire(store), reason="nothing_to_do", now=NOW)
    job = store.read(queries.job, "job")
    assert job is not None
    for first in (20, 24):  # two ranges in one row
        skip = Skip(first=NOW + first * HOUR, last=NOW + (first + 3) * HOUR, slots=4, reason="paused")
        store.write(skips.add_skip, "job", job.file, skip, NOW)
    assert skipped(store) == {"source_missing": 1, "nothing_to_do": 3, "paused": 8}
    assert ends(store) == {}


def test_an_agents_cost_and_tokens_count_under_the_model_that_answered(store: Store) -> None:
    for amount, currency, model in (("0.25", "USD", "large"), ("0.5", "USD", None), ("7", "EUR", "large")):
        cost = Cost(amount=Decimal(amount), currency=currency, basis=CostBasis.REPORTED)
        agent = replace(AGENT, cost=cost, model_served=model)
        run = start(store, claim(store))
        store.write(runs.finish, run, Ending(status=RunStatus.SUCCEEDED, agent=agent), now=NOW)
    assert store.read(tallies.cost_tallies) == [Tally("job", "large", 250_000_000), Tally("job", "small", 500_000_000)]
    assert store.read(tallies.token_tallies) == [Tally("job", "input", 300), Tally("job", "output", 60)]


def test_rows_that_are_deleted_stay_counted(store: Store) -> None:
    for _ in range(3):
        finish(store, start(store, claim(store)))
    store.write(skips.skip_alike, fire(store), reason="nothing_to_do", now=NOW)
    before = ends(store), skipped(store)
    store.write(gc.delete_runs, "job", [1, 2, 3, 4])
    assert store.read(queries.runs, "job") == []
    assert (ends(store), skipped(store)) == before == ({("succeeded", "manual"): 3}, {"nothing_to_do": 1})


def test_a_history_that_is_brought_along_was_counted_elsewhere(store: Store, tmp_path: Path) -> None:
    finish(store, start(store, claim(store)))
    store.write(skips.skip_alike, fire(store), reason="nothing_to_do", now=NOW)  # the newest row
    past = store.read(past_of, "job")
    with Store.open(tmp_path / "there.db") as there:
        there.write(carry, {"job": Carried(past=past, source="s", actor="a")}, now=NOW)
        apply(there, desired("job"))
        assert len(there.read(queries.runs, "job")) == 2
        assert (ends(there), skipped(there)) == ({}, {})


def test_an_end_that_is_not_committed_is_not_counted(store: Store) -> None:
    run = start(store, claim(store))
    with contextlib.suppress(ZeroDivisionError), store.writing() as sql:
        runs.finish(sql, run, Ending(status=RunStatus.SUCCEEDED), now=NOW)
        raise ZeroDivisionError
    assert ends(store) == {}


def test_passes_count_by_their_result(store: Store) -> None:
    apply(store, desired("job", "other"))
    store.write(syncs.record_problems, [])
    assert {each.label: each.count for each in store.read(tallies.sync_tallies)} == {
        "changed": 1,
        "unchanged": 1,
        "failed": 1,
    }


@pytest.mark.parametrize("seed", range(5))
def test_counters_are_what_one_counts_row_by_row(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        run = fire(store) if chance.random() < 0.6 else claim(store)
        match chance.randrange(4):
            case 0:
                store.write(runs.skip, run, reason=chance.choice("ab"), message="m", fault=False, now=NOW)
            case 1 if run.fire_time is not None:
                store.write(skips.skip_alike, run, reason=chance.choice("ab"), now=NOW)
            case _:
                status = chance.choice([RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.TIMED_OUT])
                finish(store, start(store, run), status, after=timedelta(seconds=chance.randrange(100)))
    expected_ends, expected_skips = Counter[tuple[str, str]](), Counter[str]()
    took = 0
    for row in store.read(queries.runs, "job"):
        if row.status is RunStatus.SKIPPED:
            expected_skips[row.reason or ""] += row.slots
        else:
            expected_ends[row.status, row.trigger] += 1
            took += row.duration_ms or 0
    assert (ends(store), skipped(store)) == (expected_ends, expected_skips)
    assert sum(each.duration_ms for each in store.read(tallies.run_tallies)) == took
