"""The verb that makes a root to start from: init."""

from __future__ import annotations

from pathlib import Path

from scheduler.core.values.problems import RefusedError
from scheduler.root.followed import Followed, state_of
from scheduler.scaffold import write_scaffold


def init(folder: Path) -> tuple[list[str], list[str]]:
    """Writes the files of a new root; the paths that were written, and those that were there and stay.

    Raises: RefusedError in a root that follows a remote; UnavailableError where the folder cannot be written.
    """
    if (state := state_of(folder.resolve())) is not None:
        raise RefusedError(
            f"{folder} follows the {Followed(state).remote().words}: its files come from there; nothing was written",
            hint="write a root in a checkout of it, or in another folder",
        )
    return write_scaffold(folder)
