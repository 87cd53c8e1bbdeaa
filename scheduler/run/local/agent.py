"""What an agent's program said of its attempt, read from its kept output, and how the attempt ended therefore."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from scheduler.core.due.accounts import PARKING
from scheduler.core.values.last_lines import last_line
from scheduler.core.values.runs import Ending, RunStatus
from scheduler.core.values.usage import EndClass, ResultFormat, cost_of
from scheduler.machine.ends_of_files import end_of
from scheduler.run.local.expectations import as_expected
from scheduler.run.local.prepare import Invocation
from scheduler.run.results.ending import ProcessEnd
from scheduler.run.results.reading import read_result

_PIECE = 1024 * 1024
_STOPPED = {
    RunStatus.TIMED_OUT: EndClass.TIMEOUT,
    RunStatus.CANCELLED: EndClass.CANCELLED,
    RunStatus.INTERRUPTED: EndClass.INTERRUPTED,
}


def speaks(invocation: Invocation) -> bool:
    """True if its exit code does not say how it ended: its output does, or what it has left. A look may take long."""
    return invocation.result_format is not ResultFormat.TEXT or invocation.expected is not None


def as_told(
    invocation: Invocation, ending: Ending, *, stdout: str, stderr: str, at: datetime, since: datetime
) -> Ending:
    """The ending of a process whose output files are complete, with what they say, and by what its job expects.

    A program may exit with 0 and say that it has failed. An attempt that the scheduler ended stays as it is.
    at: when the process ended. since: when its run started.
    """
    if invocation.result_format is not ResultFormat.TEXT:
        ending = _as_read(invocation, ending, stdout=stdout, stderr=stderr, at=at)
    return ending if invocation.expected is None else as_expected(invocation.expected, ending, since=since)


def _as_read(invocation: Invocation, ending: Ending, *, stdout: str, stderr: str, at: datetime) -> Ending:
    found = read_result(
        invocation.result_format,
        _pieces(stdout),
        _pieces(stderr),
        ProcessEnd(
            command=invocation.argv,
            exit_code=ending.exit_code,
            at=at,
            zone=_zone(invocation, at),
            stopped=_STOPPED.get(ending.status),
            cut=ending.truncated,
        ),
    )
    if found.cost is None:
        used = found.by_model
        if not used and found.model_asked and found.tokens:  # a program that names only another model than this
            used = {found.model_asked: found.tokens}
        found = replace(found, cost=cost_of(used, invocation.prices))
    ending = replace(ending, agent=found, result=found.text or "")
    if found.end_class in (EndClass.OK, *_STOPPED.values()):
        return ending
    if ending.status is RunStatus.SUCCEEDED:
        said = ": ".join(filter(None, ("the program reports a failure", found.error)))
        error = "; ".join(filter(None, (said, ending.error)))
    else:
        error = ending.error or ""
        if found.error is not None:
            # Nobody reads the JSON that the program has printed last.
            error = error.removesuffix(f": {last_line(end_of(Path(stdout)))}")
            if found.error not in error:
                error = ": ".join(filter(None, (error, found.error)))
    plain = found.end_class is EndClass.TASK and ending.status is RunStatus.FAILED
    reason = ending.reason if plain else found.end_class.value
    account = invocation.account if found.end_class in PARKING else None
    return replace(ending, status=RunStatus.FAILED, reason=reason, error=error, account=account)


def _pieces(path: str) -> Iterator[bytes]:
    """The bytes of a file; none if it does not exist, or up to where it cannot be read."""
    with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:  # noqa: PTH123
        while piece := file.read(_PIECE):
            yield piece


def _zone(invocation: Invocation, at: datetime) -> tzinfo:
    """The zone in which the process has printed local times."""
    with contextlib.suppress(ZoneInfoNotFoundError, ValueError, OSError):
        if name := invocation.env.get("TZ", "").lstrip(":"):
            return ZoneInfo(name)
    found = at.astimezone().tzinfo
    assert found is not None
    return found
