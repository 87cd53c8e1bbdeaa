"""What to do where the database is gone: nobody starts without a history by accident, and a copy can be put back.

Nothing here deletes a database, an output or a copy: what has to make room is put aside under another name.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scheduler.control.client import answer_of
from scheduler.control.hold import Hold, find
from scheduler.core.due.due import passed
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import RefusedError, UnavailableError, UsageError
from scheduler.core.values.runs import AuditRow
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.ledger import owners
from scheduler.ledger.copies import Contents, check_database, copy_database
from scheduler.ledger.database import journals_by, make_durable, part_from_journal
from scheduler.ledger.store import Store
from scheduler.machine.crash import crash_point
from scheduler.maintenance.backup import copies, newest
from scheduler.root.place import Place, is_there, make_private, unusable

_SIDES = ("-wal", "-shm", "-journal")


def lost(place: Place) -> str:
    """Why it is believed that there was a database here which is gone; empty where there is one, or never was."""
    if is_there(place.db):
        return ""
    aside = _put_aside_before(place)
    beside = f"; one that was put aside is {aside}" if aside is not None else ""
    last = newest(place)
    if last is not None:
        return f"the database {place.db} is gone; there is a copy of {instant(last.at)}{beside}"
    if aside is not None:
        return f"the database {place.db} is gone{beside}"
    runs = place.outputs
    with contextlib.suppress(OSError):
        if place.db == place.state / "state.db" and runs.is_dir() and any(runs.iterdir()):
            return f"the database {place.db} is gone, and with it what it knew of the runs whose outputs are in {runs}"
    return ""


def _put_aside_before(place: Place) -> Path | None:
    """The newest database that `restore` or `--new-state` has put aside; a restore may have been killed just then."""
    with contextlib.suppress(OSError):
        found = [each for each in place.db.parent.glob(f"{place.db.name}.before-*") if not each.name.endswith(_SIDES)]
        return max(found, key=lambda each: each.name, default=None)
    return None


def refuse_lost(place: Place, *, held: bool = False) -> None:
    """Raises: RefusedError where the database is gone: an empty answer, or an empty new one, would be a lie.

    held: by this process, so that no daemon knows of another one.
    """
    if is_there(place.db):
        return
    why = lost(place)
    if not why and not held and (why := _lost_by_daemon(place)):
        raise RefusedError(
            why,
            hint="`scheduler restore BACKUP` puts a copy back; or stop it, and start without a history by --new-state",
        )
    if why:
        last, aside = newest(place), _put_aside_before(place)
        known = last.path if last is not None else aside
        back = "BACKUP" if known is None else shlex.quote(str(known))
        raise RefusedError(
            why, hint=f"`scheduler restore {back}` puts it back; serve and sync start without a history by --new-state"
        )


def _lost_by_daemon(place: Place) -> str:
    """That a daemon is there and no database. One that is just starting answers once it has made it."""
    holder = find(place)
    if holder is None:
        return ""
    with contextlib.suppress(UnavailableError):
        answer_of(holder, "status")
    return "" if is_there(place.db) else f"the database {place.db} is gone, under the daemon that holds it: {holder}"


def start_state(place: Place, *, new_state: bool, now: datetime, held: bool = False) -> list[Path]:
    """Sees to it that nobody starts without a history by accident.

    new_state: put aside what is left of one whose database is gone, empty or no database, and start anew.
    held: this process keeps daemons away already.
    Returns what was put aside. Raises: RefusedError where a history is gone and nobody gave leave to start anew;
    UnavailableError.
    """
    if not new_state:
        refuse_lost(place, held=held)
        return []
    try:
        # One given by name is not ours to move, whatever it is.
        ruined = place.db.is_file() and (
            place.db.stat().st_size == 0
            or (place.db == place.state / "state.db" and journals_by(place.db) == "nothing")
        )
        if not ruined and not lost(place):
            return []
        with contextlib.nullcontext() if held else Hold(place, since=instant(now), listening=False):
            moved = put_aside(place.db, now)
            if place.db == place.state / "state.db":
                moved += _aside(place.outputs, now)
            if place.backups is not None and any(not copy.earlier for copy in copies(place)):
                # Else the new history's copies would push them out within a week.
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
    """Gives a database and its journals another name, if it is there."""
    name = first = f"{db.name}.before-{now:%Y%m%dT%H%M%S}"
    n = 1
    while is_there(db.with_name(name)):
        n += 1
        name = f"{first}-{n}"
    # The journals first: one that stays behind would be replayed into the next database of this name.
    moved = []
    for suffix in (*_SIDES, ""):
        path = db.with_name(db.name + suffix)
        with contextlib.suppress(FileNotFoundError):
            path.rename(db.with_name(name + suffix))
            moved.append(db.with_name(name + suffix))
    return moved[-1:]


def _aside(path: Path, now: datetime) -> list[Path]:
    if not path.exists():
        return []
    return [path.rename(path.with_name(f"{path.name}.before-{now:%Y%m%dT%H%M%S}"))]


class DatabaseFile:
    """The file that a daemon has opened: whether it is still there, and whether another has come in its place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._opened = _identity(place.db)
        self._seen: os.stat_result | None = None  # what stood in its place at the last look
        self._refused = ""
        self._judged = False  # as it stands, it was refused: not worth reading as a whole every second

    def trouble(self) -> str:
        """Why nothing may be written: it is gone, another file has its name, or it was overwritten."""
        db = self._place.db
        try:
            if _identity(db) != self._opened:
                what = "is no longer the file that this daemon opened" if is_there(db) else "is gone"
            elif journals_by(db) != "wal":
                what = "was overwritten under this daemon"
            else:
                return ""
        except OSError as error:
            what = f"cannot be looked at ({error.strerror})"
        return f"the database {db} {what}: nothing fires{self._refused}"

    def put_back(self) -> bool:
        """Whether a whole and sound database stands in its place, other than the one that was opened.

        To be asked every second or so: one that is still being copied there changes from look to look.
        """
        db = self._place.db
        before, self._seen = self._seen, _stat(db)
        if self._seen is None or not self.trouble():
            self._refused = ""
            return False
        try:
            part_from_journal(db)
            if before is None or _looks(before) != _looks(self._seen):
                self._refused, self._judged = "", False
                return False
            if self._judged:
                return False
            check_database(db)
            if _identity(db) != self._opened:
                return True
            # Overwritten in place. Our connections would write their journal into it as they close, unless it has
            # become another file by then: at the next look it has.
            new = db.with_name(f"{db.name}.restoring")
            _remove(new)
            made = datetime.fromtimestamp(self._seen.st_mtime, UTC)
            copy_database(db, new, live=False, at=made, actor="scheduler")
            new.rename(db)
        except (UnavailableError, OSError, ValueError) as error:
            self._judged = True
            self._refused = f"; what stands there now cannot be taken up: {error}"
        return False


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _identity(path: Path) -> tuple[int, int] | None:
    found = _stat(path)
    return None if found is None or not found.st_size else (found.st_dev, found.st_ino)


