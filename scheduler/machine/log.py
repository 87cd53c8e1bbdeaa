"""The daemon's log: one line for each event, as text or as JSON, from the same facts.

A log call gives an event and its fields, and may end in words for people:

    _log.warning("slots_missed job_id=%s slots=%d: nobody was there", job.id, 3)

Names come from the template and values from the arguments, so that a value can neither end a line nor pass for
another field, whatever a file name, a job's output or a YAML value holds.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TextIO

RESERVED = ("time", "level", "event", "message", "logger", "exception", "traceback")  # no field may be named so
MOST_CHARACTERS = 4_000  # of one value; whoever wants more looks into the history
MOST_OF_A_TRACEBACK = 16_000

_EVENT = re.compile(r"[a-z][a-z0-9_]*")
_FIELD = re.compile(r" ([a-z][a-z0-9_]*)=(?:(%[-#0 +]*\d*(?:\.\d+)?[a-zA-Z])|([^\s:%]+))")
_BARE = re.compile(r"[^\s'\"\\]+")
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}  # sd-daemon(3)

_log = logging.getLogger(__name__)


def event(log: logging.Logger, level: int, name: str, message: str = "", **fields: object) -> None:
    """One line whose fields are not known beforehand; those that are None are left out."""
    known = {key: value for key, value in fields.items() if value is not None}
    template = name + "".join(f" {key}=%s" for key in known)
    if message:
        template += ": %s"
    log.log(level, template, *known.values(), *([message] if message else []))


# -- what a record says ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A log call's template: `event name=%s name=literal: message`."""

    event: str
    fields: tuple[tuple[str, str, str], ...]  # name, conversion, literal: one of the last two is empty
    message: str  # the words at the end, with their conversions
    exact: bool  # False: something stands between the fields that is neither


@functools.lru_cache(maxsize=512)
def read_template(template: str) -> Template:
    found = _EVENT.match(template)
    if found is None:
        return Template(event="log", fields=(), message=template, exact=False)
    at = found.end()
    fields = []
    while (each := _FIELD.match(template, at)) is not None:
        fields.append((each[1], each[2] or "", each[3] or ""))
        at = each.end()
    rest = template[at:]
    exact = not rest or rest.startswith(": ")
    return Template(event=found[0], fields=tuple(fields), message=rest.removeprefix(":").lstrip(" "), exact=exact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one record says, in whatever form."""

    time: str  # RFC 3339, UTC, milliseconds
    level: str
    event: str
    fields: Mapping[str, Any]  # typed, and safe to put into JSON
    quoted: frozenset[str] = frozenset()  # fields that the call wants quoted in text (%r)
    message: str = ""
    exception: str = ""  # "ValueError: what it says"
    traceback: str = ""


def facts(record: logging.LogRecord) -> Facts:
    """Never raises: a log call that is wrong still says what it can."""
    fields: dict[str, Any] = {}
    quoted: set[str] = set()
    try:
        name, message = _read(record, fields, quoted)
    except Exception as error:
        name, message = "log_call_failed", f"{record.msg!r} with {record.args!r}: {error!r}"
    exception = trace = ""
    if record.exc_info and record.exc_info[1] is not None:
        raised = record.exc_info[1]
        exception = _cut(f"{type(raised).__name__}: {raised}", MOST_CHARACTERS)
        trace = _cut("".join(traceback.format_exception(raised)).rstrip("\n"), MOST_OF_A_TRACEBACK)
    return Facts(
        time=datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        level=record.levelname,
        event=name,
        fields=fields,
        quoted=frozenset(quoted),
        message=_cut(message, MOST_CHARACTERS),
        exception=exception,
        traceback=trace,
    )


def _read(record: logging.LogRecord, fields: dict[str, Any], quoted: set[str]) -> tuple[str, str]:
    """Fills in the fields; returns the event and the words behind it."""
    if record.name.partition(".")[0] != "scheduler":  # a library's, which knows of no events
        fields["logger"] = record.name
        return "log", record.getMessage()
    if not isinstance(record.msg, str) or isinstance(record.args, Mapping):
        return "log", record.getMessage()
    template = read_template(record.msg)
    args = list(record.args or ())
    for name, conversion, literal in template.fields:
        if name in RESERVED:
            name += "_"
        if not conversion:
            fields[name] = literal
            continue
        value = args.pop(0)
        fields[name] = _typed(value)
        if conversion[-1] in "ra":
            quoted.add(name)
    return template.event, template.message % tuple(args) if args else template.message.replace("%%", "%")


def _typed(value: object) -> Any:
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)  # JSON knows neither
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return _cut(str(value), MOST_CHARACTERS)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} characters more)"


# -- how it is written -----------------------------------------------------------------------


class TextFormatter(logging.Formatter):
    """`2026-11-23T13:24:39.652Z INFO    synced cause=watch created=1: words`, and each line of a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(_text_lines(facts(record)))


def _text_lines(found: Facts) -> Iterator[str]:
    prefix = f"{found.time} {found.level:<7} "
    words = [found.event]
    words += [f"{name}={_value(value, name in found.quoted)}" for name, value in found.fields.items()]
    if found.exception:
        words.append(f"exception={_value(found.exception, True)}")
    yield prefix + " ".join(words) + (f": {_escaped(found.message)}" if found.message else "")
    for line in found.traceback.splitlines():
        yield f"{prefix}| {_escaped(line)}"


def _value(value: object, quoted: bool) -> str:
    """Bare where nothing in it could be taken for something else; else quoted, as Python writes a string."""
    if isinstance(value, float):
        return f"{value:g}"
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) or value is None else str(value)
    if quoted or not _BARE.fullmatch(value) or not value.isprintable():
        return repr(value)
    return value


