"""`scheduler clone`: create a root that follows a branch, completely or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from scheduler.core.values.problems import RefusedError, UnavailableError, UsageError, did_you_mean
from scheduler.core.values.remote import EVERY, Remote, check_ref, check_remote_path, check_url, folder_name, is_local
from scheduler.machine.clock import Clock
from scheduler.remote.fetching import GoneError, default_branch, refs
from scheduler.remote.following import Follow
from scheduler.remote.signatures import check_signers
from scheduler.root.followed import CURRENT, Followed, state_around, state_of
from scheduler.root.place import make_private
from scheduler.root.trusted import STATE_FOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a new root is to follow, as requested."""

    url: str
    branch: str | None = None  # if there is no tag either: the remote's default branch
    tag: str | None = None
    path: str = ""
    signers: Path | None = None  # None: accept any commit
    every: timedelta = EVERY


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloned:
    folder: Path
    followed: Followed
    remote: Remote
    commit: str


def clone(
    wanted: Wanted,
    folder: Path | None,
    state: Path | None,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Callable[[str], None] | None = None,
) -> Cloned:
    """Fetch the remote, and make its commit a root in `folder`.

    folder: None creates one in the working directory, named after the URL. state: the state folder; None puts it below
    the new root.
    Raises: UsageError for invalid input; RefusedError if something exists already, or the commit may not be applied;
    UnavailableError if the remote cannot be reached. In all these cases nothing is left behind.
    """
    url = check_url(wanted.url)
    if is_local(url):
        url = os.path.abspath(url)  # noqa: PTH100 - keep the user's path, including links
    check_ref(wanted.branch, wanted.tag)
    path = check_remote_path(wanted.path)
    signers = None if wanted.signers is None else check_signers(wanted.signers)
    if folder is None:
        if not (name := folder_name(url)):
            raise UsageError(f"no folder name can be derived from {url}", hint="give a folder: scheduler clone URL DIR")
        folder = Path(name)
    folder = Path(os.path.realpath(folder))
    followed = Followed(Path(os.path.realpath(state)) if state is not None else folder / STATE_FOLDER)
    _check_free(folder, followed, url)
    branch = wanted.branch
    if branch is None and wanted.tag is None:
        branch = default_branch(url, environ)
    remote = Remote(url=url, branch=branch, tag=wanted.tag, path=path, signed=signers is not None, every=wanted.every)
    follow = Follow(followed=followed, clock=clock, environ=environ, progress=progress)
    made = [each for each in (folder, followed.state) if not each.exists()]
    try:
        return _clone(folder, followed, remote, signers, follow)
    except BaseException as error:
        _undo(folder, followed, made)
        if isinstance(error, OSError):
            raise UnavailableError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
        if isinstance(error.__cause__, GoneError):
            raise _no_such_name(remote, environ) from error
        raise


def _clone(folder: Path, followed: Followed, remote: Remote, signers: bytes | None, follow: Follow) -> Cloned:
    folder.mkdir(parents=True, exist_ok=True)
    make_private(followed.state)
    ignore = followed.state / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    if signers is not None:
        followed.signers.write_bytes(signers)
    followed.write_remote(remote)
    looked = follow.first()
    assert looked.commit is not None
    if not (folder / CURRENT).is_symlink():
        (folder / CURRENT).symlink_to(os.path.relpath(followed.current, folder))
    return Cloned(folder=folder, followed=followed, remote=remote, commit=looked.commit)


def _check_free(folder: Path, followed: Followed, url: str) -> None:
    kept = state_of(folder) if folder.is_dir() else None
    if kept is not None:
        known = Followed(kept).remote()
        raise RefusedError(
            f"{folder} already follows the {known.words}",
            hint="`scheduler sync` fetches and applies its newest commit"
            if known.url == url
            else "choose another folder",
        )
    if (around := state_around(folder)) is not None:
        raise RefusedError(
            f"{folder} is inside a checkout that {around} manages, and would be deleted with it",
            hint="choose a folder elsewhere",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RefusedError(f"{folder} already exists and is not empty", hint="choose another folder")
    if followed.file.exists() or (followed.state / "state.db").exists():
        raise RefusedError(
            f"{followed.state} is the state folder of another root", hint="choose another one with --state"
        )


def _undo(folder: Path, followed: Followed, made: list[Path]) -> None:
    from scheduler.machine.folders import remove_tree

    remove_tree(followed.commits)
    for each in (*followed.state.glob("*.json"), followed.signers, followed.current, folder / CURRENT):
        each.unlink(missing_ok=True)
    shutil.rmtree(followed.store, ignore_errors=True)
    for each in made:
        shutil.rmtree(each, ignore_errors=True)


def _no_such_name(remote: Remote, environ: Mapping[str, str]) -> UsageError:
    start = "refs/heads/" if remote.branch is not None else "refs/tags/"
    known = [ref.removeprefix(start) for ref in refs(remote.url, environ) if ref.startswith(start)]
    kind, name = ("branch", remote.branch) if remote.branch is not None else ("tag", remote.tag)
    listed = ", ".join(sorted(known)[:10]) or "none"
    return UsageError(
        f"{remote.url} has no {kind} {name!r}", hint=did_you_mean(name or "", known) or f"the remote has: {listed}"
    )
