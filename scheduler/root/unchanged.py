"""Files that are as the last pass read them: read for many runs at once, in a fraction of the time of `read_source`.

Whatever is not plain is left to that: a link on the way, a file that somebody may still be writing, a mount whose
server may not answer.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
from pathlib import Path

from scheduler.machine import clock
from scheduler.machine.mounts import slow_folders
from scheduler.root.quiet import QUIET_S
from scheduler.root.reading import FILE, FOLDER, Identities, mark_of, refused_path


class Unchanged(contextlib.AbstractContextManager["Unchanged"]):
    """One look at the files below a root. Walks to each folder once, and keeps it open until the look is over."""

    def __init__(self, root: Path, closed: Identities) -> None:
        """closed: the scheduler's own files. Raises: OSError if the root cannot be opened."""
        self._root, self._closed = root, closed
        self._slow = slow_folders(root)
        self._folders: dict[str, int | None] = {
            "": None if "" in self._slow else os.open(root, FOLDER & ~os.O_NOFOLLOW)
        }
        self._quiet_since = clock.file_time() - QUIET_S

    def __exit__(self, *_: object) -> None:
        for folder in self._folders.values():
            if folder is not None:
                os.close(folder)
        self._folders.clear()

    def read(self, path: str, sha256: str) -> bytes | None:
        """The bytes of a file with that digest, which nobody has touched for a second. None if it is not plain."""
        folder, _, name = path.rpartition("/")
        here = self._folder(folder)
        if here is None or not _is_plain(path):
            return None
        try:
            data = self._read(here, name)
        except (OSError, ValueError):
            return None
        return data if data is not None and hashlib.sha256(data).hexdigest() == sha256 else None

    def is_quiet(self, path: str) -> bool:
        """True if nobody has touched what a path leads to for a second; also if nothing is there."""
        try:
            return os.stat(f"{self._root}/{path}").st_mtime <= self._quiet_since  # noqa: PTH116 - links followed
        except (OSError, ValueError):
            return True

    def _read(self, here: int, name: str) -> bytes | None:
        # Looked at before it is opened: opening a device can already have effects.
        before = os.stat(name, dir_fd=here, follow_symlinks=False)
        if (
            not stat.S_ISREG(before.st_mode)
            or before.st_mtime > self._quiet_since
            or (before.st_dev, before.st_ino) in self._closed
        ):
            return None
        file = os.open(name, FILE, dir_fd=here)
        mark = mark_of(before)
        try:
            if mark_of(os.fstat(file)) != mark:
                return None
            data = os.read(file, before.st_size + 1)
            same = mark_of(os.fstat(file)) == mark and len(data) == before.st_size
        finally:
            # Swapped for the database, it stays open: closing it would release this process's locks on it.
            if _identity(file) not in self._closed:
                os.close(file)
        # If an editor saves by rename, the open file stays as it was. Its bytes must still be those of the name.
        return data if same and mark_of(os.stat(name, dir_fd=here, follow_symlinks=False)) == mark else None

    def _folder(self, path: str) -> int | None:
        if path not in self._folders:
            above, _, name = path.rpartition("/")
            here = None if path in self._slow else self._folder(above)
            found = None
            if here is not None:
                with contextlib.suppress(OSError, ValueError):
                    found = os.open(name, FOLDER, dir_fd=here)
                    if _identity(found) in self._closed:
                        os.close(found)
                        found = None
            self._folders[path] = found
        return self._folders[path]


@functools.lru_cache(maxsize=20_000)
def _is_plain(path: str) -> bool:
    return refused_path(path, path) is None


def _identity(opened: int) -> tuple[int, int]:
    found = os.fstat(opened)
    return found.st_dev, found.st_ino
