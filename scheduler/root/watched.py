"""The folders to watch, and the names in them: of job files, task files, git's refs and the file that hooks touch.

Everything on the way to a file counts: links, and each folder that may appear, disappear or be swapped.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from scheduler.core.formats.globs import matches_any
from scheduler.core.values.settings import ROOT_FILE, Settings
from scheduler.git.folder import ref_files
from scheduler.root.links import follow_links
from scheduler.root.listing import Own, may_enter
from scheduler.root.place import Place
from scheduler.root.watcher import Names


def watched(place: Place, settings: Settings, task_paths: Iterable[str]) -> Mapping[Path, Names]:
    """The folders to watch, each with the names that matter, or None if all do. The most important come first.

    Absolute, without symlinks. A folder that does not exist may be included, because its parent is.
    task_paths: root-relative, of all jobs.
    """
    root = str(place.root)
    whole, ways = {root}, [ROOT_FILE]
    for folder, linked in _job_folders(root, settings, Own(place)):
        whole.add(folder)
        ways += linked
    names: dict[str, set[str]] = {}
    target = functools.cache(_target)
    for path in {*ways, *task_paths}:
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


def _job_folders(root: str, settings: Settings, own: Own) -> Iterator[tuple[str, list[str]]]:
    """Every folder of the root that may contain a job file, with the symlinks in it that may lead to one."""
    left = [""]
    while left:
        below = left.pop()
        links = []
        try:
            with os.scandir(f"{root}/{below}") as entries:
                for entry in entries:
                    path = below + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if may_enter(own, path, settings.jobs):
                            left.append(path + "/")
                    elif entry.is_symlink() and matches_any(path, settings.jobs):
                        links.append(path)
        except OSError:
            continue
        yield f"{root}/{below}".rstrip("/"), links


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
