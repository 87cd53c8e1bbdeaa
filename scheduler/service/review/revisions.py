"""A root as one commit holds it, without a checkout: what a pass would read is copied into a private folder.

So the readers of the working tree judge a commit too, by the same rules for links, sizes and encodings. Nothing of the
repository's working tree, index or refs is touched, and of 100,000 files only job files and their tasks are taken out.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from scheduler.core.formats.globs import matches_any, may_hold
from scheduler.core.plan.desired import Desired
from scheduler.core.values.problems import Problem, UnavailableError, UsageError
from scheduler.core.values.settings import ROOT_FILE, Settings
from scheduler.git.run import GitError, run_git
from scheduler.git.tree import Tree
from scheduler.root.desired import read_desired
from scheduler.root.parsed import Parsed
from scheduler.root.place import Place
from scheduler.root.settings import ROOT_FILE_BYTES, read_settings
from scheduler.root.tasks import JOB_FILE_BYTES

_LINK, _SUBMODULE = b"120000", b"160000"
_LARGEST = max(JOB_FILE_BYTES, ROOT_FILE_BYTES)
_MOST_AT_ONCE = 64 * 1024 * 1024  # bytes of blobs in one answer of git
_MOST_LINKS = 40  # on the way to one file, as Linux has it
_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\n")
_MOST_NAMES = 1_000  # of a folder
_TIMEOUT_S = 120


# -- which commits -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The two ends of a review."""

    base: str  # the commit compared with
    base_tip: str  # the commit that `--base` names; another one where the base has moved on
    head: str | None  # None: the files on disk
    nothing_new: bool = False  # HEAD is part of BASE: from the merge base on there is nothing


def compare(root: Path, base: str, head: str | None, *, direct: bool = False) -> Compared:
    """Resolves two revisions; as in a pull request, HEAD is compared with where it left BASE (`git diff BASE...HEAD`).

    direct: with BASE itself.
    Raises: UsageError for a revision nobody knows; UnavailableError without a repository, or where it is too shallow.
    """
    shallow = run_git(root, "rev-parse", "--is-shallow-repository").strip() == b"true"
    tip = _commit(root, base, "--base", shallow)
    end = None if head is None else _commit(root, head, "--head", shallow)
    if direct:
        return Compared(base=tip, base_tip=tip, head=end)
    tree = end or _commit(root, "HEAD", "HEAD", shallow)
    try:
        merge_base = run_git(root, "merge-base", "--end-of-options", tip, tree).decode("ascii").split()[0]
    except GitError as error:
        if error.returncode != 1:
            raise
        said = f"{base!r} and {head or 'HEAD'!r} have no commit in common"
        if shallow:
            raise UnavailableError(f"{said} in this shallow clone", hint=_DEEPEN) from None
        raise UsageError(said, hint="compare them as they are with --direct") from None
    return Compared(base=merge_base, base_tip=tip, head=end, nothing_new=merge_base == tree != tip)


_DEEPEN = (
    "run `git fetch --unshallow`, or `git fetch --depth=1000`; in GitHub Actions give actions/checkout fetch-depth: 0"
)


def _commit(root: Path, name: str, option: str, shallow: bool) -> str:
    if not name or name.startswith("-"):
        raise UsageError(
            f"{option} {name!r} is not a revision: none begins with -" if name else f"{option} names no revision",
            hint="name a commit, a branch or a tag, such as origin/main",
        )
    try:
        found = run_git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    except GitError as error:
        if error.returncode is None:
            raise
        if shallow:
            raise UnavailableError(f"{option} {name!r} is no commit of this shallow clone", hint=_DEEPEN) from None
        raise UsageError(
            f"{option} {name!r} is no commit of this repository",
            hint="name a commit, a branch or a tag; one that is only on the server comes with `git fetch origin`",
        ) from None
    return found.decode("ascii").strip()


def folder_in_repository(root: Path) -> str:
    """The root relative to the top of its repository, without a slash at the end; empty where it is the top."""
    return os.fsdecode(run_git(root, "rev-parse", "--show-prefix").removesuffix(b"\n")).rstrip("/")


# -- what a commit holds -----------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Snapshot:
    """A root as read: from a commit, or from disk."""

    place: Place
    settings: Settings | None  # None: scheduler.yaml is gone or wrong
    desired: Desired | None
    problems: tuple[Problem, ...]  # of scheduler.yaml
    exists: bool = True  # whether there is a scheduler.yaml at all
    pointers: Mapping[str, str] = field(default_factory=dict)  # Git LFS: path, and sha256 of what it stands for
    submodules: tuple[str, ...] = ()  # those in which a job or a task could lie


