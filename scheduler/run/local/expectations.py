"""What a job expects of a run that ended with exit code 0: a result, a file. A run without it has failed."""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from scheduler.core.values.runs import Ending, RunStatus
from scheduler.core.values.spec import NONEMPTY, ExpectSpec
from scheduler.core.values.texts import short
from scheduler.core.values.units import format_seconds
from scheduler.core.values.usage import EndClass
from scheduler.machine.searching import SEARCH_S, matches

_TICK_NS = 20_000_000  # a file system's clock may be behind by a tick of the kernel's
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a run must leave."""

    spec: ExpectSpec
    folder: Path  # that its file is relative to


def as_expected(expected: Expected, ending: Ending, *, since: datetime) -> Ending:
    """The ending of a process, which is a failure if what was expected is not there. May wait for a slow disk.

    since: when the run started; its file must have been written since.
    """
    if ending.status is not RunStatus.SUCCEEDED:
        return ending
    missed = _missed_result(expected.spec, ending.result or "")
    reason = "expect_result"
    if not missed:
        missed, reason = _missed_file(expected, since), "expect_file"
    if not missed:
        return ending
    agent = None if ending.agent is None else replace(ending.agent, end_class=EndClass.TASK)
    error = "; ".join(filter(None, (missed, ending.error)))
    return replace(ending, status=RunStatus.FAILED, reason=reason, error=error, agent=agent)


def _missed_result(spec: ExpectSpec, text: str) -> str:
    """Why the result is not the expected one; empty if it is."""
    if spec.result is None:
        return ""
    if spec.result == NONEMPTY:
        return "" if text.strip() else "exit code 0, but the result is empty, and expect.result is nonempty"
    found = matches(spec.pattern, text)
    if found is None:
        limit = format_seconds(SEARCH_S)
        return f"exit code 0, but a search for expect.result {spec.result} did not end within {limit}"
    return "" if found else f"exit code 0, but the result does not match expect.result {spec.result}: {short(text)}"


def _missed_file(expected: Expected, since: datetime) -> str:
    """Why the file is not the expected one; empty if it is."""
    path = expected.spec.file
    if path is None:
        return ""
    try:
        found = (expected.folder / path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return f"exit code 0, but there is no file {path!r} (expect.file)"
    except OSError as error:
        return f"exit code 0, but {path!r} (expect.file) cannot be looked at: {error.strerror}"
    if not stat.S_ISREG(found.st_mode):
        return f"exit code 0, but {path!r} (expect.file) is not a regular file"
    written = max(found.st_mtime_ns, found.st_ctime_ns)
    started = int(since.timestamp() * 1_000_000) * 1000
    whole = written % _SECOND_NS == 0  # some file systems know nothing smaller
    if written < (started // _SECOND_NS * _SECOND_NS if whole else started - _TICK_NS):
        return f"exit code 0, but {path!r} (expect.file) was not written since the run started"
    return ""
