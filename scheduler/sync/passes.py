"""A pass reads the files, plans and applies in one transaction (S5). A partial pass does so for one fire (F1)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, TypeVar

from scheduler.core.due.place import Sight
from scheduler.core.formats.checkout import conversion_problems
from scheduler.core.plan.audit import Origin, audit_rows, changes_in, origins
from scheduler.core.plan.desired import Desired, Read
from scheduler.core.plan.plan import Plan, plan, plan_one
from scheduler.core.values.facts import Fault, Job, Lookup, SyncState
from scheduler.core.values.problems import Problem, UnavailableError
from scheduler.core.values.settings import ROOT_FILE, Settings, named_file_of
from scheduler.git.tree import Commits, Tree, git_silence, read_tree
from scheduler.ledger import clock_steps, outbox, places, syncs
from scheduler.ledger.cursor import StaleError, until_fresh
from scheduler.ledger.files import FileKind
from scheduler.ledger.store import Store
from scheduler.ledger.syncs import Observed
from scheduler.machine.clock import Clock
from scheduler.machine.crash import crash_point
from scheduler.root.converted import conversions_here
from scheduler.root.desired import read_desired
from scheduler.root.files import WorkingTree
from scheduler.root.gone import EMPTY, gone_folder, root_trouble
from scheduler.root.parsed import Parsed
from scheduler.root.place import Place
from scheduler.root.quiet import read_quiet
from scheduler.root.reading import read_source, real_path
from scheduler.root.runner_files import RUNNER_FILE_BYTES
from scheduler.root.scan import Grain
from scheduler.root.settings import read_settings
from scheduler.root.tasks import JOB_FILE_BYTES, read_task
from scheduler.sync.clock_repair import with_zones
from scheduler.sync.holds import other_branch, why_held
from scheduler.sync.index import Index
from scheduler.sync.look import Looked, TooManyError, find_changes, learnt, look, look_at_edits
from scheduler.sync.synced import Synced

T = TypeVar("T")

Announce = Callable[[Sequence[str]], None]
Defer = Callable[[frozenset[str] | None], Collection[str] | None]
# Which files are read although a stat says that they have not changed: none, a fiftieth of them in turn, all of them,
# or all of them unless they are on a local file system, where a stat can be relied on.
Deep = Literal["", "some", "all", "all unless local"]

LOOK_AGAIN_S = 0.1
SAVE_S = 1.0  # how long a file may stay half saved


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """Reads one root and applies the differences to the database."""

    place: Place
    clock: Clock
    absent_grace: timedelta = timedelta(seconds=10)  # F1
    # Set by a daemon: claims the slots of these jobs up to an instant, before a pass replaces their schedules (S6).
    settle: Callable[[Store, Collection[str], datetime], None] | None = None
    parsed: Parsed | None = None  # job files as last parsed; for one thread at a time
    commits: Commits | None = None  # the tree that HEAD last pointed to
    index: Index = field(default_factory=Index)  # the files as last read and applied; for one thread at a time
    # Makes a pass that must read more than `most` files; called with this, the store, and what `sync` was given.
    large: Callable[..., Synced] | None = None
    most: int | None = None
    shared: bool = False  # as for `read_desired`

    def _here(self) -> Passes:
        """In a followed root, the same for its current commit, so that one look reads one commit."""
        place = self.place.now()
        return self if place is self.place else replace(self, place=place)

    def _gone(self, path: str) -> tuple[str, str] | None:
        """The missing or empty folder above a file, and what is wrong with it; None if nothing is.

        A folder that is empty because somebody deleted its only file is not missing. After a lost mount, git would
        still know other files there.
        """
        place = self._here().place
        found = gone_folder(place.root, path)
        if found is not None and found[1].endswith(EMPTY):
            below = f"{found[0]}/"
            if [each for each in self.tree(found[0]).blobs if each.startswith(below)] == [path]:
                return None
        return found

    def plan(self, observed: Observed, *, confirmed: str | None = None, now_anyway: bool = False) -> Synced:
        """What a pass would change now, or will change once nothing holds it. Writes nothing."""
        started = self.clock.now()
        here = self._here()
        found, problems, silence = here._plan(observed, started, confirmed)
        held = here.held(observed.settings, now_anyway=now_anyway)
        return self._synced(found, problems, started, confirmed, silence, held, jobs=observed.jobs.values())

    def plan_changes(self, store: Store, *, confirmed: str | None = None, now_anyway: bool = False) -> Synced:
        """As `plan`, but only files that have changed since they were applied are read, as by a pass. Writes nothing.

        Raises: UnavailableError if the root or the database cannot be used.
        """
        started, index = self.clock.now(), self.index

        def turn() -> Synced:
            basis = store.read(syncs.basis)
            here = self._here()  # after reading the database, as in `sync`
            index.load(store)
            settings, root_problems = read_settings(here.place)
            held = here.held(basis.settings, now_anyway=now_anyway)
            if settings is None:
                if not here.place.root.is_dir():
                    raise UnavailableError(f"the root {here.place.root} is gone; nothing was applied")
                return self._synced(None, root_problems, started, confirmed, "", held)
            known = index.begin(store, settings)
            again = self._again(here.place, "all unless local")
            changes = find_changes(here.place, index, known, store, settings, here.tree, again=again)
            looked = look(
                here.place, index, known, store, settings, changes, basis, here.tree,
                problems=root_problems, parsed=self.parsed, shared=self.shared,
            )  # fmt: skip
            found = plan(
                looked.desired, looked.observed.jobs, previous=basis.settings, now=started, confirmed=confirmed,
                rest=looked.rest,
            )  # fmt: skip
            jobs = store.read(syncs.not_firing)
            silence = looked.silence(here.place.root)
            return self._synced(found, found.problems, started, confirmed, silence, held, jobs=jobs)

        return until_fresh(turn, "nothing was planned")

    def sync(
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
        """Run one pass. A held pass (S8) changes nothing.

        defer: of the jobs that would be lost, or None if scheduler.yaml is, those whose loss is not believed yet.
            None defers every change of this pass.
        now_anyway: ignore unfinished git operations, but never sync another branch.
        deep: which files are read whatever a stat says.
        announce: called with the ids of new jobs before they are created.
        Raises: UnavailableError if the root or the database cannot be used.
        """
        started = self.clock.now()
        settled: datetime | None = None
        again: Collection[tuple[FileKind, str]] | None = None
        if held := self._here().held(store.read(syncs.settings), now_anyway=now_anyway):
            return self._synced(None, (), started, None, "", held)

        def turn() -> Synced:
            nonlocal settled, again
            basis = store.read(syncs.basis)
            # Use the moment of settling: later slots belong to the new schedule, except those already claimed.
            now = self.clock.now() if settled is None else settled
            here = self._here()  # after reading the database, so that an older commit cannot undo a newer one
            self.index.load(store)
            settings, root_problems = read_settings(here.place)
            if settings is None and not here.place.root.is_dir():
                raise UnavailableError(f"the root {here.place.root} is gone; nothing was applied")
            looked: Looked | None = None
            if settings is not None:
                known = self.index.begin(store, settings)
                if again is None:  # the same ones in every turn
                    again = self._again(here.place, deep)
                changes = find_changes(
                    here.place, self.index, known, store, settings, here.tree, again=again, most=self.most
                )
                looked = look(
                    here.place, self.index, known, store, settings, changes, basis, here.tree,
                    problems=root_problems, parsed=self.parsed, shared=self.shared,
                )  # fmt: skip
                if settled is not None:
                    slots = [job.last_slot for job in looked.observed.jobs.values() if job.last_slot is not None]
                    now = max([settled, *(slot for slot in slots if slot <= self.clock.now())])
            # Somebody may have switched branches while the files were read.
            if held := here.held(basis.settings, now_anyway=now_anyway):
                return self._synced(None, (), started, None, "", held)
            if looked is None:
                if defer is None or defer(None) is not None:
                    store.write(syncs.record_problems, root_problems)
                return self._synced(None, root_problems, started, confirmed, "")
            found = plan(
                looked.desired, looked.observed.jobs, previous=basis.settings, now=now, confirmed=confirmed,
                rest=looked.rest,
            )  # fmt: skip
            problems, silence = found.problems, looked.silence(here.place.root)
            if self.settle is not None and settled is None:
                owing = [action.job_id for action in found.actions if action.skips]
                if owing:
                    self.settle(store, owing, now)
                    crash_point("after_settle")
                    settled = now
                    raise StaleError  # plan again, now that the due slots are settled
            settled = None
            jobs = store.read(syncs.not_firing)
            doubted = () if defer is None else defer(found.losses)
            if doubted is None:
                return self._synced(found, problems, started, confirmed, silence, jobs=jobs)
            found = found.deferring(doubted, looked.observed.jobs)
            if announce is not None:
                announce([action.job_id for action in found.actions if action.verb == "create"])
            dropped = here._apply(store, found, basis.ticket, now, actor, cause, looked=looked)
            return self._synced(found, problems, started, confirmed, silence, jobs=jobs, dropped=dropped)

        try:
            return until_fresh(turn, "nothing was applied")
        except TooManyError:
            self.index.forget()  # another process changes what is in the database
            assert self.large is not None
            return self.large(
                self,
                store,
                actor=actor,
                cause=cause,
                confirmed=confirmed,
                defer=defer,
                now_anyway=now_anyway,
                deep=deep,
                announce=announce,
            )
        except BaseException:
            self.index.forget()
            raise

    def _again(self, place: Place, deep: Deep) -> Collection[tuple[FileKind, str]]:
        if deep == "some":
            return self.index.deep()
        everything = deep == "all" or (deep == "all unless local" and not Grain(place.root).is_fine)
        return self.index.everything() if everything else ()

    def sync_edits(
        self, store: Store, paths: Collection[str], *, actor: str, cause: str, ready: Callable[[], bool] = lambda: True
    ) -> Synced | None:
        """Apply edits of known job files and tasks, without a look at any other file. None if that is not enough.

        ready: asked when they have been read. False: apply nothing, and return None.
        paths: root-relative, just written. Like a partial pass (F1), it never creates, archives or settles a conflict,
        nor does it mark a job invalid: whatever is more than an edit is left to a whole pass.
        """
        if self.most is not None and len(paths) > self.most:
            return None
        started = self.clock.now()
        settled: datetime | None = None

        def turn() -> Synced | None:
            nonlocal settled
            basis = store.read(syncs.basis)
            now = settled or self.clock.now()
            here, index = self._here(), self.index
            index.load(store)
            settings, _ = read_settings(here.place)
            if settings is None or settings != basis.settings or here.held(settings):
                return None
            known = index.begin(store, settings)  # what another process has written since, as well
            looked = None
            if index.is_current:
                looked = look_at_edits(
                    here.place, index, known, store, settings, paths, basis, here.tree, parsed=self.parsed
                )
            if looked is None or here.held(settings):
                return None
            found = plan(looked.desired, looked.observed.jobs, previous=settings, now=now, rest=looked.rest)
            if not ready():
                return None
            if self.settle is not None and settled is None:
                owing = [action.job_id for action in found.actions if action.skips]
                if owing:
                    self.settle(store, owing, now)
                    crash_point("after_settle")
                    settled = now
                    raise StaleError  # plan again
            settled = None
            here._apply(store, found, basis.ticket, now, actor, cause, looked=looked, only=looked.changes.listing.paths)
            return self._synced(found, found.problems, started, None, "")

        try:
            return until_fresh(turn, "nothing was applied")
        except BaseException:
            self.index.forget()
            raise

    def held(self, stored: Settings | None, *, now_anyway: bool = False) -> str:
        """Why no pass may use the files as they are now (S8). Empty if one may. stored: the last good settings."""
        return why_held(self.place, stored, now_anyway=now_anyway)

    def other_branch(self, stored: Settings | None) -> str:
        """What is checked out, if it is not the branch to run (F1); otherwise empty. stored: the last good settings."""
        return other_branch(self._here().place, stored)

    def sight(self, store: Store, job: Job) -> Sight:
        """The state of the parts of the place that this job needs (F7)."""
        place = self._here().place
        if trouble := root_trouble(place.root):
            return Sight(root=trouble)
        folder, known = self._gone(job.file.path), True
        task = job.file.spec.task_source_path
        if folder is None and task is not None and (folder := self._gone(task)) is not None:
            known = store.read(places.was_there, job.id, folder[0]) or task in self.tree(task).blobs
        name, trouble = folder or ("", "")
        held = why_held(place, store.read(syncs.settings))
        return Sight(folder=name, folder_trouble=trouble, folder_known=known, held=held)

    def _plan(
        self, observed: Observed, now: datetime, confirmed: str | None
    ) -> tuple[Plan | None, tuple[Problem, ...], str]:
        settings, root_problems = read_settings(self.place)
        if settings is None:
            if not self.place.root.is_dir():
                raise UnavailableError(f"the root {self.place.root} is gone; nothing was applied")
            return None, root_problems, ""
        tree = self.tree()
        files = WorkingTree(self.place)
        desired = read_desired(files, settings, tree, parsed=self.parsed, shared=self.shared)
        converted = conversion_problems(conversions_here(files, desired, only_differing=True))
        desired = replace(desired, problems=tuple(sorted({*root_problems, *desired.problems, *converted})))
        found = plan(desired, observed.jobs, previous=observed.settings, now=now, confirmed=confirmed)
        return found, found.problems, git_silence(self.place.root, tree)

    def _apply(
        self,
        store: Store,
        found: Plan,
        ticket: int,
        now: datetime,
        actor: str,
        cause: str,
        *,
        looked: Looked | None = None,
        only: Collection[str] | None = None,
    ) -> int:
        """Returns how many messages no longer have a channel. Raises: StaleError.

        looked: None for the pass of a fire. only: the job files that were read, if not all.
        """
        changes = changes_in(found)
        changed_by = self._changed_by(found, origins(changes)) if changes else {}
        rows = audit_rows(found, at=now, actor=actor, cause=cause, changed_by=changed_by, changes=changes)
        specs = [action.after.spec for action in found.actions if action.writes]
        first = found.first and all(action.before is None for action in found.actions)
        zones = with_zones(store.read(clock_steps.last_clock), specs, first=first) if specs or first else None
        if looked is None:
            store.write(syncs.apply, found, ticket=ticket, audit=rows, now=now, actor=actor, only=only, zones=zones)
            return 0
        change, loose = learnt(self.place, looked, found)
        change = self.index.change(self.place, change, whole=only is None)
        # What a power loss would take back of a pass that changes no job, the next pass does again.
        with store.writing(durable=not found.nothing_to_do) as sql:
            unused = syncs.apply(
                sql, found, ticket=ticket, audit=rows, now=now, actor=actor, only=only, files=change, zones=zones
            )
            dropped = outbox.drop_removed(sql, found.settings.channels, now=now) if found.root_changes else 0
        if only is None:
            self.index.similar, self.index.odd = looked.rest.similar, looked.odd
            self.index.total = sum(found.states.values())
            self.index.written(change, unused, loose, looked.task_users)
            return dropped
        index, read = self.index, looked.changes.listing.paths
        loose |= looked.known.loose.difference(read)
        index.written(change, unused, loose, {**index.wanted, **looked.task_users})
        return dropped

    def _synced(
        self,
        found: Plan | None,
        problems: tuple[Problem, ...],
        started: datetime,
        confirmed: str | None,
        silence: str,
        held: str = "",
        *,
        jobs: Iterable[Job] = (),
        dropped: int = 0,
    ) -> Synced:
        now = self.clock.now()
        return Synced(
            plan=found if found is not None else Plan(settings=Settings(), problems=problems),
            at=now,
            took=now - started,
            read=found is not None or bool(held),
            held=held,
            jobs=tuple(jobs),
            token_refused=confirmed is not None and found is not None and found.guard is not None,
            no_provenance=silence,
            dropped=dropped,
        )

    def refresh(
        self, store: Store, job_id: str, *, wait: Callable[[float], bool], actor: str, cause: str
    ) -> Fresh | Fault | None:
        """The partial pass of F1: the job according to its own file and scheduler.yaml now, and the settings in force.

        Waits for an absent file, at most `absent_grace`: a checkout removes it for a moment. Also waits for a file that
        is being written (F2): half a definition may be valid.
        wait: waits at most that many seconds; True if the run was cancelled. Returns None then.
        """
        began, patience = time.monotonic(), self.absent_grace.total_seconds()
        while True:
            job = store.read(syncs.observed, job_id=job_id).jobs[job_id]
            found = self.read_quiet(
                (ROOT_FILE, job.file.path), lambda: self._refresh_once(store, job_id, actor, cause), wait
            )
            if not isinstance(found, Fault):
                return found
            job = store.read(syncs.observed, job_id=job_id).jobs[job_id]
            if job.archived:
                return found
            place = self._here().place
            there = (place.root / job.file.path).exists()  # exists, but says something else: half saved, or another id
            # Give up soon: a slot waits for a lost place without a run, which other slots of its job would meet.
            lost = cause == "fire" and (root_trouble(place.root) or gone_folder(place.root, job.file.path))
            if time.monotonic() >= began + (min(patience, SAVE_S) if there or lost else patience):
                return found
            if wait(LOOK_AGAIN_S):
                return None

    def read_quiet(
        self, paths: Sequence[str], read: Callable[[], T], wait: Callable[[float], bool]
    ) -> T | Fault | None:
        """Like `read_quiet` of the root. In a commit nobody writes to the files."""
        return read() if self.place.followed is not None else read_quiet(self.place.root, paths, read, wait=wait)

    def _refresh_once(self, store: Store, job_id: str, actor: str, cause: str) -> Fresh | Fault:
        settled: datetime | None = None

        def turn() -> Fresh | Fault:
            nonlocal settled
            observed = store.read(syncs.observed, job_id=job_id)
            now = settled or self.clock.now()
            here = self._here()  # after reading the database, as in `sync`
            found = here.look_again(observed, job_id, now)
            if isinstance(found, Fault):
                return found
            planned, job, settings = found
            fresh = Fresh(job=job, settings=settings, passes=here)
            if planned is None or planned.nothing_to_do:
                return fresh
            if self.settle is not None and settled is None and any(action.skips for action in planned.actions):
                self.settle(store, [job_id], now)
                settled = now
                raise StaleError  # plan again
            settled = None
            here._apply(store, planned, observed.ticket, now, actor, cause, only=[observed.jobs[job_id].file.path])
            return fresh

        return until_fresh(turn, "the run was not started")

    def look_again(self, observed: Observed, job_id: str, now: datetime) -> tuple[Plan | None, Job, Settings] | Fault:
        """The job's own file and scheduler.yaml now: a plan to apply, and the job after it."""
        job = observed.jobs[job_id]
        if self.held(observed.settings):  # the last good definition, and the task from disk as always
            return None, job, observed.settings or Settings()
        settings, _ = read_settings(self.place)
        if settings is None:  # a broken scheduler.yaml: the last good settings and definition stay in force
            return None, job, observed.settings or Settings()
        if settings == observed.settings and self._unchanged(job, settings):
            return None, job, settings
        path = job.file.path
        tree = self.tree(path, real_path(self.place.root, path))
        desired: Desired = read_desired(WorkingTree(self.place), settings, tree, only=path)
        found = plan_one(desired, job, previous=observed.settings, now=now)
        if found is None:
            return Fault(
                reason="source_missing",
                message=f"{path!r} {'no longer names this job' if (self.place.root / path).exists() else 'is gone'};"
                " if it has moved, run `scheduler sync` to find it",
            )
        return found, found.after(job), settings

    def tree(self, *paths: str) -> Tree:
        """The content of HEAD below the root, or of those paths."""
        return read_tree(self.place.root, *paths) if self.commits is None else self.commits.tree(self.place.root)

    def _changed_by(self, applied: Plan, paths: Collection[str]) -> Mapping[str, Origin]:
        """For each file with a change of the plan: what git is to be asked about it, or why no commit made the change.

        Empty outside a repository, and if git reports nothing at all.
        """
        if applied.revision is None:
            return {}
        root, found = self.place.root, dict[str, Origin]()
        named = {path for field in applied.root_changes if (path := named_file_of(field)) is not None}
        unread = sorted(path for path in paths if path not in applied.sources)
        tree = self._tree_of(applied.revision, unread) if unread else Tree()
        for path in paths:
            read = applied.sources.get(path)
            if read is None and (path == ROOT_FILE or path in named):
                read = _on_disk(root, path, tree)
            if read is None:  # it is gone, or was not read
                in_commit, on_disk = path in tree.blobs, os.path.lexists(root / path)
                if in_commit or on_disk:
                    found[path] = "uncommitted" if in_commit != on_disk else "unknown"
                else:
                    found[path] = Lookup(revision=applied.revision, path=path, blob=None)
            elif read.provenance.dirty in ("modified", "untracked"):
                found[path] = "uncommitted"
            elif read.provenance.revision != applied.revision or read.provenance.blob is None:
                found[path] = "unknown"
            else:
                found[path] = Lookup(revision=applied.revision, path=read.path, blob=read.provenance.blob)
        return found

    def _tree_of(self, revision: str, paths: Collection[str]) -> Tree:
        """These paths in a revision; all of it, if it is known already."""
        known = None if self.commits is None else self.commits.known(self.place.root)
        if known is not None and known.revision == revision:
            return known
        return read_tree(self.place.root, *paths, revision=revision)

    def _unchanged(self, job: Job, settings: Settings) -> bool:
        """True if the job's file and its task are byte for byte what the last pass read, so need no parsing."""
        if job.archived or job.file.sync_state is not SyncState.SYNCED:
            return False
        files, facts = WorkingTree(self.place), job.file
        source = files.read(facts.path, limit=JOB_FILE_BYTES)
        if isinstance(source, Fault) or source.sha256 != facts.file_sha256:
            return False
        if facts.spec.task_source_path is None:
            return True
        task = read_task(files, facts.spec, facts.path, settings)
        return not isinstance(task, Fault) and task.sha256 == facts.task_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """A job according to its file at the fire. passes: of the files it was read from, for the run's further reads."""

    job: Job
    settings: Settings
    passes: Passes


def _on_disk(root: Path, path: str, tree: Tree) -> Read | None:
    """The provenance of scheduler.yaml, or of a file that a runner names."""
    found = read_source(root, path, limit=RUNNER_FILE_BYTES, hidden=True)
    return None if isinstance(found, Fault) else Read(found.real, tree.provenance(found.real, found.data))
