"""When a daemon looks at the files again: at an event, at a request, and in any case every minute (S8).

Acts on the first event of a burst and takes what follows together. What looks like a loss (a file gone, broken, or
named twice) is believed only once it has lasted: for a moment, every save and every checkout looks like that.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from scheduler.config import Place, read_settings
from scheduler.core.models import Run, Settings, SyncState
from scheduler.core.problems import Problem, SchedulerError
from scheduler.core.reconcile import Plan
from scheduler.git import index_lock
from scheduler.passes import Passes, Synced
from scheduler.source import may_enter
from scheduler.store import Lend, Store
from scheduler.watcher import Watcher

RESCAN_S = 60.0
RESCAN_UNWATCHED_S = 5.0  # while events are missing
RETRY_S = 2.0  # after a pass that could not be made
QUIET_S = 0.1  # between two passes of one burst
LONGEST_QUIET_S = 2.0  # while something in a watched folder changes all the time and no job does
MOST_PROBLEMS = 20  # in the log, of one pass; and of jobs that the guard holds
GRACE_S = 1.0  # how long a loss has to last (S4)
INDEX_LOCK_S = 10.0  # git is at work; then its lock is a stale one (S8)

_log = logging.getLogger(__name__)


class Resync:
    """Keeps the database in step with the files, from a thread of its own."""

    def __init__(
        self,
        *,
        place: Place,
        passes: Passes,
        lend: Lend,
        recover: Callable[[Store], list[Run]],
        applied: Callable[[], None],
    ) -> None:
        """
        recover: ends the runs of dead processes; done before every pass.
        applied: told after every pass, which may have changed anything.
        """
        self._place = place
        self._passes = passes
        self._lend = lend
        self._recover = recover
        self._applied = applied
        self._passing = threading.Lock()
        self._bell = threading.Event()
        self._stopping = False
        self._doubted: dict[str, float] = {}  # job: since when it looks lost (monotonic seconds)
        self._doubts_end: float | None = None  # when the first of those that were deferred is to be judged
        self._known_problems: frozenset[Problem] = frozenset()
        self._watcher = Watcher(self._bell.set)
        self._settings = Settings()
        self._said_unwatched = ""
        self.trouble = ""  # why the last pass could not be made
        self._told: set[str] = set()  # of this trouble

    @property
    def unwatched(self) -> str:
        """Why not all events are seen; empty if they are."""
        return self._watcher.trouble

    def sync_now(self, *, actor: str, cause: str = "sync", confirmed: str | None = None) -> Synced:
        """One pass, at somebody's request: it believes what it sees.

        Raises: UnavailableError where the root or the database cannot be used.
        """
        with self._lend() as store:
            return self._pass(store, actor=actor, cause=cause, confirmed=confirmed)

    def stop(self) -> None:
        self._stopping = True
        self._bell.set()
        self._watcher.stop()

    def run(self) -> None:
        """Until `stop`."""
        rescan_at = time.monotonic() + RESCAN_S
        quiet = QUIET_S
        while not self._stopping:
            if not self._bell.is_set():
                quiet = QUIET_S  # a burst is over
            doubts_end = self._doubts_end
            wake_at = rescan_at if doubts_end is None else min(rescan_at, doubts_end)
            woken = self._bell.wait(max(0, wake_at - time.monotonic()))
            if self._stopping:
                break
            self._bell.clear()
            changed = self._look(cause="watch" if woken or doubts_end is not None else "rescan")
            wait = RETRY_S if self.trouble else RESCAN_UNWATCHED_S if self.unwatched else RESCAN_S
            rescan_at = time.monotonic() + wait
            if woken:
                # Something that is no job changes all the time, such as a log in the root: look ever less often.
                quiet = QUIET_S if changed else min(2 * quiet, LONGEST_QUIET_S)
                time.sleep(quiet)

    # -- one pass --------------------------------------------------------------------------------

    def _look(self, cause: str) -> bool:
        """One pass of our own accord. Returns whether it changed anything; says what keeps it from working."""
        self._doubts_end = None
        try:
            self._await_git()
            with self._lend() as store:
                found = self._pass(store, actor="scheduler", cause=cause, defer=self._doubt)
        except SchedulerError as error:
            self._say(str(error))
        except Exception as error:  # nothing may end this thread but `stop`
            self._say(f"{type(error).__name__}: {error}", unexpected=True)
        else:
            return not found.nothing_to_do
        return False

    def _pass(
        self,
        store: Store,
        *,
        actor: str,
        cause: str,
        confirmed: str | None = None,
        defer: Callable[[Plan | None], Collection[str] | None] | None = None,
    ) -> Synced:
        with self._passing:
            recovered = tuple(run.id for run in self._recover(store))
            self._watch(store)
            if defer is None:
                self._doubted, self._doubts_end = {}, None
            found = self._passes.sync(store, actor=actor, cause=cause, confirmed=confirmed, defer=defer)
            if not found.nothing_to_do and self._watch(store):
                self._bell.set()  # in a folder that was not watched until now something may have changed meanwhile
        self._say("")
        self._applied()
        self._report(found, cause)
        return replace(found, recovered=recovered)

    def _doubt(self, found: Plan | None) -> Collection[str] | None:
        """What of a plan is not to be believed yet."""
        now = time.monotonic()
        losses = frozenset([_ROOT]) if found is None else found.losses
        self._doubted = {lost: self._doubted.get(lost, now) for lost in losses}
        young = {lost: since for lost, since in self._doubted.items() if now - since < GRACE_S}
        self._doubts_end = min(young.values()) + GRACE_S if young else None
        return None if _ROOT in young else young.keys()

    def _await_git(self) -> None:
        """A checkout takes files away and brings them back: its lock says when it is done."""
        give_up = time.monotonic() + INDEX_LOCK_S
        lock = index_lock(self._place.root)
        while lock is not None and lock.exists() and not self._stopping:
            if time.monotonic() > give_up:
                _log.warning("git_lock_stale path=%s", lock)
                return
            time.sleep(0.02)

    # -- what is watched -------------------------------------------------------------------------

    def _watch(self, store: Store) -> bool:
        """Watches the folders that hold, or may come to hold, a job file or a task. True where one is new."""
        settings, _ = read_settings(self._place)
        self._settings = settings or self._settings
        folders = {self._place.root, *_job_folders(self._place, self._settings)}
        for path in store.task_paths():
            # A folder that is not there yet is seen to come by the nearest one that is.
            folder = (self._place.root / path).parent
            while not folder.is_dir() and folder != self._place.root:
                folder = folder.parent
            folders.add(folder.resolve())
        return self._watcher.cover(folders)

    # -- what is said ----------------------------------------------------------------------------

    def _say(self, trouble: str, *, unexpected: bool = False) -> None:
        if not trouble and self.trouble:
            _log.warning("sync_resumed")
            self._told.clear()
        if trouble and trouble not in self._told:  # once, not at every try; two that take turns are told once each
            _log.error("sync_failed reason=%r", trouble, exc_info=unexpected)
            self._told.add(trouble)
        self.trouble = trouble

    def _report(self, found: Synced, cause: str) -> None:
        json = found.json
        kinds = ("created", "updated", "moved", "archived", "revived", "task_changed", "root_changed", "problems")
        counts = " ".join(
            [f"{kind}={len(json[kind])}" for kind in kinds if json[kind]]
            + [f"{state}={n}" for state, n in found.left.items() if n and state != SyncState.SYNCED]
        )
        level = logging.DEBUG if found.nothing_to_do else logging.INFO
        _log.log(
            level,
            "synced cause=%s %s unchanged=%d",
            cause,
            counts or ("nothing" if found.nothing_to_do else "marks"),
            json["unchanged"],
        )
        self._report_problems(frozenset(found.problems))
        if found.guarded and not found.nothing_to_do:
            _log.warning(
                "guard_holds jobs=%s: `scheduler sync` says how to confirm",
                ",".join(json["guard"]["ids"][:MOST_PROBLEMS]),
            )
        if self.unwatched != self._said_unwatched:
            _log.warning("unwatched reason=%r", self.unwatched or "none any more")
            self._said_unwatched = self.unwatched

    def _report_problems(self, problems: frozenset[Problem]) -> None:
        """What a person has to mend, once: when it comes, and that it is gone."""
        new = sorted(problems - self._known_problems)
        for each in new[:MOST_PROBLEMS]:
            _log.warning("problem %s:%d:%d: %s [%s]", each.path, each.line, each.column, each.message, each.code)
        if len(new) > MOST_PROBLEMS:
            _log.warning("problems more=%d: `scheduler validate` shows all", len(new) - MOST_PROBLEMS)
        if self._known_problems and not problems:
            _log.info("problems_gone")
        self._known_problems = problems


_ROOT = "@root"


def _job_folders(place: Place, settings: Settings) -> set[Path]:
    """Every folder below the root in which a job file may stand."""
    found: set[Path] = set()
    left = [""]
    while left:
        below = left.pop()
        try:
            with os.scandir(place.root / below) as entries:
                names = [each.name for each in entries if each.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        for name in names:
            path = below + name
            if may_enter(place, path, settings.jobs):
                found.add(place.root / path)
                left.append(path + "/")
    return found
