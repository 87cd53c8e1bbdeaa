"""Options that every command takes, before its name or after it, and the values commands share."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from scheduler.cli.render import clean
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.units import parse_when
from scheduler.machine.clock import SystemClock
from scheduler.root.place import locate
from scheduler.service.jobs import known_words
from scheduler.service.root import Root

F = TypeVar("F", bound=Callable[..., Any])
GLOBAL = ("root", "state", "db", "as_json", "verbose", "quiet")


@dataclass(slots=True)
class Globals:
    """The global options, as given before or after the command's name."""

    root: str | None = None
    state: str | None = None
    db: str | None = None
    as_json: bool = False
    verbose: int = 0
    quiet: bool = False

    def find_root(self, *, say_place: bool = True) -> Root:
        place = locate(self.root, self.state, self.db, environ=os.environ, cwd=Path.cwd())
        if self.verbose and say_place:
            click.echo(f"root {place.root}, state {place.state}, database {place.db}", err=True)
        return Root(place=place, actor=f"user:{_user()}", environ=os.environ, tell=functools.cache(self._tell))

    def _tell(self, text: str) -> None:
        if not self.quiet:
            with contextlib.suppress(OSError):
                click.echo(f"warning: {clean(text)}", err=True)

    @property
    def prefix(self) -> bool:
        """Whether a unique prefix may stand for an id: only for reading, by a person at a terminal."""
        return sys.stdout.isatty()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid that no account has, as in many containers
        return str(os.getuid())


def global_options(command: F) -> F:
    """Adds the global options to a command and hands it one `Globals`, merged with those given before its name."""

    @functools.wraps(command)
    def merged(*args: Any, **kwargs: Any) -> Any:
        context = click.get_current_context()
        given: Globals = context.find_root().ensure_object(Globals)
        for name in GLOBAL:
            value = kwargs.pop(name)
            if value:
                setattr(given, name, value)
        return command(given, *args, **kwargs)

    return cast(F, _add_global_options(merged))


def _add_global_options(command: Any) -> Any:
    for option in reversed(
        (
            click.option("--root", metavar="DIR", help="The folder that holds scheduler.yaml [env: SCHEDULER_ROOT]."),
            click.option("--state", metavar="DIR", help="The state folder [env: SCHEDULER_STATE]."),
            click.option("--db", metavar="PATH", help="The database [env: SCHEDULER_DB]."),
            click.option("--json", "as_json", is_flag=True, help="Print JSON."),
            click.option("-v", "--verbose", count=True, help="Say more on stderr."),
            click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors."),
        )
    ):
        command = option(command)
    return command


class JobType(click.ParamType[str]):
    """A job id; completion offers the known ones."""

    name = "job"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in _known(ctx)[0] if word.startswith(incomplete)]


class RunType(click.ParamType[str]):
    """A run, JOB:N; completion offers the newest of each job."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in _known(ctx)[1] if word.startswith(incomplete)]


def _known(context: click.Context) -> tuple[list[str], list[str]]:
    given = Globals(quiet=True)
    for name in ("root", "state", "db"):
        setattr(given, name, context.params.get(name) or context.find_root().params.get(name))
    try:
        jobs, runs = known_words(given.find_root())
    except SchedulerError:  # completion never prints an error into somebody's prompt
        return [], []
    return list(jobs), list(runs)


class InstantType(click.ParamType[datetime]):
    """An instant: RFC 3339 with an offset, `now`, or an offset from now such as +1h30m or -1d."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_when(value, SystemClock().now())
        except OverflowError:
            self.fail(f"{value!r} leads out of the years 1 to 9999", param, ctx)
        except ValueError:
            self.fail(f"{value!r} is not an instant; write 2026-03-29T01:00:00Z, now, +1h30m or -1d", param, ctx)
