"""The commit that changed a file: the newest one in git's history that gave it its present bytes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from scheduler.core.values.facts import Commit, NoCommit
from scheduler.git.folder import shallow_commits
from scheduler.git.run import GitError, stream_git

FEW_PATHS = 100  # up to this many are passed to git; with more, looking at every commit is faster
LOOKUP_S = 10.0  # limit for all questions about one revision
ONE_FILE_S = 2.0  # a command waits for it

_FORMAT = "%x01%H%x00%an%x00%ae%x00%at%x00%s"
_ABSENT = "0"


Key = tuple[str, str | None]  # a path, and the blob that it was given; None: it was deleted


def last_changes(
    root: Path, revisions: Iterable[str], wanted: Iterable[Key], *, timeout: float
) -> dict[Key, Commit | NoCommit]:
    """The same as `look_back`, without what is not found within `timeout` seconds, or because git fails."""
    found: dict[Key, Commit | NoCommit] = {}
    with contextlib.suppress(GitError):  # what was read until then is valid
        found.update(look_back(root, revisions, wanted, timeout=timeout))
    return found


def look_back(
    root: Path, revisions: Iterable[str], wanted: Iterable[Key], *, timeout: float
) -> Iterator[tuple[Key, Commit | NoCommit]]:
    """For each path and blob, the newest commit from the revisions back that put it there.

    A merge counts only if it made a file unlike that of every parent. A renamed file counts as new under its name.
    Leaves out what no commit has done, and ignores revisions that no longer exist.
    Raises: GitError, also midway, if git fails or takes longer than `timeout` seconds.
    """
    left = set(wanted)
    if not left:
        return
    paths = sorted({path for path, _ in left})
    shallow = shallow_commits(root)
    log = stream_git(
        root, "log", "--raw", "-z", "--no-abbrev", "--no-renames", "--relative", "--diff-merges=combined",
        "--encoding=UTF-8", f"--format={_FORMAT}", "--ignore-missing", "--end-of-options", *revisions,
        "--", *(paths if len(paths) <= FEW_PATHS else ["."]), timeout=timeout,
    )  # fmt: skip
    with contextlib.closing(log):
        for commit, path, blob in _changes(log):
            if (path, blob) in left:
                left.remove((path, blob))
                yield (path, blob), "shallow" if commit.id in shallow else commit
                if not left:
                    return


def _changes(log: Iterator[bytes]) -> Iterator[tuple[Commit, str, str | None]]:
    """(commit, path, blob that it put there), newest first, from the output of `git log --raw -z` with our format."""
    words = _words(log)
    commit: Commit | None = None
    for word in words:
        text = word.lstrip(b"\n")
        if text.startswith(b"\x01"):
            who, email, when, subject = (next(words).decode("utf-8", "replace") for _ in range(4))
            commit = Commit(id=text[1:].decode(), author=who, email=email, date=_date(when), subject=subject)
        elif text.startswith(b":") and commit is not None:
            parents = len(text) - len(text.lstrip(b":"))
            *_, new = ids = text.split(b" ")[parents + 1 : 2 * parents + 2]
            path = os.fsdecode(next(words))
            if new not in ids[:-1]:  # otherwise only its mode changed, or it equals that of one parent
                yield commit, path, None if not new.strip(_ABSENT.encode()) else new.decode()


def _words(log: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in log:
        *whole, rest = (rest + piece).split(b"\0")
        yield from whole
    if rest:
        yield rest


def _date(seconds: str) -> datetime:
    """The date of an author, who may have written anything. The epoch if it is out of range."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)
