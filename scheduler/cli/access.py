"""The commands for access to the API and the pages: tokens for programs, a link for a browser."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from scheduler.cli import render
from scheduler.cli.group import Globals, OneOf, cli, global_options, printed, say
from scheduler.core.access.requests import (
    PROXY_SECRET_VARIABLE,
    check_host,
    check_networks,
    check_user_header,
    read_url,
)
from scheduler.core.values.access import AccessSettings, Role, Token
from scheduler.core.values.problems import UsageError
from scheduler.core.values.units import UnitError, parse_duration
from scheduler.service.access import create_token, list_tokens, revoke_token

_ACCESS = (
    click.option(
        "--url", metavar="URL", help="Where browsers reach it, such as https://jobs.example.com behind a proxy."
    ),
    click.option(
        "--allow-host",
        "allow_hosts",
        metavar="NAME",
        multiple=True,
        help="One more host name under which it answers. Repeat it for more.",
    ),
    click.option(
        "--trust-proxy",
        metavar="CIDR",
        multiple=True,
        help="Believe the --user-header of this network, such as 10.0.0.2/32. Repeat it for more.",
    ),
    click.option("--user-header", metavar="NAME", help="The header in which that proxy names the user."),
    click.option(
        "--proxy-role",
        type=OneOf([each.value for each in Role]),
        metavar="ROLE",
        help="What users whom a proxy names may do (default: operator).",
    ),
)


def access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say whom the web lets in; the command gets them as `access`, checked."""

    @functools.wraps(command)
    def called(
        *args: Any,
        url: str | None,
        allow_hosts: tuple[str, ...],
        trust_proxy: tuple[str, ...],
        user_header: str | None,
        proxy_role: str | None,
        **more: Any,
    ) -> Any:
        if bool(trust_proxy) != bool(user_header):
            missing = "--user-header" if trust_proxy else "--trust-proxy"
            raise UsageError(f"a login by a proxy needs {missing} too", hint=f"add {missing}")
        if proxy_role and not trust_proxy:
            raise UsageError("--proxy-role needs a proxy", hint="add --trust-proxy and --user-header")
        if trust_proxy and not os.environ.get(PROXY_SECRET_VARIABLE, "-").strip():
            raise UsageError(f"{PROXY_SECRET_VARIABLE} is empty", hint="unset it, or set it to a secret")
        public, name = ("", None) if url is None else read_url(url)
        access = AccessSettings(
            url=public,
            allow_hosts=(*([] if name is None else [name]), *(check_host(each) for each in allow_hosts)),
            trust_proxy=check_networks(trust_proxy),
            user_header=None if user_header is None else check_user_header(user_header),
            proxy_role=Role(proxy_role or Role.OPERATOR),
            tls=public.startswith("https:"),
        )
        return command(*args, access=access, **more)

    for option in reversed(_ACCESS):
        called = option(called)
    return called


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
