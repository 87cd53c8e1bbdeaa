"""Git as seen from a root: the one function that runs it, and which commit and blob a file's bytes belong to.

Provenance is a fact about a run, never a condition of it: where git cannot say (no repository, no
git, a repository it refuses), all three parts are None and `Tree.why_unavailable` tells people why.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.core.models import Provenance
from scheduler.core.problems import UnavailableError
from scheduler.git_folder import git_folder, head_by_hand

# Command-line configuration beats the repository's own, which anyone who can push a file system may have written.
_HARDENED = (
    "--no-pager",
    "--no-optional-locks",
    "--no-replace-objects",  # a replace ref would show another tree under the revision's name
    "--literal-pathspecs",
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "protocol.ext.allow=never"),
    *("-c", "safe.bareRepository=explicit"),  # files committed in the shape of a repository are not one
    *("-c", "submodule.recurse=false"),
    *("-c", "diff.submodule=short"),
    *("-c", "log.showSignature=false"),  # it would start gpg.program
    *("-c", "color.ui=false"),
)
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "",  # reading a partial clone must not start a transport; beats any configuration
    "GIT_NO_LAZY_FETCH": "1",
    "LC_ALL": "C",  # messages are matched below
}
# Options, not configuration: attributes in the tree can choose a configured driver for any file.
_DIFF = ("--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty")
_OPTIONS = {
    **dict.fromkeys(("diff", "diff-tree", "diff-index", "diff-files", "log", "show"), _DIFF),
    "status": ("--ignore-submodules=dirty",),
}


class GitError(UnavailableError):
    """Git could not be run, or said no. `returncode` is None where it never finished."""

    def __init__(self, message: str, *, hint: str = "", returncode: int | None = None, said: str = "") -> None:
        super().__init__(message, hint=hint)
        self.returncode = returncode
        self.said = said  # all of what it wrote on stderr


def run_git(root: Path, *args: str, input: bytes | None = None, timeout: float = 30) -> bytes:  # noqa: A002
    """Standard output of `git ARGS...` in `root`, run so that nothing in the repository can start a program.

    args: the subcommand first; callers put `--end-of-options` before what they did not write themselves.
    input: its standard input; None is an empty one, never ours.
    timeout: seconds; then git and everything in its process group is killed.

    Raises:
        GitError: git is missing, refuses, fails, or takes too long.
    """
    options = (*_HARDENED, "-C", str(root), args[0], *_OPTIONS.get(args[0], ()), *args[1:])
    return start_git(root, args[0], options, environ=clean_environment(os.environ), input=input, timeout=timeout)


def start_git(
    root: Path,
    subcommand: str,
    options: Sequence[str],
    *,
    environ: Mapping[str, str],
    input: bytes | None = None,  # noqa: A002
    timeout: float,
    gently: bool = False,
) -> bytes:
    """Standard output of `git OPTIONS...`, in a process group of its own.

    gently: it writes, so before it is killed it has five seconds to take its lock files away.
    Raises: GitError.
    """
    try:
        process = subprocess.Popen(
            ["git", *options],
            env=environ,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise GitError("git is not installed, or not on PATH") from None
    except (OSError, ValueError) as error:
        raise GitError(f"git could not be started: {error}") from error
    with process:
        try:
            out, complaint = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            _end(process, gently)
            raise GitError(f"git {subcommand} took longer than {timeout:g} s") from None
        except BaseException:
            _end(process, gently)
            raise
    if process.returncode:
        raise _error(root, subcommand, process.returncode, complaint)
    return out


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without what steers git from outside, and without a PATH that leads into the root."""
    kept = {name: value for name, value in environ.items() if not name.startswith("GIT_") and name != "SSH_ASKPASS"}
    # A relative entry would find a program named git in whatever folder we stand in, such as the root.
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    return {**kept, **_ENVIRONMENT, "PATH": os.pathsep.join(each for each in folders if Path(each).is_absolute())}


