"""The commands that bring jobs into a root and take them out with their history: import, export."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from scheduler.cli import render
from scheduler.cli.completion import RUNNER
from scheduler.cli.edit import whole
from scheduler.cli.group import (
    PROBLEMS,
    REFUSED,
    UNAVAILABLE,
    Globals,
    JobType,
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
from scheduler.cli.kinds import FileType
from scheduler.core.values.problems import Problem, UsageError
from scheduler.core.values.texts import counted, json_text, listed, names

if TYPE_CHECKING:
    from scheduler.core.changes import ImportJson

KINDS = ("auto", "claude", "codex", "crontab", "export", "hermes", "k8s", "openclaw", "phantom", "systemd")
_MOST_NAMED = 3  # files of one format
_CRONTAB_ONLY = "applies only to a crontab"


@cli.command("import")
@click.argument("kind", type=OneOf(KINDS))
@click.argument("source", type=FileType())
@click.option("--to", metavar="DIR", help="Folder for the job files, relative to the root (default: jobs/imported).")
@click.option(
    "--runner",
    metavar="NAME",
    type=RUNNER,
    help="Runner of the jobs (default: the root's shell runner, or its default runner).",
)
@click.option("--timezone", metavar="ZONE", help="Zone for schedules without one (default: this machine's).")
@click.option(
    "--system/--no-system", default=None, help="Expect a crontab with or without a user on each line (default: detect)."
)
@click.option("--user", metavar="NAME", help="Import this user's lines of a system crontab (default: yours).")
@click.option("--prefix", metavar="P", help="Start each id with P (not for Phantom or an export).")
@click.option("--paused", is_flag=True, help="Pause the new jobs until `scheduler resume`.")
@click.option("--no-sync", is_flag=True, help="Only write the files, so that you can change ids before the sync.")
@click.option("--dry-run", is_flag=True, help="Show the ids and files; write nothing.")
@global_options
def import_command(
    given: Globals,
    kind: str,
    source: str,
    to: str | None,
    runner: str | None,
    timezone: str | None,
    system: bool | None,
    user: str | None,
    prefix: str | None,
    paused: bool,
    no_sync: bool,
    dry_run: bool,
) -> None:
    """Import jobs, with their history if the source has it.

    The first argument says which scheduler SOURCE is from; `auto` tells it from the contents. SOURCE is a file, a
    folder, or - for standard input. Overwrites nothing; a second import changes nothing. Lists what it cannot import.
    """
    from scheduler.service.imports.importing import import_export, import_source, read_source_file
    from scheduler.service.imports.options import Options

    for name, value in (("--system", system), ("--user", user)):
        if value is not None and kind not in ("auto", "crontab"):
            raise UsageError(f"{name} {_CRONTAB_ONLY}")
    if prefix is not None and kind in ("export", "phantom"):
        raise UsageError("--prefix does not apply here: the jobs keep their ids")
    if paused and no_sync:
        raise UsageError(
            "--paused and --no-sync cannot be combined: a pause needs the final id of the job",
            hint="leave one of them out; to choose ids first, use --prefix and --dry-run",
        )
    if kind == "export":
        for name, text in (("--runner", runner), ("--timezone", timezone)):
            if text is not None:
                raise UsageError(f"{name} does not apply to an export: its jobs are imported unchanged")
    root = given.find_root()
    options = Options(
        to=to,
        runner=runner,
        timezone=timezone,
        user=user,
        system=system,
        prefix=prefix or "",
        paused=paused,
        sync=not no_sync,
        dry_run=dry_run,
    )
    if kind == "export":
        data = read_source_file(source, sys.stdin.buffer)
        with whole():
            found = import_export(root, data, source, options)
    else:
        with whole():
            found = import_source(root, kind, source, sys.stdin.buffer, options)
    _print(given, found, kind, only_files=no_sync)


def _print(given: Globals, found: ImportJson, kind: str, *, only_files: bool) -> None:
    problems = tuple(Problem.from_json(each) for each in found["problems"])
    code = PROBLEMS if errors(problems) or (found["applied"] == "next_sync" and not only_files) else 0
    if found["guard"] is not None or found["held"]:
        code = REFUSED
    code = end_will_be(UNAVAILABLE if found["fault"] is not None else code)
    if printed(given, found):
        end(code)
        return
    dry = found["applied"] == "dry_run"
    words = {
        "written": "would write" if dry else "wrote",
        "unchanged": "unchanged",
        "kept": "kept",
        "left_out": "left out",
        "archived": "archived",
    }
    _say_what_was_found(given, found)
    for job in found["jobs"]:
        more = " with its counters and history" if job["history"] == "carried" else ""
        name = f" ({job['name']})" if job["name"] and job["name"] != job["id"] else ""
        place = "" if job["file"] is None else f"{job['file']}: "
        click.echo(render.clean(f"{words[job['files']]:<11} {place}{job['id']}{name}{more}"))
    render.print_problems(problems)
    for runner in found["runners"]:
        tasks = "any task" if runner["tasks"] is None else f"tasks {listed(runner['tasks'])}"
        say(given, render.clean(f"runner {runner['name']} ({' '.join(runner['command'])}; {tasks}) "
                                f"{'would run' if dry else 'runs'} {names(runner['jobs'])}"))  # fmt: skip
    if (agents := found["agents"]) is not None:
        told = f"agents {'could' if dry else 'may'} {', '.join(agents['verbs'])}: {names(agents['jobs'])}"
        say(given, render.clean(f"{told}; `agents` in scheduler.yaml allows it"))
    counts = [(sum(job["files"] == state for job in found["jobs"]), word) for state, word in words.items()]
    told = ", ".join(
        f"{n} {word.replace('would write', 'to write').replace('wrote', 'written')}" for n, word in counts if n
    )
    jobs = counted(len(found["jobs"]), "job")
    say(given, f"{jobs}{': ' if told else ''}{told}; {problem_count(problems) or 'no problems'}")
    if only_files and found["written"] and not dry:
        say(given, "not synced yet: change ids in these files if you want, then run `scheduler sync`")
    elif found["why"]:
        say(given, render.clean(f"not everything is applied yet: {found['why']}"))
    _say_what_is_next(given, found, kind)
    if found["guard"] is not None:
        say(given, "the sync would archive many jobs and needs your confirmation: run `scheduler sync`")
    end(code)


def _say_what_was_found(given: Globals, found: ImportJson) -> None:
    """Say of which format the files are that `auto` has found, and how that is known; of many, of the first ones."""
    formats: dict[str, list[str]] = {}
    for each in found["found"]:
        formats.setdefault(each["format"], []).append(f"{each['path']} ({each['why']})")
    for name, files in formats.items():
        more = len(files) - _MOST_NAMED
        told = [*files[:_MOST_NAMED], *([f"and {counted(more, 'more file', 'more files')}"] if more > 0 else [])]
        say(given, "\n  ".join([f"{name}:", *map(render.clean, told)]))


def _say_what_is_next(given: Globals, found: ImportJson, kind: str) -> None:
    """Explain how to prevent a job from running twice, here and at its source."""
    new = [job["id"] for job in found["jobs"] if job["files"] == "written"]
    if not new or found["applied"] != "now" or kind == "export":
        return
    from scheduler.service.imports.source import source_of

    kinds = list(dict.fromkeys(each["format"] for each in found["found"])) or [kind]
    first = source_of(kinds[0])
    where, away = (first.called, first.stop) if len(kinds) == 1 else ("their old schedulers", "stop them there")
    runs = "runs" if len(kinds) == 1 else "run"
    if found["paused"]:
        say(given, f"these jobs are paused, and {where} still {runs} them: {away}, then:")
        say(given, f"  scheduler resume {' '.join(found['paused'])}")
    elif found["live"]:
        say(
            given,
            f"a daemon fires these jobs now, and {where} still {runs} them, too: {away}, or pause them until then:",
        )
        say(given, f"  scheduler pause {' '.join(new)}")
    else:
        say(given, f"{where} still {runs} these jobs: {away} before you start `scheduler serve`")


@cli.command("export")
@click.argument("jobs", metavar="[JOB...]", nargs=-1, type=JobType())
@click.option("--all", "every", is_flag=True, help="Export all jobs, archived ones too.")
@global_options
def export_command(given: Globals, jobs: tuple[str, ...], every: bool) -> None:
    """Export jobs with their files and history as JSON lines.

    `import export` reads them back.
    """
    if every == bool(jobs):
        raise UsageError(
            "give job ids or --all, not both" if not jobs else "--all and job ids cannot be combined",
            hint="`scheduler export JOB > jobs.jsonl`",
        )
    from scheduler.service.imports.exports import export_jobs

    for line in export_jobs(given.find_root(), jobs):
        render.write_bytes(sys.stdout, json_text(line).encode() + b"\n")
    sys.stdout.flush()