def _looks(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


# -- going on from a copy --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What a copy was made of, before anybody goes on from it."""

    copied_at: datetime
    slots: int  # that count as missed, for nobody knows which of them were served
    waited: tuple[str, ...]  # runs that waited for a place; skips now


def settle_copy(
    store: Store, place: Place, *, now: datetime, actor: str, numbers: Mapping[str, int] | None = None
) -> Settled | None:
    """Makes a copy that was put in the database's place fit to go on from; None where it is none, or was made so.

    By whatever way it came there: a copy says of itself that it is one. The slots from the copy until now, and what
    waited for a place, may have been served after the copy was made. So they become skips, and nothing of them runs.
    numbers: run numbers given since, as far as known; those that the outputs show are added.
    """
    while True:
        copied_at = store.copied_at()
        if copied_at is None:
            return None
        observed = store.observed()
        dues = [due for job in observed.jobs.values() if (due := passed(job, now)) is not None]
        slots = sum(skip.slots for due in dues for skip in due.skips)
        given = _numbers_of_outputs(place)
        for job_id, n in (numbers or {}).items():
            given[job_id] = max(n, given.get(job_id, 0))
        audit = AuditRow(
            job_id=ROOT_JOB_ID,
            action="restore",
            field="database",
            before={"copied_at": instant(copied_at)},
            after={"slots_not_known": slots},
            at=now,
            actor=actor,
            cause="restore",
        )
        waited = store.settle_copy(dues, ticket=observed.ticket, numbers=given, now=now, audit=audit)
        if waited is not None:
            return Settled(copied_at=copied_at, slots=slots, waited=tuple(run.id for run in waited))


def _numbers_of_outputs(place: Place) -> dict[str, int]:
    """The highest run number of each job whose output is there: its files must not become another run's."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for folder in place.outputs.iterdir():
            with contextlib.suppress(OSError):
                numbers = [path.name.partition(".")[0] for path in folder.iterdir()]
                found[folder.name] = max((int(each) for each in numbers if each.isdecimal()), default=0)
    return found


# -- restore ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    contents: Contents
    settled: Settled
    put_aside: Path | None  # the database that was there
    unpaused: tuple[str, ...]  # jobs that were paused there and are not in the copy
    taken_up: str  # the daemon that goes on from it by itself; empty: none runs


def restore(place: Place, source: Path, *, now: datetime, actor: str) -> Restored:
    """Puts a verified copy in the database's place; the one that is there is put aside.

    A daemon whose database is gone may go on running: it takes the copy up. Raises: UsageError, RefusedError while
    somebody uses the database, UnavailableError where the copy is not sound.
    """
    if not source.is_file():
        raise UsageError(f"there is no copy {source}", hint="`scheduler restore` lists the nightly ones")
    if is_there(place.db) and source.samefile(place.db):
        raise UsageError(f"{source} is the database itself")
    holder = find(place)
    if holder is not None and _identity(place.db) is not None:
        raise RefusedError(
            f"the database {place.db} is held by a daemon: {holder}", hint="stop it, restore, and start it again"
        )
    with contextlib.ExitStack() as cleanup:
        if holder is None:
            cleanup.enter_context(Hold(place, since=instant(now), listening=False))
        _refuse_while_somebody_runs(place, holder.pid if holder is not None else None)
        place.make_state()
        make_private(place.db.parent)
        new = place.db.with_name(f"{place.db.name}.restoring")
        cleanup.callback(_remove, new)
        _remove(new)
        made = datetime.fromtimestamp(source.stat().st_mtime, now.tzinfo)  # of a copy made by other means
        copy_database(source, new, live=False, at=made, actor=actor)
        contents = check_database(new)
        numbers, paused = _known_by(place.db, now)
        with Store.open(new) as store:
            settled = settle_copy(store, place, now=now, actor=actor, numbers=numbers)
            assert settled is not None  # nobody else knows of it
            still = _paused(store, now)
        try:
            file = os.open(new, os.O_RDWR | os.O_CLOEXEC)
            os.fsync(file)
            os.close(file)
            # Again: to copy and to verify may have taken minutes, and no lock keeps a `run` from starting meanwhile.
            _refuse_while_somebody_runs(place, holder.pid if holder is not None else None)
            moved = put_aside(place.db, now)
            make_durable(place.db.parent)
            crash_point("between_databases")
            new.rename(place.db)
            make_durable(place.db.parent)
        except OSError as error:
            raise unusable(place.db.parent, error) from error
    return Restored(
        contents=contents,
        settled=settled,
        put_aside=moved[0] if moved else None,
        unpaused=tuple(sorted(paused - still)),
        taken_up="" if holder is None else str(holder),
    )


def _refuse_while_somebody_runs(place: Place, daemon: int | None) -> None:
    """A run that is under way would write its end into the copy, or into nothing."""
    with contextlib.suppress(OSError):
        for lock in place.owners.glob("*.lock"):
            if owners.pid_of(lock.stem) != daemon and owners.is_alive(place.owners, lock.stem):
                pid = owners.pid_of(lock.stem)
                raise RefusedError(
                    f"process {pid} runs a job of the database {place.db}", hint="let it end, or `scheduler cancel` it"
                )


def _known_by(db: Path, now: datetime) -> tuple[dict[str, int], set[str]]:
    """Run numbers and paused jobs of the database that is to be put aside, as far as it can be read."""
    try:
        with Store.open(db, create=False) as store:
            return store.last_numbers(), _paused(store, now)
    except UnavailableError:
        return {}, set()


def _paused(store: Store, now: datetime) -> set[str]:
    return {job.id for job in store.jobs() if job.pause is not None and job.pause.covers(now)}


def _remove(db: Path) -> None:
    for suffix in (*_SIDES, ""):
        db.with_name(db.name + suffix).unlink(missing_ok=True)
