"""What git makes of a file on a checkout, by its attributes."""

from __future__ import annotations

import pytest

from scheduler.core.formats.checkout import ATTRIBUTES, Conversion, conversion_problems, find_conversion
from scheduler.core.values.problems import Severity


def said(**values: str) -> dict[str, str]:
    given = {name.replace("_", "-"): value for name, value in values.items()}
    return {name: given.get(name, "unspecified") for name in ATTRIBUTES}


@pytest.mark.parametrize(
    ("attributes", "data", "words"),
    [
        (said(working_tree_encoding="ISO646-DE"), b"a", "working-tree-encoding=ISO646-DE"),
        (said(working_tree_encoding="UTF-16LE-BOM"), b"a", "working-tree-encoding=UTF-16LE-BOM"),
        (said(working_tree_encoding="set"), b"a", "working-tree-encoding"),
        (said(working_tree_encoding="unset"), b"a", "-working-tree-encoding"),
        (said(filter="x"), b"a", "filter=x"),
        (said(ident="set"), b"# $Id$\n", "ident"),
        (said(ident="set"), b"# $Id: anything at all $\n", "ident"),
        (said(ident="set", filter="x", working_tree_encoding="b"), b"$Id$", "working-tree-encoding=b, filter=x, ident"),
    ],
)
def test_what_runs_cannot_be_told_from_the_commit(attributes: dict[str, str], data: bytes, words: str) -> None:
    assert find_conversion(attributes, data) == Conversion(words, hides=True)


@pytest.mark.parametrize(
    "attributes",
    [
        said(eol="crlf"),
        said(text="set", eol="crlf"),
        said(text="auto", eol="crlf"),
        said(crlf="set", eol="crlf"),
        said(text="unset", eol="crlf"),  # as git tells `text=unset`, which converts
    ],
)
def test_a_checkout_ends_lines_with_cr_lf(attributes: dict[str, str]) -> None:
    assert find_conversion(attributes, b"one\n") == Conversion("eol=crlf", ends_lines=True)
    assert find_conversion(attributes, b"one") is None


def test_git_lfs_is_named_and_hides_nothing_that_is_not_said_elsewhere() -> None:
    found = find_conversion(said(filter="lfs"), b"version https://git-lfs.github.com/spec/v1\n")
    assert found == Conversion("filter=lfs")
    assert conversion_problems({"a": found}) == []


@pytest.mark.parametrize(
    ("attributes", "data"),
    [
        (said(), b"one\n"),
        (said(text="set"), b"one\r\n"),
        (said(text="auto"), b"one\n"),
        (said(text="unset"), b"one\n"),
        (said(text="set", eol="lf"), b"one\n"),
        (said(crlf="input"), b"one\n"),
        (said(working_tree_encoding="UTF-8"), b"one\n"),
        (said(working_tree_encoding="utf8"), b"one\n"),
        (said(filter="unset"), b"one\n"),
        (said(filter="set"), b"one\n"),
        (said(ident="set"), b"costs $5, $Identity$, $Id\n$"),
        (said(ident="unset"), b"$Id$"),
        (said(text="auto", eol="crlf"), b"\0\n"),
    ],
)
def test_a_checkout_holds_what_the_commit_holds(attributes: dict[str, str], data: bytes) -> None:
    assert find_conversion(attributes, data) is None


def test_a_conversion_that_hides_what_runs_is_a_warning_or_an_error_as_asked() -> None:
    hides, lines = (
        Conversion("filter=x, eol=crlf", hides=True, ends_lines=True),
        Conversion("eol=crlf", ends_lines=True),
    )
    found = conversion_problems({"a": hides, "b": hides, "c": lines}, errors={"a", "c"})
    assert [(each.path, each.code, each.severity) for each in found] == [
        ("a", "file.converted", Severity.ERROR),
        ("b", "file.converted", Severity.WARNING),
        ("c", "file.crlf", Severity.WARNING),
    ]


def test_line_ends_everywhere_are_said_of_a_few_files() -> None:
    found = conversion_problems({f"f{n:03}": Conversion("eol=crlf", ends_lines=True) for n in range(200)})
    assert len(found) == 20
    assert found[0].message.endswith("; the same is true of 199 more files")
