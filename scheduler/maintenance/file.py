"""The database file, as a daemon opened it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from scheduler.core.values.problems import UnavailableError
from scheduler.ledger.copies import check_database, copy_database
from scheduler.ledger.database import journals_by, part_from_journal
from scheduler.maintenance.lost import SIDES
from scheduler.root.place import Place, is_there


class DatabaseFile:
    """The file that a daemon has opened: whether it still exists, and whether another one has replaced it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._opened = identity(place.db)
        self._seen: os.stat_result | None = None  # the file in its place at the last look
        self._refused = ""
        self._judged = False  # refused in its present form: not worth a full read every second

    def trouble(self) -> str:
        """Why nothing may be written: it is gone, another file has its name, or it was overwritten."""
        db = self._place.db
        try:
            if identity(db) != self._opened:
                what = "is not the file that this daemon opened" if is_there(db) else "is gone"
            elif journals_by(db) != "wal":
                what = "was overwritten under this daemon"
            else:
                return ""
        except OSError as error:
            what = f"cannot be read ({error.strerror})"
        return f"the database {db} {what}: nothing fires{self._refused}"

    def put_back(self) -> bool:
        """True if a complete and sound database, other than the opened one, is in its place.

        Ask about once a second: a file that is still being copied there changes from look to look.
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
            if identity(db) != self._opened:
                return True
            # Overwritten in place. Our connections would write their journal into it as they close, unless it becomes
            # another file first. By the next look it has.
            new = db.with_name(f"{db.name}.restoring")
            remove_file(new)
            made = datetime.fromtimestamp(self._seen.st_mtime, UTC)
            copy_database(db, new, live=False, at=made, actor="scheduler")
            new.rename(db)
        except (UnavailableError, OSError, ValueError) as error:
            self._judged = True
            self._refused = f"; the file that is there now cannot be used: {error}"
        return False


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def identity(path: Path) -> tuple[int, int] | None:
    found = _stat(path)
    return None if found is None or not found.st_size else (found.st_dev, found.st_ino)


def _looks(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def remove_file(db: Path) -> None:
    for suffix in (*SIDES, ""):
        db.with_name(db.name + suffix).unlink(missing_ok=True)
