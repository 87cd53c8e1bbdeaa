"""Git over the network: fetching into the bare store of a followed root, and pushing to its remote.

The user's own configuration counts here, because it has the credentials: helpers, ssh, proxies. Nothing of the
repository does: it has no hooks, and fetched content is data.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from scheduler.core.values.problems import RefusedError, UnavailableError
from scheduler.core.values.remote import Remote, without_secrets
from scheduler.core.values.units import format_seconds
from scheduler.git.objects import need_revision
from scheduler.git.run import GitError, end_group, git_error, run_git, start_git, user_environment
from scheduler.machine import orphans, processes
from scheduler.machine.processes import Process

ORIGIN = "refs/remotes/origin/"
KEPT = "refs/scheduler/kept/"  # commits that runs may name but that no branch of the remote holds any more
_NOTE = "scheduler.git.json"  # in the store: the git process that talks to the remote
SILENCE_S = 120.0  # a remote that is silent for so long hangs
LONGEST_S = 3600.0
ASK_S = 60.0
LOCK_S = 60.0  # an older lock of git was left by a killed process

_SETTINGS = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "protocol.ext.allow=never"),
    *("-c", "submodule.recurse=false"),
    *("-c", "fetch.recurseSubmodules=false"),
    *("-c", "fetch.fsckObjects=false"),  # old repositories have harmless flaws; what is written out is checked
    *("-c", "fetch.writeCommitGraph=false"),
    *("-c", "gc.auto=0"),
    *("-c", "maintenance.auto=false"),
    *("-c", "push.recurseSubmodules=no"),
    *("-c", "push.followTags=false"),
    *("-c", "color.ui=false"),
)
# How to reach a remote is up to the user, also through the environment.
_KEPT_VARIABLES = ("GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_ASKPASS")
_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh", "LC_ALL": "C"}


class StoppedError(UnavailableError):
    """The caller of the fetch was told to stop."""


class GoneError(UnavailableError):
    """The remote answers, but does not have the branch or the tag."""


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The user's environment without variables that steer git, except how to reach a remote. Git does not prompt."""
    kept = {name: environ[name] for name in _KEPT_VARIABLES if environ.get(name)}
    return {**user_environment(environ), **kept, **_ENVIRONMENT}


def make_store(store: Path, object_format: str) -> None:
    """Create an empty bare repository, in the object format of the remote. Raises: UnavailableError."""
    template = tempfile.mkdtemp(prefix="scheduler-template-")  # the user's would bring hooks
    try:
        options = ("--quiet", "--bare", f"--template={template}", f"--object-format={object_format}")
        run_git(store.parent, "init", *options, "--", str(store))
    finally:
        Path(template).rmdir()
    for key, value in (("gc.auto", "0"), ("maintenance.auto", "false"), ("core.logAllRefUpdates", "false")):
        run_git(store, "config", key, value, bare=True)


def default_branch(url: str, environ: Mapping[str, str]) -> str:
    """The branch that the remote's HEAD names. Raises: UnavailableError."""
    told = _ask(url, environ, "--symref", url, "HEAD")
    for line in told.splitlines():
        what, _, name = line.partition("\t")
        if name == "HEAD" and what.startswith("ref: refs/heads/"):
            return what.removeprefix("ref: refs/heads/")
    raise UnavailableError(f"the HEAD of {without_secrets(url)} is not a branch", hint="choose one with --branch")


def has_ref(url: str, ref: str, environ: Mapping[str, str]) -> bool:
    """True if the remote has this ref. Raises: UnavailableError if it cannot be reached."""
    return any(line.partition("\t")[2] == ref for line in _ask(url, environ, url, ref).splitlines())


def object_format(url: str, ref: str, environ: Mapping[str, str]) -> str:
    """The hash function of the remote's ids, sha1 or sha256. Raises: UnavailableError if it cannot be reached."""
    told = _ask(url, environ, url, "HEAD", ref)
    return "sha256" if len(told.partition("\t")[0]) == 64 else "sha1"


def refs(url: str, environ: Mapping[str, str]) -> Sequence[str]:
    """Branches and tags of the remote, by their full names. Raises: UnavailableError."""
    told = _ask(url, environ, "--heads", "--tags", url)
    return [line.partition("\t")[2] for line in told.splitlines()]


def _ask(url: str, environ: Mapping[str, str], *args: str) -> str:
    options, rest = [each for each in args if each.startswith("--")], [each for each in args if each[:2] != "--"]
    command = (*_SETTINGS, "ls-remote", *options, "--end-of-options", *rest)
    try:
        # In /: the current folder may be in a repository, whose configuration must not redirect a URL.
        told = start_git(Path("/"), "ls-remote", ("-C", "/", *command), environ=environment(environ), timeout=ASK_S)
    except GitError as error:
        raise _unreachable(url, error) from error
    return told.decode("utf-8", "surrogateescape")


