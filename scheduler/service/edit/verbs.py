"""The verbs that change a job by changing its file (I2): update, create, delete, move, rollback.

Each computes the new files, verifies them (core.jobedit), and writes them to the working tree, commits them, or puts
them on a branch. Nothing is written before everything is known to be right. If a later step fails, the earlier ones
are undone.
"""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scheduler.core.edits import jobedit
from scheduler.core.edits.jobedit import Opened, WrongJobError
from scheduler.core.edits.schedules import Rescheduled, reschedule, schedule_words
from scheduler.core.edits.spans import UNSET, Change, path_of, with_change
from scheduler.core.formats.frontmatter import is_markdown
from scheduler.core.formats.jobfile import Document
from scheduler.core.values.facts import Fault, version
from scheduler.core.values.problems import RefusedError, Remedy, UsageError
from scheduler.core.values.texts import short
from scheduler.git.objects import find_commit
from scheduler.git.write import find_branch
from scheduler.ledger import queries
from scheduler.remote.branches import need_branch, take_branch
from scheduler.root import writing
from scheduler.root.committed import CommitFiles
from scheduler.root.files import WorkingTree
from scheduler.service.edit import checks
from scheduler.service.edit.drafts import IN_PLACE, Draft, Target, apply_draft
from scheduler.service.edit.permission import by_agent, permission_for
from scheduler.service.edit.trees import EditFiles, is_job_path, open_job, real_of, sharing, task_fault, text_fault
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.changes import EditJson

_VERBS = {"Update": "update", "Create": "create", "Delete": "delete", "Move": "mv", "Roll back": "rollback"}
_SHORTEST_SHA = 4
WORK_S = 10.0  # to compute an edit; less than others wait for their turn (writing.LOCK_S)


def update_job(
    root: Root,
    job_id: str,
    *,
    changes: Mapping[str, Any] | None = None,
    unset: Sequence[str] = (),
    task: str | None = None,
    if_version: str | None = None,
    target: Target = IN_PLACE,
) -> EditJson:
    """Change keys of a job's file, and its task text, whichever file contains it.

    changes: keys, or nested keys with dots (`retry.attempts`), with plain values; unset: keys to delete.
    Raises: UsageError for an invalid change or job; RefusedError for a file that cannot be edited safely, has changed
    in the meantime, or is stale; UnavailableError.
    """
    changes = changes or {}
    if not changes and not unset and task is None:
        raise UsageError("no change was given", remedy=Remedy.NAME_A_CHANGE)
    checks.check_keys(changes, unset, task)
    with _draft(root, target, job_id, "Update") as draft:
        if draft.permission is not None:
            draft.permission.check_named([*changes, *unset], task)
        job = _open(root, draft, if_version)
        with checks.said_of(job.path):
            _update(draft, job, changes, unset, task, exact=False)
        parts = [*changes, *unset, *(["task"] if task is not None else [])]
        draft.summary = f"Update {job_id}: {', '.join(parts)}"
        return apply_draft(root, draft)


def _update(
    draft: Draft, job: Opened, changes: Mapping[str, Any], unset: Sequence[str], task: str | None, *, exact: bool
) -> None:
    keys = job.keys
    changes, unset, schedule = reschedule(keys.get("schedule"), changes, unset)
    steps = [Change(path_of(name, keys), value) for name, value in changes.items()]
    gone = [Change(path, UNSET) for path in sorted((path_of(name, keys) for name in unset), key=checks.position)]
    for change in gone:
        checks.check_there(change.path, keys, job)
    checks.check_task_key(changes, unset, job)
    source = changes.get("task_source_path", None if "task_source_path" in unset else keys.get("task_source_path"))
    text = None if task is None else checks.task_text(task, job)
    body = None
    if text is not None and isinstance(source, str):
        _put_task(draft, job, source, text)
    elif text is not None and is_markdown(job.path) and (keys.get("task") is None or "task" in unset):
        body = text.decode()
    elif text is not None:
        told = text.decode()
        # The lines of an inline task are lines of the job file.
        steps.append(Change(("task",), told if exact or "\r" in told.replace("\r\n", "") else checks.lf(told)))
    # Removing first could leave no anchor; writing last could write a key twice.
    with _told_of_kept(schedule):
        data = jobedit.edited(job, [*steps, *gone], body=body, exact=exact, go_on=draft.go_on)
    if schedule is not None:
        draft.kept, draft.dropped = schedule.kept, schedule.dropped
    if "task_source_path" in changes and text is None and isinstance(source, str):
        fault = task_fault(draft.files, source)
        if fault is not None:
            raise UsageError(f"task_source_path: {fault.message}", remedy=Remedy.GIVE_TEXT_TOO)
    if text is not None and (fault := text_fault(text, job.settings)) is not None:
        raise UsageError(fault.message)
    draft.put(real_of(draft.files, job.path), job.data, data)


