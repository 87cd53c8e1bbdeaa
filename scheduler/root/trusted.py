"""Trust in a state folder: whoever can fill it decides what runs, and what is known about it.

So it is never taken from a repository, which anyone who can push could fill, nor from a user who made it beforehand.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scheduler.core.values.problems import Problem, RefusedError
from scheduler.git.index import tracked_at
from scheduler.root.links import follow_links

STATE_FOLDER = ".scheduler"
_KEPT = frozenset({".gitignore", ".gitkeep"})  # they say nothing, and keep the rest out of commits
_STATE = ("state.db", "followed.json", "looked.json", "applied", "allowed_signers", "look.lock", "store.git")
_STATE_TOO = ("commits", "current", "runs", "owners", "wake", "gc", "daemon")


def check_state(state: Path, root: Path) -> None:
    """Raises: RefusedError if a state folder, or a link to it, comes from an untrusted source.

    An absent folder is fine.
    """
    check_untracked(state)
    if (owner := _stranger(state, root)) is not None:
        raise RefusedError(
            f"the state folder {state} belongs to {_user(owner)}, who is neither you nor the owner of {root}; it is"
            " not used; nothing was changed",
            hint=f"inspect it, then delete it or run: chown -R {_user(os.geteuid())} {state}",
        )


def check_untracked(path: Path) -> None:
    """Raises: RefusedError where git tracks a state folder or a database, or a link on the way to it."""
    if found := tracked_state(path):
        shown = str(found[0]) + (f" and {len(found) - 1} more" if len(found) > 1 else "")
        raise RefusedError(
            f"git tracks {shown}: anyone who can push could change it, so it is not used as state; nothing was changed",
            hint=f"remove it from the repository with `git rm -r {path}`; to keep the files, with"
            f" `git rm -r --cached {path}`",
        )


def tracked_state(state: Path) -> list[Path]:
    """What git tracks of a state folder: files in it, the folder as a submodule, or a link on the way to it."""
    given = Path(os.path.abspath(state))  # noqa: PTH100 - the links are looked at
    found: set[Path] = set()
    for folder, name, is_link in follow_links("", str(given), _target)[1]:
        if is_link:
            found |= {Path(each) for each in tracked_at(Path(folder, name))}
    for path in {given, Path(os.path.realpath(given))}:
        found |= {Path(each) for each in tracked_at(path) if _is_state(path, Path(each))}
    return sorted(found)


def _is_state(folder: Path, path: Path) -> bool:
    below = os.path.relpath(path, folder).lower()
    first = below.split("/")[0]
    if folder.name == STATE_FOLDER:
        return below not in _KEPT
    # Another folder may also hold other things, which mean nothing there.
    return first == "." or first.startswith(_STATE) or first in _STATE_TOO


def _stranger(state: Path, root: Path) -> int | None:
    """The untrusted user who made the state folder or the link to it, or None."""
    try:
        parent = state.parent.stat()
        owners = {state.lstat().st_uid, state.stat().st_uid}
        believed = {os.geteuid(), 0, root.stat().st_uid}
    except OSError:
        return None  # it is absent, or opening it will say why not
    if state.name == STATE_FOLDER:
        believed.add(parent.st_uid)  # the owner of the parent folder can replace it anyway
    elif not parent.st_mode & stat.S_IWOTH:
        return None  # given explicitly and shared on purpose: no passer-by could make it
    return min(owners - believed, default=None)


def _target(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115 - as paths of links are texts
    except OSError:
        return None


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def state_among(root: Path, links: Mapping[str, str], paths: Iterable[str]) -> list[str]:
    """The paths of a repository that would be taken for state of the root, relative to it, sorted.

    links: the target of each of its links. paths: what it holds at and below the root, and may hold above it.
    """
    found = set()
    above = {os.path.relpath(each / "followed.json", root) for each in _around(root)}
    for path in paths:
        first, _, below = path.partition("/")
        own = first.lower() == STATE_FOLDER and below.lower() not in _KEPT
        # How the folder of a clone leads to a state folder elsewhere.
        leads = path == "current" and "commits" in links.get(path, "").split("/")
        if own or leads or path in above:
            found.add(path)
    return sorted(found)


def above(root: Path) -> list[Path]:
    """The files above a root that, if they existed, would make it a commit of another root."""
    return [each / "followed.json" for each in _around(root)]


def _around(root: Path) -> list[Path]:
    return [each.parent for each in (root, *root.parents) if each.name == "commits"]


def tracked_here(root: Path) -> list[str]:
    """The paths that git's index tracks and that would be taken for state of the root."""
    link = root / "current"
    found = [*tracked_state(root / STATE_FOLDER), *(path for each in above(root) for path in tracked_at(each))]
    found += tracked_at(link) if link.is_symlink() else []
    links = {"current": _target(str(link)) or ""}
    return state_among(root, links, [os.path.relpath(str(each), root) for each in found])


def state_problems(paths: Sequence[str]) -> list[Problem]:
    """The problems of a repository that holds these."""
    return [
        Problem(
            path.encode("utf-8", "replace").decode(),
            *(1, 1, "state.tracked"),
            f"{path!r} is in the repository at the path of the scheduler's state: anyone who can push could choose what"
            " this root follows and what counts as run; no command uses such a state",
            f"remove it from the repository: git rm -r {path}",
        )
        for path in paths
    ]
