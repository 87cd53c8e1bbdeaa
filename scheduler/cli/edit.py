"""The commands that change a job by changing its file: update, create, delete, mv, rollback."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scheduler.cli import render
from scheduler.cli.completion import JOB_FILE, KEY, REVISION, SETTING, TARGET
from scheduler.cli.group import (
    REFUSED,
    Globals,
    JobType,
    cli,
    end,
    end_will_be,
    global_options,
    printed,
    say,
    with_options,
)
from scheduler.cli.kinds import FileType
from scheduler.core.edits.schedules import schedule_words
from scheduler.core.values.problems import UnavailableError, UsageError
from scheduler.machine.signals import is_ignored

if TYPE_CHECKING:
    from scheduler.core.changes import EditJson
    from scheduler.service.edit.drafts import Target

F = TypeVar("F", bound=Callable[..., Any])

_SET = click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    type=SETTING,
    multiple=True,
    help="Set a key, such as name or retry.attempts, to a YAML value; text needs no quotes.",
)
_TASK_FILE = click.option(
    "--task-file", metavar="FILE", type=FileType(), help="Read the new text of the task from FILE (- for stdin)."
)
_IF_VERSION = click.option(
    "--if-version", metavar="VERSION", help="Refuse if the job has another version (see `show --json`)."
)


def _to_target(command: F) -> F:
    """Add the options that say where an edit goes, and pass them to the command as `target`."""

    @functools.wraps(command)
    def aimed(*args: Any, commit: bool, branch: str | None, push: bool, message: str | None, **kwargs: Any) -> Any:
        from scheduler.service.edit.drafts import Target

        return command(*args, target=Target(commit=commit, branch=branch, push=push, message=message), **kwargs)

    adorned: F = with_options(
        aimed,
        click.option("--commit", is_flag=True, help="Commit this edit, and nothing else."),
        click.option(
            "--branch", metavar="NAME", type=REVISION, help="Commit to a branch instead; leave the files unchanged."
        ),
        click.option("--push", is_flag=True, help="Push the branch (in a root that `clone` made)."),
        click.option("-m", "--message", metavar="TEXT", help="The commit message."),
    )
    return adorned


@cli.command("update")
@click.argument("job", type=JobType())
@_SET
@click.option("--unset", metavar="KEY", type=KEY, multiple=True, help="Delete a key.")
@_TASK_FILE
@_IF_VERSION
@_to_target
@global_options
def update_command(
    given: Globals,
    job: str,
    settings: tuple[str, ...],
    unset: tuple[str, ...],
    task_file: str | None,
    if_version: str | None,
    target: Target,
) -> None:
    """Change a job by editing its file.

    Only the lines that have to change do.
    """
    from scheduler.service.edit.verbs import update_job

    root = given.find_root()
    changes = _changes(settings)
    task = _read_task(task_file)
    with whole():
        found = update_job(root, job, changes=changes, unset=unset, task=task, if_version=if_version, target=target)
    _print(given, found)


@cli.command("create")
@click.argument("job")
@_SET
@_TASK_FILE
@click.option(
    "--file",
    "path",
    metavar="PATH",
    type=JOB_FILE,
    help="The file to write, .yaml or .md (default: jobs/JOB.yaml, or jobs/JOB.md).",
)
@_to_target
@global_options
def create_command(
    given: Globals, job: str, settings: tuple[str, ...], task_file: str | None, path: str | None, target: Target
) -> None:
    """Create a job by writing its file.

    With --set task_source_path=FILE, the text goes to FILE. Overwrites nothing.
    """
    from scheduler.service.edit.verbs import create_job

    root = given.find_root()
    task = _read_task(task_file)
    changes = _changes(settings)
    with whole():
        found = create_job(root, job, changes=changes, task=task, path=path, target=target)
    _print(given, found, is_new=True)


@cli.command("delete")
@click.argument("job", type=JobType())
@click.option("--with-task", is_flag=True, help="Also delete the file that task_source_path names.")
@_IF_VERSION
@_to_target
@global_options
def delete_command(given: Globals, job: str, with_task: bool, if_version: str | None, target: Target) -> None:
    """Delete a job's file, or its document in a file of several.

    Its history stays, and comes back with its id.
    """
    from scheduler.service.edit.verbs import delete_job

    root = given.find_root()
    with whole():
        found = delete_job(root, job, with_task=with_task, if_version=if_version, target=target)
    _print(given, found, done="archived; its history is kept, and a new job with the same id gets it back")


@cli.command("mv")
@click.argument("job", type=JobType())
@click.argument("path", type=JOB_FILE)
@_IF_VERSION
@_to_target
@global_options
def mv_command(given: Globals, job: str, path: str, if_version: str | None, target: Target) -> None:
    """Move a job to another file.

    PATH is a new file, or a YAML file that gets one more document.
    """
    from scheduler.service.edit.verbs import move_job

    root = given.find_root()
    with whole():
        found = move_job(root, job, path, if_version=if_version, target=target)
    _print(given, found)


@cli.command("rollback")
@click.argument("job", type=JobType())
@click.option("--to", required=True, metavar="RUN|text:SHA|commit:SHA", type=TARGET, help="What to restore.")
@_IF_VERSION
@_to_target
@global_options
def rollback_command(given: Globals, job: str, to: str, if_version: str | None, target: Target) -> None:
    """Restore the text of an earlier run, or a committed job.

    Edits the file of the job or of its task.
    """
    from scheduler.service.edit.verbs import roll_back

    root = given.find_root()
    with whole():
        found = roll_back(root, job, to=to, if_version=if_version, target=target)
    _print(given, found)


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """Inside the block, a signal that ends the command undoes the edit first, as Ctrl-C does. A hook can take long."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = [each for each in (signal.SIGTERM, signal.SIGHUP) if not is_ignored(each)]
    before = {each: signal.signal(each, interrupt) for each in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _changes(settings: tuple[str, ...]) -> dict[str, Any]:
    from scheduler.core.edits.written import value_of
    from scheduler.core.values.texts import TextError

    found: dict[str, Any] = {}
    for each in settings:
        name, equals, value = each.partition("=")
        name = name.strip()
        if not equals or not name:
            why = "there is no key before the =" if equals else "there is no = in it"
            raise UsageError(f"--set {each}: {why}", hint="write --set KEY=VALUE")
        if not value.strip():
            raise UsageError(
                f"--set {each}: there is no value after the =",
                hint=f"--unset {name} deletes the key; for an empty text write --set {name}='\"\"'",
            )
        if name in found:
            raise UsageError(f"--set {name} is given twice", hint="give it once")
        try:
            found[name] = value_of(value)
        except TextError as error:
            raise UsageError(
                f"--set {name}: {value} is not valid YAML: {error.message}",
                hint=error.hint or "put quotes around text that starts with a bracket or a quote",
            ) from None
    return found


def _read_task(name: str | None) -> str | None:
    """The exact text: every byte counts, including line ends."""
    if name is None:
        return None
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UnavailableError(f"cannot read --task-file {name}: {error.strerror}") from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"--task-file {name} is not valid UTF-8 at byte offset {error.start}", hint="save it as UTF-8"
        ) from None


