"""Git as seen from a root: the one function that runs it, and the commit and blob that a file's bytes belong to.

Provenance is a fact about a run, never a condition of it: if git cannot tell (no repository, no git, a repository
that it refuses), all three parts are None and `Tree.why_unavailable` tells people why.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.units import format_seconds
from scheduler.machine import orphans

# Command-line configuration overrides the repository's own, which anyone who can push a file system may have written.
_HARDENED = (
    "--no-pager",
    "--no-optional-locks",
    "--no-replace-objects",  # a replace ref would show another tree under the revision's name
    "--literal-pathspecs",
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "protocol.ext.allow=never"),
    *("-c", "safe.bareRepository=explicit"),  # committed files in the shape of a repository are not one
    *("-c", "submodule.recurse=false"),
    *("-c", "diff.submodule=short"),
    *("-c", "log.showSignature=false"),  # it would start gpg.program
    *("-c", "log.showRoot=true"),
    *("-c", "color.ui=false"),
    *("-c", "advice.graftFileDeprecated=false"),  # about GIT_GRAFT_FILE below
)
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "",  # reading a partial clone must not start a transport; overrides any configuration
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_GRAFT_FILE": "/dev/null",  # like a replace ref, it would show other parents
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
    """Git could not be run, or failed. `returncode` is None if it never finished."""

    def __init__(self, message: str, *, hint: str = "", returncode: int | None = None, said: str = "") -> None:
        super().__init__(message, hint=hint)
        self.returncode = returncode
        self.said = said  # all of its stderr

    @property
    def is_of_this_machine(self) -> bool:
        """True if this machine failed, not the repository: git did not start, timed out, was killed or had no room."""
        if self.returncode is None or self.returncode < 0:
            return True
        return any(each in self.said for each in _OF_THIS_MACHINE)


class GitTimeoutError(GitError):
    """Git took too long."""


def run_git(
    root: Path,
    *args: str,
    input: bytes | None = None,  # noqa: A002
    timeout: float = 30,
    bare: bool = False,
    settings: Sequence[str] = (),
    gently: bool = False,
) -> bytes:
    """Standard output of `git ARGS...` in `root`, run so that nothing in the repository can start a program.

    args: the subcommand first. Callers put `--end-of-options` before arguments that they did not write themselves.
    input: its standard input; None is an empty one, never ours.
    timeout: seconds; then git and everything in its process group is killed.
    bare: `root` is itself a bare repository; git does not search for one.
    settings: KEY=VALUE, for this call.
    gently: it writes: see `start_git`.

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
        gently=gently,
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
    """Standard output of `git OPTIONS...`, in its own process group.

    gently: git writes, so it gets five seconds to remove its lock files before it is killed.
    Raises: GitError.
    """
    with _started(options, environ=environ, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE) as process:
        try:
            out, complaint = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            end_group(process, gently)
            raise GitTimeoutError(f"git {subcommand} took longer than {format_seconds(timeout)}") from None
        except BaseException:
            end_group(process, gently)
            raise
    if process.returncode:
        raise git_error(root, subcommand, process.returncode, complaint)
    return out


def stream_git(root: Path, *args: str, timeout: float, bare: bool = False) -> Generator[bytes, None, None]:
    """Like `run_git`, piece by piece. A caller that has read enough closes the iterator, which ends git.

    Raises: GitError, also midway, if git fails or takes longer than `timeout` in total.
    """
    give_up = time.monotonic() + timeout
    with (
        tempfile.TemporaryFile() as complaints,
        _started(
            _hardened(root, args, bare=bare),
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
            raise GitTimeoutError(f"git {args[0]} took longer than {format_seconds(timeout)}") from None
        finally:
            if process.returncode is None:
                end_group(process, gently=False)
        if process.returncode:
            complaints.seek(0)
            raise git_error(root, args[0], process.returncode, complaints.read())


def _hardened(root: Path, args: Sequence[str], *, bare: bool = False, settings: Sequence[str] = ()) -> Sequence[str]:
    where = (f"--git-dir={root}",) if bare else ("-C", str(root))
    ours = (option for setting in settings for option in ("-c", setting))
    return (*_HARDENED, *ours, *where, args[0], *_OPTIONS.get(args[0], ()), *args[1:])


def _started(
    options: Sequence[str], *, environ: Mapping[str, str], stdin: int, stderr: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    try:
        return orphans.start(
            ["git", *options], env=environ, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True
        )
    except FileNotFoundError:
        raise GitError("git is not installed, or not on PATH") from None
    except (OSError, ValueError) as error:
        raise GitError(f"git could not be started: {error}") from error


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The user's environment, plus what keeps git from doing more than reading."""
    return {**user_environment(environ), **_ENVIRONMENT}


def user_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without variables that steer git, and without a PATH that leads into the root."""
    kept = {name: value for name, value in environ.items() if not name.startswith("GIT_") and name != "SSH_ASKPASS"}
    # A relative entry would find a program named git in the current folder, such as the root.
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    return {**kept, "PATH": os.pathsep.join(each for each in folders if Path(each).is_absolute())}


def end_group(process: subprocess.Popen[bytes], gently: bool) -> None:
    """End git and its helpers. Call it before the leader is reaped, while its pid is still its own."""
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


def git_error(root: Path, subcommand: str, returncode: int, complaint: bytes) -> GitError:
    """The error that says why git failed."""
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
