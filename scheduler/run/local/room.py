"""How many runs the files that this process may open allow."""

from __future__ import annotations

from scheduler.machine import open_files

FILES_OF_OURS = 100
FILES_OF_A_RUN = 8  # two pipes, two outputs of two files, what tells of its end, and what a start needs for a moment


def room_for(runs: int) -> int:
    """How many runs the limit of open files allows, once it is raised for so many."""
    files = open_files.allow(FILES_OF_OURS + runs * FILES_OF_A_RUN)
    return max(1, (files - FILES_OF_OURS) // FILES_OF_A_RUN)
