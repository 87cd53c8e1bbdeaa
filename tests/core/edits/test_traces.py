"""Whether an edit still shows in a text."""

from __future__ import annotations

import pytest

from scheduler.core.edits.traces import still_edited

OLD = b"id: a\nschedule: {every: 1h}\ntask: hello\n"
NEW = OLD.replace(b"1h", b"2s")


@pytest.mark.parametrize(
    "now",
    [
        NEW,
        NEW.replace(b"{every: 2s}", b"{ every: 2s }"),
        NEW.replace(b"2s", b'"2s"'),
        NEW.replace(b"{every: 2s}", b"\n  every: 2s"),
        NEW.replace(b"\n", b"\r\n"),
        b"# generated\n" + NEW + b"# checked\n",
        b"task: hello\nschedule: {every: 2s}\nid: a\n",
    ],
)
def test_an_edit_shows_however_its_text_is_formatted(now: bytes) -> None:
    assert still_edited(OLD, NEW, now)


@pytest.mark.parametrize(
    "now",
    [OLD, OLD.replace(b"hello", b"theirs"), OLD.replace(b"1h", b"5h"), b"", b"something else", b"id: b\ntask: x\n"],
)
def test_it_does_not_in_a_text_made_from_another(now: bytes) -> None:
    assert not still_edited(OLD, NEW, now)


def test_an_edit_that_only_takes_away_shows_by_what_is_missing() -> None:
    old, new = b"a\nb\nc d\nc d\n", b"a\nb\nc d\n"
    assert still_edited(old, new, b"a b\n\nc d\n")
    assert not still_edited(old, new, old)
    assert not still_edited(old, new, b"x y z\n")


def test_an_order_is_an_edit_too() -> None:
    old, new = b"first do this\nthen do that\n", b"then do that\nfirst do this\n"
    assert still_edited(old, new, b"then do that,\nfirst do this.\n")
    assert not still_edited(old, new, b"first do this.\nthen do that.\n")


def test_a_new_file_shows_in_a_text_that_has_most_of_it() -> None:
    assert still_edited(None, NEW, NEW + b"# tidy\n")
    assert not still_edited(None, NEW, b"id: a\nname: theirs\nowner: them\n")
