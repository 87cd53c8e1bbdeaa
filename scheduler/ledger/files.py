"""The index of files: what a pass last read and applied, by what a stat said of each (ADR 48)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from sqlite3 import Connection
from typing import Any, Literal

from scheduler.core.values.problems import Problem
from scheduler.ledger.rows import batched, dump

FileKind = Literal["job", "task"]
NO_REPOSITORY = "none"  # in the place of a commit


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """One file as it was read. What it says has been applied."""

    kind: FileKind
    path: str
    mark: bytes  # as `scan.mark`
    young: bool  # its next edit might leave the same mark: the next pass reads it
    sha256: str
    blob: str | None = None  # of the commit, if the bytes are the same
    untracked: bool = False
    warnings: tuple[Problem, ...] = ()
    tasks: frozenset[str] = frozenset()  # of a job file: the files of its tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesChange:
    """What a pass has learnt about files."""

    by: str  # digest of what they were read by
    commit: str | None
    whole: bool = False  # nothing else is known any more
    put: tuple[FileRow, ...] = ()
    same: tuple[tuple[FileKind, str, bytes, bool], ...] = ()  # kind, path, mark, young: the bytes are as before
    drop: tuple[tuple[FileKind, str], ...] = ()
    parsed_settings: str | None = None  # as JSON; None: as before


@dataclass(slots=True)
class Known:
    """All rows, as far as every pass needs them; marks by folder ("" or "a/b/") and name."""

    by: str | None
    commit: str | None
    ticket: int = 0  # counts the changes of the rows, by whatever process
    marks: dict[FileKind, dict[str, dict[str, bytes]]] = field(default_factory=lambda: {"job": {}, "task": {}})
    young: set[tuple[FileKind, str]] = field(default_factory=set)
    untracked: set[str] = field(default_factory=set)  # job files
    warnings: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    loose: set[str] = field(default_factory=set)  # paths that hold unarchived jobs and are not among the marks


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The files that say what is in force, with nothing to warn of, as the commit of the last pass has them."""

    by: str | None  # as in `Known`
    jobs: Mapping[str, str]  # the blob of each job file, by path
    tasks: Mapping[str, str]  # the same of the files of tasks
    users: Mapping[str, Sequence[str]]  # the files of the tasks of a job file; none for most
    names: Sequence[tuple[str, int, str]]  # path, line and id of every job that is not archived


def split(path: str) -> tuple[str, str]:
    folder, slash, name = path.rpartition("/")
    return folder + slash, name


def applied_commit(sql: Connection) -> str | None:
    """The commit of the last pass; None if there was none, or outside a repository."""
    (commit,) = sql.execute("SELECT files_commit FROM root").fetchone()
    return None if commit == NO_REPOSITORY else commit


def known_files(sql: Connection) -> Known:
    by, commit, ticket = sql.execute("SELECT files_by, files_commit, files_ticket FROM root").fetchone()
    found = Known(by=by, commit=commit, ticket=ticket)
    marks = found.marks
    last, names = None, dict[str, bytes]()
    for kind, path, mark in sql.execute("SELECT kind, path, mark FROM files ORDER BY kind, path"):
        folder, slash, name = path.rpartition("/")
        if (kind, folder) != last:
            last, names = (kind, folder), marks[kind].setdefault(folder + slash, {})
        names[name] = mark
    special = "SELECT kind, path, young, untracked, warnings FROM files WHERE young OR untracked OR warnings NOTNULL"
    for kind, path, young, untracked, warnings in sql.execute(special):
        if young:
            found.young.add((kind, path))
        if untracked and kind == "job":
            found.untracked.add(path)
        if warnings is not None:
            found.warnings[path] = tuple(map(Problem.from_json, json.loads(warnings)))
    found.loose.update(
        path
        for (path,) in sql.execute(
            "SELECT DISTINCT path FROM jobs WHERE archived_at IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM files WHERE kind = 'job' AND files.path = jobs.path)"
        )
    )
    return found


def applied_files(sql: Connection) -> Applied:
    (by,) = sql.execute("SELECT files_by FROM root").fetchone()
    found: dict[str, dict[str, str]] = {"job": {}, "task": {}}
    fine = "blob NOTNULL AND NOT untracked AND warnings IS NULL AND sha256 <> x''"
    for kind, path, blob in sql.execute(f"SELECT kind, path, lower(hex(blob)) FROM files WHERE {fine}"):
        found[kind][path] = blob
    users: dict[str, list[str]] = {}
    for path, task in sql.execute("SELECT path, task FROM task_files"):
        users.setdefault(path, []).append(task)
    names = sql.execute("SELECT path, line, id FROM jobs WHERE archived_at IS NULL ORDER BY path, line, id")
    return Applied(by=by, jobs=found["job"], tasks=found["task"], users=users, names=list(map(tuple, names)))


def files_ticket(sql: Connection) -> int:
    (ticket,) = sql.execute("SELECT files_ticket FROM root").fetchone()
    return int(ticket)


def parsed_settings(sql: Connection) -> Any:
    (found,) = sql.execute("SELECT parsed_settings FROM root").fetchone()
    return None if found is None else json.loads(found)


