"""The commands for channels and what was sent through them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from scheduler.cli import render
from scheduler.cli.completion import CHANNEL
from scheduler.cli.group import MOST, PROBLEMS, Globals, JobType, OneOf, cli, end, global_options, printed, say
from scheduler.core.messages.samples import SAMPLES
from scheduler.core.values.events import EventKind
from scheduler.core.values.problems import UsageError
from scheduler.service.channels import channels, deliveries, rehearse_channel, retry_delivery, try_channel
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import RehearsedJson

_HERE = "`${env:...}` was read from this command's environment; the daemon has its own"
_RETRY = "retry"


@cli.command("channels")
@click.argument("action", type=OneOf(["list", "test"]))
@click.argument("name", metavar="[NAME]", required=False, type=CHANNEL)
@click.option(
    "--kind",
    metavar="KIND",
    type=OneOf([each.value for each in SAMPLES]),
    help="test: Send a sample of this kind of event (default: test).",
)
@click.option("--dry-run", is_flag=True, help="test: Only show the message, and which references resolve.")
@global_options
def channels_command(given: Globals, action: str, name: str | None, kind: str | None, dry_run: bool) -> None:
    """List the channels of scheduler.yaml, or test one.

    A test sends one real message through the daemon, and waits until it has arrived or failed. With --dry-run, nothing
    is sent, and no daemon is needed.
    """
    root = given.find_root()
    if action == "test":
        return end(_test(given, root, name, EventKind(kind or EventKind.TEST), dry_run=dry_run))
    if name is not None:
        raise UsageError(f"channels list takes no NAME, but got {name!r}", hint=f"`scheduler channels test {name}`")
    if kind is not None or dry_run:
        option = "--dry-run" if kind is None else f"--kind {kind}"
        raise UsageError(f"channels list takes no {option}", hint=f"`scheduler channels test NAME {option}`")
    found = channels(root)
    if printed(given, found):
        return None
    if not found["channels"]:
        return say(given, "scheduler.yaml has no channels")
    render.print_table(
        ("CHANNEL", "KIND", "STATE", "WAITING", "LAST MESSAGE", "ERROR"),
        [
            (
                each["name"],
                each["kind"],
                "dead" if each["dead_since"] else "failing" if each["error"] else "ok" if each["last_ok_at"] else "-",
                str(each["waiting"]),
                render.local_time(each["last_ok_at"]) if each["last_ok_at"] else "-",
                each["error"] or "-",
            )
            for each in found["channels"]
        ],
        flexible="ERROR",
        optional=("KIND", "LAST MESSAGE"),
        least=40,
    )
    return None


def _test(given: Globals, root: Root, name: str | None, kind: EventKind, *, dry_run: bool) -> int:
    """The exit code."""
    if name is None:
        raise UsageError("channels test needs the NAME of a channel", hint="`scheduler channels list` shows them")
    if dry_run:
        shown = rehearse_channel(root, name, kind)
        if not printed(given, shown):
            for line in _rehearsed_lines(shown):
                click.echo(line)
            say(given, f"nothing was sent; {_HERE}" if shown["references"] else "nothing was sent")
        return 0 if shown["ready"] else PROBLEMS
    tested = try_channel(root, name, kind)
    if not printed(given, tested):
        said = "delivered" if tested["delivered"] else f"not delivered: {tested['error']}"
        click.echo(render.clean(f"{name}: {said}"))
    return 0 if tested["delivered"] else PROBLEMS


def _rehearsed_lines(found: RehearsedJson) -> Iterator[str]:
    """What would be sent, below what is known of the channel."""
    fields = [("channel", f"{found['channel']} ({found['kind']}, {found['detail']})")]
    fields += [("service", found["service"])] if found["service"] else []
    for each in found["references"]:
        fields.append(("reference", f"{each['reference']}: {each['error'] or 'resolves'}"))
    fields += [("error", found["error"])] if found["error"] else []
    message, payload = found["message"], found["payload"]
    body = ""
    if message is not None:
        fields += [("title", message["title"])]
        fields += [
            ("size", f"{message['size']:,} of at most {message['most']:,} {message['unit']}, {message['markup']}")
        ]
        fields += [("attached", message["attachment"])] if message["attachment"] else []
        body = message["body"]
    elif payload is not None:
        body = json.dumps(payload, indent=2, ensure_ascii=False)
        fields += [("size", f"{len(json.dumps(payload, ensure_ascii=False).encode()):,} bytes of JSON")]
    for name, value in fields:
        yield render.wrapped(f"{name:<10} ", render.clean(value), indent=11)
    if body:
        yield ""
        yield from map(render.clean, body.splitlines())


@cli.command("deliveries")
@click.argument("job", metavar="[JOB | retry]", required=False, type=JobType(_RETRY))
@click.argument("number", metavar="[ID]", required=False, type=int)
@click.option("--channel", metavar="NAME", type=CHANNEL, help="Only what goes to this channel.")
@click.option("--failed", is_flag=True, help="Only what has failed, or was given up or dropped.")
@click.option("-n", "count", type=click.IntRange(min=1, max=MOST), default=50, help="Show the N newest (default: 50).")
@global_options
def deliveries_command(
    given: Globals, job: str | None, number: int | None, channel: str | None, failed: bool, count: int
) -> None:
    """List the messages that were sent or wait, newest first.

    With JOB, only what concerns this job. `retry ID` lets one that was given up or dropped wait again.
    """
    root = given.find_root()
    if job == _RETRY:
        if number is None:
            raise UsageError("deliveries retry needs an ID", hint="`scheduler deliveries --failed` shows them")
        again = retry_delivery(root, number)
        if not printed(given, again):
            click.echo(f"delivery {number} to {again['channel']} waits to be sent")
        return
    if number is not None:
        raise UsageError(f"deliveries takes one JOB, but got {number} as well", hint=f"`scheduler deliveries {job}`")
    found = deliveries(root, job, channel=channel, failed=failed, count=count)
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
                each["error"] or each["status"].partition(":")[2] or "-",
            )
            for each in found["deliveries"]
        ],
        flexible="ERROR",
        optional=("TRIES", "AT"),
    )
