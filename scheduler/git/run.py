"""Git as seen from a root: the one function that runs it, and which commit and blob a file's bytes belong to.

Provenance is a fact about a run, never a condition of it: where git cannot say (no repository, no
git, a repository it refuses), all three parts are None and `Tree.why_unavailable` tells people why.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.spec import Provenance
from scheduler.git.folder import git_folder, head_by_hand

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
    *("-c", "log.showRoot=true"),
    *("-c", "color.ui=false"),
    *("-c", "advice.graftFileDeprecated=false"),  # of the one that is named below
)
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "",  # reading a partial clone must not start a transport; beats any configuration
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_GRAFT_FILE": "/dev/null",  # as a replace ref: it would show other parents
    "LC_ALL": "C",  # messages are matched below
}
# Options, not configuration: attributes in the tree can choose a configured driver for any file.
_DIFF = ("--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty")
_OPTIONS = {
    **dict.fromkeys(("diff", "diff-tree", "diff-index", "diff-files", "log", "show"), _DIFF),
    "status": ("--ignore-submodules=dirty",),
}


_OF_THIS_MACHINE = (
    "No space left on device",
    "Disk quota exceeded",
    "Read-only file system",
    "Permission denied",
    "Out of memory",
    "out of memory",
    "Cannot allocate memory",
    "Too many open files",
    "Input/output error",
)


class GitError(UnavailableError):
    """Git could not be run, or said no. `returncode` is None where it never finished."""

    def __init__(self, message: str, *, hint: str = "", returncode: int | None = None, said: str = "") -> None:
        super().__init__(message, hint=hint)
        self.returncode = returncode
        self.said = said  # all of what it wrote on stderr

    @property
    def is_of_this_machine(self) -> bool:
        """Whether it says nothing of the repository: git was not started, not waited for, killed, or had no room."""
        if self.returncode is None or self.returncode < 0:
            return True
        return any(each in self.said for each in _OF_THIS_MACHINE)


def run_git(
    root: Path,
    *args: str,
    input: bytes | None = None,  # noqa: A002
    timeout: float = 30,
    bare: bool = False,
    settings: Sequence[str] = (),
) -> bytes:
    """Standard output of `git ARGS...` in `root`, run so that nothing in the repository can start a program.

    args: the subcommand first; callers put `--end-of-options` before what they did not write themselves.
    input: its standard input; None is an empty one, never ours.
    timeout: seconds; then git and everything in its process group is killed.
    bare: `root` is a bare repository itself, which is never looked for.
    settings: KEY=VALUE, for this call.

    Raises:
        GitError: git is missing, refuses, fails, or takes too long.
    """
    return start_git(
        root,
        args[0],
        _hardened(root, args, bare=bare, settings=settings),
        environ=clean_environment(os.environ),
        input=input,
        timeout=timeout,
    )


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
    with _started(options, environ=environ, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE) as process:
        try:
            out, complaint = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            end_group(process, gently)
            raise GitError(f"git {subcommand} took longer than {timeout:g} s") from None
        except BaseException:
            end_group(process, gently)
            raise
    if process.returncode:
        raise explained(root, subcommand, process.returncode, complaint)
    return out


def stream_git(root: Path, *args: str, timeout: float) -> Generator[bytes, None, None]:
    """As `run_git`, piece by piece: whoever has read enough closes the iterator, and git with it.

    Raises: GitError, also in the middle, where git fails or all of it takes longer than `timeout`.
    """
    give_up = time.monotonic() + timeout
    with (
        tempfile.TemporaryFile() as complaints,
        _started(
            _hardened(root, args),
            environ=clean_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stderr=complaints.fileno(),
        ) as process,
        selectors.DefaultSelector() as selector,
    ):
        assert process.stdout is not None
        selector.register(process.stdout, selectors.EVENT_READ)
        try:
            while selector.select(max(0, give_up - time.monotonic())):
                piece = os.read(process.stdout.fileno(), 65_536)
                if not piece:
                    break
                yield piece
            process.wait(max(0.1, give_up - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise GitError(f"git {args[0]} took longer than {timeout:g} s") from None
        finally:
            if process.returncode is None:
                end_group(process, gently=False)
        if process.returncode:
            complaints.seek(0)
            raise explained(root, args[0], process.returncode, complaints.read())


def _hardened(root: Path, args: Sequence[str], *, bare: bool = False, settings: Sequence[str] = ()) -> Sequence[str]:
    where = (f"--git-dir={root}",) if bare else ("-C", str(root))
    ours = (option for setting in settings for option in ("-c", setting))
    return (*_HARDENED, *ours, *where, args[0], *_OPTIONS.get(args[0], ()), *args[1:])


def _started(
    options: Sequence[str], *, environ: Mapping[str, str], stdin: int, stderr: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            ["git", *options],
            env=environ,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise GitError("git is not installed, or not on PATH") from None
    except (OSError, ValueError) as error:
        raise GitError(f"git could not be started: {error}") from error


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """That of the user, and what keeps git from doing more than reading."""
    return {**user_environment(environ), **_ENVIRONMENT}


def user_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without what steers git from outside, and without a PATH that leads into the root."""
    kept = {name: value for name, value in environ.items() if not name.startswith("GIT_") and name != "SSH_ASKPASS"}
    # A relative entry would find a program named git in whatever folder we stand in, such as the root.
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    return {**kept, "PATH": os.pathsep.join(each for each in folders if Path(each).is_absolute())}


