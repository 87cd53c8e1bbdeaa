"""The options of an import, and what they come to in this root."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.core.formats.paths import PathError, check_path
from scheduler.core.formats.rules import ID_PATTERN
from scheduler.core.times.fires import zone_of
from scheduler.core.values.problems import UsageError
from scheduler.core.values.settings import ROOT_FILE, Settings
from scheduler.machine.users import local_zone
from scheduler.service.edit.trees import is_job_path

FOLDER = "jobs/imported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of an import. None: follow the rules of each kind."""

    to: str | None = None  # the folder of the job files
    runner: str | None = None
    timezone: str | None = None  # for schedules without one
    user: str | None = None  # whose lines of a system crontab
    system: bool | None = None  # whether each line of the crontab has a user
    prefix: str = ""  # for generated ids
    paused: bool = False  # pause the created jobs from their first moment
    sync: bool = True
    dry_run: bool = False


def zone_for(options: Options, environ: Mapping[str, str]) -> str:
    """The zone of schedules that name none. Raises: UsageError if it is invalid or unknown."""
    if options.timezone is not None:
        try:
            zone_of(options.timezone)
        except ValueError as error:
            raise UsageError(f"--timezone: {error}", hint=getattr(error, "hint", "")) from None
        return options.timezone
    found = local_zone(environ)
    if found is None:
        raise UsageError("the time zone of this machine is unknown", hint="give it, such as --timezone Europe/Berlin")
    return found


def checked_prefix(prefix: str) -> str:
    """Raises: UsageError if no id can start with it."""
    if prefix and re.fullmatch(ID_PATTERN[1:-1], f"{prefix}x") is None:
        raise UsageError(
            f"--prefix {prefix}: an id cannot start with that",
            hint="use lower-case letters, digits, dots, _ and -, such as --prefix web-",
        )
    return prefix


def folder_for(options: Options, settings: Settings) -> str:
    """The folder of the job files. Raises: UsageError if this root has no jobs there."""
    folder = (options.to or FOLDER).rstrip("/")
    try:
        check_path(folder)
    except PathError as error:
        raise UsageError(f"--to {options.to}: {error}", hint=error.hint) from None
    if not is_job_path(f"{folder}/x.yaml", settings):
        raise UsageError(
            f"{folder} is not a folder of job files in this root",
            hint=f"choose a folder with --to that a glob of `jobs` in {ROOT_FILE} matches: {', '.join(settings.jobs)}",
        )
    return folder
