"""The content of a commit, read without a checkout: its entries, their bytes, and the commit that a name means."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.values.problems import RefusedError, UnavailableError
from scheduler.git.folder import git_folder
from scheduler.git.run import GitError, run_git, stream_git

LONGEST_LINK = 4095  # PATH_MAX
_LONGEST_NAME, _LONGEST_PATH = 255, 3500  # NAME_MAX; room for the folder that a commit is written to
_SHORT = _LONGEST_NAME // 4  # characters of at most four bytes
MOST_FILES = 500_000  # in a commit
MOST_BYTES = 128 * 1024 * 1024  # of git's listing of a commit
MOST_AT_ONCE = 32 * 1024 * 1024  # bytes of blobs in one answer of git
_NO_NAMES = frozenset({"", ".", "..", ".git"})
_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\n")


class AbsentError(UnavailableError):
    """Git lacks the bytes of a blob, or has other bytes under its name. `said`: which one, as a clause."""

    def __init__(self, said: str) -> None:
        super().__init__(
            "git lacks the content of some files of the commit: this is a partial or damaged clone",
            hint="clone without --filter, or run `git fetch --refetch --no-filter`",
        )
        self.said = said


class TooManyFilesError(UnavailableError):
    """A commit with more files than we look at. `said`: that, as a clause about the commit."""

    def __init__(self, commit: str) -> None:
        self.said = f"has more than {MOST_FILES:,} files, or {MOST_BYTES // 1024**2} MiB of file names"
        super().__init__(f"commit {commit[:12]} {self.said}", hint="keep the jobs in a separate repository")


class OddTreeError(UnavailableError):
    """A tree that git would not check out: it could write outside its folder. `said`: what is odd, as a clause."""

    def __init__(self, commit: str, said: str) -> None:
        super().__init__(f"commit {commit[:12]} {said}", hint="run `git fsck` there")
        self.said = said


def need_repository(root: Path) -> None:
    if git_folder(root) is None:
        raise RefusedError(
            f"{root} is not in a git repository, so nothing can be committed; nothing was written",
            hint="edit without a commit, or run: git init",
        )


def need_revision(root: Path, name: str, *, bare: bool = False) -> str:
    """The id of the object that a name means. Raises: GitError, also if there is none."""
    told = run_git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", name, bare=bare)
    return told.decode("ascii").strip()


def resolve_revision(root: Path, name: str, *, bare: bool = False) -> str | None:
    """The id of the object that a name means, or None."""
    try:
        return need_revision(root, name, bare=bare)
    except GitError as error:
        if error.returncode == 1:  # --quiet: there is no such object
            return None
        raise


def is_first_commit(root: Path, name: str) -> bool:
    """True if a name means a commit that has no parent."""
    return (
        bool(name)
        and not name.startswith("-")
        and [resolve_revision(root, f"{name}{each}^{{commit}}") is None for each in ("", "~1")] == [False, True]
    )


def find_commit(root: Path, name: str) -> str:
    """The commit that a name means. Raises: RefusedError if there is none."""
    need_repository(root)
    found = None if "\0" in name else resolve_revision(root, f"{name}^{{commit}}")
    if found is None:
        raise RefusedError(f"{name!r} is not a commit here", hint="choose one that `git log` shows")
    return found


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, symbolic link or submodule of a commit."""

    path: str
    mode: str  # such as 100644
    id: str

    @property
    def is_link(self) -> bool:
        return self.mode == "120000"

    @property
    def is_executable(self) -> bool:
        return self.mode == "100755"

    @property
    def is_submodule(self) -> bool:
        return self.mode == "160000"


def entries_of(
    root: Path, commit: str, *paths: str, bare: bool = False, timeout: float = 30, limited: bool = False
) -> Sequence[Entry]:
    """What a commit holds at and below the root, or only those paths of it.

    limited: for an untrusted commit: a few objects can name any number of paths.
    Raises: GitError; TooManyFilesError if there are more than a limit.
    """
    args = ("ls-tree", "-r", "-z", "--end-of-options", commit, *paths)
    found, rest, size = list[Entry](), b"", 0
    with contextlib.ExitStack() as cleanup:
        listing: Iterable[bytes]
        if limited:
            listing = cleanup.enter_context(contextlib.closing(stream_git(root, *args, bare=bare, timeout=timeout)))
        else:
            listing = [run_git(root, *args, bare=bare, timeout=timeout)]
        for piece in listing:
            size += len(piece)
            *lines, rest = (rest + piece).split(b"\0")
            for line in lines:
                about, path = line.split(b"\t", 1)
                mode, _, object_id = about.decode("ascii").split(" ")
                found.append(Entry(os.fsdecode(path), mode, object_id))
            if limited and (len(found) > MOST_FILES or size > MOST_BYTES):
                raise TooManyFilesError(commit)
    return found


