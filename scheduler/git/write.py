"""Git that writes: a commit of some files with the user's own hooks and signing, and a commit on a branch that nobody
has checked out, which touches no file.

Reading is in `run.py`, which trusts nothing in the repository. A commit is made in the user's name, so here their
hooks and configuration apply (ADR 33). Of the environment, git gets only the identity among its own variables.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.values.problems import RefusedError, Remedy, UnavailableError
from scheduler.git.folder import under_way
from scheduler.git.objects import need_repository, resolve_revision
from scheduler.git.run import GitError, clean_environment, run_git, start_git, user_environment
from scheduler.git.tree import head

HOOKS_S = 600.0  # a hook may run a test suite
_IDENTITY = tuple(f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL", "DATE"))
# Only these: hooks inherit `-c` and --literal-pathspecs, and must find git as their author knows it.
_OPTIONS = ("--no-pager",)
_ZEROS = re.compile(r"[0-9a-f]")


def _run(root: Path, environ: Mapping[str, str], *args: str, stdin: bytes | None = None, timeout: float = 60) -> bytes:
    """Run `git ARGS...` as the user would, but without prompts."""
    given = {name: environ[name] for name in _IDENTITY if environ.get(name)}
    env = {
        **user_environment(environ),  # a hook inherits it, and may have to fetch what it runs
        **given,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_EDITOR": ":",  # a hook or a setting must not open one with nobody there
    }
    if args[0] != "commit":  # messages are matched; hooks keep the user's language
        env["LC_ALL"] = "C"
    return start_git(
        root, args[0], (*_OPTIONS, "-C", str(root), *args), environ=env, input=stdin, timeout=timeout, gently=True
    )


def _said(error: GitError) -> str:
    """The output of git and the hooks, for people."""
    return error.said[-2_000:].strip() or str(error)


def check_identity(root: Path, environ: Mapping[str, str]) -> None:
    """Raises: UnavailableError if git does not know the author of a commit."""
    try:
        for who in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
            _run(root, environ, "var", who)
    except GitError as error:
        if error.returncode is None or "not in a git" in str(error):
            raise
        raise UnavailableError(
            "git has no author for the commit; nothing was written",
            hint='run: git config user.name "Your Name" && git config user.email you@example.com',
        ) from None


def check_commit(root: Path, paths: Sequence[str], environ: Mapping[str, str]) -> None:
    """Check that these files, as they are, can be the base of a commit of an edit.

    paths: root-relative; those that do not exist are to be created.
    Raises: RefusedError if a merge or the like is unfinished, or a file already differs from HEAD; UnavailableError.
    """
    need_repository(root)
    half_way = under_way(root)
    if half_way:
        raise RefusedError(
            f"{half_way}, and a commit now would become part of it; nothing was written",
            hint="finish or abort it, or edit without a commit",
        )
    check_identity(root, environ)
    changed = run_git(root, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--", *paths)
    for entry in changed.split(b"\0"):
        if entry:
            path = os.fsdecode(entry[3:])
            kind = {b"??": "is not in HEAD yet"}.get(entry[:2], "already differs from HEAD")
            raise RefusedError(
                f"{path} {kind}: the commit would include more than this edit; nothing was written",
                hint="commit or undo them first, or edit without a commit",
            )
    existing = [path for path in paths if os.path.lexists(root / path)]
    new = [path for path in paths if path not in existing]
    flags = run_git(root, "ls-files", "-v", "-z", "--", *existing) if existing else b""
    known = {os.fsdecode(entry[2:]): entry[:1] for entry in flags.split(b"\0") if entry}
    for path in existing:
        if path not in known:
            raise RefusedError(
                f"{path} is ignored by git and cannot be committed; nothing was written",
                hint="edit it without a commit",
            )
        if known[path] in (b"S", b"s", b"h"):
            raise RefusedError(
                f"git is set to ignore changes to {path} (assume-unchanged or skip-worktree); nothing was written",
                hint=f"run: git update-index --no-assume-unchanged --no-skip-worktree {path}",
            )
    for path in new:
        if _is_ignored(root, path):
            raise RefusedError(
                f"{path} would be ignored by git and could not be committed; nothing was written",
                hint="choose another path, or edit without a commit",
            )


def _is_ignored(root: Path, path: str) -> bool:
    options = (*_OPTIONS, "-C", str(root))  # it refuses literal pathspecs; after ./ nothing is magic
    environ = clean_environment(os.environ)
    try:
        start_git(
            root, "check-ignore", (*options, "check-ignore", "-q", "--", f"./{path}"), environ=environ, timeout=30
        )
    except GitError as error:
        if error.returncode == 1:
            return False
        raise
    return True


def commit_files(root: Path, paths: Sequence[str], message: str, environ: Mapping[str, str]) -> str:
    """Commit these files as they are on disk, new and deleted ones too, and nothing else. Returns the commit's id.

    What others have staged stays staged and out of the commit. The user's hooks run and may refuse.
    Raises: RefusedError with what git or the hook said; the index is as it was.
    """
    before = head(root)
    new = [path for path in paths if os.path.lexists(root / path) and not _is_tracked(root, path)]
    try:
        if new:
            _run(root, environ, "add", "--intent-to-add", "--", *_literal(new))
        args = ("commit", "--quiet", "--only", "--file=-", "--", *_literal(paths))
        _run(root, environ, *args, stdin=_message(message), timeout=HOOKS_S)
    except BaseException as error:
        if (made := _made(root, before, paths)) is not None:
            _follow(root, paths, made, environ)
            return made  # what failed came after the commit: a post-commit hook
        if new:  # restore the index: these files were untracked
            _run(root, environ, "rm", "--cached", "--quiet", "--ignore-unmatch", "--", *_literal(new))
        if isinstance(error, GitError):
            raise RefusedError(f"git did not commit the edit: {_said(error)}") from error
        raise
    made = _made(root, before, paths) or head(root)
    if made is None:
        raise UnavailableError("git made a commit but did not report its id")
    _follow(root, paths, made, environ)
    return made


def _made(root: Path, before: str | None, paths: Sequence[str]) -> str | None:
    """The first commit since `before` that changes all of these files.

    A hook can make its own commit, before ours or after it.
    """
    now = head(root)
    if now is None or now == before:
        return None
    try:
        since = [now] if before is None else [now, f"^{before}"]
        listed = run_git(root, "rev-list", "--reverse", "--max-count=100", *since)
        for commit in listed.decode("ascii").split():
            args = ("--root", "--no-commit-id", "--relative", "-r", "--name-only", "-z", commit, "--")
            if set(paths) <= {*_names(run_git(root, "diff-tree", *args, *paths))}:
                return commit
    except GitError:
        pass
    return None


def keep_blob(root: Path, data: bytes) -> str:
    """Store a text among the objects of the repository. Returns its id, or an empty string if git cannot."""
    try:
        return run_git(root, "hash-object", "-w", "--no-filters", "--stdin", input=data).decode("ascii").strip()
    except GitError:
        return ""


def _follow(root: Path, paths: Sequence[str], made: str, environ: Mapping[str, str]) -> None:
    """Update the index to match the commit for these files.

    A hook that runs `git add` does so in the temporary index of the commit. The real index would still hold the file
    from before the hook: a staged revert, which makes git refuse the next edit.
    """
    try:
        stale = _names(run_git(root, "diff", "--cached", "--relative", "--name-only", "-z", made, "--", *paths))
        differs = _names(run_git(root, "diff", "--relative", "--name-only", "-z", made, "--", *paths))
        if mine := [path for path in stale if path not in differs]:  # otherwise somebody has edited it since
            _run(root, environ, "reset", "--quiet", made, "--", *_literal(mine))
    except GitError:
        return  # the commit is made, which is what was asked for


def _message(text: str) -> bytes:
    """For standard input: arguments have less room, and every process on the machine can read them."""
    return text.encode("utf-8", "surrogateescape").rstrip(b"\n") + b"\n"


def _names(listed: bytes) -> list[str]:
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def _literal(paths: Sequence[str]) -> list[str]:
    return [f":(literal){path}" for path in paths]


def _is_tracked(root: Path, path: str) -> bool:
    return bool(run_git(root, "ls-files", "-z", "--", path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A branch as it is, or as it would begin."""

    name: str
    commit: str  # the base of an edit
    is_new: bool

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.name}"


