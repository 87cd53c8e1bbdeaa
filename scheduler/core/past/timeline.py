"""What was in force when, for one job: definitions and texts with the commits that brought them, from audit rows."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from scheduler.core.past.figures import Figures, Measured, figures
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Runs that used one text and ended alike. They are named by their numbers."""

    content: Content
    measured: Measured
    first: int
    last: int
    committed: int | None  # the newest one that ran as committed


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One text with the files of its runner, and the results of the runs that used them."""

    first: Use
    last: Use
    runs: int
    statuses: Mapping[RunStatus, int]
    figures: Figures
    committed: Use | None  # the newest one that ran as committed


def versions(tallies: Iterable[Tally], use: Callable[[int], Use], *, most: int | None = None) -> list[Version]:
    """One version for each text with the same runner files, last used first; at most `most`.

    use: a run by its number.
    """
    by_text: dict[Content, list[Tally]] = {}
    for tally in tallies:
        by_text.setdefault(tally.content, []).append(tally)
    last_used = sorted(by_text.values(), key=lambda same: max(each.last for each in same), reverse=True)
    return [_version(each, use) for each in last_used[:most]]


def _version(tallies: Sequence[Tally], use: Callable[[int], Use]) -> Version:
    statuses: Counter[RunStatus] = Counter()
    for each in tallies:
        statuses[each.measured.status] += each.measured.runs
    committed = max((each.committed for each in tallies if each.committed is not None), default=None)
    return Version(
        first=use(min(each.first for each in tallies)),
        last=use(max(each.last for each in tallies)),
        runs=sum(statuses.values()),
        statuses=statuses,
        figures=figures(each.measured for each in tallies),
        committed=None if committed is None else use(committed),
    )