@contextlib.contextmanager
def _told_of_kept(schedule: Rescheduled | None) -> Iterator[None]:
    """Make an error about a kept key of the schedule say where that key comes from."""
    try:
        yield
    except WrongJobError as error:
        first, *more = error.problems
        kept = {} if schedule is None else schedule.kept
        blamed = {key: value for key, value in kept.items() if first.code == f"schedule.{key}" or key in first.message}
        if not first.code.startswith("schedule.") or not blamed:
            raise
        message = f"{first.message} (kept from the current schedule: {schedule_words(blamed)})"
        hint = f"{first.hint}; give {' and '.join(blamed)} in the new schedule, or set it to null there"
        raise WrongJobError([replace(first, message=message, hint=hint), *more]) from None


def _put_task(draft: Draft, job: Opened, path: str, text: bytes) -> None:
    """Write exactly these bytes to the task's own file."""
    checks.check_task_path(path, job)
    source = draft.files.read(path)
    if isinstance(source, Fault):
        if source.reason != "source_missing" or not draft.files.is_free(path):
            raise RefusedError(source.message)
        draft.put(path, None, text)
        return
    checks.check_task_path(source.path, job)  # the target of a link
    others = list(sharing(draft.files, path, str(job.document.id)))
    if others and source.data != text:
        draft.notes.append(f"{path} is also the task of {', '.join(others)}")
    draft.put(source.real, source.data, text)


def create_job(
    root: Root,
    job_id: str,
    *,
    changes: Mapping[str, Any] | None = None,
    task: str | None = None,
    path: str | None = None,
    target: Target = IN_PLACE,
) -> EditJson:
    """Write a new job file. Overwrites nothing.

    path: the .yaml or .md file. None: jobs/JOB.md if the task is given and task_source_path is not, otherwise
    jobs/JOB.yaml. task: the text, for the body of a Markdown file, the file of task_source_path, or `task` itself.
    """
    changes = changes or {}
    if "id" in changes:
        raise UsageError("the id is the new job's name, not a key", hint="leave the key id out")
    checks.check_keys(changes, (), task)
    with _draft(root, target, job_id, "Create") as draft:
        if draft.permission is not None:
            draft.permission.check_named(changes, task)
        files = draft.files
        claims = [each for each in files.documents() if each.id == job_id]
        if claims:
            raise RefusedError(
                f"the job {job_id!r} already exists in {claims[0].path}:{claims[0].line}; nothing was written"
            )
        keys: Any = {"id": job_id}
        with checks.said_of("the new job"):
            for name, value in changes.items():
                keys = with_change(keys, Change(path_of(name, keys), value))
        source = keys.get("task_source_path")
        path = path or checks.path_for(job_id, files, markdown=task is not None and not isinstance(source, str))
        checks.check_new_path(path, files)
        text = None if task is None else task.encode("utf-8", "surrogateescape")
        body = None
        with checks.said_of(path):
            if text is not None and isinstance(source, str):
                opened = Opened(path, b"", 0, files.settings)
                checks.check_task_path(source, opened)
                if not files.is_free(source):
                    raise RefusedError(f"{source} already exists; nothing was written", remedy=Remedy.LEAVE_TEXT_OUT)
                draft.put(source, None, text)
            elif task is not None and is_markdown(path):
                body = task
            elif task is not None:
                keys["task"] = checks.lf(task)
            data = jobedit.written_job(path, keys, body=body, settings=files.settings)
            if text is not None and (fault := text_fault(text, files.settings)) is not None:
                raise UsageError(fault.message)
            if text is None and isinstance(source, str) and (fault := task_fault(files, source)) is not None:
                raise UsageError(f"task_source_path: {fault.message}", remedy=Remedy.GIVE_TEXT_TOO)
        draft.main = path
        draft.put(path, None, data)
        known = root.known(job_id)
        if known is not None and known.archived:
            draft.notes.append(f"{job_id} existed before and gets its history back")
        return apply_draft(root, draft)


