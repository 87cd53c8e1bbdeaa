"""The folders to watch, and the names in them: of job files, task files, git's refs and the file that hooks touch.

Everything on the way to a file counts: links, and each folder that may appear, disappear or be swapped.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.core.formats.globs import matches_any
from scheduler.core.values.settings import ROOT_FILE, Settings
from scheduler.git.folder import ref_files
from scheduler.root.links import follow_links
from scheduler.root.listing import Own, may_enter
from scheduler.root.place import Place

if TYPE_CHECKING:  # it loads watchdog
    from scheduler.root.watcher import Names


def watched(
    place: Place, settings: Settings, task_paths: Iterable[str], *, known: Watched | None = None
) -> Mapping[Path, Names]:
    """The folders to watch, each with the names that matter, or None if all do. The most important come first.

    Absolute, without symlinks. A folder that does not exist may be included, because its parent is.
    task_paths: root-relative, of all jobs.
    known: the folders of job files, and tasks besides, so that nothing needs to be listed here.
    """
    root = str(place.root)
    known = Watched(*_job_folders(place, settings)) if known is None else known
    whole = {root, *(f"{root}/{folder}".rstrip("/") for folder in known.folders)}
    ways = {ROOT_FILE, *(path for path in known.links if matches_any(path, settings.jobs)), *task_paths}
    names: dict[str, set[str]] = {}
    for below, plain in known.tasks.items():
        names.setdefault(f"{root}/{below}".rstrip("/"), set()).update(plain)
        ways.add(below.rstrip("/"))
    target = functools.cache(_target)
    for path in ways:
        for folder, name, _ in follow_links(root, path, target)[1]:
            if folder == root or folder.startswith(root + "/"):
                names.setdefault(folder, set()).add(name)
    for folder, name in _way_to_root(place, target):
        names.setdefault(folder, set()).add(name)
    names.setdefault(os.path.realpath(place.state), set()).add(place.wake.name)
    refs = {str(folder): found for folder, found in ref_files(place.root).items()}
    for folder, found in refs.items():
        names.setdefault(folder, set()).update(found)
    # If watches run out, git's refs go without first: a moved branch does the least harm.
    order = [*sorted(whole), *sorted(names.keys() - whole - refs.keys()), *sorted(refs.keys() - whole)]
    return {Path(folder): None if folder in whole else frozenset(names[folder]) for folder in order}


@dataclass(frozen=True, slots=True)
class Watched:
    """What a look at the files has seen, root-relative."""

    folders: Collection[str]  # that may contain job files
    links: Collection[str] = ()  # in these
    tasks: Mapping[str, Collection[str]] = field(default_factory=dict)  # that no link leads to: by folder and name


def _job_folders(place: Place, settings: Settings) -> tuple[list[str], list[str]]:
    """Every folder of the root that may contain a job file, and the symlinks in them."""
    own, folders, links, left = Own(place), list[str](), list[str](), [""]
    while left:
        below = left.pop()
        try:
            with os.scandir(f"{place.root}/{below}") as entries:
                for entry in entries:
                    path = below + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if may_enter(own, path, settings.jobs):
                            left.append(path + "/")
                    elif entry.is_symlink():
                        links.append(path)
        except OSError:
            continue
        folders.append(below)
    return folders, links


def _way_to_root(place: Place, target: Callable[[str], str | None]) -> Iterator[tuple[str, str]]:
    """What to watch to see that a link on the way to the root leads elsewhere, or that the root comes back."""
    if place.named is not None:
        named = os.path.abspath(place.named)  # noqa: PTH100 - follows no link
        for folder, name, is_link in follow_links("/", named, target)[1]:
            if is_link:
                yield folder, name
    if not place.root.is_dir():
        gone = place.root
        while gone != gone.parent and not gone.parent.is_dir():
            gone = gone.parent
        yield str(gone.parent), gone.name


def _target(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115 - for every task of a root, in every pass
    except OSError:
        return None
