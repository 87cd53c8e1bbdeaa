"""How an attempt ended, and why a program did not start: exit codes, signals and errors in words."""

from __future__ import annotations

import errno
import os
import re
import signal
from codecs import getincrementaldecoder
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal

from scheduler.core.values.last_lines import last_line
from scheduler.core.values.runs import Ending, RunStatus
from scheduler.core.values.units import format_duration
from scheduler.machine.orphans import Orphan
from scheduler.run.engine import Why
from scheduler.run.local.capture import RESULT_BYTES, Capture

_MOST_NAMED = 10  # processes named in the error of a run
_SHEBANG_BYTES = 256  # Linux reads this many


def why_not_started(program: Path, error: OSError) -> str:
    """Why execve(2) failed. Some of its errors are about another file than the one it was given."""
    try:
        with program.open("rb") as file:
            head = file.read(_SHEBANG_BYTES)
    except OSError:
        head = b"?"
    found = re.match(rb"#![ \t]*([^ \t\n]*)", head)
    interpreter = "" if found is None else os.fsdecode(found[1])
    named = f"could not be started: the interpreter {interpreter!r} in its first line"
    match error.errno:
        case errno.ENOENT if interpreter.endswith("\r"):
            return f"{named} does not exist; save it with LF line ends"
        case errno.ENOENT if interpreter:
            return f"{named} does not exist"
        case errno.EACCES if interpreter and os.access(program, os.X_OK):
            return f"{named} is not executable"
        case errno.ENOENT if not program.exists():
            return "is gone"
        case errno.ENOEXEC if not head:
            return "could not be started: it is empty"
        case errno.ENOEXEC if head.startswith(b"\x7fELF"):
            return "could not be started: it is built for another kind of machine, or damaged"
        case errno.ENOEXEC:
            return "could not be started: it is neither a program nor a script with a first line such as #!/bin/sh"
        case errno.EAGAIN | errno.ENOMEM:
            return f"could not be started: the system allows no more processes now ({error.strerror})"
    return f"could not be started: {error.strerror}"


def judge(
    why: Literal["timeout"] | Why | None,
    returncode: int,
    timeout: timedelta,
    captures: Sequence[Capture],
    left: Sequence[Orphan] = (),
) -> Ending:
    named = f"still running: {', '.join(map(str, left[:_MOST_NAMED]))}" if left else None
    if len(left) > _MOST_NAMED:
        named = f"{named} and {len(left) - _MOST_NAMED} more"
    exit_code = returncode if returncode >= 0 else None
    ended = f"exit code {returncode}" if returncode >= 0 else f"ended by {_signal_name(-returncode)}"
    match why:
        case "cancelled":
            ended = f"cancelled; {ended}"
        case "replaced":
            ended = f"replaced by a newer run; {ended}"
        case "interrupted":
            ended = f"interrupted: the scheduler stopped; {ended}"
        case "timeout":
            ended = f"not finished after {format_duration(timeout)}; {ended}"
        case None if returncode == 0:
            return ending_of("succeeded", 0, named, captures)
    if why in (None, "timeout"):  # nobody else has ended it: what it said last is the cause, or where it hung
        ended = ": ".join(filter(None, (ended, _last_words(captures))))
    return ending_of(why or "failed", exit_code, "; ".join(filter(None, (ended, named))), captures)


def _last_words(captures: Sequence[Capture]) -> str:
    """The last line of stderr; of stdout, where nothing was said there, as when a script has joined them."""
    return next(filter(None, (last_line(each.tail) for each in reversed(captures))), "")


def ending_of(
    end: Literal["succeeded", "failed", "timeout"] | Why,
    exit_code: int | None,
    error: str | None,
    captures: Sequence[Capture],
) -> Ending:
    status, reason = {
        "succeeded": (RunStatus.SUCCEEDED, None),
        "failed": (RunStatus.FAILED, "signal" if exit_code is None else "exit_code"),
        "timeout": (RunStatus.TIMED_OUT, "timeout"),
        "cancelled": (RunStatus.CANCELLED, "cancelled"),
        "replaced": (RunStatus.CANCELLED, "replaced"),
        "interrupted": (RunStatus.INTERRUPTED, "shutdown"),
    }[end]
    lost = next((each.error for each in captures if each.error is not None), None)
    return Ending(
        status=status,
        reason=reason,
        exit_code=exit_code,
        error="; ".join(each for each in (error, lost) if each is not None) or None,
        result=_text(captures[0].prefix),
        output_bytes=sum(each.total for each in captures),
        truncated=any(each.truncated for each in captures),
    )


def _text(prefix: bytes) -> str:
    """Decode, leaving out a character that the 64 KiB limit cut in two."""
    return getincrementaldecoder("utf-8")("replace").decode(prefix, final=len(prefix) < RESULT_BYTES)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
