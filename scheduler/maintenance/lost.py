"""A root whose history is gone."""

from __future__ import annotations

import contextlib
import shlex
from datetime import datetime
from pathlib import Path

from scheduler.control.client import answer_of
from scheduler.control.daemon_lock import DaemonLock, find
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import RefusedError, UnavailableError
from scheduler.ledger.database import journals_by
from scheduler.maintenance.backup import copies, newest
from scheduler.root.place import Place, is_there, unusable

SIDES = ("-wal", "-shm", "-journal")


def lost(place: Place) -> str:
    """Why a database seems to have been lost here. Empty if there is one, or never was."""
    if is_there(place.db):
        return ""
    aside = _put_aside_before(place)
    beside = f"; an earlier one was set aside as {aside}" if aside is not None else ""
    last = newest(place)
    if last is not None:
        return f"the database {place.db} is gone; there is a backup from {instant(last.at)}{beside}"
    if aside is not None:
        return f"the database {place.db} is gone{beside}"
    runs = place.outputs
    with contextlib.suppress(OSError):
        if place.db == place.state / "state.db" and runs.is_dir() and any(runs.iterdir()):
            return f"the database {place.db} is gone, but {runs} has captured output of its runs"
    return ""


def _put_aside_before(place: Place) -> Path | None:
    """The newest database that `restore` or `--new-state` put aside: a restore may have been killed right then."""
    with contextlib.suppress(OSError):
        found = [each for each in place.db.parent.glob(f"{place.db.name}.before-*") if not each.name.endswith(SIDES)]
        return max(found, key=lambda each: each.name, default=None)
    return None


def refuse_lost(place: Place, *, held: bool = False) -> None:
    """Raises: RefusedError if the database is gone: an empty answer, or an empty new database, would be a lie.

    held: by this process, so no daemon is asked for one.
    """
    if is_there(place.db):
        return
    _refuse_moved(place)
    why = lost(place)
    if not why and not held and (why := _lost_by_daemon(place)):
        raise RefusedError(
            why, hint="run `scheduler restore BACKUP`; or stop the daemon and run `scheduler sync --new-state`"
        )
    if why:
        last, aside = newest(place), _put_aside_before(place)
        known = last.path if last is not None else aside
        back = "BACKUP" if known is None else shlex.quote(str(known))
        raise RefusedError(
            why, hint=f"run `scheduler restore {back}`; or start without history: `scheduler sync --new-state`"
        )


def _refuse_moved(place: Place) -> None:
    """Raises: RefusedError if the link that names the root led to another one before, which has the history."""
    before = place.led_to()
    if before is None:
        return
    last = newest(before)
    if is_there(before.db):
        has, way = (
            f"the history is in {before.db}",
            f"mv {shlex.quote(str(before.state))} {shlex.quote(str(place.state))}",
        )
    elif last is not None:
        has = f"the history was in {before.db}, which is gone; there is a backup from {instant(last.at)}"
        way = f"scheduler restore {shlex.quote(str(last.path))}"
    else:
        return
    raise RefusedError(
        f"{place.named} used to lead to {before.root}, and {has}; it now leads to {place.root}, which has no history",
        hint=f"stop the daemon and run: {way}; to keep one history for all releases, put it outside them with"
        " --state; to start without history: `scheduler sync --new-state`",
    )


def _lost_by_daemon(place: Place) -> str:
    """A message if there is a daemon but no database. One that is just starting answers once it has created it."""
    holder = find(place)
    if holder is None:
        return ""
    with contextlib.suppress(UnavailableError):
        answer_of(holder, "status")
    return "" if is_there(place.db) else f"the database {place.db} is gone while a daemon uses it: {holder}"


def start_state(place: Place, *, new_state: bool, now: datetime, held: bool = False) -> list[Path]:
    """Make sure that nobody starts without a history by accident.

    new_state: put aside the remains of a database that is gone, empty or no database, and start a new one.
    held: this process already keeps daemons away.
    Returns what was put aside. Raises: RefusedError if a history is gone and nobody has asked for a new one;
    UnavailableError.
    """
    if not new_state:
        refuse_lost(place, held=held)
        place.remember_name()
        return []
    place.remember_name()
    try:
        # A database that was named explicitly is not ours to move, whatever it is.
        ruined = place.db.is_file() and (
            place.db.stat().st_size == 0
            or (place.db == place.state / "state.db" and journals_by(place.db) == "nothing")
        )
        if not ruined and not lost(place):
            return []
        with contextlib.nullcontext() if held else DaemonLock(place, since=instant(now), listening=False):
            moved = put_aside(place.db, now)
            if place.db == place.state / "state.db":
                moved += _aside(place.outputs, now)
            if place.backups is not None and any(not copy.earlier for copy in copies(place)):
                # Otherwise the new history's copies would push them out within a week.
                folder = place.backups / f"before-{now:%Y%m%dT%H%M%S}"
                folder.mkdir(mode=0o700, exist_ok=True)
                for copy in copies(place):
                    if not copy.earlier:
                        copy.path.rename(folder / copy.path.name)
                moved.append(folder)
    except OSError as error:
        raise unusable(place.state, error) from error
    return moved


def put_aside(db: Path, now: datetime) -> list[Path]:
    """Rename a database and its journals, if it exists."""
    name = first = f"{db.name}.before-{now:%Y%m%dT%H%M%S}"
    n = 1
    while is_there(db.with_name(name)):
        n += 1
        name = f"{first}-{n}"
    # The journals first: one left behind would be replayed into the next database of this name.
    moved = []
    for suffix in (*SIDES, ""):
        path = db.with_name(db.name + suffix)
        with contextlib.suppress(FileNotFoundError):
            path.rename(db.with_name(name + suffix))
            moved.append(db.with_name(name + suffix))
    return moved[-1:]


def _aside(path: Path, now: datetime) -> list[Path]:
    if not path.exists():
        return []
    return [path.rename(path.with_name(f"{path.name}.before-{now:%Y%m%dT%H%M%S}"))]
