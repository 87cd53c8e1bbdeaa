"""The commands, and how every one of them ends: by the exit codes of design I3."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from scheduler import __version__
from scheduler.cli import render
from scheduler.cli.options import Globals, InstantType, JobType, RunType, global_options
from scheduler.core.models import RunStatus, Status
from scheduler.core.problems import Problem, SchedulerError, UsageError, did_you_mean
from scheduler.service import Synced

PROBLEMS, REFUSED = 1, 3
CODE = "exit_code"  # how the command ends, decided before it prints
MOST = 1_000_000  # rows or fires asked for at once


class Commands(click.Group):
    """A group that suggests the command that was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            hint = did_you_mean(args[0], self.list_commands(ctx)) or "`scheduler --help` lists them"
            raise UsageError(f"there is no command {args[0]!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read our output has gone, as in `scheduler list | head`: no complaint, now or at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(ctx.meta.get(CODE, 0)) from None


def main() -> NoReturn:
    """Runs a command line and exits; errors of ours become one line, a hint and their exit code."""
    try:
        code = cli.main(standalone_mode=False, prog_name="scheduler")  # hands back what `_exit` raised
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except SchedulerError as error:
        click.echo(f"error: {render.clean(str(error))}", err=True)
        if error.hint:
            click.echo(f"  hint: {render.clean(error.hint)}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(5)
    sys.exit(code if isinstance(code, int) else 0)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="scheduler")
@global_options
def cli(given: Globals) -> None:
    """Runs the jobs that the files of a git repository describe, and remembers what ran."""


# -- files -----------------------------------------------------------------------------------


@cli.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@global_options
def init(given: Globals, folder: Path) -> None:
    """Write a root to start from: scheduler.yaml, two jobs and a prompt. Overwrites nothing."""
    from scheduler.scaffold import write_scaffold

    written, kept = write_scaffold(folder)
    if given.as_json:
        render.print_json({"root": str(folder.resolve()), "written": written, "kept": kept})
        return
    for path in written:
        click.echo(f"wrote {folder / path}")
    for path in kept:
        click.echo(f"kept  {folder / path}: it is there already")
    _say(given, f"next: cd {folder} && scheduler sync && scheduler run heartbeat --wait")


@cli.command()
@click.argument("paths", metavar="[PATH...]", nargs=-1, type=click.Path(path_type=Path))
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", help="How to print problems.")
@global_options
def validate(given: Globals, paths: tuple[Path, ...], style: str) -> None:
    """Check job files and scheduler.yaml; needs no database."""
    problems = given.scheduler().validate(paths)
    if given.as_json or style == "json":
        render.print_json({"problems": [problem.to_json() for problem in problems]})
    else:
        render.print_problems(problems, err=False)
        _say(given, _problem_count(problems) or "no problems")
    _exit(PROBLEMS if _errors(problems) else 0)


@cli.command()
@click.option("--exit-code", is_flag=True, help="Exit 4 where a sync would change something.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", help="How to print the plan.")
@global_options
def plan(given: Globals, exit_code: bool, style: str) -> None:
    """Show what a sync would change; changes nothing."""
    given.as_json = given.as_json or style == "json"
    found = given.scheduler().plan()
    _print_synced(given, found, dry=True)
    code = _sync_code(found)
    pending = found.plan is not None and _pending(found)
    _exit(4 if exit_code and code == 0 and pending else code)


@cli.command()
@click.option("--dry-run", is_flag=True, help="Show the plan, change nothing.")
@click.option("--confirm-prune", metavar="TOKEN", help="Archive the set of jobs that the guard named with this token.")
@global_options
def sync(given: Globals, dry_run: bool, confirm_prune: str | None) -> None:
    """Carry what the files say into the database, in one pass."""
    scheduler = given.scheduler()
    found = scheduler.plan(confirmed=confirm_prune) if dry_run else scheduler.sync(confirmed=confirm_prune)
    code = click.get_current_context().meta[CODE] = _sync_code(found)
    _print_synced(given, found, dry=dry_run)
    if found.token_refused:
        click.echo(
            f"error: --confirm-prune {confirm_prune} does not name the set that would be archived now; none was",
            err=True,
        )
    _exit(code)


# -- reading ---------------------------------------------------------------------------------


@cli.command("list")
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only jobs of this status.")
@click.option("--tag", help="Only jobs with this tag.")
@click.option("--problems", is_flag=True, help="Only jobs with problems, and the problems.")
@global_options
def list_jobs(given: Globals, status: str | None, tag: str | None, problems: bool) -> None:
    """List the jobs: status, schedule, next and last run."""
    scheduler = given.scheduler()
    found = scheduler.list(status=status, tag=tag, problems=problems, tasks=given.as_json)
    _say_never_synced(given, scheduler.never_synced())
    if given.as_json:
        render.print_json(found)
        return
    now = datetime.now(UTC)
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
        if problems:
            render.print_problems(found_problems)
        else:
            _say(given, f"\n{_problem_count(found_problems)} in the files; `scheduler list --problems` shows them")


@cli.command()
@click.argument("job", type=JobType())
@global_options
def show(given: Globals, job: str) -> None:
    """Show one job: definition, state, where it stands and when it runs next."""
    found = given.scheduler().show(job, prefix=given.prefix)
    if given.as_json:
        render.print_json(found)
        return
    about = found["job"]
    zone = about["schedule"]["timezone"]
    lines = {
        "name": about["name"],
        "description": about["description"],
        "owner": about["owner"],
        "tags": ", ".join(about["tags"]),
        "status": about["status"]
        + ("" if about["sync_state"] in ("synced", "archived") else f" ({about['sync_state']})"),
        "schedule": about["schedule_text"],
        "source": f"{about['source_path']}:{about['source_line']}",
        "task": about["task_source_path"] or "in the job file",
        "task sha256": render.short(about["task_sha256"]),
        "runner": about["runner"],
        "timeout": render.duration(about["timeout_ms"]),
        "env": ", ".join(f"{name}={value}" for name, value in about["env"].items()),
        "version": about["version"],
        "revision": render.short(about["revision"]) + (f" ({about['dirty']})" if about["dirty"] else ""),
        "runs": f"{about['run_count']}, {about['consecutive_errors']} errors in a row",
        "last run": f"{about['last_run_status']} at {render.local_time(about['last_run_at'], zone)}"
        if about["last_run_at"]
        else None,
        "last error": render.first_line(about["last_run_error"]),
        "last skip": f"{about['last_skip_reason']} at {render.local_time(about['last_skip_at'], zone)}"
        if about["last_skip_at"]
        else None,
        "paused": render.value_text(about["paused"]) if about["paused"] else None,
        "created": f"{render.local_time(about['created_at'], zone)} by {about['created_by']}",
    }
    click.echo(about["id"])
    for name, value in lines.items():
        if value:
            click.echo(f"  {name:<12} {render.clean(str(value))}")
    for i, fire in enumerate(found["next_fires"]):
        click.echo(f"  {'next fires' if i == 0 else '':<12} {render.local_time(fire['fire_time'], zone)}")
    render.print_problems([Problem.from_json(problem) for problem in about["problems"]])


@cli.command("next")
@click.argument("jobs", metavar="[JOB...]", nargs=-1, type=JobType())
@click.option("-n", "count", type=click.IntRange(min=1, max=MOST), help="Fires of each job; 5 unless --to is given.")
@click.option("--from", "start", type=InstantType(), help="After this instant; now if absent.")
@click.option("--to", "until", type=InstantType(), help="Up to and including this instant.")
@global_options
def next_fires(
    given: Globals, jobs: tuple[str, ...], count: int | None, start: datetime | None, until: datetime | None
) -> None:
    """Show coming fires, in local time and UTC."""
    scheduler = given.scheduler()
    found = scheduler.next(jobs, count=count, start=start, until=until, prefix=given.prefix)
    if not jobs:
        _say_never_synced(given, scheduler.never_synced())
    if given.as_json:
        render.print_json(found)
    elif found["fires"]:
        render.print_table(
            ("JOB", "LOCAL", "UTC"),
            [
                (fire["job_id"], render.local_time(fire["fire_time"], fire["timezone"]), fire["fire_time"])
                for fire in found["fires"]
            ],
        )
    else:
        _say(given, "no fires")


@cli.command()
@click.argument("job", type=JobType())
@click.option("-n", "count", type=click.IntRange(min=1, max=MOST), help="At most so many.")
@click.option("--status", type=click.Choice([status.value for status in RunStatus]), help="Only runs of this status.")
@global_options
def history(given: Globals, job: str, count: int | None, status: str | None) -> None:
    """List a job's runs and skips, newest first."""
    scheduler = given.scheduler()
    found = scheduler.history(job, count=count, status=RunStatus(status) if status else None, prefix=given.prefix)
    if given.as_json:
        render.print_json(found)
        return
    if not found["runs"]:
        _say(given, "no runs yet")
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
                render.short(run["task_sha256"]),
                render.short(run["revision"], 7) + ("*" if run["dirty"] else ""),
                render.first_line(run["error"] or run["result"], 60),
            )
            for run in found["runs"]
        ],
        flexible="RESULT",
        optional=("COMMIT", "TASK", "TRIGGER", "TOOK"),
    )


