"""The commands for access to the API and the pages: tokens for programs, a link for a browser."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from scheduler.cli import render
from scheduler.cli.group import Globals, OneOf, cli, global_options, printed, say
from scheduler.core.values.access import Role, Token
from scheduler.core.values.problems import UsageError
from scheduler.core.values.units import UnitError, parse_duration
from scheduler.service.access import create_token, list_tokens, revoke_token


@cli.command("token")
@click.argument("action", type=OneOf(["create", "list", "revoke"]))
@click.argument("name", metavar="[NAME]", required=False)
@click.option(
    "--role",
    type=OneOf([each.value for each in Role]),
    metavar="ROLE",
    help="create: viewer reads (default), operator also runs and pauses, approver also edits, admin also makes tokens.",
)
@click.option(
    "--jobs",
    "patterns",
    metavar="PATTERN",
    multiple=True,
    help="create: Only these jobs: an id such as report-*, or tag:NAME. Repeat it for more.",
)
@click.option("--expires", metavar="DURATION", help="create: For how long, such as 30d (default: until it is revoked).")
@global_options
def token_command(
    given: Globals, action: str, name: str | None, role: str | None, patterns: tuple[str, ...], expires: str | None
) -> None:
    """Create, list or revoke tokens for the API.

    A token is printed once, when it is created. The database keeps only a digest of it.
    """
    root = given.find_root()
    if action != "create":
        for option, value in (("--role", role), ("--jobs", patterns), ("--expires", expires)):
            if value:
                raise UsageError(f"token {action} takes no {option}", hint=f"leave out {option}")
    if action == "list":
        if name is not None:
            raise UsageError(f"token list takes no NAME, but got {name!r}", hint="`scheduler token list`")
        return _list(given, list_tokens(root))
    if name is None:
        raise UsageError(f"token {action} needs a NAME", hint=f"`scheduler token {action} NAME`")
    if action == "revoke":
        gone = revoke_token(root, name)
        if not printed(given, {"token": gone.to_json()}):
            say(given, f"{gone.name} ({gone.id}) lets nobody in from now on")
        return None
    made, text = create_token(root, name, Role(role or Role.VIEWER), jobs=patterns, lasts=_lasts(expires))
    if not printed(given, {"token": made.to_json(), "secret": text}):
        click.echo(text)
        say(given, f"keep it now: it is not shown again ({made.role.value}{_of_jobs(made)})")
    return None


def _lasts(text: str | None) -> timedelta | None:
    try:
        return None if text is None else parse_duration(text)
    except UnitError as error:
        raise UsageError(f"--expires: {error.message}", hint=error.hint) from None


def _of_jobs(token: Token) -> str:
    return f", only {', '.join(token.jobs)}" if token.jobs else ""


def _list(given: Globals, found: list[Token]) -> None:
    if printed(given, {"tokens": [each.to_json() for each in found]}):
        return
    if not found:
        return say(given, "there are no tokens; `scheduler token create NAME` makes one")
    render.print_table(
        ("ID", "NAME", "ROLE", "JOBS", "LAST USED", "UNTIL"),
        [
            (
                each.id,
                each.name,
                each.role.value,
                ", ".join(each.jobs) or "all",
                _time(facts["last_used_at"]),
                _until(facts),
            )
            for each in found
            for facts in (each.to_json(),)
        ],
        flexible="JOBS",
    )
    return None


def _time(at: str | None) -> str:
    return render.local_time(at) if at else "-"


def _until(facts: dict[str, Any]) -> str:
    return f"revoked {render.local_time(facts['revoked_at'])}" if facts["revoked_at"] else _time(facts["expires_at"])


@cli.command("login")
@global_options
def login_command(given: Globals) -> None:
    """Print a link that logs a browser in, once.

    The link is good for ten minutes. Whoever opens it first can do everything that you can do here.
    """
    from scheduler.service.login import login_link

    link = login_link(given.find_root())
    if not printed(given, {"url": link}):
        click.echo(link)
