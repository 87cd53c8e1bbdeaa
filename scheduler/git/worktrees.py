"""Linked worktrees, each on a branch of its own: made, looked at and removed.

Like everything in `run.py`, nothing here starts a program that the repository names. So no hook runs, and files are
written and compared without filter programs: of a file in Git LFS, a new worktree has the pointer.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.values.problems import RefusedError
from scheduler.git.objects import resolve_revision
from scheduler.git.run import GitError, run_git
from scheduler.machine.crash import crash_point
from scheduler.machine.folders import remove_tree

WRITE_S = 600.0  # for a checkout
LOOK_S = 60.0
_MOST_COUNTED = 10_000  # untracked files whose lines are counted,
_MOST_READ = 64 * 1024 * 1024  # and the bytes of them that are read


class BranchExistsError(RefusedError):
    """The branch of a new worktree exists already."""

    def __init__(self, branch: str) -> None:
        super().__init__(
            f"branch {branch!r} exists already; nothing was changed",
            hint=f"rename it with `git branch -m {branch} NEW`, or delete it with `git branch -D {branch}`",
        )
        self.branch = branch


@dataclass(frozen=True, slots=True, kw_only=True)
class Diffstat:
    """What differs from a commit, as `git diff --shortstat` counts it, with untracked files that are not ignored."""

    files: int
    insertions: int  # lines; binary files have none
    deletions: int


def add_worktree(root: Path, folder: Path, branch: str, commit: str) -> None:
    """Check a commit out into a new folder, on a new branch. Leaves nothing behind if it fails.

    root: a folder of the repository. folder: absolute; it does not exist, its parent does.
    Raises: BranchExistsError; GitError.
    """
    ref = f"refs/heads/{branch}"
    if resolve_revision(root, ref) is not None:
        raise BranchExistsError(branch)
    made = False
    try:
        # In this order, a branch that is ours never exists without its folder.
        args = ("worktree", "add", "--quiet", "--detach", "--no-checkout", str(folder), commit)
        run_git(root, *args, timeout=WRITE_S, gently=True)
        crash_point("worktree_folder")
        try:
            run_git(root, "update-ref", "-m", "scheduler: a new worktree", ref, commit, "0" * len(commit), gently=True)
        except GitError as error:
            if resolve_revision(root, ref) is not None:  # somebody has made it just now
                raise BranchExistsError(branch) from error
            raise
        made = True
        crash_point("worktree_branch")
        run_git(folder, "symbolic-ref", "HEAD", ref, gently=True)
        run_git(folder, "reset", "--quiet", "--hard", timeout=WRITE_S, gently=True, settings=no_filters(folder))
    except BaseException:
        remove_worktree(root, folder)
        if made:
            delete_branch(root, branch, commit)
        raise


def check_out_branch(root: Path, folder: Path, branch: str) -> None:
    """Check an existing branch out into a new folder again. Raises: GitError, with nothing left behind."""
    settings = no_filters(root)
    try:
        args = ("worktree", "add", "--quiet", str(folder), branch)
        run_git(root, *args, timeout=WRITE_S, gently=True, settings=settings)
    except BaseException:
        remove_worktree(root, folder)
        raise


def remove_worktree(root: Path, folder: Path) -> None:
    """Remove a worktree, whatever is in it and however much of it there is, as far as possible. Its branch stays."""
    remove_tree(folder)
    with contextlib.suppress(GitError):  # git may not know it, or there is no repository any more
        run_git(root, "worktree", "remove", "--force", "--force", str(folder), gently=True)


def delete_branch(root: Path, branch: str, commit: str) -> bool:
    """Delete a branch if it still names this commit. True if it is gone."""
    ref = f"refs/heads/{branch}"
    try:
        run_git(root, "update-ref", "-d", ref, commit, gently=True)
    except GitError:
        return False
    return True


def is_worktree(folder: Path) -> bool:
    """True if git answers in this folder, and for it."""
    if not (folder / ".git").is_file():
        return False
    try:
        return run_git(folder, "rev-parse", "--show-toplevel").rstrip(b"\n") == os.path.realpath(os.fsencode(folder))
    except GitError:
        return False


def commits_since(folder: Path, branch: str, commit: str) -> int:
    """How many commits the branch has beyond this one; 0 if it does not exist. Raises: GitError."""
    ref = f"refs/heads/{branch}"
    if resolve_revision(folder, ref) is None:
        return 0
    return int(run_git(folder, "rev-list", "--count", f"{commit}..{ref}", timeout=LOOK_S))


def is_finished(folder: Path, branch: str) -> bool:
    """True if nothing is lost with the folder: no file was changed, and a branch holds the commit that is checked out.

    Files that git ignores do not count. Raises: GitError.
    """
    args = ("status", "--porcelain=v1", "-z", "--untracked-files=normal")
    if run_git(folder, *args, timeout=LOOK_S, settings=no_filters(folder)):
        return False
    with contextlib.suppress(GitError):
        run_git(folder, "symbolic-ref", "--quiet", "HEAD")
        return True  # it is on a branch, whichever
    try:
        run_git(folder, "merge-base", "--is-ancestor", "HEAD", f"refs/heads/{branch}")
    except GitError as error:
        if error.returncode == 1:
            return False
        raise
    return True


def changes_since(folder: Path, commit: str) -> Diffstat:
    """What the files of a worktree changed since a commit, committed or not. Raises: GitError."""
    args = ("diff", "--numstat", "-z", "--no-renames", "--end-of-options", commit, "--")
    told = run_git(folder, *args, timeout=LOOK_S, settings=no_filters(folder))
    files = insertions = deletions = 0
    for line in told.split(b"\0")[:-1]:
        added, removed, _ = line.split(b"\t", 2)
        files += 1
        insertions += int(added) if added != b"-" else 0
        deletions += int(removed) if removed != b"-" else 0
    listed = run_git(folder, "ls-files", "--others", "--exclude-standard", "-z", timeout=LOOK_S)
    new = listed.split(b"\0")[:-1]
    return Diffstat(files=files + len(new), insertions=insertions + _lines_of(folder, new), deletions=deletions)


def _lines_of(folder: Path, names: Sequence[bytes]) -> int:
    """The lines of new files, as git counts them. Of very many or very large files, not all are counted."""
    left, lines = _MOST_READ, 0
    for name in names[:_MOST_COUNTED]:
        path = os.path.join(os.fsencode(folder), name)  # noqa: PTH118 - of bytes
        with contextlib.suppress(OSError):
            found = os.lstat(path)
            if stat.S_ISLNK(found.st_mode):
                lines += 1
            elif stat.S_ISREG(found.st_mode) and found.st_size <= left:
                left -= found.st_size
                file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                with open(file, "rb") as opened:  # noqa: PTH123 - a descriptor
                    data = opened.read(found.st_size)
                if b"\0" not in data[:8000]:  # else it is binary, by git's own rule
                    lines += data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    return lines


def worktrees_below(root: Path, folder: Path) -> Iterator[Path]:
    """The worktrees that git knows below a folder, whether or not they exist. Raises: GitError."""
    listed = run_git(root, "worktree", "list", "--porcelain", "-z")
    for line in listed.split(b"\0"):
        path = Path(os.fsdecode(line.removeprefix(b"worktree ")))
        if line.startswith(b"worktree ") and path.is_relative_to(os.path.realpath(folder)):
            yield path


def no_filters(folder: Path) -> Sequence[str]:
    """Settings with which git starts none of the filter programs that it is configured to start. Raises: GitError."""
    try:
        told = run_git(folder, "config", "--null", "--name-only", "--get-regexp", r"^filter\.")
    except GitError as error:
        if error.returncode == 1:  # none is
            return ()
        raise
    drivers = {os.fsdecode(name).partition(".")[2].rpartition(".")[0] for name in told.split(b"\0") if name}
    if odd := next((each for each in drivers if "=" in each), None):
        raise GitError(f"the name of filter {odd!r} contains =, so it cannot be switched off")
    off = ("clean=", "smudge=", "process=", "required=false")
    return [f"filter.{driver}.{each}" for driver in sorted(drivers) for each in off]
