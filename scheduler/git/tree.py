"""Files compared with a commit: the blobs it names, and whether a file is one of them (F3)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.core.formats.checkout import KEYWORD
from scheduler.core.values.facts import Provenance
from scheduler.git.attributes import attributes_here
from scheduler.git.folder import git_folder, head_by_hand, is_unborn, reftables
from scheduler.git.objects import blob_id, entries_of, lfs_pointer, resolve_revision
from scheduler.git.run import GitError, run_git


def head(root: Path) -> str | None:
    """The commit that HEAD names. None outside a repository, without git, on an unborn HEAD, or if git refuses."""
    try:
        return resolve_revision(root, "HEAD")
    except GitError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What one commit holds at and below a root: a frozen view, so that one pass sees one revision."""

    revision: str | None = None  # None outside a repository and while HEAD is unborn
    in_repository: bool = False
    blobs: Mapping[str, str] = field(default_factory=dict)  # root-relative path: blob id
    executables: frozenset[str] = frozenset()  # paths
    why_unavailable: str | None = None  # a sentence for people if in_repository is False
    conversions: Conversions | None = field(default=None, compare=False)

    def provenance(self, path: str, data: bytes) -> Provenance:
        """The provenance of `data`, just read from the root-relative `path`, in this revision.

        The bytes decide. If they equal the blob except for git's own conversions on a checkout, they are `converted`.
        If only a filter program could tell, they are `modified`: no program of the repository's choice is started.
        """
        if not self.in_repository:
            return Provenance(why_none=self.why_unavailable)
        why_none = "HEAD has no commit yet" if self.revision is None else None
        blob = self.blobs.get(path)
        if blob is None:
            return Provenance(revision=self.revision, dirty="untracked", why_none=why_none)
        if blob == blob_id(data, blob):
            return Provenance(revision=self.revision, blob=blob)
        converted = self.conversions is not None and self.conversions.explain(path, data, blob)
        return Provenance(revision=self.revision, blob=blob, dirty="converted" if converted else "modified")

    def plain_provenance(self, path: str, data: bytes) -> Provenance | None:
        """The same, if it can be told from the bytes alone. None if git would have to be asked."""
        blob = self.blobs.get(path)
        return None if blob is not None and blob != blob_id(data, blob) else self.provenance(path, data)

    def mode_changed(self, path: str, *, executable: bool) -> bool:
        """True if just one of the file here and the file in this revision is executable."""
        if path not in self.blobs or executable == (path in self.executables):
            return False
        return self.conversions is None or self.conversions.keeps_modes()

    def is_unmerged(self, path: str) -> bool:
        """True if git's index has an unresolved merge of this file."""
        return self.conversions is not None and self.conversions.is_unmerged(path)

    def ignores(self, path: str) -> bool:
        """True if git ignores a file of the root that it does not track."""
        return self.conversions is not None and self.conversions.ignores(path)


_KNOWN_S = 2.0  # for a pass over many files; an edit of .gitattributes takes effect soon after


