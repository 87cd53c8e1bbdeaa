"""The log: whatever a call is given, one event is one line, and text and JSON say the same."""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import re
import string
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scheduler.machine.log import (
    RESERVED,
    JsonFormatter,
    Log,
    LogEntry,
    TerminalFormatter,
    TextFormatter,
    is_journal,
    write_log,
)
from tests.sources import PACKAGE, modules, nodes

METHODS = {"debug", "info", "warning", "error", "critical", "exception", "log"}
PREFIX = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) +")
NASTY = "a b\n2026-01-01T00:00:00.000Z ERROR   run_failed run_id=x\x1b[31m\u2028\u202e\x85'\"\\ =\udcff"


def record(event: str, words: str = "", /, *, level: Any = logging.INFO, **fields: Any) -> logging.LogRecord:
    return logging.LogRecord("scheduler.x", level, "file.py", 1, LogEntry(event, words, fields), (), None)


def text(found: logging.LogRecord) -> str:
    return TextFormatter().format(found)


def as_json(found: logging.LogRecord) -> Any:
    line = JsonFormatter().format(found)
    assert len(line.splitlines()) == 1
    assert line.isascii()
    return json.loads(line)


def read_text(line: str) -> tuple[str, dict[str, str], str]:
    """Event, fields and words of a text line, read back without knowing the template."""
    rest = PREFIX.sub("", line, count=1)
    name = re.match(r"[a-z][a-z0-9_]*", rest)
    assert name is not None, line
    rest, fields = rest[name.end() :], {}
    while found := re.match(
        r""" ([a-z][a-z0-9_]*)=('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s:]\S*?(?=:? |:?$))""", rest
    ):
        value = found[2]
        fields[found[1]] = ast.literal_eval(value) if value[0] in "'\"" else value
        rest = rest[found.end() :]
    assert not rest or rest.startswith(": "), line
    return name[0], fields, rest.removeprefix(": ")


# -- every call in the program -----------------------------------------------------------------


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in modules():
        for node in nodes(path):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="_log" | "log" | "logger"), attr=method)) if (
                    method in METHODS
                ):
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def event_of(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    match call.args[1:] if call.func.attr == "log" else call.args:
        case [ast.Constant(value=str(name)), *words] if len(words) <= 1:
            return name
        case [ast.JoinedStr(values=[ast.Constant(value=str(start)), ast.FormattedValue()]), *words] if len(words) <= 1:
            return f"{start}x"
    raise AssertionError("an event, and words for people at most: values are fields")


@pytest.mark.parametrize(("place", "call"), [pytest.param(*each, id=each[0]) for each in calls()])
def test_every_call_in_the_program_gives_an_event_and_fields(place: str, call: ast.Call) -> None:
    event = event_of(call)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", event)
    names = [each.arg for each in call.keywords if each.arg not in (None, "exc_info")]
    assert not set(names) & set(RESERVED)
    found = record(event, NASTY, **dict.fromkeys(map(str, names), NASTY))
    line, data = text(found), as_json(found)
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    name, fields, words = read_text(line)
    assert (name, list(fields)) == (data["event"], [each for each in data if each not in RESERVED])
    assert (name, bool(words)) == (event, True)
    assert all(fields[str(each)] == NASTY for each in names)


def test_there_are_calls_to_look_at() -> None:
    assert len(list(calls())) > 20


# -- values ------------------------------------------------------------------------------------


@given(st.text(), st.text(), st.integers(), st.text())
@example("0:", "", 0, "")
@example(":", "", 0, "")
def test_no_value_ends_a_line_or_passes_for_another_field(one: str, two: str, number: int, words: str) -> None:
    found = record("it_came", words, one=one, two=two, n=number)
    line = text(found)
    assert line.isprintable()
    if one:
        name, fields, _ = read_text(line)
        assert (name, fields["one"], fields["two"], fields["n"]) == ("it_came", one, two, str(number))
    data = as_json(found)
    assert list(data)[:3] == ["time", "level", "event"]
    assert data["n"] == number
    assert data["two"].encode("utf-8", "backslashreplace") == two.encode("utf-8", "backslashreplace")


def test_a_plain_value_stays_bare_and_one_with_spaces_is_quoted() -> None:
    line = text(record("synced", path="jobs/a.yaml", reason="two words", n=3, ok=True))
    assert PREFIX.sub("", line) == "synced path=jobs/a.yaml reason='two words' n=3 ok=true"


def test_numbers_stay_numbers_in_json_and_what_is_none_stays_so() -> None:
    data = as_json(record("x", a=1, b=2.5, c=None, d=float("nan"), e=False))
    assert [data[name] for name in "abcde"] == [1, 2.5, None, "nan", False]


def test_the_time_is_utc_with_milliseconds() -> None:
    found = record("x")
    found.created = 1_763_904_279.6527
    assert as_json(found)["time"] == "2025-11-23T13:24:39.652Z"
    assert text(found).startswith("2025-11-23T13:24:39.652Z INFO    x")


def test_a_value_without_end_is_cut() -> None:
    assert len(text(record("x", error="y" * 1_000_000))) < 5_000


def test_a_traceback_is_one_object_or_lines_that_each_bear_the_prefix() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        found = record("pass_failed", level=logging.ERROR)
        found.exc_info = sys.exc_info()
    data = as_json(found)
    assert data["exception"] == "ValueError: two\nlines"
    assert data["traceback"].startswith("Traceback")
    lines = text(found).split("\n")
    assert len(lines) > 3
    assert all(PREFIX.match(line) for line in lines)
    assert lines[0].endswith(r"pass_failed exception='ValueError: two\nlines'")
    assert lines[1].endswith("| Traceback (most recent call last):")


@pytest.mark.parametrize("args", [(), ("x", "y", "z"), (object(),)])
def test_a_librarys_call_that_is_wrong_still_says_something(args: tuple[object, ...]) -> None:
    found = logging.LogRecord("watchdog", logging.WARNING, "file.py", 1, "slots_missed %s %d: %s", args, None)
    assert "slots_missed" in text(found)
    as_json(found)


def test_a_field_that_is_none_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "scheduler.test_log"):
        Log("scheduler.test_log").info("run_failed", "100% gone", run_id="a:1", error="it's 5% off", n=3, left=None)
    assert as_json(caplog.records[0]) | {"time": ""} == {
        "time": "",
        "level": "info",
        "event": "run_failed",
        "run_id": "a:1",
        "error": "it's 5% off",
        "n": 3,
        "message": "100% gone",
    }
    assert caplog.messages == ['run_failed run_id=a:1 error="it\'s 5% off" n=3: 100% gone']


