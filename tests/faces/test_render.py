"""Tables: aligned in a pipe, fitted to a terminal, and nothing in a cell steers it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.cli.render import cell_width, clean, cut, fitted


@given(st.lists(st.integers(1, 80), min_size=1, max_size=8), st.integers(20, 200))
def test_columns_give_way_widest_first_and_the_id_never(widths: list[int], room: int) -> None:
    found = fitted(widths, room)
    assert found[0] == widths[0]
    assert all(new <= old for new, old in zip(found, widths, strict=True))
    if sum(found) + 2 * (len(found) - 1) > room:
        assert all(width <= 8 for width in found[1:]), "only where nothing is left to give"


@given(st.text(st.characters(codec="utf-8"), max_size=40), st.integers(1, 30))
def test_a_cut_cell_is_never_wider_than_its_column(text: str, width: int) -> None:
    assert cell_width(cut(clean(text), width)) <= max(width, 1)


@given(st.text(max_size=60))
def test_no_control_character_reaches_the_terminal(text: str) -> None:
    assert clean(text).isprintable()


def test_wide_characters_take_two_columns() -> None:
    assert (cell_width("abc"), cell_width("日本"), cell_width("e\u0301")) == (3, 4, 1)
