"""A root that is kept from a remote, as it lies on disk: which remote, and the one commit that is the root now.

All of it is in the state folder, on the host: nobody who can push to a repository can change by which rule its commits
are applied (design 6). Below it:

    followed.json           the remote, and by what rule; a person may edit it, and the next look goes by it
    allowed_signers         whose commits are applied, where signatures are asked for (ssh-keygen(1), ALLOWED SIGNERS)
    looked.json             what the last look at the remote found
    applied                 what every commit that was ever the root was signed for, one line each
    store.git/              the bare repository that is fetched into
    commits/<commit>/       the files of one commit, written once and read-only
    current                 a link to the folder in one of them that is the root
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
PIN_S = 5.0  # for a commit that is replaced again and again while it is to be held


class Pin:
    """Keeps the folder of one commit from being removed, as long as somebody holds on to this object.

    By a lock on the folder itself: a process that is killed lets go of it.
    """

    __slots__ = ("_lock", "folder", "root")

    def __init__(self, lock: Lock) -> None:
        self.folder, self._lock = lock.path, lock
        self.root = lock.path  # the folder in it with scheduler.yaml

    def release(self) -> None:
        """Lets go at once: who has this object reads nothing of the commit any more."""
        self._lock.close()

    def __del__(self) -> None:
        self.release()

    @property
    def commit(self) -> str | None:
        """The commit that is held; None once it was let go."""
        return self.folder.name if self._lock.file >= 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What the last look at the remote found, and what is applied of it."""

    commit: str | None = None  # the root now
    applied_at: str | None = None
    tip: str | None = None  # the remote, when it was last reached
    reached_at: str | None = None
    looked_at: str | None = None
    trouble: str = ""  # why what the remote has is not the root; empty if it is
    hint: str = ""
    trouble_since: str | None = None
    failures: int = 0  # looks in a row that could not reach it
    rewritten: str | None = None  # the commit that the last rewriting of history has left behind

    @property
    def exit_code(self) -> int:
        """What a command that looks there ends with: 5 where it could not, 3 where a rule said no (design I3)."""
        return 0 if not self.trouble else UnavailableError.exit_code if self.failures else RefusedError.exit_code

    @property
    def words(self) -> str:
        """For people: why the root is not what the remote has; empty if it is, or nobody has looked yet."""
        if not self.trouble:
            return ""
        stays = "" if self.commit is None else f"; {self.commit[:12]} stays"
        since = "" if self.trouble_since is None else f" (since {self.trouble_since})"
        return f"{self.trouble}{since}{stays}"

    def with_trouble(self, now: str, trouble: str, hint: str = "", *, failures: int = 0) -> Looked:
        """failures: those in a row; 0: the remote was reached."""
        goes_on = trouble == self.trouble or (failures > 1 and self.failures > 0)  # as a remote is away in many words
        since = None if not trouble else self.trouble_since if goes_on else now
        return replace(
            self, looked_at=now, trouble=trouble, hint=hint, trouble_since=since or (now if trouble else None),
            failures=failures,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Followed:
    """The state folder of a root that is kept from a remote."""

    state: Path

    @property
    def folder(self) -> Path:
        """What people know it by: the folder that `scheduler clone` made; or the state folder, if that is elsewhere."""
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
        """What is followed, by the file as it is now. Raises: UnavailableError."""
        if tracked_at(self.file):
            raise UnavailableError(
                f"git tracks {self.file}: anyone who can push could say there what this root follows; it is not used",
                hint=f"take it out of the repository: git rm {self.file}",
            )
        return _read(self.file)

    def write_remote(self, remote: Remote) -> None:
        """Raises: OSError."""
        _write(self.file, remote.to_json())

    def looked(self) -> Looked:
        """What the last look found; nothing where that cannot be read."""
        try:
            return Looked(**json.loads((self.state / _LOOKED).read_bytes()))
        except (OSError, ValueError, TypeError):
            return Looked()

    def standing(self) -> Looked:
        """As `looked`; or, with an error in what says what is followed, that: no look gets beyond it."""
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
        """Every commit that was ever the root, the newest last, by the digest of what it was signed for.

        Raises: OSError.
        """
        try:
            lines = (self.state / _APPLIED).read_text("ascii", "replace").splitlines()
        except FileNotFoundError:
            return {}
        found: dict[str, str] = {}
        for words in (line.split() for line in lines):
            if len(words) == 2:  # a full disk leaves half of a line
                found.pop(words[0], None)
                found[words[0]] = words[1]
        return found

    def add_applied(self, digest: str, commit: str) -> None:
        """Raises: OSError."""
        with (self.state / _APPLIED).open("a") as file:
            file.write(f"\n{digest} {commit}\n")  # begins a line of its own also behind half of one
            file.flush()
            os.fsync(file.fileno())

    def commit(self) -> str | None:
        """The commit that is the root now; None where there is none."""
        found = self._target()
        return None if found is None else found[0]

    def root(self) -> Path | None:
        """The folder that is the root now, in that of its commit; None where there is none."""
        found = self._target()
        return None if found is None else self.commits / found[0] / found[1]

    @property
    def is_there(self) -> bool:
        """Whether the folder that is the root has not been lost."""
        return self.current.is_dir()

    def pin(self) -> Pin:
        """Holds the commit that is the root now. Raises: UnavailableError where none is there."""
        give_up = time.monotonic() + PIN_S
        while True:
            target = self._target()
            found = None if target is None else hold(self.commits / target[0])
            if found is not None and target is not None:
                found.root = found.folder / target[1]
                return found
            if target is None or time.monotonic() > give_up:
                raise UnavailableError(
                    f"{self.current} leads to no commit's folder", hint="`scheduler sync` fetches it again"
                )
            time.sleep(0.01)  # it was replaced, and removed, since the link was read

    def _target(self) -> tuple[str, str] | None:
        """The commit that `current` leads to, and the folder in it."""
        try:
            _, commit, *below = os.readlink(self.current).split("/")  # noqa: PTH115 - at every fire
        except (OSError, ValueError):
            return None
        return commit, "/".join(below)

    def is_at(self, commit: str, path: str) -> bool:
        """Whether this folder of this commit is the root, and is there."""
        return self._target() == (commit, path) and (self.commits / commit / path).is_dir()

    def switch(self, commit: str, path: str) -> None:
        """Makes a folder of a commit the root, at one stroke. Raises: OSError."""
        new = self.state / f".{CURRENT}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        new.symlink_to("/".join(each for each in (_COMMITS, commit, path) if each))
        new.replace(self.current)


def hold(folder: Path, *, alone: bool = False) -> Pin | None:
    """A hold on the folder of a commit; None where it is not there, or is just being removed.

    alone: only if nobody else holds it, and nobody can from now on: to remove it.
    """
    try:
        return Pin(Lock(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, shared=not alone, wait=0))
    except OSError:
        return None


def state_of(folder: Path) -> Path | None:
    """The state folder that keeps a root: of the folder that `clone` made, or of one in a commit's; else None."""
    if (around := state_around(folder)) is not None:  # first: what a commit holds by the names below is data
        return around
    own = folder / ".scheduler"
    if (own / _REMOTE).is_file():
        return Path(os.path.realpath(own))
    link = folder / CURRENT  # where the state folder lies elsewhere
    return state_around(link) if link.is_symlink() and not tracked_at(link) else None


def state_around(folder: Path) -> Path | None:
    """The state folder in which this is the folder of a commit, or one in it; else None."""
    for commits in Path(os.path.realpath(folder) + "/.").parents:
        if commits.name == _COMMITS and (commits.parent / _REMOTE).is_file():
            return commits.parent
    return None


def look_lock(followed: Followed) -> Lock:
    """One look at a time, whoever makes it. Waits for the other. Raises: OSError."""
    return Lock(followed.state / "look.lock")


def _read(path: Path) -> Remote:
    try:
        return read_remote(path.read_bytes())
    except OSError as error:
        raise UnavailableError(
            f"{path}, which says what this root follows, cannot be read: {error.strerror}"
        ) from error
    except ValueError as error:
        raise UnavailableError(f"{path}, which says what this root follows, cannot be used: {error}") from None


def _write(path: Path, content: dict[str, Any]) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with new.open("w") as file:
        new.chmod(0o600)
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
