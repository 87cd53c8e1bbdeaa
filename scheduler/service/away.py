"""What a run on another machine wrote, from the host that keeps it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.runs import Run, RunStatus
from scheduler.service.history import run_of
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.run.temporal.fetch import Fetcher
    from scheduler.run.temporal.spec import Piece

Stream = Literal["stdout", "stderr"]
CUT = re.compile(rb"\n\[\.\.\. \d+ bytes not kept \.\.\.\]\n")  # run/local/capture
FOLLOW_S = 0.1  # between two reads of a growing output
WAIT_S = 5.0  # of a worker for more output, before it is asked again
AGAIN_S = 1.0  # after a host has not answered


def full_output(root: Root, run: Run) -> tuple[bytes, bytes]:
    """All that the host of the last try has kept of stdout and stderr. Raises: UnavailableError, RefusedError."""
    if run.status is RunStatus.CLAIMED:
        raise UnavailableError(f"a new try of {run.id} is on its way to a worker", hint="ask again once it runs")
    with _fetcher(root) as fetcher:
        found = {"stdout": b"", "stderr": b""}
        for stream, data in _rest(fetcher, run, {"stdout": 0, "stderr": 0}, head=0):
            found[stream] += data
    if run.output_bytes and not any(found.values()):
        raise UnavailableError(
            f"host {run.host} no longer has the output of {run.id}",
            hint="output_days of its worker.yaml has passed; `scheduler output RUN` prints what came home",
        )
    return found["stdout"], found["stderr"]


def follow_away(root: Root, run_id: str, room: int) -> Iterator[tuple[Stream, bytes]]:
    """Yield the output of a run on a worker as it comes, until the run has ended.

    room: bytes of a stream that a host keeps; beyond it, the file is rebuilt at the end. Raises: UnavailableError if
    the host does not answer at the end.
    """
    done: dict[Stream, int] = {"stdout": 0, "stderr": 0}
    before: Run | None = None  # as it was when its output was last fetched
    with _fetcher(root) as fetcher:
        while True:
            run = run_of(root, run_id)
            if before is not None and before.handle != run.handle:  # the rest of one try, and the next from its start
                yield from _rest(fetcher, before, done, head=room // 2)
                before, done = None, {"stdout": 0, "stderr": 0}
            if run.status.finished:
                if run.host is not None:
                    yield from _rest(fetcher, run, done, head=room // 2)
                return
            if run.host is None or run.status is not RunStatus.RUNNING:
                time.sleep(FOLLOW_S)
                continue
            before = run
            try:
                found = _pieces(fetcher, run, done, wait_s=WAIT_S)
            except UnavailableError:
                time.sleep(AGAIN_S)
                continue
            if all(piece.ended for piece in found.values()):  # and perhaps rebuilt: its row will say so
                time.sleep(FOLLOW_S)
                continue
            for stream in done:
                done[stream] += len(found[stream].data)
                if found[stream].data:
                    yield stream, found[stream].data


def _rest(fetcher: Fetcher, run: Run, done: Mapping[Stream, int], *, head: int) -> Iterator[tuple[Stream, bytes]]:
    """What an ended try has written beyond `done`, with the mark that something in the middle was not kept.

    head: where that mark stands, if there is one.
    """
    starts = {stream: min(at, head) for stream, at in done.items()}
    first = True
    while True:
        found = _pieces(fetcher, run, starts)
        if not any(piece.data for piece in found.values()):
            return
        for stream in starts:
            data = found[stream].data
            starts[stream] += len(data)
            if first and not CUT.match(data):
                data = data[max(0, done[stream] - min(done[stream], head)) :]
            if data:
                yield stream, data
        first = False


def _pieces(fetcher: Fetcher, run: Run, starts: Mapping[Stream, int], *, wait_s: float = 0) -> Mapping[str, Piece]:
    assert run.handle is not None
    assert run.task_queue is not None
    assert run.host is not None
    asked: dict[str, int] = {stream: start for stream, start in starts.items()}  # noqa: C416 - of any text
    return fetcher.pieces(run.handle, run.task_queue, run.host, asked, wait_s=wait_s)


def _fetcher(root: Root) -> Fetcher:
    """Raises: UnavailableError, RefusedError."""
    from scheduler.run.temporal.setup import has_library, read_engine

    settings = read_engine(root.place)
    if settings is None:
        raise UnavailableError(
            "this host has no engine.yaml, so it cannot ask others", hint="ask on the host that runs `scheduler serve`"
        )
    if not has_library():
        raise UnavailableError("engine.yaml needs a library", hint="pip install 'gitops-scheduler[temporal]'")
    from scheduler.run.temporal.fetch import Fetcher

    return Fetcher(settings, root.environ)
