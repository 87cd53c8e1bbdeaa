"""The commands that only read: list, show, next, history, explain, output, task, audit."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING

import click

from scheduler.cli import render
from scheduler.cli.completion import TAG
from scheduler.cli.group import (
    MOST,
    Globals,
    InstantType,
    JobType,
    OneOf,
    RunType,
    cli,
    global_options,
    printed,
    problem_count,
    say,
    say_never_synced,
)
from scheduler.core.values.facts import Status
from scheduler.core.values.problems import Problem, UsageError
from scheduler.core.values.runs import RunStatus
from scheduler.core.values.texts import how_held_ends
from scheduler.core.views import task_json
from scheduler.service.first import never_synced
from scheduler.service.history import audit, explain_job, follow_output, history, output, task
from scheduler.service.jobs import held, list_jobs, next_fires, show_job

if TYPE_CHECKING:
    from scheduler.core.answers import EvidenceJson, JobJson, RunJson


@cli.command("list")
@click.option("--status", type=OneOf([status.value for status in Status]), help="Only jobs of this status.")
@click.option("--tag", type=TAG, help="Only jobs with this tag.")
@click.option("--problems", is_flag=True, help="Only jobs with problems, and the problems.")
@global_options
def list_command(given: Globals, status: str | None, tag: str | None, problems: bool) -> None:
    """List the jobs: status, schedule, next and last run."""
    root = given.find_root()
    found = list_jobs(root, status=status, tag=tag, problems=problems, tasks=given.as_json)
    if not found["synced"]:
        what = "these jobs are what its files say, and none fires"
        say(given, f"this root was never synced: {what}; run `scheduler sync`, or `scheduler serve`")
    _say_held(given, found["summary"]["held"])
    for trouble in found["troubles"]:
        root.tell(trouble)
    if printed(given, found):
        return
    now = root.clock.now()
    jobs = [job for job in found["jobs"] if job["status"] != "archived" or status == "archived"]
    if jobs:
        render.print_table(
            ("JOB", "STATUS", "SCHEDULE", "NEXT", "LAST RUN", "RUNS"),
            [
                (
                    job["id"],
                    _status_text(job),
                    job["schedule_text"],
                    _next_text(job, now),
                    f"{job['last_run_status']} {render.ago(job['last_run_at'], now)}" if job["last_run_at"] else "-",
                    str(job["run_count"]),
                )
                for job in jobs
            ],
            flexible="SCHEDULE",
            optional=("RUNS", "LAST RUN"),
        )
    found_problems = [Problem.from_json(problem) for problem in found["problems"]]
    if found_problems:
        if problems or (not jobs and all(each.code == "jobs.none" for each in found_problems)):
            render.print_problems(found_problems)
        else:
            say(given, f"\n{problem_count(found_problems)} in the files; `scheduler list --problems` shows them")


def _say_held(given: Globals, held: str | None) -> None:
    if held:
        say(given, f"held: {held}: edits of the files wait until that is over; {how_held_ends(held)}")


@cli.command("show")
@click.argument("job", type=JobType())
@global_options
def show_command(given: Globals, job: str) -> None:
    """Show one job: definition, state, file and next fires."""
    found = show_job(given.find_root(), job, prefix=given.prefix)
    _say_held(given, found["held"])
    if printed(given, found):
        return
    about = found["job"]
    zone = about["schedule"]["timezone"]
    entries = about["schedule"].get("any", [about["schedule"]])
    lines = {
        "name": about["name"],
        "description": about["description"],
        "owner": about["owner"],
        "tags": ", ".join(about["tags"]),
        "status": about["status"]
        + ("" if about["sync_state"] in ("synced", "archived") else f" ({about['sync_state']})"),
        "schedule": about["schedule_text"],
        "cron": "; ".join(each["cron"] for each in entries if "cron" in each),
        "jitter": render.duration(about["schedule"]["jitter_ms"]) if "jitter_ms" in about["schedule"] else None,
        "source": f"{about['source_path']}:{about['source_line']}",
        "task": about["task_source_path"] or "in the job file",
        "task sha256": render.short_hash(about["task_sha256"]),
        "runner": about["runner"],
        "timeout": render.duration(about["timeout_ms"]),
        "env": ", ".join(f"{name}={value}" for name, value in about["env"].items()),
        "version": about["version"],
        "revision": render.short_hash(about["revision"]) + (f" ({about['dirty']})" if about["dirty"] else ""),
        "runs": f"{about['run_count']}, {about['consecutive_errors']} errors in a row",
        "last run": f"{about['last_run_status']} at {render.local_time(about['last_run_at'], zone)}"
        if about["last_run_at"]
        else None,
        "last error": render.first_line(about["last_run_error"]),
        "last skip": f"{about['last_skip_reason']} at {render.local_time(about['last_skip_at'], zone)}"
        if about["last_skip_at"]
        else None,
        "stopped": about["stop_reason"],
        "expects": f"a success every {render.duration(about['expect_every_ms'])}" if about["expect_every_ms"] else None,
        "overdue": "; ".join(alarm["message"] for alarm in about["alarms"]),
        "paused": render.value_text(about["paused"]) if about["paused"] else None,
        "created": f"{render.local_time(about['created_at'], zone)} by {about['created_by']}",
    }
    click.echo(about["id"])
    for name, value in lines.items():
        if value:
            click.echo(f"  {name:<12} {render.clean(str(value))}")
    for i, fire in enumerate(found["next_fires"]):
        mark = f" ({render.clock_change(fire)})" if fire["dst"] else ""
        local = render.local_time(fire["fire_time"], fire["timezone"])
        click.echo(f"  {'next fires' if i == 0 else '':<12} {local}{mark}")
    render.print_problems([Problem.from_json(problem) for problem in about["problems"]])


@cli.command("next")
@click.argument("jobs", metavar="[JOB...]", nargs=-1, type=JobType())
@click.option("-n", "count", type=click.IntRange(min=1, max=MOST), help="Fires of each job; 5 unless --to is given.")
@click.option("--from", "start", type=InstantType(), help="After this instant; now if absent.")
@click.option("--to", "until", type=InstantType(), help="Up to and including this instant.")
@global_options
def next_command(
    given: Globals, jobs: tuple[str, ...], count: int | None, start: datetime | None, until: datetime | None
) -> None:
    """Show the next fires, in local time and UTC."""
    root = given.find_root()
    found = next_fires(root, jobs, count=count, start=start, until=until, prefix=given.prefix)
    _say_held(given, held(root))
    if not jobs:
        say_never_synced(given, never_synced(root))
    if given.as_json:
        render.print_json(found)
    elif found["fires"]:
        marked = any(fire["dst"] for fire in found["fires"])
        render.print_table(
            ("JOB", "LOCAL", "UTC", "CLOCK CHANGE")[: 4 if marked else 3],
            [
                (
                    fire["job_id"],
                    render.local_time(fire["fire_time"], fire["timezone"]),
                    fire["fire_time"],
                    render.clock_change(fire),
                )[: 4 if marked else 3]
                for fire in found["fires"]
            ],
        )
    else:
        say(given, "no fires")


@cli.command("history")
@click.argument("job", type=JobType())
@click.option("-n", "count", type=click.IntRange(min=1, max=MOST), help="At most so many.")
@click.option("--status", type=OneOf([status.value for status in RunStatus]), help="Only runs of this status.")
@global_options
def history_command(given: Globals, job: str, count: int | None, status: str | None) -> None:
    """List a job's runs and skips, newest first."""
    root = given.find_root()
    found = history(root, job, count=count, status=RunStatus(status) if status else None, prefix=given.prefix)
    if printed(given, found):
        return
    if not found["runs"]:
        say(given, "no runs yet")
        return
    render.print_table(
        ("RUN", "STATUS", "REASON", "TRIGGER", "STARTED", "TOOK", "TASK", "COMMIT", "RESULT"),
        [
            (
                run["id"],
                run["status"],
                run["reason"] or "-",
                run["trigger"],
                render.local_time(run["started_at"] or run["fire_time"] or run["requested_at"]),
                render.duration(run["duration_ms"]) if run["slots"] == 1 else f"{run['slots']} slots",
                render.short_hash(run["task_sha256"]),
                render.revision_text(run),
                _outcome(run),
            )
            for run in found["runs"]
        ],
        flexible="RESULT",
        optional=("COMMIT", "TASK", "TRIGGER", "TOOK"),
    )


