"""Phantom: a SQLite database with the table `scheduled_jobs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scheduler.core.imports.incoming import Gathered, Incoming, Work
from scheduler.core.imports.phantom import phantom_jobs
from scheduler.core.values.problems import Problem, SchedulerError, UsageError
from scheduler.service.imports.phantom_db import read_phantom
from scheduler.service.imports.source import Reading, Source, SourceFile


def _tell(file: SourceFile) -> str | None:
    try:
        with file.path.open("rb") as opened:
            if opened.read(16) != b"SQLite format 3\0":
                return None
        rows, _ = read_phantom(file.path)
    except (SchedulerError, OSError):
        return None
    return f"it is a SQLite database, and its table scheduled_jobs has {len(rows)} rows"


def _gather(source: Source, reading: Reading, files: Sequence[SourceFile]) -> Gathered:
    jobs: list[Incoming] = []
    problems: list[Problem] = []
    for file in files:
        if file.shown == "-":
            raise UsageError("a database cannot be read from standard input", hint="give its file")
        rows, audit = read_phantom(file.path)
        reading.runner(Work.PROMPT)
        own, told = phantom_jobs(
            rows,
            audit,
            zone=reading.zone,
            root_zone=reading.settings.timezone,
            channels=reading.settings.channels,
            now=reading.now,
        )
        jobs += [replace(each, path=file.shown) for each in own]
        problems += [replace(each, path=file.shown) for each in told]
    return Gathered(jobs=tuple(jobs), problems=tuple(problems))


def _named(path: Path) -> bool:
    return path.suffix in (".db", ".sqlite", ".sqlite3")


SOURCE = Source(word="phantom", called="Phantom", stop="stop it", named=_named, tell=_tell, gather=_gather)
