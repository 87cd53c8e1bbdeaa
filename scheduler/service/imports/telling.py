"""`import auto`: which scheduler a file is from, and how that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from scheduler.core.imports.incoming import Gathered, Incoming, problem
from scheduler.core.imports.secrets import redacted
from scheduler.core.values.problems import Problem, SchedulerError, UnavailableError, UsageError
from scheduler.core.values.texts import TextError
from scheduler.service.imports.source import WORDS, Reading, Source, SourceFile, files_at, source_of

if TYPE_CHECKING:
    from scheduler.core.changes import ImportedSourceJson

AUTO = "auto"


def gather_told(reading: Reading, name: str, stdin: BinaryIO) -> tuple[Gathered, list[ImportedSourceJson]]:
    """The jobs of each file whose format is known, and what was found where.

    A folder may hold files of anything else; a file that is given by itself must be of a known format.
    Raises: UsageError if there is nothing of a known format; UnavailableError if the file cannot be read.
    """
    sources = [source_of(word) for word in WORDS]

    def named(path: Path) -> bool:
        return any(each.named(path) for each in sources)

    files: dict[str, list[SourceFile]] = {}
    told: list[ImportedSourceJson] = []
    problems: list[Problem] = []
    in_folder = Path(name).is_dir()
    given = tuple(files_at(name, stdin, named=named, problems=problems))
    for file in given:
        found = _told(sources, file, by_name=in_folder)
        if isinstance(found, UnavailableError) and not in_folder:
            raise found
        if isinstance(found, TextError | SchedulerError):
            line = found.line if isinstance(found, TextError) else 1
            why = f"it cannot be read, so its format is unknown: {found}"
            problems.append(replace(problem(line, "format", why, found.hint, error=False), path=file.shown))
        elif found is not None:
            source, why = found
            files.setdefault(source.word, []).append(file)
            told.append({"path": file.shown, "format": source.word, "why": redacted(why)})
    if not files:
        cannot = f"; {redacted(problems[0].message)}" if problems else ""
        hint = f"name the format: `scheduler import {'|'.join(WORDS)} {name}`"
        if given and given[0].read().startswith(b'{"kind": "export"'):
            hint = f"it is an export of this scheduler: `scheduler import export {name}`"
        raise UsageError(f"the format of {name} cannot be told from its contents{cannot}", hint=hint)
    jobs: list[Incoming] = []
    for source in sources:
        if source.word not in files:
            continue
        try:
            own = source.gather(source, reading, files[source.word])
        except UsageError as error:  # such as that there is no runner for its jobs
            if len(files) == 1:
                raise
            problems.append(files[source.word][0].wrong(1, "runner", f"{error}; its jobs were left out", error.hint))
            continue
        jobs += own.jobs
        problems += own.problems
    return Gathered(jobs=tuple(jobs), problems=tuple(problems)), told


def _told(
    sources: Sequence[Source], file: SourceFile, *, by_name: bool
) -> tuple[Source, str] | TextError | SchedulerError | None:
    """The source of a file, and how that is known; what makes it unreadable; None if it is something else."""
    fault: TextError | SchedulerError | None = None
    for source in sources:
        if by_name and not source.named(file.path):
            continue
        try:
            why = source.tell(file)
        except (TextError, SchedulerError) as error:
            fault = fault or error
            continue
        if why is not None:
            return source, why
    return fault
