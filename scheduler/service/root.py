"""One root, as one caller sees it: the value that every verb gets, and what the verbs share.

Faces parse and print; nothing they offer bypasses the functions of this package (I1). These return core values or the
JSON shapes of interface.md; a failure is a SchedulerError. If a daemon holds the database, it carries out what only one
process can do. Everything else is written here, and the daemon is notified.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from scheduler.core.values.facts import Job
from scheduler.core.values.problems import RefusedError, UnavailableError, UnknownError, UsageError, did_you_mean
from scheduler.core.values.runs import AuditRow, Run
from scheduler.ledger import queries, syncs
from scheduler.ledger.store import Store
from scheduler.ledger.syncs import Observed
from scheduler.machine.clock import Clock, SystemClock
from scheduler.root.files import WorkingTree
from scheduler.root.followed import Looked
from scheduler.root.place import Place, is_there
from scheduler.root.settings import read_settings

if TYPE_CHECKING:  # the file readers: only commands that read files load them
    from scheduler.control.daemon_lock import Holder
    from scheduler.service.kept import Kept
    from scheduler.sync.passes import Passes

GLANCE_S = 2.0  # for a daemon to report its state to a command about something else


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """One root, seen by one caller."""

    place: Place
    actor: str  # who asks, as `kind:name`, for audit rows; `agents` in scheduler.yaml applies to an `agent`
    environ: Mapping[str, str]
    clock: Clock = field(default_factory=SystemClock)
    tell: Callable[[str], None] = lambda _: None  # tells the caller something in addition to the answer
    absent_grace: timedelta = timedelta(seconds=10)  # F1
    scans: bool = True  # an unknown job is looked for in the files, to say why it is not there
    kept: Kept | None = None  # in a process that lives long
    reads: str = ""  # the zone in which the caller reads and writes times; empty: that of the root, or of a job

    def store(self) -> Store | None:
        """The database, or None if the root was never synced: reading must not create one.

        Raises: RefusedError if there was a database and it is gone.
        """
        if not is_there(self.place.db):
            from scheduler.maintenance.lost import refuse_lost

            refuse_lost(self.place)
            if not is_there(self.place.db):  # otherwise a restore has just put it there
                return None
        return self.open()

    def open(self) -> Store:
        """The database, even if nothing can be written beside it; the caller is then told."""
        store = Store.open_to_read(self.place.db)
        if store.read_only:
            self.tell(store.read_only)
        return store

    def looked(self) -> Looked:
        """The result of the last look at the remote that the root follows; empty for any other root."""
        return Looked() if self.place.followed is None else self.place.followed.standing()

    def need_store(self, job_id: str, *, to_write: bool = False) -> Store:
        store = Store.open(self.place.db, create=False) if to_write and is_there(self.place.db) else self.store()
        if store is None:
            raise self._unknown_job(job_id.rpartition(":")[0] or job_id, [])
        return store

    @contextlib.contextmanager
    def job(self, job_id: str, *, prefix: bool = False, to_write: bool = False) -> Iterator[tuple[Store, Job]]:
        """The database and the job with that id in it; see `find_job`. Raises: UsageError."""
        with self.need_store(job_id, to_write=to_write) as store:
            yield store, self.find_job(store, job_id, prefix=prefix)

    def find_job(self, store: Store, job_id: str, *, prefix: bool = False) -> Job:
        """The job with that id, or that unique prefix if `prefix` allows one. Raises: UsageError."""
        job = store.read(queries.job, job_id)
        if job is not None:
            return job
        known = store.read(queries.job_ids)
        starts = [each for each in known if prefix and job_id and each.startswith(job_id)]
        if len(starts) == 1:
            found = store.read(queries.job, starts[0])
            assert found is not None
            return found
        if starts:
            raise UsageError(f"{job_id!r} matches {len(starts)} job ids", hint=", ".join(starts[:10]))
        raise self._unknown_job(job_id, known)

    def known(self, job_id: str) -> Job | None:
        """The job as it is in the database."""
        with self.store() or contextlib.nullcontext() as store:
            return None if store is None else store.read(queries.job, job_id)

    def _unknown_job(self, job_id: str, known: Iterable[str]) -> UnknownError:
        """The error for an id without a row. It distinguishes a typo from a file that was not synced yet."""
        ids = list(known)
        if ids and not self.scans:
            return UnknownError(f"there is no job {job_id!r}", hint=did_you_mean(job_id, ids))
        from scheduler.core.plan.claimants import across_files
        from scheduler.git.tree import Tree
        from scheduler.root.desired import read_desired

        settings, root_problems = read_settings(self.place)
        if settings is None:
            first = next(each for each in root_problems if each.is_error)
            return UnknownError(
                f"there is no job {job_id!r}, and no job can be created: {first.in_words}", hint=first.hint
            )
        desired = read_desired(WorkingTree(self.place), settings, Tree())
        documents = [each.document for each in desired.found]
        errors = sorted(each for each in {*desired.problems, *across_files(desired)} if each.is_error)
        wrong = [each for each in errors if each.job_id == job_id]
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            message = f"job {job_id!r} was not created because of an error: {wrong[0].in_words}{more}"
            return UnknownError(message, hint=wrong[0].hint)
        for document in (each for each in documents if each.id == job_id):
            return UnknownError(
                f"job {job_id!r} is in {document.path}:{document.line} but has not been synced",
                hint="run `scheduler sync`",
            )
        ids += [document.id for document in documents if document.id is not None]
        return UnknownError(
            f"there is no job {job_id!r}",
            hint=did_you_mean(job_id, ids)
            or next((f"it may be in a file with an error: {each.in_words}" for each in errors if not each.job_id), "")
            or ("`scheduler list` shows all jobs" if ids else "there are no jobs yet"),
        )

    def audit_row(self, job_id: str, action: str, *, field: str, before: object = None, after: object) -> AuditRow:
        return AuditRow(
            job_id=job_id,
            action=action,
            field=field,
            before=before,
            after=after,
            at=self.clock.now(),
            actor=self.actor,
            cause=action,
        )

    def daemon(self, *, of_any_root: bool = False) -> Holder | None:
        """The daemon that holds the database.

        Raises: RefusedError if it serves another root, unless `of_any_root`.
        """
        from scheduler.control.daemon_lock import find

        holder = find(self.place)
        if not of_any_root and holder is not None and holder.root != str(self.place.label):
            raise RefusedError(
                f"a daemon of another root, {holder.root}, uses {self.place.db}; this root is {self.place.label}",
                hint="choose that root with --root, or another database with --db",
            )
        return holder

    def wake(self) -> None:
        """Notify the daemon of a change. If it does not get the message, it notices at its next regular pass."""
        from scheduler.control.client import answer_of

        try:
            holder = self.daemon()
            if holder is not None:
                answer_of(holder, "wake", limit=GLANCE_S)
        except UnavailableError as error:
            self.tell(f"the change is saved and takes effect once the daemon responds: {error}; {error.hint}")

    def passes(self) -> Passes:
        from scheduler.sync.passes import Passes

        return Passes(place=self.place, clock=self.clock, absent_grace=self.absent_grace, shared=True)

    def recover(self, store: Store) -> list[Run]:
        """End the runs of processes that are gone, and return them."""
        from scheduler.run.engine import recover
        from scheduler.run.local.recovery import LocalRecovery

        return recover(store, [LocalRecovery(place=self.place, clock=self.clock)])

    def look_up_commits(self, store: Store) -> None:
        """Ask git which commits brought what was applied here. A failure undoes nothing: the next sync asks again."""
        from scheduler.sync import lookups

        with contextlib.suppress(UnavailableError):
            lookups.look_up_commits(store, self.place.now().root)

    def observed(self) -> Observed:
        """The jobs in the database; none if the root was never synced."""
        with self.store() or contextlib.nullcontext() as store:
            return Observed(jobs={}, settings=None, ticket=0) if store is None else store.read(syncs.observed)
