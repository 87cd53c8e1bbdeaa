"""Why a sync is held (S8): git is in the middle of an operation, or another branch is checked out."""

from __future__ import annotations

from scheduler.core.values.facts import Fault
from scheduler.core.values.settings import ROOT_FILE, Settings
from scheduler.git.folder import git_folder, head_ref, rebased_ref, under_way
from scheduler.root.place import Place
from scheduler.root.reading import read_file
from scheduler.root.settings import ROOT_FILE_BYTES, read_settings

_BRANCH = "refs/heads/"


def why_held(place: Place, stored: Settings | None, *, now_anyway: bool = False) -> str:
    """Why no pass may use the files as they are now; empty if one may.

    now_anyway: ignore unfinished git operations. Nothing lets a pass use the files of another branch.
    """
    if not now_anyway and place.followed is None and (found := under_way(place.root)):
        return found
    return other_branch(place, stored)


def other_branch(place: Place, stored: Settings | None) -> str:
    """A description of what is checked out, if it is not the branch to sync and run; otherwise empty.

    stored: the last good settings; None before the first sync. Their `worktree.branch` decides, whatever
    scheduler.yaml says on the current branch. That file counts only if the stored settings name no branch.
    """
    branch = stored.worktree.branch if stored is not None and stored.worktree.branch else _told(place)
    return _other_branch(place, branch) if branch else ""


def _told(place: Place) -> str | None:
    """The branch that scheduler.yaml names now. To keep `list` fast, the file is parsed only if it may name one."""
    data = read_file(place.root, ROOT_FILE, limit=ROOT_FILE_BYTES)
    if isinstance(data, Fault) or b"worktree" not in data:
        return None
    settings, _ = read_settings(place)
    return None if settings is None else settings.worktree.branch


def _other_branch(place: Place, branch: str) -> str:
    if place.followed is not None:  # its files belong to one commit; no branch is checked out
        remote = place.followed.remote()
        return (
            ""
            if remote.branch == branch
            else f"this root follows the {remote.words}, but worktree.branch is {branch!r}"
        )
    if git_folder(place.root) is None:
        return f"worktree.branch is {branch!r}, but {str(place.root)!r} is not in a git repository"
    ref = rebased_ref(place.root) or head_ref(place.root) or _asked(place)
    if ref is None:
        return f"worktree.branch is {branch!r}, but git does not say which branch is checked out"
    if ref == _BRANCH + branch:
        return ""
    if not ref.startswith("refs/"):
        return f"HEAD is detached at {ref[:12]}, but worktree.branch is {branch!r}"
    return f"the branch {ref.removeprefix(_BRANCH)!r} is checked out, but worktree.branch is {branch!r}"


def _asked(place: Place) -> str | None:
    """HEAD as git reports it, where no file contains it."""
    from scheduler.git.run import GitError, run_git
    from scheduler.git.tree import head

    try:
        return run_git(place.root, "symbolic-ref", "--quiet", "HEAD").decode("utf-8", "surrogateescape").strip()
    except GitError as error:
        return head(place.root) if error.returncode == 1 else None  # --quiet: HEAD is detached