def delete_job(
    root: Root, job_id: str, *, with_task: bool = False, if_version: str | None = None, target: Target = IN_PLACE
) -> EditJson:
    """Delete a job's file, or its document in a file of several. The next sync archives the job; its history stays.

    with_task: also delete the file of task_source_path, unless another job runs it.
    """
    with _draft(root, target, job_id, "Delete") as draft:
        job = _open(root, draft, if_version)
        draft.gone = True
        real = _own_path(draft, job)
        with checks.said_of(job.path):
            draft.put(real, job.data, None if job.alone else jobedit.without_document(job))
        source = job.keys.get("task_source_path")
        if isinstance(source, str):
            _keep_or_delete_task(draft, job, source, with_task=with_task)
        return apply_draft(root, draft)


def _keep_or_delete_task(draft: Draft, job: Opened, path: str, *, with_task: bool) -> None:
    others = list(sharing(draft.files, path, str(job.document.id)))
    if not with_task:
        if not others:
            draft.notes.append(f"{path} was kept (--with-task also deletes it)")
        return
    if others:
        raise RefusedError(f"{path} is also the task of {', '.join(others)}", remedy=Remedy.LEAVE_TASK_THERE)
    checks.check_task_path(path, job)
    source = draft.files.read(path)
    if not isinstance(source, Fault) and source.real != path:
        raise RefusedError(f"{path} is a link to {source.real}; nothing was written", remedy=Remedy.LEAVE_TASK_THERE)
    if isinstance(source, Fault):
        draft.notes.append(f"{source.message}; no task file was deleted")
    else:
        draft.put(source.real, source.data, None)


def move_job(
    root: Root, job_id: str, path: str, *, if_version: str | None = None, target: Target = IN_PLACE
) -> EditJson:
    """Move a job's document to another file. The job keeps its id, counters and history.

    path: a new file, an existing YAML file that gets one more document, or a folder with / at its end.
    """
    with _draft(root, target, job_id, "Move") as draft:
        job = _open(root, draft, if_version)
        files, real = draft.files, _own_path(draft, job)
        if path.endswith("/"):
            path += posixpath.basename(job.path)
        with checks.said_of(job.path):
            if path == job.path:
                raise UsageError(f"{job_id} is already in {path}")
            if is_markdown(path) != is_markdown(job.path):
                raise RefusedError(
                    f"{job.path} cannot become {path}: one is YAML, the other Markdown",
                    hint="keep the extension, or create a new job in that file and delete this one",
                )
            if files.is_free(path):
                checks.check_new_path(path, files)
                new = job.data if job.alone else jobedit.document_text(job).encode()
                draft.put(path, None, new)
                draft.modes[path] = real
            else:
                other = files.read(path)
                if isinstance(other, Fault):
                    raise RefusedError(other.message)
                if is_markdown(path):
                    raise RefusedError(f"{path} already exists; nothing was written", hint="choose another path")
                checks.check_job_path(path, files)
                if other.real == real:
                    raise UsageError(f"{path} is a link to {job.path}, and {job_id} is already there")
                text = jobedit.document_text(job)
                draft.put(other.real, other.data, jobedit.with_document(path, other.data, text, files.settings))
            draft.put(real, job.data, None if job.alone else jobedit.without_document(job))
        _check_moved(draft, job, path)
        draft.main = path
        draft.summary = f"Move {job_id} to {path}"
        return apply_draft(root, draft)


