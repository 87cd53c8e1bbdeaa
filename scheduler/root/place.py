"""Where a root and its state are, and its scheduler.yaml as one frozen Settings: all of it read at the edge."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from scheduler.core.values.problems import RefusedError, UnavailableError, UsageError
from scheduler.core.values.settings import ROOT_FILE
from scheduler.root.followed import Followed, Pin, state_of
from scheduler.root.reading import Identities, identities
from scheduler.root.trusted import STATE_FOLDER, check_state, check_untracked

INSIDE_A_RUN = "SCHEDULER_RUN_ID"  # in the environment of a run
_POINTERS = ("SCHEDULER_ROOT", "SCHEDULER_STATE", "SCHEDULER_DB")
DB_ENDS = ("", "-wal", "-shm", "-journal")  # the suffixes of SQLite's files for one database


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One root, and where its database, outputs and locks are kept."""

    root: Path  # real path
    state: Path
    db: Path
    named: Path | None = None  # the root as given: a link in it may later lead elsewhere
    home: Path | None = None  # $XDG_STATE_HOME/scheduler; None: nothing is kept outside the root
    followed: Followed | None = None  # for a followed root
    pin: Pin | None = field(default=None, compare=False)  # keeps the commit that is `root` from being removed

    def now(self) -> Place:
        """This place with a current root: for a followed root, the commit that is the root now.

        That commit's files stay as long as somebody holds the returned place. Raises: UnavailableError.
        """
        if self.followed is None or (
            self.pin is not None and self.pin.commit is not None and self.pin.root == self.followed.root()
        ):
            return self
        pin = self.followed.pin()
        return replace(self, root=pin.root, pin=pin)

    def loose(self) -> Place:
        """Release the commit. Returns a place without one, for long-lived holders that call `now` before each look."""
        if self.pin is not None:
            self.pin.release()
        return self if self.followed is None else replace(self, root=self.followed.current, pin=None)

    @property
    def label(self) -> Path:
        """The name that people know the root by, whatever its commit."""
        return self.root if self.followed is None else self.followed.folder

    @property
    def closed(self) -> Identities:
        """The scheduler's own files as they are now, never job files or tasks. Costs a few stat calls."""
        return identities(_own(self.state, self.db, self.owners))

    @property
    def owners(self) -> Path:
        """Locks of the processes that run jobs: beside the database whose rows name them, whatever `--state` says."""
        return self.db.parent / "owners"

    @property
    def backups(self) -> Path | None:
        """The folder of the nightly copies, out of reach of `git clean` and of whoever deletes the root."""
        if self.home is None:
            return None
        name = re.sub(r"[^A-Za-z0-9._-]", "_", self.label.name)[:40] or "root"
        return self.home / "backups" / f"{name}-{_hash(self._ledger)}"

    @property
    def mark(self) -> Path | None:
        """The daemon's second lock, by which it is found if the first is lost with the state folder."""
        if self.home is None:
            return None
        # With the host name: machines that share a home folder may each have a root at the same path.
        return self.home / "daemons" / _hash(f"{socket.gethostname()}\0{self._ledger}")

    @property
    def moved(self) -> str:
        """A message if the link that named the root now leads elsewhere, otherwise empty."""
        leads = self.root if self.named is None else Path(os.path.realpath(self.named))
        if leads == self.root or not leads.exists():
            return ""
        return (
            f"{self.named} now leads to {leads}, not to {self.root}: no new runs start until the link is restored or"
            " the daemon is restarted"
        )

    @property
    def name_file(self) -> Path | None:
        """The file that records which root a link led to. None for a root that no link named.

        A state folder that was given explicitly stays where it is, wherever the link leads.
        """
        if self.home is None or self.named is None or self.db not in self._defaults():
            return None
        name = os.path.abspath(self.named)  # noqa: PTH100 - the link itself
        return None if name == str(self.root) else self.home / "names" / _hash(f"{socket.gethostname()}\0{name}")

    def led_to(self) -> Place | None:
        """The place that the link naming the root led to before, if it was another one."""
        try:
            root = Path(self.name_file.read_text().removesuffix("\n")) if self.name_file is not None else self.root
        except (OSError, ValueError):
            return None
        if root == self.root:
            return None
        outside = None if self.home is None else _outside(root, self.home)
        state = outside if outside is not None and is_there(outside / "state.db") else root / STATE_FOLDER
        return replace(self, root=root, state=state, db=state / "state.db")

    def remember_name(self) -> None:
        """Record which root the link leads to, for the next start."""
        if self.name_file is not None:
            with contextlib.suppress(OSError):
                make_private(self.name_file.parent)
                new = self.name_file.with_name(f".{self.name_file.name}.{os.getpid()}")
                new.write_text(f"{self.root}\n")
                new.replace(self.name_file)

    def elsewhere(self) -> list[Path]:
        """Databases in the root's default places, other than the one in use."""
        return [db for db in self._defaults() if is_there(db) and not db.samefile(self.db)] if self.db.exists() else []

    @property
    def _ledger(self) -> str:
        """What distinguishes this database from others: the root, if it is in one of its two default places.

        So a root that becomes read-only or writable keeps its daemon and copies.
        """
        db = Path(os.path.realpath(self.db))
        return str(self.root) if db in self._defaults() else str(db)

    def _defaults(self) -> list[Path]:
        folders = [self.root / STATE_FOLDER, *([_outside(self.root, self.home)] if self.home else [])]
        return [folder / "state.db" for folder in folders]

    @property
    def outputs(self) -> Path:
        return self.state / "runs"

    @property
    def worktrees(self) -> Path:
        """The new worktrees of runs with `workdir: fresh`: JOB/N, with JOB/N.json beside it (`FreshTree`)."""
        return Path(os.path.realpath(self.state)) / "worktrees"

    @property
    def wake(self) -> Path:
        """The file that a git hook touches to make a daemon look at once. The daemon creates it."""
        return self.state / "wake"

    def output(self, job_id: str, n: int, attempt: int, stream: str) -> Path:
        return self.outputs / job_id / f"{n}.{attempt}.{stream}"

    def make_state(self) -> None:
        """Create the state folder, private and ignored by git. Undo access for others that copying it may have added.

        Raises: UnavailableError; RefusedError if somebody else may have made it.
        """
        try:
            make_private(self.state)
            check_state(self.state, self.label)  # again: somebody may have just made it
            ignore = self.state / ".gitignore"
            if not ignore.exists() or not ignore.stat().st_size:  # a full disk leaves it empty
                ignore.write_text("*\n")
        except OSError as error:
            raise unusable(self.state, error) from error
        if self.state.name == STATE_FOLDER or self.state.parent == self.home:  # any other may be shared on purpose
            _close_to_others(self.state, 0o700)
        for suffix in ("", "-wal", "-shm"):
            _close_to_others(self.db.with_name(self.db.name + suffix), 0o600)


