"""How to restore lost files, so that the jobs held by the guard continue (S4)."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable


def way_back(lost: Collection[str], committed: Collection[str] | None, is_there: Callable[[str], bool]) -> str:
    """A command or an instruction to restore these files, or an empty string if nothing is lost.

    lost: root-relative paths. committed: the paths that HEAD contains; None outside a repository.
    is_there: True if a root-relative folder exists. A missing folder is named in place of its files.
    """
    if not lost:
        return ""
    if committed is None:
        return f"put their files back: {', '.join(_named(lost, is_there))}"
    if not set(lost) <= set(committed):
        gone = shlex.join(_named(set(lost) - set(committed), is_there))
        return f"`git log -1 --diff-filter=D -- {gone}` names the commit that removed them; `git revert` undoes it"
    # Restore from HEAD, and the index too: after `git rm`, the index has nothing to restore from.
    return f"git restore --staged --worktree {shlex.join(_named(lost, is_there))}"


def _named(paths: Iterable[str], is_there: Callable[[str], bool]) -> list[str]:
    found = set()
    for path in paths:
        parts = path.split("/")
        folders = ("/".join(parts[:count]) for count in range(1, len(parts)))  # from the top down
        found.add(next((folder for folder in folders if not is_there(folder)), path))
    return sorted(found)