def _end(process: subprocess.Popen[bytes], gently: bool) -> None:
    """End git and its helpers. Only before the leader is reaped, while the number is still its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if gently:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(ChildProcessError):
                _wait_unreaped(process.pid, 5.0)
        os.killpg(process.pid, signal.SIGKILL)


def _wait_unreaped(pid: int, limit: float) -> None:
    give_up = time.monotonic() + limit
    while time.monotonic() < give_up:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.02)


def _error(root: Path, subcommand: str, returncode: int, complaint: bytes) -> GitError:
    said = complaint.decode("utf-8", "replace").strip()
    if "detected dubious ownership" in said:
        return GitError(
            f"git refuses the repository at {str(root)!r}: it belongs to another user",
            hint="run: git config --global --add safe.directory <the repository's folder>",
            returncode=returncode,
        )
    if "not a git repository" in said:
        return GitError(f"{str(root)!r} is not in a git repository", returncode=returncode)
    lines = [line for line in said.splitlines() if line.startswith(("fatal:", "error:"))] or said.splitlines()
    reason = lines[0].removeprefix("fatal: ").removeprefix("error: ") if lines else f"exit code {returncode}"
    return GitError(f"git {subcommand} failed: {reason}", returncode=returncode, said=said)


def head(root: Path) -> str | None:
    """The commit HEAD names; None outside a repository, without git, on an unborn HEAD, or where git refuses."""
    try:
        return _head(root)
    except GitError:
        return None


def _head(root: Path) -> str | None:
    """The commit HEAD names, None while it is unborn. Raises GitError outside a repository."""
    try:
        return run_git(root, "rev-parse", "--verify", "--quiet", "HEAD").decode("ascii").strip()
    except GitError as error:
        if error.returncode == 1:  # --quiet: nothing to name
            return None
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What one commit holds at and below a root: a frozen view, so one pass speaks of one revision."""

    revision: str | None = None  # None outside a repository and while HEAD is unborn
    in_repository: bool = False
    blobs: Mapping[str, str] = field(default_factory=dict)  # root-relative path: blob id
    why_unavailable: str | None = None  # a sentence where in_repository is False; for people

    def provenance(self, path: str, data: bytes) -> Provenance:
        """Where `data`, just read from the root-relative `path`, stands against this revision.

        Bytes are compared as they are: a file that git's filters convert on checkout is `modified`.
        """
        if not self.in_repository:
            return Provenance()
        blob = self.blobs.get(path)
        if blob is None:
            return Provenance(revision=self.revision, dirty="untracked")
        return Provenance(revision=self.revision, blob=blob, dirty=None if blob == _blob_id(data, blob) else "modified")


def _blob_id(data: bytes, like: str) -> str:
    """The id git gives these bytes, by the hash that `like` was made with (gitformat: "blob", size, NUL, bytes)."""
    found = hashlib.new("sha1" if len(like) == 40 else "sha256", b"blob %d\0" % len(data), usedforsecurity=False)
    found.update(data)
    return found.hexdigest()


def read_tree(root: Path, *paths: str) -> Tree:
    """HEAD's commit below `root`, or only those paths of it; two calls of git, 12 ms for 10,000 files.

    Never raises GitError: the answer says why there is none.
    """
    try:
        revision = _head(root)
        if revision is None:
            return Tree(in_repository=True)
        # The commit, not HEAD again: it may move between the two calls.
        listing = run_git(root, "ls-tree", "-r", "-z", "--end-of-options", revision, *paths)
    except GitError as error:
        return Tree(why_unavailable=str(error))
    blobs = {}
    for entry in listing.split(b"\0")[:-1]:
        about, name = entry.split(b"\t", 1)
        _mode, kind, object_id = about.split(b" ")
        if kind == b"blob":
            blobs[os.fsdecode(name)] = object_id.decode("ascii")
    return Tree(revision=revision, in_repository=True, blobs=blobs)


def git_silence(root: Path, tree: Tree) -> str:
    """Why git says nothing of a root that seems to lie in a repository; empty outside one, and where git answers."""
    if not tree.why_unavailable or not any((folder / ".git").exists() for folder in (root, *root.parents)):
        return ""
    return tree.why_unavailable


class Commits:
    """The tree that HEAD names, asked of git anew only when HEAD has moved: a fire must not wait for a process."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tree: Tree | None = None

    def tree(self) -> Tree:
        """As `read_tree`. Threads may call it at once."""
        known = self._tree
        if known is None or not self._still(known):
            self._tree = known = read_tree(self._root)
        return known

    def _still(self, known: Tree) -> bool:
        if known.revision is None:
            return not known.in_repository and git_folder(self._root) is None
        return head_by_hand(self._root) == known.revision