def make_private(folder: Path) -> None:
    """Create a folder and its missing parents, for this user only."""
    for each in reversed([folder, *folder.parents]):
        if not each.is_dir():
            each.mkdir(mode=0o700, exist_ok=True)


def _close_to_others(path: Path, mode: int) -> None:
    with contextlib.suppress(OSError):  # it is absent, or belongs to somebody else
        if path.stat().st_mode & 0o077:
            path.chmod(mode)


def unusable(folder: Path, error: OSError) -> UnavailableError:
    """The error for a state folder that cannot be written or read."""
    return UnavailableError(
        f"the state folder {folder} cannot be used: {error.strerror}",
        hint="free some space, or choose another one with --state"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "make it writable, or choose another one with --state",
    )


def locate(
    root: str | None,
    state: str | None,
    db: str | None,
    *,
    environ: Mapping[str, str],
    cwd: Path,
    only_files: bool = False,
) -> Place:
    """The place named by options, environment or working directory, in that order.

    Inside a run, the working directory comes before the environment if it is in another root.
    only_files: for callers that look only at the files, and so may look even if the state is not trusted.
    Raises: UsageError if no scheduler.yaml is found, UnavailableError if the root cannot be read, RefusedError if its
    state is not trusted.
    """
    if root is None and _stands_in_another(cwd, environ):
        environ = {name: value for name, value in environ.items() if name not in _POINTERS}
    options = zip((root, state, db), _POINTERS, strict=True)
    named, named_state, named_db = (
        cwd / given if (given := option or environ.get(variable)) else None for option, variable in options
    )
    found = _named_root(named) if named else _nearest_root(cwd)
    named = named or _stood_in(found, cwd, environ)
    home = _home(environ)
    kept = state_of(found)
    folder = named_state or (_state_folder(found, home) if kept is None else kept)
    try:
        for each in (folder,) if kept is None else (_way(found, kept), kept, folder):
            check_state(each, found)
        if named_db is not None or (folder / "state.db").is_symlink():  # else the folder has said it
            check_untracked(named_db or folder / "state.db")
    except RefusedError:
        if not only_files:
            raise
        kept = None
    if kept is not None:
        return _kept_place(kept, folder, named_db, home)
    database = named_db or folder / "state.db"
    if not (found / ROOT_FILE).exists() and not is_there(database):
        raise UsageError(
            f"{found} is not a root: it has no {ROOT_FILE}",
            hint="create one with `scheduler init`, or choose one with --root",
        )
    return Place(root=found, state=folder, db=database, named=named, home=home)