def find_branch(root: Path, name: str, environ: Mapping[str, str]) -> Branch:
    """The branch of that name, or a new one that starts at HEAD.

    Raises: RefusedError if it is checked out, or HEAD has no commit yet; UnavailableError.
    """
    need_repository(root)
    ref = f"refs/heads/{name}"
    try:
        run_git(root, "check-ref-format", ref)
    except GitError:
        raise RefusedError(f"{name!r} is not a valid branch name", hint="use a name such as schedule/nightly") from None
    if name.startswith("-"):
        raise RefusedError(f"{name!r} is not a valid branch name: it starts with -")
    if other := _stands_for(root, ref):
        raise RefusedError(
            f"branch {name!r} is a symbolic ref to {other}, which the edit would change", hint="choose another branch"
        )
    listed = run_git(root, "worktree", "list", "--porcelain", "-z").decode("utf-8", "replace")
    folder = ""
    for line in listed.split("\0"):
        if line.startswith("worktree "):
            folder = line.removeprefix("worktree ")
        elif line == f"branch {ref}":
            raise RefusedError(
                f"branch {name!r} is checked out in {folder}, and the files there would no longer match it",
                remedy=Remedy.OTHER_BRANCH,
            )
    check_identity(root, environ)
    tip = resolve_revision(root, f"{ref}^{{commit}}")
    base = tip or head(root)
    if base is None:
        raise RefusedError(
            "HEAD has no commit yet, so no branch can start there", hint="make a first commit with git commit"
        )
    return Branch(name=name, commit=base, is_new=tip is None)


