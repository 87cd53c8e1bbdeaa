"""The command about the git hooks that wake a daemon: hooks install, uninstall, status."""

from __future__ import annotations

from dataclasses import asdict

import click

from scheduler.cli import render
from scheduler.cli.group import Globals, cli, global_options, printed, say


@cli.command("hooks")
@click.argument("action", type=click.Choice(["install", "uninstall", "status"]))
@global_options
def hooks_command(given: Globals, action: str) -> None:
    """Have every commit, merge, checkout and rewrite wake the daemon: put git hooks before those that are there."""
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
