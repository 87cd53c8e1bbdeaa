"""Problems as a person sees them: the line, a caret below the place, and no way to steer a terminal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.cli.render import NARROWEST_LINE, cell_width, excerpt, github_text, problem_text
from scheduler.core.values.problems import Problem, Severity
from tests.faces.conftest import Root
from tests.helpers import call

GOLDEN = Path(__file__).parents[1] / "golden" / "excerpts"
WIDTH = 80


def problem(column: int = 1, *, line: int = 7, severity: Severity = Severity.ERROR) -> Problem:
    return Problem("jobs/a.yaml", line, column, "schedule.cron", "hour 25 is outside 0-23", "write 1", severity)


def test_a_problem_is_shown_with_its_line_a_caret_and_the_hint() -> None:
    assert problem_text(problem(10), 'cron: "0 25 * * *"', width=WIDTH) == (
        "jobs/a.yaml:7:10: error: hour 25 is outside 0-23 [schedule.cron]\n"
        '  7 | cron: "0 25 * * *"\n'
        "    |          ^~\n"
        "  hint: write 1"
    )


def test_a_warning_says_so_and_a_problem_without_a_line_has_no_excerpt() -> None:
    found = problem_text(problem(severity=Severity.WARNING), width=WIDTH)
    assert found == "jobs/a.yaml:7:1: warning: hour 25 is outside 0-23 [schedule.cron]\n  hint: write 1"


def test_the_gutter_is_as_wide_as_the_number() -> None:
    _, line, caret, _ = problem_text(problem(line=1234), "id: a", width=WIDTH).splitlines()
    assert (line, caret) == ("  1234 | id: a", "       | ^~")


LONG = "abcdefghij" * 20

CASES = {
    "a key": ("timeuot: 5m", 1),
    "a quoted value": ('name: "two words" # why', 7),
    "an instant": ("at: 2027-01-31T09:00+01:00 # once", 5),
    "a key before its colon": ("timeout: 5m", 1),
    "the end of the line": ("id:", 4),
    "one character": ("a: [1", 4),
    "tabs": ("\tcron:\t25", 8),
    "wide characters": ("名前: 日本 x", 8),
    "combining characters": ("e\u0301: x", 5),
    "an emoji": ("😀: */5", 4),
    "control characters": ("a: \x1b[31mred\x07", 4),
    "text that runs backwards": ("a: \u202eabc x", 8),
    "a space that does not break": ("a:\u00a0b", 3),
    "a line end of Unicode": ("a\u2028b: c", 3),
    "a long line, early": (LONG, 11),
    "a long line, in the middle": (LONG, 101),
    "a long line, at its end": (LONG, 200),
    "a long line, behind its end": (LONG, 201),
    "a long line of wide characters": ("日本" * 60, 61),
    "a long line of tabs": ("\t" * 60 + "x", 61),
}


@pytest.mark.parametrize("case", CASES)
def test_excerpts_are_as_in_the_golden_files(case: str) -> None:
    source, column = CASES[case]
    found = problem_text(problem(column), source, width=60) + "\n"
    expected = GOLDEN / f"{case.replace(' ', '-').replace(',', '')}.txt"
    if os.environ.get("GOLDEN") == "write":
        expected.parent.mkdir(exist_ok=True)
        expected.write_text(found)
    assert found == expected.read_text()


@given(st.text(max_size=300), st.integers(1, 320), st.integers(1, 120))
def test_an_excerpt_fits_its_room_and_its_caret_stands_below_the_character(text: str, column: int, room: int) -> None:
    shown, marks = excerpt(text, column, room)
    room = max(room, NARROWEST_LINE)
    assert cell_width(shown) <= room
    assert marks.lstrip(" ").rstrip("~") == "^"
    assert len(marks.rstrip("~")) <= room + 1
    assert (shown + marks).isprintable()


@given(st.integers(1, 400), st.integers(NARROWEST_LINE, 120))
def test_the_caret_stands_below_its_character_wherever_the_line_is_cut(column: int, room: int) -> None:
    text = "".join(chr(0x4E00 + number) for number in range(400))  # each character is another one, two columns wide
    shown, marks = excerpt(text, column, room)
    at = 0
    for character in shown:
        if at == marks.index("^"):
            assert character == text[column - 1]
            break
        at += cell_width(character)
    else:
        pytest.fail("no character begins above the caret")


def test_a_line_of_a_million_characters_is_cut_and_not_walked_through() -> None:
    for text in ("x" * 1_000_000, "\u0301" * 1_000_000, "\t" * 1_000_000):
        for column in (1, 500_000, 1_000_001):
            shown, _ = excerpt(text, column, 80)
            assert len(shown) < 400


# -- the line is read safely --------------------------------------------------------------------------


def excerpts(root: Root, path: str) -> list[str]:
    """The source lines that validate shows for a file."""
    lines = root.cli("validate", path).stdout.splitlines()
    return [line for line in lines if line.startswith("  ") and not line.startswith("  hint:")]


def test_validate_plan_and_sync_show_the_line(root: Root) -> None:
    root.edit("jobs/flaky.yaml", "@daily", "0 25 * * *")
    expected = '  2 | schedule: "0 25 * * *"\n    |              ^~\n'
    assert expected in root.cli("validate").stdout
    assert expected in root.cli("plan").stderr
    assert expected in root.cli("sync").stderr
    assert expected in root.cli("sync", "--dry-run").stderr


def test_json_holds_no_excerpts(root: Root) -> None:
    root.edit("jobs/flaky.yaml", "@daily", "0 25 * * *")
    (found,) = root.cli("validate", "--json").json["problems"]
    assert set(found) == {"severity", "path", "line", "column", "code", "message", "hint", "job_id"}


def test_problems_that_an_earlier_sync_found_are_listed_without_lines_that_may_have_changed(lived_in: Root) -> None:
    lived_in.edit("jobs/flaky.yaml", "@daily", "0 25 * * *")
    lived_in.cli("sync")
    assert " | " not in lived_in.cli("list", "--problems").stderr


@pytest.mark.parametrize(
    "data", [b"id: a\0b\n", "id: a\n".encode("utf-16"), b"#" * (1024 * 1024 + 1), b"", b"\n\n"], ids=repr
)
def test_what_is_no_text_or_too_large_or_blank_has_no_excerpt(root: Root, data: bytes) -> None:
    root.write("jobs/a.yaml", data)
    assert excerpts(root, "jobs/a.yaml") == []


def test_what_is_not_utf8_is_shown_with_a_replacement(root: Root) -> None:
    root.write("jobs/a.yaml", b"id: a\nname: caf\xe9\n")
    assert excerpts(root, "jobs/a.yaml") == ["  2 | name: caf\ufffd", "    |          ^"]


def test_a_file_that_is_no_job_file_is_not_quoted(root: Root) -> None:
    root.edit("scheduler.yaml", "version: 1\n", 'version: 1\njobs: ["jobs/**"]\n')
    root.write("jobs/secret.txt", "hunter2\n")
    assert "hunter2" not in root.cli("validate").stdout


def test_a_link_out_of_the_root_shows_nothing_of_what_it_leads_to(root: Root, tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("hunter2\n")
    (root.path / "jobs/a.yaml").symlink_to(tmp_path / "secret.yaml")
    found = root.cli("validate")
    assert (found.code, "hunter2" in found.stdout) == (1, False)


def test_a_line_that_would_steer_the_terminal_is_shown_harmlessly(root: Root) -> None:
    root.write("jobs/a.yaml", "id: a\nname: x\x1b]0;owned\x07\n")
    found = root.cli("validate").stdout
    assert found.replace("\n", "").isprintable()


def test_only_the_near_part_of_a_long_line_is_shown_in_a_pipe(root: Root) -> None:
    root.write("jobs/a.yaml", "id: a\nschedule: '@daily'\n" + "task: " + "x" * 100_000 + " \x07\n")
    line, caret = excerpts(root, "jobs/a.yaml")
    assert len(line) <= 120
    assert line[caret.index("^")] == "\ufffd"


# -- for GitHub ---------------------------------------------------------------------------------------


def test_a_workflow_command_escapes_what_would_end_a_property_or_the_line() -> None:
    found = Problem("jobs/a,b:c%.yaml", 3, 5, "yaml.tab", "100% wrong:\r\n::error::x, y", "a\nb\x1b", Severity.WARNING)
    assert github_text(found, "") == (
        "::warning file=jobs/a%2Cb%3Ac%25.yaml,line=3,col=5,title=yaml.tab"
        "::100%25 wrong:%0D%0A::error::x, y%0Ahint: a%0Ab\ufffd"
    )


@given(st.text(max_size=20), st.text(max_size=20))
def test_whatever_a_problem_holds_is_one_workflow_command(path: str, message: str) -> None:
    found = github_text(Problem(path, 1, 1, "yaml.tab", message), "root")
    assert found.isprintable()
    properties, _, data = found.removeprefix("::error ").partition("::")
    assert [each.partition("=")[0] for each in properties.split(",")] == ["file", "line", "col", "title"]
    assert "%" not in data.replace("%25", "").replace("%0A", "").replace("%0D", "")


def test_the_path_is_that_of_the_checkout(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    root.edit("jobs/flaky.yaml", "@daily", "0 25 * * *")
    options = ["--root", str(root.path), "validate", "--format", "github"]

    def file() -> str:
        found = call(*options)
        assert found.code == 1
        return found.stdout.partition("file=")[2].partition(",")[0]

    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    monkeypatch.chdir(root.path)
    assert file() == "jobs/flaky.yaml"
    monkeypatch.chdir(root.path.parent)
    assert file() == f"{root.path.name}/jobs/flaky.yaml"
    monkeypatch.chdir("/")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(root.path))
    assert file() == "jobs/flaky.yaml"
    monkeypatch.setenv("GITHUB_WORKSPACE", str(root.path / "jobs"))
    assert file() == "jobs/flaky.yaml"


def test_nothing_wrong_is_nothing_printed_and_json_wins_over_the_format(root: Root) -> None:
    found = root.cli("validate", "--format", "github")
    assert (found.code, found.stdout, found.stderr) == (0, "", "no problems\n")
    assert root.cli("validate", "--format", "github", "--json").json == {"problems": []}