@cli.command()
@click.argument("run", type=RunType())
@global_options
def output(given: Globals, run: str) -> None:
    """Print what a run wrote: its stdout to stdout, its stderr to stderr."""
    found, stdout, stderr = given.scheduler().output(run, prefix=given.prefix)
    if given.as_json:
        texts = {"stdout": stdout.decode(errors="replace"), "stderr": stderr.decode(errors="replace")}
        render.print_json({"run_id": found.id, **texts, "truncated": found.truncated})
        return
    sys.stdout.buffer.write(stdout)
    sys.stdout.buffer.flush()
    sys.stderr.buffer.write(stderr)
    sys.stderr.buffer.flush()


@cli.command()
@click.argument("run", type=RunType())
@global_options
def task(given: Globals, run: str) -> None:
    """Print the exact text that a run was given."""
    found, text = given.scheduler().task(run, prefix=given.prefix)
    if given.as_json:
        render.print_json(
            {
                "run_id": found.id,
                "task": text.decode(),
                "task_sha256": found.task_sha256,
                "source_path": found.source_path,
                "revision": found.provenance.revision,
                "dirty": found.provenance.dirty,
            }
        )
        return
    sys.stdout.buffer.write(text)


@cli.command()
@click.argument("job", required=False, type=JobType())
@click.option("-n", "count", type=click.IntRange(min=1, max=MOST), help="The newest so many.")
@global_options
def audit(given: Globals, job: str | None, count: int | None) -> None:
    """Show what changed, when, by whom: of one job, of `@root`, or of all."""
    scheduler = given.scheduler()
    found = scheduler.audit(job, count=count, prefix=given.prefix)
    _say_never_synced(given, scheduler.never_synced())
    if given.as_json:
        render.print_json(found)
        return
    if not found["audit"]:
        _say(given, "nothing has changed yet")
        return
    render.print_table(
        ("AT", "JOB", "ACTION", "FIELD", "BEFORE", "AFTER", "COMMIT", "BY"),
        [
            (
                render.local_time(row["at"]),
                row["job_id"],
                row["action"],
                row["field"] or "-",
                render.first_line(render.value_text(row["before"]), 40),
                render.first_line(render.value_text(row["after"]), 40),
                render.short(row["revision"], 7),
                f"{row['actor']} ({row['cause']})",
            )
            for row in found["audit"]
        ],
        flexible="AFTER",
        optional=("COMMIT", "BEFORE", "BY"),
    )


