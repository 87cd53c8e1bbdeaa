"""The commands for channels and what was sent through them."""

from __future__ import annotations

import click

from scheduler.cli import render
from scheduler.cli.group import MOST, PROBLEMS, Globals, JobType, cli, end, global_options, printed, say
from scheduler.service.channels import channels, deliveries, retry_delivery, test_channel


@cli.group("channels")
def channels_group() -> None:
    """List the channels of scheduler.yaml, or test one."""


@channels_group.command("list")
@global_options
def list_command(given: Globals) -> None:
    """Show each channel, and how sending to it goes."""
    found = channels(given.find_root())
    if printed(given, found):
        return
    if not found["channels"]:
        say(given, "scheduler.yaml has no channels")
        return
    render.print_table(
        ("CHANNEL", "KIND", "STATE", "WAITING", "LAST MESSAGE", "ERROR"),
        [
            (
                each["name"],
                each["kind"],
                "dead" if each["dead_since"] else "failing" if each["error"] else "ok" if each["last_ok_at"] else "-",
                str(each["waiting"]),
                render.local_time(each["last_ok_at"]) if each["last_ok_at"] else "-",
                each["error"] or "",
            )
            for each in found["channels"]
        ],
    )


@channels_group.command("test")
@click.argument("name")
@global_options
def test_command(given: Globals, name: str) -> None:
    """Send one real message through a channel, and wait until it has arrived or failed."""
    found = test_channel(given.find_root(), name)
    if not printed(given, found):
        click.echo(f"{name}: delivered" if found["delivered"] else f"{name}: not delivered: {found['error']}")
    end(0 if found["delivered"] else PROBLEMS)


@cli.group("deliveries", invoke_without_command=True)
@click.option("--job", type=JobType(), help="Only what concerns this job.")
@click.option("--channel", help="Only what goes to this channel.")
@click.option("--failed", is_flag=True, help="Only what has failed, or was given up or dropped.")
@click.option("-n", "count", type=click.IntRange(min=1, max=MOST), default=50, help="Show the N newest (default: 50).")
@click.pass_context
@global_options
def deliveries_group(
    given: Globals, context: click.Context, job: str | None, channel: str | None, failed: bool, count: int
) -> None:
    """List what was sent and what waits, newest first."""
    if context.invoked_subcommand is not None:
        return
    found = deliveries(given.find_root(), job, channel=channel, failed=failed, count=count)
    if printed(given, found):
        return
    if not found["deliveries"]:
        say(given, "no deliveries")
        return
    render.print_table(
        ("ID", "AT", "EVENT", "OF", "CHANNEL", "STATUS", "TRIES", "ERROR"),
        [
            (
                str(each["id"]),
                render.local_time(each["at"]),
                each["event"],
                each["run"] or each["job_id"] or "the root",
                each["channel"],
                each["status"].partition(":")[0],
                str(each["tries"]),
                each["error"] or each["status"].partition(":")[2],
            )
            for each in found["deliveries"]
        ],
    )


@deliveries_group.command("retry")
@click.argument("number", metavar="ID", type=int)
@global_options
def retry_command(given: Globals, number: int) -> None:
    """Let a delivery that was given up or dropped wait again."""
    found = retry_delivery(given.find_root(), number)
    if not printed(given, found):
        click.echo(f"delivery {number} to {found['channel']} waits to be sent")
