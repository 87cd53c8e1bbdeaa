"""All commands, and how every one of them ends: by the exit codes of design I3."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from scheduler.cli import backup, clone, edit, imports, jobs, render, run, serve, status, sync, tool, versions  # noqa: F401 - each adds its commands
from scheduler.cli.group import Globals, cli, global_options
from scheduler.core.values.problems import SchedulerError
from scheduler.machine.signals import settle_signals


def main() -> NoReturn:
    """Runs a command line and exits; errors of ours become one line, a hint and their exit code."""
    settle_signals()
    try:
        code = cli.main(standalone_mode=False, prog_name="scheduler")  # hands back what `_exit` raised
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except SchedulerError as error:
        message, hint = error.told(option_for)
        click.echo(f"error: {render.clean(message)}", err=True)
        if hint:
            click.echo(f"  hint: {render.clean(hint)}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(5)
    sys.exit(code if isinstance(code, int) else 0)


def option_for(argument: str) -> str:
    """How a person writes an argument of a verb here."""
    return "--" + {"task": "task-file", "path": "file"}.get(argument, argument.replace("_", "-"))


@cli.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@global_options
def completion_command(given: Globals, shell: str) -> None:
    """Print the completion script of a shell: eval "$(scheduler completion bash)"."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "scheduler", "_SCHEDULER_COMPLETE").source())
