"""The daemon's log: one line per event, as text or as JSON, built from the same facts.

A log call names an event and its fields, and may add a sentence for people:

    _log.warning("slots_missed", "the daemon was down", job_id=job.id, slots=3)

Names come from the call and values are escaped. So no file name, job output or YAML value can end a line or
pass for another field.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

RESERVED = ("time", "level", "event", "message", "logger", "exception", "traceback")  # not allowed as field names
MOST_CHARACTERS = 4_000  # of one value; the history has the rest
MOST_OF_A_TRACEBACK = 16_000

_BARE = re.compile(r"(?!:)[^\s'\"\\]*[^\s'\"\\:]")  # no colon that could be mistaken for the one before the message
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}  # sd-daemon(3)

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class Log:
    """The logger of one module. Fields that are None are left out."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def log(
        self, level: int, event: str, words: str = "", /, *, exc_info: bool | _ExcInfo = False, **fields: Any
    ) -> None:
        if self._logger.isEnabledFor(level):
            known = {name: value for name, value in fields.items() if value is not None}
            self._logger.log(level, LogEntry(event, words, known), exc_info=exc_info)

    def info(self, event: str, words: str = "", /, **fields: Any) -> None:
        self.log(logging.INFO, event, words, **fields)

    def warning(self, event: str, words: str = "", /, **fields: Any) -> None:
        self.log(logging.WARNING, event, words, **fields)

    def error(self, event: str, words: str = "", /, **fields: Any) -> None:
        self.log(logging.ERROR, event, words, **fields)

    def exception(self, event: str, words: str = "", /, **fields: Any) -> None:
        """Log an error together with the exception being handled."""
        self.log(logging.ERROR, event, words, exc_info=True, **fields)


_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """The message of our own log records: the arguments of the call."""

    event: str
    words: str
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        """The text without time and level, as handlers of libraries and tests see it."""
        return _line(self.event, {name: _typed(value) for name, value in self.fields.items()}, self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of one log record, independent of the output format."""

    time: str  # RFC 3339, UTC, milliseconds
    level: str
    event: str
    fields: Mapping[str, Any]  # typed, and safe for JSON
    message: str = ""
    exception: str = ""  # "ValueError: its message"
    traceback: str = ""


def facts(record: logging.LogRecord) -> Facts:
    """Extract the facts of a record. Never raises: a malformed call by a library is logged as far as possible."""
    given = record.msg
    if isinstance(given, LogEntry):
        event, message = given.event, given.words
        fields = {name + "_" * (name in RESERVED): _typed(value) for name, value in given.fields.items()}
    else:  # a library's record, which has no event
        event, fields = "log", {"logger": record.name}
        try:
            message = record.getMessage()
        except Exception as error:
            event, message = "log_call_failed", f"{given!r} with {record.args!r}: {error!r}"
    exception = trace = ""
    if record.exc_info and record.exc_info[1] is not None:
        raised = record.exc_info[1]
        exception = _cut(f"{type(raised).__name__}: {raised}", MOST_CHARACTERS)
        trace = _cut("".join(traceback.format_exception(raised)).rstrip("\n"), MOST_OF_A_TRACEBACK)
    return Facts(
        time=datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        level=record.levelname,
        event=event,
        fields=fields,
        message=_cut(message, MOST_CHARACTERS),
        exception=exception,
        traceback=trace,
    )


def _typed(value: object) -> Any:
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)  # JSON has no NaN
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return _cut(str(value), MOST_CHARACTERS)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} characters more)"


class TextFormatter(logging.Formatter):
    """`2026-11-23T13:24:39.652Z INFO    synced cause=watch created=1: message`, then each line of a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(_text_lines(facts(record)))


def _text_lines(found: Facts) -> Iterator[str]:
    prefix = f"{found.time} {found.level:<7} "
    raised = {"exception": found.exception} if found.exception else {}
    yield prefix + _line(found.event, {**found.fields, **raised}, found.message)
    for line in found.traceback.splitlines():
        yield f"{prefix}| {_escaped(line)}"


def _line(event: str, fields: Mapping[str, Any], words: str) -> str:
    said = " ".join([event, *(f"{name}={_value(value)}" for name, value in fields.items())])
    return f"{said}: {_escaped(words)}" if words else said


def _value(value: object) -> str:
    """Bare if unambiguous, otherwise quoted as a Python string."""
    if isinstance(value, float):
        return f"{value:g}"
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) or value is None else str(value)
    return value if _BARE.fullmatch(value) and value.isprintable() else repr(value)


