"""The verbs for readers of what a run wrote: in pieces, or only its end."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import BinaryIO, Literal

from scheduler.core.values.problems import UnavailableError
from scheduler.service.history import output_part, run_to_read
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of one stream of an attempt, as text that begins with a whole line."""

    stream: Literal["stdout", "stderr"]
    attempt: int
    text: str
    bytes: int  # of the whole stream
    cut: bool  # the text is not all of it
    deleted: bool  # the run wrote something, and it is not kept any longer


def ending(
    root: Root, run_id: str, stream: Literal["stdout", "stderr"], *, most: int, attempt: int | None = None
) -> Ending:
    """At most `most` bytes of the end of a stream. attempt: by default the last one.

    Raises: UnknownError for a run or an attempt that is not there.
    """
    part = output_part(root, run_id, stream, start=None, most=most, attempt=attempt)
    data, run = part.data, part.run
    if part.start and b"\n" in data:
        data = data.partition(b"\n")[2]
    number = attempt or (run.attempts[-1].n if run.attempts else 1)
    files = [root.place.output(run.job_id, run.n, number, each) for each in ("stdout", "stderr")]
    return Ending(
        stream=stream,
        attempt=number,
        text=data.decode(errors="replace"),
        bytes=part.total,
        cut=len(data) < part.total,
        deleted=bool(run.output_bytes) and not any(each.exists() for each in files),
    )
