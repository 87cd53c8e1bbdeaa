"""The listing of job files in a root."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from scheduler.core.formats.globs import SUFFIXES, matches_any, may_hold
from scheduler.core.values.problems import Problem, Severity, UnavailableError
from scheduler.core.values.settings import ROOT_FILE
from scheduler.root.files import Files, Kind, WorkingTree
from scheduler.root.place import Place


@dataclass(slots=True)
class Listing:
    paths: list[str] = field(default_factory=list)
    unlistable: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


class Own:
    """The scheduler's own files in a root, wherever `--state` and `--db` put them: never job files, never news."""

    def __init__(self, place: Place) -> None:
        self._root = place.root
        self._folder = os.path.realpath(place.db.parent)
        self._db = place.db.name
        self._closed = place.closed

    def is_file(self, folder: str, name: str) -> bool:
        """True if a file is part of the database, or belongs beside it (its WAL, its lock, its socket).

        folder: a real path.
        """
        if not name.startswith(self._db) or folder != self._folder:
            return False
        return name == self._db or (name[len(self._db)] in "-." and not name.endswith(SUFFIXES))

    def is_folder(self, path: str) -> bool:
        """True for the state folder and the folder of the locks."""
        try:
            found = os.stat(f"{self._root}/{path}")  # noqa: PTH116 - for every folder of a root, in every pass
        except OSError:
            return False
        return (found.st_dev, found.st_ino) in self._closed


def is_leftover(name: str) -> bool:
    """True for a temporary or backup file of an editor: the copy of a job file is not a job file.

    Other such names start with a dot, and the default globs match none of them.
    """
    return name == "4913" or name.endswith(("~", "___jb_tmp___", "___jb_old___")) or name[0] == name[-1] == "#"


def list_job_files(files: Files, globs: Sequence[str]) -> Listing:
    """The files that the globs match. Raises: UnavailableError if the root itself cannot be listed."""
    listing = Listing()
    try:
        children = sorted(files.scan(""))
    except OSError as error:
        raise UnavailableError(
            f"the root {files.root} cannot be read: {error.strerror}; nothing was applied"
        ) from error
    own = Own(files.place) if isinstance(files, WorkingTree) else None
    _walk(files, own, children, "", globs, listing)
    return listing


def _walk(
    files: Files,
    own: Own | None,
    entries: Iterable[tuple[str, Kind]],
    folder: str,
    globs: Sequence[str],
    found: Listing,
) -> None:
    """Collect what the globs match below a folder. Never enters dot-folders or symlinked folders."""
    for name, kind in entries:
        path = folder + name
        if name.startswith(".") or is_leftover(name):
            continue
        if path == ROOT_FILE:
            continue  # a glob as wide as **/*.yaml does not make it a job file
        if own is not None and own.is_file(f"{files.root}/{folder}".rstrip("/"), name):
            continue
        if not is_text(path):
            enters = kind == "folder" and any(may_hold(path, glob) for glob in globs)
            if matches_any(path, globs) or enters:
                shown = path.encode("utf-8", "backslashreplace").decode()
                message = "the name is not valid UTF-8, so this file or folder is not read"
                found.problems.append(Problem(shown, 1, 1, "file.name", message, "rename it"))
            continue
        # A folder named like a job file was meant to be one: reading it says what is wrong. A wide glob such as jobs/**
        # matches any other folder, or a link to one, only by accident.
        is_named = kind != "folder" or path.lower().endswith(SUFFIXES)
        if is_named and matches_any(path, globs) and (path.lower().endswith(SUFFIXES) or not files.is_folder(path)):
            found.paths.append(path)
        elif doubted := _unread(files, path, kind, globs):
            found.problems.append(doubted)
        if kind != "folder" or not may_enter(own, path, globs):
            continue
        try:
            children = sorted(files.scan(path))
        except FileNotFoundError:
            continue  # removed after its parent was listed: as if it had never existed
        except OSError as error:
            found.unlistable.add(path)
            message = f"the folder cannot be listed: {error.strerror}"
            hint = "make it readable; until then its jobs keep their last good definition"
            found.problems.append(Problem(path, 1, 1, "folder.unreadable", message, hint))
            continue
        _walk(files, own, children, path + "/", globs, found)


def _unread(files: Files, path: str, kind: Kind, globs: Sequence[str]) -> Problem | None:
    """A warning for something that a person would take for job files but the globs do not match."""
    if kind == "other" and any(may_hold(path, glob) for glob in globs) and files.is_folder(path):
        to = files.leads_to(path)
        if to != path and any(may_hold(to, glob) for glob in globs):
            return None  # read where it is
        message = f"the folder is a link to {to!r}; links to folders are not followed, so nothing in it is read"
        hint = "put the folder itself here, or one link per file"
        return Problem(path, 1, 1, "folder.link", message, hint, Severity.WARNING)
    small, some = path.lower(), [glob.lower() for glob in globs]
    if kind == "folder":
        if not any(may_hold(path, glob) for glob in globs) and any(may_hold(small, glob) for glob in some):
            message = f"no glob in `jobs` matches {path!r}, because of upper and lower case"
            hint = f"rename it to {small}, or add it to `jobs` in scheduler.yaml"
            return Problem(path, 1, 1, "file.unread", message, hint, Severity.WARNING)
    elif small.endswith(SUFFIXES) and matches_any(small, some):
        message = "no glob in `jobs` matches the name, because of upper and lower case; the file is not read"
        hint = f"rename it to {small}, or add a glob to `jobs` in scheduler.yaml"
        return Problem(path, 1, 1, "file.unread", message, hint, Severity.WARNING)
    return None


def may_enter(own: Own | None, path: str, globs: Iterable[str]) -> bool:
    """True if a pass looks in this folder for job files: it is neither hidden nor the state folder."""
    wanted = not path.rpartition("/")[2].startswith(".") and any(may_hold(path, glob) for glob in globs)
    return wanted and (own is None or not own.is_folder(path))


def is_text(path: str) -> bool:
    """True if a name is UTF-8. No other name fits in a database, JSON or a terminal."""
    return path.isascii() or not any("\ud800" <= c <= "\udfff" for c in path)
