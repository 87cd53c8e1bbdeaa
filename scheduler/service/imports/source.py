"""What a source of an import is: how its files are found and told from others, and how its jobs are read."""

from __future__ import annotations

import functools
import importlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from scheduler.core.formats.jobfile import DEFAULT_TIMEOUT
from scheduler.core.imports.brought import CHECKS, Brought, Here, LeftOutError, gathered
from scheduler.core.imports.incoming import Gathered, Work, problem
from scheduler.core.imports.records import Record, json_items
from scheduler.core.values.problems import Problem, UnavailableError, UsageError
from scheduler.core.values.settings import RunnerSpec, Settings
from scheduler.core.values.texts import TextError, utf8
from scheduler.core.values.units import parse_duration
from scheduler.service.imports.options import Options, checked_prefix, zone_for
from scheduler.service.imports.runners import Tasks, runner_for, tasks_for

# One module each in `sources`. The order is that in which `auto` asks them.
WORDS = ("claude", "codex", "hermes", "openclaw", "k8s", "systemd", "crontab", "phantom")
MOST_BYTES = 64 * 1024 * 1024  # of one file
MOST_FILES = 100_000  # of a folder
_READABLE = "make it readable, or import from a copy"
_BY_ITSELF = "import that folder, too, by its own path"
_NOT_ENTERED = frozenset({".git", "node_modules", ".venv", "__pycache__"})