def fetch(
    store: Path,
    url: str,
    ref: str,
    environ: Mapping[str, str],
    *,
    tell: Callable[[str], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> str:
    """Fetch a branch or tag of the remote into the store, with everything it needs, and return its commit.

    tell: called with progress now and then. stopped: asked every second whether to give up.
    Raises: GoneError if the remote has no such ref; StoppedError; UnavailableError if it cannot be reached, hangs, or
    lacks content; GitError if git cannot write.
    """
    clear_locks(store)
    target = ORIGIN + ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ref
    options = ("fetch", "--no-tags", "--no-write-fetch-head", "--force", "--progress", "--no-auto-maintenance")
    said = _transfer(store, url, (*options, "--end-of-options", url, f"+{ref}:{target}"), environ, tell, stopped)
    if b"shallow roots are not allowed" in said:  # git calls that a success, and leaves the ref as it was
        raise UnavailableError(
            f"{without_secrets(url)} is a shallow clone and lacks earlier commits",
            hint="follow the repository that it was cloned from, or run `git fetch --unshallow` there",
        )
    try:
        return need_revision(store, f"{target}^{{commit}}", bare=True)
    except GitError as error:
        if "expected commit type" in error.said:
            raise UnavailableError(
                f"{ref} of {without_secrets(url)} is not a commit", hint="follow a branch, or a tag that names a commit"
            ) from error
        raise


def push(store: Path, url: str, branch: str, environ: Mapping[str, str]) -> None:
    """Push a branch of the store to the remote; never over commits that only the remote has.

    Raises: RefusedError if the remote rejects it, UnavailableError if it cannot be reached.
    """
    ref = f"refs/heads/{branch}"
    try:
        _transfer(store, url, ("push", "--progress", "--end-of-options", url, f"{ref}:{ref}"), environ)
    except GitError as error:
        said = without_secrets(error.said)
        if "[rejected]" in said or "[remote rejected]" in said:
            line = next(line for line in said.splitlines() if "rejected]" in line)
            why = line.partition("(")[2].rstrip(")") or line
            told = [line.removeprefix("remote:").strip() for line in said.splitlines() if line.startswith("remote:")]
            if told := [each for each in told if each]:  # from its hooks or its branch protection
                why += f" ({'; '.join(told[:5])})"
            raise RefusedError(
                f"{without_secrets(url)} rejected branch {branch!r}: {why}",
                hint="the commit is on the local branch; check the remote branch, then push again or choose another",
            ) from error
        raise


def clear_locks(store: Path) -> None:
    """Remove the locks of a killed git, which would block those refs forever."""
    found = [*store.glob("*.lock"), *(store / "refs").rglob("*.lock"), *(store / "objects/pack").glob("tmp_*")]
    for path in found:
        try:
            if time.time() - path.stat().st_mtime > LOCK_S:
                path.unlink()
        except OSError:
            continue


def is_ancestor(store: Path, old: str, new: str) -> bool:
    """Raises: GitError."""
    try:
        run_git(store, "merge-base", "--is-ancestor", old, new, bare=True)
    except GitError as error:
        if error.returncode == 1:
            return False
        raise
    return True


def is_sound(store: Path) -> bool:
    """True if every object in the store that another one needs can be read."""
    try:
        run_git(store, "fsck", "--connectivity-only", "--no-dangling", "--no-progress", bare=True, timeout=LONGEST_S)
    except GitError as error:
        return error.is_of_this_machine
    return True


def save_what_is_ours(old: Path, new: Path) -> None:
    """Copy what no remote has from an abandoned store into the new one, as far as it can be read."""
    for spec in ("refs/heads/*", KEPT + "*"):
        try:
            start_git(
                new,
                "fetch",
                (*_SETTINGS, f"--git-dir={new}", "fetch", "--no-tags", "--quiet", str(old), f"{spec}:{spec}"),
                environ=environment(os.environ),
                timeout=LONGEST_S,
            )
        except GitError:
            continue  # it stays in the old store, which is put aside


def put_store_aside(store: Path, stamp: str) -> Path:
    """Rename a damaged store. Keeps the newest of the earlier ones, too. Raises: OSError."""
    aside = store.with_name(f"{store.name}.damaged-{stamp}")
    store.rename(aside)
    for old in sorted(store.parent.glob(f"{store.name}.damaged-*"))[:-2]:
        shutil.rmtree(old, ignore_errors=True)
    return aside


def pack(store: Path) -> None:
    """Pack the results of many small fetches, if git finds it worthwhile. Raises: GitError."""
    settings = ("gc.auto=500", "gc.autoPackLimit=20", "gc.autoDetach=false", "gc.worktreePruneExpire=never")
    run_git(store, "gc", "--auto", "--quiet", bare=True, timeout=LONGEST_S, settings=settings)


def _transfer(
    store: Path,
    url: str,
    args: Sequence[str],
    environ: Mapping[str, str],
    tell: Callable[[str], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> bytes:
    """Run a git that talks to the remote, and return the end of its output. Ends it if it is silent for too long."""
    _end_left(store)
    command = ["git", *_SETTINGS, f"--git-dir={store}", *args]
    try:
        process = orphans.start(
            command,
            env=environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
    except OSError as error:
        raise GitError(f"git could not be started: {error.strerror}") from error
    noted = _note(store, process.pid)
    said, give_up, silent = bytearray(), time.monotonic() + LONGEST_S, False
    heard = time.monotonic()
    with process, selectors.DefaultSelector() as selector:
        assert process.stderr is not None
        selector.register(process.stderr, selectors.EVENT_READ)
        try:
            while time.monotonic() < give_up and not stopped():
                if not selector.select(1.0):
                    if time.monotonic() - heard > SILENCE_S:
                        silent = True
                        break
                    continue
                heard = time.monotonic()
                piece = os.read(process.stderr.fileno(), 65_536)
                if not piece:
                    process.wait(SILENCE_S)
                    break
                said = (said + piece)[-65_536:]
                if tell is not None:
                    tell(piece.decode("utf-8", "replace"))
        except subprocess.TimeoutExpired:
            silent = True
        finally:
            if process.returncode is None:
                end_group(process, gently=True)
            noted.unlink(missing_ok=True)
    if process.returncode == 0:
        return bytes(said)
    if stopped():
        raise StoppedError("the fetch was stopped before it ended", hint="the next check fetches again")
    if silent or time.monotonic() >= give_up:
        trouble, limit_s = ("said nothing for", SILENCE_S) if silent else ("took longer than", LONGEST_S)
        how_long = f"{trouble} {format_seconds(limit_s)}"
        raise UnavailableError(
            f"{without_secrets(url)} {how_long}", hint="the scheduler tries again; check the network and the server"
        )
    failed = git_error(store, args[0], process.returncode, bytes(said))
    if "couldn't find remote ref" in failed.said:
        raise GoneError(f"{without_secrets(url)} has no {args[-1].partition(':')[0].lstrip('+')}") from failed
    raise _unreachable(url, failed) if _is_about_the_remote(failed) else failed


_NO_ROOM = ("No space left on device", "Disk quota exceeded", "Read-only file system")
# The last words of git if the remote, or the way to it, failed (git 2.30 to 2.51).
_REMOTE_SAYS = (
    "Could not read from remote repository",
    "unable to access",
    "does not appear to be a git repository",
    "' not found",
    "Repository not found",
    "Authentication failed",
    "could not read Username",
    "could not read Password",
    "unable to connect",
    "Could not resolve host",
    "The remote end hung up",
    "early EOF",
    "dubious ownership",
    "transport '",
)


def _end_left(store: Path) -> None:
    """End the git of a killed scheduler: with a hanging remote it would wait forever."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        processes.end_group_of(Process(**json.loads((store / _NOTE).read_bytes())))
        (store / _NOTE).unlink()


def _note(store: Path, pid: int) -> Path:
    path = store / _NOTE
    with contextlib.suppress(OSError):  # a full disk: git will say so in a moment
        path.write_text(json.dumps(asdict(processes.identify(pid))))
    return path


def _is_about_the_remote(error: GitError) -> bool:
    no_room = any(each in error.said for each in _NO_ROOM)
    return any(each in error.said for each in _REMOTE_SAYS) and not no_room


def _unreachable(url: str, error: GitError) -> UnavailableError:
    shown = without_secrets(url)
    said = without_secrets(error.said)
    if error.returncode is None and not said:
        return UnavailableError(f"{shown} cannot be reached: {error}", hint="check the network and the server")
    lines = [line for line in said.splitlines() if line.startswith(("fatal:", "ssh:", "error:", "remote:"))]
    reason = next((line for line in lines if line.startswith(("ssh:", "remote:"))), None) or (
        lines[0] if lines else said.splitlines()[-1] if said else str(error)
    )
    for start in ("fatal: ", "ssh: ", "error: ", "remote: "):
        reason = reason.removeprefix(start)
    hint = "check the URL, the network, and whether the user of the daemon can read it"
    if "Host key verification failed" in said:
        reason = "Host key verification failed"
        hint = "connect once with ssh as the user of the daemon, and check the host key"
    elif "Permission denied (" in said:
        reason = next(line for line in said.splitlines() if "Permission denied (" in line)
        hint = "give the user of the daemon a key that can read it (core.sshCommand, ~/.ssh/config)"
    elif any(each in said for each in ("Authentication failed", "could not read Username", "could not read Password")):
        hint = "give the user of the daemon a credential helper for it (gitcredentials(7))"
    elif "dubious ownership" in said:
        hint = "as the user of the daemon, run: git config --global --add safe.directory <its folder>"
    return UnavailableError(f"{shown} cannot be reached: {reason}", hint=hint)


def followed_ref(remote: Remote) -> str:
    """The store's name for the followed ref."""
    return remote.ref if remote.branch is None else ORIGIN + remote.branch
