"""What comes home of a try: its output as files, and its times by the clock of this machine."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime, timedelta
from pathlib import Path

from scheduler.run.temporal.spec import Outcome, Stream


def keep_output(path: Path, stream: Stream, host: str | None, run_id: str) -> None:
    """Write what came home of a stream. A silent one has no file. Raises: OSError."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()  # of a run that had this number before a restore
    if not stream.total:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(handle, "wb") as file:  # noqa: PTH123
        file.write(stream.head)
        if stream.missing:
            where = f"{stream.missing} bytes are on {host or 'the host'}: scheduler output {run_id} --full"
            file.write(f"\n[... {where} ...]\n".encode())
        file.write(stream.tail)


def times(outcome: Outcome, *, handed_at: datetime, now: datetime) -> tuple[datetime, datetime]:
    """When the process began and ended. The host's clock may be wrong: then only the difference is taken from it."""
    begun, ended = outcome.spawned_at, outcome.finished_at
    took = ended - begun if begun is not None and ended is not None and ended > begun else timedelta(0)
    if begun is not None and ended is not None and handed_at <= begun <= ended <= now:
        return begun, ended
    return max(handed_at, now - took), now