class TooLargeError(UsageError):
    """A file that is larger than any list of jobs."""


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source. `shown` is its path as the report has it: as given, or below the folder that was given."""

    shown: str
    path: Path
    read: Callable[[], bytes] = field(repr=False)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def there(self) -> bool:
        """False also if nobody may look."""
        return os.path.isfile(self.path)  # noqa: PTH113  which raises nothing

    @property
    def text(self) -> str:
        """Raises: TextError if it is not UTF-8; UnavailableError if it cannot be read."""
        return utf8(self.read())

    def wrong(
        self, line: int, code: str, message: str, hint: str = "", *, column: int = 1, error: bool = True
    ) -> Problem:
        """Something in it that could not be imported."""
        return replace(problem(line, code, message, hint, error=error), path=self.shown, column=column)

    def beside(self, name: str) -> SourceFile:
        """The file at a relative path from this one, which may not exist."""
        shown = os.path.join(os.path.dirname(self.shown), name)  # noqa: PTH118, PTH120  as it was given
        return file_at(self.path.parent / name, shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a source may ask for while it reads: the options, and the root that the jobs are for."""

    options: Options
    settings: Settings
    environ: Mapping[str, str]
    now: datetime
    folder: str  # of the job files
    mixed: bool = False  # there may be jobs of both kinds
    runners: dict[tuple[Work, str], Tasks] = field(default_factory=dict)  # those asked for so far
    refusals: dict[Work, UsageError] = field(default_factory=dict)

    @property
    def zone(self) -> str:
        return zone_for(self.options, self.environ)

    def runner(self, work: Work, wish: str = "", *, alone: bool = True) -> RunnerSpec:
        """wish: the one to take if the root has it, and no option says otherwise.

        alone: all jobs are of this kind, so that a runner of the other kind must have been named by mistake.
        Raises: UsageError if no runner of the root can carry it out.
        """
        if (work, wish) not in self.runners:
            try:
                found = runner_for(self.settings, work, self.options.runner, wish)
            except UsageError:
                if self.options.runner not in self.settings.runners or (alone and not self.mixed):
                    raise
                found = runner_for(self.settings, work, None, wish)
            self.runners[work, wish] = tasks_for(found, work, self.folder)
        return self.runners[work, wish].runner

    def here(self, source: Source, needed: Sequence[tuple[Work, str]], *, checks: bool = False) -> Here:
        """What the rules of all sources need. needed: what the jobs are and wish. checks: some of them have one.

        A runner that is missing is a refusal only if no job is left without it.
        """
        runners: dict[tuple[Work, str], RunnerSpec] = {}
        kinds = {work for work, _ in needed}
        for work, wish in needed:
            try:
                runners[work, wish] = self.runner(work, wish, alone=len(kinds) == 1)
            except UsageError as error:
                self.refusals[work] = error
        if needed and not runners:
            raise self.refusals[needed[0][0]]
        if checks:
            try:
                runners[CHECKS] = self.runner(*CHECKS, alone=False)
            except UsageError as error:
                self.refusals[Work.COMMANDS] = error
        default = self.settings.defaults.get("timeout")
        return Here(
            called=source.called,
            zone=self.zone,
            root_zone=self.settings.timezone,
            now=self.now,
            channels=self.settings.channels,
            usual=DEFAULT_TIMEOUT if default is None else parse_duration(str(default)),
            prefix=checked_prefix(self.options.prefix),
            runners=runners,
            lacking={work: (str(error), error.hint) for work, error in self.refusals.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One scheduler that jobs can come from."""

    word: str  # of the command line
    called: str  # in words
    stop: str  # how to prevent it from running the jobs, too
    named: Callable[[Path], bool]  # whether the file at this path may hold jobs
    tell: Callable[[SourceFile], str | None]  # how its contents show that they are jobs, or None if they are not
    gather: Callable[[Source, Reading, Sequence[SourceFile]], Gathered]
    most: int = MOST_BYTES  # of one file


def gather_each(
    read: Callable[[Reading, SourceFile], Iterator[Brought | Problem]],
) -> Callable[[Source, Reading, Sequence[SourceFile]], Gathered]:
    """`gather` of a source whose files can be read one by one. read: the jobs of one file, and what is wrong with it.

    A file that cannot be read at all is a problem, and the others are read all the same.
    """

    def gather(source: Source, reading: Reading, files: Sequence[SourceFile]) -> Gathered:
        return gather_all(source, reading, read_each(read, reading, files))

    return gather


def gather_all(source: Source, reading: Reading, items: Iterable[Brought | Problem]) -> Gathered:
    jobs: list[Brought] = []
    problems: list[Problem] = []
    for each in items:
        if isinstance(each, Brought):
            jobs.append(each)
        else:
            problems.append(each)
    needed = list(dict.fromkeys((each.work, each.wish) for each in jobs))
    if not jobs:
        return Gathered(problems=tuple(problems))
    checks = any(each.check is not None for each in jobs)
    return gathered(jobs, reading.here(source, needed, checks=checks), problems)


def read_each(
    read: Callable[[Reading, SourceFile], Iterator[Brought | Problem]], reading: Reading, files: Sequence[SourceFile]
) -> Iterator[Brought | Problem]:
    """Raises: UnavailableError if there is one file, and it cannot be read."""
    for file in files:
        try:
            yield from read(reading, file)
        except TextError as error:
            yield file.wrong(error.line, "format", error.message, error.hint, column=error.column)
        except (UnavailableError, TooLargeError) as error:
            if len(files) == 1:
                raise
            yield file.wrong(1, "format", str(error), error.hint)


def records_in(reading: Reading, file: SourceFile, name: str) -> Iterator[tuple[int, Record]]:
    """The objects of a list in a JSON file, each with its line; whatever else is in it is an empty one.

    Raises: TextError, UnavailableError.
    """
    for line, item in json_items(file.text, name):
        yield line, Record(item if isinstance(item, dict) else {}, zone=reading.zone)


def jobs_in(
    reading: Reading, file: SourceFile, name: str, make: Callable[[int, str, Record], Brought], *ids: str
) -> Iterator[Brought | Problem]:
    """The jobs of a list in a JSON file. make: from the line, id and fields of one. ids: the fields that hold its id.

    Raises: TextError, UnavailableError.
    """
    for line, job in records_in(reading, file, name):
        job_id = job.text(*ids or ("id",))
        if job_id is None:
            yield file.wrong(line, "id", "a job has no id; it was left out")
            continue
        try:
            yield make(line, job_id, job)
        except LeftOutError as error:
            yield file.wrong(line, error.code, f"{job_id}: {error.message}; it was left out", error.hint)


def read_beside(file: SourceFile, name: str, parse: Callable[[str], _T]) -> tuple[_T | None, list[Problem]]:
    """What the file of this name beside it says, if there is one; what makes that unreadable."""
    found = file.beside(name)
    if not os.path.lexists(found.path):
        return None, []
    try:
        return parse(found.text), []
    except (TextError, UnavailableError) as error:
        line = error.line if isinstance(error, TextError) else 1
        return None, [found.wrong(line, "unread", f"{error}; what it says was left out", error.hint or _READABLE)]


def source_of(word: str) -> Source:
    """The source of this name; its module is loaded when it is first asked for."""
    return cast(Source, importlib.import_module(f"scheduler.service.imports.sources.{word}").SOURCE)


def read_bytes(path: Path, shown: str, *, most: int = MOST_BYTES) -> bytes:
    """Raises: UnavailableError if it cannot be read; UsageError if it is larger than any list of jobs."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:
        raise UnavailableError(f"cannot read {shown}: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > most:
        raise TooLargeError(f"{shown} is larger than {most:,} bytes, the limit for a file of jobs")
    return data


def file_at(path: Path, shown: str, most: int = MOST_BYTES) -> SourceFile:
    """A file that is read when it is first asked for, and once: it may be a pipe."""
    return SourceFile(shown, path, functools.cache(lambda: read_bytes(path, shown, most=most)))


def files_at(
    name: str,
    stdin: BinaryIO,
    *,
    named: Callable[[Path], bool],
    most: int = MOST_BYTES,
    problems: list[Problem] | None = None,
) -> Iterator[SourceFile]:
    """The file of this name, standard input for -, or the files below a folder whose names fit, in order.

    problems: gets what could not be read there, and so may have held jobs.
    Raises: UsageError if there are none, or too many; UnavailableError.
    """
    path = Path(name)
    if name == "-":
        data = stdin.read(most + 1)
        if len(data) > most:
            raise UsageError(f"standard input is longer than {most:,} bytes, the limit for jobs")
        yield SourceFile("-", path, lambda: data)
        return
    if not path.is_dir():
        yield file_at(path, name, most)
        return
    seen = found = 0
    whole = path.resolve()
    told = [] if problems is None else problems

    def unread(error: OSError) -> None:
        place = Path(os.fsdecode(error.filename))
        if place == path:
            raise UnavailableError(f"cannot read {name}: {error.strerror}") from error
        told.append(_left_out(place, f"the folder cannot be read: {error.strerror}; what it holds", _READABLE))

    def _left_out(place: Path, why: str, hint: str, *, error: bool = True) -> Problem:
        shown = os.path.join(name, place.relative_to(path))  # noqa: PTH118  as it was given
        return replace(problem(1, "unread", f"{why} was left out", hint, error=error), path=shown)

    for folder, folders, files in os.walk(path, onerror=unread):
        folders[:] = sorted(each for each in folders if each not in _NOT_ENTERED)
        for each in folders:
            link = Path(folder, each)
            if link.is_symlink() and not link.resolve().is_relative_to(whole):  # else it leads back, and is read there
                told.append(_left_out(link, "it is a link to a folder, and what that holds", _BY_ITSELF))
        for each in sorted(files):
            seen += 1
            if seen > MOST_FILES:
                raise UsageError(f"{name} holds more than {MOST_FILES:,} files", hint="give the folder of the jobs")
            here = Path(folder, each)
            if not named(here):
                continue
            try:
                mode = here.stat().st_mode
            except OSError as error:
                is_gone = isinstance(error, FileNotFoundError)
                why = "it links to a file that is not there; it" if is_gone else f"cannot read it: {error.strerror}; it"
                told.append(_left_out(here, why, "restore it, or delete the link" if is_gone else _READABLE))
                continue
            if here.is_symlink() and str(here.readlink()) == os.devnull:  # how systemd masks a unit
                continue
            if not stat.S_ISREG(mode):  # a pipe would be waited for
                told.append(_left_out(here, "it is no regular file; it", "copy what it holds to one", error=False))
                continue
            found += 1
            yield file_at(here, os.path.join(name, here.relative_to(path)), most)  # noqa: PTH118  as it was given
    if not found:
        why = f"; {told[0].path}: {told[0].message}" if told else ""
        raise UsageError(f"{name} holds no file of jobs{why}", hint="give a file, or the folder that holds it")
