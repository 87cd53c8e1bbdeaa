from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.values.references import Reference, filled, is_reference, misspelt, references_of


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("${env:A}", [Reference("env", "A")]),
        ("x${env:A_1}y${file:/run/secrets/smtp}", [Reference("env", "A_1"), Reference("file", "/run/secrets/smtp")]),
        ("${env:1A}", []),
        ("${file:relative}", []),
        ("$A ${A} {env:A}", []),
    ],
)
def test_references_are_found_in_their_order(text: str, found: list[Reference]) -> None:
    assert list(references_of(text)) == found
    assert is_reference(text) == ([str(each) for each in found] == [text])


def test_what_only_looks_like_a_reference_is_found_where_it_is() -> None:
    assert list(misspelt("a${A}b${env:B}c${env:")) == [(1, "${A}"), (15, "${env:")]


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_value_ends_no_part_of_a_url(user: str, password: str) -> None:
    values = {"U": user, "P": password}
    found = filled("mailtos://${env:U}:${env:P}@smtp.example.com:25/?to=${env:U}", lambda each: values[each.name])
    parts = urlsplit(found)
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == (user, password)
    assert (parts.hostname, parts.port) == ("smtp.example.com", 25)
    assert unquote(parts.query.removeprefix("to=")) == user


def test_a_value_that_begins_a_url_is_taken_as_it_is_and_one_in_its_path_keeps_its_slashes() -> None:
    values = {"URL": "slack://a/b", "PATH": "a/b c"}
    assert filled("${env:URL}/#x", lambda each: values[each.name]) == "slack://a/b/#x"
    assert (
        filled("https://h/${env:PATH}?q=${env:PATH}", lambda each: values[each.name]) == "https://h/a/b%20c?q=a%2Fb%20c"
    )
    assert filled("v1 ${env:PATH}", lambda each: values[each.name], url=False) == "v1 a/b c"
