"""The command group, and what commands share: options, values, exit codes, messages on stderr."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from scheduler import __version__
from scheduler.cli import render
from scheduler.cli.helping import GLOBAL, GroupedCommands, written_name
from scheduler.cli.kinds import FileType, FolderType
from scheduler.cli.render import clean
from scheduler.core.values.problems import SchedulerError, UsageError, meant
from scheduler.core.values.texts import InputError, counted, how_held_ends

if TYPE_CHECKING:  # `--help` needs no root
    from scheduler.core.answers import DaemonJson
    from scheduler.core.times.moments import WrittenMoment
    from scheduler.core.values.problems import Problem
    from scheduler.service.root import Root

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Globals:
    """The global options, given before or after the command's name."""

    root: str | None = None
    state: str | None = None
    db: str | None = None
    as_json: bool = False
    utc: bool = False
    local: bool = False
    verbose: int = 0
    quiet: bool = False

    def find_root(self, *, say_place: bool = True, only_files: bool = False) -> Root:
        """only_files: see `locate`."""
        from scheduler.root.place import locate
        from scheduler.service.instants import screen_zone
        from scheduler.service.root import Root

        place = locate(self.root, self.state, self.db, environ=os.environ, cwd=Path.cwd(), only_files=only_files)
        if self.verbose and say_place:
            click.echo(f"root {place.root}, state {place.state}, database {place.db}", err=True)
        root = Root(
            place=place,
            actor=f"user:{_user()}",
            environ=os.environ,
            tell=functools.cache(self._tell),
            reads=self._zone_of_reader(),
        )
        render.set_zone(functools.cache(lambda: screen_zone(root)))
        return root

    def _zone_of_reader(self) -> str:
        """The zone that the user asked for. If empty, times are shown in the root's zone and read in the job's."""
        if self.utc and self.local:
            raise UsageError("--utc and --local cannot be combined", hint="leave one of them out")
        if not self.local:
            return "UTC" if self.utc else ""
        from scheduler.machine.users import local_zone

        found = local_zone(os.environ)
        if found is None:
            raise UsageError(
                "the time zone of this machine is unknown: neither TZ nor /etc/localtime gives one",
                hint="TZ=Europe/Berlin scheduler --local ...",
            )
        return found

    def _tell(self, text: str) -> None:
        if not self.quiet:
            with contextlib.suppress(OSError):
                click.echo(f"warning: {clean(render.in_zone(text))}", err=True)

    @property
    def prefix(self) -> bool:
        """True if a unique prefix can replace an id: only for reading commands, used by a person at a terminal."""
        return sys.stdout.isatty()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without an account, as in many containers
        return str(os.getuid())


