"""How to put back files that are gone, so that the guard's jobs go on (S4)."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable


def way_back(lost: Collection[str], committed: Collection[str] | None, is_there: Callable[[str], bool]) -> str:
    """A command, or a sentence, that puts these files back; empty if nothing is lost.

    lost: root-relative paths. committed: those that HEAD has; None outside a repository. is_there: of a root-relative
    folder; one that is gone is named in place of its files.
    """
    if not lost:
        return ""
    if committed is None:
        return f"put their files back: {', '.join(_named(lost, is_there))}"
    if not set(lost) <= set(committed):
        gone = shlex.join(_named(set(lost) - set(committed), is_there))
        return f"`git log -1 --diff-filter=D -- {gone}` names the commit that removed them; `git revert` undoes it"
    # From HEAD, into the index too: after `git rm` there is nothing in the index to restore from.
    return f"git restore --staged --worktree {shlex.join(_named(lost, is_there))}"


def _named(paths: Iterable[str], is_there: Callable[[str], bool]) -> list[str]:
    found = set()
    for path in paths:
        parts = path.split("/")
        folders = ("/".join(parts[:count]) for count in range(1, len(parts)))  # from the top down
        found.add(next((folder for folder in folders if not is_there(folder)), path))
    return sorted(found)
