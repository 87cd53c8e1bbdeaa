"""What a process printed last: one safe line, whatever it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.values.last_lines import MOST_CHARACTERS, last_line, last_lines


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"connecting\npsql: connection refused\n", "psql: connection refused"),
        (b"psql: connection refused", "psql: connection refused"),
        (b"Traceback:\n  File x\nValueError: no such row\n\n", "ValueError: no such row"),
        (b'{\n  "error": "quota"\n}\n', '"error": "quota"'),
        (b"error: x\n    ^^^^\n------\n", "error: x"),
        (
            b"/srv/a/.scheduler/owners/1875-b7d7.scratch/task-yl_8cm_a: 3: cannot open /srv/a/b: No such file\n",
            "{task_file}: 3: cannot open /srv/a/b: No such file",
        ),
        (b"10%\r50%\rlost connection\r\n", "lost connection"),
        (b"\x1b[1;31merror\x1b[0m: \tno\x1b[K  route\n", "error: no route"),
        (b"\x1b]0;owned\x07\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\\n", "text"),
        (b"\x1b(B\x1b=plain\x1bM\n", "plain"),
        (b"bell \x07 and \x00\n", "bell \ufffd and \ufffd"),
        ("schön\u202egnp.exe\n".encode(), "schön\ufffdgnp.exe"),
        (b"\xff\xfe no text\n", "\ufffd\ufffd no text"),
        (b"a" * 500 + b"\n", "a" * (MOST_CHARACTERS - 1) + "…"),
    ],
)
def test_the_last_line_that_says_something_is_found_and_steers_nothing(printed: bytes, line: str) -> None:
    assert last_line(printed) == line


def test_the_last_lines_stay_in_order_without_the_blank_ones() -> None:
    assert last_lines(b"1\n\n2\n---\n3\n", 3) == ["2", "---", "3"]
    assert last_lines(b"1\n2\n", 0) == []


@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_whatever_is_printed_a_line_is_short_and_printable(printed: bytes) -> None:
    for line in [*last_lines(printed, 50), last_line(printed)]:
        assert line.isprintable()
        assert len(line) <= MOST_CHARACTERS
        assert line == " ".join(line.split())
