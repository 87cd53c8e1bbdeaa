"""Reading files that somebody may still be writing: not until they have been left alone (design F2)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import TypeVar

from scheduler.core.values.facts import Fault
from scheduler.core.values.units import format_seconds
from scheduler.machine import clock
from scheduler.root.reading import mark_of

QUIET_S = 1.0  # a program that writes a file piece by piece seldom pauses for longer
PATIENCE_S = 5.0
_LOOK_AGAIN_S = 0.1
_READS = 4

T = TypeVar("T")
Look = tuple[tuple[int, ...] | None, ...]


def read_quiet(
    root: Path, paths: Sequence[str], read: Callable[[], T], *, wait: Callable[[float], bool]
) -> T | Fault | None:
    """The result of `read` on files that nobody changed in the second before it, nor during it.

    paths: root-relative. An absent file counts as quiet.
    wait: waits at most that many seconds; True if the run has been cancelled.
    Returns a Fault, `source_changed`, for files that keep changing. None if the run was cancelled meanwhile.
    """
    give_up = monotonic() + PATIENCE_S
    for _ in range(_READS):
        before = _await_quiet(root, paths, wait, give_up)
        if before is None or isinstance(before, Fault):
            return before
        found = read()
        if _look(root, paths) == before:
            return found
    return _restless(paths)


def _await_quiet(
    root: Path, paths: Sequence[str], wait: Callable[[float], bool], give_up: float
) -> Look | Fault | None:
    since, seen, changed = monotonic(), _look(root, paths), False
    # Two clocks: the file's own time shows at once that it is old. A time in the future shows nothing, as on a server
    # whose clock is ahead: then two looks a second apart must agree. They must also agree once a change was seen: a
    # file that is deleted and written again is absent in between, and no run may go by that.
    while (changed or _is_fresh(root, paths)) and monotonic() - since < QUIET_S:
        if monotonic() >= give_up:
            return _restless(paths)
        if wait(_LOOK_AGAIN_S):
            return None
        if (now := _look(root, paths)) != seen:
            seen, since, changed = now, monotonic(), True
    return seen


def _restless(paths: Sequence[str]) -> Fault:
    named = " or ".join(map(repr, paths))
    message = f"{named} kept changing for {format_seconds(PATIENCE_S)}; write to a temporary file, then rename it"
    return Fault(reason="source_changed", message=message)


def _is_fresh(root: Path, paths: Sequence[str]) -> bool:
    newest = clock.file_time() - QUIET_S
    return any(found is not None and found.st_mtime > newest for found in _stats(root, paths))


def _look(root: Path, paths: Sequence[str]) -> Look:
    return tuple(None if found is None else mark_of(found) for found in _stats(root, paths))


def _stats(root: Path, paths: Sequence[str]) -> list[os.stat_result | None]:
    return [_stat(root / path) for path in paths]


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # `read` reports why it cannot be read
        return None