def _print(given: Globals, found: EditJson, *, done: str = "applied now", is_new: bool = False) -> None:
    code = end_will_be(REFUSED if found["guard"] is not None else 0)
    if printed(given, found):
        end(code)
        return
    render.write_bytes(sys.stdout, found["diff"].encode())
    words = {
        "now": f"{found['job_id']}: {done}",
        "next_sync": f"{found['job_id']}: not applied yet: {found['why']}",
        "pending_branch": f"{found['job_id']}: {found['why']}",
    }
    for line in _proposed_lines(found, is_new=is_new):
        say(given, render.clean(line))
    if found["commit"] is not None:
        say(given, f"commit {found['commit'][:12]}" + (f" on branch {found['branch']}" if found["branch"] else ""))
    say(given, render.clean(f"{words[found['applied']]} (root {found['root']})"))
    end(code)


def _proposed_lines(found: EditJson, *, is_new: bool) -> Iterator[str]:
    """How an edit changes when the job runs and what it can do."""
    proposed = found["proposed"]
    if proposed is None:
        return
    if is_new or {"schedule", "enabled", "expires"} & {*proposed["changed"]} or proposed["kept"] or proposed["dropped"]:
        fires = [render.local_time(each["fire_time"]) for each in proposed["next_fires"][:1]]
        yield f"schedule: {proposed['schedule_text']}"
        yield f"  next fire: {fires[0] if fires else 'none'}"
    told = [(word, schedule_words(keys)) for word in ("kept", "dropped") if (keys := proposed[word])]
    if told:
        yield f"  {'; '.join(f'{word}: {keys}' for word, keys in told)}"
    if proposed["widens"]:
        yield f"gives more power: {', '.join(name.removesuffix('_ms') for name in proposed['widens'])}"
