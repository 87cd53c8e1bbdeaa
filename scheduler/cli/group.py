"""The command group, and what every command shares: exit codes, talk on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import click

from scheduler import __version__
from scheduler.cli import render
from scheduler.cli.options import Globals, global_options
from scheduler.core.values.problems import Problem, UsageError, did_you_mean

PROBLEMS, REFUSED, UNAVAILABLE = 1, 3, 5
CODE = "exit_code"  # how the command ends, decided before it prints
MOST = 1_000_000  # rows or fires asked for at once


class Commands(click.Group):
    """A group that suggests the command that was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            hint = did_you_mean(args[0], self.list_commands(ctx)) or "`scheduler --help` lists them"
            raise UsageError(f"there is no command {args[0]!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read our output has gone, as in `scheduler list | head`: no complaint, now or at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(ctx.meta.get(CODE, 0)) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="scheduler")
@global_options
def cli(given: Globals) -> None:
    """Runs the jobs that the files of a git repository describe, and remembers what ran."""


def end(code: int) -> None:
    """Ends the command with this code; 0 goes on to its end."""
    if code:
        raise click.exceptions.Exit(code)


def end_will_be(code: int) -> int:
    """The code that this command will end with, also where nobody reads what it prints."""
    click.get_current_context().meta[CODE] = code
    return code


def printed(given: Globals, found: Any) -> bool:
    """Whether JSON is wanted, and so the answer is printed by now."""
    if given.as_json:
        render.print_json(found)
    return given.as_json


def say(given: Globals, text: str) -> None:
    """Talk, on stderr; nobody listening is no reason to stop."""
    if not given.quiet:
        with contextlib.suppress(OSError):
            click.echo(text, err=True)


def say_never_synced(given: Globals, never: bool) -> None:
    if never:
        say(given, "this root has never been synced; run `scheduler sync`")


def errors(problems: tuple[Problem, ...]) -> int:
    return sum(problem.is_error for problem in problems)


def problem_count(problems: Any) -> str:
    bad = sum(problem.is_error for problem in problems)
    counts = ((bad, "error"), (len(problems) - bad, "warning"))
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts if n)
