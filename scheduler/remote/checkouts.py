"""The folder of one commit: written out once, raw and read-only, and removed when nobody holds it any more.

Raw: the bytes of each blob, with no filter, line end or keyword in between, so that what a run reads is what the commit
says. The folder is a linked worktree of the store (gitrepository-layout(5)) whose HEAD is the commit: whatever asks git
about a root asks it about this one in the same way.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.values.problems import UnavailableError
from scheduler.git.objects import blob_id
from scheduler.git.run import GitError, run_git
from scheduler.machine.crash import crash_point
from scheduler.root.followed import Followed, hold

MOST_AT_ONCE = 32 * 1024 * 1024  # bytes of blobs in memory
READ_S = 600.0
_NEW, _OLD = ".new-", ".old-"


class DamagedStoreError(UnavailableError):
    """The store does not hold what a commit needs, or holds other bytes under its name."""


def damage(error: GitError, what: str) -> UnavailableError:
    """What it means that the store could not be read: damage only where git has looked, and found it wanting."""
    kind = UnavailableError if error.is_of_this_machine else DamagedStoreError
    return kind(f"{what}: {error}", hint=error.hint)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, link or submodule of a commit."""

    path: str
    mode: str
    id: str
    size: int


def entries_of(store: Path, commit: str) -> Sequence[Entry]:
    """Everything in a commit's tree. Raises: DamagedStoreError, UnavailableError."""
    try:
        listing = run_git(
            store, "ls-tree", "-r", "-l", "-z", "--full-tree", "--end-of-options", commit, bare=True, timeout=READ_S
        )
    except GitError as error:
        raise damage(error, f"the store cannot list {commit[:12]}") from error
    found = []
    for line in listing.split(b"\0")[:-1]:
        about, path = line.split(b"\t", 1)
        mode, _, object_id, size = about.decode("ascii").split()
        found.append(Entry(os.fsdecode(path), mode, object_id, 0 if size in ("-", "BAD") else int(size)))
    return found


def has_file(entries: Sequence[Entry], path: str) -> bool:
    return any(entry.path == path and entry.mode != "160000" for entry in entries)


def write_commit(followed: Followed, commit: str, entries: Sequence[Entry]) -> None:
    """Makes the folder of a commit, whole or not at all; one that is there already stays.

    Raises: DamagedStoreError; UnavailableError where the commit cannot be written out here.
    """
    folder = followed.commits / commit
    if folder.is_dir():
        link(followed, folder, commit)
        return
    _check_names(commit, entries)
    new = followed.commits / f"{_NEW}{commit}"
    remove_tree(new)
    try:
        new.mkdir(mode=0o700, parents=True)
        _write(followed.store, new, entries)
        (new / ".git").write_text(f"gitdir: ../../{followed.store.name}/worktrees/{commit}\n")
        (new / ".git").chmod(0o444)
        link(followed, folder, commit)
        _close(new)
        _to_disk(new)
        crash_point("before_commit_is_there")
        new.rename(folder)
    except OSError as error:
        remove_tree(new)
        raise UnavailableError(
            f"commit {commit[:12]} cannot be written to {followed.commits}: {error.strerror}"
            + (f" ({error.filename})" if error.errno in (errno.EEXIST, errno.ENAMETOOLONG) else ""),
            hint="make room; what is there already stays in force",
        ) from error
    except BaseException:
        remove_tree(new)
        raise


def _check_names(commit: str, entries: Sequence[Entry]) -> None:
    """Raises: UnavailableError for a tree that git itself would not check out: it could write outside of its folder."""
    files = {entry.path for entry in entries}
    for entry in entries:
        parts = entry.path.split("/")
        above = ("/".join(parts[:n]) for n in range(1, len(parts)))
        if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts) or not files.isdisjoint(above):
            raise UnavailableError(
                f"commit {commit[:12]} holds {entry.path!r}, which no file can be named", hint="see `git fsck` there"
            )


def _write(store: Path, new: Path, entries: Sequence[Entry]) -> None:
    for folder in sorted({entry.path.rpartition("/")[0] for entry in entries} - {""}):
        (new / folder).mkdir(parents=True, exist_ok=True)
    by_id: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.mode == "160000":  # a submodule: its files are of another repository
            (new / entry.path).mkdir()
        else:
            by_id.setdefault(entry.id, []).append(entry)
    for blobs in _batches(store, by_id):
        for object_id, data in blobs.items():
            for entry in by_id[object_id]:
                path = new / entry.path
                if entry.mode == "120000":
                    path.symlink_to(os.fsdecode(data))
                    continue
                with path.open("xb") as file:
                    file.write(data)
                path.chmod(0o555 if entry.mode == "100755" else 0o444)


