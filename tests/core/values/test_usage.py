from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.values.usage import (
    AgentResult,
    Cost,
    CostBasis,
    EndClass,
    Price,
    ResultFormat,
    Tokens,
    all_tokens,
    cost_of,
    model_asked,
    told_format,
)

GPT = Price(model="gpt-5", input=Decimal("1.25"), output=Decimal(10), cache_read=Decimal("0.125"), as_of="2026-12-01")
EURO = Price(model="m", input=Decimal(1), output=Decimal(1), currency="EUR", as_of="2026-12-01")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["claude", "-p"], ResultFormat.CLAUDE),
        (["/usr/local/bin/codex", "exec"], ResultFormat.CODEX),
        (["./bin/gemini"], ResultFormat.GEMINI),
        (["llm"], ResultFormat.LLM),
        (["opencode", "run"], ResultFormat.OPENCODE),
        (["goose", "run"], ResultFormat.GOOSE),
        (["claude-wrapper"], ResultFormat.TEXT),
        (["sh", "claude"], ResultFormat.TEXT),
        ([], ResultFormat.TEXT),
    ],
)
def test_a_format_is_told_from_the_name_of_the_program(command: list[str], expected: ResultFormat) -> None:
    assert told_format(command) is expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("claude -p --model opus", "opus"),
        ("claude --model=opus -p", "opus"),
        ("llm -m gpt-5", "gpt-5"),
        ("llm -m", None),
        ("llm -- -m gpt-5", None),
        ("llm", None),
    ],
)
def test_the_model_asked_is_in_the_command(words: str, expected: str | None) -> None:
    assert model_asked(words.split()) == expected


def test_tokens_cost_what_the_prices_say_each_kind_once() -> None:
    used = {"gpt-5": Tokens(input=1_000_000, output=100_000, cache_read=2_000_000, reasoning=90_000)}
    assert cost_of(used, [GPT, EURO]) == Cost(amount=Decimal("2.5"), currency="USD", basis=CostBasis.COMPUTED)


def test_a_kind_without_a_price_costs_as_much_as_input() -> None:
    found = cost_of({"gpt-5": Tokens(input=0, output=0, cache_write=1_000_000)}, [GPT])
    assert found is not None
    assert found.amount == Decimal("1.25")


@pytest.mark.parametrize(
    "used",
    [
        {},
        {"other": Tokens(input=1, output=1)},
        {"gpt-5": Tokens(input=1, output=1), "other": Tokens(input=1, output=1)},
        {"gpt-5": Tokens(input=1)},
        {"gpt-5": Tokens(output=1)},
        {"gpt-5": Tokens(input=1, output=1), "m": Tokens(input=1, output=1)},
    ],
)
def test_a_cost_that_is_not_known_in_full_is_unknown(used: dict[str, Tokens]) -> None:
    assert cost_of(used, [GPT, EURO]) is None


def test_a_sum_with_something_unknown_is_unknown() -> None:
    assert all_tokens([Tokens(input=1, output=2), Tokens(input=3)]) == Tokens(input=4)
    assert all_tokens([Tokens(), Tokens()]) is None
    assert all_tokens([]) is None
    assert (Tokens(input=1, output=2, cache_read=4, reasoning=2).total, Tokens(input=1).total) == (7, None)


@pytest.mark.parametrize(
    ("asked", "served", "other"),
    [
        ("sonnet", "claude-sonnet-4-6", False),
        ("opus", "claude-sonnet-4-6", True),
        ("anthropic/claude-opus-4-6", "claude-opus-4-6", False),
        ("gpt-5", None, False),
        (None, "gpt-5", False),
    ],
)
def test_another_model_than_the_one_asked_is_noticed(asked: str | None, served: str | None, other: bool) -> None:
    found = AgentResult(format=ResultFormat.TEXT, end_class=EndClass.OK, model_asked=asked, model_served=served)
    assert found.other_model is other


@given(st.decimals(min_value=0, max_value=10**6, places=9))
def test_a_price_is_stored_exactly(amount: Decimal) -> None:
    price = Price(model="m", input=amount, output=amount, as_of="2026-12-01")
    stored = price.to_json()
    assert Price.from_json(stored) == price
    assert "E" not in stored["input"]