@cli.command("explain")
@click.argument("job", type=JobType())
@click.option("--at", type=InstantType(), help="The instant to explain; the newest slot that was due if absent.")
@global_options
def explain_command(given: Globals, job: str, at: datetime | None) -> None:
    """Explain why a job did, did not or will not fire.

    Shows the evidence for the answer.
    """
    root = given.find_root()
    found = explain_job(root, job, at=at, prefix=given.prefix)
    _say_held(given, held(root))
    if printed(given, found):
        return
    click.echo(f"{found['job_id']} at {found['at']}: {found['why'].replace('_', ' ')}")
    click.echo(render.clean(f"  {found['text']}"))
    for each in found["evidence"]:
        click.echo(render.clean(f"  - {each['text']}{_origin_text(each)}"))


@cli.command("output")
@click.argument("run", type=RunType())
@click.option("--follow", is_flag=True, help="Go on printing until the run has ended.")
@global_options
def output_command(given: Globals, run: str, follow: bool) -> None:
    """Print what a run wrote to stdout and stderr.

    A file or pipe gets the exact bytes; a terminal gets no control sequences, such as colours.
    """
    root = given.find_root()
    if follow and given.as_json:
        raise UsageError("--follow prints as it comes, and --json one answer", hint="leave one of them out")
    if follow:
        screens = {sys.stdout: render.ForScreen(), sys.stderr: render.ForScreen()}
        for stream, data in follow_output(root, run, prefix=given.prefix):
            file = sys.stdout if stream == "stdout" else sys.stderr
            render.write_bytes(file, data, screens[file])
        for file, screen in screens.items():
            render.write_bytes(file, b"", screen, final=True)
        return
    found, stdout, stderr = output(root, run, prefix=given.prefix)
    if given.as_json:
        texts = {"stdout": stdout.decode(errors="replace"), "stderr": stderr.decode(errors="replace")}
        render.print_json({"run_id": found.id, **texts, "truncated": found.truncated})
        return
    render.write_bytes(sys.stdout, stdout)
    render.write_bytes(sys.stderr, stderr)


