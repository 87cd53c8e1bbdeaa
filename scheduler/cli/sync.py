"""The commands about files: init, validate, plan, sync."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli import render
from scheduler.cli.completion import REVISION
from scheduler.cli.group import (
    PROBLEMS,
    REFUSED,
    Globals,
    OneOf,
    cli,
    end,
    end_will_be,
    errors,
    global_options,
    printed,
    problem_count,
    say,
)
from scheduler.core.values.problems import UsageError
from scheduler.core.values.settings import ROOT_FILE
from scheduler.core.values.texts import HALF_WAY
from scheduler.service.jobs import held
from scheduler.service.sync import init, plan_sync, problem_lines, sync, validate

if TYPE_CHECKING:
    from scheduler.core.changes import DriftJson, GuardJson, RunnerPairJson
    from scheduler.service.review.review import Review
    from scheduler.service.root import Root
    from scheduler.sync.synced import SyncReport

_HELLO = "example-hello"  # the sample that `init` suggests running first


@cli.command("init")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(file_okay=False, path_type=Path))
@global_options
def init_command(given: Globals, folder: Path | None) -> None:
    """Start a root: scheduler.yaml and two sample jobs.

    Overwrites nothing, schedules no file that is there already, and asks nothing: comments in scheduler.yaml explain
    each choice.
    """
    from scheduler.scaffold import JOBS

    folder = folder or Path(given.root or ".")
    found = init(folder)
    shown = {"written": found.written, "kept": found.kept, "left_out": found.left_out}
    if printed(given, {"root": str(folder.resolve()), **shown}):
        return
    for path in found.written:
        click.echo(f"wrote    {folder / path}")
    for path in found.kept:
        click.echo(f"kept     {folder / path}: it already exists")
    for path in found.left_out:
        click.echo(f"left out {folder / path}: the file it belongs to already existed with other content")
    if not found.written:
        say(
            given,
            f"{folder / ROOT_FILE} already exists: nothing was written. To create another root: scheduler init DIR",
        )
        return
    if found.jobs != JOBS:
        say(given, f"{folder / JOBS} already has files: job files go in {folder / found.jobs}")
    hello = next((Path(path).stem for path in found.written if Path(path).stem == _HELLO), None)
    steps = [] if folder.resolve() == Path.cwd() else [(f"cd {shlex.quote(str(folder))}", "")]
    steps += [] if hello is None else [(f"scheduler run {hello} --wait", "one run, now")]
    steps.append(("$EDITOR scheduler.yaml", "set `command` of the runner `agent` to start your agent"))
    steps.append(("scheduler serve", "runs jobs on schedule until Ctrl-C"))
    say(given, "next:")
    for command, what in steps:
        say(given, f"  {command:<34}{f' # {what}' if what else ''}".rstrip())


@cli.command("validate")
@click.argument("paths", metavar="[PATH...]", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "style",
    type=OneOf(["text", "json", "github"]),
    default="text",
    help="How to print problems (default: text); github marks their lines in a pull request.",
)
@global_options
def validate_command(given: Globals, paths: tuple[Path, ...], style: str) -> None:
    """Check job files and scheduler.yaml.

    Needs no database.
    """
    root = given.find_root(only_files=True)
    problems = validate(root, paths)
    if given.as_json or style == "json":
        render.print_json({"problems": [problem.to_json() for problem in problems]})
        end(PROBLEMS if errors(problems) else 0)
        return
    if style == "github":
        folder = _in_checkout(root.place.root)
        for problem in problems:
            click.echo(render.github_text(problem, folder))
    else:
        render.print_problems(problems, sources=problem_lines(root, problems), err=False)
    say(given, problem_count(problems) or "no problems")
    end(PROBLEMS if errors(problems) else 0)


@cli.command("schema")
@click.argument("name", metavar="[job|root]", type=OneOf(["job", "root"]), default="job")
@global_options
def schema_command(given: Globals, name: str) -> None:
    """Print the JSON Schema of job files or of scheduler.yaml."""
    from scheduler import schemas

    click.echo(schemas.schema_text(name), nl=False)


def _in_checkout(root: Path) -> str:
    """The root relative to the top of the checkout, as GitHub names files. Empty if that is unknown."""
    top = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd()).resolve()
    return root.relative_to(top).as_posix().removeprefix(".") if root.is_relative_to(top) else ""


@cli.command("plan")
@click.option(
    "--base", metavar="REV", type=REVISION, help="Compare with the commit where HEAD left REV, not with the database."
)
@click.option(
    "--head", metavar="REV", type=REVISION, help="With --base: compare this commit (default: the files on disk)."
)
@click.option("--direct", is_flag=True, help="With --base: compare with REV itself.")
@click.option("--exit-code", is_flag=True, help="Exit 4 if a sync would change something.")
@click.option(
    "--format",
    "style",
    type=OneOf(["text", "json", "markdown", "github"]),
    default="text",
    help="How to print the plan (default: text); markdown is a pull request comment, github marks lines.",
)
@global_options
def plan_command(given: Globals, base: str | None, head: str | None, direct: bool, exit_code: bool, style: str) -> None:
    """Show what a sync, or merging a branch, would change.

    Changes nothing.
    """
    if base is None and (head is not None or direct):
        raise UsageError(f"{'--head' if head is not None else '--direct'} has no effect without --base")
    given.as_json = given.as_json or style == "json"
    root = given.find_root(only_files=base is not None)
    if base is None and style in ("text", "json"):
        found: SyncReport = plan_sync(root)
        _print_synced(given, found, root, dry=True)
    else:
        from scheduler.service.review.review import review

        found = reviewed = review(root, base=base, head=head, direct=direct, marks=style == "github")
        _print_review(given, reviewed, root, style)
    code = sync_code(found)
    pending = found.read and _pending(found.json)
    end(4 if exit_code and code == 0 and pending else code)


def _print_review(given: Globals, found: Review, root: Root, style: str) -> None:
    if style == "markdown" and not given.as_json:
        from scheduler.cli.markdown import comment

        click.echo(comment(found.json, found.diffs, folder=found.folder, read=found.read), nl=False)
    elif style == "github" and not given.as_json:
        from scheduler.cli.review_text import workflow_commands

        folder = _in_checkout(root.place.root)
        for line in workflow_commands(found.json, found.problems, found.marks, folder=folder):
            click.echo(line)
    else:
        _print_synced(given, found, root, dry=True, reviewed=found)


@cli.command("sync")
@click.option("--dry-run", is_flag=True, help="Show the plan; change nothing.")
@click.option("--confirm-prune", metavar="TOKEN", help="Archive exactly the jobs that the guard named with this token.")
@click.option("--now", "now_anyway", is_flag=True,
              help="Sync even during a merge or rebase; never on another branch.")  # fmt: skip
@click.option("--new-state", is_flag=True, help="Start without history if the earlier database is gone.")
@global_options
def sync_command(given: Globals, dry_run: bool, confirm_prune: str | None, now_anyway: bool, new_state: bool) -> None:
    """Apply the files to the database once.

    The daemon does it if one is running.
    """
    root = given.find_root()
    if dry_run:
        found = plan_sync(root, confirmed=confirm_prune, now_anyway=now_anyway)
    else:
        found = sync(root, confirmed=confirm_prune, now_anyway=now_anyway, new_state=new_state)
    looked = root.looked()
    code = end_will_be(max(sync_code(found), 0 if dry_run else looked.exit_code))  # 5, then 3, then 1
    if looked.trouble:
        click.echo(f"error: {render.clean(looked.words)}", err=True)
        click.echo(f"  hint: {render.clean(looked.hint)}", err=True)
    for run_id in found.recovered:
        say(given, f"{run_id} was interrupted: its process and everything it had started are gone")
    _print_synced(given, found, root, dry=dry_run)
    if found.token_refused:
        click.echo(
            f"error: --confirm-prune {confirm_prune} is not the token of the jobs to archive now; nothing was archived",
            err=True,
        )
    end(code)


def sync_code(found: SyncReport) -> int:
    if found.json["guard"] is not None or found.json["held"]:
        return REFUSED
    return PROBLEMS if errors(found.problems) else 0


def _pending(shown: Mapping[str, Any]) -> bool:
    kinds = ("created", "updated", "moved", "archived", "revived", "task_changed", "root_changed")
    return any(shown[kind] for kind in kinds)


def _print_synced(given: Globals, found: SyncReport, root: Root, *, dry: bool, reviewed: Review | None = None) -> None:
    if found.no_provenance:
        click.echo(f"warning: no commit is recorded: {render.clean(found.no_provenance)}", err=True)
    shown = found.json
    if printed(given, shown):
        return
    if shown["held"]:
        click.echo(
            f"sync is held: {shown['held']}; {'a sync would change nothing' if dry else 'nothing was changed'}",
            err=True,
        )
        if shown["held"].endswith(HALF_WAY):
            click.echo(f"  to sync anyway: scheduler{_options(given)} sync --now", err=True)
        if not dry:
            return
    sources = problem_lines(root, found.problems) if reviewed is None else reviewed.sources
    render.print_problems(found.problems, sources=sources)
    if not found.read:
        click.echo(
            "error: scheduler.yaml is missing or invalid: nothing was applied; the last good settings stay in force",
            err=True,
        )
        return
    if reviewed is not None:
        from scheduler.cli.review_text import review_lines

        for line in review_lines(shown, reviewed.diffs):
            click.echo(line)
    words = shown["schedule_texts"]
    if reviewed is None:
        words = {
            job_id: f"{said}; next fire: {_next_fire(shown['first_fires'][job_id])}" for job_id, said in words.items()
        }
    pairs = {pair["id"]: f"; {_power(pair)}  [widens]" for pair in shown["runner_pairs"] if dry}
    for job_id in shown["created"]:
        click.echo(render.clean(f"+ {job_id}: {words[job_id]}{pairs.get(job_id, '')}"))
    for job_id in shown["revived"]:
        click.echo(render.clean(f"+ {job_id} (back, with its history): {words[job_id]}{pairs.get(job_id, '')}"))
    for update in shown["updated"]:
        changes = {field: each for field, each in update["changes"].items() if field not in update["inherited"]}
        if not changes:  # an inherited default, whose line names the job
            continue
        click.echo(f"~ {update['id']}")
        for field, change in changes.items():
            wider = "  [widens]" if field in update["widens"] else ""
            changed = render.change_text(field, change, schedules=update.get("schedule_text"))
            click.echo(render.clean(f"    {field.removesuffix('_ms')}: {changed}{wider}"))
        if reviewed is None and update["changes"].keys() & {"schedule", "enabled", "expires"}:
            coming = update["next_fires"]["after"]
            click.echo(f"    next fire: {_next_fire(next(iter(coming), None))}")
    for task in shown["task_changed"]:
        before, after = render.short_hash(task["before_sha256"]), render.short_hash(task["after_sha256"])
        click.echo(render.clean(f"~ {task['id']}: task {task['path']} {before} -> {after}"))
    for move in shown["moved"]:
        click.echo(render.clean(f"> {move['id']}: {move['from']} -> {move['to']}"))
    for job_id in shown["archived"]:
        click.echo(f"- {job_id} (archived; its history stays)")
    for of_root in shown["root_changed"]:
        field = of_root["field"]
        wider = "  [widens]" if of_root["widens"] else ""
        changed = render.change_text(field, of_root)
        click.echo(render.clean(f"! {render.setting_name(field)}: {changed}{wider}{render.users_text(of_root)}"))
    for cost in shown.get("costs", ()):
        click.echo(f"cost of {cost['id']}: {render.cost_change(cost)}")
    _print_guard(given, root, shown["guard"], " --now" if held(root) else "")
    counts = [(len(shown[kind]), kind) for kind in ("created", "updated", "moved", "archived", "revived")]
    counts.append((len(shown["task_changed"]), "task changed"))
    counts.append((len(shown["root_changed"]), "settings changed"))
    counts.append((0 if shown["guard"] is None else shown["guard"]["would_archive"], "held by the guard"))
    counts.append((found.left.get("invalid", 0), "kept as last read"))
    counts.append((found.left.get("conflict", 0), "in conflict"))
    counts.append((shown.get("dropped_deliveries", 0), "messages dropped with their channel"))
    for each in shown.get("drift", ()):
        say(given, f"{each['status']} by hand: {render.clean(_drift(each))}" if each["by"] else _drift(each))
    said = [f"{n} {word}" for n, word in counts if n] or ["nothing to do"]
    said.append(f"{shown['unchanged']} unchanged")
    say(given, ("would be: " if dry else "") + ", ".join(said))


def _power(pair: RunnerPairJson) -> str:
    """The runner of a job that is added or back, and who is told."""
    told = f", delivers to {', '.join(pair['deliver'])}" if "deliver" in pair else ""
    pinged = f", pings {pair['ping']}" if "ping" in pair else ""
    return f"runner {pair['runner']}{told}{pinged}"


def _next_fire(at: str | None) -> str:
    return render.local_time(at) if at else "none"


def _drift(job: DriftJson) -> str:
    """Who or what prevents a job from firing although its file says that it should."""
    since = render.local_time(job["at"])
    if job["status"] == "stopped":
        return f"{job['id']} is stopped since {since}: {job['reason']}; run `scheduler resume {job['id']}` or edit it"
    told = [job["id"], f"since {since}", f"by {job['by']}"]
    told += [f"until {render.local_time(job['until'])}"] if job["until"] else []
    return " ".join([*told, f"({job['reason']})"] if job["reason"] else told)


def _print_guard(given: Globals, root: Root, guard: GuardJson | None, options: str) -> None:
    if guard is None:
        return
    click.echo(f"refused: {guard['why']}; not archived: {', '.join(guard['ids'])}", err=True)
    if back := guard.get("put_back"):
        here = "" if root.place.label == Path.cwd() else f" -C {shlex.quote(str(root.place.label))}"
        shown = f"git{here}{back.removeprefix('git')}" if back.startswith("git ") else back
        click.echo(f"  to restore the files: {render.clean(shown)}", err=True)
    click.echo(
        f"  to archive exactly these jobs: scheduler{_options(given)} sync --confirm-prune {guard['token']}{options}",
        err=True,
    )


def _options(given: Globals) -> str:
    """The options that name this root, for a command that the user is to type."""
    named = {"--root": given.root, "--state": given.state, "--db": given.db}
    return "".join(f" {option} {shlex.quote(value)}" for option, value in named.items() if value)
