"""The layout of `--help`: commands in groups, and for a single command only its own options."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import click

from scheduler.core.values.problems import UsageError

GLOBAL = ("root", "state", "db", "as_json", "utc", "local", "verbose", "quiet")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Look": (
        *("status", "top", "list", "show", "next", "history", "log", "output"),
        *("task", "explain", "diff", "versions", "audit"),
    ),
    "Change": ("create", "update", "mv", "delete", "rollback", "validate", "plan", "sync"),
    "Run": ("run", "cancel", "pause", "resume"),
    "Operate": ("serve", "doctor", "backup", "restore", "gc", "mcp"),
    "Set up": ("init", "clone", "import", "export", "hooks", "schema", "completion"),
}
OTHER = "Other"  # for commands that are in no group yet
_WIDEST_OPTION = 24  # columns; the help of longer options starts on the next line


def summary(command: click.Command) -> str:
    """The first sentence of the help, in full."""
    return command.get_short_help_str(limit=10_000)


def grouped(commands: Mapping[str, click.Command]) -> Iterator[tuple[str, list[str]]]:
    """The commands by group, in the order in which users need them."""
    placed = {name for names in GROUPS.values() for name in names}
    for title, names in {**GROUPS, OTHER: tuple(sorted(commands.keys() - placed))}.items():
        if found := [name for name in names if name in commands]:
            yield title, found


class OwnCommand(click.Command):
    """A command whose help leaves the global options to `scheduler --help`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True  # we report extra arguments in our own words
        with _told_where(ctx):
            super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            raise UsageError(f"unexpected argument {ctx.args[0]!r}", hint=f"the usage is `{usage(ctx)}`")
        return ctx.args

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [param for param in self.get_params(ctx) if param.name not in GLOBAL]
        _write_options(formatter, "Options", ctx, own)
        formatter.write_paragraph()
        formatter.write_text(f"Global options, such as --root and --json: {ctx.find_root().command_path} --help")


class GroupedCommands(click.Group):
    """A group whose help lists the commands by purpose."""

    command_class = OwnCommand

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _told_where(ctx):
            return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.commands), default=0)
        for title, names in grouped(self.commands):
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{width}}", summary(self.commands[name])) for name in names])
        _write_options(formatter, "Global options", ctx, self.get_params(ctx))
        formatter.write_paragraph()
        formatter.write_text(f"Help for one command: {ctx.command_path} COMMAND --help")


@contextlib.contextmanager
def _told_where(ctx: click.Context) -> Iterator[None]:
    """Inside the block, parser errors know their command, which not all of them do by themselves."""
    try:
        yield
    except click.UsageError as error:
        error.ctx = error.ctx or ctx
        raise


def written_name(param: click.Parameter) -> str:
    """A parameter as users write it: `--to` or JOB."""
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return (param.metavar or (param.name or "").upper()).strip("[]").removesuffix("...")


def usage(ctx: click.Context) -> str:
    """The usage of the command, on one line."""
    return " ".join((ctx.command_path, *ctx.command.collect_usage_pieces(ctx)))


def _write_options(
    formatter: click.HelpFormatter, title: str, ctx: click.Context, params: Iterable[click.Parameter]
) -> None:
    options = [param for param in params if isinstance(param, click.Option)]
    records = [record for option in options if (record := option.get_help_record(ctx)) is not None]
    with formatter.section(title):
        formatter.write_dl(records, col_max=_WIDEST_OPTION)
