"""The commands that act on jobs and runs: run, pause, resume, cancel."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli import render
from scheduler.cli.group import (
    PROBLEMS,
    Globals,
    InstantType,
    JobType,
    RunType,
    cli,
    end,
    end_will_be,
    global_options,
    printed,
    say,
)
from scheduler.core.due.checked import NOTHING_TO_DO
from scheduler.core.values.problems import UsageError
from scheduler.core.values.runs import Run, RunStatus
from scheduler.core.values.texts import counted
from scheduler.core.views import run_json
from scheduler.machine.signals import is_ignored
from scheduler.run.local.cancel import Cancel
from scheduler.service.accounts import resume_account
from scheduler.service.history import output
from scheduler.service.pause import known_jobs, pause_job, resume_job
from scheduler.service.run import cancel_run, dry_run_job, run_job

if TYPE_CHECKING:
    from scheduler.core.answers import AccountJson, DryRunJson, ShowJson


@cli.command("run")
@click.argument("job", type=JobType())
@click.option("--wait", is_flag=True, help="Wait for the end; exit 1 unless the run succeeds.")
@click.option("--task-of", metavar="RUN", type=RunType(), help="Use the text of this earlier run, not the file's.")
@click.option("--check", is_flag=True, help="Let the check of the job decide first, as it does at a slot.")
@click.option("--dry-run", is_flag=True, help="Show argv, folder, environment names and text; run nothing.")
@global_options
def run_command(given: Globals, job: str, wait: bool, task_of: str | None, check: bool, dry_run: bool) -> None:
    """Run a job now.

    It gets the text that its file holds now. Its check is not asked, unless with --check. The daemon runs it; without
    one, this command does, in the foreground.
    """
    root = given.find_root()
    if dry_run:
        _print_dry_run(given, dry_run_job(root, job, task_of=task_of))
        return
    cancel = Cancel()
    started: list[str] = []
    with _ended_by_signals(cancel) as restore:

        def synced(created: int) -> None:
            say(given, f"this root had never been synced, so it was synced first; {counted(created, 'job')} created")

        def claimed(run: Run, here: bool) -> None:
            started.append(run.id)
            if here:
                say(given, f"{run.id} runs here, in the foreground: no daemon is running")
            else:
                restore()  # a signal ends the wait, not the run

        try:
            finished = run_job(
                root,
                job,
                cancel=cancel,
                wait=wait,
                claimed=claimed,
                task_of=task_of,
                check=check,
                watched=sys.stderr.isatty(),
                synced=synced,
            )
        except KeyboardInterrupt:
            if started:
                say(given, f"\n{started[0]} continues in the daemon; to stop it: scheduler cancel {started[0]}")
            raise
    idle = finished.reason == NOTHING_TO_DO and finished.status is RunStatus.SKIPPED
    succeeded = finished.status is RunStatus.SUCCEEDED or not finished.status.finished or idle
    code = end_will_be(0 if succeeded else PROBLEMS)
    if given.as_json:
        render.print_json({"run": run_json(finished)})
    elif not finished.status.finished:
        say(given, f"{finished.id} runs in the daemon; to see its output: scheduler output {finished.id} --follow")
    else:
        if finished.output_bytes:
            render.write_bytes(sys.stdout, output(root, finished.id)[1])
        _say_ended(given, finished)
    end(code)


@contextlib.contextmanager
def _ended_by_signals(cancel: Cancel) -> Iterator[Callable[[], None]]:
    """Inside the block, signals that would stop the command cancel the run. The yielded function undoes that."""
    before: dict[int, Any] = {}

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if not is_ignored(number):  # nohup, or a shell's background job
            before[int(number)] = signal.signal(number, lambda *_: cancel.request())
    try:
        yield restore
    finally:
        restore()


def _say_ended(given: Globals, run: Run) -> None:
    reason = f"/{run.reason}" if run.reason else ""
    took = "" if run.duration_ms is None else f" in {render.duration(run.duration_ms)}"
    say(given, f"{run.id} {run.status.value}{reason}{took}")
    if run.error:
        click.echo(f"error: {render.clean(run.error)}", err=True)


@cli.command("cancel")
@click.argument("run", type=RunType())
@global_options
def cancel_command(given: Globals, run: str) -> None:
    """Stop a run: TERM to its processes, KILL 10 seconds later."""
    ended = cancel_run(given.find_root(), run)
    if not printed(given, {"run": run_json(ended)}):
        say(given, f"{ended.id} {ended.status.value}")


@cli.command("pause")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=JobType())
@click.option("--reason", help="Why, for others to read.")
@click.option("--until", type=InstantType(), help="When the pause ends by itself (default: at `resume`).")
@click.option("--next", "one_slot", is_flag=True, help="Skip only the next slot.")
@global_options
def pause_command(
    given: Globals, jobs: tuple[str, ...], reason: str | None, until: datetime | None, one_slot: bool
) -> None:
    """Pause jobs: their slots are skipped.

    A pause survives every sync and edits no file.
    """
    if one_slot and until is not None:
        raise UsageError("--next and --until cannot be combined", hint="leave --until out")
    root = given.find_root()
    known_jobs(root, jobs)
    _print_jobs(given, [pause_job(root, job, reason=reason, until=until, one_slot=one_slot) for job in jobs])


@cli.command("resume")
@click.argument("jobs", metavar="[JOB...]", nargs=-1, type=JobType())
@click.option("--account", metavar="NAME", help="Probe this parked account now; its jobs go on if it works again.")
@global_options
def resume_command(given: Globals, jobs: tuple[str, ...], account: str | None) -> None:
    """End the pause of jobs, or restart stopped ones.

    Slots that have passed are not made up for; the next one runs.
    """
    if (account is None) == (not jobs):
        raise UsageError(
            "JOB and --account cannot be combined" if jobs else "neither a job nor an account was given",
            hint="`scheduler resume JOB`, or `scheduler resume --account NAME`",
        )
    root = given.find_root()
    if account is not None:
        _print_account(given, resume_account(root, account))
        return
    known_jobs(root, jobs)
    _print_jobs(given, [resume_job(root, job) for job in jobs])


def _print_jobs(given: Globals, found: Sequence[ShowJson]) -> None:
    """Print jobs. As JSON, one job is the answer itself; several are a list."""
    if not printed(given, found[0] if len(found) == 1 else {"jobs": found}):
        for each in found:
            _say_job(given, each)


def _say_job(given: Globals, found: ShowJson) -> None:
    job = found["job"]
    until = job["paused"] and job["paused"]["until"]
    coming = found["next_fires"]
    state = f"{job['status']} until {render.local_time(until)}" if until else job["status"]
    say(given, f"{job['id']} is {state}; next fire {render.local_time(coming[0]['fire_time']) if coming else '-'}")


def _print_account(given: Globals, found: AccountJson) -> None:
    if printed(given, found):
        return
    if found["waiting"] is None:
        say(given, f"account {found['account']!r} is not parked; nothing was changed")
    else:
        say(given, f"account {found['account']!r}: its next run is the probe")


def _print_dry_run(given: Globals, found: DryRunJson) -> None:
    if printed(given, found):
        return
    for name in ("argv", "cwd", "input"):
        click.echo(f"{name:<12} {render.value_text(found[name])}")
    if found["task_queue"]:
        click.echo(f"{'task queue':<12} {found['task_queue']}")
    click.echo(f"{'environment':<12} {' '.join(found['env'])}")
    if check := found["check"]:
        says = check["fault"] or render.value_text(check["argv"])
        click.echo(f"{'check':<12} {says} (decides at each slot; not run now)")
    click.echo(f"{'task sha256':<12} {found['task_sha256']}\n")
    render.write_bytes(sys.stdout, found["task"].encode())
    if not found["task"].endswith("\n"):
        click.echo()
