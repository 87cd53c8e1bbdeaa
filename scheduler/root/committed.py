"""The files of a root as one commit holds them, judged as a checkout of it in the root's place would be.

Writes nothing anywhere, and of 100,000 files reads only job files and their tasks.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from scheduler.core.values.facts import Fault
from scheduler.git.objects import (
    LONGEST_LINK,
    Entry,
    entries_of,
    folders_of,
    pointed_at,
    read_blobs,
    resolve_revision,
    too_long_link,
    why_no_file,
    why_no_link,
)
from scheduler.git.run import GitError
from scheduler.root.files import Kind
from scheduler.root.links import follow_links
from scheduler.root.reading import Source, hidden_path, known_as, not_regular, os_fault, refused_path, too_large
from scheduler.root.trusted import above, state_among

_MOST_KEPT = 64 * 1024 * 1024  # bytes kept so that they need not be read again
_TIMEOUT_S = 120


class CommitFiles:
    """The files of a commit, as git keeps them. Raises: UnavailableError if git cannot report all of it."""

    def __init__(self, root: Path, commit: str) -> None:
        self.root = root
        self.commit = commit
        found = entries_of(root, commit, timeout=_TIMEOUT_S, limited=True)
        self.entries = {each.path: each for each in found}
        self._folders = folders_of(commit, found)
        self._known: dict[str, bytes] = {}
        self._room = _MOST_KEPT
        links = [each for each in found if each.is_link]
        targets = read_blobs(root, [each.id for each in links], limit=LONGEST_LINK, timeout=_TIMEOUT_S)
        self.impossible = {each.path: why for each in found if (why := why_no_file(each.path))}
        self._links = {}  # by where they would be on disk
        for each, target in zip(links, targets, strict=True):
            why = why_no_link(each.path, target) if isinstance(target, bytes) else too_long_link(each.path, target)
            if why:
                self.impossible[each.path] = why
            else:
                assert isinstance(target, bytes)
                self._links[f"{root}/{each.path}"] = os.fsdecode(target)

    def state_paths(self) -> list[str]:
        """What the commit holds where a checkout of it would have its state."""
        links = {os.path.relpath(path, self.root): target for path, target in self._links.items()}
        held = [path for path in above(self.root) if self._holds(path)]
        return state_among(self.root, links, [*self.entries, *(os.path.relpath(each, self.root) for each in held)])

    def _holds(self, path: Path) -> bool:
        name = f"{self.commit}:./{os.path.relpath(path, self.root)}"
        try:
            return resolve_revision(self.root, name) is not None
        except GitError:  # above the top of the repository
            return False

    def read(self, path: str, *, limit: int, hidden: bool = False) -> Source | Fault:
        return next(self._read_all([path], limit, hidden))

    def read_all(self, paths: Sequence[str], *, limit: int) -> Iterator[Source | Fault]:
        return self._read_all(paths, limit, hidden=False)

    def _read_all(self, paths: Sequence[str], limit: int, hidden: bool) -> Iterator[Source | Fault]:
        found = [self._find(path, hidden) for path in paths]
        unknown = [each.id for each in found if isinstance(each, Entry) and each.id not in self._known]
        asked, blobs = set(unknown), read_blobs(self.root, unknown, limit=limit, timeout=_TIMEOUT_S)
        for path, each in zip(paths, found, strict=True):
            if isinstance(each, Fault):
                yield each
                continue
            data = next(blobs) if each.id in asked else self._known[each.id]
            if isinstance(data, int) or len(data) > limit:
                yield too_large(path, limit)
                continue
            if each.id not in self._known and len(data) <= self._room:
                self._known[each.id] = data
                self._room -= len(data)
            yield Source(
                path=known_as(each.path),
                data=data,
                real=each.path,
                stands_for=pointed_at(data),
                executable=each.is_executable,
            )

    def _find(self, path: str, hidden: bool) -> Entry | Fault:
        try:
            real = self._real(path)
            known = known_as(real)
            if refused := refused_path(path, path, hidden=hidden) or refused_path(path, real, hidden=hidden):
                return refused
            if known != real and self._real(known) != real:
                return hidden_path(path, real)
        except OSError as error:
            return refused_path(path, path, hidden=hidden) or os_fault(path, error)
        if self.is_folder(real):
            return not_regular(real, "a folder")
        return self.entries.get(real) or os_fault(path, FileNotFoundError(errno.ENOENT, ""))

    def _real(self, path: str) -> str:
        """Where a path leads, relative to the root. Raises: OSError if it leads in a circle."""
        end, _ = follow_links(str(self.root), path, self._links.get)
        if end is None:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return path if end == f"{self.root}/{path}" else os.path.relpath(end, self.root)

    def scan(self, folder: str) -> Iterator[tuple[str, Kind]]:
        for name in self._folders.get(folder, ()):
            entry = self.entries.get(f"{folder}/{name}" if folder else name)
            if entry is None or entry.is_submodule:  # a checkout leaves its folder empty
                yield name, "folder"
            else:
                yield name, "other" if entry.is_link else "file"

    def is_laid_out(self, other: CommitFiles) -> bool:
        """True if it holds a file wherever the other does, without any link."""
        kinds = ({each.path: each.is_submodule for each in files.entries.values()} for files in (self, other))
        return not self._links and not other._links and next(kinds) == next(kinds)

    def is_folder(self, path: str) -> bool:
        real = self.leads_to(path)
        return real in self._folders or (real in self.entries and self.entries[real].is_submodule)

    def is_free(self, path: str) -> bool:
        # Below a file or a link, git would silently replace that file or link.
        parts = path.split("/")
        above = ("/".join(parts[:n]) for n in range(1, len(parts) + 1))
        return path not in self._folders and self.entries.keys().isdisjoint(above)

    def leads_to(self, path: str) -> str:
        try:
            real = self._real(path)
        except OSError:
            return path
        return path if real.split("/")[0] == ".." else known_as(real)
