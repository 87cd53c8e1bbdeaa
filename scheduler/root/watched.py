"""Where changes are looked for: the folders of job files, of task files, of git's refs and of the file that hooks
touch, and names in them.

Everything by which a file is found counts: a link on the way, and each folder that may come, go or be swapped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from scheduler.core.formats.globs import matches_any
from scheduler.core.values.settings import ROOT_FILE, Settings
from scheduler.git.folder import ref_files
from scheduler.root.listing import Own, may_enter
from scheduler.root.place import Place
from scheduler.root.watcher import Names

_MOST_LINKS = 40  # as the kernel


def watched(place: Place, settings: Settings, task_paths: Iterable[str]) -> Mapping[Path, Names]:
    """The folders to watch: for each the names that matter, or None where all do. The most important come first.

    Absolute, without symlinks; one that does not exist may be named, since its parent is.
    task_paths: root-relative, of all jobs.
    """
    root = str(place.root)
    whole, ways = {root}, [ROOT_FILE]
    for folder, linked in _job_folders(root, settings, Own(place)):
        whole.add(folder)
        ways += linked
    names: dict[str, set[str]] = {}
    links: dict[str, str | None] = {}
    for path in {*ways, *task_paths}:
        for folder, name, _ in _way(root, path, links):
            if folder == root or folder.startswith(root + "/"):
                names.setdefault(folder, set()).add(name)
    for folder, name in _way_to_root(place, links):
        names.setdefault(folder, set()).add(name)
    names.setdefault(os.path.realpath(place.state), set()).add(place.wake.name)
    refs = {str(folder): found for folder, found in ref_files(place.root).items()}
    for folder, found in refs.items():
        names.setdefault(folder, set()).update(found)
    # Where not all can be had, a branch that moves is what is missed last of all.
    order = [*sorted(whole), *sorted(names.keys() - whole - refs.keys()), *sorted(refs.keys() - whole)]
    return {Path(folder): None if folder in whole else frozenset(names[folder]) for folder in order}


def _job_folders(root: str, settings: Settings, own: Own) -> Iterator[tuple[str, list[str]]]:
    """Every folder of the root in which a job file may stand, with the symlinks there that may lead to one."""
    left = [""]
    while left:
        below = left.pop()
        links = []
        try:
            with os.scandir(f"{root}/{below}") as entries:
                for entry in entries:
                    path = below + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if may_enter(own, entry, path, settings.jobs):
                            left.append(path + "/")
                    elif entry.is_symlink() and matches_any(path, settings.jobs):
                        links.append(path)
        except OSError:
            continue
        yield f"{root}/{below}".rstrip("/"), links


def _way_to_root(place: Place, links: dict[str, str | None]) -> Iterator[tuple[str, str]]:
    """What has to be watched to see that a link on the way to the root leads elsewhere, or that it comes back."""
    if place.named is not None:
        for folder, name, is_link in _way("/", os.path.abspath(place.named), links):  # noqa: PTH100 - follows no link
            if is_link:
                yield folder, name
    if not place.root.is_dir():
        gone = place.root
        while gone != gone.parent and not gone.parent.is_dir():
            gone = gone.parent
        yield str(gone.parent), gone.name


def _way(top: str, path: str, links: dict[str, str | None]) -> Iterator[tuple[str, str, bool]]:
    """Each folder, and the name in it, by which a path is found, and whether it is a link; these are followed.

    links: where each name that was looked at leads, if it is a link; kept from one call to the next.
    """
    here, left, followed = top.rstrip("/"), path.split("/")[::-1], 0
    while left:
        name = left.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = here.rpartition("/")[0]
            continue
        step = f"{here}/{name}"
        if step not in links:
            links[step] = _target(step)
        target = links[step]
        yield here or "/", name, target is not None
        if target is None:
            here = step
            continue
        followed += 1
        if followed > _MOST_LINKS:
            return
        if target.startswith("/"):
            here = ""
        left += target.split("/")[::-1]


def _target(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115 - for every task of a root, in every pass
    except OSError:
        return None
