"""Budgets in the database: what a claim reserves, what an end counts, and who is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.due.due import Due, due
from scheduler.core.values.budget import Reservation
from scheduler.core.values.facts import Provenance, Task
from scheduler.core.values.problems import RefusedError
from scheduler.core.values.runs import Ending, Run, RunStatus, Trigger
from scheduler.core.values.usage import AgentResult, Cost, CostBasis, EndClass, ResultFormat
from scheduler.ledger import batches, budgets, claims, gc, queries, runs, syncs
from scheduler.ledger.batches import Pinned
from scheduler.ledger.budgets import Funds
from scheduler.ledger.schema import migrations
from scheduler.ledger.store import Store
from scheduler.root.place import Place
from scheduler.service.root import Root
from scheduler.service.sync import sync
from tests.fakes import FakeClock

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TEXT = Task(text=b"hi", source_path="jobs/a.yaml", source=b"whole file")
PINNED = Pinned(generation=1, task=TEXT, provenance=Provenance())
Made = Callable[..., Store]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    """Makes a root of these jobs: by id, what their files say besides the rest."""
    opened: list[Store] = []
    place = Place(root=tmp_path, state=tmp_path / ".scheduler", db=tmp_path / ".scheduler/state.db")
    root = Root(place=place, actor="user:test", environ=dict(os.environ), clock=FakeClock(NOON))
    (tmp_path / "jobs").mkdir()

    def make(root_text: str = "", **jobs: str) -> Store:
        common = "defaults: {concurrency: allow, catch_up: none, runner: cat}\nrunners: {cat: {command: [cat]}}\n"
        (tmp_path / "scheduler.yaml").write_text(f"version: 1\n{common}{root_text}")
        for job_id, text in jobs.items():
            head = f"id: {job_id}\nschedule: {{every: 1h}}\ntask: hi\n"
            (tmp_path / f"jobs/{job_id}.yaml").write_text(head + text)
        assert not [problem for problem in sync(root).problems if problem.is_error]
        opened.append(Store.open(place.db))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def owed(store: Store, now: datetime, *job_ids: str) -> list[Due]:
    jobs = store.read(syncs.observed).jobs
    return [found for each in job_ids or jobs if (found := due(jobs[each], now=now, since=NOON)) is not None]


def claim(store: Store, now: datetime, *job_ids: str) -> list[Run]:
    """The runs of all slots that are due, as `claim_due` claims them."""
    ticket = store.read(syncs.observed).ticket
    dues = owed(store, now, *job_ids)
    return list(store.write(claims.claim_due, dues, seen=ticket, owner="1-a", max_running=99, now=now).runs)


def begin(store: Store, now: datetime, *job_ids: str) -> list[Run | None]:
    """The same on the fast path."""
    dues = [(each, PINNED) for each in owed(store, now, *job_ids)]
    return store.write(batches.begin_due, dues, owner="1-a", places=99, now=now)


def start(store: Store, run: Run, now: datetime) -> Run:
    given: dict[str, Any] = {"n": 1, "owner": "1-a", "generation": run.generation, "task": TEXT}
    return store.write(runs.start_attempt, run, **given, provenance=Provenance(), now=now)


def ended(amount: str | None, currency: str = "USD", status: RunStatus = RunStatus.SUCCEEDED) -> Ending:
    if amount is None:
        return Ending(status=status, exit_code=0, output_bytes=1)
    cost = Cost(amount=Decimal(amount), currency=currency, basis=CostBasis.REPORTED)
    agent = AgentResult(format=ResultFormat.CLAUDE, end_class=EndClass.OK, cost=cost)
    return Ending(status=status, exit_code=0, output_bytes=1, agent=agent)


def spend(store: Store, job_id: str, amount: str | None, now: datetime, currency: str = "USD") -> None:
    """A run by hand that costs so much; None: unknown."""
    run = by_hand(store, job_id, now)
    store.write(runs.finish, start(store, run, now), ended(amount, currency), now=now)


def by_hand(store: Store, job_id: str, now: datetime) -> Run:
    given: dict[str, Any] = {"trigger": Trigger.MANUAL, "requested_by": "user:x", "owner": "1-a", "max_running": 99}
    (run,) = store.write(claims.claim_manual, job_id, **given, now=now).runs
    return run


def rows(store: Store, job_id: str) -> list[Run]:
    return list(reversed(store.read(queries.runs, job_id, limit=99)))


def figures(store: Store, now: datetime, job_id: str) -> tuple[str, str, str]:
    with store.reading() as sql:
        day, month, reserved = Funds(sql, now).of_job(job_id)
    return f"{day:.2f}", f"{month:.2f}", f"{reserved:.2f}"


CAPPED = "budget: {per_run: 1, per_day: 3}"


@pytest.mark.parametrize("claimed", [claim, begin])
def test_a_slot_that_the_budget_does_not_cover_is_not_claimed(made: Made, claimed: Callable[..., list[Any]]) -> None:
    store = made(a=CAPPED, free="")
    spend(store, "a", "2.25", NOON)
    found = [run for run in claimed(store, NOON + HOUR) if run is not None]
    assert [run.job_id for run in found] == ["free"], "2.25 spent and 1 more would exceed 3"
    assert found[0].reserved is None


@pytest.mark.parametrize("claimed", [claim, begin])
def test_a_claim_reserves_what_its_run_may_spend(made: Made, claimed: Callable[..., list[Any]]) -> None:
    store = made(a=CAPPED)
    (run,) = claimed(store, NOON + HOUR)
    assert run.reserved == Reservation(amount=Decimal(1), currency="USD")
    assert store.read(runs.find_run, "a", run.n) == run or claimed is claim
    assert figures(store, NOON + HOUR, "a") == ("0.00", "0.00", "1.00")
    for hour in (2, 3):
        assert len(claimed(store, NOON + hour * HOUR)) == 1
    assert not list(filter(None, claimed(store, NOON + 4 * HOUR))), "three runs under way reserve it all"


def test_two_claims_at_once_never_pass_the_limit_together(made: Made) -> None:
    """All slots of one instant are claimed in one transaction: each counts what those before it have reserved."""
    store = made("budget: {per_day: 2}\n", **{f"j{n}": "budget: {per_run: 0.75}" for n in range(5)})
    begun = begin(store, NOON + HOUR)
    assert [run is not None for run in begun] == [True, True, False, False, False]
    assert claim(store, NOON + HOUR, "j2", "j3", "j4") == []
    assert [rows(store, f"j{n}")[0].reason for n in (2, 3, 4)] == ["budget"] * 3


def test_skips_of_a_budget_share_a_row_with_the_newest_figures(made: Made) -> None:
    store = made(a=CAPPED)
    spend(store, "a", "2.5", NOON)
    for hour in (1, 2, 3):
        assert claim(store, NOON + hour * HOUR) == []
    _, skip = rows(store, "a")
    assert (skip.status, skip.reason, skip.slots) == (RunStatus.SKIPPED, "budget", 3)
    assert (skip.fire_time, skip.fire_time_last) == (NOON + HOUR, NOON + 3 * HOUR)
    assert skip.error == (
        "budget.per_day of the job is 3.00 USD, 2.50 USD spent; a run may spend 1.00 USD: it frees at"
        " 2026-03-03T00:00:00Z"
    )
    job = store.read(queries.job, "a")
    assert job is not None
    assert (job.runtime.consecutive_errors, job.runtime.run_count) == (0, 1), "nobody's fault, and no run"
    assert len(claim(store, NOON + 12 * HOUR)) == 1, "midnight"


def test_days_and_months_are_those_of_the_zone_of_the_root(made: Made) -> None:
    store = made("timezone: America/New_York\n", a="budget: {per_run: 1, per_day: 3, per_month: 4}")
    night = datetime(2026, 3, 31, 23, tzinfo=UTC)  # 19:00 there
    spend(store, "a", "3", night)
    assert figures(store, night + HOUR, "a") == ("3.00", "3.00", "0.00"), "a new day in UTC only"
    assert claim(store, night + HOUR) == []
    assert figures(store, night + 5 * HOUR, "a") == ("0.00", "0.00", "0.00")
    assert len(claim(store, night + 5 * HOUR)) == 1


@pytest.mark.parametrize("amount", [None, "0.1"])
def test_a_run_of_unknown_cost_counts_with_its_reservation(made: Made, amount: str | None) -> None:
    store = made(a=CAPPED)
    spend(store, "a", amount, NOON, "EUR")  # a cost in another currency is unknown
    assert figures(store, NOON, "a") == ("1.00", "1.00", "0.00")


def test_a_success_written_with_others_counts_as_well(made: Made) -> None:
    store = made(a=CAPPED, b="budget: {per_run: 0.25}")
    batch = [(run, ended(None), NOON + HOUR) for run in begin(store, NOON + HOUR) if run is not None]
    assert len(batch) == 2
    store.write(batches.finish_all, batch)
    assert figures(store, NOON + HOUR, "a")[0] == "1.00"
    assert figures(store, NOON + HOUR, "b")[0] == "0.25"
    assert figures(store, NOON + HOUR, "@root")[0] == "1.25"


def test_what_never_started_costs_nothing(made: Made) -> None:
    store = made(a=CAPPED)
    (run,) = claim(store, NOON + HOUR)
    store.write(runs.skip, run, reason="source_missing", message="gone", fault=True, now=NOON + HOUR)
    (run,) = claim(store, NOON + 2 * HOUR)
    store.write(runs.finish, run, ended(None, status=RunStatus.CANCELLED), now=NOON + 2 * HOUR)
    assert figures(store, NOON + 2 * HOUR, "a") == ("0.00", "0.00", "0.00")


def test_a_run_counts_in_the_day_in_which_it_started(made: Made) -> None:
    store = made(a=CAPPED)
    late = NOON + 11 * HOUR
    (run,) = claim(store, late)
    run = start(store, run, late)
    after = late + 2 * HOUR
    assert figures(store, after, "a") == ("0.00", "0.00", "1.00"), "reserved as long as it lives"
    store.write(runs.finish, run, ended("0.75"), now=after)
    assert figures(store, late, "a") == ("0.75", "0.75", "0.00")
    assert figures(store, after, "a") == ("0.00", "0.75", "0.00")


def test_between_its_attempts_a_run_keeps_its_reservation(made: Made) -> None:
    store = made(a=CAPPED)
    (run,) = claim(store, NOON + HOUR)
    run = start(store, run, NOON + HOUR)
    again = NOON + 2 * HOUR
    run = store.write(runs.end_try, run, ended("0.25", status=RunStatus.FAILED), retry_at=again, now=NOON + HOUR)
    assert figures(store, again, "a") == ("0.00", "0.00", "1.00")
    started = store.write(runs.start_retry, run, owner="1-a", now=again)
    assert started is not None
    store.write(runs.finish, started, ended("0.5"), now=again)
    assert figures(store, again, "a") == ("0.75", "0.75", "0.00"), "both attempts"


def test_a_run_by_hand_is_refused_with_the_figures_and_leaves_no_row(made: Made) -> None:
    store = made(a=CAPPED)
    spend(store, "a", "2.5", NOON)
    with pytest.raises(RefusedError, match=r"no run of job 'a' now: .* is 3\.00 USD, 2\.50 USD spent; .* frees at"):
        by_hand(store, "a", NOON)
    assert len(rows(store, "a")) == 1


def test_the_budget_of_the_root_sums_all_jobs(made: Made) -> None:
    store = made(
        "budget: {per_month: 5}\n", a="budget: {per_run: 1}", b="budget: {per_run: 1}", c="budget: {per_run: 0}"
    )
    spend(store, "a", "2.5", NOON)
    spend(store, "b", "2", NOON)
    found = claim(store, NOON + HOUR)
    assert [run.job_id for run in found] == ["c"], "it spends nothing"
    assert "budget.per_month of scheduler.yaml is 5.00 USD, 4.50 USD spent" in (rows(store, "b")[-1].error or "")


def test_a_job_without_an_amount_never_starts_under_a_budget_of_the_root(made: Made, tmp_path: Path) -> None:
    """Its file is at fault, so its last good definition stays: that is no way around the budget."""
    store = made(a="")
    root_file = tmp_path / "scheduler.yaml"
    with store.writing() as sql:
        settings = sql.execute("SELECT settings FROM root").fetchone()[0]
        sql.execute("UPDATE root SET settings = json_set(?, '$.budget', json('{\"per_day\": \"9\"}'))", (settings,))
    assert root_file.exists()
    assert claim(store, NOON + HOUR) == []
    assert rows(store, "a")[0].error == "scheduler.yaml limits what all jobs spend, and the job has no budget.per_run"


def test_a_limit_lowered_below_what_was_spent_skips_with_the_figures(made: Made) -> None:
    store = made(a=CAPPED)
    spend(store, "a", "2.5", NOON)
    store = made(a="budget: {per_run: 1, per_day: 2}")
    assert claim(store, NOON + HOUR) == []
    assert "is 2.00 USD, 2.50 USD spent" in (rows(store, "a")[-1].error or "")


def test_after_a_change_of_the_currency_each_earlier_run_counts_with_what_a_run_may_spend(made: Made) -> None:
    store = made(a=CAPPED)
    for _ in range(2):
        spend(store, "a", "0.01", NOON)
    store = made("currency: EUR\n", a=CAPPED)
    assert len(claim(store, NOON + HOUR)) == 1
    assert claim(store, NOON + 2 * HOUR) == []
    assert "is 3.00 EUR, 2.00 EUR spent and 1.00 EUR reserved" in (rows(store, "a")[-1].error or "")


def test_a_newer_slot_gets_the_reservation_of_the_one_that_gives_way(made: Made) -> None:
    store = made(a="concurrency: queue\nbudget: {per_run: 1, per_day: 2}")
    (running,) = claim(store, NOON + HOUR)
    start(store, running, NOON + HOUR)
    (waiting,) = claim(store, NOON + 2 * HOUR)
    assert waiting.status is RunStatus.QUEUED
    (newer,) = claim(store, NOON + 3 * HOUR)
    assert newer.status is RunStatus.QUEUED
    assert [run.reason for run in rows(store, "a")] == [None, "overlap", None]


def test_slots_that_are_caught_up_with_are_paid_for_too(made: Made) -> None:
    store = made(a="catch_up: all\n" + CAPPED)
    morning = NOON + 5 * HOUR
    found = claim(store, morning)
    assert len(found) == 3
    assert [(run.reason, run.slots) for run in rows(store, "a")] == [*[(None, 1)] * 3, ("budget", 2)]


def test_sums_stay_when_the_rows_of_a_history_go_and_go_when_the_month_is_over(made: Made) -> None:
    store = made(a=CAPPED)
    spend(store, "a", "1.25", NOON)
    spend(store, "a", "0.25", NOON)
    store.write(gc.delete_runs, "a", [1])
    assert figures(store, NOON, "a") == ("1.50", "1.50", "0.00")
    store.write(budgets.forget_spending, NOON + DAY)
    assert figures(store, NOON, "a") == ("0.00", "0.00", "0.00")


def test_costs_known_before_there_were_budgets_count(made: Made) -> None:
    """The migration sums what is there, as the trigger does from then on."""
    store = made(a="")
    spend(store, "a", "1.25", NOON)
    spend(store, "a", "0.5", NOON + timedelta(minutes=29))
    spend(store, "a", "7", NOON, "EUR")
    spend(store, "a", None, NOON)
    (text,) = [text for name, text in migrations() if name.endswith("_budgets")]
    fill = text[text.index("INSERT INTO spending") : text.index(";", text.index("GROUP BY each")) + 1]
    with store.writing() as sql:
        kept = [tuple(row) for row in sql.execute("SELECT * FROM spending ORDER BY 1, 2, 3")]
        sql.execute("DELETE FROM spending")
        sql.execute(fill)
        again = [tuple(row) for row in sql.execute("SELECT * FROM spending ORDER BY 1, 2, 3")]
    assert again == kept
    assert [row for row in kept if row[0] == "a"] == [
        ("a", "2026-03-02T12:00", "EUR", 7_000_000_000, 1),
        ("a", "2026-03-02T12:00", "USD", 1_250_000_000, 1),
        ("a", "2026-03-02T12:15", "USD", 500_000_000, 1),
    ]
    store = made(a=CAPPED)
    assert figures(store, NOON, "a") == ("1.75", "1.75", "0.00")


def test_what_a_job_brings_along_counts_like_what_it_spent_here(made: Made) -> None:
    store = made(a=CAPPED, b=CAPPED)
    spend(store, "a", "0.25", NOON)
    spend(store, "a", None, NOON)
    spend(store, "a", "9", NOON, "EUR")
    spend(store, "b", "0.25", NOON)
    with store.writing() as sql:
        kept = [tuple(row) for row in sql.execute("SELECT * FROM spending ORDER BY 1, 2, 3")]
        sql.execute("DELETE FROM spending")
        for job_id in ("a", "b"):
            budgets.count_past(sql, job_id)
        again = [tuple(row) for row in sql.execute("SELECT * FROM spending ORDER BY 1, 2, 3")]
    assert again == kept
    assert figures(store, NOON, "a")[0] == "2.25"


def test_recent_costs_are_those_known_in_the_currency(made: Made) -> None:
    store = made(a="", b="")
    for amount, currency in (("1", "USD"), ("2", "EUR"), ("3", "USD")):
        spend(store, "a", amount, NOON, currency)
    spend(store, "b", None, NOON)
    with store.reading() as sql:
        assert budgets.recent_costs(sql, ["a", "b"], "USD") == {"a": [Decimal(3), Decimal(1)]}
