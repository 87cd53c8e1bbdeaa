"""The files of a root, as one look finds them on disk. `committed` has those of a commit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

from scheduler.core.values.facts import Fault
from scheduler.root.place import Place
from scheduler.root.reading import Source, known_as, read_source, real_path

Kind = Literal["folder", "file", "other"]


class Files(Protocol):
    """The files of a root, wherever they are kept. Links, sizes and names are judged alike; paths are root-relative."""

    @property
    def root(self) -> Path:
        """The folder where they are, or would be."""

    def read(self, path: str, *, limit: int, hidden: bool = False) -> Source | Fault:
        """A regular file of at most `limit` bytes, links followed, or why not. Like `read_source`."""

    def read_all(self, paths: Sequence[str], *, limit: int) -> Iterator[Source | Fault]:
        """Each of these, in order, never all of them in memory."""

    def scan(self, folder: str) -> Iterator[tuple[str, Kind]]:
        """The names in a folder ("" is the root), and what each of them itself is. Raises: OSError."""

    def is_folder(self, path: str) -> bool:
        """True for a folder, links followed."""

    def is_free(self, path: str) -> bool:
        """True if nothing has this name, and a file could be created there without replacing anything."""

    def leads_to(self, path: str) -> str:
        """Where a path leads, links followed. Two paths with the same result are one file."""


class WorkingTree:
    """The files on disk. The scheduler's own files, as they are when a look begins, are closed to all of it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.root = place.root
        self._closed = place.closed

    def read(self, path: str, *, limit: int, hidden: bool = False) -> Source | Fault:
        return read_source(self.root, path, limit=limit, forbidden=self._closed, hidden=hidden)

    def read_all(self, paths: Sequence[str], *, limit: int) -> Iterator[Source | Fault]:
        return (self.read(path, limit=limit) for path in paths)

    def scan(self, folder: str) -> Iterator[tuple[str, Kind]]:
        with os.scandir(f"{self.root}/{folder}") as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield entry.name, "folder"
                else:
                    yield entry.name, "file" if entry.is_file(follow_symlinks=False) else "other"

    def is_folder(self, path: str) -> bool:
        return (self.root / path).is_dir()

    def is_free(self, path: str) -> bool:
        return not os.path.lexists(self.root / path)

    def leads_to(self, path: str) -> str:
        return known_as(real_path(self.root, path))
