"""The daemon's commands: serve and doctor, and hooks, which make commits wake it."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli import render
from scheduler.cli.group import (
    PROBLEMS,
    F,
    Globals,
    OneOf,
    cli,
    end,
    end_will_be,
    errors_and_warnings,
    global_options,
    printed,
    say,
    with_options,
)
from scheduler.cli.sync import sync_code
from scheduler.core.values.access import AccessSettings, Role
from scheduler.core.values.problems import SchedulerError, UnavailableError, UsageError
from scheduler.machine.log import FORMATS, Log, is_journal, write_log
from scheduler.machine.orphans import adopting
from scheduler.machine.signals import leave_pid_1
from scheduler.service.serve import serve

if TYPE_CHECKING:
    from scheduler.core.answers import CheckJson
    from scheduler.service.listening import Address

_log = Log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """Where the web is to listen, and who gets in, as a command was told."""

    listen: str | None
    allow_remote: bool
    allow_hosts: tuple[str, ...]
    trust_proxy: tuple[str, ...]
    user_header: str | None
    proxy_role: str
    tls: bool

    def read(self) -> tuple[Address, AccessSettings]:
        """Raises: UsageError, RefusedError."""
        from scheduler.core.access.requests import access_settings
        from scheduler.service.listening import DEFAULT, read_address

        address = read_address(self.listen or DEFAULT, allow_remote=self.allow_remote)
        return address, access_settings(
            listen_host=address.host,
            allow_hosts=self.allow_hosts,
            trust_proxy=self.trust_proxy,
            user_header=self.user_header,
            proxy_role=Role(self.proxy_role),
            tls=self.tls,
        )


def web_options(command: F) -> F:
    """Add the options of the web to a command, and pass it one `WebOptions`."""
    names = WebOptions.__dataclass_fields__

    @functools.wraps(command)
    def bundled(*args: Any, **kwargs: Any) -> Any:
        return command(*args, web=WebOptions(**{name: kwargs.pop(name) for name in names}), **kwargs)

    adorned: F = with_options(
        bundled,
        click.option(
            "--listen",
            metavar="ADDR",
            envvar="SCHEDULER_LISTEN",
            help="Where the web listens (default: 127.0.0.1:8484) [env: SCHEDULER_LISTEN].",
        ),
        click.option("--allow-remote", is_flag=True, help="Allow an address that other machines can reach."),
        click.option(
            "--allow-host",
            "allow_hosts",
            metavar="NAME",
            multiple=True,
            help="A further name under which browsers reach the web. Repeat it for more.",
        ),
        click.option(
            "--trust-proxy",
            metavar="CIDR",
            multiple=True,
            help="A network of proxies that say who the user is. Repeat it for more. Needs --user-header.",
        ),
        click.option(
            "--user-header",
            metavar="NAME",
            help="The header in which such a proxy names the user. Needs --trust-proxy.",
        ),
        click.option(
            "--proxy-role",
            type=OneOf([each.value for each in Role]),
            default=Role.OPERATOR.value,
            metavar="ROLE",
            help="What these users may do: viewer, operator (default), approver or admin.",
        ),
        click.option("--tls", is_flag=True, help="Browsers reach the web by https: cookies are sent by https only."),
    )
    return adorned


@cli.command("serve")
@click.option("--observe", is_flag=True, help="Watch and sync, but run nothing.")
@click.option("--once", is_flag=True, help="Sync, run what is due, and exit when that has ended.")
@click.option("--grace", type=click.FloatRange(min=0, max=86_400), default=30, metavar="SECONDS",
              help="How long running jobs may continue after a stop signal (default: 30).")  # fmt: skip
@click.option("--new-state", is_flag=True, help="Start without history if the earlier database is gone.")
@web_options
@click.option("--no-api", is_flag=True, envvar="SCHEDULER_NO_API", help="Serve no web [env: SCHEDULER_NO_API].")
@click.option("--log-format", type=OneOf(FORMATS), default="text",
              envvar="SCHEDULER_LOG_FORMAT",
              help="Format of log lines (default: text) [env: SCHEDULER_LOG_FORMAT].")  # fmt: skip
@global_options
def serve_command(
    given: Globals,
    observe: bool,
    once: bool,
    grace: float,
    new_state: bool,
    web: WebOptions,
    no_api: bool,
    log_format: str,
) -> None:
    """Watch the files, sync changes, and run due jobs.

    On SIGTERM or Ctrl-C, no new runs start and running ones get the grace period to finish. A second signal stops
    them immediately.
    """
    if observe and once:
        raise UsageError("--observe and --once cannot be combined", hint="leave one of them out")
    leave_pid_1()
    level = logging.DEBUG if given.verbose else logging.WARNING if given.quiet else logging.INFO
    write_log(sys.stderr, log_format, level, os.environ)
    with _told_in_the_log(log_format == "json" or is_journal(sys.stderr, os.environ)):
        root = given.find_root(say_place=log_format == "text")
        address, access = web.read()
        serves_web = not (no_api or once) and _can_serve(address, wanted=web.listen is not None)
        with adopting():
            served = serve(
                root,
                observe=observe,
                once=once,
                new_state=new_state,
                grace=timedelta(seconds=grace),
                listen=str(address) if serves_web else None,
                access=access,
            )
    failed = served.forced or bool(served.failed)
    first = max(sync_code(served.first.report()), root.looked().exit_code) if once else 0
    end(first or (PROBLEMS if failed else 0))


def _can_serve(address: Address, *, wanted: bool) -> bool:
    """Whether the web can listen there. Raises: UnavailableError if it cannot, although its address was given."""
    from scheduler.service.listening import listen, need_extra

    try:
        need_extra()
        if wanted:
            listen(address).close()
    except UnavailableError as error:
        if wanted:
            raise
        _log.warning("web_not_serving", str(error), hint=error.hint)
        return False
    return True


@cli.command("web")
@web_options
@global_options
def web_command(given: Globals, web: WebOptions) -> None:
    """Serve the API and the pages as a process of its own.

    `scheduler serve` starts it as well. Jobs fire only while `scheduler serve` runs.
    """
    from scheduler.service.listening import need_extra

    address, access = web.read()
    need_extra()
    from scheduler.web.process import serve_web

    write_log(sys.stderr, "text", logging.DEBUG if given.verbose else logging.INFO, os.environ)
    serve_web(given.find_root(), address, access)


@contextmanager
def _told_in_the_log(wanted: bool) -> Iterator[None]:
    """Log what ends the daemon as one more line, with time and level, if a machine reads the log."""
    try:
        yield
    except (SchedulerError, OSError) as error:
        if not wanted:
            raise
        _log.log(logging.ERROR, "serve_failed", error=str(error), hint=getattr(error, "hint", "") or None)
        end(getattr(error, "exit_code", 5))
    except Exception:
        if not wanted:
            raise
        _log.exception("serve_failed")
        end(PROBLEMS)


@cli.command("doctor")
@click.option("--strict", is_flag=True, help="Exit 1 for warnings too.")
@global_options
def doctor_command(given: Globals, strict: bool) -> None:
    """Check everything that jobs need in order to run.

    Exits with 1 if anything is an error. Errors come first. Passed checks share one line; -v shows each of them.
    """
    from scheduler.service.doctor.examine import examine

    found = examine(given.find_root(), strict=strict)
    code = end_will_be(found["exit_code"])
    if not printed(given, found):
        ill = [check for check in found["checks"] if check["status"] != "ok" or given.verbose]
        for check in ill:
            for line in _check_lines(check):
                click.echo(line)
        told = {check["name"] for check in ill}
        fine = dict.fromkeys(check["name"] for check in found["checks"] if check["name"] not in told)
        if fine and not given.verbose:
            click.echo(render.wrapped(f"{render.styled('ok', 7)}  ", ", ".join(fine), indent=9))
        click.echo(errors_and_warnings(found["errors"], found["warnings"]) or "all is well")
    end(code)


def _check_lines(check: CheckJson) -> Iterator[str]:
    status, message = render.styled(check["status"], 7), render.clean(render.in_zone(check["message"]))
    yield render.wrapped(f"{status}  {check['name']:<8}  ", message, indent=_CHECK_INDENT)
    if check["hint"]:
        hint = f"hint: {render.clean(check['hint'])}"
        yield render.wrapped(" " * _CHECK_INDENT, hint, indent=_CHECK_INDENT + 2)


_CHECK_INDENT = 19


@cli.command("hooks")
@click.argument("action", type=OneOf(["install", "uninstall", "status"]))
@global_options
def hooks_command(given: Globals, action: str) -> None:
    """Install git hooks that wake the daemon, or remove them.

    They run at every commit, merge, checkout and rewrite. Hooks that were there before still run.
    """
    from scheduler.service.hooks import hook_states, install_hooks, uninstall_hooks

    verbs = {"install": install_hooks, "uninstall": uninstall_hooks, "status": hook_states}
    found = verbs[action](given.find_root())
    if printed(given, {"folder": str(found.folder), "hooks": [asdict(each) for each in found.hooks]}):
        return
    render.print_table(
        ("HOOK", "STATUS", "KEPT"),
        [(each.name, each.status, "runs what was there" if each.kept else "-") for each in found.hooks],
        flexible="HOOK",
    )
    say(given, f"in {render.clean(str(found.folder))}")