def held_paths(sql: Connection) -> set[str]:
    """The files of all unarchived jobs."""
    return {path for (path,) in sql.execute("SELECT DISTINCT path FROM jobs WHERE archived_at IS NULL")}


def applied_sha256s(sql: Connection, paths: Collection[str]) -> dict[str, set[str]]:
    """By path: the sha256 of the job file that the jobs in it were read from. None of it if it holds no job."""
    found: dict[str, set[str]] = {}
    query = "SELECT DISTINCT path, file_sha256 FROM jobs WHERE archived_at IS NULL AND path IN"
    for path, sha256 in _by_path(sql, query, paths):
        found.setdefault(path, set()).add(sha256)
    return found


def applied_task_sha256s(sql: Connection, paths: Collection[str]) -> dict[str, set[str]]:
    """By task file: the sha256 of the text that each job which names it was given last.

    They differ if it was written while a pass read it for one of them.
    """
    found: dict[str, set[str]] = {}
    query = (
        "SELECT DISTINCT task, task_sha256 FROM task_files JOIN jobs ON jobs.path = task_files.path"
        " JOIN definitions ON definitions.job_id = jobs.id AND definitions.generation = jobs.generation"
        " WHERE archived_at IS NULL AND json_extract(spec, '$.task_source_path') = task AND task IN"
    )
    for path, sha256 in _by_path(sql, query, paths):
        found.setdefault(path, set()).add(sha256)
    return found


def sha256s(sql: Connection, kind: FileKind, paths: Collection[str]) -> dict[str, str]:
    """The sha256 of each of these files, as it was read. Empty for an outdated row."""
    rows = _by_path(sql, "SELECT path, sha256 FROM files WHERE kind = ? AND path IN", paths, kind)
    return {path: found.hex() for path, found in rows}


def young_files(sql: Connection) -> set[tuple[FileKind, str]]:
    """The files that the next pass reads whatever their marks say."""
    return {(kind, path) for kind, path in sql.execute("SELECT kind, path FROM files WHERE young")}


def outdate(sql: Connection, paths: Collection[str]) -> None:
    """What is in force is no longer what these job files said when they were read for the index.

    The files may come back just as they were, with the same marks.
    """
    query = "UPDATE files SET young = 1, sha256 = x'' WHERE kind = 'job' AND path = ?"
    sql.executemany(query, [(path,) for path in paths])


def blobs(sql: Connection) -> list[tuple[FileKind, str, str | None, bool]]:
    """Kind, path, blob of the commit and whether it is untracked, of every file."""
    rows = sql.execute("SELECT kind, path, blob, untracked FROM files")
    return [(kind, path, None if blob is None else blob.hex(), bool(untracked)) for kind, path, blob, untracked in rows]


def users_of(sql: Connection, tasks: Collection[str]) -> set[str]:
    """The job files that name one of these task files."""
    return {path for (path,) in _by_path(sql, "SELECT DISTINCT path FROM task_files WHERE task IN", tasks)}


def change_files(sql: Connection, change: FilesChange) -> tuple[tuple[FileKind, str], ...]:
    """Write a change. Returns what else was dropped: task files that no job file names any more."""
    sql.execute(
        "UPDATE root SET files_by = ?, files_commit = ?, parsed_settings = coalesce(?, parsed_settings),"
        " files_ticket = files_ticket + 1",
        (change.by, change.commit, change.parsed_settings),
    )
    if change.whole:
        sql.execute("DELETE FROM files")
        sql.execute("DELETE FROM task_files")
    touched = [path for kind, path in change.drop if kind == "job"] + [
        row.path for row in change.put if row.kind == "job"
    ]
    left = set()
    if not change.whole:
        left = {task for (task,) in _by_path(sql, "SELECT DISTINCT task FROM task_files WHERE path IN", touched)}
        sql.executemany("DELETE FROM task_files WHERE path = ?", [(path,) for path in touched])
        sql.executemany("DELETE FROM files WHERE kind = ? AND path = ?", change.drop)
    sql.executemany(
        "UPDATE files SET mark = ?, young = ? WHERE kind = ? AND path = ?",
        [(mark, young, kind, path) for kind, path, mark, young in change.same],
    )
    sql.executemany(
        "INSERT OR REPLACE INTO files (kind, path, mark, young, sha256, blob, untracked, warnings)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        map(_values, change.put),
    )
    sql.executemany(
        "INSERT OR IGNORE INTO task_files (path, task) VALUES (?, ?)",
        [(row.path, task) for row in change.put for task in row.tasks],
    )
    unused = left - {task for (task,) in _by_path(sql, "SELECT task FROM task_files WHERE task IN", left)}
    sql.executemany("DELETE FROM files WHERE kind = 'task' AND path = ?", [(path,) for path in unused])
    return tuple(("task", path) for path in unused)


def _values(row: FileRow) -> Sequence[object]:
    blob = None if row.blob is None else bytes.fromhex(row.blob)
    warnings = dump([each.to_json() for each in row.warnings]) if row.warnings else None
    return row.kind, row.path, row.mark, row.young, bytes.fromhex(row.sha256), blob, row.untracked, warnings


def _by_path(sql: Connection, query: str, paths: Collection[str], *before: object) -> Iterator[Any]:
    for some in batched(paths):
        yield from sql.execute(f"{query} ({','.join('?' * len(some))})", (*before, *some))
