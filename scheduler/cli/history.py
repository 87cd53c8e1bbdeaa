"""The commands that show what ran and what changed: history, explain, output, task, audit."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

import click

from scheduler.cli import render
from scheduler.cli.group import (
    MOST,
    Globals,
    InstantType,
    JobType,
    OneOf,
    RunType,
    SinceType,
    cli,
    global_options,
    printed,
    say,
    say_held,
    say_never_synced,
)
from scheduler.core.due.checked import with_output
from scheduler.core.past.why import trigger_words
from scheduler.core.values.problems import UsageError
from scheduler.core.values.runs import RunStatus
from scheduler.core.views import task_json
from scheduler.service.first import never_synced
from scheduler.service.history import (
    NEWEST,
    answer_of,
    audit,
    explain_run_of,
    explain_slots,
    history,
    output,
    present_task,
    run_to_read,
    task,
)

if TYPE_CHECKING:
    from scheduler.core.answers import EvidenceJson, ExplainJson, ExplainWindowJson, RunJson, SlotsJson


@cli.command("history")
@click.argument("job", metavar="[JOB]", required=False, type=JobType())
@click.option(
    "-n", "count", type=click.IntRange(min=1, max=MOST), default=NEWEST, help="Show the N newest (default: 50)."
)
@click.option("--since", metavar="T", type=SinceType(), help="Only runs that ended at T or later, or are not over yet.")
@click.option("--failed", is_flag=True, help="Only failures: failed, timed out, interrupted, could not start.")
@click.option("--status", type=OneOf([status.value for status in RunStatus]), help="Only rows with this status.")
@global_options
def history_command(
    given: Globals, job: str | None, count: int, since: datetime | None, failed: bool, status: str | None
) -> None:
    """List runs and skips, newest first.

    Without JOB, of all jobs: runs that are not over yet first, then the most recently ended.
    """
    root = given.find_root()
    found = history(
        root,
        job,
        count=count,
        since=since,
        failed=failed,
        status=RunStatus(status) if status else None,
        prefix=given.prefix,
    )
    if job is None:
        say_never_synced(given, never_synced(root))
    if printed(given, found):
        return
    if not found["runs"]:
        say(given, "no such runs" if since or failed or status else "no runs yet")
        return
    costs, hosts = any(run["cost"] for run in found["runs"]), any(run["host"] for run in found["runs"])
    render.print_table(
        (
            "RUN",
            "STATUS",
            "REASON",
            "TRIGGER",
            "STARTED",
            "TOOK",
            *(("COST",) if costs else ()),
            *(("HOST",) if hosts else ()),
            "TASK",
            "COMMIT",
            "RESULT",
        ),
        [
            (
                run["id"],
                run["status"],
                run["reason"] or "-",
                trigger_words(run["trigger"], run["requested_by"]),
                render.local_time(run["started_at"] or run["fire_time"] or run["requested_at"]),
                render.duration(run["duration_ms"]) if run["slots"] == 1 else f"{run['slots']} slots",
                *((render.cost(run["cost"]),) if costs else ()),
                *((run["host"] or "-",) if hosts else ()),
                render.short_hash(run["task_sha256"]),
                render.revision_text(run),
                _outcome(run),
            )
            for run in found["runs"]
        ],
        flexible="RESULT",
        optional=("COMMIT", "TASK", "TOOK", "REASON", "TRIGGER", "COST", "HOST"),  # RESULT says the reason too
        least=16,
    )
    if found["more"]:
        say(given, f"only the newest {count}; -n shows more")


@cli.command("explain")
@click.argument("job", metavar="JOB|RUN", type=RunType(or_job=True))
@click.option("--at", type=InstantType(), help="The instant to explain (default: the newest slot that was due).")
@click.option("--from", "start", type=InstantType(), help="Summarise the slots from this instant on.")
@click.option(
    "--to", "until", type=InstantType(), help="With --from: up to, not including, this instant (default: now)."
)
@global_options
def explain_command(
    given: Globals, job: str, at: datetime | None, start: datetime | None, until: datetime | None
) -> None:
    """Explain why a job did, did not or will not run.

    Explains one instant, or summarises the slots from --from to --to. For a run (JOB:N): why it started and how it
    ended. A time without a zone is in the job's zone.
    """
    root = given.find_root()
    if ":" in job:
        if at is not None or start is not None or until is not None:
            raise UsageError(f"{job} is a single run, which has its own time", hint="leave out --at, --from and --to")
        _print_answer(given, explain_run_of(root, job, prefix=given.prefix))
        return
    found = explain_slots(root, job, at=at, start=start, until=until, prefix=given.prefix)
    if start is None:
        _print_answer(given, cast("ExplainJson", found))
    else:
        _print_window(given, cast("ExplainWindowJson", found))


def _print_answer(given: Globals, found: ExplainJson) -> None:
    say_held(given, found["held"])
    if printed(given, found):
        return
    if "run" in found:
        reason = f"/{found['reason']}" if found["reason"] else ""
        click.echo(f"{found['run']}: {found['status']}{reason}")
    else:
        click.echo(f"{found['job_id']} at {render.local_time(found['at'])}: {found['why'].replace('_', ' ')}")
    click.echo(render.clean(render.in_zone(f"  {found['text']}")))
    _print_evidence(found["evidence"])


def _print_evidence(evidence: Sequence[EvidenceJson]) -> None:
    for each in evidence:
        text = each["text"] if each["kind"] == "error" else render.in_zone(each["text"])
        click.echo(render.clean(f"  - {text}{_origin_text(each)}"))


def _print_window(given: Globals, found: ExplainWindowJson) -> None:
    say_held(given, found["held"])
    if printed(given, found):
        return
    click.echo(f"{found['job_id']}: {found['text']}")
    click.echo(f"  from {render.local_time(found['from'])} to {render.local_time(found['to'])}")
    parts: list[tuple[str, SlotsJson]] = [
        *((each["status"] + (f", {each['reason']}" if each["reason"] else ""), each) for each in found["served"]),
        *((each["why"].replace("_", " "), each) for each in found["without_row"]),
    ]
    if parts:
        click.echo()
        render.print_table(
            ("SLOTS", "WHAT", "FIRST", "LAST"),
            [
                (f"{part['slots']:,}", what, render.local_time(part["first"]), render.local_time(part["last"]))
                for what, part in parts
            ],
            flexible="WHAT",
            optional=("LAST",),
        )
        click.echo()
    for unserved in found["without_row"]:
        click.echo(render.clean(f"  {unserved['why'].replace('_', ' ')}: {render.in_zone(unserved['text'])}"))
    gap = found["longest_gap"]
    if gap is not None:
        click.echo(f"  longest gap: {gap['slots']:,} slots in a row did not run,")
        click.echo(f"    {render.local_time(gap['first'])} to {render.local_time(gap['last'])}")
    _print_evidence([*found["exceptions"], *found["beside"]])
    if found["more_exceptions"]:
        say(given, f"{found['more_exceptions']:,} more did not succeed; narrow the window to see them")


@cli.command("output")
@click.argument("run", metavar="RUN|JOB", type=RunType())
@click.option("--follow", is_flag=True, help="Keep printing until the run ends.")
@click.option("--answer", is_flag=True, help="Print only the agent's answer: at most 64 KiB.")
@click.option("--full", is_flag=True, help="Fetch all that the host of a worker has kept.")
@global_options
def output_command(given: Globals, run: str, follow: bool, answer: bool, full: bool) -> None:
    """Print what a run wrote to stdout and stderr.

    For a job: what its newest run wrote. A file or pipe gets the exact bytes; a terminal gets no control sequences,
    such as colours.
    """
    root = given.find_root()
    if follow and (given.as_json or answer):
        other = "--json" if given.as_json else "--answer"
        raise UsageError(f"--follow and {other} cannot be combined", hint="leave one of them out")
    if full and (follow or answer):
        other = "--follow" if follow else "--answer"
        raise UsageError(f"--full and {other} cannot be combined", hint="leave one of them out")
    if ":" not in run:
        run = run_to_read(root, run, prefix=given.prefix).id
        if sys.stderr.isatty():
            say(given, f"{run}:")
    if answer:
        text = answer_of(root, run, prefix=given.prefix)
        if not printed(given, {"run_id": run, "answer": text}):
            render.write_bytes(sys.stdout, f"{text.rstrip()}\n".encode())
        return
    if follow:
        from scheduler.service.follow import follow_output

        screens = {sys.stdout: render.ForScreen(), sys.stderr: render.ForScreen()}
        for stream, data in follow_output(root, run, prefix=given.prefix):
            file = sys.stdout if stream == "stdout" else sys.stderr
            render.write_bytes(file, data, screens[file])
        for file, screen in screens.items():
            render.write_bytes(file, b"", screen, final=True)
        return
    found, stdout, stderr = output(root, run, prefix=given.prefix)
    if full and found.host is not None:
        from scheduler.service.away import full_output

        stdout, stderr = full_output(root, found)
    if given.as_json:
        texts = {"stdout": stdout.decode(errors="replace"), "stderr": stderr.decode(errors="replace")}
        render.print_json({"run_id": found.id, **texts, "truncated": found.truncated, "result": found.result})
        return
    render.write_bytes(sys.stdout, stdout)
    render.write_bytes(sys.stderr, stderr)


@cli.command("task")
@click.argument("run", metavar="RUN|JOB", type=RunType())
@global_options
def task_command(given: Globals, run: str) -> None:
    """Print the exact text that a run was given.

    For a job: the text that its next run would get from the files as they are now.
    """
    if ":" not in run:
        present = present_task(given.find_root(), run, prefix=given.prefix)
        if not printed(given, present):
            render.write_bytes(sys.stdout, present["task"].encode())
        return
    found, text, check_output = task(given.find_root(), run, prefix=given.prefix)
    if printed(given, task_json(found, text, check_output)):
        return
    render.write_bytes(sys.stdout, text if check_output is None else with_output(text, check_output))


@cli.command("audit")
@click.argument("job", required=False, type=JobType())
@click.option(
    "-n", "count", type=click.IntRange(min=1, max=MOST), default=NEWEST, help="Show the N newest (default: 50)."
)
@global_options
def audit_command(given: Globals, job: str | None, count: int) -> None:
    """Show what changed, when, and by whom.

    Newest first. For one job, for `@root` (scheduler.yaml), or for everything.
    """
    root = given.find_root()
    found = audit(root, job, count=count, prefix=given.prefix)
    say_never_synced(given, never_synced(root))
    if printed(given, found):
        return
    if not found["audit"]:
        say(given, "nothing has changed yet")
        return
    render.print_table(
        ("AT", "JOB", "BY", "CHANGE", "BEFORE", "AFTER", "COMMIT", "AUTHOR"),
        [
            (
                render.local_time(row["at"]),
                row["job_id"],
                f"{row['actor']} ({row['cause']})",
                " ".join(dict.fromkeys(word for word in (row["action"], row["field"]) if word)),
                *render.two_sides(
                    render.field_text(row["field"] or "", row["before"]),
                    render.field_text(row["field"] or "", row["after"]),
                    40,
                ),
                row["commit"]["id"][:7] if row["commit"] else row["no_commit"] or render.short_hash(row["revision"], 7),
                row["commit"]["author"] if row["commit"] else "-",
            )
            for row in reversed(found["audit"])
        ],
        flexible="AFTER",
        optional=("COMMIT", "AUTHOR", "BEFORE", "AFTER"),
    )
    if found["more"]:
        say(given, f"only the newest {count}; -n shows more")


def _outcome(run: RunJson) -> str:
    """When a run is retried; otherwise how it ended, what it wrote, or why it has not run."""
    if run["retry_at"]:
        return f"retry at {render.local_time(run['retry_at'])}"
    return render.first_line(run["error"] or run["result"] or (run["reason"] if run["status"] == "skipped" else ""), 60)


def _origin_text(evidence: EvidenceJson) -> str:
    """The commit that introduced it, with its author; otherwise the commit that was checked out."""
    commit = evidence["commit"]
    if commit is not None:
        return f"  [{commit['id'][:7]} by {commit['author']}: {commit['subject']}]"
    if evidence["no_commit"] == "uncommitted":
        return "  [uncommitted]"
    if evidence["no_commit"] == "pending":
        return "  [commit not looked up yet]"
    return f"  [{render.short_hash(evidence['revision'], 7)}]" if evidence["revision"] else ""