def global_options(command: F) -> F:
    """Add the global options to a command, and pass it one `Globals` that includes options before its name."""

    @functools.wraps(command)
    def merged(*args: Any, **kwargs: Any) -> Any:
        context = click.get_current_context()
        given: Globals = context.find_root().ensure_object(Globals)
        for name in GLOBAL:
            value = kwargs.pop(name)
            if value:
                setattr(given, name, value)
        try:
            return command(given, *args, **_instants(given, kwargs))
        except SchedulerError as error:
            error.args = (render.in_zone(str(error)),)  # here, because the zone is unknown once the command has ended
            raise

    adorned: F = with_options(
        merged,
        click.option(
            "--root", metavar="DIR", type=FolderType(), help="Folder that holds scheduler.yaml [env: SCHEDULER_ROOT]."
        ),
        click.option("--state", metavar="DIR", type=FolderType(), help="State folder [env: SCHEDULER_STATE]."),
        click.option("--db", metavar="PATH", type=FileType(), help="Database file [env: SCHEDULER_DB]."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--utc", is_flag=True, help="Show and read times in UTC."),
        click.option("--local", is_flag=True, help="Show and read times in this machine's zone."),
        click.option("-v", "--verbose", count=True, help="Print more on stderr."),
        click.option("-q", "--quiet", is_flag=True, help="Print only errors on stderr."),
    )
    return adorned


def _instants(given: Globals, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a command, with instants resolved. Only they need the root here."""
    kinds = {param.name: param.type for param in click.get_current_context().command.params}
    if not any(isinstance(kinds.get(name), InstantType) and value is not None for name, value in values.items()):
        return values
    from scheduler.service.instants import with_instants

    return with_instants(given.find_root(say_place=False), values, prefix=given.prefix)


def with_options(command: Any, *options: Callable[[Any], Any]) -> Any:
    """The command with these options, in this order."""
    for option in reversed(options):
        command = option(command)
    return command


class JobType(click.ParamType[str]):
    """A job id. Completion offers the known ids, and the words that may stand there instead."""

    name = "job"

    def __init__(self, *instead: str) -> None:
        self._instead = instead

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        words = (*_known(ctx)[0], *self._instead)
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


class RunType(click.ParamType[str]):
    """A run, JOB:N. Completion offers the newest runs of each job."""

    name = "run"

    def __init__(self, *, or_job: bool = False) -> None:
        self._or_job = or_job  # completes jobs first, and runs after a colon

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from scheduler.service.words import run_words

        job, colon, _ = incomplete.partition(":")
        root = known_root(ctx) if colon else None
        if root is not None:
            found: Sequence[str] = run_words(root, job)
        else:
            jobs, runs = _known(ctx)
            found = jobs if self._or_job else runs
        return [CompletionItem(word) for word in found if word.startswith(incomplete)]


def known_root(context: click.Context) -> Root | None:
    """The root named by the options of an unfinished command line, or None if there is none."""
    given = Globals(quiet=True)
    for name in ("root", "state", "db"):
        setattr(given, name, context.params.get(name) or context.find_root().params.get(name))
    try:
        return given.find_root()
    except SchedulerError:  # completion must never print an error into the user's prompt
        return None


def _known(context: click.Context) -> tuple[list[str], list[str]]:
    from scheduler.service.words import known_words

    root = known_root(context)
    jobs, runs = ([], []) if root is None else known_words(root)
    return list(jobs), list(runs)


class InstantType(click.ParamType["WrittenMoment"]):
    """An instant in the forms of `read_moment`. The command gets a datetime, which can depend on its job."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> WrittenMoment:
        from scheduler.core.times.moments import WrittenMoment, read_moment

        try:
            return value if isinstance(value, WrittenMoment) else read_moment(value)
        except InputError as error:
            self.fail(f"{error.message}; {error.hint}" if error.hint else error.message, param, ctx)


class SinceType(InstantType):
    """An instant in the past: both `12h` and `-12h` mean twelve hours ago."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> WrittenMoment:
        ago = f"-{value}" if isinstance(value, str) and re.fullmatch(r"([0-9]+[dhms])+", value) else value
        return super().convert(ago, param, ctx)


class OneOf(click.Choice[str]):
    """One of several words. For another tool's word, the error suggests ours."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            words = [str(each) for each in self.choices]
            name = "" if param is None else f"{written_name(param)} "
            message = f"{name}{str(value)[:100]!r} is not one of {', '.join(words)}"
            raise UsageError(message, hint=meant(str(value)[:100], words)) from None


class SomeOf(click.ParamType[str]):
    """One or more of several words, separated by commas; the verb checks them. Completion offers the remaining ones."""

    name = "words"

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        left = [word for word in self.words if word not in before.split(",") and word.startswith(last)]
        return [CompletionItem(f"{before}{comma}{word}") for word in left]


PROBLEMS, REFUSED, UNAVAILABLE = 1, 3, 5
CODE = "exit_code"  # the exit code, decided before the command prints
MOST = 1_000_000  # rows or fires per request


class Commands(GroupedCommands):
    """A group that suggests the command that was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise UsageError(f"there is no command {args[0]!r}", hint=self._meant(ctx, args))
        return super().resolve_command(ctx, args)

    def _meant(self, ctx: click.Context, args: Sequence[str]) -> str:
        known = self.list_commands(ctx)
        if args[0] == "help":
            return f"`scheduler {args[1] + ' ' if args[1:] and args[1] in known else ''}--help`"
        if args[0] == "version":
            return "`scheduler --version`"
        return meant(args[0], known) or "`scheduler --help` lists them"

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader of our output has gone, as in `scheduler list | head`. Do not complain, now or at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(ctx.meta.get(CODE, 0)) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="scheduler")
@global_options
def cli(given: Globals) -> None:
    """Run the jobs that files in a git repository describe, and keep a record of what ran."""


def end(code: int) -> None:
    """End the command with this code. With 0, the command continues to its end."""
    if code:
        raise click.exceptions.Exit(code)


def end_will_be(code: int) -> int:
    """The code with which this command will end, even if nobody reads its output."""
    click.get_current_context().meta[CODE] = code
    return code


def printed(given: Globals, found: Any) -> bool:
    """Print the answer as JSON if requested. True if it was printed."""
    if given.as_json:
        render.print_json(found)
    return given.as_json


def say(given: Globals, text: str) -> None:
    """Print a message to stderr. Continue if nobody is listening."""
    if not given.quiet:
        with contextlib.suppress(OSError):
            click.echo(render.in_zone(text), err=True)


def say_daemon(given: Globals, daemon: DaemonJson) -> None:
    """Report that no daemon is running: an error if one served here before."""
    if daemon["severity"] != "error":
        say(given, f"{daemon['message']}; {daemon['hint']}")
        return
    with contextlib.suppress(OSError):
        message = clean(render.in_zone(daemon["message"]))
        click.echo(f"{render.styled('error', 5, err=True)}: {message}; {daemon['hint']}", err=True)


def say_held(given: Globals, held: str | None) -> None:
    if held:
        say(given, f"sync is held: {held}; {how_held_ends(held)}")


def say_never_synced(given: Globals, never: bool) -> None:
    if never:
        say(given, "this root has never been synced; run `scheduler sync`")


def errors(problems: Sequence[Problem]) -> int:
    return sum(problem.is_error for problem in problems)


def problem_count(problems: Sequence[Problem]) -> str:
    bad = errors(problems)
    return errors_and_warnings(bad, len(problems) - bad)


def errors_and_warnings(bad: int, doubtful: int) -> str:
    """Both counts, without those that are 0."""
    return ", ".join(counted(n, word) for n, word in ((bad, "error"), (doubtful, "warning")) if n)