# -- running ---------------------------------------------------------------------------------


@cli.command()
@click.argument("job", type=JobType())
@click.option("--wait", is_flag=True, help="Wait for the end; exit 1 unless the run succeeded.")
@click.option("--dry-run", is_flag=True, help="Show argv, folder, environment names and text; start nothing.")
@global_options
def run(given: Globals, job: str, wait: bool, dry_run: bool) -> None:
    """Run a job now, with the text its file holds now."""
    scheduler = given.scheduler()
    if dry_run:
        _print_dry_run(given, scheduler.dry_run(job))
        return
    cancel = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background job
            signal.signal(number, lambda *_: cancel.set())
    finished = scheduler.run(
        job,
        cancel=cancel,
        claimed=lambda run: _say(given, f"{run.id} runs here, in the foreground: no daemon is running"),
    )
    from scheduler.views import run_json

    code = click.get_current_context().meta[CODE] = 0 if finished.status is RunStatus.SUCCEEDED else PROBLEMS
    if given.as_json:
        render.print_json({"run": run_json(finished)})
    else:
        if finished.output_bytes:
            sys.stdout.buffer.write(scheduler.output(finished.id)[1])  # as it was written, like `output`
            sys.stdout.buffer.flush()
        reason = f"/{finished.reason}" if finished.reason else ""
        took = "" if finished.duration_ms is None else f" in {render.duration(finished.duration_ms)}"
        _say(given, f"{finished.id} {finished.status.value}{reason}{took}")
        if finished.error:
            click.echo(f"error: {render.clean(finished.error)}", err=True)
    _exit(code)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@global_options
