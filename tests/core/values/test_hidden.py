from __future__ import annotations

import pytest

from scheduler.core.formats.jobfile import read_job_file
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.values.hidden import each_shown, find_hidden, names_of
from scheduler.core.values.problems import Severity
from scheduler.core.values.texts import Lines


def tags(text: str) -> str:
    return "".join(chr(0xE0000 + ord(each)) for each in text)


def selectors(text: str) -> str:
    return "".join(chr(0xFE00 + each if each < 16 else 0xE0100 + each - 16) for each in text.encode())


@pytest.mark.parametrize(
    ("text", "index", "said"),
    [
        ("ok" + tags("Ignore all"), 2, "10 invisible characters, the first U+E0049"),
        ("ok" + tags("Ignore all"), 2, "they spell 'Ignore all'"),
        ("\U0001f600" + selectors("send it"), 1, "they spell 'send it'"),
        ("a\u200bb", 1, "an invisible character, U+200B (zero width space)"),
        ("a\u202eb", 1, "U+202E (right-to-left override)"),
        ("a\u2066b\u2069", 1, "2 invisible characters"),
        ("a\u034f", 1, "U+034F"),
        ("a\u3164", 1, "U+3164 (hangul filler)"),
        ("a\uffa0\u115f", 1, "2 invisible characters"),
        ("a\u2800", 1, "U+2800"),
        ("a\u17b4", 1, "U+17B4"),
        ("a\u00ad", 1, "U+00AD"),
        ("a\ufe0f", 1, "U+FE0F"),
        ("\u2764\ufe0f\ufe0f", 2, "U+FE0F"),
        ("a\u200db", 1, "U+200D"),
        ("a\u200eb", 1, "U+200E"),
        ("a\ufeffb", 1, "U+FEFF"),
        ("\U0001f3f4" + tags("gbxxx") + "\U000e007f", 1, "they spell 'gbxxx'"),
    ],
)
def test_characters_that_do_not_show_are_found_and_decoded(text: str, index: int, said: str) -> None:
    found = find_hidden(text)
    assert found is not None
    words = names_of(found, Lines(text))
    assert (found.places[0], said in words) == (index, True), words


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "caf\u00e9 \u65e5\u672c\u8a9e",
        "I \u2764\ufe0f it, 1\ufe0f\u20e3",
        "\U0001f469\u200d\U0001f4bb",
        "\U0001f469\U0001f3fd\u200d\u2764\ufe0f\u200d\U0001f468",
        "\U0001f3f4" + tags("gbeng") + "\U000e007f",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u0915\u094d\u200d\u0937",
        "\u05e9\u05dc\u05d5\u05dd\u200e abc",
        "no\u00a0break",
    ],
)
def test_what_scripts_and_emoji_need_is_not_hidden(text: str) -> None:
    assert find_hidden(text) is None


@pytest.mark.parametrize("each", "\ufe0f\u034f\u3164\u2800\u17b4\u200d\u202e\U000e0100\x1b")
def test_a_review_shows_no_such_character_as_itself(each: str) -> None:
    assert list(each_shown(f"a{each}b")) == [("a", True), (each, False), ("b", True)]
    assert all(plain for _, plain in each_shown("\u2764\ufe0f"))


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("a\u200bb", "at 1:2"),
        ("one\n\u200b\u200btwo\r\nand\u202e", "at 2:1 and 3:4"),
        ("a\u200b\n" * 3, "at 1:2, 2:2 and 3:2"),
        ("a\u200b\n" * 5, "at 1:2, 2:2, 3:2, 4:2 and 5:2"),
        ("a\u200b\n" * 6, "at 1:2, 2:2, 3:2, 4:2, 5:2 and 1 more place"),
        ("a\u200b\n" * 60, "at 1:2, 2:2, 3:2, 4:2, 5:2 and 55 more places"),
        ("x" + tags("rm") + "y\n" + tags("-r"), "at 1:2 and 2:1; they spell 'rm-r'"),
    ],
)
def test_each_place_has_its_line_and_column_up_to_a_few(text: str, places: str) -> None:
    found = find_hidden(text)
    assert found is not None
    assert names_of(found, Lines(text)).endswith(f", {places}")


def test_the_places_in_a_block_or_a_body_are_those_in_the_file() -> None:
    settings, _ = read_root_file(b"version: 1\nrunners: {r: {command: [cat]}}\ndefaults: {runner: r}\n")
    assert settings is not None
    for path, text in (
        ("a.yaml", "id: a\nschedule: '@daily'\ntask: |\n  x\u200by\n\n  \u200bz\n"),
        ("a.md", "\ufeff---\nid: a\nschedule: '@daily'\n---\n# x\n\u200bz \u200b\n"),
    ):
        (problem,) = read_job_file(path, text.encode(), settings).problems
        places = {"a.yaml": "4:4 and 6:3", "a.md": "6:1 and 6:4"}[path]
        assert problem.message == (
            f"the file contains 2 invisible characters, the first U+200B (zero width space), at {places}"
        )


def test_hidden_characters_of_a_job_file_are_a_warning_at_their_place() -> None:
    root = "version: 1\nrunners: {r: {command: [cat]}}\ndefaults: {runner: r, owner: a\u200bb}\n"
    settings, problems = read_root_file(root.encode())
    assert settings is not None
    assert [(each.code, each.line, each.column) for each in problems] == [("text.hidden", 3, 31)]
    for path, text in (
        ("a.yaml", "id: a\nschedule: '@daily'\ntask: |\n  x\u202ey\n"),
        ("a.md", "---\nid: a\nschedule: '@daily'\n---\n  x\u202ey\n"),
    ):
        found = read_job_file(path, text.encode(), settings)
        (problem,) = found.problems
        place = problem.code, problem.severity, problem.column
        assert place == ("text.hidden", Severity.WARNING, 4)
        assert found.documents[0].spec is not None
