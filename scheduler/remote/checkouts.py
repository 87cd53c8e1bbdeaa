"""The folder of one commit: written once, raw and read-only, and removed when nobody holds it any more.

Raw: the bytes of each blob without filters, line-end conversion or keywords, so that a run reads exactly what the
commit contains. The folder is a linked worktree of the store (gitrepository-layout(5)) whose HEAD is the commit, so
git answers questions about it as about any other root.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from scheduler.core.values.problems import RefusedError, UnavailableError
from scheduler.git.objects import (
    AbsentError,
    Entry,
    OddTreeError,
    TooManyFilesError,
    entries_of,
    folders_of,
    read_blobs,
    why_no_file,
    why_no_link,
)
from scheduler.git.run import GitError, run_git
from scheduler.machine.crash import crash_point
from scheduler.machine.folders import remove_tree
from scheduler.root.followed import Followed, hold

READ_S = 600.0
_MOST_OF_ROOM = 0.9  # of the free disk space: jobs and the database need some
_NEW, _OLD = ".new-", ".old-"
_HINTS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space"),
    errno.EEXIST: "two of its file names are the same name on this file system: rename one of them",
    errno.ENAMETOOLONG: "shorten that name",
}


class DamagedStoreError(UnavailableError):
    """The store lacks something that a commit needs, or has other bytes under its name."""


class UnwritableTreeError(RefusedError):
    """No folder can hold the content of the commit."""

    def __init__(self, commit: str, why: str) -> None:
        super().__init__(f"commit {commit[:12]} {why}", hint="remove it from the branch; `git fsck` there may say more")


def damage(error: GitError, what: str) -> UnavailableError:
    """The error for an unreadable store: damage only if git itself found the store faulty."""
    kind = UnavailableError if error.is_of_this_machine else DamagedStoreError
    return kind(f"{what}: {error}", hint=error.hint)


def list_commit(store: Path, commit: str) -> Sequence[Entry]:
    """Everything in a commit's tree. Raises: DamagedStoreError, UnwritableTreeError, UnavailableError."""
    try:
        return entries_of(store, commit, bare=True, timeout=READ_S, limited=True)
    except TooManyFilesError as error:
        raise UnwritableTreeError(commit, error.said) from error
    except GitError as error:
        raise damage(error, f"git cannot list the files of {commit[:12]}") from error


def write_commit(followed: Followed, commit: str, entries: Sequence[Entry]) -> None:
    """Create the folder of a commit, whole or not at all. An existing one stays.

    Raises: DamagedStoreError; UnwritableTreeError for a commit that cannot be written out anywhere; UnavailableError if
    it cannot be written here.
    """
    folder = followed.commits / commit
    if folder.is_dir():
        link(followed, folder, commit)
        return
    try:
        folders = folders_of(commit, entries)
    except OddTreeError as error:
        raise UnwritableTreeError(commit, error.said) from error
    if why := next((why for entry in entries if (why := why_no_file(entry.path))), ""):
        raise UnwritableTreeError(commit, why)
    new = followed.commits / f"{_NEW}{commit}"
    remove_tree(new)
    try:
        new.mkdir(mode=0o700, parents=True)
        for path in sorted(folders.keys() - {""}):
            (new / path).mkdir(parents=True, exist_ok=True)
        _write(followed.store, commit, new, entries)
        (new / ".git").write_text(f"gitdir: ../../{followed.store.name}/worktrees/{commit}\n")
        (new / ".git").chmod(0o444)
        link(followed, folder, commit)
        for here, _, _ in os.walk(new, topdown=False):
            os.chmod(here, 0o555)  # noqa: PTH101 - by the hundred
        _to_disk(new)
        crash_point("before_commit_is_there")
        new.rename(folder)
    except BaseException as error:
        remove_tree(new)
        if not isinstance(error, OSError):
            raise
        raise UnavailableError(
            f"cannot write commit {commit[:12]} to {followed.commits}: {error.strerror}"
            + (f" ({error.filename})" if error.errno in (errno.EEXIST, errno.ENAMETOOLONG) else ""),
            hint=_HINTS.get(error.errno or 0, "make this folder writable") + "; the last commit stays in force",
        ) from error


