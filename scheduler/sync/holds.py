"""Why a sync is held (S8): git is half way through something, or another branch is checked out than is to be synced."""

from __future__ import annotations

from scheduler.core.values.facts import Fault
from scheduler.core.values.settings import ROOT_FILE, Settings
from scheduler.git.folder import git_folder, head_ref, rebased_ref, under_way
from scheduler.root.place import Place
from scheduler.root.reading import read_file
from scheduler.root.settings import ROOT_FILE_BYTES, read_settings

_BRANCH = "refs/heads/"


def why_held(place: Place, stored: Settings | None, *, now_anyway: bool = False) -> str:
    """In words why no pass may take the files as they are now; empty if one may.

    now_anyway: whatever git is in the middle of. Nothing lets a pass take the files of another branch.
    """
    if not now_anyway and place.followed is None and (found := under_way(place.root)):
        return found
    return other_branch(place, stored)


def other_branch(place: Place, stored: Settings | None) -> str:
    """In words what is checked out where it is not the branch that is to be synced and run; else empty.

    stored: the last good settings; None before the first sync. Their `worktree.branch` decides, whatever the
    scheduler.yaml of the branch that is checked out says. Only where they name none does that file's count.
    """
    branch = stored.worktree.branch if stored is not None and stored.worktree.branch else _told(place)
    return _other_branch(place, branch) if branch else ""


def _told(place: Place) -> str | None:
    """The branch that scheduler.yaml names as it stands; parsed only if it can name one, which `list` need not pay."""
    data = read_file(place.root, ROOT_FILE, limit=ROOT_FILE_BYTES)
    if isinstance(data, Fault) or b"worktree" not in data:
        return None
    settings, _ = read_settings(place)
    return None if settings is None else settings.worktree.branch


def _other_branch(place: Place, branch: str) -> str:
    if place.followed is not None:  # its files are those of one commit, and no branch is checked out
        remote = place.followed.remote()
        return "" if remote.branch == branch else f"the {remote.words} is followed, and worktree.branch is {branch!r}"
    if git_folder(place.root) is None:
        return f"worktree.branch is {branch!r}, and {str(place.root)!r} is in no git repository"
    ref = rebased_ref(place.root) or head_ref(place.root) or _asked(place)
    if ref is None:
        return f"worktree.branch is {branch!r}, and git does not say which branch is checked out"
    if ref == _BRANCH + branch:
        return ""
    if not ref.startswith("refs/"):
        return f"HEAD is detached at {ref[:12]}, and worktree.branch is {branch!r}"
    return f"the branch {ref.removeprefix(_BRANCH)!r} is checked out, and worktree.branch is {branch!r}"


def _asked(place: Place) -> str | None:
    """HEAD where no file tells it, asked of git."""
    from scheduler.git.run import GitError, run_git
    from scheduler.git.tree import head

    try:
        return run_git(place.root, "symbolic-ref", "--quiet", "HEAD").decode("utf-8", "surrogateescape").strip()
    except GitError as error:
        return head(place.root) if error.returncode == 1 else None  # --quiet: it is detached