def completion(given: Globals, shell: str) -> None:
    """Print the completion script of a shell: eval "$(scheduler completion bash)"."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "scheduler", "_SCHEDULER_COMPLETE").source())


# -- shared ----------------------------------------------------------------------------------


def _say(given: Globals, text: str) -> None:
    """Talk, on stderr; nobody listening is no reason to stop."""
    if not given.quiet:
        with contextlib.suppress(OSError):
            click.echo(text, err=True)


def _status_text(job: dict[str, Any]) -> str:
    """The status, and after a slash what a person should know of: a bad file, or a row of errors (F7)."""
    marks = [] if job["sync_state"] in ("synced", "archived") else [job["sync_state"]]
    if job["consecutive_errors"] and job["status"] != "archived":
        marks.append(f"failing {job['consecutive_errors']}")
    return "/".join([job["status"], *marks])


def _next_text(job: dict[str, Any], now: datetime) -> str:
    if job["status"] != "active":
        return "-"
    text = render.ago(job["next_run_at"], now)
    return f"due {text}" if text.endswith("ago") else text


def _say_never_synced(given: Globals, never: bool) -> None:
    if never:
        _say(given, "this root has never been synced; run `scheduler sync`")


def _exit(code: int) -> None:
    if code:
        raise click.exceptions.Exit(code)


def _errors(problems: tuple[Problem, ...]) -> int:
    return sum(problem.is_error for problem in problems)


def _problem_count(problems: Any) -> str:
    errors = sum(problem.is_error for problem in problems)
    counts = ((errors, "error"), (len(problems) - errors, "warning"))
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts if n)


def _sync_code(found: Synced) -> int:
    if found.plan is not None and found.plan.guard is not None:
        return REFUSED
    return PROBLEMS if _errors(found.problems) else 0


def _pending(found: Synced) -> bool:
    shown = found.json
    kinds = ("created", "updated", "moved", "archived", "revived", "task_changed", "root_changed")
    return any(shown[kind] for kind in kinds)


def _print_dry_run(given: Globals, found: dict[str, Any]) -> None:
    if given.as_json:
        render.print_json(found)
        return
    for name in ("argv", "cwd", "input"):
        click.echo(f"{name:<12} {render.value_text(found[name])}")
    click.echo(f"{'environment':<12} {' '.join(found['env'])}")
    click.echo(f"{'task sha256':<12} {found['task_sha256']}\n")
    click.echo(found["task"], nl=not found["task"].endswith("\n"))


def _print_synced(given: Globals, found: Synced, *, dry: bool) -> None:
    for run in found.recovered:
        _say(given, f"{run.id} is interrupted: the process that ran it is gone, and so is what it had started")
    if found.no_provenance:
        click.echo(f"warning: no commit is recorded: {render.clean(found.no_provenance)}", err=True)
    if given.as_json:
        render.print_json(found.json)
        return
    shown = found.json
    render.print_problems(found.problems)
    if found.plan is None:
        click.echo("error: scheduler.yaml cannot be used: nothing is applied, the last good settings stay", err=True)
        return
    for job_id in shown["created"]:
        click.echo(f"+ {job_id}")
    for job_id in shown["revived"]:
        click.echo(f"+ {job_id} (back, with its history)")
    for update in shown["updated"]:
        click.echo(f"~ {update['id']}")
        for field, change in update["changes"].items():
            wider = "  [widens]" if field in update["widens"] else ""
            before, after = render.value_text(change["before"]), render.value_text(change["after"])
            click.echo(render.clean(f"    {field}: {before} -> {after}{wider}"))
        if "schedule" in update["changes"] or "enabled" in update["changes"]:
            coming = update["next_fires"]["after"]
            click.echo(f"    next fire: {coming[0] if coming else 'none'}")
    for change in shown["task_changed"]:
        before, after = render.short(change["before_sha256"]), render.short(change["after_sha256"])
        click.echo(render.clean(f"~ {change['id']}: task {change['path']} {before} -> {after}"))
    for move in shown["moved"]:
        click.echo(render.clean(f"> {move['id']}: {move['from']} -> {move['to']}"))
    for job_id in shown["archived"]:
        click.echo(f"- {job_id} (archived; its history stays)")
    for change in shown["root_changed"]:
        before, after = render.value_text(change["before"]), render.value_text(change["after"])
        wider = "  [widens]" if change["widens"] else ""
        click.echo(render.clean(f"! scheduler.yaml {change['field']}: {before} -> {after}{wider}"))
    _print_guard(given, shown["guard"])
    counts = [(len(shown[kind]), kind) for kind in ("created", "updated", "moved", "archived", "revived")]
    counts.append((len(shown["task_changed"]), "task changed"))
    counts.append((len(shown["root_changed"]), "settings changed"))
    counts.append((0 if shown["guard"] is None else shown["guard"]["would_archive"], "held by the guard"))
    counts.append((_marked(found, "invalid"), "kept as last read"))
    counts.append((_marked(found, "conflict"), "in conflict"))
    said = [f"{n} {word}" for n, word in counts if n] or ["nothing to do"]
    said.append(f"{shown['unchanged']} unchanged")
    _say(given, ("would be: " if dry else "") + ", ".join(said))


def _marked(found: Synced, state: str) -> int:
    """How many jobs the plan leaves in a sync state."""
    assert found.plan is not None
    return sum(a.after.sync_state == state and a.after.archived_at is None for a in found.plan.actions)


def _print_guard(given: Globals, guard: dict[str, Any] | None) -> None:
    if guard is None:
        return
    named = {"--root": given.root, "--state": given.state, "--db": given.db}
    options = "".join(f" {option} {shlex.quote(value)}" for option, value in named.items() if value)
    click.echo(f"refused: {guard['why']}; these wait: {', '.join(guard['ids'])}", err=True)
    click.echo(f"  to archive exactly these: scheduler{options} sync --confirm-prune {guard['token']}", err=True)
