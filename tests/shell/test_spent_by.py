"""What was spent, by job, text, runner and model: sums that are kept, and the newest runs."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from scheduler.core.past.figures import Measured
from scheduler.core.past.spend import SpentRun, mover, parts
from scheduler.core.values.facts import Provenance, Task
from scheduler.core.values.runs import Ending, RunStatus
from scheduler.core.values.usage import AgentResult, Cost, CostBasis, EndClass, ResultFormat
from scheduler.ledger import runs, spent_by
from scheduler.ledger.rows import stamp
from scheduler.ledger.store import Store
from scheduler.service.root import Root
from scheduler.service.spend import spend
from tests.shell.test_budgets import DAY, HOUR, NOON, Made, by_hand, made
from tests.shell.test_growth import steps

__all__ = ["made"]


def end(store: Store, job_id: str, amount: str | None, text: str = "hi", model: str = "small", day: int = 0) -> None:
    """A run by hand that has ended, with this text and model. amount: in USD; None: unknown."""
    now = NOON + day * DAY
    cost = None if amount is None else Cost(amount=Decimal(amount), currency="USD", basis=CostBasis.REPORTED)
    agent = AgentResult(format=ResultFormat.CLAUDE, end_class=EndClass.OK, cost=cost, model_served=model)
    task = Task(text=text.encode(), source_path="jobs/a.yaml", source=b"whole file")
    run = by_hand(store, job_id, now)
    run = store.write(
        runs.start_attempt,
        run, n=1, owner="1-a", generation=run.generation, task=task, provenance=Provenance(), now=now,
    )  # fmt: skip
    ending = Ending(status=RunStatus.SUCCEEDED, exit_code=0, output_bytes=1, agent=agent)
    store.write(runs.finish, run, ending, now=now)


@pytest.fixture
def root(made: Made, tmp_path: Path) -> Root:
    from scheduler.root.place import Place
    from tests.fakes import FakeClock

    place = Place(root=tmp_path, state=tmp_path / ".scheduler", db=tmp_path / ".scheduler/state.db")
    return Root(place=place, actor="user:test", environ={}, clock=FakeClock(NOON + HOUR))


def test_today_and_the_month_are_told_apart_and_stand_against_their_budgets(made: Made, root: Root) -> None:
    store = made("budget: {per_day: 10}\n", a="budget: {per_run: 1, per_month: 5}", b="budget: {per_run: 2}")
    end(store, "a", "0.25", day=-1)
    end(store, "a", "0.50")
    end(store, "b", "2")
    found = spend(root)
    assert [(row["job_id"], row["today"], row["this_month"], row["runs"]) for row in found["jobs"]] == [
        ("b", "2", "2", 1),
        ("a", "0.5", "0.75", 2),
    ]
    assert [(row["job_id"], row["today"], row["this_month"]) for row in found["root"]] == [("@root", "2.5", "2.75")]
    assert [(each["key"], each["of"], each["spent"], each["limit"]) for each in found["limits"]] == [
        ("per_day", "root", "2.5", "10")
    ]
    assert [(each["key"], each["spent"], each["limit"]) for each in found["jobs"][1]["limits"]] == [
        ("per_month", "0.75", "5")
    ]


def test_what_was_spent_is_shown_by_text_model_and_runner(made: Made, root: Root) -> None:
    store = made(a="", b="")
    end(store, "a", "1", text="old", model="large")
    end(store, "a", "0.25", text="new", model="small")
    end(store, "b", "0.5", model="small")
    found = spend(root)
    assert [(part["name"], part["amount"], part["runs"]) for part in found["models"]] == [
        ("large", "1", 1),
        ("small", "0.75", 2),
    ]
    assert [(part["name"], part["amount"], part["runs"]) for part in found["runners"]] == [("cat", "1.75", 3)]
    assert [(part["job_id"], part["amount"]) for part in found["versions"]] == [("a", "1"), ("b", "0.5"), ("a", "0.25")]


def test_an_unknown_cost_is_counted_apart_and_is_none_of_zero(made: Made, root: Root) -> None:
    store = made(a="", b="")
    end(store, "a", "1")
    end(store, "a", None)
    end(store, "b", None)
    found = spend(root)
    assert found["unpriced"] == {"a": 1, "b": 1}
    assert [(part["currency"], part["amount"], part["runs"]) for part in found["models"]] == [
        ("USD", "1", 1),
        (None, "0", 1),
    ]


def test_a_new_text_that_costs_more_is_a_mover_with_both_counts(made: Made, root: Root) -> None:
    store = made(a="")
    for _ in range(6):
        end(store, "a", "0.10", text="old")
    for _ in range(5):
        end(store, "a", "0.15", text="new")
    (found,) = spend(root)["movers"]
    assert (found["before"], found["before_runs"], found["after"], found["after_runs"]) == ("0.1", 6, "0.15", 5)
    assert found["share"] == 0.5


def test_a_root_that_was_never_synced_has_spent_nothing(root: Root) -> None:
    found = spend(root)
    assert (found["jobs"], found["root"], found["unpriced"]) == ([], [], {})


# -- the pure part --------------------------------------------------------------------------------


def costing(text: str, *amounts: str, currency: str = "USD") -> list[SpentRun]:
    return [
        SpentRun(
            n=n, task_sha256=text, runner="r", model=None,
            measured=Measured(status=RunStatus.SUCCEEDED, cost=Decimal(amount), currency=currency),
        )
        for n, amount in enumerate(amounts)
    ]  # fmt: skip


def test_too_few_runs_on_either_side_say_nothing() -> None:
    assert mover("a", [*costing("new", *["2"] * 4), *costing("old", *["1"] * 9)]) is None
    assert mover("a", [*costing("new", *["2"] * 9), *costing("old", *["1"] * 4)]) is None
    assert mover("a", [*costing("new", *["2"] * 5), *costing("old", *["1"] * 5)]) is not None


def test_a_text_that_comes_back_counts_from_its_return() -> None:
    found = mover("a", [*costing("x", *["3"] * 5), *costing("y", *["2"] * 5), *costing("x", *["1"] * 5)])
    assert found is not None
    assert (found.before.value, found.after.value, found.after.n) == (Decimal(2), Decimal(3), 5)


def test_two_currencies_are_not_compared_or_added_up() -> None:
    dollars, euros = costing("new", *["2"] * 5), costing("old", *["1"] * 5, currency="EUR")
    assert mover("a", [*dollars, *euros]) is None
    assert [(part.currency, part.amount) for part in parts([*dollars, *euros], lambda run: run.runner)] == [
        ("USD", Decimal(10)),
        ("EUR", Decimal(5)),
    ]


def test_a_month_costs_the_same_after_years(made: Made) -> None:
    store = made(a="", b="")
    end(store, "a", "0.25")
    end(store, "b", "2")

    def ask() -> int:
        found = []
        taken = steps(
            store._connection, lambda sql: found.append(spent_by.dearest(sql, NOON - 30 * DAY, NOON + DAY, 10))
        )
        assert [[(each.job_id, float(each.amount)) for each in some] for some in found] == [[("b", 2), ("a", 0.25)]]
        return taken

    before = ask()
    with store.writing() as sql:
        sql.executemany(
            "INSERT INTO spending VALUES (?, ?, 'USD', 1, 1)",
            [(job, f"{stamp(NOON - n * DAY)[:13]}:00") for n in range(40, 5_000) for job in ("a", "b", "@root")],
        )
    assert ask() <= before + 2
