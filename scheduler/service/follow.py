"""The verb that prints what a run writes while it writes it, wherever it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

from scheduler.core.values.runs import LOCAL
from scheduler.core.values.settings import Settings
from scheduler.ledger import syncs
from scheduler.service.away import CUT, FOLLOW_S, follow_away
from scheduler.service.history import kept, last_attempt, run_of, run_to_read
from scheduler.service.root import Root


def follow_output(
    root: Root, run_id: str, *, prefix: bool = False
) -> Iterator[tuple[Literal["stdout", "stderr"], bytes]]:
    """Yield the output of a run as it comes, until the run has ended. Says at the end if not all was kept."""
    run = run_to_read(root, run_id, prefix=prefix)
    with root.open() as store:
        settings = store.read(syncs.settings) or Settings()
    room = settings.limits.output_bytes // 2  # per stream; beyond it, the file is rebuilt at the end
    done: dict[Literal["stdout", "stderr"], int] = {"stdout": 0, "stderr": 0}
    attempt = last_attempt(run)
    while True:
        run = run_of(root, run.id)
        if run.engine != LOCAL:
            yield from follow_away(root, run.id, room)
            return
        while run.attempts and attempt < run.attempts[-1].n:  # the rest of one attempt, and the next from its start
            for stream in done:
                whole = kept(root.place.output(run.job_id, run.n, attempt, stream))
                cut = CUT.search(whole) if len(whole) > room else None
                data = whole[min(done[stream], len(whole) if cut is None else cut.start()) :]
                if data:
                    yield stream, data
            attempt, done = attempt + 1, {"stdout": 0, "stderr": 0}
        for stream in done:
            path = root.place.output(run.job_id, run.n, attempt, stream)
            data = kept(path, start=done[stream])
            if run.truncated and run.status.finished and (cut := CUT.search(whole := kept(path))) is not None:
                data = whole[min(done[stream], cut.start()) :]
            elif not run.status.finished:
                data = data[: max(0, room - done[stream])]
            done[stream] += len(data)
            if data:
                yield stream, data
        if run.status.finished:
            return
        time.sleep(FOLLOW_S)