def _check_moved(draft: Draft, job: Opened, path: str) -> None:
    """Check that the job may move: a runner's `tasks` may allow the job only in its old file."""
    data = draft.after.get(path) or draft.after[real_of(draft.files, path)]
    assert data is not None
    before = job.document
    found = [each for each in Opened(path, data, 0, job.settings).read().documents if each.id == before.id]
    if [each.spec for each in found] != [before.spec] or found[0].text != before.text:
        problems = [each for each in Opened(path, data, 0, job.settings).read().problems if each.is_error]
        raise UsageError(
            f"the job would be invalid in {path}: {problems[0].message if problems else 'it would read differently'}"
        )


def roll_back(
    root: Root, job_id: str, *, to: str, if_version: str | None = None, target: Target = IN_PLACE
) -> EditJson:
    """Restore an earlier task text, or the whole job as of a commit, by editing the current file.

    to: a run, JOB:N or N, for the text that it ran; text:SHA for a text that one of the job's runs had; commit:SHA for
    the definition and the task of that commit.
    """
    with _draft(root, target, job_id, "Roll back") as draft:
        job = _open(root, draft, if_version)
        draft.summary = f"Roll {job_id} back to {to}"
        with checks.said_of(job.path):
            if to.startswith("commit:"):
                _to_commit(root, draft, job, to.removeprefix("commit:"))
            else:
                text = _text_of(root, job_id, to)
                _update(draft, job, {}, (), text.decode("utf-8", "surrogateescape"), exact=True)
        return apply_draft(root, draft)


def _text_of(root: Root, job_id: str, to: str) -> bytes:
    with root.need_store(job_id) as store:
        runs = {each.id: each.task_sha256 for each in store.read(queries.runs, job_id) if each.task_sha256 is not None}
        if to.startswith("text:"):
            given = to.removeprefix("text:").lower()
            found = {sha256 for sha256 in runs.values() if sha256.startswith(given)}
            if len(given) < _SHORTEST_SHA or len(found) != 1:
                why = "is too short" if len(given) < _SHORTEST_SHA else f"matches {len(found)} texts"
                raise UsageError(f"{to!r} {why} of job {job_id!r}", hint=f"`scheduler history {job_id}` shows them")
            sha256 = found.pop()
        else:
            run = to if ":" in to else f"{job_id}:{to}"
            if run not in runs:
                raise UsageError(
                    f"{to!r} is not a run of {job_id!r} that has a task text",
                    hint=f"write {job_id}:N, text:SHA or commit:SHA; `scheduler history {job_id}` shows the runs",
                )
            sha256 = runs[run]
        return store.read(queries.text_of, sha256, store.path)


def _to_commit(root: Root, draft: Draft, job: Opened, name: str) -> None:
    job_id = str(job.document.id)
    then = EditFiles(CommitFiles(root.place.root, find_commit(root.place.root, name)))
    old = open_job(then, job_id)
    _check_ran_as_committed(root, then, real_of(then, old.path), old.data)
    real = real_of(draft.files, job.path)
    if old.alone and job.alone and is_markdown(old.path) == is_markdown(job.path):
        before, after = job.read(), Opened(job.path, old.data, 0, job.settings)
        bad = [each for each in after.read().problems if each.is_error]
        if bad and not any(each.is_error for each in before.problems):
            raise WrongJobError(bad)
        draft.put(real, job.data, old.data)
    elif is_markdown(job.path) or is_markdown(old.path):
        raise RefusedError(
            f"the job was in {old.path} then and is in {job.path} now; one is YAML, the other Markdown",
            hint="move the job to a file of the same format by hand first",
        )
    else:
        now, was = job.keys, old.keys
        steps = [Change((key,), value) for key, value in was.items() if key != "id"]
        gone = [Change((key,), UNSET) for key in now if key not in was]
        draft.put(real, job.data, jobedit.edited(job, [*steps, *gone], go_on=draft.go_on))
    source = old.keys.get("task_source_path")
    if isinstance(source, str):
        text = then.read(source)
        if isinstance(text, Fault):
            raise RefusedError(text.message, hint="that commit has no usable task file; roll back to a run or a text")
        _check_ran_as_committed(root, then, text.real, text.data)
        _put_task(draft, job, source, text.data)