def folders_of(commit: str, entries: Sequence[Entry]) -> Mapping[str, Sequence[str]]:
    """The names in each folder of a commit, by the folder's path. The top is "".

    Raises: OddTreeError for a tree that git itself would not check out: it could write outside its folder.
    """
    found: dict[str, list[str]] = {"": []}
    odd = [entry.path for entry in entries if not _NO_NAMES.isdisjoint(entry.path.lower().split("/"))]
    for entry in entries:
        folder, _, name = entry.path.rpartition("/")
        while folder not in found:
            found[folder] = [name]
            folder, _, name = folder.rpartition("/")
        found[folder].append(name)
    # The same name twice: two files, or a file or link beside a folder of the same name.
    odd += [
        f"{folder}/{Counter(names).most_common(1)[0][0]}"
        for folder, names in found.items()
        if len(set(names)) < len(names)
    ]
    if odd:
        raise OddTreeError(commit, f"has {odd[0].lstrip('/')!r}, which is not a possible file name")
    return found


def why_no_file(path: str) -> str:
    """Why no file system here can hold a file with this path. Empty if one can."""
    if len(path) <= _SHORT:
        return ""
    long = next((name for name in path.split("/") if len(os.fsencode(name)) > _LONGEST_NAME), None)
    if long is not None:
        return f"has a file name of {len(os.fsencode(long))} bytes, {long[:40]!r}…; the limit is {_LONGEST_NAME}"
    if len(os.fsencode(path)) > _LONGEST_PATH:
        return f"has a path of {len(os.fsencode(path)):,} bytes, {path[:40]!r}…; the limit is {_LONGEST_PATH:,}"
    return ""


def why_no_link(path: str, target: bytes) -> str:
    """Why no link can have this target. Empty if one can."""
    if not target:
        return f"has the link {path!r}, whose target is empty"
    if b"\0" in target:
        return f"has the link {path!r}, whose target has a NUL byte"
    if len(target) > LONGEST_LINK:
        return too_long_link(path, len(target))
    return ""


def too_long_link(path: str, size: int) -> str:
    return f"has the link {path!r}, whose target has {size:,} bytes; the limit is {LONGEST_LINK:,}"


def blob_id(data: bytes, like: str) -> str:
    """The id git gives these bytes, with the hash function of `like` (gitformat: "blob", size, NUL, bytes)."""
    found = hashlib.new("sha1" if len(like) == 40 else "sha256", b"blob %d\0" % len(data), usedforsecurity=False)
    found.update(data)
    return found.hexdigest()


def read_blobs(
    root: Path, ids: Sequence[str], *, limit: int | None = None, bare: bool = False, timeout: float = 30
) -> Iterator[bytes | int]:
    """The bytes of each blob, or their number if above `limit`. Keeps only a few in memory at a time.

    Raises: AbsentError, GitError.
    """
    told = _cat(root, "--batch-check=%(objecttype) %(objectsize)", ids, bare, timeout).splitlines()
    batch, room = list[tuple[str, int]](), MOST_AT_ONCE
    for each, line in zip(ids, told, strict=True):
        kind, size = line.split(b" ", 1)
        if kind != b"blob":
            raise AbsentError(f"lacks {each}")
        asked = 0 if limit is not None and int(size) > limit else int(size)
        if batch and asked > room:
            yield from _read_batch(root, batch, limit, bare, timeout)
            batch, room = [], MOST_AT_ONCE
        batch.append((each, int(size)))
        room -= asked
    yield from _read_batch(root, batch, limit, bare, timeout)


def _read_batch(
    root: Path, batch: Sequence[tuple[str, int]], limit: int | None, bare: bool, timeout: float
) -> Iterator[bytes | int]:
    small = [each for each, size in batch if limit is None or size <= limit]
    out, at = _cat(root, "--batch", small, bare, timeout), 0
    for each, size in batch:
        if limit is not None and size > limit:
            yield size
            continue
        start = out.find(b"\n", at) + 1
        at = start + size + 1
        data = out[start : at - 1]
        if blob_id(data, each) != each:
            raise AbsentError(f"has damaged content for {each}")
        yield data


def _cat(root: Path, option: str, ids: Sequence[str], bare: bool, timeout: float) -> bytes:
    if not ids:
        return b""
    asked = "".join(f"{each}\n" for each in ids).encode()
    try:
        return run_git(root, "cat-file", option, input=asked, bare=bare, timeout=timeout)
    except GitError as error:
        if error.is_of_this_machine:
            raise
        raise AbsentError(f"cannot be read: {error}") from error


def lfs_pointer(data: bytes) -> bytes:
    """What Git LFS commits instead of these bytes (its specification)."""
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (
        hashlib.sha256(data).hexdigest().encode(),
        len(data),
    )


def pointed_at(data: bytes) -> str | None:
    """The sha256 of what Git LFS keeps elsewhere, if this is its pointer."""
    found = _POINTER.match(data) if len(data) < 1024 else None
    return None if found is None else found[1].decode("ascii")
