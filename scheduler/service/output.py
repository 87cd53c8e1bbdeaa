"""The verb that opens what a run wrote, for a reader who takes it in pieces."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import BinaryIO, Literal

from scheduler.core.values.problems import UnavailableError
from scheduler.service.history import run_to_read
from scheduler.service.root import Root


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One stream of one attempt."""

    run_id: str
    file: BinaryIO  # at the first byte to give; the reader closes it
    bytes: int  # from there on; a run that goes on may write more


def captured(
    root: Root, run_id: str, stream: Literal["stdout", "stderr"], *, attempt: int | None = None, tail: int | None = None
) -> Captured:
    """Open the output of an attempt, by default of the last one. tail: only its last bytes.

    Raises: UnavailableError if it was deleted; UsageError for an unknown run.
    """
    run = run_to_read(root, run_id)
    number = attempt or (run.attempts[-1].n if run.attempts else 1)
    path = root.place.output(run.job_id, run.n, number, stream)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        if run.output_bytes and not path.parent.exists():
            raise UnavailableError(
                f"the output of {run.id} is gone: {path} does not exist",
                hint="retention.output_days in scheduler.yaml has passed, or the run was imported",
            ) from None
        return Captured(run_id=run.id, file=io.BytesIO(), bytes=0)
    size = os.fstat(file.fileno()).st_size
    start = 0 if tail is None else max(0, size - tail)
    file.seek(start)
    return Captured(run_id=run.id, file=file, bytes=size - start)