def on_disk(place: Place, revision: str | None) -> Snapshot:
    settings, problems = read_settings(place)
    desired = None if settings is None else read_desired(place, settings, Tree(revision=revision))
    return Snapshot(place=place, settings=settings, desired=desired, problems=problems)


@contextlib.contextmanager
def at_commit(root: Path, revision: str) -> Iterator[Snapshot]:
    """The root as that commit holds it; its copy is there for as long as the context lasts.

    Raises: UnavailableError where git or the folder for temporary files cannot be used.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="scheduler-plan-")
    except OSError as error:
        raise UnavailableError(
            f"no temporary folder can be made: {error.strerror}", hint="name one in TMPDIR"
        ) from error
    with folder as name:
        top = Path(os.path.realpath(name))
        place = Place(root=top / "root", state=top / "state", db=top / "state" / "state.db")
        place.root.mkdir()
        copy = _Copy(root, place.root, revision)
        copy.take([ROOT_FILE])
        settings, problems = read_settings(place)
        found = Snapshot(
            place=place, settings=settings, desired=None, problems=problems, exists=ROOT_FILE in copy.entries
        )
        if settings is not None:
            copy.take(path for path in copy.entries if matches_any(path, settings.jobs))
            parsed, tree = Parsed(), Tree(revision=revision)
            read_desired(place, settings, tree, parsed=parsed)
            paths = parsed.task_paths()
            copy.take(paths)
            copy.name_those_beside(path for path in paths if path not in copy.entries)
            desired = read_desired(place, settings, tree, parsed=parsed)  # parses nothing again
            found.desired = _with_pointers(desired, copy)
            found.pointers = copy.pointers
            found.submodules = tuple(
                path
                for path in copy.submodules
                if any(may_hold(path, glob) for glob in settings.jobs)
                or any(task.startswith(path + "/") for task in paths)
            )
        yield found


def _with_pointers(desired: Desired, copy: _Copy) -> Desired:
    """A task that Git LFS keeps elsewhere is known by its sha256, which the pointer names."""

    def known(path: str | None) -> str | None:
        return None if path is None else copy.pointers.get(copy.leads_to(path) or path)

    return replace(
        desired,
        found=tuple(
            replace(found, task_sha256=known(found.document.task_source_path))
            if found.task_sha256 is not None and known(found.document.task_source_path)
            else found
            for found in desired.found
        ),
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: bytes
    id: str


class _Copy:
    """Single files of a commit, and the links on the way to them, written below a folder that nobody else has."""

    def __init__(self, root: Path, folder: Path, revision: str) -> None:
        self._root = root
        self._folder = folder
        self._links: dict[str, str] = {}
        self._written: set[str] = set()
        self.pointers: dict[str, str] = {}
        self.entries: dict[str, _Entry] = {}
        for entry in run_git(root, "ls-tree", "-r", "-z", "--end-of-options", revision, timeout=_TIMEOUT_S).split(
            b"\0"
        )[:-1]:
            about, name = entry.split(b"\t", 1)
            mode, _kind, object_id = about.split(b" ")
            self.entries[os.fsdecode(name)] = _Entry(mode, object_id.decode("ascii"))
        self.submodules = [path for path, entry in self.entries.items() if entry.mode == _SUBMODULE]
        links = {path: entry for path, entry in self.entries.items() if entry.mode == _LINK}
        self._links = {
            path: os.fsdecode(text) if isinstance(text, bytes) else "" for path, text in self._blobs(links, limit=4096)
        }

    def take(self, paths: Iterable[str]) -> None:
        """Writes these files, as far as the commit holds them; one above every limit as a hole of its size."""
        links: list[str] = []
        wanted: dict[str, _Entry] = {}
        for path in paths:
            real = self._follow(path, links)
            entry = self.entries.get(real) if real is not None else None
            if real is None or entry is None or real in self._written:
                continue
            if entry.mode == _SUBMODULE:
                self._target(real).mkdir(exist_ok=True)
            else:
                wanted[real] = entry
        for path, data in self._blobs(wanted, limit=_LARGEST):
            self._written.add(path)
            self._write(path, data)
        for path in links:
            if path not in self._written and self._links[path]:
                self._written.add(path)
                with contextlib.suppress(OSError):  # names that differ by case only, where case does not count
                    self._target(path).symlink_to(self._links[path])

    def name_those_beside(self, missing: Iterable[str]) -> None:
        """Empty files by the names of a missing file's neighbours, among which a hint looks for the one meant.

        After all that is read has been taken: nobody may take an empty one for what the commit holds.
        """
        folders = {path.rpartition("/")[0] for path in missing}
        if not folders:
            return
        counts = dict.fromkeys(folders, _MOST_NAMES)
        for path, entry in self.entries.items():
            folder = path.rpartition("/")[0]
            if counts.get(folder, 0) and path not in self._written and entry.mode not in (_LINK, _SUBMODULE):
                counts[folder] -= 1
                with contextlib.suppress(OSError):
                    self._target(path).touch(exist_ok=False)

    def leads_to(self, path: str) -> str | None:
        return self._follow(path, [])

    def _follow(self, path: str, links: list[str]) -> str | None:
        """Where a path leads by the commit's own links, which are added to `links`; None where that is outside."""
        parts, count = path.split("/")[::-1], 0
        here: list[str] = []
        while parts:
            part = parts.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if not here:
                    return None
                here.pop()
                continue
            name = "/".join([*here, part])
            if name not in self._links:
                here.append(part)
                continue
            links.append(name)
            count += 1
            if count > _MOST_LINKS or self._links[name].startswith("/"):
                return None
            parts += self._links[name].split("/")[::-1]
        return "/".join(here)

    def _write(self, path: str, data: bytes | int) -> None:
        if isinstance(data, bytes) and len(data) < 1024 and (pointer := _POINTER.match(data)):
            self.pointers[path] = pointer[1].decode("ascii")
        target = self._target(path)
        try:
            with target.open("xb") as file:
                if isinstance(data, int):
                    file.truncate(data)
                else:
                    file.write(data)
        except FileExistsError:
            pass  # as above
        except OSError as error:
            raise UnavailableError(
                f"{path!r} of the commit cannot be looked at: {error.strerror}",
                hint="make room, or name another TMPDIR",
            ) from error

    def _target(self, path: str) -> Path:
        """Where a file of the commit goes, its folder made. A tree that git itself would never write is refused."""
        parts = path.split("/")
        above = ["/".join(parts[:n]) for n in range(1, len(parts))]
        if any(part in ("", ".", "..") for part in parts) or any(each in self.entries for each in above):
            raise UnavailableError(f"the commit holds {path!r}, which no file can be named", hint="run `git fsck`")
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _blobs(self, wanted: Mapping[str, _Entry], *, limit: int) -> Iterator[tuple[str, bytes | int]]:
        """The bytes of each path, or their number where there are more than `limit`."""
        if not wanted:
            return
        sizes = self._sizes(wanted)
        batch: list[str] = []
        room = _MOST_AT_ONCE
        for path in wanted:
            if sizes[path] > limit:
                yield path, sizes[path]
                continue
            if sizes[path] > room:
                yield from self._read(batch, wanted, sizes)
                batch, room = [], _MOST_AT_ONCE
            batch.append(path)
            room -= sizes[path]
        yield from self._read(batch, wanted, sizes)

    def _sizes(self, wanted: Mapping[str, _Entry]) -> dict[str, int]:
        ids = "".join(f"{entry.id}\n" for entry in wanted.values()).encode()
        absent = UnavailableError(
            "git does not have the content of every file of the commit: this is a partial clone, or a damaged one",
            hint="clone without --filter, or run `git fetch --refetch --no-filter`",
        )
        try:
            told = run_git(self._root, "cat-file", "--batch-check=%(objectsize)", input=ids, timeout=_TIMEOUT_S)
        except GitError as error:
            if error.returncode is None:
                raise
            raise absent from error
        sizes = told.splitlines()
        if not all(size.isdigit() for size in sizes):
            raise absent
        return {path: int(size) for path, size in zip(wanted, sizes, strict=True)}

    def _read(
        self, paths: list[str], wanted: Mapping[str, _Entry], sizes: Mapping[str, int]
    ) -> Iterator[tuple[str, bytes]]:
        if not paths:
            return
        ids = "".join(f"{wanted[path].id}\n" for path in paths).encode()
        answer = run_git(self._root, "cat-file", "--batch", input=ids, timeout=_TIMEOUT_S)
        at = 0
        for path in paths:
            at = answer.index(b"\n", at) + 1
            yield path, answer[at : at + sizes[path]]
            at += sizes[path] + 1
