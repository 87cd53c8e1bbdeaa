"""Changes that one pass or one command made alike, as one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from scheduler.core.values.runs import AuditRow
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.core.values.texts import json_text

_ALIKE = ("create", "archive", "revive", "task")  # whatever they were before and are now


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """row: the newest one, which stands for all. seq: of the oldest row of all that came at the same time."""

    seq: int
    row: AuditRow
    job_ids: tuple[str, ...]  # in the order of the rows, newest first


def grouped(rows: Iterable[tuple[int, AuditRow]]) -> Iterator[Alike]:
    """rows: with their numbers, newest first. What came at once is grouped if it is the same change of several jobs."""
    for _, each in groupby(rows, key=lambda one: (one[1].at, one[1].actor, one[1].cause)):
        block, found = list(each), dict[tuple[object, ...], list[AuditRow]]()
        for _, row in block:
            values = "" if row.action in _ALIKE else json_text([row.before, row.after])
            of_root = row.job_id == ROOT_JOB_ID  # which is no job
            found.setdefault((of_root, row.action, row.field, row.commit, row.no_commit, values), []).append(row)
        for some in found.values():
            yield Alike(seq=block[-1][0], row=some[0], job_ids=tuple(dict.fromkeys(row.job_id for row in some)))
