"""Where a root and its state live, and its scheduler.yaml as one frozen Settings: everything read at the edge."""

from __future__ import annotations

import contextlib
import errno
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
from scheduler.root.trusted import STATE_FOLDER, check_state

INSIDE_A_RUN = "SCHEDULER_RUN_ID"  # in the environment of a run
_POINTERS = ("SCHEDULER_ROOT", "SCHEDULER_STATE", "SCHEDULER_DB")
DB_ENDS = ("", "-wal", "-shm", "-journal")  # what SQLite names the files of one database


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One root, and where its database, outputs and locks are kept."""

    root: Path  # real path
    state: Path
    db: Path
    named: Path | None = None  # the root as it was named: a link there may come to lead elsewhere
    home: Path | None = None  # $XDG_STATE_HOME/scheduler; None: nothing is kept outside the root
    followed: Followed | None = None  # where the root is kept from a remote
    pin: Pin | None = field(default=None, compare=False)  # keeps the commit that is `root` from being removed

    def now(self) -> Place:
        """The place as it stands: of a root that is kept from a remote, the commit that is the root by now.

        That commit's files stay for as long as somebody holds on to what is returned. Raises: UnavailableError.
        """
        if self.followed is None or (
            self.pin is not None and self.pin.commit is not None and self.pin.root == self.followed.root()
        ):
            return self
        pin = self.followed.pin()
        return replace(self, root=pin.root, pin=pin)

    def loose(self) -> Place:
        """Lets go of the commit. What is returned holds none, for who stays long and says `now` before each look."""
        if self.pin is not None:
            self.pin.release()
        return self if self.followed is None else replace(self, root=self.followed.current, pin=None)

    @property
    def label(self) -> Path:
        """What people know the root by, whatever commit it is at."""
        return self.root if self.followed is None else self.followed.folder

    @property
    def closed(self) -> Identities:
        """What is the scheduler's own as it stands now, and never a job file or a task; costs a few calls of stat."""
        return identities([self.state, self.owners, *(self.db.with_name(self.db.name + end) for end in DB_ENDS)])

    @property
    def owners(self) -> Path:
        """Locks of the processes that run jobs: beside the database whose rows name them, whatever `--state` says."""
        return self.db.parent / "owners"

    @property
    def backups(self) -> Path | None:
        """The folder of the nightly copies: out of reach of `git clean`, and of who deletes the root."""
        if self.home is None:
            return None
        name = re.sub(r"[^A-Za-z0-9._-]", "_", self.label.name)[:40] or "root"
        return self.home / "backups" / f"{name}-{_hash(self._ledger)}"

    @property
    def mark(self) -> Path | None:
        """The daemon's second lock, by which it is found when the first is gone together with the state folder."""
        if self.home is None:
            return None
        # With the host's name: a home folder may be shared by machines that have a root at one path each.
        return self.home / "daemons" / _hash(f"{socket.gethostname()}\0{self._ledger}")

    @property
    def moved(self) -> str:
        """That the root was named by a link which leads elsewhere by now; else empty."""
        leads = self.root if self.named is None else Path(os.path.realpath(self.named))
        if leads == self.root or not leads.exists():
            return ""
        return (
            f"{self.named} leads to {leads} now, and this is {self.root}: no new runs start until the link is back or"
            " the daemon is restarted"
        )

    @property
    def name_file(self) -> Path | None:
        """Where it is kept which root a link has led to; None for a root that no link has named.

        A state folder that was named stays where it is, wherever the link leads.
        """
        if self.home is None or self.named is None or self.db not in self._defaults():
            return None
        name = os.path.abspath(self.named)  # noqa: PTH100 - the link itself
        return None if name == str(self.root) else self.home / "names" / _hash(f"{socket.gethostname()}\0{name}")

    def led_to(self) -> Place | None:
        """The place that the link by which the root was named has led to before, if it was another one."""
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
        """Keeps which root the link leads to, for the next start."""
        if self.name_file is not None:
            with contextlib.suppress(OSError):
                make_private(self.name_file.parent)
                new = self.name_file.with_name(f".{self.name_file.name}.{os.getpid()}")
                new.write_text(f"{self.root}\n")
                new.replace(self.name_file)

    def elsewhere(self) -> list[Path]:
        """Databases in the root's default places beside the one that is used."""
        return [db for db in self._defaults() if is_there(db) and not db.samefile(self.db)] if self.db.exists() else []

    @property
    def _ledger(self) -> str:
        """What tells this database from others: the root where it stands in one of its two default places.

        So a root that has become read-only, or writable, is still known to have a daemon and copies.
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
    def wake(self) -> Path:
        """The file that a git hook touches to have a daemon look at once; a daemon makes it."""
        return self.state / "wake"

    def output(self, job_id: str, n: int, attempt: int, stream: str) -> Path:
        return self.outputs / job_id / f"{n}.{attempt}.{stream}"

    def make_state(self) -> None:
        """Creates the state folder, private and ignored by git; what a copy by hand has opened to others is closed.

        Raises: UnavailableError; RefusedError where it may be somebody else's work.
        """
        try:
            make_private(self.state)
            check_state(self.state, self.label)  # once more: somebody may have made it a moment ago
            ignore = self.state / ".gitignore"
            if not ignore.exists() or not ignore.stat().st_size:  # a full disk leaves it empty
                ignore.write_text("*\n")
        except OSError as error:
            raise unusable(self.state, error) from error
        if self.state.name == STATE_FOLDER or self.state.parent == self.home:  # another may be shared on purpose
            _close_to_others(self.state, 0o700)
        for suffix in ("", "-wal", "-shm"):
            _close_to_others(self.db.with_name(self.db.name + suffix), 0o600)


def make_private(folder: Path) -> None:
    """Makes a folder, and those above it that are missing, for this user alone."""
    for each in reversed([folder, *folder.parents]):
        if not each.is_dir():
            each.mkdir(mode=0o700, exist_ok=True)


def _close_to_others(path: Path, mode: int) -> None:
    with contextlib.suppress(OSError):  # not there, or somebody else's
        if path.stat().st_mode & 0o077:
            path.chmod(mode)


def unusable(folder: Path, error: OSError) -> UnavailableError:
    """The error for a state folder that cannot be written or read."""
    return UnavailableError(
        f"the state folder {folder} cannot be used: {error.strerror}",
        hint="free some space, or name another one with --state"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "make it writable, or name another one with --state",
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
    """The place that options, environment and working directory name, in that order.

    Inside a run the working directory goes before the environment where it is in another root.
    only_files: for who looks at nothing else of it, and so may look where the state is not to be believed.
    Raises: UsageError where no scheduler.yaml is found, UnavailableError where the root cannot be read, RefusedError
    where its state is not to be believed.
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
    except RefusedError:
        if not only_files:
            raise
        kept = None
    if kept is not None:
        return _kept_place(kept, folder, named_db, home)
    database = named_db or folder / "state.db"
    if not (found / ROOT_FILE).exists() and not is_there(database):
        raise UsageError(
            f"{found} is not a root: it holds no {ROOT_FILE}",
            hint="start one with `scheduler init`, or name one with --root",
        )
    return Place(root=found, state=folder, db=database, named=named, home=home)


