"""What git tracks in a working tree, read from its index: every command asks, and must not wait for a process.

The format is that of gitformat-index(5), versions 2 to 4.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from scheduler.git.folder import git_folder

_STAT, _EXTENDED = 40, 0x4000  # bytes before the id; the flag of an entry with more flags


def tracked_at(path: Path) -> list[str]:
    """What git tracks at this path or below it, in every repository whose working tree contains it; absolute paths.

    The path itself and each folder above it can be the top of a repository: a submodule is tracked by its own. A
    name that differs only by case counts only if it is the same file here. Links are not followed.
    """
    found = []
    for top in path.parents if path.is_symlink() else (path, *path.parents):
        if os.path.lexists(f"{top}/.git"):
            below = os.path.relpath(path, top)
            wanted = "" if below == "." else below
            found += [f"{top}/{name}" for name in _below(top, wanted)]
    return found


def _below(top: Path, wanted: str) -> Iterator[str]:
    git = git_folder(top)
    if git is None:
        return
    key = os.fsencode(wanted).lower()
    for file in (git / "index", *git.glob("sharedindex.*")):  # the second kind: what a split index leaves out
        try:
            data = file.read_bytes()
        except OSError:
            continue  # never committed or checked out; or not ours to read, and neither are the files
        if data[:4] != b"DIRC" or (data[7] < 4 and key not in data.lower()):
            continue
        for name in _names(data, _id_bytes(git)):
            low = name.lower().rstrip(b"/")  # a folder left out by a sparse checkout ends in a slash
            if key and low != key and not low.startswith(key + b"/"):
                continue
            told = os.fsdecode(name)
            if told[: len(wanted)] == wanted or _is_same(top / told[: len(wanted)], top / wanted):
                yield told


def _names(data: bytes, id_bytes: int) -> Iterator[bytes]:
    version, count = data[7], int.from_bytes(data[8:12], "big")
    at, name = 12, b""
    for _ in range(count):
        start = at
        at += _STAT + id_bytes
        flags = int.from_bytes(data[at : at + 2], "big")
        at += 4 if flags & _EXTENDED else 2
        if version == 4:
            strip, at = _number(data, at)
            end = data.find(b"\0", at)
            name = name[: len(name) - strip] + data[at:end]
            at = end + 1
        else:
            end = data.find(b"\0", at)
            name = data[at:end]
            at = start + ((end - start + 8) & ~7)  # one to eight NULs
        if end < 0:
            return  # cut short
        yield name


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number as encoded in pack files (OFS_DELTA), and where it ends."""
    value = data[at] & 0x7F
    while data[at] & 0x80 and at + 1 < len(data):
        at += 1
        value = ((value + 1) << 7) | (data[at] & 0x7F)
    return value, at + 1


def _id_bytes(git: Path) -> int:
    common = git / "commondir"
    try:
        shared = git / common.read_text().strip() if common.exists() else git
        return 32 if "sha256" in (shared / "config").read_text(errors="replace").lower() else 20
    except OSError:
        return 20


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
