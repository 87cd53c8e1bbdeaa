"""The git worktrees of runs with `workdir: fresh`, as they lie in the state folder.

They are worktrees/JOB/N, each with a note N.json beside it that is written first and removed last. It tells which run
it was made for, and the commit that it started from.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from scheduler.core.values.instants import instant
from scheduler.core.values.runs import FreshTree, Run
from scheduler.git.run import GitError
from scheduler.git.worktrees import delete_branch, remove_worktree, worktrees_below
from scheduler.root.place import Place

_NOTE, _NEW = ".json", ".new"


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSpot:
    """Where the worktree of a run is, or would be."""

    folder: Path
    branch: str

    @property
    def note(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}{_NOTE}")

    def write_note(self, run: Run, commit: str) -> None:
        """Raises: OSError."""
        new = self.note.with_suffix(_NEW)
        new.write_text(json.dumps({"run": _name(run), "commit": commit}))
        new.replace(self.note)

    def is_for(self, run: Run) -> bool:
        """True if the note says that it was made for this run."""
        return self._read().get("run") == _name(run)

    @property
    def commit(self) -> str:
        """The commit that it started from, as the note says. Empty if there is no note."""
        return self._read().get("commit", "")

    def _read(self) -> dict[str, str]:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self.note.read_bytes())
            if isinstance(found, dict):
                return {str(key): str(value) for key, value in found.items()}
        return {}


def _name(run: Run) -> str:
    """What no other run has, not even one of the same number after the database was lost."""
    return f"{run.id} {instant(run.requested_at)}"


def spot_of(place: Place, job_id: str, n: int | str) -> TreeSpot:
    return TreeSpot(folder=place.worktrees / job_id / str(n), branch=f"run/{job_id}/{n}")


def spots(place: Place) -> Iterator[tuple[str, int]]:
    """Job and number of every run of which there is a worktree, or anything that is left of one."""
    found: set[Path] = set()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for job in place.worktrees.iterdir():
            if job.is_dir():
                found.update(job.iterdir())
        with contextlib.suppress(GitError):  # of a removal that was killed, only git knows
            found.update(worktrees_below(place.root, place.worktrees))
    named = {(each.parent.name, each.name.removesuffix(_NOTE).removesuffix(_NEW)) for each in found}
    return ((job_id, int(n)) for job_id, n in sorted(named) if n.isascii() and n.isdecimal())


def remove_fresh(root: Path, spot: TreeSpot, tree: FreshTree) -> FreshTree:
    """Remove a worktree, and its branch if that is still where it started. As it is then."""
    remove_worktree(root, spot.folder)
    if os.path.lexists(spot.folder):
        return tree
    if tree.commit:
        delete_branch(root, tree.branch, tree.commit)
    for each in (spot.note, spot.note.with_suffix(_NEW)):
        each.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        spot.folder.parent.rmdir()
    return replace(tree, folder=None)
