"""No bytes make a reader raise, and a cut output never says anything that the whole does not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.values.usage import AgentResult, Cost, ResultFormat
from tests.run.results.shapes import WHOLE, read

KINDS = st.sampled_from(list(ResultFormat))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def check(found: AgentResult) -> None:
    assert found.text is None or found.text.encode() is not None  # no lone surrogate
    assert found.cost is None or 0 <= found.cost.amount <= 1_000_000
    if found.cost is not None:
        assert Cost.from_json(json.loads(json.dumps(found.cost.to_json()))) == found.cost


@given(KINDS, st.binary(max_size=300), st.binary(max_size=100), st.sampled_from([None, 0, 1, 41, 173, -9]))
def test_any_bytes_have_a_result(kind: ResultFormat, stdout: bytes, stderr: bytes, exit_code: int | None) -> None:
    check(read(kind, stdout, stderr, exit_code=exit_code))


@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_any_value_in_the_place_of_another_has_a_result(name: str, data: st.DataObject) -> None:
    kind, whole = WHOLE[name]
    values = [json.loads(each) for each in whole.splitlines()] if whole.count(b"\n{") and kind != "llm" else [whole]
    if values == [whole]:
        values = [json.loads(whole)] if kind is not ResultFormat.TEXT else []
    changed = [_with(each, data) for each in values]
    check(read(kind, b"\n".join(json.dumps(each).encode() for each in changed), exit_code=data.draw(st.integers(0, 1))))


def _with(value: object, data: st.DataObject) -> object:
    """The value with one place in it replaced."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 4)):
        key = data.draw(st.sampled_from(sorted(value)))
        return {**value, key: _with(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.integers(0, 4)):
        return [_with(value[0], data), *value[1:]]
    return data.draw(JSON)


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_an_output_cut_anywhere_says_nothing_else_than_the_whole(name: str) -> None:
    kind, whole = WHOLE[name]
    all_of_it = read(kind, whole)
    sessions = 0
    for at in range(len(whole)):
        found = read(kind, whole[:at], exit_code=None, cut=True)
        for key in ("cost", "session", "resume"):
            assert getattr(found, key) in (None, getattr(all_of_it, key)), (at, key)
        assert found.model_served in (None, all_of_it.model_served, *all_of_it.by_model), at
        for model, tokens in found.by_model.items():
            for count in ("input", "output", "cache_read", "cache_write", "reasoning"):
                had = getattr(all_of_it.by_model[model], count)
                # Output is two numbers in some formats, of which the second may be lost.
                assert getattr(tokens, count) in (None, had) or count in ("input", "output"), (at, count)
        sessions += found.session is not None
    assert bool(sessions) == (all_of_it.session is not None)
    assert read(kind, whole[: len(whole) - 2], exit_code=None, cut=True).text