def end_group(process: subprocess.Popen[bytes], gently: bool) -> None:
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


def explained(root: Path, subcommand: str, returncode: int, complaint: bytes) -> GitError:
    """The error that says why a git has failed."""
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
    conversions: Conversions | None = field(default=None, compare=False)

    def provenance(self, path: str, data: bytes) -> Provenance:
        """Where `data`, just read from the root-relative `path`, stands against this revision.

        The bytes decide. Those that are the blob's but for what git itself converts on a checkout are `converted`;
        what only a filter program could tell is `modified`, as no program of the repository's choice is started.
        """
        if not self.in_repository:
            return Provenance(why_none=self.why_unavailable)
        why_none = "HEAD names no commit yet" if self.revision is None else None
        blob = self.blobs.get(path)
        if blob is None:
            return Provenance(revision=self.revision, dirty="untracked", why_none=why_none)
        if blob == blob_id(data, blob):
            return Provenance(revision=self.revision, blob=blob)
        converted = self.conversions is not None and self.conversions.explain(path, data, blob)
        return Provenance(revision=self.revision, blob=blob, dirty="converted" if converted else "modified")


def blob_id(data: bytes, like: str) -> str:
    """The id git gives these bytes, by the hash that `like` was made with (gitformat: "blob", size, NUL, bytes)."""
    found = hashlib.new("sha1" if len(like) == 40 else "sha256", b"blob %d\0" % len(data), usedforsecurity=False)
    found.update(data)
    return found.hexdigest()


_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n"  # Git LFS, its specification
_KEYWORD = re.compile(rb"\$Id:[^$\n]*\$")  # gitattributes(5), ident
_ATTRIBUTES = ("text", "crlf", "eol", "ident", "filter", "working-tree-encoding")
_KNOWN_S = 2.0  # for a pass over many files; an edit of .gitattributes counts soon after


