"""Differences of two texts: what is kept, what went, what came."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.plan.textdiff import (
    LineEdit,
    by_words,
    hunks,
    line_edits,
    same_but_for_line_ends,
    unified,
    word_edits,
)

texts = st.text(alphabet="ab \n.é\r", max_size=60)


def side(edits: list[LineEdit], without: str) -> str:
    return "".join(edit.text for edit in edits if edit.kind != without)


@given(texts, texts)
def test_both_texts_can_be_read_out_of_either_script(before: str, after: str) -> None:
    for edits in (line_edits(before, after), word_edits(before, after)):
        assert (side(edits, "insert"), side(edits, "delete")) == (before, after)
        assert all(edit.text for edit in edits)


@given(st.lists(st.sampled_from("ab"), max_size=8), st.lists(st.sampled_from("ab"), max_size=8))
def test_the_script_of_lines_is_the_shortest(old: list[str], new: list[str]) -> None:
    longest = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i, a in enumerate(old):
        for j, b in enumerate(new):
            longest[i + 1][j + 1] = longest[i][j] + 1 if a == b else max(longest[i][j + 1], longest[i + 1][j])
    edits = line_edits("".join(f"{each}\n" for each in old), "".join(f"{each}\n" for each in new))
    assert sum(edit.kind == "keep" for edit in edits) == longest[-1][-1]


@pytest.mark.skipif(shutil.which("patch") is None, reason="patch(1) is not installed")
@given(before=st.text(alphabet="ab\n", max_size=40), after=st.text(alphabet="ab\n", min_size=1, max_size=40))
def test_patch_can_apply_what_unified_prints(before: str, after: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("patch")
    (folder / "text").write_bytes(before.encode())
    diff = unified(before, after)
    if diff:
        subprocess.run(["patch", "-s", folder / "text"], input=diff.encode(), check=True, capture_output=True)
    assert Path(folder / "text").read_bytes().decode() == after


def test_equal_texts_have_no_hunk() -> None:
    assert hunks("a\n", "a\n") == ()
    assert unified("", "") == ""


def test_changes_far_apart_are_two_hunks_with_their_own_places() -> None:
    before = "".join(f"line {n}\n" for n in range(1, 31))
    after = before.replace("line 3\n", "line three\n").replace("line 25\n", "")
    assert [hunk.title for hunk in hunks(before, after)] == ["@@ -1,6 +1,6 @@", "@@ -22,7 +22,6 @@"]


def test_a_new_text_starts_at_line_zero_of_the_old_one() -> None:
    assert [hunk.title for hunk in hunks("", "a\nb\n")] == ["@@ -0,0 +1,2 @@"]


def test_a_missing_end_of_line_is_said() -> None:
    assert unified("a\n", "a").splitlines()[-3:] == ["-a", "+a", "\\ No newline at end of file"]


def test_one_changed_word_is_all_that_a_word_diff_marks() -> None:
    [hunk] = hunks("Look at the inbox.\nWrite a note.\n", "Look at the queue.\nWrite a note.\n")
    assert [(edit.kind, edit.text) for edit in by_words(hunk)] == [
        ("keep", "Look at the "),
        ("delete", "inbox"),
        ("insert", "queue"),
        ("keep", ".\n"),
        ("keep", "Write a note.\n"),
    ]


def test_words_that_follow_each_other_are_marked_as_one_phrase() -> None:
    assert word_edits("say no more", "say a word more") == [
        LineEdit("keep", "say "),
        LineEdit("delete", "no"),
        LineEdit("insert", "a word"),
        LineEdit("keep", " more"),
    ]


def test_line_ends_alone_are_told_from_a_change() -> None:
    assert same_but_for_line_ends("a\r\nb\r\n", "a\nb\n")
    assert not same_but_for_line_ends("a\n", "a\n")
    assert not same_but_for_line_ends("a\r\n", "b\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\n" * 100_000, "x\n" * 100_000),
        ("a\nb\n" * 50_000, "b\na\nc\n" * 40_000),
        ("".join(f"{n}\n" for n in range(100_000)), "".join(f"{n}\n" for n in range(99_999, -1, -1))),
        ("a b " * 60_000, "b c a " * 50_000),
    ],
    ids=["blank lines", "a few lines many times", "reversed", "one long line"],
)
def test_the_worst_texts_take_no_longer_than_their_bound(before: str, after: str) -> None:
    started = time.process_time()
    assert [hunk for hunk in hunks(before, after) if list(by_words(hunk))]
    assert time.process_time() - started < 15
