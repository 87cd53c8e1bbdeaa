"""The command about the git hooks that wake a daemon: hooks install, uninstall, status."""

from __future__ import annotations

import click

from scheduler.cli import render
from scheduler.cli.group import cli, say
from scheduler.cli.options import Globals, global_options


@cli.command()
@click.argument("action", type=click.Choice(["install", "uninstall", "status"]))
@global_options
def hooks(given: Globals, action: str) -> None:
    """Have every commit, merge, checkout and rewrite wake the daemon: put git hooks before those that are there."""
    from scheduler.service import hooks as git_hooks

    place = given.scheduler().place
    found = {"install": git_hooks.install, "uninstall": git_hooks.uninstall, "status": git_hooks.status}[action](place)
    if given.as_json:
        shown = [
            {"name": each.name, "status": each.status, "kept": each.kept, "changed": each.changed}
            for each in found.hooks
        ]
        render.print_json({"folder": str(found.folder), "hooks": shown})
        return
    render.print_table(
        ("HOOK", "STATUS", "KEPT"),
        [(each.name, each.status, "runs what was there" if each.kept else "-") for each in found.hooks],
        flexible="HOOK",
    )
    say(given, f"in {render.clean(str(found.folder))}")
