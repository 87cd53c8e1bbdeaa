"""The layout of `--help`: commands in groups, and for a single command only its own options."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from scheduler.core.values.problems import UsageError

GLOBAL = ("root", "state", "db", "as_json", "utc", "local", "verbose", "quiet")
# The commands by purpose, in the order in which users need them: the module of each in this package, and its summary.
# A command line loads the module of its own command only; the others would take longer than most commands.
GROUPS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Look": {
        "status": ("status", "Show the state of everything on one screen."),
        "top": ("top", "Show the page Now on a terminal."),
        "list": ("jobs", "List the jobs: status, schedule, next and last run."),
        "show": ("jobs", "Show one job, or one run of it."),
        "next": ("jobs", "Show the next fires."),
        "history": ("history", "List runs and skips, newest first."),
        "log": ("versions", "Show the runs and changes of a job on one timeline."),
        "output": ("history", "Print what a run wrote to stdout and stderr."),
        "task": ("history", "Print the exact text that a run was given."),
        "explain": ("history", "Explain why a job did, did not or will not run."),
        "diff": ("versions", "Compare two runs, or an earlier run with the job as it is."),
        "versions": ("versions", "List the texts that a job has run, and how they did."),
        "deliveries": ("channels", "List the messages that were sent or wait, newest first."),
        "audit": ("history", "Show what changed, when, and by whom."),
    },
    "Change": {
        "create": ("edit", "Create a job by writing its file."),
        "update": ("edit", "Change a job by editing its file."),
        "mv": ("edit", "Move a job to another file."),
        "delete": ("edit", "Delete a job's file, or its document in a file of several."),
        "rollback": ("edit", "Restore the text of an earlier run, or a committed job."),
        "validate": ("sync", "Check job files and scheduler.yaml."),
        "plan": ("sync", "Show what a sync, or merging a branch, would change."),
        "sync": ("sync", "Apply the files to the database once."),
    },
    "Run": {
        "run": ("run", "Run a job now."),
        "cancel": ("run", "Stop a run: TERM to its processes, KILL 10 seconds later."),
        "pause": ("run", "Pause jobs: their slots are skipped."),
        "resume": ("run", "End the pause of jobs, or restart stopped ones."),
    },
    "Operate": {
        "serve": ("serve", "Watch the files, sync changes, and run due jobs."),
        "web": ("serve", "Serve the API and the pages as a process of its own."),
        "worker": ("worker", "Run jobs from the queues of a Temporal server."),
        "doctor": ("serve", "Check everything that jobs need in order to run."),
        "channels": ("channels", "List the channels of scheduler.yaml, or test one."),
        "backup": ("backup", "Copy the database to a new file, and verify the copy."),
        "restore": ("backup", "Replace the database with a backup."),
        "gc": ("backup", "Delete the outputs and runs that `retention` does not keep."),
        "login": ("access", "Print a link that logs a browser in, once."),
        "token": ("access", "Create, list or revoke tokens for the API."),
        "mcp": ("tool", "Serve the tools for agents over stdio (MCP)."),
    },
    "Set up": {
        "init": ("sync", "Start a root: scheduler.yaml and two sample jobs."),
        "clone": ("clone", "Make a root that follows a branch of a remote."),
        "import": ("imports", "Import jobs, with their history if the source has it."),
        "export": ("imports", "Export jobs with their files and history as JSON lines."),
        "hooks": ("serve", "Install git hooks that wake the daemon, or remove them."),
        "schema": ("sync", "Print the JSON Schema of job files or of scheduler.yaml."),
        "completion": ("completion", "Print the completion script of a shell."),
    },
}
COMMANDS = {name: listed for commands in GROUPS.values() for name, listed in commands.items()}
_WIDEST_OPTION = 24  # columns; the help of longer options starts on the next line


class CommandTable(MutableMapping[str, click.Command]):
    """The commands by name. Each is loaded when it is looked up."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module, _ = COMMANDS[name]
            importlib.import_module(f"scheduler.cli.{module}")  # adds its commands to the group
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands = CommandTable()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _told_where(ctx):
            return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = sorted((name, summary) for name, (_, summary) in COMMANDS.items() if name.startswith(incomplete))
        named = [CompletionItem(name, help=summary) for name, summary in found]
        return [*named, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{width}}", summary) for name, (_, summary) in commands.items()])
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
