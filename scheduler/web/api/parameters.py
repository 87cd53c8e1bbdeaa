"""Parameters that several routes have in common."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Path, Query

from scheduler.core.times.moments import read_moment
from scheduler.core.values.problems import UsageError
from scheduler.core.values.texts import InputError
from scheduler.service.instants import instant_of
from scheduler.service.root import Root

JobId = Annotated[str, Path(description="The id of a job", max_length=200)]
RunId = Annotated[str, Path(description="A run, as JOB:N", max_length=220)]
Limit = Annotated[int, Query(ge=1, le=1_000, description="Most rows of the answer")]
When = Annotated[str | None, Query(max_length=100, description="An instant, as every command accepts it")]


def moment(root: Root, text: str | None, job_id: str | None = None) -> datetime | None:
    """The instant that is meant. Raises: UsageError."""
    if text is None:
        return None
    try:
        return instant_of(root, read_moment(text), () if job_id is None else (job_id,))
    except InputError as error:
        raise UsageError(error.message, hint=error.hint) from None
