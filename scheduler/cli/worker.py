"""The command of worker hosts."""

from __future__ import annotations

import logging
import os
import sys
from datetime import timedelta

import click

from scheduler.cli import render
from scheduler.cli.group import PROBLEMS, Globals, OneOf, cli, end, global_options
from scheduler.core.values.problems import UsageError
from scheduler.core.values.texts import InputError
from scheduler.core.values.units import parse_duration
from scheduler.machine.log import FORMATS, write_log
from scheduler.machine.orphans import adopting
from scheduler.machine.signals import leave_pid_1


@cli.command("worker")
@click.option("--config", metavar="FILE", help="Its settings (default: ~/.config/scheduler/worker.yaml).")
@click.option("--grace", metavar="DURATION", default="10m",
              help="How long running jobs may continue after a stop signal (default: 10m).")  # fmt: skip
@click.option("--check", is_flag=True, help="Say what it could serve, and exit: 1 if something is wrong.")
@click.option("--log-format", type=OneOf(FORMATS), default="text",
              envvar="SCHEDULER_LOG_FORMAT",
              help="Format of log lines (default: text) [env: SCHEDULER_LOG_FORMAT].")  # fmt: skip
@global_options
def worker_command(given: Globals, config: str | None, grace: str, check: bool, log_format: str) -> None:
    """Run jobs from the queues of a Temporal server.

    On SIGTERM or Ctrl-C, it takes no more runs, and running ones get the grace period to finish. A second signal ends
    them immediately.
    """
    from scheduler.service import worker

    file = worker.config_file(config, os.environ)
    if check:
        found = worker.check(file, os.environ)
        for each in found:
            status = render.styled("ok" if each.ok else "error", 7)
            click.echo(f"{status}  {each.what:<8}  {render.clean(each.message)}")
            if each.hint and not each.ok:
                click.echo(f"{'':19}hint: {render.clean(each.hint)}")
        end(0 if all(each.ok for each in found) else PROBLEMS)
        return
    leave_pid_1()
    level = logging.DEBUG if given.verbose else logging.WARNING if given.quiet else logging.INFO
    write_log(sys.stderr, log_format, level, os.environ)
    with adopting():
        worker.work(file, os.environ, grace=_duration(grace))


def _duration(text: str) -> timedelta:
    if text in ("0", "0s"):
        return timedelta(0)
    try:
        return parse_duration(text)
    except InputError as error:
        raise UsageError(f"--grace: {error.message}", hint=error.hint) from None
