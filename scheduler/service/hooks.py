"""Git hooks that wake the daemon: installed in front of existing hooks, and removed without a trace.

Our hook touches the file `wake` in the state folder of each root, and then runs the hook that was there before.
`touch -c` creates no file: without a daemon or a root it does nothing, and it never makes a commit fail.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scheduler.core.values.problems import RefusedError, UnavailableError
from scheduler.git.run import run_git
from scheduler.root.place import Place
from scheduler.service.root import Root

NAMES = ("post-commit", "post-merge", "post-checkout", "post-rewrite")
_KEPT = ".kept-by-scheduler"  # beside the hook: the previous hook
_SIGN = b"# Written by `scheduler hooks install`; `scheduler hooks uninstall` puts back what was here.\n"
_WAKES = b"# wakes: "
_OUTDATED = ".outdated-by-scheduler"  # beside the hook: our hook with somebody's edits
# A script for one of these shells is sourced by the same shell with the same flags, so that $0 stays: dispatchers find
# their parts by its folder and name.
_SHELL = re.compile(rb"#![ \t]*\S*/(env[ \t]+)?(sh|bash|dash|ksh)([ \t]+-[a-zA-Z]+)*[ \t]*\n")

HookStatus = Literal["installed", "foreign", "outdated", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One hook of the repository, from the point of view of one root."""

    name: str
    status: HookStatus  # absent: it does not wake this root and belongs to nobody else
    kept: bool  # the previous hook is kept for restoring, and still runs
    changed: bool = False  # by the call that returned this


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    folder: Path
    hooks: tuple[Hook, ...]


def hook_states(root: Root) -> Hooks:
    """The state of the hooks. Raises: UnavailableError outside a repository; RefusedError if its hooks are shared."""
    folder, wake = _folder(root.place), _wake(root.place)
    return Hooks(folder=folder, hooks=tuple(_hook(folder / name, wake) for name in NAMES))


def install_hooks(root: Root) -> Hooks:
    """Make all four hooks wake this root. Hooks that already do are not touched.

    Raises: as `hook_states`; RefusedError, with nothing changed, if an existing hook cannot be kept.
    """
    folder, wake = _folder(root.place), _wake(root.place)
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder / name for name in NAMES):
            if os.path.lexists(path) and _wakes(path) is None:
                _refuse_if_unkeepable(path)
        found = []
        for path in (folder / name for name in NAMES):
            before = _hook(path, wake)
            if before.status != "installed":
                wakes = _wakes(path)
                if wakes is None and os.path.lexists(path):
                    _keep(path)
                _put_aside(path, wakes)
                _write(path, [*(each for each in wakes or () if each != wake), wake])
            found.append(_hook(path, wake, changed=before.status != "installed"))
    return Hooks(folder=folder, hooks=tuple(found))


def uninstall_hooks(root: Root) -> Hooks:
    """Make no hook wake this root. The last root to be removed restores the previous hooks exactly."""
    folder, wake = _folder(root.place), _wake(root.place)
    found = []
    with _writing(folder):
        for path in (folder / name for name in NAMES):
            wakes = _wakes(path)
            ours = wakes is not None and wake in wakes
            if ours:
                _put_aside(path, wakes)
                # A root whose state folder is gone cannot be woken, so it must not keep the hook alive forever.
                left = [each for each in wakes or () if each != wake and Path(each).parent.is_dir()]
                if left:
                    _write(path, left)
                elif os.path.lexists(_kept(path)):
                    _kept(path).replace(path)
                else:
                    path.unlink()
            found.append(_hook(path, wake, changed=ours))
    return Hooks(folder=folder, hooks=tuple(found))


def _folder(place: Place) -> Path:
    """Where git looks for the hooks of this repository. All working trees share it, unless hooksPath is relative.

    Raises: UnavailableError, RefusedError.
    """
    if place.followed is not None:
        raise RefusedError(
            f"hooks are not needed: this root follows the {place.followed.remote().words}",
            hint=f"its daemon checks the remote by itself; to check now: touch {place.wake}",
        )
    root = place.root
    top = Path(_line(run_git(root, "rev-parse", "--show-toplevel")))
    common = Path(_line(run_git(root, "rev-parse", "--path-format=absolute", "--git-common-dir")))
    named = _hooks_path(root)
    if named is None:
        found = common / "hooks"
    elif named:
        found = top / named  # git runs hooks at the top of the working tree
    else:
        raise RefusedError("core.hooksPath is empty, so git runs no hooks here", hint="unset it, or set it to a folder")
    real = Path(os.path.realpath(found))
    if not any(real.is_relative_to(os.path.realpath(each)) and real != each for each in (top, common)):
        raise RefusedError(
            f"the hooks of this repository are in {str(real)!r}, outside it (core.hooksPath), where other"
            " repositories may use them",
            hint="give the repository its own hooks: git config --local core.hooksPath .git/hooks",
        )
    return real


