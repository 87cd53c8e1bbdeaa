"""What git's own folder says, read without starting git: commands that only look need not wait for a process."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from scheduler.core.values.texts import HALF_WAY

_STUB = "ref: refs/heads/.invalid"  # HEAD, if it is in a reftable (gitformat-reftable)


def head_by_hand(root: Path) -> str | None:
    """The commit that HEAD names, from git's files. None if they do not say, as with reftables."""
    git = git_folder(root)
    if git is None:
        return None
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        ref = head.removeprefix("ref: ")
        shared = _shared(git)
        return (shared / ref).read_text().strip() if (shared / ref).is_file() else _packed(shared, ref)
    except (OSError, ValueError):
        return None


def is_unborn(root: Path) -> bool:
    """True if HEAD names a branch that has no commit yet. False if git's files do not say, as with reftables."""
    git = git_folder(root)
    try:
        head = "" if git is None else (git / "HEAD").read_text().strip()
        if git is None or not head.startswith("ref: ") or head == _STUB:
            return False
        ref, shared = head.removeprefix("ref: "), _shared(git)
        return not os.path.lexists(shared / ref) and _packed(shared, ref) is None
    except (OSError, ValueError):
        return False


def reftables(root: Path) -> tuple[str, ...] | None:
    """The names of the tables that hold HEAD and its branch: others after every change of either.

    None if these are in files of their own.
    """
    git = git_folder(root)
    try:
        if git is None or not ((shared := _shared(git)) / "reftable").is_dir():
            return None
        stacks = dict.fromkeys((git, shared))  # a linked worktree has its own HEAD
        return tuple((folder / "reftable/tables.list").read_text() for folder in stacks)
    except (OSError, ValueError):
        return None


def _packed(shared: Path, ref: str) -> str | None:
    """Raises: OSError, ValueError."""
    try:
        lines = (shared / "packed-refs").read_text().splitlines()
    except FileNotFoundError:
        return None
    return next((line.split(" ")[0] for line in lines if line.endswith(f" {ref}")), None)


def _shared(git: Path) -> Path:
    """Where a linked worktree shares its branches with the others (gitrepository-layout(5)). Raises: OSError."""
    common = git / "commondir"
    return git / common.read_text().strip() if common.exists() else git


def ref_files(root: Path) -> Mapping[Path, frozenset[str]]:
    """The files that determine HEAD's commit, as folders and names in them. Empty outside a repository.

    No other name in these folders affects HEAD: not the index, which `git status` rewrites, nor a lock.
    """
    git = git_folder(root)
    if git is None:
        return {}
    found: dict[Path, set[str]] = {git: {"HEAD"}}
    try:
        shared = _shared(git).resolve()
        head = (git / "HEAD").read_text().strip()
    except FileNotFoundError:
        return {git: frozenset({"HEAD"})}  # it is being created
    except (OSError, ValueError):
        return {}  # not ours to read; git will say the same
    found.setdefault(shared, set()).add("packed-refs")
    if (shared / "reftable").is_dir():  # then HEAD is a stub (gitformat-reftable)
        found[shared / "reftable"] = {"tables.list"}
    elif head.startswith("ref: "):
        # A branch that is packed or unborn has no file: it appears with the first missing folder.
        folder = shared
        for name in head.removeprefix("ref: ").split("/"):
            found.setdefault(folder, set()).add(name)
            folder = folder / name
    return {folder: frozenset(names) for folder, names in found.items()}


def shallow_commits(root: Path) -> frozenset[str]:
    """The commits at which the history of a shallow clone was cut. Empty for a full clone."""
    git = git_folder(root)
    if git is None:
        return frozenset()
    try:
        return frozenset((_shared(git) / "shallow").read_text().split())
    except (OSError, ValueError):
        return frozenset()


def index_lock(root: Path) -> Path | None:
    """The file that git holds while it changes this working tree. None outside a repository."""
    git = git_folder(root)
    return None if git is None else git / "index.lock"


# What git leaves in its folder while a multi-step command is unfinished (gitrepository-layout(5)).
_UNDER_WAY = (
    ("rebase-merge", "a rebase"),
    ("rebase-apply", "a rebase"),
    ("MERGE_HEAD", "a merge"),
    ("CHERRY_PICK_HEAD", "a cherry-pick"),
    ("REVERT_HEAD", "a revert"),
    ("sequencer", "a cherry-pick or a revert"),
    ("BISECT_LOG", "a bisect"),
)


def under_way(root: Path) -> str:
    """The unfinished git operation in this working tree, in words. Empty if there is none (S8).

    Meanwhile the files belong to no commit that anybody meant: a step of a rebase, an old commit under test.
    """
    git = git_folder(root)
    try:
        present = set() if git is None else set(os.listdir(git))  # noqa: PTH208 - every fire asks
    except OSError:
        present = set()
    found = next((what for name, what in _UNDER_WAY if name in present), None)
    return f"{found} {HALF_WAY}" if found else ""


def rebased_ref(root: Path) -> str | None:
    """The branch that an unfinished rebase moves, as a ref. None if there is no rebase, or it moves no branch.

    Never raises: a file that appears or vanishes meanwhile counts as absent.
    """
    git = git_folder(root)
    for name in ("rebase-merge", "rebase-apply"):
        with contextlib.suppress(OSError, ValueError):
            if git is not None and (ref := (git / name / "head-name").read_text().strip()).startswith("refs/"):
                return ref
    return None


def head_ref(root: Path) -> str | None:
    """The ref that HEAD names, or the commit of a detached HEAD. None if its file is unreadable or a stub.

    Also None outside a repository.
    """
    git = git_folder(root)
    if git is None:
        return None
    try:
        found = (git / "HEAD").read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n")
    except OSError:
        return None
    return None if found == _STUB else found.removeprefix("ref: ")


def repository_top(folder: Path) -> Path | None:
    """The folder of the working tree that this one is in; None outside a repository."""
    return next((each for each in (folder, *folder.parents) if os.path.lexists(each / ".git")), None)


def git_folder(root: Path) -> Path | None:
    for folder in (root, *root.parents):
        try:
            os.lstat(f"{folder}/.git")  # a Path is slow: every fire asks, and most folders have none
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            pass  # as below
        git = folder / ".git"
        if git.is_dir():
            return Path(os.path.realpath(git))  # it may be a link; Path.resolve takes twice as long
        if git.is_file():  # a linked worktree or a submodule
            with contextlib.suppress(OSError, ValueError):
                return (folder / git.read_text().removeprefix("gitdir:").strip()).resolve()
    return None


_SECTION = re.compile(r'\s*\[remote "origin"\]\s*')
_URL = re.compile(r"\s*url\s*=\s*(\S+)\s*", re.IGNORECASE)


def origin_url(root: Path) -> str:
    """The URL of the remote `origin` as the repository's own configuration has it, credentials included.

    Empty if there is none. Read by hand: a page needs it, and a process of git takes longer than the page.
    """
    git = git_folder(root)
    if git is None:
        return ""
    try:
        lines = (_shared(git) / "config").read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        return ""
    inside = False
    for line in lines:
        if line.lstrip().startswith("["):
            inside = _SECTION.fullmatch(line) is not None
        elif inside and (found := _URL.fullmatch(line)) is not None:
            return found[1]
    return ""