def _stands_in_another(cwd: Path, environ: Mapping[str, str]) -> bool:
    """True if a run has changed to a folder of a root other than its own, such as a worktree of the repository.

    The variables that the run inherits then name the root that it has left.
    """
    own = environ.get(_POINTERS[0])
    if not own or not environ.get(INSIDE_A_RUN):
        return False
    here = cwd.resolve()
    found = next((folder for folder in (here, *here.parents) if _is_root(folder)), None)
    if found is None or str(found) == os.path.realpath(own):
        return False
    kept = state_of(found)  # each commit of a followed root has its own folder
    return kept is None or kept != state_of(Path(own))


def _is_root(folder: Path) -> bool:
    return (folder / ROOT_FILE).exists() or state_of(folder) is not None


def _way(root: Path, kept: Path) -> Path:
    """The path by which a root leads to its state folder."""
    own = root / STATE_FOLDER
    return own if os.path.realpath(own) == str(kept) else kept


def _kept_place(kept: Path, state: Path, db: Path | None, home: Path | None) -> Place:
    """The place of a followed root. A second state folder would have no history."""
    if os.path.realpath(state) != str(kept):
        raise UsageError(
            f"this root follows a remote, and its state must stay in {kept}; --state says {state}",
            hint="leave out --state and unset SCHEDULER_STATE",
        )
    followed = Followed(kept)
    place = Place(root=followed.current, state=kept, db=db or kept / "state.db", home=home, followed=followed)
    # If the commit's folder is lost, the follower must start all the same: it writes the folder again.
    return place.now() if followed.is_there else place


def _named_root(path: Path) -> Path:
    try:
        real = path.resolve(strict=True)
        with os.scandir(real):
            return real
    except OSError as error:
        raise UnavailableError(f"cannot read the root {path}: {error.strerror}") from error


def _stood_in(root: Path, cwd: Path, environ: Mapping[str, str]) -> Path | None:
    """The root under the working directory's name in the shell, in which links are unresolved; or None."""
    name = environ.get("PWD", "")
    if not name.startswith("/") or os.path.realpath(name) != os.path.realpath(cwd) or os.path.realpath(name) == name:
        return None
    return next((each for each in (Path(name), *Path(name).parents) if os.path.realpath(each) == str(root)), None)


def _nearest_root(cwd: Path) -> Path:
    """The nearest parent with a scheduler.yaml or a followed root, otherwise the nearest that once was a root."""
    here = cwd.resolve()
    folders = [here, *here.parents]
    for folder in folders:
        if _is_root(folder):
            return folder
    for folder in folders:
        if (folder / STATE_FOLDER / "state.db").exists():
            return folder
    raise UsageError(
        f"no {ROOT_FILE} in {here} or above it", hint="create a root with `scheduler init`, or choose one with --root"
    )


def _state_folder(root: Path, home: Path | None) -> Path:
    """The folder of the database. If there is none yet: below the root if that is writable, otherwise below `home`.

    An existing database decides first: a root that becomes read-only or writable must not get a second, empty one.
    """
    inside = root / STATE_FOLDER
    if home is None or is_there(inside / "state.db"):
        return inside
    outside = _outside(root, home)
    writable = os.access(inside if inside.is_dir() else root, os.W_OK)
    return outside if is_there(outside / "state.db") or not writable else inside


def _outside(root: Path, home: Path) -> Path:
    return home / _hash(str(root))


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


def _home(environ: Mapping[str, str]) -> Path | None:
    """The folder for data kept outside of roots. None for a user without a home."""
    named = environ.get("XDG_STATE_HOME", "")
    if not named.startswith("/"):  # relative ones count as unset (XDG Base Directory Specification)
        try:
            base = Path(environ.get("HOME") or Path("~").expanduser())
        except RuntimeError:  # a uid without an account
            return None
        named = str(base / ".local/state")
    return Path(os.path.realpath(named)) / "scheduler" if named.startswith("/") else None


def is_there(path: Path) -> bool:
    """True if something has this name, or if we may not look: then opening it will say why."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


@functools.lru_cache(maxsize=4)
def _own(state: Path, db: Path, owners: Path) -> tuple[str, ...]:
    return (str(state), str(owners), *(str(db.with_name(db.name + end)) for end in DB_ENDS))