def _escaped(text: str) -> str:
    """On one line, and without anything that steers a terminal; repr() escapes just that."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


class JsonFormatter(logging.Formatter):
    """One object a line, in ASCII: `time`, `level` and `event` first, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        found = facts(record)
        line: dict[str, Any] = {"time": found.time, "level": found.level.lower(), "event": found.event}
        line.update(found.fields)
        line.update(
            (name, value)
            for name, value in (
                ("message", found.message),
                ("exception", found.exception),
                ("traceback", found.traceback),
            )
            if value
        )
        # A file name that is not UTF-8 holds lone surrogates, which strict readers of JSON refuse.
        whole = {name: _without_surrogates(value) if isinstance(value, str) else value for name, value in line.items()}
        return json.dumps(whole)


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


class _ForJournal(logging.Formatter):
    """Puts the priority before each line: the journal takes it off again, and knows the levels then."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        priority = f"<{_PRIORITIES.get(record.levelname, 6)}>"
        return "\n".join(priority + line for line in self._inner.format(record).split("\n"))


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Nobody reads the log, or its disk is full: there is no place left to say so, and jobs go on."""


FORMATTERS = {"text": TextFormatter, "json": JsonFormatter}
FORMATS: Sequence[str] = tuple(FORMATTERS)


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether what is written to `stream` goes straight into systemd's journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def write_log(stream: TextIO, form: str, level: int, environ: Mapping[str, str]) -> None:
    """From now on all that is logged goes to `stream`, and so does what libraries and failing threads have to say."""
    formatter: logging.Formatter = FORMATTERS[form]()
    handler = _Handler(stream)
    handler.setFormatter(_ForJournal(formatter) if is_journal(stream, environ) else formatter)
    ours, all_others = logging.getLogger("scheduler"), logging.getLogger()
    ours.handlers, all_others.handlers = [handler], [handler]
    ours.propagate = False
    ours.setLevel(level)
    all_others.setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)
    threading.excepthook = _thread_failed
    sys.unraisablehook = _ignored


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    name = None if args.thread is None else args.thread.name
    error = args.exc_value
    _log.error("thread_failed thread=%s", name, exc_info=None if error is None else (type(error), error, None))


def _ignored(args: Any) -> None:  # sys.UnraisableHookArgs, which exists for type checkers only
    error = args.exc_value
    _log.error(
        "exception_ignored where=%r",
        args.err_msg or repr(args.object),
        exc_info=None if error is None else (type(error), error, error.__traceback__),
    )