@cli.command("task")
@click.argument("run", type=RunType())
@global_options
def task_command(given: Globals, run: str) -> None:
    """Print the exact text that a run was given."""
    found, text = task(given.find_root(), run, prefix=given.prefix)
    if printed(given, task_json(found, text)):
        return
    render.write_bytes(sys.stdout, text)


@cli.command("audit")
@click.argument("job", required=False, type=JobType())
@click.option("-n", "count", type=click.IntRange(min=1, max=MOST), help="The newest so many.")
@global_options
def audit_command(given: Globals, job: str | None, count: int | None) -> None:
    """Show what changed, when, and by whom.

    For one job, for `@root` (scheduler.yaml), or for all.
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
        ("AT", "JOB", "ACTION", "FIELD", "BEFORE", "AFTER", "COMMIT", "AUTHOR", "BY"),
        [
            (
                render.local_time(row["at"]),
                row["job_id"],
                row["action"],
                row["field"] or "-",
                *render.two_sides(
                    render.field_text(row["field"] or "", row["before"]),
                    render.field_text(row["field"] or "", row["after"]),
                    40,
                ),
                row["commit"]["id"][:7] if row["commit"] else row["no_commit"] or render.short_hash(row["revision"], 7),
                row["commit"]["author"] if row["commit"] else "-",
                f"{row['actor']} ({row['cause']})",
            )
            for row in found["audit"]
        ],
        flexible="AFTER",
        optional=("COMMIT", "BEFORE", "BY", "AUTHOR"),
    )


def _outcome(run: RunJson) -> str:
    """When a run is tried again; else what it wrote, or what is to be said of its end."""
    if run["retry_at"]:
        return f"tried again at {render.local_time(run['retry_at'])}"
    return render.first_line(run["error"] or run["result"], 60)


def _origin_text(evidence: EvidenceJson) -> str:
    """The commit that brought it, with its author; else the one that was checked out."""
    commit = evidence["commit"]
    if commit is not None:
        return f"  [{commit['id'][:7]} by {commit['author']}: {commit['subject']}]"
    if evidence["no_commit"] == "uncommitted":
        return "  [uncommitted]"
    return f"  [{render.short_hash(evidence['revision'], 7)}]" if evidence["revision"] else ""


def _status_text(job: JobJson) -> str:
    """The status, and after a slash what a person should know of: a bad file, a row of errors, what is overdue (F7)."""
    marks = [] if job["sync_state"] in ("synced", "archived") else [job["sync_state"]]
    if job["paused"] and job["paused"]["reason"]:
        marks.append(job["paused"]["reason"])
    if job["consecutive_errors"] and job["status"] != "archived":
        marks.append(f"failing {job['consecutive_errors']}")
    marks += dict.fromkeys("overdue" for _ in job["alarms"])
    if job["status"] == "completed" and not job["run_count"]:
        marks.append("never ran")
    return "/".join([job["status"], *marks])


def _next_text(job: JobJson, now: datetime) -> str:
    if job["next_fire_at"] is None:
        return "-"
    text = render.ago(job["next_fire_at"], now)
    return f"due {text}" if text.endswith("ago") else text