def _escaped(text: str) -> str:
    """On one line and without terminal control characters; repr() escapes exactly those."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


_RED, _GREEN, _YELLOW, _BOLD, _DIM = 31, 32, 33, 1, 2
_EVENT_COLOURS = {
    "run_succeeded": _GREEN,
    **dict.fromkeys(("run_failed", "run_timed_out", "run_interrupted"), _RED),
    **dict.fromkeys(("run_skipped", "run_cancelled"), _YELLOW),
}
_LEVEL_COLOURS = {"DEBUG": _DIM, "WARNING": _YELLOW, "ERROR": _RED, "CRITICAL": _RED}


class TerminalFormatter(logging.Formatter):
    """The lines of `TextFormatter` for a person at a terminal: coloured, and paths below `folder` relative to it."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder.rstrip("/")

    def format(self, record: logging.LogRecord) -> str:
        found = facts(record)
        near = {name: self._near(value) for name, value in found.fields.items()}
        event = _painted(found.event, _EVENT_COLOURS.get(found.event, _LEVEL_COLOURS.get(found.level, _BOLD)))
        start, *rest = _text_lines(replace(found, fields=near))
        before = f"{found.time} {found.level:<7} {found.event}"
        level = _painted(f"{found.level:<7}", _LEVEL_COLOURS.get(found.level, 0))
        first = f"{_painted(found.time, _DIM)} {level} {event}{start.removeprefix(before)}"
        return "\n".join([first, *(_painted(line, _DIM) for line in rest)])

    def _near(self, value: Any) -> Any:
        if not isinstance(value, str) or not self._folder:
            return value
        return "." if value == self._folder else value.removeprefix(f"{self._folder}/")


def _painted(text: str, colour: int) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if colour else text


class JsonFormatter(logging.Formatter):
    """One JSON object per line, in ASCII: `time`, `level` and `event` first, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        found = facts(record)
        line = {"time": found.time, "level": found.level.lower(), "event": found.event, **found.fields}
        told = {"message": found.message, "exception": found.exception, "traceback": found.traceback}
        line |= {name: value for name, value in told.items() if value}
        # A file name that is not UTF-8 contains lone surrogates, which strict JSON parsers reject.
        whole = {name: _without_surrogates(value) if isinstance(value, str) else value for name, value in line.items()}
        return json.dumps(whole)


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


class _ForJournal(logging.Formatter):
    """Prefix each line with its priority. The journal removes the prefix and so knows the level."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        priority = f"<{_PRIORITIES.get(record.levelname, 6)}>"
        return "\n".join(priority + line for line in self._inner.format(record).split("\n"))


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Ignore the error: nobody reads the log or its disk is full, so it cannot be reported. Jobs go on."""


FORMATTERS = {"text": TextFormatter, "json": JsonFormatter}
FORMATS: Sequence[str] = tuple(FORMATTERS)


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """True if `stream` is connected to systemd's journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def write_log(stream: TextIO, form: str, level: int, environ: Mapping[str, str]) -> None:
    """Send the log to `stream` from now on, including messages of libraries and failing threads."""
    formatter: logging.Formatter = FORMATTERS[form]()
    if form == "text" and stream.isatty() and not environ.get("NO_COLOR"):
        formatter = TerminalFormatter(_working_folder())
    handler = _Handler(stream)
    handler.setFormatter(_ForJournal(formatter) if is_journal(stream, environ) else formatter)
    ours, all_others = logging.getLogger("scheduler"), logging.getLogger()
    ours.handlers, all_others.handlers = [handler], [handler]
    ours.propagate = False
    ours.setLevel(level)
    global _form
    _form = form
    all_others.setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)
    # No line says where in the code it was written, nor by which thread: finding that out takes half of the time.
    logging._srcfile = None  # by the logging how-to, "Optimization"
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    threading.excepthook = _thread_failed
    sys.unraisablehook = _ignored


_form = "text"


def form_of_log() -> tuple[str, str]:
    """The form and the level of the log, for a child that writes to it too."""
    return _form, str(logging.getLogger("scheduler").getEffectiveLevel())


def _working_folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it has been deleted
        return ""


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    name = None if args.thread is None else args.thread.name
    error = args.exc_value
    _log.error("thread_failed", thread=name, exc_info=False if error is None else (type(error), error, None))


def _ignored(args: Any) -> None:  # sys.UnraisableHookArgs exists for type checkers only
    error = args.exc_value
    raised = False if error is None else (type(error), error, error.__traceback__)
    _log.error("exception_ignored", where=args.err_msg or repr(args.object), exc_info=raised)
