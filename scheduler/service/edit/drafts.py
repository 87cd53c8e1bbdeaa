"""An edit's changes to files, computed before any file is touched; and how they are written and synced.

They go to the working tree, all files or none; to a commit of just these files; or to a branch nobody has checked out.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scheduler.core.edits.traces import still_edited
from scheduler.core.values.problems import RefusedError, Remedy, SchedulerError, UnavailableError, UsageError
from scheduler.core.values.settings import ROOT_FILE
from scheduler.core.values.texts import short
from scheduler.git.write import Branch, check_commit, commit_files, commit_on_branch, keep_blob
from scheduler.machine.crash import crash_point
from scheduler.maintenance.lost import refuse_lost
from scheduler.remote.branches import push_branch, take_back_unsigned
from scheduler.root import writing
from scheduler.root.committed import CommitFiles
from scheduler.root.place import is_there
from scheduler.service.edit.permission import Permission
from scheduler.service.edit.proposed import Proposal
from scheduler.service.edit.trees import EditFiles
from scheduler.service.jobs import show_job
from scheduler.service.root import Root
from scheduler.service.sync import sync

if TYPE_CHECKING:
    from scheduler.core.answers import JobJson
    from scheduler.core.changes import EditJson, GuardJson


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where an edit goes. Default: the working tree."""

    commit: bool = False
    branch: str | None = None
    push: bool = False  # the branch, to the remote that the root follows
    message: str | None = None
    requested_by: str | None = None  # who asked for it, if git on this machine commits under another name

    def check(self) -> None:
        """Check that the options fit together. Raises: UsageError."""
        if self.commit and self.branch is not None:
            raise UsageError(
                "an edit goes into a commit here or onto a branch, not both",
                hint="leave commit out: an edit on a branch is always committed",
            )
        if self.push and self.branch is None:
            raise UsageError("only a branch can be pushed", remedy=Remedy.NAME_BRANCH)
        if self.message is not None and not (self.commit or self.branch is not None):
            raise UsageError("a commit message needs a commit", remedy=Remedy.COMMIT)
        if self.message is not None and not self.message.strip():
            raise UsageError("the commit message is blank", hint="leave it out to use the default message")
        if self.message is not None and "\0" in self.message:
            raise UsageError(
                "the commit message contains a NUL character", hint="remove it: a commit message cannot contain one"
            )
        if self.message is not None:
            try:
                size = len(self.message.encode("utf-8", "surrogateescape"))
            except UnicodeEncodeError:
                raise UsageError("the commit message is not valid Unicode text: it contains a lone surrogate") from None
            if size > MOST_MESSAGE:
                raise UsageError(
                    f"the commit message has {size:,} bytes; the limit is {MOST_MESSAGE:,}", hint="shorten it"
                )


IN_PLACE = Target()
MOST_MESSAGE = 256 * 1024  # bytes of a commit message
_MOST_LINES = 3  # lines of somebody else's text, in an error

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A file written by an edit."""

    path: str
    wrote: bytes | None  # None: deleted
    before: bytes | None
    mode: int | None  # of the file that was there; of a new file, the mode it got


@dataclass(slots=True)
class Draft:
    """An edit's changes to files, in the order of writing. Paths are real paths relative to the root."""

    files: EditFiles
    branch: Branch | None
    job_id: str
    summary: str
    main: str = ""  # the file that an answer names
    before: dict[str, bytes | None] = field(default_factory=dict)
    after: dict[str, bytes | None] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)  # new file: the file whose mode it gets
    gone: bool = False  # the job is to be archived
    target: Target = IN_PLACE
    permission: Permission | None = None  # of the agent who makes the edit
    kept: Mapping[str, Any] = field(default_factory=dict)  # keys of the schedule that stay without being named
    dropped: Mapping[str, Any] = field(default_factory=dict)  # keys of the schedule that no longer have a meaning
    notes: list[str] = field(default_factory=list)  # what the caller must know once it is done
    give_up: float = math.inf  # on the monotonic clock: others wait for this edit

    def go_on(self) -> None:
        """Check the time. Raises: UnavailableError if computing the edit has taken too long."""
        if time.monotonic() > self.give_up:
            raise UnavailableError(
                "the edit took too long, and other edits are waiting; nothing was written",
                hint="change fewer keys at once, or edit the file by hand",
            )

    def put(self, path: str, before: bytes | None, after: bytes | None) -> None:
        if before != after:
            self.before[path], self.after[path] = before, after
            self.main = self.main or path


