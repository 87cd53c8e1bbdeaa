"""All commands, and how each of them ends: with the exit codes of design I3."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from typing import Any, NoReturn

import click

from scheduler.cli import render
from scheduler.cli.errors import click_told
from scheduler.cli.group import cli
from scheduler.core.values.problems import SchedulerError
from scheduler.machine.garbage import collect_seldom
from scheduler.machine.signals import settle_signals


def main() -> NoReturn:
    """Run a command line and exit. Print our errors as one line and a hint, and exit with their code."""
    settle_signals()
    collect_seldom()
    if "_SCHEDULER_COMPLETE" in os.environ:
        from scheduler.cli import completion  # noqa: F401 - click's scripts and lists, replaced by ours
    try:
        code = cli.main(standalone_mode=False, prog_name="scheduler")  # returns what `_exit` raised
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        _leave(2)
    except click.ClickException as error:
        _tell(*click_told(error))
        _leave(2)
    except click.Abort:
        _leave(130)
    except SchedulerError as error:
        _tell(*error.told(option_for, option_with))
        _leave(error.exit_code)
    except OSError as error:
        click.echo(f"error: {error}", err=True)
        _leave(5)
    _leave(code if isinstance(code, int) else 0)


def _leave(code: int) -> NoReturn:
    """Exit. Beside the threads of Temporal's library, an interpreter that is finalized may abort (sdk-python#300)."""
    if "temporalio" in sys.modules:
        with contextlib.suppress(OSError):  # nobody reads any longer
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _tell(message: str, hint: str) -> None:
    click.echo(f"error: {render.clean(message)}", err=True)
    if hint:
        click.echo(f"  hint: {render.clean(hint)}", err=True)


def option_for(argument: str) -> str:
    """An argument of a verb, as users write it on the command line."""
    return "--" + {"task": "task-file", "path": "file"}.get(argument, argument.replace("_", "-"))


def option_with(argument: str, value: Any) -> str:
    """An argument of a verb, or a key of a job, with its value, as users write it."""
    text = shlex.quote(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return f"{option_for(argument)} {text}" if argument == "path" else f"--set {argument}={text}"