class Conversions:
    """Whether git's own conversions set a file apart from its blob: line ends, `$Id$`, and Git LFS.

    Worked out here from attributes and configuration: to ask git to convert would start the repository's filters.
    """

    def __init__(self, root: Path, paths: Iterable[str]) -> None:
        """paths: those that may be asked for, all at once."""
        self._root = root
        self._paths = tuple(paths)
        self._known: dict[str, dict[str, str]] = {}
        self._known_until = 0.0
        self._auto = False

    def explain(self, path: str, data: bytes, blob: str) -> bool:
        """Whether a commit of `data` at `path` would give `blob`, or a checkout of that gave `data`."""
        if blob_id(_POINTER % (hashlib.sha256(data).hexdigest().encode(), len(data)), blob) == blob:
            return True
        lines, keywords = data.replace(b"\r\n", b"\n"), _KEYWORD.sub(b"$Id$", data)
        both = _KEYWORD.sub(b"$Id$", lines)
        found = next((each for each in (lines, keywords, both) if blob_id(each, blob) == blob), None)
        if found is None:
            return False
        try:
            said = self._attributes(path)
        except GitError:
            return False
        if said["filter"] not in ("unspecified", "unset"):
            return False
        return (found is keywords or self._ends_lines(said, data)) and (found is lines or said["ident"] == "set")

    def _ends_lines(self, said: Mapping[str, str], data: bytes) -> bool:
        """Whether line ends of this file are converted (gitattributes(5), end-of-line conversion)."""
        text = said["text"] if said["text"] != "unspecified" else {"input": "set"}.get(said["crlf"], said["crlf"])
        plain = b"\0" not in data and b"\r" not in data.replace(b"\r\n", b"")
        if text == "unspecified":
            return said["eol"] in ("lf", "crlf") or (self._auto and plain)
        return text == "set" or (text == "auto" and plain)

    def _attributes(self, path: str) -> dict[str, str]:
        if time.monotonic() > self._known_until:
            self._known = {}
            self._auto = _core_setting(self._root, "autocrlf") in ("true", "input")
            self._known_until = time.monotonic() + _KNOWN_S
        if path not in self._known:
            asked = {path} if len(self._paths) > _MOST_PATHS else {path, *self._paths}
            names = b"".join(os.fsencode(each) + b"\0" for each in asked)
            said = run_git(self._root, "check-attr", "-z", "--stdin", *_ATTRIBUTES, input=names).split(b"\0")[:-1]
            for name, attribute, value in zip(said[::3], said[1::3], said[2::3], strict=True):
                self._known.setdefault(os.fsdecode(name), {})[attribute.decode()] = value.decode("utf-8", "replace")
        return self._known[path]


_MOST_PATHS = 20_000  # a tenth of a second


def _core_setting(root: Path, name: str) -> str:
    """A `core` setting as git has it, in lower case; empty where there is none."""
    try:
        found = run_git(root, "config", "--get", f"core.{name}").decode("utf-8", "replace").strip().lower()
    except GitError as error:
        if error.returncode == 1:
            return ""
        raise
    return {"yes": "true", "on": "true", "1": "true", "": "true"}.get(found, found)


def read_tree(root: Path, *paths: str, revision: str | None = None) -> Tree:
    """HEAD's commit below `root`, or only those paths of it; two calls of git, 12 ms for 10,000 files.

    revision: the id of another commit.

    Never raises GitError: the answer says why there is none.
    """
    try:
        revision = revision or _head(root)
        if revision is None:
            return Tree(in_repository=True)
        # The commit, not HEAD again: it may move between the two calls.
        listing = run_git(root, "ls-tree", "-r", "-z", "--end-of-options", revision, *paths)
    except GitError as error:
        return Tree(why_unavailable=f"{error}; {error.hint}" if error.hint else str(error))
    blobs = {}
    for entry in listing.split(b"\0")[:-1]:
        about, name = entry.split(b"\t", 1)
        _mode, kind, object_id = about.split(b" ")
        if kind == b"blob":
            blobs[os.fsdecode(name)] = object_id.decode("ascii")
    conversions = Conversions(root, paths or blobs)
    return Tree(revision=revision, in_repository=True, blobs=blobs, conversions=conversions)


def git_silence(root: Path, tree: Tree) -> str:
    """Why git says nothing of a root that seems to lie in a repository; empty outside one, and where git answers."""
    if not tree.why_unavailable or not any((folder / ".git").exists() for folder in (root, *root.parents)):
        return ""
    return tree.why_unavailable


class Commits:
    """The tree that HEAD names, asked of git anew only when HEAD has moved: a fire must not wait for a process."""

    def __init__(self) -> None:
        self._known: tuple[Path, Tree] | None = None

    def tree(self, root: Path) -> Tree:
        """As `read_tree`. Threads may call it at once; it remembers one root, which seldom becomes another."""
        known = self._known
        if known is None or known[0] != root or not _still(*known):
            self._known = known = root, read_tree(root)
        return known[1]


def _still(root: Path, known: Tree) -> bool:
    if known.revision is None:
        return not known.in_repository and git_folder(root) is None
    return head_by_hand(root) == known.revision
