"""Which files of the root are job files."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from scheduler.core.formats.globs import matches_any, may_hold
from scheduler.core.formats.jobfile import SUFFIXES
from scheduler.core.values.problems import Problem, UnavailableError
from scheduler.core.values.settings import ROOT_FILE
from scheduler.root.place import Place


@dataclass(slots=True)
class Listing:
    paths: list[str] = field(default_factory=list)
    unlistable: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


class Own:
    """What in a root is the scheduler's, wherever `--state` and `--db` have put it: no job file, and no news."""

    def __init__(self, place: Place) -> None:
        self._folder = os.path.realpath(place.db.parent)
        self._db = place.db.name
        self._closed = place.closed

    def is_file(self, folder: str, name: str) -> bool:
        """Whether a file is part of the database, or stands beside it for it (its WAL, its lock, its socket).

        folder: a real path.
        """
        if not name.startswith(self._db) or folder != self._folder:
            return False
        return name == self._db or (name[len(self._db)] in "-." and not name.endswith(SUFFIXES))

    def is_folder(self, path: str) -> bool:
        """The state folder, or the one of the locks."""
        try:
            found = os.stat(path)  # noqa: PTH116 - for every folder of a root, in every pass
        except OSError:
            return False
        return (found.st_dev, found.st_ino) in self._closed


def is_leftover(name: str) -> bool:
    """Whether an editor has put this aside while it saves, or forgotten it: the copy of a job file is not a job file.

    Other such names start with a dot, and the default globs match none of them.
    """
    return name == "4913" or name.endswith(("~", "___jb_tmp___", "___jb_old___")) or name[0] == name[-1] == "#"


def list_job_files(place: Place, globs: Sequence[str]) -> Listing:
    listing = Listing()
    try:
        with os.scandir(place.root) as entries:
            children = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UnavailableError(
            f"the root {place.root} cannot be read: {error.strerror}; nothing was applied"
        ) from error
    _walk(Own(place), children, "", globs, listing)
    return listing


def _walk(own: Own, entries: Iterable[os.DirEntry[str]], folder: str, globs: Sequence[str], listing: Listing) -> None:
    """Collects what the globs match below a folder; never enters dot-folders or symlinked folders."""
    for entry in entries:
        path = folder + entry.name
        if entry.name.startswith(".") or is_leftover(entry.name):
            continue
        if path == ROOT_FILE:
            continue  # a glob as wide as **/*.yaml does not make it a job file
        if own.is_file(entry.path[: -len(entry.name) - 1], entry.name):
            continue
        if not is_text(path):
            enters = entry.is_dir(follow_symlinks=False) and any(may_hold(path, glob) for glob in globs)
            if matches_any(path, globs) or enters:
                listing.problems.append(_name_problem(path))
            continue
        if matches_any(path, globs) and not _is_mere_folder(entry):
            listing.paths.append(path)
        if not entry.is_dir(follow_symlinks=False) or not may_enter(own, entry, path, globs):
            continue
        try:
            with os.scandir(entry.path) as found:
                children = sorted(found, key=lambda each: each.name)
        except FileNotFoundError:
            continue  # gone since its parent was listed: as if it had never been there
        except OSError as error:
            listing.unlistable.add(path)
            listing.problems.append(
                Problem(
                    path=path,
                    line=1,
                    column=1,
                    code="folder.unreadable",
                    message=f"the folder cannot be listed: {error.strerror}",
                    hint="the jobs last held below it keep their last good definition",
                )
            )
            continue
        _walk(own, children, path + "/", globs, listing)


def _is_mere_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one, that a glob as wide as jobs/** names only in passing.

    One that is named like a job file was meant to be one: reading it says what is wrong.
    """
    if posixpath.splitext(entry.name)[1].lower() in SUFFIXES:
        return False
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself, say: reading it says so


def may_enter(own: Own, entry: os.DirEntry[str], path: str, globs: Iterable[str]) -> bool:
    """Whether a pass looks into this folder for job files: what is hidden and the state folder it leaves alone."""
    return not entry.name.startswith(".") and any(may_hold(path, g) for g in globs) and not own.is_folder(entry.path)


def is_text(path: str) -> bool:
    """Whether a name is UTF-8: any other can stand in no database, no JSON and no terminal."""
    return not any("\ud800" <= c <= "\udfff" for c in path)


def _name_problem(path: str) -> Problem:
    return Problem(
        path=path.encode("utf-8", "backslashreplace").decode(),
        line=1,
        column=1,
        code="file.name",
        message="the name is not valid UTF-8; nothing of that name is read",
        hint="rename it",
    )
