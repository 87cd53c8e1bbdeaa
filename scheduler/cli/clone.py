"""The command that creates a root that follows a branch."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from scheduler.cli import render
from scheduler.cli.edit import whole
from scheduler.cli.group import Globals, OneOf, cli, global_options, printed, say
from scheduler.core.values.problems import UsageError
from scheduler.core.values.remote import EVERY, read_every
from scheduler.machine.clock import SystemClock


@cli.command("clone")
@click.argument("url")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--branch", metavar="B", help="The branch to follow (default: the remote's HEAD).")
@click.option("--tag", metavar="T", help="Follow a tag instead, even when it moves.")
@click.option(
    "--path", metavar="P", default="", help="The folder that holds scheduler.yaml (default: the top of the repository)."
)
@click.option("--verify", type=OneOf(["signed"]), help="Apply only commits with a good SSH signature.")
@click.option(
    "--allowed-signers",
    metavar="F",
    type=click.Path(path_type=Path),
    help="The trusted signers, in the format of ssh-keygen(1); copied to the state folder.",
)
@click.option("--every", metavar="TIME", default=None, help="How often to check the remote (default: 1m).")
@global_options
def clone_command(
    given: Globals,
    url: str,
    folder: Path | None,
    branch: str | None,
    tag: str | None,
    path: str,
    verify: str | None,
    allowed_signers: Path | None,
    every: str | None,
) -> None:
    """Make a root that follows a branch of a remote.

    Each new commit replaces the whole root at once.
    """
    from scheduler.service.clone import Wanted, clone

    if verify is not None and allowed_signers is None:
        raise UsageError("--verify signed needs a list of allowed signers", hint="add --allowed-signers FILE")
    if verify is None and allowed_signers is not None:
        raise UsageError("--allowed-signers has no effect without --verify signed", hint="add --verify signed")
    wanted = Wanted(
        url=url,
        branch=branch,
        tag=tag,
        path=path,
        signers=allowed_signers,
        every=EVERY if every is None else read_every(every),
    )
    if folder is None and given.root:
        folder = Path(given.root)
    watched = not given.quiet and sys.stderr.isatty()
    with whole(), _one_line() if watched else contextlib.nullcontext() as progress:
        found = clone(
            wanted,
            folder,
            Path(given.state) if given.state else None,
            environ=os.environ,
            clock=SystemClock(),
            progress=progress,
        )
    remote = found.remote.to_json()
    del remote["version"]
    about = {"root": str(found.folder), "state": str(found.followed.state), "commit": found.commit}
    if printed(given, {**about, **remote}):
        return
    click.echo(f"{found.folder} follows the {found.remote.words}, now at {found.commit[:12]}")
    say(given, f"next: scheduler --root {folder or found.folder} plan, then serve")


@contextlib.contextmanager
def _one_line() -> Iterator[Callable[[str], None]]:
    """Show git's progress on one line of the terminal, and clear the line at the end."""

    def show(text: str) -> None:
        pieces = [each.strip() for each in re.split(r"[\r\n]", text)]
        last = next((each for each in reversed(pieces) if each), "")
        click.echo("\r\x1b[K" + render.clean(last)[: shutil.get_terminal_size().columns - 1], nl=False, err=True)

    try:
        yield show
    finally:
        click.echo("\r\x1b[K", nl=False, err=True)
