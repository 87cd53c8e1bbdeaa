"""A followed root as it lies on disk: which remote it follows, and the one commit that is the root now.

All of it is in the state folder, on the host: nobody who can push to a repository can change the rule by which its
commits are applied (design 6). The folder contains:

    followed.json           the remote and its rule; a person may edit it, and the next look obeys it
    allowed_signers         whose commits are applied, if signatures are required (ssh-keygen(1), ALLOWED SIGNERS)
    looked.json             what the last look at the remote found
    applied                 the digest of the signed content, and the id, of every commit that was ever the root
    store.git/              the bare repository that is fetched into
    commits/<commit>/       the files of one commit, written once and read-only
    current                 a link to the root: the folder of a commit, or a folder in it
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scheduler.core.values.problems import RefusedError, UnavailableError
from scheduler.core.values.remote import Remote, read_remote
from scheduler.git.index import tracked_at
from scheduler.machine.locks import Lock

_REMOTE, _LOOKED, _APPLIED, _COMMITS = "followed.json", "looked.json", "applied", "commits"
CURRENT = "current"
PIN_S = 5.0  # for a commit that is replaced again and again while we try to pin it


class Pin:
    """Keeps the folder of one commit from being removed while this object exists.

    It is a lock on the folder itself, so a process that is killed releases it.
    """

    __slots__ = ("_lock", "folder", "root")

    def __init__(self, lock: Lock) -> None:
        self.folder, self._lock = lock.path, lock
        self.root = lock.path  # the folder in it with scheduler.yaml

    def release(self) -> None:
        """Release it at once: the holder reads no more files of the commit."""
        self._lock.close()

    def __del__(self) -> None:
        self.release()

    @property
    def commit(self) -> str | None:
        """The pinned commit, or None once released."""
        return self.folder.name if self._lock.file >= 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What the last look at the remote found, and how much of it is applied."""

    commit: str | None = None  # the root now
    applied_at: str | None = None
    tip: str | None = None  # the remote, when it was last reached
    reached_at: str | None = None
    looked_at: str | None = None
    trouble: str = ""  # why the remote's commit is not the root; empty if it is
    hint: str = ""
    trouble_since: str | None = None
    failures: int = 0  # looks in a row that could not reach the remote
    rewritten: str | None = None  # the commit that the last rewrite of history left behind

    @property
    def exit_code(self) -> int:
        """The exit code of a command that looks there: 5 if it could not, 3 if a rule refused (design I3)."""
        return 0 if not self.trouble else UnavailableError.exit_code if self.failures else RefusedError.exit_code

    @property
    def words(self) -> str:
        """For people: why the root differs from the remote. Empty if it does not, or nobody has looked yet."""
        if not self.trouble:
            return ""
        stays = "" if self.commit is None else f"; {self.commit[:12]} stays in force"
        since = "" if self.trouble_since is None else f" (since {self.trouble_since})"
        return f"{self.trouble}{since}{stays}"

    def with_trouble(self, now: str, trouble: str, hint: str = "", *, failures: int = 0) -> Looked:
        """failures: how many in a row. 0 if the remote was reached."""
        goes_on = trouble == self.trouble or (failures > 1 and self.failures > 0)  # one outage has many wordings
        since = None if not trouble else self.trouble_since if goes_on else now
        return replace(
            self, looked_at=now, trouble=trouble, hint=hint, trouble_since=since or (now if trouble else None),
            failures=failures,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Followed:
    """The state folder of a followed root."""

    state: Path

    @property
    def folder(self) -> Path:
        """The folder people know it by: the one that `scheduler clone` made, or a state folder that is elsewhere."""
        return self.state.parent if self.state.name == ".scheduler" else self.state

    @property
    def store(self) -> Path:
        return self.state / "store.git"

    @property
    def commits(self) -> Path:
        return self.state / _COMMITS

    @property
    def current(self) -> Path:
        return self.state / CURRENT

    @property
    def signers(self) -> Path:
        return self.state / "allowed_signers"

    @property
    def file(self) -> Path:
        return self.state / _REMOTE

    def remote(self) -> Remote:
        """The followed remote, from the file as it is now. Raises: UnavailableError."""
        if tracked_at(self.file):
            raise UnavailableError(
                f"git tracks {self.file}, so anyone who can push could choose what this root follows; it is not used",
                hint=f"remove it from the repository: git rm {self.file}",
            )
        return _read(self.file)

    def write_remote(self, remote: Remote) -> None:
        """Raises: OSError."""
        _write(self.file, remote.to_json())

    def looked(self) -> Looked:
        """What the last look found. Empty if that cannot be read."""
        try:
            return Looked(**json.loads((self.state / _LOOKED).read_bytes()))
        except (OSError, ValueError, TypeError):
            return Looked()

    def standing(self) -> Looked:
        """Like `looked`; or, if the file that names the remote has an error, that error: no look gets past it."""
        looked = self.looked()
        try:
            self.remote()
        except UnavailableError as error:
            return replace(looked, trouble=str(error), hint=error.hint, trouble_since=None, failures=1)
        return looked

    def write_looked(self, looked: Looked) -> None:
        """Raises: OSError."""
        _write(self.state / _LOOKED, asdict(looked))

    def applied(self) -> dict[str, str]:
        """Every commit that was ever the root, newest last, by the digest of its signed content.

        Raises: OSError.
        """
        try:
            lines = (self.state / _APPLIED).read_text("ascii", "replace").splitlines()
        except FileNotFoundError:
            return {}
        found: dict[str, str] = {}
        for words in (line.split() for line in lines):
            if len(words) == 2:  # a full disk leaves half a line
                found.pop(words[0], None)
                found[words[0]] = words[1]
        return found

    def add_applied(self, digest: str, commit: str) -> None:
        """Raises: OSError."""
        with (self.state / _APPLIED).open("a") as file:
            file.write(f"\n{digest} {commit}\n")  # starts a new line even after half a line
            file.flush()
            os.fsync(file.fileno())

    def commit(self) -> str | None:
        """The commit that is the root now, or None."""
        found = self._target()
        return None if found is None else found[0]

    def root(self) -> Path | None:
        """The folder that is the root now, in its commit's folder, or None."""
        found = self._target()
        return None if found is None else self.commits / found[0] / found[1]

    @property
    def is_there(self) -> bool:
        """True if the root's folder exists."""
        return self.current.is_dir()

    def pin(self) -> Pin:
        """Pin the commit that is the root now. Raises: UnavailableError if there is none."""
        give_up = time.monotonic() + PIN_S
        while True:
            target = self._target()
            found = None if target is None else hold(self.commits / target[0])
            if found is not None and target is not None:
                found.root = found.folder / target[1]
                return found
            if target is None or time.monotonic() > give_up:
                raise UnavailableError(
                    f"{self.current} does not lead to the folder of a commit", hint="`scheduler sync` fetches it again"
                )
            time.sleep(0.01)  # it was replaced and removed after the link was read

    def _target(self) -> tuple[str, str] | None:
        """The commit that `current` leads to, and the folder in it."""
        try:
            _, commit, *below = os.readlink(self.current).split("/")  # noqa: PTH115 - at every fire
        except (OSError, ValueError):
            return None
        return commit, "/".join(below)

    def is_at(self, commit: str, path: str) -> bool:
        """True if this folder of this commit is the root and exists."""
        return self._target() == (commit, path) and (self.commits / commit / path).is_dir()

    def switch(self, commit: str, path: str) -> None:
        """Make a folder of a commit the root, atomically. Raises: OSError."""
        new = self.state / f".{CURRENT}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        new.symlink_to("/".join(each for each in (_COMMITS, commit, path) if each))
        new.replace(self.current)


def hold(folder: Path, *, alone: bool = False) -> Pin | None:
    """Pin the folder of a commit. None if it does not exist, or is being removed.

    alone: only if nobody else has pinned it, and so that nobody can from now on: to remove it.
    """
    try:
        return Pin(Lock(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, shared=not alone, wait=0))
    except OSError:
        return None


def state_of(folder: Path) -> Path | None:
    """The state folder of a followed root, given the folder that `clone` made or one in a commit's folder; or None."""
    if (around := state_around(folder)) is not None:  # first: in a commit, the names below are data
        return around
    own = folder / ".scheduler"
    if (own / _REMOTE).is_file():
        return Path(os.path.realpath(own))
    link = folder / CURRENT  # if the state folder is elsewhere
    return state_around(link) if link.is_symlink() and not tracked_at(link) else None


def state_around(folder: Path) -> Path | None:
    """The state folder that has this folder among its commits, at any depth; or None."""
    for commits in Path(os.path.realpath(folder) + "/.").parents:
        if commits.name == _COMMITS and (commits.parent / _REMOTE).is_file():
            return commits.parent
    return None


def look_lock(followed: Followed) -> Lock:
    """Allow one look at a time, whoever makes it. Waits for the other. Raises: OSError."""
    return Lock(followed.state / "look.lock")


def _read(path: Path) -> Remote:
    try:
        return read_remote(path.read_bytes())
    except OSError as error:
        raise UnavailableError(f"cannot read {path}, which says what this root follows: {error.strerror}") from error
    except ValueError as error:
        raise UnavailableError(f"{path}, which says what this root follows, is invalid: {error}") from None


def _write(path: Path, content: dict[str, Any]) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with new.open("w") as file:
        new.chmod(0o600)
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
