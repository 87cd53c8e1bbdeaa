"""Branches of a followed root: the only place to edit one, and how edits reach the remote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from scheduler.core.values.problems import RefusedError, Remedy, UnavailableError
from scheduler.core.values.remote import check_ref
from scheduler.git.objects import resolve_revision
from scheduler.git.run import run_git
from scheduler.remote.fetching import ORIGIN, GoneError, fetch, is_ancestor, push
from scheduler.remote.signatures import why_not_signed
from scheduler.root.followed import Followed, look_lock


def need_branch(followed: Followed, branch: str | None, pushes: bool) -> None:
    """Raises: RefusedError for an edit that would have no effect here; UsageError for an impossible branch name."""
    remote = followed.remote()
    if branch is None:
        raise RefusedError(
            f"this root follows the {remote.words}, so its files can be edited only on a branch; nothing was written",
            remedy=Remedy.ON_PUSHED_BRANCH,
        )
    check_ref(branch, None)
    if branch == remote.branch and not pushes:
        raise RefusedError(
            f"this root follows the {remote.words}: a commit there must be pushed; nothing was written",
            remedy=Remedy.PUSH,
        )


def take_branch(followed: Followed, branch: str, environ: Mapping[str, str], tell: Callable[[str], None]) -> None:
    """Update a branch of the store from the remote, so that an edit starts from there.

    A branch that is gone from the remote, and merged, is deleted here: the edit starts afresh.
    Raises: RefusedError if both sides have new commits; UnavailableError.
    """
    remote, store, ref = followed.remote(), followed.store, f"refs/heads/{branch}"
    with look_lock(followed):
        ours, theirs = _tip(store, ref), None
        try:
            theirs = fetch(store, remote.url, ref, environ)
        except GoneError:
            if ours is not None and (root := followed.commit()) and is_ancestor(store, ours, root):
                run_git(store, "update-ref", "-d", ref, ours, bare=True)
            return
        except UnavailableError as error:
            theirs = _tip(store, ORIGIN + branch)
            tell(f"{error}; using the branch as last fetched")
        if theirs is None or ours == theirs or (ours is not None and is_ancestor(store, theirs, ours)):
            return
        if ours is not None and not is_ancestor(store, ours, theirs):
            raise RefusedError(
                f"branch {branch!r} has new commits at {remote.url}, and also has unpushed commits here;"
                " nothing was written",
                hint="choose another branch",
            )
        run_git(store, "update-ref", ref, theirs, bare=True)


def take_back_unsigned(followed: Followed, branch: str) -> str:
    """Why a commit on the followed branch would not be applied here for want of a signature; otherwise empty.

    In that case, resets the branch to the remote's: if pushed, the commit would block all later ones.
    Raises: UnavailableError.
    """
    remote, store, ref = followed.remote(), followed.store, f"refs/heads/{branch}"
    if not remote.signed or branch != remote.branch:
        return ""
    with look_lock(followed):
        tip, theirs = _tip(store, ref), _tip(store, ORIGIN + branch)
        if tip is None or tip == theirs or not (why := why_not_signed(store, tip, followed.signers)):
            return ""
        run_git(store, "update-ref", *(("-d", ref) if theirs is None else (ref, theirs)), bare=True)
        return why


def push_branch(followed: Followed, branch: str, environ: Mapping[str, str]) -> None:
    """Raises: RefusedError if the remote rejects it, UnavailableError if it cannot be reached."""
    with look_lock(followed):
        if _tip(followed.store, f"refs/heads/{branch}") is not None:
            push(followed.store, followed.remote().url, branch, environ)


def _tip(store: Path, ref: str) -> str | None:
    return resolve_revision(store, f"{ref}^{{commit}}", bare=True)
