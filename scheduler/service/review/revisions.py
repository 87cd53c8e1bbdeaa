"""The two sides of a review: revisions of the repository, or the files on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.core.formats.checkout import Conversion
from scheduler.core.formats.globs import may_hold
from scheduler.core.plan.desired import Desired
from scheduler.core.values.problems import Problem, RefusedError, Remedy, UnavailableError, UsageError
from scheduler.core.values.settings import Settings
from scheduler.git.folder import repository_top
from scheduler.git.objects import is_first_commit, resolve_revision
from scheduler.git.run import GitError, run_git
from scheduler.git.tree import Tree
from scheduler.root.committed import CommitFiles
from scheduler.root.converted import conversions_of
from scheduler.root.desired import read_desired
from scheduler.root.files import Files
from scheduler.root.parsed import Parsed
from scheduler.root.runner_files import runner_paths
from scheduler.root.settings import settings_of
from scheduler.root.trusted import state_problems, tracked_here

_MOST_IMPOSSIBLE = 20  # files per commit
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The contents of a root."""

    files: Files
    settings: Settings | None  # None: scheduler.yaml is missing or invalid
    desired: Desired | None
    problems: tuple[Problem, ...]  # of scheduler.yaml, and of the repository as a whole
    state: Sequence[str] = ()  # paths where the scheduler keeps its state
    conversions: Mapping[str, Conversion] = field(default_factory=dict)  # what a checkout does to files, by path

    @property
    def submodules(self) -> Sequence[str]:
        """The submodules of a commit that could contain a job or a task."""
        if self.desired is None or not isinstance(self.files, CommitFiles):
            return ()
        settings = self.desired.settings
        globs, tasks = settings.jobs, [each.document.task_source_path or "" for each in self.desired.found]
        tasks += [path for runner in settings.runners.values() for path in runner_paths(self.files, runner)]
        return [
            path
            for path, entry in self.files.entries.items()
            if entry.is_submodule
            and (any(may_hold(path, glob) for glob in globs) or any(task.startswith(path + "/") for task in tasks))
        ]


def _impossible(files: Files) -> Iterator[Problem]:
    found = files.impossible if isinstance(files, CommitFiles) else {}
    for path, why in sorted(found.items())[:_MOST_IMPOSSIBLE]:
        shown = path[:100].encode("utf-8", "replace").decode()
        message = f"the commit {why}: it cannot be checked out, and a root that follows the branch does not apply it"
        yield Problem(shown, 1, 1, "file.impossible", message, "remove it from the commit")


def snapshot(files: Files, revision: str | None, *, checked_out: bool, parsed: Parsed | None = None) -> Snapshot:
    """checked_out: by git, which converts files by their attributes. A followed root has the bytes of the commit.

    parsed: shared by the two sides, so that a file that does not differ is parsed once.

    Raises: UnavailableError.
    """
    settings, problems = settings_of(files)
    desired = None if settings is None else read_desired(files, settings, Tree(revision=revision), parsed=parsed)
    state = files.state_paths() if isinstance(files, CommitFiles) else tracked_here(files.root)
    problems = tuple(sorted({*problems, *state_problems(state), *_impossible(files)}))
    conversions = conversions_of(files, desired) if checked_out else {}
    return Snapshot(
        files=files, settings=settings, desired=desired, problems=problems, state=state, conversions=conversions
    )
