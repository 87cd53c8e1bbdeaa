"""What an edit does to files, worked out before any is touched: its diff, and how it is written.

Into the working tree, all files or none; with a commit of just these files; or onto a branch nobody has checked out.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.core.values.problems import SchedulerError
from scheduler.git.write import Branch, check_commit, commit_files, commit_on_branch
from scheduler.machine.crash import crash_point
from scheduler.root import writing
from scheduler.root.committed import CommitFiles
from scheduler.service.edit.permission import Permission
from scheduler.service.edit.target import IN_PLACE, Target
from scheduler.service.edit.trees import EditFiles

Tell = Callable[[str], None]
Undo = Sequence[tuple[str, bytes | None, bytes | None]]  # path, what it holds, what it held


@dataclass(slots=True)
class Draft:
    """What an edit does to files, in the order in which it is written; paths are real ones, relative to the root."""

    files: EditFiles
    branch: Branch | None
    job_id: str
    summary: str
    main: str = ""  # the file that an answer names
    before: dict[str, bytes | None] = field(default_factory=dict)
    after: dict[str, bytes | None] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)  # new file: the one whose mode it takes over
    gone: bool = False  # the job shall be archived
    target: Target = IN_PLACE
    permission: Permission | None = None  # of the agent whose edit it is
    notes: list[str] = field(default_factory=list)  # what whoever asked has to know once it is done

    def put(self, path: str, before: bytes | None, after: bytes | None) -> None:
        if before != after:
            self.before[path], self.after[path] = before, after
            self.main = self.main or path


def write(root: Path, draft: Draft, target: Target, environ: Mapping[str, str], tell: Tell) -> str | None:
    """Does what the draft says, all of it or nothing; the commit, where one was made.

    Raises: RefusedError where a file has changed meanwhile or git says no; UnavailableError.
    """
    message = target.message or draft.summary
    if draft.branch is not None:
        assert isinstance(draft.files.files, CommitFiles)
        entries = draft.files.files.entries
        likes = {path: draft.modes.get(path, path) for path in draft.after}
        modes = {path: entries[like].mode for path, like in likes.items() if like in entries}
        return commit_on_branch(root, draft.branch, draft.after, modes, message, environ)
    if target.commit:
        check_commit(root, list(draft.after), environ)
    undo = _write_files(root, draft, tell)
    if not target.commit:
        return None
    try:
        commit = commit_files(root, list(draft.after), message, environ)
    except BaseException:
        _take_back(root, undo, tell)
        raise
    draft.after = _as_committed(root, draft, tell)
    return commit


def _write_files(root: Path, draft: Draft, tell: Tell) -> list[tuple[str, bytes | None, bytes | None]]:
    """All files or none; what undoes it, the last one first."""
    for path, old in draft.before.items():
        if old is not None:
            writing.check_writable(root, path, old)
    done: list[tuple[str, bytes | None, bytes | None]] = []
    try:
        for path, new in draft.after.items():
            old = draft.before[path]
            _write_file(root, path, old, new, like=draft.modes.get(path))
            done.insert(0, (path, new, old))
            crash_point("edit_between_files")
    except BaseException:
        _take_back(root, done, tell)
        raise
    return done


def _write_file(root: Path, path: str, old: bytes | None, new: bytes | None, *, like: str | None = None) -> None:
    if old is None:
        assert new is not None
        mode = None if like is None else (root / like).stat().st_mode
        writing.create(root, path, new, mode=mode)
    elif new is None:
        writing.delete(root, path, old)
    else:
        writing.replace(root, path, old, new)


def _take_back(root: Path, undo: Sequence[tuple[str, bytes | None, bytes | None]], tell: Tell) -> None:
    for path, old, new in undo:
        try:
            _write_file(root, path, old, new)
        except SchedulerError as error:  # somebody has gone on from it: theirs stays
            tell(f"{path} could not be put back as it was: {error}")


def _as_committed(root: Path, draft: Draft, tell: Tell) -> dict[str, bytes | None]:
    """What the files hold now: a hook may have gone over them."""
    found: dict[str, bytes | None] = {}
    for path, written in draft.after.items():
        try:
            found[path] = (root / path).read_bytes()
        except FileNotFoundError:
            found[path] = None
        if found[path] != written:
            tell(f"a hook of the repository has changed {path}")
    return found


def diff_of(before: Mapping[str, bytes | None], after: Mapping[str, bytes | None]) -> str:
    """A unified diff of these files, as git would show it."""
    found: list[str] = []
    for path, new in after.items():
        old = before[path]
        names = ("/dev/null" if old is None else f"a/{path}", "/dev/null" if new is None else f"b/{path}")
        lines = difflib.unified_diff(_lines(old), _lines(new), *names, lineterm="\n")
        for line in lines:
            found.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(found)


def _lines(data: bytes | None) -> list[str]:
    text = (data or b"").decode("utf-8", "replace")
    return [line + "\n" for line in text.split("\n")[:-1]] + (
        [text.rsplit("\n", 1)[-1]] if text.rsplit("\n", 1)[-1] else []
    )
