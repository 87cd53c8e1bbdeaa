"""When a daemon looks at the files again: at an event, at a request, and every minute in any case (S8).

Takes the events of a burst together. Believes an apparent loss (a file gone, broken, or named twice) only once it has
lasted: every save and every checkout looks like that for a moment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

from scheduler.core.formats.globs import matches_any
from scheduler.core.values.facts import SyncState
from scheduler.core.values.problems import Problem
from scheduler.core.values.runs import AuditRow, Run
from scheduler.core.values.settings import ROOT_FILE, ROOT_JOB_ID, Settings
from scheduler.core.values.texts import how_held_ends
from scheduler.core.values.units import format_seconds
from scheduler.git.folder import index_lock
from scheduler.ledger import syncs
from scheduler.ledger.audit import append_audit
from scheduler.ledger.pool import Lend
from scheduler.ledger.store import Store
from scheduler.machine.log import Log
from scheduler.machine.loop import Loop
from scheduler.machine.memory import give_back
from scheduler.root.files import WorkingTree
from scheduler.root.listing import Own, is_leftover
from scheduler.root.place import Place
from scheduler.root.runner_files import runner_paths
from scheduler.root.scan import mark_file
from scheduler.root.settings import read_settings
from scheduler.root.watched import watched
from scheduler.root.watcher import Watcher
from scheduler.sync.aside import FEW_AT_START, FEW_FILES, Aside
from scheduler.sync.passes import Announce, Deep, Defer, Passes
from scheduler.sync.synced import Synced

RESCAN_S = 60.0
LONGEST_S = 900.0  # without a turn, until it counts as hung: passes over 100,000 files on a slow disk take minutes
GIVE_BACK_S = 60.0  # at most so often, free heap memory goes back to the system
RESCAN_UNWATCHED_S = 5.0  # while events are missing; longer if a pass takes long:
MOST_BUSY = 0.1  # at most this part of the time is spent in passes
RETRY_S = 2.0  # after a failed pass
SETTLE_S = 0.05  # a burst is over after so long without an event (ADR 14)
LONGEST_SETTLE_S = 1.0  # then a pass is made within the burst
QUIET_S = 0.1  # after a pass that found nothing,
LONGEST_QUIET_S = 2.0  # and twice as long each time, while only other files in watched folders change
MOST_PROBLEMS = 20  # of one pass, in the log; and jobs held by the guard
GRACE_S = 1.0  # how long a loss must last (S4)
HELD_LONG = timedelta(minutes=15)  # a longer merge or rebase has been forgotten (S8)
INDEX_LOCK_S = 10.0  # git is at work; after that its lock is stale (S8)

_log = Log(__name__)


@dataclass(eq=False, kw_only=True)
class Resync:
    """Keeps the database in step with the files, in its own thread."""

    place: Place
    passes: Passes
    lend: Lend
    recover: Callable[[Store], list[Run]]  # ends the runs of dead processes; called before every pass
    applied: Callable[[], None]  # called after every pass, which may have changed anything

    def __post_init__(self) -> None:
        self._passing = threading.Lock()
        self.loop = Loop(
            "resync", self._turns, _log, "sync_failed", "sync_resumed", retry_s=RETRY_S, longest_s=LONGEST_S
        )
        self._doubted: dict[str, float] = {}  # job: since when it looks lost (monotonic seconds)
        self._doubts_end: float | None = None  # when to judge the first deferred loss
        self._known_problems: frozenset[Problem] = frozenset()
        self._guarded = False
        self._aside = Aside()
        self._large = replace(self.passes, large=self._aside.sync, most=FEW_FILES)
        own = Own(self.place)
        self._watcher = Watcher(self.loop.bell.set, ignores=lambda folder, name: own.is_file(str(folder), name))
        self._settings = Settings()
        self._news = 0  # of the index, when the watches were set
        self._named: frozenset[str] = frozenset()  # files that runners name
        self._looked_at = 0.0
        self._said_blind = ""
        self._said_moved = ""
        self._once_more = False  # something was not watched while the last pass read it
        self._took_s = 0.0  # the duration of the last pass
        self.held = ""  # why the last pass was held (S8)
        self.held_since: datetime | None = None
        self._held_told = False

    @property
    def held_long(self) -> bool:
        """True if the passes have been held for so long that a person must be told."""
        return self.held_since is not None and self.passes.clock.now() - self.held_since >= HELD_LONG

    @property
    def guarded(self) -> bool:
        """True if the guard keeps jobs from being archived."""
        return self._guarded

    @property
    def unwatched(self) -> str:
        """Why some events are not seen. Empty if all are."""
        return self._watcher.trouble

    def sync_now(
        self,
        *,
        actor: str,
        cause: str = "sync",
        confirmed: str | None = None,
        now_anyway: bool = False,
        announce: Announce | None = None,
    ) -> Synced:
        """Run one pass on request. It believes what it sees. `now_anyway` and `announce` as for `Passes.sync`.

        Raises: UnavailableError if the root or the database cannot be used.
        """
        with self.lend() as store:
            return self._pass(
                store,
                actor=actor,
                cause=cause,
                confirmed=confirmed,
                now_anyway=now_anyway,
                deep="all unless local",
                announce=announce,
            )

    def stop(self) -> None:
        self.loop.stop()
        self._aside.stop()
        self._watcher.stop()

    def _turns(self) -> Iterator[float]:
        import scheduler.core.formats.jobfile  # noqa: F401 - slow: not at the first edit

        bell = self.loop.bell
        rescan_at = time.monotonic() + self._rescan_s()
        quiet, give_back_at = QUIET_S, 0.0
        while True:
            if not bell.is_set():
                quiet = QUIET_S  # a burst is over
            doubts_end = self._doubts_end
            wake_at = rescan_at if doubts_end is None else min(rescan_at, doubts_end)
            yield 0 if self._once_more else max(0, wake_at - time.monotonic())
            woken = bell.is_set() or self._once_more
            settled = not (woken and quiet == QUIET_S) or self._settle()
            if self.loop.stopping.is_set():
                return
            bell.clear()
            heard = self._watcher.take()
            is_due = time.monotonic() >= rescan_at  # however much else happens: an event is no reason to put it off
            is_more = is_due or doubts_end is not None or self._once_more
            if woken and not is_more and heard and self._apply_edits(heard, settled=settled):
                self._looked_at = time.monotonic()
                continue
            changed = self._look(
                cause="watch" if woken or doubts_end is not None else "rescan", deep="some" if is_due else ""
            )
            self._looked_at = now = time.monotonic()
            next_at = now + self._rescan_s()
            rescan_at = next_at if is_due else min(rescan_at, next_at)
            if time.monotonic() >= give_back_at:
                give_back()
                give_back_at = time.monotonic() + GIVE_BACK_S
            if woken:
                # Something other than jobs changes all the time, such as a log in the root: look less and less often.
                quiet = QUIET_S if changed else min(2 * quiet, LONGEST_QUIET_S)
                if not changed:
                    self.loop.stopping.wait(quiet)

    def _settle(self, *, is_burst: bool = False) -> bool:
        """Wait until nothing has happened for a moment: what is written together is synced together.

        An edit after a longer silence is not waited for: False.
        """
        began = time.monotonic()
        is_first = not is_burst and began - self._looked_at > SETTLE_S
        while time.monotonic() < began + LONGEST_SETTLE_S and not self.loop.stopping.is_set():
            if is_first and (heard := self._watcher.heard()) and self._edited(heard):
                return False
            self.loop.bell.clear()
            if not self.loop.bell.wait(SETTLE_S):
                break
        return True

    def _rescan_s(self) -> float:
        if self.loop.trouble or self.held:
            return RETRY_S
        return min(RESCAN_S, max(RESCAN_UNWATCHED_S, self._took_s / MOST_BUSY)) if self.unwatched else RESCAN_S

    def _apply_edits(self, heard: Mapping[str, bool], *, settled: bool) -> bool:
        """Apply files that were just written. False if only a pass over all files can tell what has changed.

        settled: False if others may be written along with them. If that shows by the time they are read, wait for all.
        """
        is_burst = False
        with self._passing:
            paths = self._edited(heard)
            if paths is None or self.held or self.loop.trouble:
                return False
            if not paths:
                return True
            known, root = paths, f"{self.place.now().root}/"

            def ready() -> bool:
                nonlocal is_burst
                others = {path.removeprefix(root) for path in self._watcher.heard() or ()} - known
                is_burst = not settled and any(map(self.passes.index.knows, others))
                return not is_burst

            try:
                self._await_git()
                with self.lend() as store:
                    found = self._large.sync_edits(store, paths, actor="scheduler", cause="watch", ready=ready)
                    if found is None and not is_burst:
                        return False
                    problems = frozenset(store.read(syncs.problems))  # those of all files
                    if self.passes.index.news != self._news and self._watch(store):
                        self._look_once_more()
            except Exception as error:  # a whole pass tries again
                self.loop.fail(error)
                return False
        if found is None:
            self._settle(is_burst=True)
            self.loop.bell.clear()
            later = self._watcher.take()
            return later is not None and self._apply_edits({**heard, **later}, settled=True)
        self.applied()
        self._say_synced(found, "watch")
        self._report_problems(problems)
        return True

    def _edited(self, heard: Mapping[str, bool]) -> set[str] | None:
        """The job files and tasks that were written. None if anything else has happened that may matter."""
        root, index, found = f"{self.place.now().root}/", self.passes.index, set()
        for path, whole in heard.items():
            below = path.removeprefix(root)
            folder, _, name = below.rpartition("/")
            if whole and index.knows(below):
                found.add(below)
            elif (
                below in (path, ROOT_FILE)
                or below in self._named
                or below in index.links
                or index.knows(below)
                or folder not in index.folders  # there, few names matter, and each of them does
                or (matches_any(below, self._settings.jobs) and not (name.startswith(".") or is_leftover(name)))
                or (mark_file(path) is None and os.path.lexists(path))
            ):
                return None
        return found

    def _look_once_more(self) -> None:
        """A newly watched folder may have changed before it was watched. No event will say so."""
        self._once_more = True
        self.loop.bell.set()

    def _look(self, cause: str, deep: Deep = "") -> bool:
        """Run one pass unasked. True if it changed anything. Reports what prevents it."""
        self._doubts_end, self._once_more = None, False
        try:
            self._await_git()
            started = time.monotonic()
            with self.lend() as store:
                found = self._pass(store, actor="scheduler", cause=cause, defer=self._doubt, deep=deep)
            self._took_s = time.monotonic() - started
        except Exception as error:  # an event or the next rescan leads to another pass
            self.loop.fail(error)
            return False
        return not found.report().nothing_to_do

    def _pass(
        self,
        store: Store,
        *,
        actor: str,
        cause: str,
        confirmed: str | None = None,
        defer: Defer | None = None,
        now_anyway: bool = False,
        deep: Deep = "",
        announce: Announce | None = None,
    ) -> Synced:
        with self._passing:
            recovered = tuple(run.id for run in self.recover(store))
            self._report_lost()
            self._watch(store)
            if defer is None:
                self._doubted, self._doubts_end = {}, None
            # Nothing fires before the first pass. But what it needs for thousands of files would be kept.
            passes = replace(self._large, most=FEW_AT_START) if cause == "start" else self._large
            found = passes.sync(
                store,
                actor=actor,
                cause=cause,
                confirmed=confirmed,
                defer=defer,
                now_anyway=now_anyway,
                deep=deep,
                announce=announce,
            )
            if (not found.report().nothing_to_do or self.passes.index.news != self._news) and self._watch(store):
                self._look_once_more()
        self._say_held(found.held, store)
        self.loop.succeed()
        self.applied()
        if not found.held:
            self._report(found, cause)
        return replace(found, recovered=recovered)

    def _doubt(self, losses: frozenset[str] | None) -> Collection[str] | None:
        """Those of the losses that are not believed yet. None, of scheduler.yaml, defers the whole pass."""
        now = time.monotonic()
        losses = frozenset([_ROOT]) if losses is None else losses
        self._doubted = {lost: self._doubted.get(lost, now) for lost in losses}
        young = {lost: since for lost, since in self._doubted.items() if now - since < GRACE_S}
        self._doubts_end = min(young.values()) + GRACE_S if young else None
        return None if _ROOT in young else young.keys()

    def _await_git(self) -> None:
        """Wait for the lock of a checkout, which takes files away and brings them back."""
        give_up = time.monotonic() + INDEX_LOCK_S
        lock = index_lock(self.place.root)
        while lock is not None and lock.exists() and not self.loop.stopping.is_set():
            if time.monotonic() > give_up:
                _log.warning("git_lock_stale", path=lock)
                return
            time.sleep(0.02)

    def _watch(self, store: Store) -> bool:
        """Watch everything that may change the result of a pass. True if some of it is new."""
        if not self.place.wake.exists():  # hooks do not create it, and so leave nothing behind without a daemon
            with contextlib.suppress(OSError):
                self.place.wake.touch(0o600)
        place, index = self.place.now(), self.passes.index
        index.load(store)
        settings, _ = read_settings(place)
        self._settings = settings or self._settings
        files = WorkingTree(place)
        named = frozenset(path for runner in self._settings.runners.values() for path in runner_paths(files, runner))
        named |= {path for channel in self._settings.channels.values() for path, _ in channel.files}
        self._named = named
        self._news = index.news
        return self._watcher.cover(watched(place, self._settings, {*index.wanted, *named}, known=index.seen()))

    def _say_held(self, held: str, store: Store) -> None:
        """Report that edits wait. Normal for the minutes of a rebase; a forgotten one is a warning (S8, F7)."""
        if held != self.held:
            if held:
                _log.info("sync_held", how_held_ends(held), reason=held)
            else:
                _log.info("sync_held_no_more")
            self.held = held
        if not held:
            self.held_since, self._held_told = None, False
            return
        now = self.passes.clock.now()
        self.held_since = self.held_since or now
        if self.held_long and not self._held_told:
            row = AuditRow(
                job_id=ROOT_JOB_ID, action="held", field="sync", after=held, at=now, actor="scheduler", cause="watch"
            )
            store.write(append_audit, [row])  # first: if it cannot be written, every pass tries again
            _log.warning("sync_held_long", "changes to the files are not applied until then", reason=held)
            self._held_told = True

    def _say_synced(self, found: Synced, cause: str) -> None:
        report = found.report()
        json = cast("dict[str, Any]", report.json)
        kinds = ("created", "updated", "moved", "archived", "revived", "task_changed", "root_changed", "problems")
        counts: dict[str, Any] = {kind: len(json[kind]) for kind in kinds if json[kind]}
        if "dropped_deliveries" in json:
            counts["dropped_deliveries"] = json["dropped_deliveries"]
        counts |= {state: n for state, n in report.left.items() if n and state != SyncState.SYNCED}
        level = logging.DEBUG if report.nothing_to_do else logging.INFO
        _log.log(level, "synced", cause=cause, **counts, unchanged=json["unchanged"], duration_ms=json["duration_ms"])

    def _report(self, found: Synced, cause: str) -> None:
        report = found.report()
        self._say_synced(found, cause)
        self._report_problems(frozenset(report.problems))
        guard = report.json["guard"]
        if guard is not None and not report.nothing_to_do:
            ids = guard["ids"]
            how, more = "`scheduler sync` prints the command that confirms", len(ids) - MOST_PROBLEMS
            named = ",".join(ids[:MOST_PROBLEMS])
            _log.log(logging.WARNING, "guard_holds", how, jobs=named, more=more if more > 0 else None)
        guarded = report.left[SyncState.HELD] > 0  # as stored: the plan itself may doubt a loss again
        if self._guarded and not guarded:
            _log.info("guard_holds_no_more")
        self._guarded = guarded
        self._report_blind()

    def _report_lost(self) -> None:
        if self._watcher.overflowed:  # this pass looks at everything, so nothing is lost
            _log.warning("events_lost", reason="more changes than the kernel's queue holds; reading all files again")

    def _report_blind(self) -> None:
        blind, moved = self._watcher.blind, self.place.moved
        if blind != self._said_blind:
            if blind:
                every = format_seconds(self._rescan_s())
                _log.warning("unwatched", f"reading all files every {every} instead", reason=blind)
            else:
                _log.warning("watched_again")
            self._said_blind = blind
        if moved != self._said_moved:
            if moved:
                _log.warning("root_moved", reason=moved)
            self._said_moved = moved

    def _report_problems(self, problems: frozenset[Problem]) -> None:
        """Log what a person must fix, once: when it appears, and when it is gone."""
        new = sorted(problems - self._known_problems)
        for each in new[:MOST_PROBLEMS]:
            _log.warning("problem", each.message, path=each.path, line=each.line, column=each.column, code=each.code)
        if len(new) > MOST_PROBLEMS:
            _log.warning("problems", "`scheduler validate` shows all of them", more=len(new) - MOST_PROBLEMS)
        if self._known_problems and not problems:
            _log.info("problems_gone")
        self._known_problems = problems


_ROOT = "@root"
