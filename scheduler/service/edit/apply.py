"""What follows once an edit is worked out: it is written, pushed, and carried into the database; and the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler.core.values.problems import RefusedError, SchedulerError
from scheduler.core.values.settings import ROOT_FILE
from scheduler.maintenance.lost import refuse_lost
from scheduler.remote.branches import push_branch, take_back_unsigned
from scheduler.root.place import is_there
from scheduler.service.edit.drafts import Draft, diff_of, write
from scheduler.service.jobs import show_job
from scheduler.service.root import Root
from scheduler.service.sync import sync
from scheduler.sync.synced import SyncReport

if TYPE_CHECKING:
    from scheduler.core.answers import EditJson, GuardJson, JobJson


def apply_draft(root: Root, draft: Draft) -> EditJson:
    commit, target = None, draft.target
    if draft.permission is not None:
        draft.permission.check(draft.files, draft.job_id, draft.after, gone=draft.gone, known=root.known(draft.job_id))
    if draft.after:
        commit = write(root.place.root, draft, target, root.environ, root.tell)
    else:
        root.tell("nothing to do: the files say so already")
    for note in draft.notes:
        root.tell(note)
    followed = root.place.followed
    where = _push(root, draft, commit) if target.push else ""
    applied: str
    why: str | None
    guard: GuardJson | None = None
    if where:
        applied, why = "pending_branch", f"it stands on {where}, which nobody has merged yet"
    elif draft.branch is not None and not target.push and (draft.after or not draft.branch.is_new):
        applied, why = "pending_branch", f"it stands on branch {draft.branch.name}, which nobody has merged yet"
    else:
        applied, why, guard = _apply(root, draft)
        if target.push and followed is not None and (refused := followed.looked().words):
            applied, why = "next_sync", refused
    return {
        "job": _job_json(root, draft.job_id),
        "job_id": draft.job_id,
        "applied": applied,
        "why": why,
        "guard": guard,
        "file": draft.main or None,
        "files": list(draft.after),
        "diff": diff_of(draft.before, draft.after),
        "commit": commit,
        "branch": None if draft.branch is None or applied != "pending_branch" else draft.branch.name,
    }


def _push(root: Root, draft: Draft, commit: str | None) -> str:
    """Pushes the branch, also what an earlier edit could not. Where it stands now; empty on what is followed."""
    followed, branch = root.place.followed, draft.branch
    assert followed is not None
    assert branch is not None
    if unsigned := take_back_unsigned(followed, branch.name):
        raise RefusedError(
            f"commit {unsigned}, and only signed ones are applied here; nothing was pushed, nor kept",
            hint="let git sign what this user commits (commit.gpgSign, user.signingkey), or name another branch",
        )
    try:
        push_branch(followed, branch.name, root.environ)
    except SchedulerError as error:
        kept = "" if commit is None else f"; commit {commit[:12]} is kept on branch {branch.name} here"
        raise type(error)(f"{error}{kept}", hint=f"{error.hint}; the same command pushes it again") from error
    remote = followed.remote()
    return "" if branch.name == remote.branch else f"branch {branch.name} of {remote.url}"


def _apply(root: Root, draft: Draft) -> tuple[str, str | None, GuardJson | None]:
    """Carries the edit into the database; whether that came about, and if not, why, and the guard that said no."""
    try:
        found = _sync(root)
    except SchedulerError as error:
        return "next_sync", str(error), None
    if found is None:
        return "next_sync", "this root has never been synced; run `scheduler sync`", None
    if held := found.json["held"]:
        return "next_sync", f"{held}, and until that is done no file is taken over", None
    if not found.read:
        return "next_sync", f"{ROOT_FILE} cannot be used", None
    job = root.known(draft.job_id)
    if draft.gone:
        if job is None or job.archived:
            return "now", None, None
        guard = found.json["guard"]
        if guard is not None and draft.job_id in guard["ids"]:
            archives = f"`scheduler sync --confirm-prune {guard['token']}` archives {', '.join(guard['ids'])}"
            return "next_sync", f"the guard holds the archiving back: {guard['why']}; {archives}", guard
        return "next_sync", "the job is not archived yet; `scheduler sync` says why", None
    if job is None or job.archived or job.file.sync_state.value != "synced":
        return "next_sync", "the job could not be taken over; `scheduler sync` says why", None
    return "now", None, None


def _sync(root: Root) -> SyncReport | None:
    """A pass after an edit, which makes no database: None where there never was one."""
    if is_there(root.place.db):
        return sync(root, cause="edit")
    refuse_lost(root.place)
    return None


def _job_json(root: Root, job_id: str) -> JobJson | None:
    try:
        job = show_job(root, job_id)["job"]
    except SchedulerError:
        return None  # no sync has seen it yet
    return job
