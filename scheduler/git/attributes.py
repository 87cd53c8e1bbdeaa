"""The attributes of files (gitattributes(5)), as git itself resolves them: of a commit, and of the working tree."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from scheduler.core.formats.checkout import ATTRIBUTES
from scheduler.git.objects import Entry, read_blobs
from scheduler.git.run import clean_environment, run_git, start_git

Attributes = Mapping[str, Mapping[str, str]]  # by path, then by attribute

_NAME = ".gitattributes"
_ASK = ("check-attr", "-z", "--stdin")


def attributes_here(root: Path, paths: Collection[str]) -> Attributes:
    """The attributes of files in the working tree, root-relative. The machine's own settings count. One process.

    Raises: GitError.
    """
    return _parsed(run_git(root, *_ASK, *ATTRIBUTES, input=_asked(paths))) if paths else {}


def attributes_in(
    root: Path, commit: str, entries: Mapping[str, Entry], paths: Collection[str]
) -> Sequence[Attributes]:
    """The attributes of files in a commit, root-relative, by its own .gitattributes alone. Empty if none apply to them.

    Otherwise two results: as they match here, and as they match on a case-insensitive file system (macOS).

    entries: what the commit holds at and below the root. At most seven processes, however many paths.

    `check-attr --source` needs git 2.40, and also reads .git/info/attributes. So git is asked in a temporary repository
    whose index has the .gitattributes of the commit, and whose configuration starts no program.
    Raises: GitError; AbsentError if git lacks one of them, which it would take for an empty one.
    """
    prefix = os.fsdecode(run_git(root, "rev-parse", "--show-prefix").removesuffix(b"\n")) if paths else ""
    # Without case, .GITATTRIBUTES is read, too. The correct spelling comes last and wins.
    named = sorted(each for each in entries if each[-len(_NAME) :].lower() == _NAME)
    folders = {each.lower() for path in paths for each in _folders(path)} if named else set()
    found = {}
    for path in named:
        folder = path[: -len(_NAME)]
        if folder.lower() in folders and not entries[path].is_submodule:
            found[f"{prefix}{folder}{_NAME}"] = entries[path]
    found |= {each.path: each for each in _above(root, commit, prefix)}
    if not found:
        return []
    for _ in read_blobs(root, [each.id for each in found.values()], limit=0):
        pass
    objects = root / os.fsdecode(run_git(root, "rev-parse", "--git-path", "objects").removesuffix(b"\n"))
    index = b"".join(f"{each.mode} {each.id}\t".encode() + os.fsencode(path) + b"\0" for path, each in found.items())
    with tempfile.TemporaryDirectory(prefix="scheduler-attributes-") as folder:
        top, git = Path(folder, "top"), Path(folder, "git")
        for each in (top, git / "objects", git / "refs"):
            each.mkdir(parents=True)
        (git / "HEAD").write_text("ref: refs/heads/none\n")
        kind = "\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha256\n" if len(commit) == 64 else ""
        (git / "config").write_text(f"[core]\n{kind}")
        environ = {
            **clean_environment(os.environ),
            "GIT_DIR": str(git),
            "GIT_WORK_TREE": str(top),
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ATTR_NOSYSTEM": "1",
        }
        options = ("-c", "core.attributesFile=/dev/null", "-c", "core.fsmonitor=false", "-C", str(top))

        def ask(*args: str, stdin: bytes, settings: Sequence[str] = ()) -> bytes:
            given = (*settings, *options, *args)
            return start_git(root, args[0], given, environ=environ, input=stdin, timeout=30)

        ask("update-index", "-z", "--index-info", stdin=index)
        asked = _asked([prefix + path for path in paths])
        ways = [("-c", f"core.ignoreCase={each}") for each in ("false", "true")]
        said = [_parsed(ask(*_ASK, "--cached", *ATTRIBUTES, stdin=asked, settings=each)) for each in ways]
    return [{path.removeprefix(prefix): each for path, each in way.items()} for way in said]


def _folders(path: str) -> Iterator[str]:
    """The folders above a file, each with a trailing slash. The top is empty."""
    yield ""
    for at, letter in enumerate(path):
        if letter == "/":
            yield path[: at + 1]


def _above(root: Path, commit: str, prefix: str) -> Sequence[Entry]:
    """The .gitattributes of the folders above the root, by their paths in the repository."""
    if not prefix:
        return []
    names = [f"{each}{_NAME}" for each in _folders(prefix[:-1])]
    listed = run_git(root, "ls-tree", "-z", "--full-tree", "--end-of-options", commit, *names)
    found = []
    for line in listed.split(b"\0")[:-1]:
        about, path = line.split(b"\t", 1)
        mode, kind, object_id = about.decode("ascii").split(" ")
        if kind == "blob":
            found.append(Entry(os.fsdecode(path), mode, object_id))
    return found


def _asked(paths: Collection[str]) -> bytes:
    return b"".join(os.fsencode(path) + b"\0" for path in paths)


def _parsed(said: bytes) -> Attributes:
    found: dict[str, dict[str, str]] = {}
    words = said.split(b"\0")[:-1]
    for path, name, value in zip(words[::3], words[1::3], words[2::3], strict=True):
        found.setdefault(os.fsdecode(path), {})[name.decode()] = value.decode("utf-8", "replace")
    return found