def _batches(store: Path, by_id: Mapping[str, Sequence[Entry]]) -> Iterator[Mapping[str, bytes]]:
    batch: list[str] = []
    room = MOST_AT_ONCE
    for object_id, entries in by_id.items():
        if batch and entries[0].size > room:
            yield _blobs(store, batch)
            batch, room = [], MOST_AT_ONCE
        batch.append(object_id)
        room -= entries[0].size
    if batch:
        yield _blobs(store, batch)


def _blobs(store: Path, ids: Sequence[str]) -> Mapping[str, bytes]:
    """The bytes of blobs. Raises: DamagedStoreError where one is missing, or its bytes are not those of its name."""
    asked = "".join(f"{each}\n" for each in ids).encode()
    try:
        out = run_git(store, "cat-file", "--batch", input=asked, bare=True, timeout=READ_S)
    except GitError as error:
        raise damage(error, "the store cannot be read") from error
    found, at = {}, 0
    for each in ids:
        line_end = out.find(b"\n", at)
        about = out[at:line_end].split(b" ")
        if line_end < 0 or len(about) != 3 or about[1] != b"blob":
            raise DamagedStoreError(f"the store does not hold {each}")
        start, size = line_end + 1, int(about[2])
        found[each] = out[start : start + size]
        at = start + size + 1
        if blob_id(found[each], each) != each:
            raise DamagedStoreError(f"the store holds other bytes as {each}")
    return found


def link(followed: Followed, folder: Path, commit: str) -> None:
    """Makes the folder a worktree of the store, also of one that was made anew. Raises: OSError."""
    ours = followed.store / "worktrees" / commit
    leads = f"{folder / '.git'}\n"
    head = ours / "HEAD"
    if not head.exists() or head.read_text() != f"{commit}\n":  # new; or somebody has switched in there
        ours.mkdir(parents=True, exist_ok=True)
        (ours / "commondir").write_text("../..\n")
        (ours / "gitdir").write_text(leads)
        new = ours / "HEAD.new"
        new.write_text(f"{commit}\n")
        new.rename(ours / "HEAD")
    elif (ours / "gitdir").read_text() != leads:  # the root was moved: git would call it prunable
        (ours / "gitdir").write_text(leads)
    if not (ours / "index").exists():
        with contextlib.suppress(GitError):  # for people who look: no part of ours needs an index
            run_git(ours, "read-tree", commit, bare=True)


def link_all(followed: Followed) -> None:
    """Makes every commit's folder a worktree of the store again, which is a new one. Raises: OSError."""
    if followed.commits.is_dir():
        for entry in os.scandir(followed.commits):
            if not entry.name.startswith("."):
                link(followed, Path(entry.path), entry.name)


def _close(new: Path) -> None:
    """Takes away the right to write, innermost folders first."""
    for here, _, _ in os.walk(new, topdown=False):
        os.chmod(here, 0o555)  # noqa: PTH101 - by the hundred


def _to_disk(folder: Path) -> None:
    """What was written outlives a power failure from here on; else a folder could come back with empty files in it."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None).syncfs(file) == 0:
            return
    except (AttributeError, OSError):
        pass  # no glibc
    finally:
        os.close(file)
    os.sync()


def remove_old(followed: Followed, keep: Sequence[str]) -> None:
    """Removes the folders of commits that are not to be kept and that nobody holds; and what a killed one left."""
    try:
        found = list(os.scandir(followed.commits))
    except FileNotFoundError:
        return
    for entry in found:
        if entry.name.startswith((_NEW, _OLD)):
            remove_tree(Path(entry.path))
        elif entry.name not in keep:
            folder = Path(entry.path)
            pin = hold(folder, alone=True)
            if pin is None:
                continue
            aside = folder.with_name(f"{_OLD}{entry.name}")
            with contextlib.suppress(OSError):
                folder.rename(aside)  # nobody can come to hold half of it
                remove_tree(aside)
                shutil.rmtree(followed.store / "worktrees" / entry.name, ignore_errors=True)
            del pin


def remove_tree(folder: Path) -> None:
    """Removes a folder of read-only folders, as far as that goes."""
    if folder.is_symlink() or not folder.exists():
        return
    for here, names, _ in os.walk(folder):
        os.chmod(here, 0o700)  # noqa: PTH101 - as above
        names[:] = [name for name in names if not os.path.islink(f"{here}/{name}")]  # noqa: PTH114
    shutil.rmtree(folder, ignore_errors=True)
