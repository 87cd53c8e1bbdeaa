"""The git worktree of each run with `workdir: fresh`: made before its first attempt, looked at after each.

It is on a branch run/JOB/N that starts at the run's commit. Whatever a killed process left of a run that never started
is removed and made anew, and nothing else is touched. Git takes its time, so all of this runs beside the reactor's
thread.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scheduler.core.values.facts import Fault
from scheduler.core.values.runs import Ending, FreshTree, Run, RunStatus
from scheduler.git.folder import repository_top
from scheduler.git.objects import resolve_revision
from scheduler.git.run import GitError
from scheduler.git.worktrees import (
    BranchExistsError,
    add_worktree,
    changes_since,
    check_out_branch,
    commits_since,
    is_finished,
    is_worktree,
    remove_worktree,
)
from scheduler.machine.crash import crash_point
from scheduler.machine.log import Log
from scheduler.root.fresh_trees import TreeSpot, remove_fresh, spot_of
from scheduler.root.place import Place, make_private

_log = Log(__name__)


def fresh_cwd(place: Place, job_id: str, n: int | str) -> Path | Fault:
    """The working directory of such a run: what the root is in its repository, in the worktree. It need not exist."""
    top = repository_top(place.root)
    if top is None:
        return _no_repository("the root is not in a git repository")
    return spot_of(place, job_id, n).folder / place.root.relative_to(top)


def make_fresh(place: Place, run: Run, cwd: Path, commit: str | None, why_none: str | None) -> FreshTree | Fault:
    """The worktree for the next attempt of a run: a new one, or for a retry that of its first attempt.

    cwd: `fresh_cwd` of the run. commit: at which to start; why_none: why there is none.
    Fault reasons: runner_no_repository, runner_branch_exists, runner_worktree_failed. Nothing is left then.
    """
    if commit is None:
        return _no_repository(why_none or "git names no commit")
    spot = spot_of(place, run.job_id, run.n)
    tree = FreshTree(branch=spot.branch, commit=commit, folder=str(spot.folder))
    try:
        if run.attempts:
            return _make_again(place, spot, run.worktree or tree)
        _clear(place, spot, run)
        make_private(spot.folder.parent)
        spot.write_note(run, commit)
        crash_point("worktree_note")
        add_worktree(place.root, spot.folder, spot.branch, commit)
        if not cwd.is_dir():
            message = (
                f"commit {commit[:12]} has no folder {str(cwd.relative_to(spot.folder))!r}, which is the root here"
            )
            remove_fresh(place.root, spot, tree)
            return Fault(reason="runner_worktree_failed", message=f"{message}; commit it first")
    except BranchExistsError as error:
        spot.note.unlink(missing_ok=True)
        return Fault(reason="runner_branch_exists", message=f"{error}; {error.hint}")
    except (GitError, OSError) as error:
        if not run.attempts:
            spot.note.unlink(missing_ok=True)
        return _failed(spot, error)
    crash_point("worktree_made")
    return tree


def _make_again(place: Place, spot: TreeSpot, tree: FreshTree) -> FreshTree | Fault:
    """For a retry: the worktree as the last attempt left it; if somebody has removed it, its branch or its commit."""
    if spot.folder.exists():
        if is_worktree(spot.folder):
            return tree
        message = f"{spot.folder} is no longer a git worktree, but has files of an earlier attempt; move it away"
        return Fault(reason="runner_worktree_failed", message=message)
    remove_worktree(place.root, spot.folder)  # what git still knows of it
    make_private(spot.folder.parent)
    if resolve_revision(place.root, f"refs/heads/{spot.branch}") is None:
        add_worktree(place.root, spot.folder, spot.branch, tree.commit)
    else:
        check_out_branch(place.root, spot.folder, spot.branch)
    return replace(tree, folder=str(spot.folder))


def _clear(place: Place, spot: TreeSpot, run: Run) -> None:
    """Remove what a killed process has made for this run, in which nothing has run yet. Raises: OSError, GitError."""
    if spot.is_for(run):
        left = FreshTree(branch=spot.branch, commit=spot.commit, folder=str(spot.folder))
        remove_fresh(place.root, spot, left)
    if spot.folder.exists():
        raise FileExistsError(0, "it exists already, from another run of this name; move it away")


def settle_fresh(place: Place, run: Run, tree: FreshTree, ending: Ending) -> Ending:
    """The ending of an attempt, with what it changed in its worktree.

    After a success, the worktree is removed if nothing is lost with it. Its branch goes too, unless it has commits.
    """
    spot = spot_of(place, run.job_id, run.n)
    folder = spot.folder
    try:
        if not is_worktree(folder):  # git would tell of the repository around it
            raise GitError(f"{folder} is no longer a git worktree")
        found = changes_since(folder, tree.commit)
        tree = replace(
            tree,
            commits=commits_since(folder, tree.branch, tree.commit),
            files=found.files,
            insertions=found.insertions,
            deletions=found.deletions,
        )
        if ending.status is RunStatus.SUCCEEDED and is_finished(folder, tree.branch):
            tree = remove_fresh(place.root, spot, tree)
    except (GitError, OSError) as error:
        _log.warning("worktree_not_examined", "it is kept", folder=str(folder), error=str(error))
    return replace(ending, worktree=tree)


def _no_repository(why: str) -> Fault:
    return Fault(reason="runner_no_repository", message=f"workdir is fresh, but {why}")


def _failed(spot: TreeSpot, error: GitError | OSError) -> Fault:
    said = error.said if isinstance(error, GitError) and error.said else str(error)
    if isinstance(error, OSError):
        said = error.strerror or said
    full = any(each in said for each in ("No space left on device", "Disk quota exceeded"))
    hint = "; free some space" if full else f"; {error.hint}" if isinstance(error, GitError) and error.hint else ""
    message = (
        f"no worktree on branch {spot.branch!r} could be made in {spot.folder}: {' '.join(said.split())[-500:]}{hint}"
    )
    return Fault(reason="runner_worktree_failed", message=message)