# -- where it goes -----------------------------------------------------------------------------


@pytest.fixture
def unchanged() -> Iterator[None]:
    loggers = [(log, log.handlers, log.level, log.propagate) for log in map(logging.getLogger, ("scheduler", None))]
    hooks = threading.excepthook, sys.unraisablehook
    yield
    for log, handlers_before, level, propagate in loggers:
        log.handlers, log.propagate = handlers_before, propagate
        log.setLevel(level)
    logging.captureWarnings(False)
    threading.excepthook, sys.unraisablehook = hooks


@pytest.mark.usefixtures("unchanged")
def test_what_libraries_and_failing_threads_say_comes_in_the_same_form() -> None:
    stream = io.StringIO()
    write_log(stream, "json", logging.INFO, {})
    logging.getLogger("watchdog.observers").warning("events\nwere lost")
    logging.getLogger("watchdog.observers").info("chatter")

    def fail() -> None:
        raise KeyError("gone")

    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join()
    one, two = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (one["event"], one["logger"], one["message"]) == ("log", "watchdog.observers", "events\nwere lost")
    assert (two["event"], two["thread"], two["exception"]) == ("thread_failed", "worker", "KeyError: 'gone'")
    assert "in fail" in two["traceback"]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("form", ["text", "json"])
def test_in_the_journal_each_line_bears_its_priority(tmp_path: Path, form: str) -> None:
    with (tmp_path / "log").open("w+") as stream:
        found = os.fstat(stream.fileno())
        write_log(stream, form, logging.INFO, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        log = Log("scheduler.x")
        log.info("one")
        try:
            raise ValueError("x")
        except ValueError:
            log.exception("two")
        stream.seek(0)
        lines = stream.read().splitlines()
    assert lines[0].startswith("<6>")
    assert len(lines) > 1
    assert all(line.startswith("<3>") for line in lines[1:])


def test_another_stream_than_the_journals_gets_no_priorities(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        assert not is_journal(stream, {})
        assert not is_journal(stream, {"JOURNAL_STREAM": "1:2"})
    assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})


@pytest.mark.usefixtures("unchanged")
def test_a_log_that_cannot_be_written_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    stream = open("/dev/full", "w", buffering=1)  # noqa: PTH123, SIM115 - closing it fails too
    write_log(stream, "text", logging.INFO, {})
    Log("scheduler.x").info("one")
    with pytest.raises(OSError, match="No space"):
        stream.close()
    assert capsys.readouterr() == ("", "")


def test_no_letter_of_an_event_needs_quoting() -> None:
    letters = set(string.ascii_lowercase + string.digits + "_")
    names = {event_of(call) for _, call in calls()}
    assert all(set(name) <= letters for name in names)


# -- at a terminal -----------------------------------------------------------------------------

_STYLE = re.compile("\x1b\\[[0-9]+m")


def test_at_a_terminal_success_and_failure_look_different() -> None:
    shown = TerminalFormatter("/srv/jobs")
    fine = shown.format(record("run_succeeded", run_id="a:1"))
    bad = shown.format(record("run_failed", level=logging.WARNING, run_id="a:2"))
    assert "\x1b[32mrun_succeeded\x1b[0m" in fine
    assert "\x1b[31mrun_failed\x1b[0m" in bad
    assert "\x1b[33mWARNING\x1b[0m" in bad


def test_at_a_terminal_paths_below_the_working_folder_are_relative() -> None:
    shown = _STYLE.sub(
        "", TerminalFormatter("/srv/jobs").format(record("x", path=Path("/srv/jobs/a.md"), root="/srv/jobs"))
    )
    assert shown.endswith("x path=a.md root=.")
    shown = _STYLE.sub("", TerminalFormatter("/srv/jobs").format(record("x", path="/srv/jobs2/a.md", db="")))
    assert "path=/srv/jobs2/a.md" in shown


@given(st.text(max_size=80), st.text(max_size=80))
def test_but_for_its_style_a_line_at_a_terminal_is_that_of_a_file(value: str, words: str) -> None:
    found = record("run_failed", words, value=value)
    shown = TerminalFormatter("/nowhere/at/all").format(found)
    assert _STYLE.sub("", shown) == text(found)
    assert shown.count("\x1b") == 2 * len(_STYLE.findall(shown)) / 2, "nothing else steers"


@pytest.mark.parametrize(
    ("terminal", "environ", "styled"), [(True, {}, True), (True, {"NO_COLOR": "1"}, False), (False, {}, False)]
)
@pytest.mark.usefixtures("unchanged")
def test_only_a_terminal_gets_colours(terminal: bool, environ: dict[str, str], styled: bool) -> None:
    stream = io.StringIO()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    write_log(stream, "text", logging.INFO, environ)
    Log("scheduler.x").info("one")
    assert ("\x1b[" in stream.getvalue()) is styled