def _stands_for(root: Path, ref: str) -> str:
    try:
        return run_git(root, "symbolic-ref", "--quiet", ref).decode("utf-8", "replace").strip()
    except GitError as error:
        if error.returncode == 1:
            return ""
        raise


def commit_on_branch(
    root: Path,
    branch: Branch,
    changes: Mapping[str, bytes | None],
    modes: Mapping[str, str],
    message: str,
    environ: Mapping[str, str],
) -> str:
    """Put a commit with these files on a branch. Writes objects and the ref, never a file or an index.

    changes: root-relative path: its bytes as stored, without filters; None deletes the file.
    Signed if commit.gpgSign says so. Hooks for commits look at a working tree, so they do not run.
    Raises: RefusedError if the branch has moved meanwhile; UnavailableError.
    """
    prefix = run_git(root, "rev-parse", "--show-prefix").decode("utf-8", "surrogateescape").rstrip("\n")
    lines = []
    for path, data in changes.items():
        name = os.fsencode(prefix + path)
        if data is None:
            lines.append(b"0 " + b"0" * len(branch.commit) + b"\t" + name)
        else:
            blob = run_git(root, "hash-object", "-w", "--no-filters", "--stdin", input=data).strip()
            lines.append(modes.get(path, "100644").encode() + b" " + blob + b"\t" + name)
    tree = _tree(root, branch.commit, b"".join(line + b"\0" for line in lines))
    signs = _config(root, environ, "commit.gpgSign") == "true"
    try:
        args = ("commit-tree", *(["-S"] if signs else []), "-p", branch.commit, "-F", "-", tree)
        made = _run(root, environ, *args, stdin=_message(message))
        commit = made.decode("ascii").strip()
        before = _ZEROS.sub("0", branch.commit) if branch.is_new else branch.commit
        # Compare and swap: anyone who has moved the branch since it was read keeps their change.
        told = f"scheduler: {(message.strip().splitlines() or [''])[0][:200]}"
        _run(root, environ, "update-ref", "-m", told, branch.ref, commit, before)
    except GitError as error:
        tip = resolve_revision(root, branch.ref)
        if tip != (None if branch.is_new else branch.commit):
            raise RefusedError(
                f"branch {branch.name!r} changed during the edit; nothing was written", hint="try again"
            ) from None
        raise UnavailableError(f"git did not commit the edit: {_said(error)}") from error
    return commit


def _tree(root: Path, commit: str, entries: bytes) -> str:
    """The id of a commit's tree with these entries in it, made in its own index."""
    with tempfile.TemporaryDirectory(prefix="scheduler-index-") as folder:
        env = {**clean_environment(os.environ), "GIT_INDEX_FILE": str(Path(folder) / "index"), "LC_ALL": "C"}
        options = (*_OPTIONS, "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-C", str(root))

        def index(*args: str, stdin: bytes | None = None) -> bytes:
            return start_git(root, args[0], (*options, *args), environ=env, input=stdin, timeout=60)

        index("read-tree", "--end-of-options", commit)
        index("update-index", "-z", "--index-info", stdin=entries)
        return index("write-tree").decode("ascii").strip()


def _config(root: Path, environ: Mapping[str, str], name: str) -> str:
    try:
        return _run(root, environ, "config", "--type=bool", "--get", name).decode().strip()
    except GitError:
        return ""