def _write(store: Path, commit: str, new: Path, entries: Sequence[Entry]) -> None:
    room = shutil.disk_usage(new).free * _MOST_OF_ROOM
    by_id: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.is_submodule:  # its files belong to another repository
            (new / entry.path).mkdir()
        else:
            by_id.setdefault(entry.id, []).append(entry)
    for same, data in zip(by_id.values(), _contents(store, list(by_id)), strict=True):
        for entry in same:
            path = new / entry.path
            if entry.is_link:
                if why := why_no_link(entry.path, data):
                    raise UnwritableTreeError(commit, why)
                path.symlink_to(os.fsdecode(data))
                continue
            room -= len(data)
            if room < 0:  # one blob can be the content of any number of files
                raise OSError(errno.ENOSPC, "it would fill the disk")
            with path.open("xb") as file:
                file.write(data)
            path.chmod(0o555 if entry.mode == "100755" else 0o444)


def _contents(store: Path, ids: Sequence[str]) -> Iterator[bytes]:
    """The bytes of blobs. Raises: DamagedStoreError if one is missing, or its bytes do not match its name."""
    try:
        for data in read_blobs(store, ids, bare=True, timeout=READ_S):
            assert isinstance(data, bytes)
            yield data
    except AbsentError as error:
        raise DamagedStoreError(f"the store {error.said}") from error
    except GitError as error:
        raise damage(error, "the store cannot be read") from error


def link(followed: Followed, folder: Path, commit: str) -> None:
    """Make the folder a worktree of the store, even of a newly created store. Raises: OSError."""
    ours = followed.store / "worktrees" / commit
    leads = f"{folder / '.git'}\n"
    head = ours / "HEAD"
    if not head.exists() or head.read_text() != f"{commit}\n":  # new, or somebody has switched branches in it
        ours.mkdir(parents=True, exist_ok=True)
        (ours / "commondir").write_text("../..\n")
        (ours / "gitdir").write_text(leads)
        new = ours / "HEAD.new"
        new.write_text(f"{commit}\n")
        new.rename(ours / "HEAD")
    elif (ours / "gitdir").read_text() != leads:  # the root was moved: git would call it prunable
        (ours / "gitdir").write_text(leads)
    if not (ours / "index").exists():
        with contextlib.suppress(GitError):  # for people who look: our own code needs no index
            run_git(ours, "read-tree", commit, bare=True)


def link_all(followed: Followed) -> None:
    """Make every commit's folder a worktree of a newly created store. Raises: OSError."""
    if followed.commits.is_dir():
        for entry in os.scandir(followed.commits):
            if not entry.name.startswith("."):
                link(followed, Path(entry.path), entry.name)


def _to_disk(folder: Path) -> None:
    """Make the writes survive a power failure, after which the folder could otherwise contain empty files."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None).syncfs(file) == 0:
            return
    except (AttributeError, OSError):
        pass  # no glibc
    finally:
        os.close(file)
    os.sync()


def remove_old(followed: Followed, keep: Sequence[str]) -> None:
    """Remove commit folders that are neither kept nor held, and leftovers of a killed process."""
    try:
        found = list(os.scandir(followed.commits))
    except FileNotFoundError:
        return
    for entry in found:
        if entry.name.startswith((_NEW, _OLD)):
            remove_tree(Path(entry.path))
        elif entry.name not in keep:
            folder = Path(entry.path)
            pin = hold(folder, alone=True)
            if pin is None:
                continue
            aside = folder.with_name(f"{_OLD}{entry.name}")
            with contextlib.suppress(OSError):
                folder.rename(aside)  # nobody can pin a half-removed folder
                remove_tree(aside)
                shutil.rmtree(followed.store / "worktrees" / entry.name, ignore_errors=True)
            del pin