def _stands_in_another(cwd: Path, environ: Mapping[str, str]) -> bool:
    """Whether a run has changed to a folder of another root than its own, such as a worktree of the repository.

    What a run inherits then points at the root that it has left.
    """
    own = environ.get(_POINTERS[0])
    if not own or not environ.get(INSIDE_A_RUN):
        return False
    here = cwd.resolve()
    found = next((folder for folder in (here, *here.parents) if _is_root(folder)), None)
    if found is None or str(found) == os.path.realpath(own):
        return False
    kept = state_of(found)  # each commit of a root that follows a remote has a folder of its own
    return kept is None or kept != state_of(Path(own))


def _is_root(folder: Path) -> bool:
    return (folder / ROOT_FILE).exists() or state_of(folder) is not None


def _way(root: Path, kept: Path) -> Path:
    """The name by which a root leads to the state folder that keeps it."""
    own = root / STATE_FOLDER
    return own if os.path.realpath(own) == str(kept) else kept


def _kept_place(kept: Path, state: Path, db: Path | None, home: Path | None) -> Place:
    """The place of a root that is kept from a remote; a second state folder would be one without a history."""
    if os.path.realpath(state) != str(kept):
        raise UsageError(
            f"what is known of this root is in {kept}, as that is what keeps it from its remote; --state names {state}",
            hint="leave --state and SCHEDULER_STATE out",
        )
    followed = Followed(kept)
    place = Place(root=followed.current, state=kept, db=db or kept / "state.db", home=home, followed=followed)
    # Where the commit's folder is lost, what looks at the remote has to start all the same: it writes it anew.
    return place.now() if followed.is_there else place


def _named_root(path: Path) -> Path:
    try:
        real = path.resolve(strict=True)
        with os.scandir(real):
            return real
    except OSError as error:
        raise UnavailableError(f"the root {path} cannot be read: {error.strerror}") from error


def _stood_in(root: Path, cwd: Path, environ: Mapping[str, str]) -> Path | None:
    """The root by the name of the working directory that a shell keeps, in which links still stand; else None."""
    name = environ.get("PWD", "")
    if not name.startswith("/") or os.path.realpath(name) != os.path.realpath(cwd) or os.path.realpath(name) == name:
        return None
    return next((each for each in (Path(name), *Path(name).parents) if os.path.realpath(each) == str(root)), None)


def _nearest_root(cwd: Path) -> Path:
    """The nearest folder upwards that holds scheduler.yaml or is kept from a remote, else the nearest that once did."""
    here = cwd.resolve()
    folders = [here, *here.parents]
    for folder in folders:
        if _is_root(folder):
            return folder
    for folder in folders:
        if (folder / STATE_FOLDER / "state.db").exists():
            return folder
    raise UsageError(
        f"no {ROOT_FILE} in {here} or above it", hint="start a root with `scheduler init`, or name one with --root"
    )


def _state_folder(root: Path, home: Path | None) -> Path:
    """Where the database is; where there is none yet, below the root if that can be written, else below `home`.

    What is there decides first: a root that becomes read-only, or writable, must not get a second, empty database.
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
    """The folder for what is kept outside of roots; None for a user without a home."""
    named = environ.get("XDG_STATE_HOME", "")
    if not named.startswith("/"):  # relative ones count as unset (XDG Base Directory Specification)
        try:
            base = Path(environ.get("HOME") or Path("~").expanduser())
        except RuntimeError:  # a uid that no account has
            return None
        named = str(base / ".local/state")
    return Path(os.path.realpath(named)) / "scheduler" if named.startswith("/") else None


def is_there(path: Path) -> bool:
    """Whether something has this name; so it is, too, where we may not look: opening it says why not."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
