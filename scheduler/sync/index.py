"""The index of a root's files, as one process uses it (ADR 48). Its rows are in the database."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

import scheduler
from scheduler.core.values.problems import Problem
from scheduler.core.values.settings import Settings
from scheduler.ledger import files, syncs
from scheduler.ledger.files import FileKind, FilesChange, Known, split
from scheduler.ledger.store import Store
from scheduler.machine.zones import rules
from scheduler.root.place import Place
from scheduler.root.settings import parsed_form, remember_parsed
from scheduler.root.watched import Watched

DEEP_PASSES = (
    50  # so many rescans, one a minute, and every file was read again: within an hour, though each may be late
)
SIMILAR = ("id.similar", "file.case")


class Index:
    """What is known of the files, and what a pass learns. For one thread at a time.

    Loaded from the database once, kept in step with what this process writes there, and loaded again if another process
    has written: a file that only that one knows could go without anybody noticing. What a fire has outdated is asked
    for at each pass.
    """

    def __init__(self) -> None:
        self._known: Known | None = None
        self._settings: Settings | None = None  # by which `_known` was checked
        self._parsed_sha256 = ""  # of the scheduler.yaml whose parsed form is in the database
        self._forgotten = False  # the rows in the database are no longer valid
        self._deep: Iterator[tuple[FileKind, str]] = iter(())
        self.similar: tuple[Problem, ...] | None = None  # names that look alike, in the last whole pass
        self.odd: frozenset[object] | None = None  # what else was named then than by the jobs in the database
        self.wanted: dict[
            str, frozenset[str]
        ] = {}  # the task files of what was read last, and the job files that name them
        self.total: int | None = None  # unarchived jobs after the last whole pass
        self.news = 0  # counts the changes of what must be watched
        self.folders: frozenset[str] = frozenset()  # in which it looked, root-relative
        self.links: frozenset[str] = frozenset()  # that it met there

    def load(self, store: Store) -> Known:
        """What is known, under whatever settings."""
        if self._known is None:
            form = store.read(files.parsed_settings)
            if form is not None:
                self._parsed_sha256 = form["sha256"]
                remember_parsed(form)
            self._known, self._settings, self._forgotten = store.read(files.known_files), None, False
            self.odd, self.total = frozenset(), None
            self.similar = tuple(each for each in store.read(syncs.problems) if each.code in SIMILAR)
        return self._known

    def begin(self, store: Store, settings: Settings) -> Known:
        """What is known under these settings."""
        if self.load(store).ticket != store.read(files.files_ticket):
            self.forget()
            self.load(store)
        assert self._known is not None
        if settings != self._settings:
            by = digest_of(settings)
            if self._known.by != by:  # another process may have applied them
                self.forget()
                self._known = self.load(store)
            if self._known.by != by:
                ticket = self._known.ticket
                self._known = Known(by=by, commit=None, ticket=ticket, loose=store.read(files.held_paths))
                self._forgotten, self.similar = True, None
            self._settings = settings
        if not self._forgotten:
            self._known.young |= store.read(files.young_files)
        return self._known

    def knows(self, path: str) -> bool:
        """True for a job file that holds jobs, and for a file that is a task."""
        known = self._known
        if known is None:
            return False
        below, name = split(path)
        marks = (each.get(below, {}) for each in known.marks.values())
        return path in known.loose or path in self.wanted or any(name in each for each in marks)

    @property
    def is_current(self) -> bool:
        """True if what is known goes by the settings that were applied last."""
        return self._known is not None and not self._forgotten

    def forget(self) -> None:
        """Load everything again at the next look: something went wrong in between."""
        self._known = None

    def seen(self) -> Watched:
        """The folders of job files as of the last look. Before the first one: as of the last process."""
        known = self._known
        if known is None:
            return Watched(self.folders, self.links)
        folders = self.folders or _with_parents(known.marks["job"])
        return Watched(folders, self.links, {below: tuple(names) for below, names in known.marks["task"].items()})

    def saw(self, folders: Iterable[str], links: Iterable[str]) -> None:
        """Note where a look has been."""
        now = frozenset(folders), frozenset(links)
        if now != (self.folders, self.links):
            self.folders, self.links = now
            self.news += 1

    def deep(self) -> list[tuple[FileKind, str]]:
        """The next fiftieth of the files, to be read whatever their marks say."""
        assert self._known is not None
        count = sum(len(names) for marks in self._known.marks.values() for names in marks.values())
        found = list(itertools.islice(self._deep, math.ceil(count / DEEP_PASSES)))
        if not found:
            self._deep = self._round()
            found = list(itertools.islice(self._deep, math.ceil(count / DEEP_PASSES)))
        return found

    def _round(self) -> Iterator[tuple[FileKind, str]]:
        kinds: tuple[FileKind, ...] = ("job", "task")
        for kind in kinds:
            folders = self._known.marks[kind] if self._known is not None else {}
            for below in sorted(folders):
                now = self._known.marks[kind] if self._known is not None else {}
                yield from ((kind, below + name) for name in sorted(now.get(below, ())))

    def everything(self) -> list[tuple[FileKind, str]]:
        """All files."""
        return list(self._round())

    def change(self, place: Place, change: FilesChange, *, whole: bool) -> FilesChange:
        """The change as it must be written: of everything, if the rows are no longer valid. whole: of a whole pass."""
        form = parsed_form(place) if whole else None
        if form is not None and form["sha256"] != self._parsed_sha256:
            self._parsed_sha256 = form["sha256"]
            change = replace(change, parsed_settings=json.dumps(form))
        return replace(change, whole=True, same=(), drop=()) if self._forgotten else change

    def written(
        self,
        change: FilesChange,
        unused: Collection[tuple[FileKind, str]],
        loose: set[str],
        wanted: Mapping[str, frozenset[str]],
    ) -> None:
        """Take over what was committed.

        unused: task files that no job file names any more. loose, wanted: as in `Known`, and here.
        """
        known = self._known
        assert known is not None
        self._forgotten = False
        known.ticket += 1
        if (
            wanted.keys() != self.wanted.keys()
            or unused
            or any(row.kind == "task" for row in change.put)
            or change.whole
        ):
            self.news += 1
        self.wanted = dict(wanted)
        known.commit, known.loose = change.commit, loose
        for kind, path, mark, young in change.same:  # first: a file whose task is broken is the same, and dropped
            _put(known, kind, path, mark, young=young)
        for kind, path in (*change.drop, *unused):
            self._drop(known, kind, path)
        for row in change.put:
            self._drop(known, row.kind, row.path)
            _put(known, row.kind, row.path, row.mark, young=row.young)
            if row.kind == "job":
                if row.untracked:
                    known.untracked.add(row.path)
                if row.warnings:
                    known.warnings[row.path] = row.warnings

    def _drop(self, known: Known, kind: FileKind, path: str) -> None:
        below, name = split(path)
        names = known.marks[kind].get(below)
        if names is not None and names.pop(name, None) is not None and not names:
            del known.marks[kind][below]
        known.young.discard((kind, path))
        if kind == "job":
            known.untracked.discard(path)
            known.warnings.pop(path, None)


def _with_parents(folders: Iterable[str]) -> tuple[str, ...]:
    found = {""}
    for below in folders:
        while below and (folder := below.rstrip("/")) not in found:
            found.add(folder)
            below = split(folder)[0]
    return tuple(sorted(found))


def _put(known: Known, kind: FileKind, path: str, mark: bytes, *, young: bool) -> None:
    below, name = split(path)
    known.marks[kind].setdefault(below, {})[name] = mark
    if young:
        known.young.add((kind, path))
    else:
        known.young.discard((kind, path))


def digest_of(settings: Settings) -> str:
    """What the result of reading a file depends on, besides its bytes."""
    said = [settings.to_json(), scheduler.__version__, *rules()]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