def _check_ran_as_committed(root: Root, then: EditFiles, path: str, data: bytes) -> None:
    """Check that the commit shows what ran. Raises: RefusedError if nobody can tell what its checkout held."""
    from scheduler.root.converted import conversions_on_branch

    assert isinstance(then.files, CommitFiles)
    if root.place.followed is not None:  # it contains exactly the bytes of the commit
        return
    for conversion in conversions_on_branch(then.files, {path: data}).values():
        if conversion.hides and conversion.words != "ident":
            raise RefusedError(
                f"git converts {path} on checkout ({conversion.words}): {then.where} lacks the text that ran",
                hint="roll back to a run or a text",
            )


@contextlib.contextmanager
def _draft(root: Root, target: Target, job_id: str, verb: str) -> Iterator[Draft]:
    permission = None
    if by_agent(root):
        permission = permission_for(root, _VERBS[verb])
        known = root.known(job_id)
        if known is not None:
            permission.check_job(known)
        target = permission.target(target, job_id)
    target.check()
    followed = root.place.followed
    if followed is not None:
        need_branch(followed, target.branch, target.push)
    elif target.push:
        raise UsageError(
            "this root follows no remote, so there is nowhere to push the branch",
            hint=f"git push origin {target.branch}",
        )
    with writing.alone(root.place.label):
        if followed is not None and target.branch is not None:
            take_branch(followed, target.branch, root.environ, root.tell)
        branch = None if target.branch is None else find_branch(root.place.root, target.branch, root.environ)
        at = WorkingTree(root.place) if branch is None else CommitFiles(root.place.root, branch.commit)
        yield Draft(
            files=EditFiles(at),
            branch=branch,
            job_id=job_id,
            summary=f"{verb} {job_id}",
            target=target,
            permission=permission,
            give_up=time.monotonic() + WORK_S,
        )


def _open(root: Root, draft: Draft, if_version: str | None) -> Opened:
    """The job as the files of the draft have it. Raises: RefusedError if its version is a different one."""
    job_id = draft.job_id
    try:
        job = open_job(draft.files, job_id)
    except UsageError as error:
        known = root.known(job_id)
        if known is None or not known.archived:
            raise
        raise UsageError(
            str(error),
            hint=f"the job is archived: restore its file, or run `scheduler create {job_id}`; it keeps its history",
        ) from None
    if if_version is not None and if_version != (now := _version(root, draft.files, job)):
        where, hint = "now", f"see the current version with `scheduler show {job_id}`, then try again"
        if draft.branch is not None and not draft.branch.is_new:
            name = draft.branch.name
            where = f"on branch {name}"
            hint = f"the branch differs from the checked-out files; `git diff HEAD...{name}` shows how"
        raise RefusedError(
            f"{job.document.id} is at version {now} {where}, not {short(if_version)[1:-1]}; nothing was written",
            hint=hint,
        )
    return job


def _version(root: Root, files: EditFiles, job: Opened) -> str:
    """The version of the job in the files, which may not have been synced yet."""
    document: Document = job.document
    known = root.known(str(document.id))
    generation = 0 if known is None else known.file.generation
    if known is not None and document.spec is not None and document.spec != known.file.spec:
        generation += 1
    text: bytes | None = document.text
    if document.task_source_path is not None:
        source = files.read(document.task_source_path)
        text = None if isinstance(source, Fault) else source.data
    return version(generation, None if text is None else hashlib.sha256(text).hexdigest())


def _own_path(draft: Draft, job: Opened) -> str:
    """The real path of a job file that can be deleted. Raises: RefusedError if there is only a link."""
    real = real_of(draft.files, job.path)
    if not is_job_path(real, job.settings):
        raise RefusedError(
            f"{job.path} is reached only through a link, which would then be broken", hint="delete or move it by hand"
        )
    return real
