"""What was in force when, for one job: definitions and texts with the commits that brought them, from audit rows."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from statistics import median
from typing import Any

from scheduler.core.values.facts import Commit, NoCommit, RunnerFile
from scheduler.core.values.runs import AuditRow, RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How a definition or a text came into force."""

    since: datetime
    revision: str | None = None  # HEAD at that time
    commit: Commit | None = None  # the commit that changed the file; may be a later one that committed the same bytes
    no_commit: NoCommit | None = None
    actor: str
    cause: str
    task_sha256: str | None = None  # of a text


class Changes:
    """A job's audit rows, arranged by what was in force when. Instants outside them are answered too."""

    def __init__(self, rows: Sequence[AuditRow]) -> None:
        """rows: of one job, oldest first."""
        self._definitions: list[Origin] = []
        self._texts: list[Origin] = []
        inline = True
        for row in rows:
            origin = Origin(
                since=row.at, revision=row.revision, commit=row.commit, no_commit=row.no_commit, actor=row.actor,
                cause=row.cause,
            )  # fmt: skip
            match row.action, row.field:
                case "create", _:
                    after = row.after or {}
                    inline = after.get("task_source_path") is None
                    self._definitions.append(origin)
                    self._texts.append(replace(origin, task_sha256=after.get("task_sha256")))
                case ("update", _) | ("revive", _):
                    if row.field == "task_source_path":
                        inline = row.after is None
                    if self._definitions and self._definitions[-1].since == row.at:
                        self._definitions[-1] = origin  # one edit of several fields
                    else:
                        self._definitions.append(origin)
                case "task", _:
                    if self._texts and self._texts[-1].since == row.at:
                        self._texts.pop()  # the text of a new job has its own commit
                    self._texts.append(replace(origin, task_sha256=row.after))
                case "commit", "path":
                    _committed(self._definitions, row)
                    if inline:
                        _committed(self._texts, row)
                case "commit", _:
                    _committed(self._texts, row)

    def definition_at(self, at: datetime) -> Origin | None:
        return _at(self._definitions, at)

    def text(self, sha256: str | None, at: datetime) -> Origin | None:
        """How that text had come by then. If it was read a moment before its audit row, how it came after that."""
        if sha256 is None:
            return None
        same = [each for each in self._texts if each.task_sha256 == sha256]
        return _at(same, at) or (same[0] if same else None)


def _committed(origins: list[Origin], row: AuditRow) -> None:
    if origins and origins[-1].commit is None:
        origins[-1] = replace(origins[-1], commit=row.commit, no_commit=row.no_commit)


def _at(origins: Sequence[Origin], at: datetime) -> Origin | None:
    number = bisect_right(origins, at, key=lambda each: each.since)
    return origins[number - 1] if number else None


def edits(rows: Iterable[AuditRow]) -> Iterator[Sequence[AuditRow]]:
    """Audit rows that their author made as one change: of one moment, one commit and one cause; in order."""
    for _, group in groupby(rows, key=lambda row: (row.at, row.actor, row.cause, row.commit, row.no_commit)):
        yield tuple(group)


def settings_between(
    rows: Iterable[AuditRow], prefixes: Sequence[str], start: datetime, end: datetime
) -> dict[str, tuple[Any, Any]]:
    """Settings that differ at two instants, by dotted name, according to the audit rows of scheduler.yaml."""
    found: dict[str, tuple[Any, Any]] = {}
    for row in rows:
        if start < row.at <= end and row.field is not None and row.field.startswith(tuple(prefixes)):
            found[row.field] = found.get(row.field, (row.before,))[0], row.after
    return {name: change for name, change in found.items() if change[0] != change[1]}


# A text and the files that the runner's command names: what ran.
Content = tuple[str, tuple[tuple[str, str | None, bool], ...]]


def contents(found: Iterable[RunnerFile] | None) -> tuple[tuple[str, str | None, bool], ...]:
    """The content of a run. None, from a run before runner files were recorded, counts as no files."""
    return tuple(each.content for each in found or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One run that used a text."""

    n: int
    task_sha256: str
    task_bytes: int | None
    status: RunStatus
    started_at: datetime
    duration_ms: int | None
    source_path: str | None
    source_blob: str | None
    revision: str | None
    dirty: str | None
    runner_files: tuple[RunnerFile, ...] | None = None

    @property
    def content(self) -> Content:
        return self.task_sha256, contents(self.runner_files)


_JUDGED = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.TIMED_OUT)  # others were ended by somebody


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One text with the files of its runner, and the results of the runs that used them."""

    first: Use
    last: Use
    runs: int
    statuses: Mapping[RunStatus, int]
    median_duration_ms: int | None  # of the runs that ended by themselves
    committed: Use | None  # the newest one that ran as committed

    @property
    def success_rate(self) -> float | None:
        """The share of successes among the runs that ended by themselves: 0 to 1. None if there are none."""
        judged = sum(self.statuses.get(status, 0) for status in _JUDGED)
        return self.statuses.get(RunStatus.SUCCEEDED, 0) / judged if judged else None


def versions(uses: Iterable[Use]) -> list[Version]:
    """One version for each text with the same runner files, last used first. uses: oldest first."""
    by_text: dict[Content, list[Use]] = {}
    for use in uses:
        by_text.setdefault(use.content, []).append(use)
    return sorted((_version(each) for each in by_text.values()), key=lambda each: each.last.n, reverse=True)


def _version(uses: Sequence[Use]) -> Version:
    durations = [use.duration_ms for use in uses if use.duration_ms is not None and use.status in _JUDGED]
    clean = [use for use in uses if use.source_blob is not None and use.dirty in (None, "converted")]
    return Version(
        first=uses[0],
        last=uses[-1],
        runs=len(uses),
        statuses=Counter(use.status for use in uses),
        median_duration_ms=round(median(durations)) if durations else None,
        committed=clean[-1] if clean else None,
    )
