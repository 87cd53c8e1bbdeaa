"""What files may say about budgets, and what is said about the rest."""

from __future__ import annotations

from decimal import Decimal

import pytest

from scheduler.core.formats.jobfile import Document, JobFile, read_job_file
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.values.budget import Budget, RootBudget
from scheduler.core.values.settings import Settings

RUNNERS = """\
runners:
  claude: {command: [claude, -p, --output-format, stream-json, --max-budget-usd, "{budget}"]}
  cat: {command: [cat]}
"""


def settings(text: str = "") -> Settings:
    found, problems = read_root_file(f"version: 1\n{text}{RUNNERS}".encode())
    assert found is not None, problems
    return found


def job(text: str, root: str = "", *, runner: str = "claude") -> JobFile:
    source = f'id: a\nschedule: "0 0 * * *"\ntask: x\nrunner: {runner}\n{text}\n'
    return read_job_file("jobs/a.yaml", source.encode(), settings(root))


def document(text: str, root: str = "") -> Document:
    (found,) = job(text, root).documents
    return found


def test_amounts_count_as_they_are_written() -> None:
    spec = document("budget: {per_run: 0.10, per_day: 0.3, per_month: 9}").spec
    assert spec is not None
    assert spec.budget == Budget(per_run=Decimal("0.1"), per_day=Decimal("0.3"), per_month=Decimal(9))
    assert Decimal("0.1") * 3 == spec.budget.per_day, "as floats, three runs of 0.1 would exceed 0.3"
    root = settings("currency: EUR\nbudget: {per_day: 20, per_month: 200.5}\n")
    assert (root.currency, root.budget) == ("EUR", RootBudget(per_day=Decimal(20), per_month=Decimal("200.5")))


@pytest.mark.parametrize(
    ("text", "code", "said", "hint"),
    [
        ('budget: {per_run: "2.50 USD"}', "value.type", "must be a number, not '2.50 USD'", "write 2.50;"),
        ("budget: {per_run: yes}", "value.type", "must be a number", "2.50"),
        ("budget: {per_run: -1}", "value.range", "-1 is outside 0-1,000,000", "2.50"),
        ("budget: {per_run: .nan}", "value.range", "nan is outside", "2.50"),
        ("budget: {per_run: 1e9}", "value.range", "outside 0-1,000,000", "2.50"),
        ("budget: {per_run: 0.1234567}", "value.range", "more than 6 decimals", "write 0.123457"),
        ("budget: {per_run: 0.0000001}", "value.range", "more than 6 decimals", "write 0.000001"),
        ("budget: {per_run: 0, per_day: 0}", "value.range", "no run would ever start", "enabled: false"),
        ("budget: {per_week: 1}", "key.unknown", "per_week", "per_run, per_day, per_month"),
        ("budget: {per_day: 5}", "budget.missing", "per_day needs per_run", "budget: {per_run: 0.50}"),
        ("budget: {per_month: 5}", "budget.missing", "per_month needs per_run", "budget: {per_run: 0.50}"),
        (
            "budget: {per_run: 2, per_day: 1.5}",
            "budget.never",
            "2.00 USD is more than budget.per_day (1.50 USD)",
            "1.5",
        ),
        ("name: A", "budget.missing", "runner 'claude' passes {budget} to its program", "per_run: 0.50"),
    ],
)
def test_what_is_wrong_names_the_value_and_the_fix(text: str, code: str, said: str, hint: str) -> None:
    (problem,) = job(text).problems
    assert (problem.code, problem.path, problem.is_error) == (code, "jobs/a.yaml", True)
    assert said in problem.message
    assert hint in problem.hint


def test_under_a_budget_of_the_root_each_job_says_what_a_run_may_spend() -> None:
    root = "budget: {per_day: 3}\n"
    (problem,) = job("name: A", root, runner="cat").problems
    assert problem.code == "budget.missing"
    assert "limits what all jobs spend" in problem.message
    assert job("budget: {per_run: 0}", root, runner="cat").problems == (), "0 is an answer: it spends nothing"
    assert job("name: A", f"{root}defaults: {{budget: {{per_run: 1}}}}\n").problems == ()
    (problem,) = job("budget: {per_run: 4}", root).problems
    assert (problem.code, problem.hint) == ("budget.never", "write per_run: 3 or less")
    assert "budget.per_day of scheduler.yaml (3.00 USD)" in problem.message


def test_what_has_no_effect_is_told() -> None:
    (problem,) = job("budget: {per_run: 1, per_day: 9, per_month: 8}").problems
    assert (problem.code, problem.message) == ("key.no-effect", "per_day has no effect: per_month is lower")
    (problem,) = job("budget: {per_run: 1}\nretry: {attempts: 3}", runner="cat").problems
    assert problem.code == "key.no-effect"
    assert "what an attempt of this runner costs is unknown" in problem.message
    assert job("budget: {per_run: 0}\nretry: {attempts: 3}", runner="cat").problems == ()


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("budget: {per_run: 1}\n", "key.unknown", "under defaults.budget"),
        ("budget:\n", "value.missing", "delete the key"),
        ("budget: {per_day: }\n", "value.missing", "delete the key"),
        ("currency: usd\n", "value.invalid", "write USD"),
        ("currency: $\n", "value.invalid", "write USD"),
    ],
)
def test_a_wrong_budget_of_the_root(text: str, code: str, hint: str) -> None:
    found, problems = read_root_file(f"version: 1\n{text}".encode())
    assert found is None
    (problem,) = problems
    assert problem.code == code
    assert hint in problem.hint


def test_the_program_itself_is_no_amount() -> None:
    found, problems = read_root_file(b'version: 1\nrunners: {a: {command: ["{budget}"]}}\n')
    assert found is None
    assert [each.code for each in problems] == ["runner.command"]


def test_prices_in_another_currency_than_the_budgets_are_told() -> None:
    prices = "prices: {m: {input: 1, output: 2, currency: EUR, as_of: 2026-12-01}}\n"
    for text in ("budget: {per_day: 1}\n", "defaults: {budget: {per_run: 1}}\n"):
        found, problems = read_root_file(f"version: 1\n{text}{prices}".encode())
        assert found is not None, "a warning"
        assert [each.code for each in problems] == ["budget.currency"]
        assert read_root_file(f"version: 1\ncurrency: EUR\n{text}{prices}".encode())[1] == ()
    assert read_root_file(f"version: 1\n{prices}".encode())[1] == (), "no budget asks"
