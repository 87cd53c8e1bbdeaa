"""What a commit holds: its files, their bytes, and where its links lead."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.values.problems import RefusedError
from scheduler.git.folder import git_folder
from scheduler.git.run import GitError, run_git


def blob_id(data: bytes, like: str) -> str:
    """The id git gives these bytes, by the hash that `like` was made with (gitformat: "blob", size, NUL, bytes)."""
    found = hashlib.new("sha1" if len(like) == 40 else "sha256", b"blob %d\0" % len(data), usedforsecurity=False)
    found.update(data)
    return found.hexdigest()


def need_repository(root: Path) -> None:
    if git_folder(root) is None:
        raise RefusedError(
            f"{root} is in no git repository, so there is nothing to commit to; nothing was written",
            hint="edit without a commit, or run: git init",
        )


def resolve_revision(root: Path, name: str) -> str | None:
    try:
        return run_git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", name).decode("ascii").strip()
    except GitError as error:
        if error.returncode == 1:
            return None
        raise


def find_commit(root: Path, name: str) -> str:
    """The commit that a name stands for. Raises: RefusedError where it stands for none."""
    need_repository(root)
    found = None if "\0" in name else resolve_revision(root, f"{name}^{{commit}}")
    if found is None:
        raise RefusedError(f"{name!r} names no commit here", hint="name one that `git log` shows")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A file of a commit."""

    id: str
    mode: str  # such as 100644

    @property
    def is_link(self) -> bool:
        return self.mode == "120000"


def files_of(root: Path, commit: str) -> Mapping[str, Blob]:
    """The files and symbolic links at and below the root in a commit, by root-relative path."""
    found = {}
    for entry in run_git(root, "ls-tree", "-r", "-z", "--end-of-options", commit).split(b"\0")[:-1]:
        about, name = entry.split(b"\t", 1)
        mode, kind, object_id = about.decode("ascii").split(" ")
        if kind == "blob":
            found[os.fsdecode(name)] = Blob(id=object_id, mode=mode)
    return found


def read_blobs(root: Path, ids: Sequence[str]) -> Mapping[str, bytes]:
    """The bytes of these blobs, by id; one process for all of them."""
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return {}
    out = run_git(root, "cat-file", "--batch", input="".join(f"{each}\n" for each in wanted).encode())
    found, at = {}, 0
    for each in wanted:
        line_end = out.index(b"\n", at)
        size = int(out[at:line_end].split(b" ")[2])
        found[each] = out[line_end + 1 : line_end + 1 + size]
        at = line_end + 1 + size + 1
    return found


_MOST_LINKS = 40  # on one path, as on Linux


def followed(path: str, links: Mapping[str, str]) -> str | None:
    """Where a path leads by these links, by root-relative path; None where it is out of the root, or in a circle."""
    left, done, hops = path.split("/"), list[str](), 0
    while left:
        part = left.pop(0)
        if part == "..":
            if not done:
                return None
            done.pop()
        elif part not in ("", "."):
            target = links.get("/".join([*done, part]))
            if target is None:
                done.append(part)
                continue
            hops += 1
            if target.startswith("/") or hops > _MOST_LINKS:
                return None
            left = [*target.split("/"), *left]
    return "/".join(done)
