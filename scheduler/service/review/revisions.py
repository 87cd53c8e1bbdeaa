"""The two ends of a review: revisions of the repository, or the files on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.values.problems import RefusedError, Remedy, UnavailableError, UsageError
from scheduler.git.folder import repository_top
from scheduler.git.objects import is_first_commit, resolve_revision
from scheduler.git.run import GitError, run_git

DEEPEN = (
    "run `git fetch --unshallow`, or `git fetch --depth=1000`; in GitHub Actions give actions/checkout fetch-depth: 0"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The two ends of a review."""

    base: str  # the commit compared with
    base_tip: str  # the commit that `--base` names; differs from `base` if the base has moved on
    head: str | None  # None: the files on disk
    nothing_new: bool = False  # HEAD is part of BASE: there is nothing after the merge base


def need_repository(root: Path) -> None:
    """Raises: RefusedError if the root is in no git repository."""
    if repository_top(root.resolve()) is None:
        raise RefusedError(
            "the root is no git repository, so there are no revisions to compare",
            hint="make it one: `git init`, then `git add` and `git commit` its files",
        )


def compare(root: Path, base: str, head: str | None, *, direct: bool = False) -> Compared:
    """Resolve two revisions. As in a pull request, HEAD is compared with where it left BASE (`git diff BASE...HEAD`).

    direct: compare with BASE itself. BASE may be the parent (`~1`) of a first commit: then nothing was there before.
    Raises: UsageError for an unknown revision; UnavailableError without a repository, or if the clone is too shallow.
    """
    shallow = run_git(root, "rev-parse", "--is-shallow-repository").strip() == b"true"
    if not shallow and base.endswith("~1") and is_first_commit(root, base.removesuffix("~1")):
        nothing = run_git(root, "hash-object", "-t", "tree", "--stdin", input=b"").decode("ascii").strip()
        return Compared(
            base=nothing, base_tip=nothing, head=None if head is None else _commit(root, head, "head", shallow)
        )
    tip = _commit(root, base, "base", shallow)
    end = None if head is None else _commit(root, head, "head", shallow)
    if direct:
        return Compared(base=tip, base_tip=tip, head=end)
    tree = end or _commit(root, "HEAD", "HEAD", shallow)
    try:
        merge_base = run_git(root, "merge-base", "--end-of-options", tip, tree).decode("ascii").split()[0]
    except GitError as error:
        if error.returncode != 1:
            raise
        said = f"{base!r} and {head or 'HEAD'!r} have no commit in common"
        if shallow:
            raise UnavailableError(f"{said} in this shallow clone", hint=DEEPEN) from None
        raise UsageError(said, remedy=Remedy.DIRECT) from None
    return Compared(base=merge_base, base_tip=tip, head=end, nothing_new=merge_base == tree != tip)


def _commit(root: Path, name: str, argument: str, shallow: bool) -> str:
    option = argument if argument == "HEAD" else f"{{{argument}}}"
    if not name or name.startswith("-"):
        raise UsageError(
            f"{option} {name!r} is not a revision: a revision cannot start with -" if name else f"{option} is empty",
            hint="give a commit, a branch, or a tag, such as origin/main",
            arguments=(argument,),
        )
    found = resolve_revision(root, f"{name}^{{commit}}")
    if found is None and shallow:
        message = f"{option} {name!r} is not a commit in this shallow clone"
        raise UnavailableError(message, hint=DEEPEN, arguments=(argument,))
    if found is None:
        raise UsageError(
            f"{option} {name!r} is not a commit in this repository",
            hint="give a commit, a branch, or a tag; to get one that is only on the server, run `git fetch origin`",
            arguments=(argument,),
        )
    return found


def folder_in_repository(root: Path) -> str:
    """The root relative to the top of its repository, without a slash at the end; empty if it is the top."""
    return os.fsdecode(run_git(root, "rev-parse", "--show-prefix").removesuffix(b"\n")).rstrip("/")