def _hooks_path(root: Path) -> str | None:
    """core.hooksPath as git reads it without the one that `run_git` sets, or None if it is not set."""
    listed = run_git(root, "config", "--null", "--show-scope", "--type=path", "--get-regexp", r"^core\.hookspath$")
    parts = listed.split(b"\0")[:-1]
    found = None
    for scope, entry in zip(parts[::2], parts[1::2], strict=True):
        if scope != b"command":
            found = os.fsdecode(entry.partition(b"\n")[2])
    return found


def _line(out: bytes) -> str:
    return os.fsdecode(out.removesuffix(b"\n"))


def _wake(place: Place) -> str:
    return os.path.realpath(place.wake)


def _kept(path: Path) -> Path:
    return path.with_name(path.name + _KEPT)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"the hooks in {str(folder)!r} cannot be changed: {error.strerror}", hint="make the folder writable"
        ) from error


def _hook(path: Path, wake: str, *, changed: bool = False) -> Hook:
    kept = os.path.lexists(_kept(path))
    wakes = _wakes(path)
    found: HookStatus
    if wakes is None:
        found = "foreign" if os.path.lexists(path) else "absent"
    elif wake not in wakes:
        found = "absent"
    else:
        current = path.read_bytes() == _text(path, wakes) and os.access(path, os.X_OK)
        found = "installed" if current else "outdated"
    return Hook(name=path.name, status=found, kept=kept and wakes is not None, changed=changed)


def _wakes(path: Path) -> list[str] | None:
    """What our hook touches, or None if there is no hook or it is not ours."""
    if path.is_symlink() or not path.is_file():
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnavailableError(f"the hook {str(path)!r} cannot be read: {error.strerror}") from error
    if _SIGN not in data:
        return None
    line = next((each for each in data.split(b"\n") if each.startswith(_WAKES)), _WAKES + b"[]")
    try:
        found = json.loads(line.removeprefix(_WAKES))
    except ValueError:
        return []  # edited by somebody: outdated, and rewritten
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _keep(path: Path) -> None:
    """Give a hook its second name before ours takes the first, so that there is always a hook."""
    if _is_kept(path):
        return  # an earlier install was interrupted here
    try:
        os.link(path, _kept(path), follow_symlinks=False)
    except OSError:  # a file system without hard links
        path.rename(_kept(path))


def _is_kept(path: Path) -> bool:
    return os.path.lexists(_kept(path)) and os.path.samestat(path.lstat(), _kept(path).lstat())


def _put_aside(path: Path, wakes: list[str] | None) -> None:
    """Save a hook of ours that contains lines that we did not write: they may be somebody's."""
    if wakes is not None and path.read_bytes() != _text(path, wakes):
        path.with_name(path.name + _OUTDATED).write_bytes(path.read_bytes())


def _refuse_if_unkeepable(path: Path) -> None:
    if path.is_dir():
        raise RefusedError(f"{str(path)!r} is a folder, not a hook", hint="move it away")
    if os.path.lexists(_kept(path)) and not _is_kept(path):
        raise RefusedError(
            f"{str(path)!r} was replaced after `hooks install`, and {_kept(path).name} beside it still has the hook"
            " that was there before",
            hint="delete the one you do not need; to keep the earlier hook, rename it over the new one",
        )


def _text(path: Path, wakes: list[str]) -> bytes:
    """The hook: a few lines of sh, chosen by the hook that follows it."""
    kept = _kept(path)
    begin = _first_line(kept) if os.access(kept, os.X_OK) else b""
    shell = _SHELL.fullmatch(begin) is not None
    lines = [begin if shell else b"#!/bin/sh\n", _SIGN, _WAKES + json.dumps(wakes).encode("ascii") + b"\n"]
    lines += [b"touch -c " + os.fsencode(shlex.quote(each)) + b" </dev/null >/dev/null 2>&1 || :\n" for each in wakes]
    if os.path.lexists(kept):
        there = f'"${{0%/*}}/{kept.name}"'
        then = f". {there}" if shell else f'exec {there} "$@"'
        lines.append(f"if [ -x {there} ]; then {then}; fi\n".encode())
    return b"".join(lines)


def _first_line(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.readline(256)
    except OSError:
        return b""


def _write(path: Path, wakes: list[str]) -> None:
    beside = path.with_name(f".{path.name}.new-by-scheduler")
    beside.write_bytes(_text(path, wakes))
    beside.chmod(0o755)
    beside.replace(path)