class Conversions:
    """Differences between a file and its blob by git's own conversions alone: line ends, `$Id$`, and Git LFS.

    Computed here from attributes and configuration: asking git to convert would start the repository's filters.
    """

    def __init__(self, root: Path, paths: Iterable[str]) -> None:
        """paths: all paths that may be asked about."""
        self._root = root
        self._paths = tuple(paths)
        self._known: dict[str, Mapping[str, str]] = {}
        self._known_until = 0.0
        self._auto = False

    def is_unmerged(self, path: str) -> bool:
        """True if the index holds several stages of this path."""
        try:
            return run_git(self._root, "--literal-pathspecs", "ls-files", "--unmerged", "--", path) != b""
        except GitError:
            return True  # nobody can say that it is resolved

    def ignores(self, path: str) -> bool:
        """True if a .gitignore names this path or one of its folders."""
        try:
            run_git(self._root, "check-ignore", "--quiet", "--end-of-options", path)
        except GitError:  # also if none does
            return False
        return True

    def keeps_modes(self) -> bool:
        """True if the files on disk have the modes of a commit (git-config(1), core.fileMode)."""
        try:
            return _core_setting(self._root, "fileMode") != "false"
        except GitError:
            return True

    def explain(self, path: str, data: bytes, blob: str) -> bool:
        """True if a commit of `data` at `path` would give `blob`, or a checkout of that gave `data`."""
        if blob_id(lfs_pointer(data), blob) == blob:
            return True
        lines, keywords = data.replace(b"\r\n", b"\n"), KEYWORD.sub(b"$Id$", data)
        both = KEYWORD.sub(b"$Id$", lines)
        found = next((each for each in (lines, keywords, both) if blob_id(each, blob) == blob), None)
        if found is None:
            return False
        try:
            said = self._attributes(path)
        except GitError:
            return False
        if said["filter"] not in ("unspecified", "unset"):
            return False
        return (found is keywords or self._ends_lines(said, data)) and (found is lines or said["ident"] == "set")

    def _ends_lines(self, said: Mapping[str, str], data: bytes) -> bool:
        """True if line ends of this file are converted (gitattributes(5), end-of-line conversion)."""
        text = said["text"] if said["text"] != "unspecified" else {"input": "set"}.get(said["crlf"], said["crlf"])
        plain = b"\0" not in data and b"\r" not in data.replace(b"\r\n", b"")
        if text == "unspecified":
            return said["eol"] in ("lf", "crlf") or (self._auto and plain)
        return text == "set" or (text == "auto" and plain)

    def _attributes(self, path: str) -> Mapping[str, str]:
        if time.monotonic() > self._known_until:
            self._known = {}
            self._auto = _core_setting(self._root, "autocrlf") in ("true", "input")
            self._known_until = time.monotonic() + _KNOWN_S
        if path not in self._known:
            asked = {path} if len(self._paths) > _MOST_PATHS else {path, *self._paths}
            self._known.update(attributes_here(self._root, asked))
        return self._known[path]


_MOST_PATHS = 20_000  # a tenth of a second


def _core_setting(root: Path, name: str) -> str:
    """A `core` setting as git has it, in lower case. Empty if unset."""
    try:
        found = run_git(root, "config", "--get", f"core.{name}").decode("utf-8", "replace").strip().lower()
    except GitError as error:
        if error.returncode == 1:
            return ""
        raise
    return {"yes": "true", "on": "true", "1": "true", "": "true"}.get(found, found)


def read_tree(root: Path, *paths: str, revision: str | None = None) -> Tree:
    """HEAD's commit below `root`, or only those paths of it. Two calls of git, 12 ms for 10,000 files.

    revision: the id of another commit.

    Never raises GitError: the result says why there is no commit.
    """
    try:
        revision = revision or resolve_revision(root, "HEAD")  # None while it is unborn
        if revision is None:
            return Tree(in_repository=True)
        # The commit, not HEAD again: it may move between the two calls.
        entries = entries_of(root, revision, *paths)
    except GitError as error:
        return Tree(why_unavailable=f"{error}; {error.hint}" if error.hint else str(error))
    blobs = {entry.path: entry.id for entry in entries if not entry.is_submodule}
    conversions = Conversions(root, paths or blobs)
    return Tree(
        revision=revision,
        in_repository=True,
        blobs=blobs,
        executables=frozenset(entry.path for entry in entries if entry.is_executable),
        conversions=conversions,
    )


def git_silence(root: Path, tree: Tree) -> str:
    """Why git has no answer for a root that seems to be in a repository. Empty outside one, and if git answers."""
    if not tree.why_unavailable or not any((folder / ".git").exists() for folder in (root, *root.parents)):
        return ""
    return tree.why_unavailable


class Commits:
    """The tree that HEAD names, read again only when HEAD has moved: a fire must not wait for a process."""

    def __init__(self) -> None:
        self._known: tuple[Path, Tree, tuple[str, ...] | None] | None = None

    def tree(self, root: Path) -> Tree:
        """Like `read_tree`. Thread-safe. Remembers one root, which seldom changes."""
        known = self._known
        if known is None or known[0] != root or not _still(*known):
            tables = reftables(root)  # first: if they change meanwhile, the tree is read again
            self._known = known = root, read_tree(root), tables
        return known[1]

    def known(self, root: Path) -> Tree | None:
        """The same, if it is known already. None if a process would have to be started."""
        known = self._known
        return known[1] if known is not None and known[0] == root and _still(*known) else None


def _still(root: Path, known: Tree, tables: tuple[str, ...] | None) -> bool:
    if not known.in_repository:
        return git_folder(root) is None
    if tables is not None:
        return reftables(root) == tables
    return is_unborn(root) if known.revision is None else head_by_hand(root) == known.revision
