"""crontab(5): the crontab of a user, /etc/crontab and /etc/cron.d."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scheduler.core.formats.jobfile import DEFAULT_TIMEOUT
from scheduler.core.imports import crontab
from scheduler.core.imports.commands import shell_options
from scheduler.core.imports.incoming import Gathered, Incoming, Work, problem
from scheduler.core.values.problems import Problem, UsageError
from scheduler.core.values.units import format_duration, parse_duration
from scheduler.machine.users import is_program, me, user_exists
from scheduler.service.imports.options import checked_prefix
from scheduler.service.imports.source import Reading, Source, SourceFile

MOST_BYTES = 10 * 1024 * 1024


def _is_system(file: SourceFile, data: bytes) -> bool:
    path = file.path.absolute()
    known = str(path) == "/etc/crontab" or str(path.parent) == "/etc/cron.d"
    return known or crontab.is_system(data, user_exists, is_program)


def _tell(file: SourceFile) -> str | None:
    data = file.read()
    if b"\0" in data:
        return None
    try:
        found = crontab.read_crontab(data, system=_is_system(file, data))
    except UsageError:
        return None
    bad = any(each.code.removeprefix("import.") in ("line", "encoding") and each.is_error for each in found.problems)
    if bad or not found.entries:
        return None
    return f"line {found.entries[0].line} is a time and a command, and no line is anything else"


def _gather(source: Source, reading: Reading, files: Sequence[SourceFile]) -> Gathered:
    jobs: list[Incoming] = []
    problems: list[Problem] = []
    for file in files:
        own, told = _jobs(reading, file, {each.id for each in jobs})
        jobs += [replace(each, path=file.shown) for each in own]
        problems += [replace(each, path=file.shown) for each in told]
    return Gathered(jobs=tuple(jobs), problems=tuple(problems))


def _jobs(reading: Reading, file: SourceFile, taken: set[str]) -> tuple[list[Incoming], list[Problem]]:
    data, options = file.read(), reading.options
    if data[:16] == b"SQLite format 3\0":
        hint = "import it with `scheduler import phantom`"
        raise UsageError(f"{file.shown} is a SQLite database, not a crontab", hint=hint)
    runner = reading.runner(Work.COMMANDS)
    shell = crontab.Shell(
        name=posixpath.basename(runner.command[0]),
        options=shell_options(runner.command),
        max_timeout=runner.max_timeout,
        allowed=runner.job_env,
    )
    system = _is_system(file, data) if options.system is None else options.system
    users = crontab.Users(wanted=options.user or me(), exists=user_exists) if system else None
    usual = parse_duration(str(reading.settings.defaults.get("timeout", format_duration(DEFAULT_TIMEOUT))))
    jobs, problems = crontab.crontab_jobs(
        crontab.read_crontab(data, system=system),
        shell=shell,
        zone=reading.zone,
        root_zone=reading.settings.timezone,
        users=users,
        usual=usual,
        prefix=checked_prefix(options.prefix),
        taken=taken,
    )
    if jobs:
        ended = format_duration(max(usual, crontab.LONG))
        rule = f"each job is stopped after {ended} unless its file sets another timeout"
        hint = "to change it: `scheduler update JOB --set timeout=2h`"
        problems.append(problem(1, "timeout", f"cron never stops a command; here, {rule}", hint, error=False))
    return jobs, problems


def _named(path: Path) -> bool:
    return path.name == "crontab" or path.suffix in (".cron", ".crontab") or path.parent.name == "cron.d"


SOURCE = Source(
    word="crontab",
    called="the crontab",
    stop="remove its lines (`crontab -e`)",
    named=_named,
    tell=_tell,
    gather=_gather,
    most=MOST_BYTES,
)