def write(root: Path, draft: Draft, target: Target, environ: Mapping[str, str], tell: Tell) -> str | None:
    """Carry out the draft, completely or not at all. Returns the commit, if one was made.

    Raises: RefusedError if a file has changed in the meantime or git refuses; UnavailableError.
    """
    message = target.message or draft.summary
    if target.requested_by is not None:
        message = f"{message.rstrip()}\n\nRequested-by: {target.requested_by}"
    if draft.branch is not None:
        assert isinstance(draft.files.files, CommitFiles)
        entries = draft.files.files.entries
        likes = {path: draft.modes.get(path, path) for path in draft.after}
        modes = {path: entries[like].mode for path, like in likes.items() if like in entries}
        return commit_on_branch(root, draft.branch, draft.after, modes, message, environ)
    if target.commit:
        check_commit(root, list(draft.after), environ)
    done = _write_files(root, draft, tell)
    if not target.commit:
        return None
    with _taken_back(root, done, tell):
        commit = commit_files(root, list(draft.after), message, environ)
    draft.after = _as_committed(root, draft, tell)
    return commit


def _write_files(root: Path, draft: Draft, tell: Tell) -> list[_Step]:
    """Write all files or none. Returns the steps in this order."""
    for path, old in draft.before.items():
        if old is not None:
            writing.check_writable(root, path, old)
    done: list[_Step] = []
    with _taken_back(root, done, tell):
        for path, new in draft.after.items():
            old, like = draft.before[path], draft.modes.get(path)
            mode = None if like is None else (root / like).stat().st_mode
            done.append(_write_file(root, path, old, new, mode=mode))
            crash_point("edit_between_files")
    return done


def _write_file(root: Path, path: str, old: bytes | None, new: bytes | None, *, mode: int | None) -> _Step:
    if old is None:
        assert new is not None
        writing.create(root, path, new, mode=mode)
    elif new is None:
        mode = writing.delete(root, path, old)
    else:
        mode = writing.replace(root, path, old, new)
    return _Step(path=path, wrote=new, before=old, mode=mode)


@contextlib.contextmanager
def _taken_back(root: Path, done: list[_Step], tell: Tell) -> Iterator[None]:
    """Undo what was done if the block fails. The error says what could not be undone."""
    try:
        yield
    except BaseException as error:
        found = [_take_back(root, step) for step in reversed(done)]
        stays = [text for text, is_back in found if not is_back]
        if not isinstance(error, SchedulerError):
            for text, _ in found:
                if text:
                    tell(text)
        else:
            error.args = ("; ".join([str(error), *stays]),)
            if not stays and not error.remedy:
                kept = [text for text, _ in found if text]
                error.hint = "; ".join([error.hint or "the files are unchanged", *kept])
        raise


def _take_back(root: Path, step: _Step) -> tuple[str, bool]:
    """Undo one step. Returns what to report about it, and whether the file is as it was.

    A hook may have changed the file since, which must not keep a refused edit in force. Any other text that does not
    come from ours was saved by somebody in the meantime, and stays.
    """
    path, before, wrote = step.path, step.before, step.wrote
    try:
        now = _held(root, path)
        if now not in (before, wrote) and now and (wrote is None or not still_edited(before, wrote, now)):
            return f"someone else changed {path} during the edit; their change was kept: {_told(before, now)}", False
        if now is not None and step.mode is not None:
            writing.set_mode(root, path, step.mode)
        if now != before:
            _write_file(root, path, now, before, mode=step.mode)
    except (OSError, SchedulerError) as error:
        return f"{path} could not be restored: {error}", False
    if not now or now in (before, wrote):
        return "", True
    blob = keep_blob(root, now)
    return (f"a hook changed {path}; `git cat-file -p {blob[:12]}` shows that version" if blob else ""), True


def _held(root: Path, path: str) -> bytes | None:
    try:
        return (root / path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _told(before: bytes | None, now: bytes) -> str:
    """The first lines of a text that were not there before."""
    known = {line.strip() for line in _lines(before)}
    lines = [line.strip() for line in _lines(now) if line.strip() not in known]
    return short(" / ".join(lines[:_MOST_LINES])) if lines else "lines were deleted"


def _as_committed(root: Path, draft: Draft, tell: Tell) -> dict[str, bytes | None]:
    """The current contents of the files, which a hook may have changed."""
    found: dict[str, bytes | None] = {}
    for path, written in draft.after.items():
        found[path] = _held(root, path)
        if found[path] != written:
            tell(f"a git hook changed {path}")
    return found


def _to_committed_form(draft: Draft) -> None:
    """Convert the draft for a branch as `git add` would: nothing else converts these bytes. Raises: GitError."""
    from scheduler.core.formats.checkout import committed_form
    from scheduler.root.converted import conversions_on_branch

    assert isinstance(draft.files.files, CommitFiles)
    written = {path: data for path, data in draft.after.items() if data is not None}
    for path, conversion in conversions_on_branch(draft.files.files, written).items():
        draft.after[path] = data = committed_form(written[path], conversion)
        if data == draft.before[path]:
            del draft.before[path], draft.after[path]
        elif conversion.hides:
            draft.notes.append(
                f"git converts {path} on checkout ({conversion.words}): it will run another text than the branch has"
            )


def diff_of(before: Mapping[str, bytes | None], after: Mapping[str, bytes | None]) -> str:
    """A unified diff of these files, as git would show it."""
    found: list[str] = []
    for path, new in after.items():
        old = before[path]
        names = ("/dev/null" if old is None else _named("a", path), "/dev/null" if new is None else _named("b", path))
        lines = difflib.unified_diff(_lines(old), _lines(new), *names, lineterm="\n")
        for line in lines:
            found.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(found)


def _named(side: str, path: str) -> str:
    """A path in the header of a diff, in quotes as git does if it contains invisible characters."""
    name = f"{side}/{path}"
    if name.isprintable() and '"' not in name:
        return name
    shown = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in os.fsencode(name))
    return f'"{"".join(shown)}"'


