"""The commands for backups and retention: backup, restore, gc."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from scheduler.cli import render
from scheduler.cli.group import Globals, cli, global_options, printed, say
from scheduler.core.values.instants import instant
from scheduler.core.values.texts import counted
from scheduler.core.values.units import format_size
from scheduler.service.backup import backup, backups, collect_garbage, other_retention, restore_backup


@cli.command("backup")
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@global_options
def backup_command(given: Globals, path: Path) -> None:
    """Copy the database to a new file, and verify the copy.

    The database may be in use. Overwrites nothing.
    """
    found = backup(given.find_root(), path)
    shown = {"path": str(path.absolute()), "jobs": found.jobs, "runs": found.runs, "bytes": found.bytes}
    if printed(given, {**shown, "copied_at": found.copied_at and instant(found.copied_at)}):
        return
    click.echo(f"{path}: {_contents(found.jobs, found.runs, found.bytes)}; verified")
    say(given, "captured output is not included: to keep it, also copy `runs/` from the state folder")


@cli.command("gc")
@click.option("--dry-run", is_flag=True, help="Show what would be deleted; delete nothing.")
@global_options
def gc_command(given: Globals, dry_run: bool) -> None:
    """Delete the outputs and runs that `retention` does not keep.

    `retention` is a section of scheduler.yaml. A daemon does this once a day.
    """
    root = given.find_root()
    if other := other_retention(root):
        say(given, f"warning: {other}")
    found = collect_garbage(root, dry_run=dry_run)
    if printed(given, {**asdict(found), "dry_run": dry_run}):
        return
    if found.nothing:
        say(given, "nothing to delete")
        return
    outputs = f"captured output of {found.outputs} runs ({format_size(found.output_bytes)})"
    rows = f", {found.runs} runs" + ("" if dry_run else f", {found.texts} texts") if found.runs else ""
    rows += f", {counted(found.worktrees, 'worktree')}" if found.worktrees else ""
    click.echo(f"{'would delete' if dry_run else 'deleted'} {outputs}{rows}")


@cli.command("restore")
@click.argument("backup", metavar="[BACKUP]", required=False, type=click.Path(path_type=Path))
@global_options
def restore_command(given: Globals, backup: Path | None) -> None:
    """Replace the database with a backup.

    The present database is renamed, not deleted. Without BACKUP, lists the nightly copies.
    """
    root = given.find_root()
    if backup is None:
        _print_copies(given, backups(root))
        return
    found = restore_backup(root, backup)
    copied_at = found.settled.copied_at
    if given.as_json:
        render.print_json(
            {
                "restored": str(backup.absolute()),
                "copied_at": instant(copied_at),
                "jobs": found.contents.jobs,
                "runs": found.contents.runs,
                "slots_not_known": found.settled.slots,
                "waited": list(found.settled.waited),
                "unpaused": list(found.unpaused),
                "put_aside": found.put_aside and str(found.put_aside),
                "daemon": found.taken_up or None,
            }
        )
        return
    what = _contents(found.contents.jobs, found.contents.runs, found.contents.bytes)
    click.echo(f"{root.place.db} is restored to {render.local_time(instant(copied_at))}: {what}")
    if found.put_aside is not None:
        say(given, f"the previous database is now {found.put_aside}")
    say(given, "runs and pauses since then are not in it; the next sync reads the job files again")
    say(
        given,
        f"{counted(found.settled.slots, 'slot')} since then may have run: "
        "the history shows `missed`, and none of them runs again",
    )
    if found.settled.waited:
        say(given, f"were waiting then and will not run: {', '.join(found.settled.waited)}")
    if found.unpaused:
        click.echo(f"warning: paused jobs that this backup does not have: {', '.join(found.unpaused)}", err=True)
    say(given, f"the daemon continues with it: {found.taken_up}" if found.taken_up else "next: scheduler serve")


def _print_copies(given: Globals, copies: Any) -> None:
    rows = [
        {"path": str(each.path), "copied_at": instant(each.at), "bytes": each.bytes, "earlier": each.earlier}
        for each in copies
    ]
    if printed(given, {"backups": rows}):
        return
    if not copies:
        say(given, "this database has no backups; the daemon makes one every night")
        return
    render.print_table(
        ("COPIED", "SIZE", "HISTORY", "PATH"),
        [
            (
                render.local_time(instant(each.at)),
                _size(each.bytes),
                "earlier" if each.earlier else "this",
                str(each.path),
            )
            for each in copies
        ],
    )
    say(given, f"to restore one: scheduler restore {shlex.quote(str(copies[0].path))}")


def _contents(jobs: int, runs: int, size: int) -> str:
    return f"{counted(jobs, 'job')}, {counted(runs, 'run')}, {_size(size)}"


def _size(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
