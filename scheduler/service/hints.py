"""Hints for pages that stay open: what has changed since they were read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping

from scheduler.core.values.hints import RELOAD, Hint, Position
from scheduler.ledger import hints
from scheduler.ledger.store import Store
from scheduler.service.root import Root


class Hints(contextlib.AbstractContextManager["Hints"]):
    """A long look at one database, by one thread at a time. Follows a database that takes the place of another."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._store: Store | None = None
        self._file: tuple[int, int] | None = None
        self._version: int | None = None
        self.position: Position | None = None  # of the last look; None before the first sync

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def __exit__(self, *_: object) -> None:
        self.close()

    def look(self) -> tuple[Hint, ...]:
        """What has changed since the last look; nothing at the first one. Cheap if nobody has written.

        Raises: UnavailableError; RefusedError if the database is gone.
        """
        store, is_new = self._current()
        if store is None:
            return ()
        version = store.read(hints.data_version)
        if version == self._version:
            return ()
        with store.reading() as sql:
            before, self.position = self.position, hints.position(sql)
            found = () if before is None else hints.hints_between(sql, before, self.position)
        # The version of before: what is written meanwhile is looked at once more.
        self._version = version
        return (RELOAD,) if is_new and before is not None else found

    def since(self, position: Position) -> tuple[Hint, ...]:
        """What has changed between an earlier position and the last look, or a little later."""
        store, _ = self._current()
        if store is None:
            return (RELOAD,)
        with store.reading() as sql:
            return hints.hints_between(sql, position, hints.position(sql))

    def tags(self, job_ids: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        """The tags of each of these jobs."""
        store, _ = self._current()
        return {} if store is None else store.read(hints.tags, job_ids)

    def _current(self) -> tuple[Store | None, bool]:
        """The connection to the database that has the name now, and whether it was opened just now."""
        try:
            found = os.stat(self._root.place.db)  # noqa: PTH116 - also of a name that is gone
        except OSError:
            found = None
        file = None if found is None else (found.st_dev, found.st_ino)
        if self._store is not None and file == self._file:
            return self._store, False
        self.close()
        self._version, self._file = None, file
        self._store = self._root.store()
        return self._store, True