def _lines(data: bytes | None) -> list[str]:
    text = (data or b"").decode("utf-8", "replace")
    *lines, last = text.split("\n")
    return [*(line + "\n" for line in lines), *([last] if last else [])]


def apply_draft(root: Root, draft: Draft) -> EditJson:
    commit, target = None, draft.target
    if draft.permission is not None:
        draft.permission.check(draft.files, draft.job_id, draft.after, gone=draft.gone, known=root.known(draft.job_id))
    if draft.branch is not None and root.place.followed is None:  # a followed root runs exactly what the commit holds
        _to_committed_form(draft)
    proposal = None if draft.gone else Proposal(root, draft.files, draft.job_id)
    if draft.after:
        commit = write(root.place.root, draft, target, root.environ, root.tell)
    else:
        root.tell("nothing to do: the files already say this")
    for note in draft.notes:
        root.tell(note)
    # Before a sync: the definition currently in force decides what widens.
    proposed = None if proposal is None else proposal.told(draft.after, draft.kept, draft.dropped)
    followed = root.place.followed
    where = _push(root, draft, commit) if target.push else ""
    applied: str
    why: str | None
    guard: GuardJson | None = None
    if where:
        applied, why = "pending_branch", f"it is on {where}, which is not merged yet"
    elif draft.branch is not None and not target.push and (draft.after or not draft.branch.is_new):
        applied, why = "pending_branch", f"it is on branch {draft.branch.name}, which is not merged yet"
    else:
        applied, why, guard = _apply(root, draft)
        if target.push and followed is not None and (refused := followed.looked().words):
            applied, why = "next_sync", refused
    return {
        "root": str(root.place.label),
        "job": _job_json(root, draft.job_id),
        "job_id": draft.job_id,
        "applied": applied,
        "why": why,
        "guard": guard,
        "file": draft.main or None,
        "files": list(draft.after),
        "diff": diff_of(draft.before, draft.after),
        "commit": commit,
        "branch": None if draft.branch is None or applied != "pending_branch" else draft.branch.name,
        "proposed": proposed,
    }


def _push(root: Root, draft: Draft, commit: str | None) -> str:
    """Push the branch, even if only an earlier edit made it. Returns where it is; empty for what is followed."""
    followed, branch = root.place.followed, draft.branch
    assert followed is not None
    assert branch is not None
    if unsigned := take_back_unsigned(followed, branch.name):
        raise RefusedError(
            f"commit {unsigned}, and this root applies only signed commits; nothing was pushed, the commit was dropped",
            hint="set up commit signing for this user (commit.gpgSign, user.signingkey), or choose another branch",
        )
    try:
        push_branch(followed, branch.name, root.environ)
    except SchedulerError as error:
        kept = "" if commit is None else f"; commit {commit[:12]} is on the local branch {branch.name}"
        raise type(error)(f"{error}{kept}", hint=f"{error.hint}; then run the same command to push again") from error
    remote = followed.remote()
    return "" if branch.name == remote.branch else f"branch {branch.name} of {remote.url}"


def _apply(root: Root, draft: Draft) -> tuple[str, str | None, GuardJson | None]:
    """Sync the edit. Returns whether it was applied, and if not, why, and the guard that held it back."""
    try:
        if not is_there(root.place.db):  # an edit creates no database
            refuse_lost(root.place)
            return "next_sync", "this root has never been synced; run `scheduler sync`", None
        found = sync(root, cause="edit")
    except SchedulerError as error:
        return "next_sync", str(error), None
    if held := found.json["held"]:
        return "next_sync", f"sync is held: {held}", None
    if not found.read:
        return "next_sync", f"{ROOT_FILE} is missing or invalid; `scheduler validate` shows why", None
    job = root.known(draft.job_id)
    if draft.gone:
        if job is None or job.archived:
            return "now", None, None
        guard = found.json["guard"]
        if guard is not None and draft.job_id in guard["ids"]:
            archives = f"`scheduler sync --confirm-prune {guard['token']}` archives {', '.join(guard['ids'])}"
            return "next_sync", f"the prune guard holds the archive back: {guard['why']}; {archives}", guard
        return "next_sync", "the job is not archived yet; `scheduler sync` says why", None
    if job is None or job.archived or job.file.sync_state.value != "synced":
        return "next_sync", "the job could not be applied; `scheduler sync` says why", None
    return "now", None, None


def _job_json(root: Root, job_id: str) -> JobJson | None:
    try:
        return show_job(root, job_id)["job"]
    except SchedulerError:
        return None  # no sync has seen it yet
