"""What a job expects of a success, against real files and patterns that somebody else wrote."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.core.values.runs import Ending, RunStatus
from scheduler.core.values.spec import ExpectSpec
from scheduler.core.values.usage import AgentResult, EndClass, ResultFormat
from scheduler.machine.searching import matches
from scheduler.run.local.expectations import Expected, as_expected

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BEFORE, AFTER = NOON - timedelta(hours=1), NOON + timedelta(minutes=1)


def judged(tmp_path: Path, text: str = "", *, result: str | None = None, file: str | None = None) -> Ending:
    ending = Ending(status=RunStatus.SUCCEEDED, exit_code=0, result=text, output_bytes=len(text))
    return as_expected(Expected(spec=ExpectSpec(result=result, file=file), folder=tmp_path), ending, since=NOON)


@pytest.mark.parametrize(
    ("result", "text", "met"),
    [
        ("nonempty", "done\n", True),
        ("nonempty", "", False),
        ("nonempty", " \n\t\n", False),
        ("/DONE/", "all is DONE.", True),
        ("/^DONE$/", "not yet\nDONE\n", False),
        ("/(?m)^DONE$/", "not yet\nDONE\n", True),
        ("/Gr\u00fc\u00dfe/", "Gr\u00fc\u00dfe", True),
        ("/^$/", "", True),
        ("/x/", "\udcff", False),
    ],
)
def test_a_result_is_looked_through(tmp_path: Path, result: str, text: str, met: bool) -> None:
    ending = judged(tmp_path, text, result=result)
    assert (ending.status is RunStatus.SUCCEEDED) is met
    assert ending.reason == (None if met else "expect_result")


def test_a_missed_result_says_what_was_expected_and_what_came(tmp_path: Path) -> None:
    ending = judged(tmp_path, "I could not do it.", result="/DONE/")
    assert ending.error == "exit code 0, but the result does not match expect.result /DONE/: 'I could not do it.'"
    assert (ending.exit_code, ending.end_class) == (0, EndClass.TASK)
    assert judged(tmp_path, result="nonempty").error == (
        "exit code 0, but the result is empty, and expect.result is nonempty"
    )


def test_a_pattern_that_would_never_end_does_not_keep_anybody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hopeless = "a" * 64 + "!"
    assert matches("(a+)+$", hopeless, within=0.5) is None
    monkeypatch.setattr("scheduler.run.local.expectations.matches", lambda pattern, text: None)
    ending = judged(tmp_path, hopeless, result="/(a+)+$/")
    assert ending.reason == "expect_result"
    assert ending.error == "exit code 0, but a search for expect.result /(a+)+$/ did not end within 5s"


def test_a_search_runs_nothing_of_its_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "re.py").write_text("raise SystemExit(0)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert matches("yes", "no") is False
    assert matches("--help", "x --help") is True
    assert matches("yes", "x" * 64 * 1024 + "yes") is True


def write(path: Path, moment: datetime) -> None:
    path.write_text("x")
    os.utime(path, (moment.timestamp(), moment.timestamp()))


def test_a_file_counts_if_it_was_written_since_the_run_started(tmp_path: Path) -> None:
    found = tmp_path / "report.md"
    assert judged(tmp_path, file="report.md").error == "exit code 0, but there is no file 'report.md' (expect.file)"
    write(found, AFTER)
    assert judged(tmp_path, file="report.md").status is RunStatus.SUCCEEDED
    later = datetime.now(UTC) + timedelta(hours=1)
    old = as_expected(
        Expected(spec=ExpectSpec(file="report.md"), folder=tmp_path),
        Ending(status=RunStatus.SUCCEEDED, exit_code=0),
        since=later,
    )
    assert (old.status, old.reason) == (RunStatus.FAILED, "expect_file")
    assert old.error == "exit code 0, but 'report.md' (expect.file) was not written since the run started"


def test_what_is_no_file_is_not_the_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "is not a regular file" in str(judged(tmp_path, file="folder").error)
    assert "there is no file" in str(judged(tmp_path, file="folder/report.md").error)
    write(tmp_path / "plain", AFTER)
    assert "there is no file" in str(judged(tmp_path, file="plain/report.md").error)
    (tmp_path / "gone").symlink_to("nowhere")
    assert "there is no file" in str(judged(tmp_path, file="gone").error)
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in str(judged(tmp_path, file="pipe").error)


def test_both_must_be_there(tmp_path: Path) -> None:
    assert judged(tmp_path, "", result="nonempty", file="report.md").reason == "expect_result"
    assert judged(tmp_path, "x", result="nonempty", file="report.md").reason == "expect_file"
    write(tmp_path / "report.md", AFTER)
    assert judged(tmp_path, "x", result="nonempty", file="report.md").reason is None


def test_only_a_success_is_judged_and_an_agent_that_said_ok_has_failed_at_its_task(tmp_path: Path) -> None:
    expected = Expected(spec=ExpectSpec(result="nonempty"), folder=tmp_path)
    failed = Ending(status=RunStatus.FAILED, reason="exit_code", exit_code=1, result="")
    assert as_expected(expected, failed, since=NOON) is failed
    agent = AgentResult(format=ResultFormat.CLAUDE, end_class=EndClass.OK, text="")
    ending = Ending(status=RunStatus.SUCCEEDED, exit_code=0, result="", agent=agent)
    assert as_expected(expected, ending, since=NOON).end_class is EndClass.TASK
