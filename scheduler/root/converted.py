"""The files of a root that a checkout converts: job files, their tasks, scheduler.yaml, and files that runners name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from scheduler.core.formats.checkout import Conversion, find_conversion
from scheduler.core.plan.desired import Desired
from scheduler.core.values.facts import Fault
from scheduler.core.values.settings import ROOT_FILE
from scheduler.git.folder import git_folder
from scheduler.git.run import GitError
from scheduler.root.committed import CommitFiles
from scheduler.root.files import Files, WorkingTree
from scheduler.root.runner_files import RUNNER_FILE_BYTES

if TYPE_CHECKING:
    from scheduler.git.attributes import Attributes


def conversions_of(files: Files, desired: Desired | None, *, others: Collection[str] = ()) -> dict[str, Conversion]:
    """The conversions of everything that can run, by the path it is named by. Empty outside a repository.

    desired: what the files say. None if scheduler.yaml cannot be used.
    others: job files and tasks besides, which no link leads to.
    Raises: GitError.
    """
    named = {ROOT_FILE: files.leads_to(ROOT_FILE), **{path: path for path in others}}
    if desired is not None:
        named |= {path: read.path for path, read in desired.sources.items()}
        # A task that is unreadable here may be readable after a checkout.
        tasks = {path for each in desired.found for path in each.document.task_paths}
        programs = {path for runner in desired.settings.runners.values() for path, _ in runner.files}
        named |= {path: files.leads_to(path) for path in sorted((tasks | programs) - named.keys())}
    return _conversions(files, named)


def conversions_here(files: WorkingTree, desired: Desired, *, only_differing: bool = False) -> dict[str, Conversion]:
    """The conversions in the working tree. Empty if git does not answer.

    only_differing: only of job files and tasks whose bytes, as read, differ from their commit. A pass must not wait
    for git if there are none.
    """
    try:
        if not only_differing:
            return conversions_of(files, desired)
        differ = ("converted", "modified")
        return _conversions(
            files, {path: read.path for path, read in desired.sources.items() if read.provenance.dirty in differ}
        )
    except GitError:
        return {}


def conversions_on_branch(files: CommitFiles, written: Mapping[str, bytes]) -> dict[str, Conversion]:
    """What a checkout makes of these bytes at these real paths, by the attributes of a commit.

    Raises: GitError.
    """
    return _conversions(files, {path: path for path in written}, written.__getitem__)


def _conversions(
    files: Files, named: Mapping[str, str], read: Callable[[str], bytes] | None = None
) -> dict[str, Conversion]:
    def bytes_of(path: str) -> bytes | None:
        source = files.read(path, limit=RUNNER_FILE_BYTES, hidden=True)
        if isinstance(source, Fault):
            return None if source.reason == "source_missing" else b""
        return source.data

    said = _attributes(files, set(named.values())) if named else ()
    if not said:
        return {}
    found = {}
    for path, real in sorted(named.items()):
        # First with data that every attribute affects, so that few files are read.
        ways = [each[real] for each in said if real in each and find_conversion(each[real], b"$Id$\n") is not None]
        if not ways:
            continue
        data = (read or bytes_of)(path)
        conversions = [each for way in ways if data is not None and (each := find_conversion(way, data)) is not None]
        if conversions:
            found[path] = next((each for each in conversions if each.hides), conversions[0])
    return found


def _attributes(files: Files, paths: Collection[str]) -> Sequence[Attributes]:
    from scheduler.git.attributes import attributes_here, attributes_in

    if isinstance(files, CommitFiles):
        return attributes_in(files.root, files.commit, files.entries, paths)
    assert isinstance(files, WorkingTree)
    # A followed root is written from the bytes of the commit.
    if files.place.followed is not None or git_folder(files.root) is None:
        return ()
    return (attributes_here(files.root, paths),)
