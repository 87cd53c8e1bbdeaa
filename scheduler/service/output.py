"""The verb that shows what a run wrote: output, and output --follow."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.runs import Run
from scheduler.core.values.settings import Settings
from scheduler.ledger import syncs
from scheduler.service.history import run_of
from scheduler.service.root import Root

_CUT = re.compile(rb"\n\[\.\.\. \d+ bytes not kept \.\.\.\]\n")  # capture.py
FOLLOW_S = 0.1  # between two looks at a growing output


def output(root: Root, run_id: str, *, prefix: bool = False) -> tuple[Run, bytes, bytes]:
    """What a run's last attempt wrote on stdout and stderr, as far as it was kept."""
    run = run_of(root, run_id, prefix=prefix)
    attempt = run.attempts[-1].n if run.attempts else 1
    files = [root.place.output(run.job_id, run.n, attempt, stream) for stream in ("stdout", "stderr")]
    if run.output_bytes and not any(file.exists() for file in files):
        left = f"; `scheduler history {run.job_id} --json` has how it began (`result`)" if run.result else ""
        raise UnavailableError(
            f"the output of {run.id} is gone: {files[0]} is not there",
            hint=f"retention.output_days in scheduler.yaml has run out, or the run came by an import{left}",
        )
    return run, _kept(files[0]), _kept(files[1])


def follow_output(
    root: Root, run_id: str, *, prefix: bool = False
) -> Iterator[tuple[Literal["stdout", "stderr"], bytes]]:
    """What a run writes, as it comes, until it has ended. Where not all was kept, the end says so in its place."""
    run = run_of(root, run_id, prefix=prefix)
    with root.open() as store:
        settings = store.read(syncs.settings) or Settings()
    room = settings.limits.output_bytes // 2  # of each stream; beyond it the file is put together anew at the end
    done: dict[Literal["stdout", "stderr"], int] = {"stdout": 0, "stderr": 0}
    attempt = run.attempts[-1].n if run.attempts else 1
    while True:
        run = run_of(root, run.id)
        while run.attempts and attempt < run.attempts[-1].n:  # the rest of one try, and the next from its start
            for stream in done:
                whole = _kept(root.place.output(run.job_id, run.n, attempt, stream))
                cut = _CUT.search(whole) if len(whole) > room else None
                data = whole[min(done[stream], len(whole) if cut is None else cut.start()) :]
                if data:
                    yield stream, data
            attempt, done = attempt + 1, {"stdout": 0, "stderr": 0}
        for stream in done:
            path = root.place.output(run.job_id, run.n, attempt, stream)
            data = _kept(path, start=done[stream])
            if run.truncated and run.status.finished and (cut := _CUT.search(whole := _kept(path))) is not None:
                data = whole[min(done[stream], cut.start()) :]
            elif not run.status.finished:
                data = data[: max(0, room - done[stream])]
            done[stream] += len(data)
            if data:
                yield stream, data
        if run.status.finished:
            return
        time.sleep(FOLLOW_S)


def _kept(path: Path, *, start: int = 0) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UnavailableError(f"the output {path} cannot be read: {error.strerror}") from error
