"""The commands that show jobs: list, show, next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli import render
from scheduler.cli.completion import TAG
from scheduler.cli.group import (
    MOST,
    Globals,
    InstantType,
    JobType,
    RunType,
    SomeOf,
    cli,
    global_options,
    printed,
    problem_count,
    say,
    say_daemon,
    say_held,
    say_never_synced,
)
from scheduler.core.values.budget import amount_text
from scheduler.core.values.facts import Status
from scheduler.core.values.problems import Problem
from scheduler.core.values.runs import is_fault
from scheduler.core.values.texts import errors_in_a_row
from scheduler.service.first import never_synced
from scheduler.service.jobs import FILTERS, held, list_jobs, next_fires, show_job

if TYPE_CHECKING:
    from scheduler.core.answers import JobJson, JobRowJson
    from scheduler.core.spent import BudgetJson, SpendingJson


@cli.command("list")
@click.option(
    "--status",
    metavar="STATUS,...",
    type=SomeOf([*(status.value for status in Status), *FILTERS]),
    help="Only jobs with one of these statuses, or running or failing.",
)
@click.option("--tag", type=TAG, help="Only jobs with this tag.")
@click.option("--problems", is_flag=True, help="Only jobs whose files have problems, with the problems.")
@global_options
def list_command(given: Globals, status: str | None, tag: str | None, problems: bool) -> None:
    """List the jobs: status, schedule, next and last run."""
    root = given.find_root()
    found = list_jobs(root, status=status, tag=tag, problems=problems, full=given.as_json)
    if not found["synced"]:
        what = "these jobs are read from the files, and none fires"
        say(given, f"this root has never been synced: {what}; run `scheduler sync`, or `scheduler serve`")
    say_held(given, found["summary"]["held"])
    daemon = found.get("daemon")
    if daemon is not None and daemon["state"] in _GONE and found["jobs"]:
        say_daemon(given, daemon)
    for trouble in found["troubles"]:
        if daemon is None or trouble != daemon["message"]:
            root.tell(trouble)
    if printed(given, found):
        return
    now = root.clock.now()
    jobs = [job for job in found["jobs"] if job["status"] != "archived" or (status and "archived" in status)]
    if jobs:
        running = any(_running_text(job, now) for job in jobs)
        columns = ("JOB", "STATUS", *(["RUNNING"] if running else []), "SCHEDULE", "NEXT", "LAST RUN", "RUNS")
        render.print_table(
            columns,
            [
                (
                    job["id"],
                    _status_text(job),
                    *([_running_text(job, now) or "-"] if running else []),
                    job["schedule_text"],
                    _next_text(job, now),
                    _last_text(job, now),
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


@cli.command("show")
@click.argument("job", metavar="JOB|RUN", type=RunType(or_job=True))
@global_options
def show_command(given: Globals, job: str) -> None:
    """Show one job, or one run of it.

    For a job: definition, state, file and next fires. For a run (JOB:N): why it ran, who asked for it, its attempts,
    how it ended, and the last lines that it wrote.
    """
    if ":" in job:
        from scheduler.cli.show_run import print_run
        from scheduler.service.history import show_run

        print_run(given, show_run(given.find_root(), job, prefix=given.prefix))
        return
    found = show_job(given.find_root(), job, prefix=given.prefix)
    say_held(given, found["held"])
    if printed(given, found):
        return
    about = found["job"]
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
        "runner": about["runner"]
        + (f", which prints {found['result_format']}" if found["result_format"] not in (None, "text") else ""),
        "model": about["model"],
        "args": shlex.join(about["args"]) if about["args"] else None,
        "workdir": about["workdir"],
        "task queue": about["task_queue"],
        "timeout": render.duration(about["timeout_ms"]),
        "check": _check_text(about["check"]) if about["check"] else None,
        "env": ", ".join(f"{name}={value}" for name, value in about["env"].items()),
        "version": about["version"],
        "revision": render.short_hash(about["revision"]) + (f" ({about['dirty']})" if about["dirty"] else ""),
        "model served": f"{other['served']}, but {other['asked']} was asked for"
        if (other := about["other_model"]) is not None
        else None,
        "runs": f"{about['run_count']}, {errors_in_a_row(about['consecutive_errors'])}",
        "running": ", ".join(f"{run['id']} ({run['status']})" for run in about["running"]),
        "last run": f"{about['last_run_status'] or 'ran'} at {render.local_time(about['last_run_at'])}"
        if about["last_run_at"]
        else None,
        "last error": render.first_line(about["last_run_error"]),
        "last skip": f"{about['last_skip_reason']} at {render.local_time(about['last_skip_at'])}"
        if about["last_skip_at"]
        else None,
        "stopped": render.in_zone(about["stop_reason"] or ""),
        "expects": "; ".join(_expectations(about)),
        "deliver": f"{', '.join(about['deliver'])} on {', '.join(about['deliver_on'])}" if about["deliver"] else None,
        "ping": about["ping"],
        **_spending(about["budget"], found["spending"]),
        "overdue": render.in_zone("; ".join(alarm["message"] for alarm in about["alarms"])),
        "paused": render.pause_text(about["paused"]) if about["paused"] else None,
        "waiting": render.in_zone(about["waiting"]["message"]) if about["waiting"] else None,
        "created": f"{render.local_time(about['created_at'])} by {about['created_by']}",
    }
    click.echo(about["id"])
    render.print_fields({name: value for name, value in lines.items() if value})
    for i, fire in enumerate(found["next_fires"]):
        mark = f" ({render.clock_change(fire)})" if fire["dst"] else ""
        click.echo(f"  {'next fires' if i == 0 else '':<12} {render.local_time(fire['fire_time'])}{mark}")
    render.print_problems([Problem.from_json(problem) for problem in about["problems"]])


def _check_text(check: Mapping[str, Any]) -> str:
    told = f"{check['task_source_path'] or 'in the job file'}, by runner {check['runner']}"
    told += f", at most {render.duration(check['timeout_ms'])}"
    return f"{told}; its output is added to the task" if check["output"] == "append" else told


def _expectations(about: JobJson) -> Iterator[str]:
    if about["expect_every_ms"]:
        yield f"a success every {render.duration(about['expect_every_ms'])}"
    for name, value in (about["expect"] or {}).items():
        if value:
            yield f"{name} {value}"


def _spending(budget: BudgetJson | None, spending: SpendingJson | None) -> dict[str, str]:
    if spending is None:
        return {}
    currency = spending["currency"]
    limits = {name.replace("_", " "): amount for name, amount in (budget or {}).items() if amount is not None}
    spent = [("today", spending["today"]), ("this month", spending["this_month"])]
    reserved = f"; {_amount(spending['reserved'], currency)} reserved" if spending["reserved"] != "0" else ""
    of_root = [
        f"{_amount(each['limit'], currency)} {each['key'].replace('_', ' ')}, {_amount(each['spent'], currency)} spent"
        for each in spending["limits"]
        if each["of"] == "root"
    ]
    return {
        "budget": ", ".join(f"{_amount(str(amount), currency)} {name}" for name, amount in limits.items()),
        "spent": ", ".join(f"{_amount(amount, currency)} {when}" for when, amount in spent) + reserved,
        "all jobs": "; ".join(of_root),
        "no run now": render.in_zone(spending["refused"] or ""),
    }


def _amount(text: str, currency: str) -> str:
    return amount_text(Decimal(text), currency)


@cli.command("next")
@click.argument("jobs", metavar="[JOB...]", nargs=-1, type=JobType())
@click.option(
    "-n", "count", type=click.IntRange(min=1, max=MOST), help="Show N fires per job (default: 5, or all with --to)."
)
@click.option("--from", "start", type=InstantType(), help="Only fires after this instant (default: now).")
@click.option("--to", "until", type=InstantType(), help="Only fires up to and including this instant.")
@global_options
def next_command(
    given: Globals, jobs: tuple[str, ...], count: int | None, start: datetime | None, until: datetime | None
) -> None:
    """Show the next fires."""
    root = given.find_root()
    found = next_fires(root, jobs, count=count, start=start, until=until, prefix=given.prefix)
    say_held(given, held(root))
    if not jobs:
        say_never_synced(given, never_synced(root))
    if given.as_json:
        render.print_json(found)
    elif found["fires"]:
        marked = any(fire["dst"] for fire in found["fires"])
        render.print_table(
            ("JOB", "AT", "CLOCK CHANGE")[: 3 if marked else 2],
            [
                (fire["job_id"], render.local_time(fire["fire_time"]), render.clock_change(fire))[: 3 if marked else 2]
                for fire in found["fires"]
            ],
        )
    else:
        say(given, "no fires")


def _status_text(job: JobRowJson) -> str:
    """The status, and after a slash any warnings: a bad file, consecutive errors, an overdue job (F7)."""
    marks = [] if job["sync_state"] in ("synced", "archived") else [job["sync_state"]]
    if job["paused"] and job["paused"]["reason"]:
        marks.append(job["paused"]["reason"])
    if job["waiting"]:
        marks.append(job["waiting"]["reason"])
    if job["consecutive_errors"] and job["status"] != "archived":
        marks.append(f"failing {job['consecutive_errors']}")
    marks += dict.fromkeys("overdue" for _ in job["alarms"])
    if job["last_skip_reason"] == "budget" and (job["last_skip_at"] or "") > (job["last_run_at"] or ""):
        marks.append("over budget")
    if job["other_model"]:
        marks.append("other model")
    if job["status"] == "completed" and not job["run_count"]:
        marks.append("never ran")
    return "/".join([job["status"], *marks])


_GONE = ("dead", "stopped", "never")


def _running_text(job: JobRowJson, now: datetime) -> str:
    """How long it has been running, and how many runs there are; empty if it is not running."""
    going = [run for run in job["running"] if run["status"] != "queued"]
    if not going:
        return ""
    since = min((run["started_at"] for run in going if run["started_at"]), default=None)
    took = render.lasting(since, now) if since else "0s"
    return took if len(going) == 1 else f"{len(going)} for {took}"


def _last_text(job: JobRowJson, now: datetime) -> str:
    """How the last run ended, or that the slot after it was skipped because of a fault, which must not stay hidden."""
    skipped = job["last_skip_at"]
    if skipped and is_fault(job["last_skip_reason"]) and skipped > (job["last_run_at"] or ""):
        return f"skipped: {job['last_skip_reason']} {render.ago(skipped, now)}"
    return f"{job['last_run_status'] or 'ran'} {render.ago(job['last_run_at'], now)}" if job["last_run_at"] else "-"


def _next_text(job: JobRowJson, now: datetime) -> str:
    if job["next_fire_at"] is None:
        return "-"
    return render.ahead(job["next_fire_at"], now)
