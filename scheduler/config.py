"""Where a root and its state live, and its scheduler.yaml as one frozen Settings: everything read at the edge."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from scheduler.core.models import ROOT_FILE, Fault, Settings
from scheduler.core.problems import Problem, RefusedError, UnavailableError, UsageError
from scheduler.safe_open import read_file

STATE_FOLDER = ".scheduler"
ROOT_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One root, and where its database, outputs and locks are kept."""

    root: Path  # real path
    state: Path
    db: Path

    @property
    def owners(self) -> Path:
        """Locks of the processes that run jobs: beside the database whose rows name them, whatever `--state` says."""
        return self.db.parent / "owners"

    @property
    def outputs(self) -> Path:
        return self.state / "runs"

    def output(self, job_id: str, n: int, attempt: int, stream: str) -> Path:
        return self.outputs / job_id / f"{n}.{attempt}.{stream}"

    def make_state(self) -> None:
        """Creates the state folder, private and ignored by git.

        Raises: UnavailableError.
        """
        try:
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            ignore = self.state / ".gitignore"
            if not ignore.exists() or not ignore.stat().st_size:  # a full disk leaves it empty
                ignore.write_text("*\n")
        except OSError as error:
            raise unusable(self.state, error) from error


def start_state(place: Place, *, new_state: bool, now: datetime) -> None:
    """Sees to it that nobody starts without a history by accident.

    new_state: put aside what is left of one whose database is gone, and start anew.
    Raises: RefusedError where outputs of runs are there, but the database that names them is gone.
    """
    runs, db = place.state / "runs", place.db
    try:
        if db.exists():
            lost = new_state and db.stat().st_size == 0  # without leave to start anew, opening it says so
        else:
            lost = db == place.state / "state.db" and runs.is_dir() and any(runs.iterdir())
        if not lost:
            return
        if not new_state:
            raise RefusedError(
                f"the database {db} is gone, and with it what it knew of the runs whose outputs are in {runs}",
                hint="put a copy of it back, or start without a history by --new-state",
            )
        for left in (runs, db):
            if left.exists():
                left.rename(left.with_name(f"{left.name}.before-{now:%Y%m%dT%H%M%S}"))
    except OSError as error:
        raise unusable(place.state, error) from error


def unusable(folder: Path, error: OSError) -> UnavailableError:
    """The error for a state folder that cannot be written or read."""
    return UnavailableError(
        f"the state folder {folder} cannot be used: {error.strerror}",
        hint="free some space, or name another one with --state"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "make it writable, or name another one with --state",
    )


def locate(root: str | None, state: str | None, db: str | None, *, environ: Mapping[str, str], cwd: Path) -> Place:
    """The place that options, environment and working directory name, in that order.

    Raises: UsageError where no scheduler.yaml is found, UnavailableError where the root cannot be read.
    """
    root_option = root or environ.get("SCHEDULER_ROOT")
    state_option = state or environ.get("SCHEDULER_STATE")
    db_option = db or environ.get("SCHEDULER_DB")
    found = _named_root(cwd / root_option) if root_option else _nearest_root(cwd)
    folder = _state_folder(found, environ) if not state_option else cwd / state_option
    database = folder / "state.db" if not db_option else cwd / db_option
    if not (found / ROOT_FILE).exists() and not database.exists():
        raise UsageError(
            f"{found} is not a root: it holds no {ROOT_FILE}",
            hint="start one with `scheduler init`, or name one with --root",
        )
    return Place(root=found, state=folder, db=database)


def _named_root(path: Path) -> Path:
    try:
        real = path.resolve(strict=True)
        with os.scandir(real):
            return real
    except OSError as error:
        raise UnavailableError(f"the root {path} cannot be read: {error.strerror}") from error


def _nearest_root(cwd: Path) -> Path:
    """The nearest folder upwards that holds scheduler.yaml, else the nearest that once did."""
    here = cwd.resolve()
    folders = [here, *here.parents]
    for name in (ROOT_FILE, f"{STATE_FOLDER}/state.db"):
        for folder in folders:
            if (folder / name).exists():
                return folder
    raise UsageError(
        f"no {ROOT_FILE} in {here} or above it", hint="start a root with `scheduler init`, or name one with --root"
    )


def _state_folder(root: Path, environ: Mapping[str, str]) -> Path:
    inside = root / STATE_FOLDER
    if inside.exists() or os.access(root, os.W_OK):
        return inside
    base = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".local/state")
    return Path(base) / "scheduler" / hashlib.sha256(str(root).encode()).hexdigest()[:16]


def read_settings(place: Place) -> tuple[Settings | None, tuple[Problem, ...]]:
    """scheduler.yaml as it stands now; None, with the reasons, where it is gone or wrong."""
    data = read_file(place.root, ROOT_FILE, limit=ROOT_FILE_BYTES)
    if isinstance(data, Fault):
        gone = data.reason == "source_missing"
        return None, (
            Problem(
                path=ROOT_FILE,
                line=1,
                column=1,
                code="root.missing" if gone else "root.unreadable",
                message=f"{ROOT_FILE} is gone" if gone else data.message,
                hint="nothing is applied until it is back; the last good settings stay in force",
            ),
        )
    return _parsed(data)


@functools.lru_cache(maxsize=4)
def _parsed(data: bytes) -> tuple[Settings | None, tuple[Problem, ...]]:
    """Kept: a daemon asks at every fire."""
    from scheduler.core.rootfile import read_root_file  # pays for the YAML machinery only when a file is read

    return read_root_file(data, path=ROOT_FILE)
